"""How many units in advance, such as seats, subscriptions pay for: when a period begins, and added within it.

Ruling: a period bills the seats at its start, at least the minimum. What is needed beyond that later is added from that
instant to the period's end; what is not needed any more stays paid until then, so a replacement costs nothing.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet

from plans.models import (
    AddedUnits,
    ComponentKind,
    Customer,
    PeriodKind,
    Seat,
    SubscriptionItem,
    SubscriptionPeriod,
)
from plans.models.customers import OrgRole

_INSTANT = timedelta(microseconds=1)
Seats = Mapping[str, Sequence[Seat]]


def organization_paid_by(customer: Customer) -> str | None:
    """The organization whose seats a customer pays for."""
    return customer.customer_organization_id if customer.org_role == OrgRole.PRIMARY else None


def units_at_start(periods: Iterable[SubscriptionPeriod]) -> dict[int, int]:
    """Tell how many units each period of a per-unit component bills in advance, by the period's key.

    What was stored when it was closed stays. Until then an organization's are its seats at the period's start, anybody
    else's the quantity of the item; never fewer than the component's minimum. Item, component and customer must be
    loaded.
    """
    in_units = [period for period in periods if is_of_units(period.item)]
    seats = _seats_of(period.customer for period in in_units if period.quantity is None)
    return {
        period.pk: _units_needed(period, seats) if period.quantity is None else period.quantity for period in in_units
    }


def is_of_units(item: SubscriptionItem) -> bool:
    """Tell whether an item bills units in advance. The component must be loaded."""
    return item.component is not None and item.component.kind == ComponentKind.PER_UNIT


def _units_needed(period: SubscriptionPeriod, seats: Seats) -> int:
    component = period.item.component
    assert component is not None
    held = seats.get(organization_paid_by(period.customer) or "")
    units = period.item.quantity if held is None else seats_in_use(held, period.start_at)
    return max(units, component.minimum_quantity)


def store_quantities(periods: Collection[int], *, at: datetime) -> list[AddedUnits]:
    """Write down how many units periods bill that are being closed, and return what those before them lacked: seats
    that nobody has billed yet. The caller holds the locks of their subscriptions."""
    closing = list(_billing_units().filter(pk__in=periods, kind=PeriodKind.REGULAR, quantity=None))
    if not closing:
        return []
    quantities = units_at_start(closing)
    for period in closing:
        period.quantity = quantities[period.pk]
    SubscriptionPeriod.objects.bulk_update(closing, ["quantity"], batch_size=500)
    starts = {period.item_id: period.start_at for period in closing}
    before = _billing_units().filter(
        item__in=starts, end_at__in=set(starts.values()), kind=PeriodKind.REGULAR, quantity__isnull=False
    )
    return add_missing_seats([period for period in before if period.end_at == starts[period.item_id]], at=at)


def open_unit_periods(subscription: int, *, since: datetime) -> list[SubscriptionPeriod]:
    """The billed periods, and the trials, of a subscription's per-unit components that have begun and reach beyond an
    instant, with what adding units needs."""
    begun = Q(kind=PeriodKind.REGULAR, closed_at__isnull=False) | Q(kind=PeriodKind.TRIAL)
    return list(
        _billing_units()
        .filter(begun, subscription=subscription, item__ended_at=None, end_at__gt=since)
        .order_by("item__component__position", "start_at")
    )


def _billing_units() -> QuerySet[SubscriptionPeriod]:
    return SubscriptionPeriod.objects.filter(item__component__kind=ComponentKind.PER_UNIT).select_related(
        "item__component__price", "customer"
    )


def add_missing_seats(periods: Sequence[SubscriptionPeriod], *, at: datetime) -> list[AddedUnits]:
    """Add what these periods need beyond their units for the seats of their organizations, each from the instant at
    which it is needed, and return what is new. A seat without a start counts from when its member was made.

    The caller holds the locks of the periods' subscriptions; item, component and customer must be loaded.
    """
    seats = _seats_of(period.customer for period in periods)
    seated = [period for period in periods if organization_paid_by(period.customer) in seats]
    units, added = units_at_start(seated), _added_to(seated)
    found = []
    for period in seated:
        needs = _needs(period, seats[organization_paid_by(period.customer) or ""], at)
        found += _cover(period, units[period.pk], added[period.pk], needs, at)
    return AddedUnits.objects.bulk_create(found)


def raise_units(periods: Sequence[SubscriptionPeriod], *, quantity: int, at: datetime) -> list[AddedUnits]:
    """Add what these periods need to have `quantity` units from an instant on, and return it. The caller holds the
    locks of the periods' subscriptions; item, component and customer must be loaded."""
    current = [period for period in periods if period.start_at <= at < period.end_at]
    units, added = units_at_start(current), _added_to(current)
    found = [
        one for period in current for one in _cover(period, units[period.pk], added[period.pk], [(at, quantity)], at)
    ]
    return AddedUnits.objects.bulk_create(found)


def _needs(period: SubscriptionPeriod, seats: Sequence[Seat], at: datetime) -> list[tuple[datetime, int]]:
    """The instants of a period at which seats begin, up to now, with the seats that are in use then."""
    starts = {max(_start_of(seat), period.start_at) for seat in seats if not _has_ended(seat, period.start_at)}
    until = min(at, period.end_at - _INSTANT)
    return [(start, seats_in_use(seats, start)) for start in sorted(starts) if start <= until]


def seats_in_use(seats: Iterable[Seat], at: datetime) -> int:
    """Count the seats that are in use at an instant. Members must be loaded."""
    return sum(_start_of(seat) <= at and not _has_ended(seat, at) for seat in seats)


def _start_of(seat: Seat) -> datetime:
    return seat.started_at or seat.member.created_at


def _has_ended(seat: Seat, at: datetime) -> bool:
    return seat.ended_at is not None and seat.ended_at <= at


def _cover(
    period: SubscriptionPeriod,
    units: int,
    added: Sequence[AddedUnits],
    needs: Iterable[tuple[datetime, int]],
    at: datetime,
) -> list[AddedUnits]:
    """What has to be added so that a period has at each instant the units that are needed then."""
    all_added = list(added)
    for start, needed in needs:
        missing = needed - _units_at(units, all_added, start)
        if missing > 0:
            top = units + sum(one.units for one in all_added)
            effective_at, taken = start, {one.effective_at for one in all_added}
            while effective_at in taken:
                effective_at += _INSTANT
            all_added.append(
                AddedUnits(
                    period=period,
                    from_quantity=top,
                    to_quantity=top + missing,
                    needed_at=start,
                    effective_at=effective_at,
                    billed_at=at if period.kind == PeriodKind.TRIAL else None,
                    created_at=at,
                )
            )
    return all_added[len(added) :]


def _units_at(units: int, added: Iterable[AddedUnits], at: datetime) -> int:
    return units + sum(one.units for one in added if one.needed_at <= at)


def units_over_time(periods: Sequence[SubscriptionPeriod]) -> dict[int, list[tuple[datetime, int]]]:
    """Tell from when on how many units were paid for in each period of a per-unit component, by the period's key, in
    order of time. Item, component and customer must be loaded."""
    units, added = units_at_start(periods), _added_to(periods)
    return {
        period.pk: [
            (start, _units_at(units[period.pk], added[period.pk], start))
            for start in sorted({period.start_at} | {one.needed_at for one in added[period.pk]})
        ]
        for period in periods
    }


def _added_to(periods: Iterable[SubscriptionPeriod]) -> dict[int, list[AddedUnits]]:
    added: dict[int, list[AddedUnits]] = defaultdict(list)
    for one in AddedUnits.objects.filter(period__in=[period.pk for period in periods]).order_by("from_quantity"):
        added[one.period_id].append(one)
    return added


def _seats_of(customers: Iterable[Customer]) -> dict[str, list[Seat]]:
    """All seats of the organizations that customers pay for; those that never had any are left out."""
    organizations = {organization for customer in customers if (organization := organization_paid_by(customer))}
    seats: dict[str, list[Seat]] = defaultdict(list)
    if organizations:
        for seat in Seat.objects.filter(organization_id__in=organizations).select_related("member"):
            seats[seat.organization_id].append(seat)
    return dict(seats)


def seats_of(customer: Customer) -> list[Seat]:
    """All seats of the organization that a customer pays for, with their members."""
    return next(iter(_seats_of([customer]).values()), [])


class PaidUnits:
    """The units in advance that subscriptions pay for at an instant, by the first per-unit component of each, or by
    that of one `item`. With `ended` those count, too, that have ended."""

    def __init__(
        self, subscriptions: Collection[int], *, since: datetime, item: int | None = None, ended: bool = False
    ) -> None:
        rows = _billing_units().filter(subscription__in=subscriptions, end_at__gt=since)
        if not ended:
            rows = rows.filter(item__ended_at=None)
        if item is not None:
            rows = rows.filter(item=item)
        self._periods: dict[int, list[SubscriptionPeriod]] = defaultdict(list)
        for period in rows.exclude(kind=PeriodKind.PAUSE).order_by("item__component__position", "item_id", "start_at"):
            of_subscription = self._periods[period.subscription_id]
            if not of_subscription or of_subscription[0].item_id == period.item_id:
                of_subscription.append(period)
        stored = [period for periods in self._periods.values() for period in periods]
        self._units, self._added = units_at_start(stored), _added_to(stored)

    def at(self, subscription: int, at: datetime) -> int:
        """The units of a subscription at an instant: those of the period that contains it, else of the one before it,
        else of the first one. Without any it is one."""
        periods = self._periods.get(subscription)
        if not periods:
            return 1
        place = bisect_right([period.start_at for period in periods], at)
        period = periods[max(place - 1, 0)]
        return _units_at(self._units[period.pk], self._added[period.pk], at)

    def raised_at(self, subscription: int, start_at: datetime, end_at: datetime) -> list[datetime]:
        """The instants after `start_at` and before `end_at` at which a subscription pays for more units."""
        added = [one for period in self._periods.get(subscription, ()) for one in self._added[period.pk]]
        return sorted({one.needed_at for one in added if start_at < one.needed_at < end_at})
