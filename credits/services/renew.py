import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from django.db.models import Q, Sum

from credits.models import CreditDefinition, CreditGrant, SubscriptionCredit
from credits.services.refill import end_of_refill, has_turns, write_refills
from credits.services.write_grants import expiry_of, grant_of, write_grants
from plans.models import PeriodKind, Subscription, SubscriptionItem, SubscriptionPeriod
from plans.services.parts import is_part, rounded_up
from plans.services.units import PaidUnits

_WHOLE = Fraction(1)
_NO_PARTS: Mapping[int, Fraction] = MappingProxyType({})
_NO_MONEY: Mapping[int, Sequence[CreditGrant]] = MappingProxyType({})


def grant_with_subscription(*, at: datetime, subscription: Subscription) -> list[CreditGrant]:
    """Copy the credits that are sold with a new subscription, and write the grants that begin with it: those of its
    stored periods, the first of each calendar with the refill after it, and single ones.

    The caller holds the lock of the customer.
    """
    definitions = CreditDefinition.objects.granted_with(subscription.plan, subscription.price)
    credits = copy_credits(definitions, [subscription], at=at)
    periods = SubscriptionPeriod.objects.filter(subscription=subscription).select_related("item")
    return begin_credits(credits, at=at) + grant_for_periods(at=at, periods=periods)


def copy_credits(
    definitions: Iterable[CreditDefinition], subscriptions: Iterable[Subscription], *, at: datetime
) -> list[SubscriptionCredit]:
    """Write down for each subscription what these definitions grant to it; the copy is what renewals read.

    Money of another currency than that of the price is left out: nothing could be paid with it. The subscriptions'
    prices are fetched already.
    """
    definitions = list(definitions)
    return SubscriptionCredit.objects.bulk_create(
        (
            SubscriptionCredit(subscription=subscription, definition=definition, created_at=at, **definition.terms())
            for subscription in subscriptions
            for definition in definitions
            if definition.currency in ("", subscription.price.currency)
        ),
        batch_size=1000,
    )


def begin_credits(credits: Sequence[SubscriptionCredit], *, at: datetime) -> list[CreditGrant]:
    """Write the first grants of copies that do not follow periods, from the start of their subscriptions on, and the
    refills that come after them."""
    beginning = [credit for credit in credits if not credit.renew_on_billing]
    there = _first_grants(beginning)
    first = write_grants(
        [
            _first_grant(credit, at)
            for credit in beginning
            if (credit.subscription_id, credit.definition_id) not in there
            and (not credit.refill_rrule or has_turns(credit))
        ],
        at=at,
    )
    refilled = [credit for credit in beginning if credit.refill_rrule]
    for credit in refilled:
        credit.refilled_until = credit.subscription.started_at
    return first + write_refills(refilled, at=at)


def _first_grants(credits: Iterable[SubscriptionCredit]) -> set[tuple[int | None, int]]:
    """The subscriptions and definitions whose first grant is there, stopped though it may be."""
    grants = CreditGrant.objects.filter(
        Q(refill_number=None) | Q(refill_number=0),
        subscription__in={credit.subscription_id for credit in credits},
        period=None,
        rolled_from=None,
    )
    return set(grants.values_list("subscription_id", "definition_id"))


def _first_grant(credit: SubscriptionCredit, at: datetime) -> CreditGrant:
    subscription = credit.subscription
    start_at = subscription.started_at
    return grant_of(
        credit,
        subscription.customer_id,
        refill_number=0 if credit.refill_rrule else None,
        starts_at=start_at,
        expires_at=end_of_refill(credit, start_at) if credit.refill_rrule else expiry_of(credit, start_at),
        created_at=at,
    )


def grant_for_periods(
    *,
    at: datetime,
    periods: Iterable[SubscriptionPeriod],
    parts: Mapping[int, Fraction] = _NO_PARTS,
    items: Mapping[int, Sequence[SubscriptionItem]] | None = None,
    money: Mapping[int, Sequence[CreditGrant]] = _NO_MONEY,
) -> list[CreditGrant]:
    """Write the renewing grants of these periods that are not there yet, one per copy that was sold and period.

    A part of a period has none of its own, unless `parts` says by its key which share of a whole it is given: what it
    is given otherwise depends on the parts before it. What the item owes is withheld, and the grants of `money`, by the
    keys of periods, are written in place of what these would give of it. A grant lives as long as its
    period, or shorter if so many days were sold. The periods' items should be loaded. The caller holds the locks of
    the periods' subscriptions, so that nobody else writes the same, and may give their `items` if it has read them.
    """
    by_subscription: dict[int, list[SubscriptionPeriod]] = defaultdict(list)
    for period in periods:
        if period.pk in parts or not is_part(period):
            by_subscription[period.subscription_id].append(period)
    credits = SubscriptionCredit.objects.filter(subscription__in=by_subscription, renew_on_billing=True)
    if items is None:
        items = items_of_subscriptions({credit.subscription_id for credit in credits})
    wanted = []
    for credit in credits.prefetch_related("definition").order_by("pk"):
        item = item_of(credit, items[credit.subscription_id])
        wanted += [(credit, period) for period in by_subscription[credit.subscription_id] if period.item_id == item.pk]
    there = set(
        CreditGrant.objects.filter(period__in=[period.pk for _, period in wanted]).values_list(
            "definition_id", "period_id"
        )
    )
    special = [period for several in by_subscription.values() for period in several if _is_special(period, parts)]
    keys = {(period.pk, period.metric_id) for period in special}
    missing = [
        (credit, period)
        for credit, period in wanted
        if (credit.definition_id, period.pk) not in there
        and (period.pk, credit.definition.metric_id) not in keys
        and not (period.pk in money and credit.definition.currency)
    ]
    grants = _grants_of_periods(missing, parts, at) + [grant for several in money.values() for grant in several]
    for period in sorted(special, key=lambda one: one.start_at):
        quotas = [credit for credit, of in wanted if of is period and credit.definition.metric_id == of.metric_id]
        if not any((credit.definition_id, period.pk) in there for credit in quotas):
            grants += _give(period, quotas, parts.get(period.pk, _WHOLE), at)
    return write_grants(grants, at=at)


def _is_special(period: SubscriptionPeriod, parts: Collection[int]) -> bool:
    """Tell whether a period is given something else of its metric than what was sold for a whole turn."""
    if period.metric_id is None:
        return False
    return period.pk in parts or _owes(period) or is_before_fees(period)


def _owes(period: SubscriptionPeriod) -> bool:
    item = period.item
    is_due = item.owed_until is not None and period.start_at < item.owed_until
    return is_due and item.owed_units > 0 and period.kind == PeriodKind.REGULAR


def is_before_fees(period: SubscriptionPeriod) -> bool:
    """Tell whether a period begins before the fees of its version do. The item must be loaded."""
    return period.item.fees_begin_at is not None and period.start_at < period.item.fees_begin_at


def _grants_of_periods(
    missing: Sequence[tuple[SubscriptionCredit, SubscriptionPeriod]], parts: Mapping[int, Fraction], at: datetime
) -> list[CreditGrant]:
    per_seat = [period for credit, period in missing if credit.per_seat]
    paid = PaidUnits(
        {period.subscription_id for period in per_seat}, since=min((one.start_at for one in per_seat), default=at)
    )
    grants = []
    for credit, period in missing:
        seats = paid.at(period.subscription_id, period.start_at) if credit.per_seat else None
        amount = amount_of_period(credit, period) * (1 if seats is None else seats)
        if period.pk in parts:
            amount = _shared(amount, parts[period.pk], credit)
        if amount > 0:
            grants.append(grant_of_period(credit, period, at, amount=amount, seats=seats))
    return grants


def _shared(amount: Decimal, share: Fraction, credit: SubscriptionCredit) -> Decimal:
    """A share of an amount: units are rounded up, money down to whole minor units."""
    shared = Fraction(amount) * share
    return Decimal(math.floor(shared)) if credit.definition.currency else rounded_up(shared)


def _give(
    period: SubscriptionPeriod, quotas: Sequence[SubscriptionCredit], share: Fraction, at: datetime
) -> list[CreditGrant]:
    """Give a period a share of its metric's allowance, less what its item owes: by its quotas, or else by the number of
    the plan's feature."""
    paid = PaidUnits({period.subscription_id}, since=period.start_at)
    seats = {one.pk: paid.at(period.subscription_id, period.start_at) for one in quotas if one.per_seat}
    amounts = [amount_of_period(credit, period) * seats.get(credit.pk, 1) for credit in quotas]
    whole = sum(amounts, Decimal(0)) if quotas else period.item.feature_units
    if is_before_fees(period):
        whole = period.item.units_before_fees or Decimal(0)
    allowed = rounded_up(Fraction(whole) * share)
    withheld = min(allowed, _still_owed(period)) if _owes(period) else Decimal(0)
    period.withheld_units = withheld or None
    if not quotas and (allowed != period.item.feature_units or withheld):
        period.feature_units = allowed - withheld
    period.save(update_fields=["withheld_units", "feature_units"])
    of_turn = [(credit, amount, seats.get(credit.pk)) for credit, amount in zip(quotas, amounts, strict=True)]
    return grants_of_quotas(period, of_turn, allowed - withheld, at)


def _still_owed(period: SubscriptionPeriod) -> Decimal:
    """What an item owes, less what its other periods withheld."""
    others = SubscriptionPeriod.objects.filter(item=period.item_id).exclude(pk=period.pk)
    withheld = others.aggregate(units=Sum("withheld_units"))["units"] or Decimal(0)
    return max(period.item.owed_units - withheld, Decimal(0))


def grants_of_quotas(
    period: SubscriptionPeriod,
    quotas: Sequence[tuple[SubscriptionCredit, Decimal, int | None]],
    units: Decimal,
    at: datetime,
) -> list[CreditGrant]:
    """Spread units over quotas, each with what it gives for a whole turn and its seats: the first ones whole, and the
    last one takes what is left. The grants are not stored yet."""
    grants = []
    for place, (credit, whole, seats) in enumerate(quotas, start=1):
        amount = units if place == len(quotas) else min(units, whole)
        units -= amount
        if amount > 0:
            grants.append(grant_of_period(credit, period, at, amount=amount, seats=seats))
    return grants


def items_of_subscriptions(subscriptions: Iterable[int]) -> dict[int, list[SubscriptionItem]]:
    """The items of subscriptions with their components, by the keys of these."""
    items: dict[int, list[SubscriptionItem]] = defaultdict(list)
    for item in SubscriptionItem.objects.filter(subscription__in=subscriptions).prefetch_related("component"):
        items[item.subscription_id].append(item)
    return items


def item_of(credit: SubscriptionCredit, items: Sequence[SubscriptionItem]) -> SubscriptionItem:
    """The item whose clock renews a copy: that of the linked component, else the one that counts its metric, else the
    one with the shortest clock."""
    definition = credit.definition
    for item in items:
        if item.component is not None and item.component.component_id == definition.price_component_id:
            return item
    counting = [item for item in items if item.metric_id is not None and item.metric_id == definition.metric_id]
    if counting and not credit.renews_by_shortest_clock:
        return counting[0]
    return min(
        items,
        key=lambda item: (
            item.component is not None and item.component.clock.has_end,
            item.clock.approximate_days,
            item.metric_id != definition.metric_id,
            item.pk,
        ),
    )


def period_expiry(credit: SubscriptionCredit, period: SubscriptionPeriod) -> datetime:
    """When the grant of a period expires: with it, or sooner if so few days were sold."""
    return min(expiry_of(credit, period.start_at) or period.end_at, period.end_at)


def amount_of_period(credit: SubscriptionCredit, period: SubscriptionPeriod) -> Decimal:
    """What a copy grants for a whole period; per seat where it is one that counts seats."""
    return credit.default_amount if period.number == 0 else credit.renewal_amount


def grant_of_period(
    credit: SubscriptionCredit, period: SubscriptionPeriod, at: datetime, *, amount: Decimal, **fields: Any
) -> CreditGrant:
    """Make the grant, not stored yet, that a copy gives for a period."""
    return grant_of(
        credit,
        period.customer_id,
        period=period,
        initial_amount=amount,
        starts_at=period.start_at,
        expires_at=period_expiry(credit, period),
        rolls_over=credit.rolls_over,
        rollover_cap=credit.rollover_cap,
        rollover_days=credit.rollover_days,
        created_at=at,
        **fields,
    )
