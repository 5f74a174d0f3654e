"""Late usage of subscriptions that have ended: no invoice of theirs comes any more that could take it along."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from billing.lines import late_usage_line
from billing.models import Invoice, InvoiceKind, InvoiceLine, InvoiceStatus
from billing.services import late_usage
from billing.services.credit_notes import issue_credit_note
from billing.services.creditable import OpenCharge, open_charges
from billing.services.hold_invoice import hold_invoice
from billing.services.issue import issue_charges
from billing.stripe_amounts import charge_step
from credits.models import UsageDifference
from credits.services.return_money import keep_money
from credits.services.spend_money import lock_money
from plans.models import Customer, Subscription, SubscriptionPeriod

_REASON = "Usage was corrected after it was billed"
_CREDITED = (InvoiceStatus.ISSUED, InvoiceStatus.UNPAID, InvoiceStatus.PAID)


@transaction.atomic
def close_windows(*, periods: Iterable[int], at: datetime) -> int:
    """Find for the last time what periods differ by, as late_usage.close_windows does, and bill what was found of
    subscriptions that have ended. Return how many periods they were."""
    keys = list(periods)
    looked_at = SubscriptionPeriod.objects.filter(pk__in=keys)
    _hold_customers(looked_at.values_list("customer_id", flat=True))
    closed = late_usage.close_windows(periods=keys, at=at)
    bill_ended(subscriptions=looked_at.values_list("subscription_id", flat=True), at=at)
    return closed


@transaction.atomic
def bill_found(*, periods: Iterable[SubscriptionPeriod], at: datetime) -> list[UsageDifference]:
    """Find what periods differ by whose time for late usage is over, as late_usage.bill_with_next_invoice does. Where
    the subscription has ended, it is billed now."""
    looked_at = list(periods)
    _hold_customers(period.customer_id for period in looked_at)
    found = late_usage.bill_with_next_invoice(periods=looked_at, at=at)
    bill_ended(subscriptions={period.subscription_id for period in looked_at}, at=at)
    return found


def _hold_customers(customers: Iterable[int]) -> None:
    keys = sorted(set(customers))
    list(Customer.objects.filter(pk__in=keys).select_for_update(no_key=True).order_by("pk").values_list("pk"))


def bill_ended(*, subscriptions: Iterable[int], at: datetime) -> None:
    """Bill what was found of subscriptions that have ended and have no draft any more: what is to be paid by an invoice
    of its own, what is too much by a credit note of the invoice that billed it, or else as credit. The caller holds the
    customers and the balances of what was metered."""
    waiting = _unbilled(list(subscriptions))
    lock_money({difference.customer_id for batch in waiting.values() for difference in batch})
    for differences in waiting.values():
        for difference in differences:
            difference.billed_at = at
        UsageDifference.objects.bulk_update(differences, ["billed_at"])
        _invoice([one for one in differences if one.net_cents > 0], at)
        for difference in differences:
            if difference.net_cents < 0:
                _give_back(difference, at)


def without_next_invoice(subscriptions: Iterable[int]) -> set[int]:
    """Return which subscriptions have ended and have no draft any more, so that no invoice of theirs is to come."""
    keys = set(subscriptions)
    return keys & set(_ended(keys).values_list("pk", flat=True))


def _ended(subscriptions: Iterable[int]) -> QuerySet[Subscription]:
    """The versions of these subscriptions of which none goes on and none has a draft."""
    stable = Subscription.objects.filter(pk__in=list(subscriptions)).values("stable_subscription_id")
    same = OuterRef("stable_subscription_id")
    going_on = Subscription.objects.filter(stable_subscription_id=same, ended_at=None)
    drafts = Invoice.objects.computed_drafts().filter(subscription__stable_subscription_id=same)
    return Subscription.objects.filter(~Exists(going_on), ~Exists(drafts), stable_subscription_id__in=stable)


def _unbilled(subscriptions: Collection[int]) -> dict[int, list[UsageDifference]]:
    found: dict[int, list[UsageDifference]] = defaultdict(list)
    differences = (
        UsageDifference.objects.filter(billed_at=None, period__subscription__in=_ended(subscriptions))
        .select_related("customer", "period__subscription__price", "period__item__component__price")
        .order_by("period__start_at", "period_id", "number")
        .select_for_update(of=("self",), no_key=True)
    )
    for difference in differences:
        found[difference.period.subscription_id].append(difference)
    return found


def _invoice(differences: Sequence[UsageDifference], at: datetime) -> None:
    if not differences:
        return
    subscription = differences[0].period.subscription
    draft = Invoice.objects.create(
        customer=differences[0].customer,
        subscription=subscription,
        kind=InvoiceKind.LATE,
        currency=subscription.price.currency,
        closes_at=_free_instant(subscription, at),
        finalize_at=at,
        period_start_at=min(one.period.start_at for one in differences),
        period_end_at=max(one.period.end_at for one in differences),
        created_at=at,
    )
    lines = [late_usage_line(draft, difference) for difference in differences]
    issue_charges(draft, lines, periods=[one.period for one in differences], at=at)


def _free_instant(subscription: Subscription, at: datetime) -> datetime:
    """The instant, or the next one at which no late invoice of the subscription stands yet."""
    late = Invoice.objects.filter(subscription=subscription, kind=InvoiceKind.LATE, closes_at__gte=at)
    last = late.order_by("closes_at").values_list("closes_at", flat=True).last()
    return at if last is None else last + timedelta(microseconds=1)


def _give_back(difference: UsageDifference, at: datetime) -> None:
    charge = _charge_of(difference)
    if charge is not None:
        issue_credit_note(
            invoice=charge.line.invoice,
            parts=[charge.part(-difference.net_cents)],
            reason=_REASON,
            differences={charge.line.pk: difference},
            at=at,
        )
        return
    keep_money(
        customer=difference.customer_id,
        cents=-difference.net_cents,
        currency=difference.period.subscription.price.currency,
        reference_code=f"difference:{difference.pk}",
        at=at,
    )


def _charge_of(difference: UsageDifference) -> OpenCharge | None:
    """What was billed for the period of a difference, if all of the difference can be credited of it."""
    billed = InvoiceLine.objects.filter(
        period=difference.period, difference=None, repeated_by=None, invoice__status__in=_CREDITED
    )
    line = billed.select_related("invoice").order_by("-pk").first()
    if line is None:
        return None
    invoice = hold_invoice(line.invoice)
    if invoice.status not in _CREDITED:
        return None
    for charge in open_charges(invoice):
        if charge.line.period_id == difference.period_id and charge.line.difference_id is None:
            charge.line.invoice = invoice
            return charge if _fits(charge, -difference.net_cents, invoice) else None
    return None


def _fits(charge: OpenCharge, cents: int, invoice: Invoice) -> bool:
    """Tell whether so much of a charge can be credited, and what is left of an unpaid invoice still be charged."""
    if charge.amount_cents < cents:
        return False
    owed_cents = charge.part(cents).owed_cents
    is_between_steps = invoice.status == InvoiceStatus.ISSUED and owed_cents % charge_step(invoice.currency) > 0
    return owed_cents <= invoice.total_cents - invoice.credited_cents and not is_between_steps
