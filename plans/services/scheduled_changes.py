from datetime import datetime

from django.db.models import QuerySet

from plans.models import (
    PeriodKind,
    Price,
    ScheduledChange,
    ScheduledChangeKind,
    Subscription,
    SubscriptionPeriod,
)
from plans.services.item_periods import clock_of, is_in_advance


def waiting_changes() -> QuerySet[ScheduledChange]:
    """Changes that wait for their instant, of customers that are not parked."""
    return ScheduledChange.objects.filter(
        applied_at=None, withdrawn_at=None, subscription__customer__parked_at__isnull=True
    )


def waiting_of(subscription: Subscription) -> QuerySet[ScheduledChange]:
    """The change that waits for its instant at a subscription, if any."""
    return ScheduledChange.objects.filter(subscription=subscription, applied_at=None, withdrawn_at=None)


def schedule(
    *, subscription: Subscription, kind: ScheduledChangeKind, price: Price | None = None, at: datetime
) -> ScheduledChange:
    """Let a subscription change to another price, or end, with the end of what is paid for; what waited takes its place
    no more. The caller holds the subscription's lock."""
    waiting_of(subscription).update(withdrawn_at=at)
    return ScheduledChange.objects.create(
        subscription=subscription,
        kind=kind,
        price=price,
        effective_at=paid_through(subscription, at=at),
        created_at=at,
    )


def paid_through(subscription: Subscription, *, at: datetime) -> datetime:
    """The end of the period that a subscription has begun: the longest one billed in advance, whose clock has no end;
    without one, the current turn of its shortest clock. In a trial it is the trial's end; before its start the start.
    """
    if at < subscription.started_at:
        return subscription.started_at
    if subscription.trial_ends_at is not None and at < subscription.trial_ends_at:
        return subscription.trial_ends_at
    current = list(
        SubscriptionPeriod.objects.filter(subscription=subscription, start_at__lte=at, end_at__gt=at)
        .exclude(kind=PeriodKind.PAUSE)
        .select_related("item__component")
    )
    endless = [period for period in current if not clock_of(period.item).has_end] or current
    advance = [period.end_at for period in endless if is_in_advance(period.item)]
    if advance:
        return max(advance)
    return min((period.end_at for period in endless), default=at)
