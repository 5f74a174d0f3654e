"""The purchases of automatic top-ups: which may be due, and to make one."""

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import Max, Q, Sum

from billing.models import AutoTopUp, Invoice
from billing.services.auto_top_up import hold_auto_top_up, spent_in_month
from billing.services.stop_auto_top_up import stop_auto_top_up
from billing.services.top_up import Purchase, compose_purchase, issue_purchase
from credits.models import CreditGrant
from credits.months import month_end
from credits.services.packs import hold_pack
from credits.services.positions import read_positions
from plans.models import Customer
from plans.models.metrics import ADDITIVE
from plans.prepared import run_prepared
from plans.refusals import Refusal
from plans.services.time_zone import billing_zone

CHUNK = 400
PACK_REPRICED = "pack_repriced"
LIMIT_BELOW_PRICE = "limit_below_price"

# What is left of a balance is never less than what the ledger has left of its active grants, without all that was used
# or reserved since they began to matter. That is summed from whole days, so most balances are ruled out without
# being worked out. A grant that began within settled periods matters from their end on.
_MAY_BE_BELOW = """
WITH rule AS (
    SELECT rule.id, rule.customer_id, rule.threshold, definition.metric_id, definition.currency,
        metric.aggregation_type
    FROM unnest(%(keys)s::bigint[]) AS wanted(id)
    JOIN billing_autotopup rule ON rule.id = wanted.id
    JOIN credits_topuppack pack ON pack.id = rule.pack_id
    JOIN credits_creditdefinition definition ON definition.id = pack.definition_id
    LEFT JOIN plans_metric metric ON metric.id = definition.metric_id
), active AS MATERIALIZED (
    SELECT rule.id AS rule_id, credit.ledger_remaining, COALESCE(
        (
            SELECT max(later.end_at)
            FROM plans_subscriptionperiod first
            JOIN plans_subscriptionperiod later ON later.item_id = first.item_id AND later.settled_at IS NOT NULL
            WHERE first.customer_id = rule.customer_id AND first.metric_id = rule.metric_id
                AND first.settled_at IS NOT NULL
                AND first.start_at <= credit.starts_at AND first.end_at > credit.starts_at
        ),
        credit.starts_at
    ) AS from_at
    FROM rule
    JOIN credits_creditgrant credit ON credit.customer_id = rule.customer_id
        AND (credit.metric_id = rule.metric_id
            OR rule.metric_id IS NULL AND credit.metric_id IS NULL AND credit.currency = rule.currency)
    WHERE credit.ledger_remaining > 0 AND credit.revoked_at IS NULL AND credit.starts_at <= %(at)s::timestamptz
        AND (credit.expires_at IS NULL OR credit.expires_at > %(at)s::timestamptz)
), held AS (
    SELECT rule_id, sum(ledger_remaining) AS units, min(from_at) AS from_at FROM active GROUP BY rule_id
)
SELECT rule.id
FROM rule
LEFT JOIN held ON held.rule_id = rule.id
LEFT JOIN LATERAL (
    SELECT sum(GREATEST(day.total, 0)) AS units
    FROM plans_metricversion version
    JOIN metering_usageday day ON day.version_id = version.id AND day.customer_id = rule.customer_id
        AND day.day >= (held.from_at AT TIME ZONE %(zone)s::text)::date
    WHERE version.metric_id = rule.metric_id
) AS used ON true
LEFT JOIN LATERAL (
    SELECT sum(reservation.units) AS units FROM credits_reservation reservation
    WHERE reservation.customer_id = rule.customer_id AND reservation.metric_id = rule.metric_id
        AND reservation.committed_at IS NULL AND reservation.released_at IS NULL
        AND reservation.expires_at > %(at)s::timestamptz
) AS reserved ON true
WHERE rule.aggregation_type <> ALL (%(additive)s::text[])
    OR COALESCE(held.units, 0) - COALESCE(used.units, 0) - COALESCE(reserved.units, 0) < rule.threshold
ORDER BY rule.id
"""


def running_after(key: int, *, at: datetime, limit: int = CHUNK) -> list[int]:
    """The next automatic top-ups by key that may buy at `at`."""
    return list(
        AutoTopUp.objects.that_may_buy(at).filter(pk__gt=key).order_by("pk").values_list("pk", flat=True)[:limit]
    )


def below_threshold(keys: Collection[int], *, at: datetime) -> list[int]:
    """Those of some automatic top-ups of whose balance less than the threshold is left.

    First one statement rules out those that cannot be; the balances of the others are worked out, together.
    """
    maybe = run_prepared(
        _MAY_BE_BELOW,
        {"keys": list(keys), "at": at, "zone": billing_zone().key, "additive": [str(one) for one in ADDITIVE]},
    )
    rules = list(AutoTopUp.objects.filter(pk__in=[key for (key,) in maybe]).select_related("pack__definition"))
    left = balances(rules, at=at)
    return sorted(rule.pk for rule in rules if left[rule.pk] < rule.threshold)


def balances(rules: Collection[AutoTopUp], *, at: datetime) -> dict[int, Decimal]:
    """What is left live of what automatic top-ups watch, by their keys: units of a metric, or minor units of money."""
    pairs = {(rule.customer_id, rule.pack.definition.metric_id) for rule in rules}
    positions = read_positions({(customer, metric) for customer, metric in pairs if metric is not None}, at=at)
    money = _money_of({rule.customer_id for rule in rules if rule.pack.definition.metric_id is None}, at)
    return {
        rule.pk: money.get((rule.customer_id, rule.pack.definition.currency), Decimal(0))
        if rule.pack.definition.metric_id is None
        else positions[rule.customer_id, rule.pack.definition.metric_id].remaining(at)
        for rule in rules
    }


def _money_of(customers: Collection[int], at: datetime) -> dict[tuple[int, str], Decimal]:
    active = CreditGrant.objects.filter(
        Q(expires_at=None) | Q(expires_at__gt=at),
        customer__in=customers,
        metric=None,
        revoked_at=None,
        starts_at__lte=at,
    )
    sums = active.values_list("customer", "currency").annotate(left=Sum("ledger_remaining"))
    return {(customer, currency): left for customer, currency, left in sums}


@transaction.atomic
def buy_automatically(*, key: int, at: datetime) -> Invoice | None:
    """Make the next purchase of an automatic top-up if it is due, and return its invoice; None when it is not, or when
    somebody else holds the customer at this moment.

    Everything is looked at again under the lock, so that two callers at once buy once and stay within the limit. What
    cannot be bought as it was agreed stops the top-up, with the reason.
    """
    if not _hold_customer(key):
        return None
    rule = hold_auto_top_up(key)
    if not AutoTopUp.objects.that_may_buy(at).filter(pk=key).exists():
        return None
    if balances([rule], at=at)[key] >= rule.threshold:
        return None
    purchase = _compose_as_agreed(rule, at)
    if purchase is None or not _is_within_limit(rule, purchase, at):
        return None
    return _buy(rule, purchase, at)


def _hold_customer(key: int) -> bool:
    customer = Customer.objects.filter(auto_top_ups=key)
    return customer.select_for_update(no_key=True, skip_locked=True, of=("self",)).first() is not None


def _compose_as_agreed(rule: AutoTopUp, at: datetime) -> Purchase | None:
    """Work out the purchase of a rule; None where it cannot be made as it was agreed, which stops the rule."""
    try:
        # Held before it is compared: else somebody could make it dearer between that and the purchase.
        pack = hold_pack(rule.pack)
        if pack.price_cents > rule.agreed_price_cents:
            message = f"The pack {pack.name} has become dearer."
            stop_auto_top_up(key=rule.pk, code=PACK_REPRICED, message=message, at=at)
            return None
        return compose_purchase(customer=rule.customer, pack=pack, quantity=rule.quantity, at=at)
    except Refusal as refusal:
        stop_auto_top_up(key=rule.pk, code=refusal.code, message=refusal.message, at=at)
        return None


def _is_within_limit(rule: AutoTopUp, purchase: Purchase, at: datetime) -> bool:
    """Tell whether a purchase stays within the month's limit; where it does not, the rule waits, or stops when no month
    would be enough."""
    total_cents = purchase.invoice.total_cents
    if total_cents > rule.monthly_limit_cents:
        message = "One purchase comes to more than the monthly limit."
        stop_auto_top_up(key=rule.pk, code=LIMIT_BELOW_PRICE, message=message, at=at)
        return False
    if spent_in_month([rule.pk], at=at)[rule.pk] + total_cents > rule.monthly_limit_cents:
        AutoTopUp.objects.filter(pk=rule.pk).update(resumes_at=month_end(at, billing_zone()), updated_at=at)
        return False
    return True


def _buy(rule: AutoTopUp, purchase: Purchase, at: datetime) -> Invoice:
    bought = rule.invoices.aggregate(latest=Max("auto_top_up_number"))["latest"] or 0
    purchase.invoice.auto_top_up = rule
    purchase.invoice.auto_top_up_number = bought + 1
    AutoTopUp.objects.filter(pk=rule.pk).update(resumes_at=None, updated_at=at)
    return issue_purchase(purchase, at=at)
