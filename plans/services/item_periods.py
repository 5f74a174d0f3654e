"""The stored periods of a subscription's items: written ahead, and cut where something ends early."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from django.db.models import QuerySet

from plans.bulk_rows import insert_rows, new_row
from plans.models import (
    ComponentKind,
    PeriodKind,
    Subscription,
    SubscriptionItem,
    SubscriptionPeriod,
)
from plans.periods import Clock, boundary, turn_at
from plans.services.time_zone import billing_zone


def store_periods(*, items: Iterable[SubscriptionItem], through: datetime) -> list[SubscriptionPeriod]:
    """Store each item's periods until its last one starts after `through` or its clock ends, and return the new ones.

    While the clock turns, one period lies always ahead, so that nothing which begins with it depends on when a sweep
    runs. The caller holds the lock of the items' subscriptions. Components and subscriptions must be loaded.
    """
    items = list(items)
    latest = SubscriptionPeriod.objects.filter(item__in=items).order_by("item_id", "-start_at").distinct("item_id")
    last = {item: _Last(*row) for item, *row in latest.values_list("item_id", *_Last._fields)}
    missing = [
        period for item in items if item.ended_at is None for period in _periods_after(item, last.get(item.pk), through)
    ]
    return insert_rows(missing)


class _Last(NamedTuple):
    """What of an item's last period decides the next one."""

    kind: str
    number: int
    start_at: datetime
    end_at: datetime


def clock_of(item: SubscriptionItem) -> Clock:
    """The clock of an item, with the end that its component gives it. The component must be loaded."""
    return item.clock if item.component is None else item.component.clock


def is_in_advance(item: SubscriptionItem) -> bool:
    """Tell whether an item's periods are billed when they begin. The component must be loaded."""
    return item.component is not None and item.component.kind != ComponentKind.USAGE


def is_fee_for_days(item: SubscriptionItem) -> bool:
    """Tell whether an item's periods are paid for in advance: not by a fee of nothing, nor by one that comes once. The
    component must be loaded."""
    component = item.component
    if component is None or component.kind == ComponentKind.USAGE or component.recurrence_count == 1:
        return False
    return component.amount_cents != 0 and component.unit_cost_cents != 0


def _periods_after(
    item: SubscriptionItem, last: _Last | SubscriptionPeriod | None, through: datetime
) -> Iterable[SubscriptionPeriod]:
    if last is None:
        last = first_period(item)
        if last is None:
            return
        yield last
    zone, clock = billing_zone(), clock_of(item)
    last_start, start_at = last.start_at, last.end_at
    number = 0 if last.kind == PeriodKind.TRIAL else last.number + 1
    while last_start <= through and clock.has_period(number, start_at, zone):
        period = period_of(
            item, number=number, start_at=start_at, end_at=boundary(clock, item.clock_started_at, number + 1, zone)
        )
        yield period
        last_start, start_at, number = start_at, period.end_at, number + 1


def first_period(item: SubscriptionItem) -> SubscriptionPeriod | None:
    """Make the period with which an item begins, not stored yet: its trial if its clock starts later, else the turn in
    which it starts, or what is left of it. None if the clock has no such turn."""
    clock, zone = clock_of(item), billing_zone()
    if item.started_at < item.clock_started_at:
        return period_of(
            item,
            kind=PeriodKind.TRIAL,
            number=0,
            start_at=item.started_at,
            end_at=item.clock_started_at,
            bill_at=item.clock_started_at,
        )
    number = turn_at(clock, item.clock_started_at, item.started_at, zone)
    whole_start_at = boundary(clock, item.clock_started_at, number, zone)
    if not clock.has_period(number, whole_start_at, zone):
        return None
    end_at = boundary(clock, item.clock_started_at, number + 1, zone)
    is_whole = whole_start_at == item.started_at
    return period_of(
        item,
        number=number,
        start_at=item.started_at,
        end_at=end_at,
        whole_start_at=None if is_whole else whole_start_at,
        whole_end_at=None if is_whole else end_at,
    )


def period_of(item: SubscriptionItem, *, start_at: datetime, end_at: datetime, **fields: object) -> SubscriptionPeriod:
    """Make a period of an item, not stored yet. Its component must be loaded."""
    return new_row(
        SubscriptionPeriod,
        **{
            "item": item,
            "subscription_id": item.subscription_id,
            "customer_id": item.customer_id,
            "metric_id": item.metric_id,
            "start_at": start_at,
            "end_at": end_at,
            "bill_at": start_at if is_in_advance(item) else end_at,
        }
        | fields,
    )


def periods_not_begun(subscription: Subscription, *, at: datetime) -> QuerySet[SubscriptionPeriod]:
    """The periods that begin at an instant or later, and that no close has gathered."""
    return SubscriptionPeriod.objects.filter(subscription=subscription, start_at__gte=at, closed_at=None)


def cut_periods(*, subscription: Subscription, at: datetime) -> list[SubscriptionPeriod]:
    """End what a subscription has open at an instant, and return what falls due with that.

    Periods that have not begun are deleted, so their grants must be gone. Those that no close has gathered and that
    reach beyond the instant are cut there, and fall due. What was billed in advance keeps its end. A pause ends.
    """
    periods_not_begun(subscription, at=at).delete()
    open_periods = SubscriptionPeriod.objects.filter(subscription=subscription, end_at__gt=at)
    open_pauses = open_periods.filter(kind=PeriodKind.PAUSE)
    open_pauses.filter(start_at__gte=at).delete()
    open_pauses.update(end_at=at)
    cut = list(open_periods.filter(closed_at=None).select_related("item__component__price"))
    for period in cut:
        period.whole_start_at, period.whole_end_at = period.whole
        period.end_at = period.bill_at = at
    SubscriptionPeriod.objects.bulk_update(cut, ["whole_start_at", "whole_end_at", "end_at", "bill_at"])
    return list(
        SubscriptionPeriod.objects.filter(subscription=subscription, bill_at__lte=at, closed_at=None)
        .select_related("item__component__price", "customer")
        .order_by("bill_at", "item_id")
    )
