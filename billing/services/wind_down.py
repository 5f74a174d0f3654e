"""What change, cancel and pause have in common: bill what lies behind, then end what is open."""

from collections.abc import Collection
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet

from billing.models import Invoice, InvoiceKind, InvoiceStatus
from billing.services.close_periods import close_subscriptions
from billing.services.finalize import finalize_invoices
from credits.models import SubscriptionCredit
from credits.services.end_grants import withdraw_grants
from credits.services.positions import lock_balances
from credits.services.refill import refill_credits
from credits.services.spend_money import lock_money
from plans.models import Customer, Metric, Subscription, SubscriptionItem, SubscriptionPeriod
from plans.refusals import Refusal
from plans.services.item_periods import cut_periods
from plans.services.metric_versions import hold_versions
from plans.services.scheduled_changes import waiting_of
from plans.services.subscriptions import SubscriptionEnded

_OF_PERIODS = (InvoiceKind.CYCLE, InvoiceKind.CHANGE, InvoiceKind.FINAL)
_INSTANT = timedelta(microseconds=1)


class UsageIsStillCounted(Refusal):
    """Events that were there before a metric was made are still being counted, so its usage cannot be billed yet."""

    code = "usage_still_counted"
    status = 409
    headers = {"Retry-After": "30"}


class CustomerIsParked(Refusal):
    """The customer's books do not add up, so nothing is billed until an operator has looked."""

    code = "customer_parked"
    status = 409


class ScheduledChangeIsDue(Refusal):
    """What was scheduled for the subscription has its instant behind it, and the next sweep does it first."""

    code = "scheduled_change_is_due"
    status = 409
    headers = {"Retry-After": "60"}


def hold_to_end_periods(
    subscription: Subscription, *, at: datetime, metrics: Collection[int] = (), keep_scheduled: bool = False
) -> tuple[Subscription, datetime]:
    """Hold a live subscription as hold_subscription does, bill what lies behind, and take back what waits to happen to
    it, unless that is to be kept. Return it with the instant at which its periods may end: not before it starts, and a
    version that follows another lasts an instant at least, since what it was granted reaches back.

    Raises SubscriptionEnded, CustomerIsParked, ScheduledChangeIsDue and UsageIsStillCounted.
    """
    held = hold_subscription(subscription, metrics=metrics)
    refuse_parked(held)
    refuse_overdue(held, at=at)
    at = _end_of_periods(held, at)
    bill_what_is_due(held, at=at)
    if not keep_scheduled:
        withdraw_scheduled_change(held, at=at)
    return held, at


def has_begun(subscription: Subscription, *, at: datetime) -> bool:
    """Tell whether the first version of a subscription has started."""
    versions = Subscription.objects.filter(stable_subscription_id=subscription.stable_subscription_id)
    return versions.filter(started_at__lte=at).exists()


def _end_of_periods(held: Subscription, at: datetime) -> datetime:
    return max(at, held.started_at + _INSTANT if has_begun(held, at=at) else held.started_at)


def refuse_parked(subscription: Subscription) -> None:
    """Raise CustomerIsParked for a subscription that nothing may be billed of now."""
    if subscription.customer.parked_at is not None:
        raise CustomerIsParked(
            "The books of this customer are parked until an operator has looked, so nothing can be billed. Try again "
            "afterwards."
        )


def refuse_overdue(subscription: Subscription, *, at: datetime) -> None:
    """Raise ScheduledChangeIsDue where a sweep has something to do to a subscription first."""
    if waiting_of(subscription).filter(effective_at__lte=at).exists():
        raise ScheduledChangeIsDue(
            "A change or the end of this subscription was scheduled, and is being carried out. Try again in a minute."
        )


def hold_live(subscription: Subscription) -> Subscription:
    """Lock a subscription that has not ended, and return it as it is now. Raises SubscriptionEnded."""
    live = Subscription.objects.live().select_related("price", "customer")
    held = live.select_for_update(no_key=True, of=("self",)).filter(pk=subscription.pk).first()
    if held is None:
        raise SubscriptionEnded
    return held


def catch_up(held: Subscription, *, at: datetime) -> None:
    """Close what lies behind of a held subscription, so that the period in which it is now is stored. A parked
    customer's waits."""
    if held.customer.parked_at is None:
        while close_subscriptions([held], at=at):
            pass


def hold_subscription(subscription: Subscription, *, metrics: Collection[int] = ()) -> Subscription:
    """Lock a live subscription, its drafts, its customer and all balances that it moves, those of further `metrics`
    too, in the order of everybody who bills; return it as it is now. Raises SubscriptionEnded."""
    held = (
        Subscription.objects.live()
        .select_related("price", "plan")
        .select_for_update(no_key=True, of=("self",))
        .filter(pk=subscription.pk)
        .first()
    )
    if held is None:
        raise SubscriptionEnded
    list(_open_drafts(held).select_for_update(no_key=True, of=("self",)).values_list("pk"))
    held.customer = Customer.objects.select_for_update(no_key=True).get(pk=held.customer_id)
    hold_versions()
    versions = SubscriptionItem.objects.filter(subscription__stable_subscription_id=held.stable_subscription_id)
    metered = set(versions.values_list("metric_id", flat=True)) | set(metrics)
    lock_balances([(held.customer_id, metric) for metric in metered if metric is not None])
    lock_money([held.customer_id])
    return held


def bill_what_is_due(subscription: Subscription, *, at: datetime) -> None:
    """Close the boundaries of a held subscription that lie before an instant, and finalize its drafts, whatever is left
    of their grace time. Raises UsageIsStillCounted."""
    if Metric.objects.filter(pk__in=_metrics_of(subscription), current__built_at=None).exists():
        raise UsageIsStillCounted("Events of a metric are still being counted. Try again in a moment.")
    while close_subscriptions([subscription], at=at, before=at):
        pass
    while due := SubscriptionCredit.objects.filter(subscription=subscription, refilled_until__lt=at).values("pk"):
        if not refill_credits(credits=[one["pk"] for one in due], at=at):
            break
    finalize_invoices(list(_open_drafts(subscription)), at=at)


def end_open_periods(subscription: Subscription, *, at: datetime) -> list[SubscriptionPeriod]:
    """End what a held subscription has open at an instant: grants and periods that have not begun are deleted, open
    usage is cut. Return what falls due with that."""
    withdraw_grants(subscription=subscription, at=at)
    return cut_periods(subscription=subscription, at=at)


def note_refund(subscription: Subscription, *, at: datetime) -> None:
    """Note from when on the fees were credited or refunded that a subscription, or a version of it before, had paid:
    days from then on are not paid for by them any more."""
    versions = Subscription.objects.filter(stable_subscription_id=subscription.stable_subscription_id)
    versions.filter(refunded_from=None).update(refunded_from=at)


def withdraw_scheduled_change(subscription: Subscription, *, at: datetime) -> None:
    """Take back what waits to happen to a subscription, if anything does."""
    waiting_of(subscription).update(withdrawn_at=at)


def _metrics_of(subscription: Subscription) -> list[int | None]:
    return list(subscription.items.filter(metric__isnull=False).values_list("metric_id", flat=True))


def _open_drafts(subscription: Subscription) -> QuerySet[Invoice]:
    """Its drafts, and those of subscriptions before it that bill the same metrics: settlement goes in order."""
    same_metric = Q(customer=subscription.customer_id, invoiced_periods__period__metric__in=_metrics_of(subscription))
    drafts = Invoice.objects.filter(same_metric | Q(subscription=subscription))
    keys = drafts.filter(status=InvoiceStatus.DRAFT, kind__in=_OF_PERIODS).values("pk")
    return Invoice.objects.filter(pk__in=keys).order_by("closes_at", "pk")
