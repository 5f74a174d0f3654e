"""Random histories of seats: what is in use is paid at every instant, by units that are billed once each."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from billing.books import check_books
from billing.models import InvoiceLine
from plans.models import AddedUnits, Seat, SubscriptionPeriod
from plans.services.units import units_over_time
from tests.pro_plan import sweep
from tests.seat_plan import give_seat, make_seat_plan, subscribed, take_seat

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
END = JANUARY + timedelta(days=60)

pytestmark = pytest.mark.django_db


def play(subscription, random):
    """Two months of seats given, taken, told of late, and sweeps that come now and then."""
    at, seated = JANUARY, {f"acme-{number}" for number in range(3)}
    while at < END:
        at += timedelta(hours=random.randint(1, 72), minutes=random.randint(0, 59))
        chance = random.random()
        if chance < 0.15:
            sweep(at)
        elif chance < 0.6 or not seated:
            member = f"member-{random.randint(0, 11)}"
            late = timedelta(hours=random.choice([0, 0, 5, 40]))
            give_seat(subscription, member, at, seated_at=max(at - late, JANUARY))
            seated.add(member)
        else:
            member = random.choice(sorted(seated))
            take_seat(subscription, member, at)
            seated.discard(member)
    sweep(END + timedelta(days=31))


def paid_at(periods, units, at):
    period = next(period for period in periods if period.start_at <= at < period.end_at)
    return [number for start, number in units[period.pk] if start <= at][-1]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("terms", [{}, {"bill_immediately": False}, {"minimum_quantity": 4}])
def test_seats_in_use_are_paid_at_every_instant_and_no_unit_twice(seed, terms):
    subscription = subscribed(make_seat_plan(**terms), at=JANUARY, seats=3)

    play(subscription, Random(seed))

    periods = list(
        SubscriptionPeriod.objects.filter(subscription=subscription, closed_at__isnull=False)
        .select_related("item__component", "customer")
        .order_by("start_at")
    )
    units = units_over_time(periods)
    seats = list(Seat.objects.filter(organization_id="acme"))
    for instant in {seat.started_at for seat in seats} | {period.start_at for period in periods}:
        in_use = sum(seat.started_at <= instant and not (seat.ended_at and seat.ended_at <= instant) for seat in seats)
        assert in_use <= paid_at(periods, units, instant)
    assert not AddedUnits.objects.filter(billed_at=None).exists()
    added = list(AddedUnits.objects.values_list("period", "effective_at", "from_quantity", "to_quantity"))
    lines = InvoiceLine.objects.filter(effective_at__isnull=False).values_list("period", "effective_at", "quantity")
    assert sorted(lines) == sorted((period, at, last - first) for period, at, first, last in added)
    assert [finding for finding in check_books(at=END + timedelta(days=31)) if finding.offenders] == []
