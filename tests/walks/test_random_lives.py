"""No sequence of change, pause, resume, cancel and subscribing again gives more units than its days paid for, and a
change and back costs nothing."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from django.db.models import Sum
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.services.cancel import cancel_now
from billing.services.change import change_now
from billing.services.pause import pause, resume
from billing.services.subscribe import subscribe
from credits.models import CreditTransaction
from credits.services.positions import read_positions
from plans.models import Subscription
from plans.periods import Clock, boundary, turn_at
from tests.billing.lives import run_sweeps
from tests.factories import CustomerFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, use

pytestmark = pytest.mark.django_db

MAY = datetime(2026, 5, 1, tzinfo=UTC)
JULY = datetime(2026, 7, 2, tzinfo=UTC)
ZONE = ZoneInfo("UTC")
# No turn but a week ends within these days, so nothing that is owed lapses; what a week owes fits into any other turn.
DAYS = 26
MONTH, WEEK, YEAR = Clock("MONTHLY"), Clock("WEEKLY"), Clock("YEARLY")
# The clock, the fee and the quota of each plan; the last one is free.
TERMS = [
    (MONTH, 2_900, 3_100),
    (MONTH, 9_900, 6_201),
    (WEEK, 500, 70),
    (YEAR, 29_000, 7_300),
    (MONTH, None, 310),
]
FREE = len(TERMS) - 1

STEPS = st.tuples(
    st.integers(0, DAYS * 24),
    st.one_of(
        st.tuples(st.just("use"), st.integers(1, 4_000)),
        st.tuples(st.sampled_from(["change", "change", "resume"]), st.integers(0, FREE)),
        st.tuples(st.sampled_from(["pause", "cancel", "refund", "sweep"]), st.just(0)),
    ),
)
FEW = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@dataclass
class Stretch:
    """A time at one plan with its clock, and up to when its days are paid for."""

    plan: int
    start_at: datetime
    anchor: datetime
    paused_at: datetime | None = None
    paid_until: datetime | None = None

    def turn_of(self, at):
        """The bounds of the turn in which an instant lies."""
        clock = TERMS[self.plan][0]
        number = turn_at(clock, self.anchor, at, ZONE)
        return tuple(boundary(clock, self.anchor, one, ZONE) for one in (number, number + 1))

    def paid(self, at):
        """Up to when the days are paid for that have begun."""
        return self.paid_until or self.turn_of(self.paused_at or at)[1]

    def end(self, at, *, kept):
        """Let it end: by its days, or where its fee was kept with its turn."""
        self.paid_until = self.paid(at) if kept and self.plan != FREE else min(at, self.paid(at))

    def worth(self, at):
        """The units that its days pay for."""
        units, start_at = Fraction(0), self.start_at
        while start_at < self.paid(at):
            turn = self.turn_of(start_at)
            until = min(turn[1], self.paid(at))
            units += Fraction(TERMS[self.plan][2] * _days(start_at, until), _days(*turn))
            start_at = turn[1]
        return units


def _days(start_at, end_at):
    return (end_at.date() - start_at.date()).days


class Life:
    """A customer who does one thing after the other, with what his days are worth in units."""

    def __init__(self):
        first = self.make_plan(*TERMS[0])
        self.metric = first.metric
        self.plans = [first, *(self.make_plan(*terms, beside=first) for terms in TERMS[1:])]
        self.customer = CustomerFactory()
        self.stretches = []
        self.subscribe(MAY, 0)

    def make_plan(self, clock, fee, quota, beside=None):
        return make_pro_plan(base_cents=fee, quota=quota, frequency=clock.frequency, beside=beside)

    @property
    def subscription(self):
        return Subscription.objects.live().filter(customer=self.customer).select_related("price").first()

    def subscribe(self, at, plan):
        """Begin at a plan."""
        subscribe(at=at, customer=self.customer, plan=self.plans[plan].plan)
        self.stretches.append(Stretch(plan, at, at))

    def do(self, at, what, number):
        """Take one step if it is possible."""
        held = self.subscription
        if what == "use":
            use(self.customer, self.metric, number, at, key=f"{at}/{number}")
        elif what == "sweep":
            run_sweeps(at)
        elif held is None:
            self.subscribe(at, number)
        elif what in ("cancel", "refund"):
            cancel_now(subscription=held, at=at, prorate=what == "refund")
            self.stretches[-1].end(at, kept=what == "cancel")
        elif held.status == "paused":
            self.resume(held, at)
        elif what == "pause":
            pause(subscription=held, at=at)
            self.stretches[-1].paused_at = at
        elif what == "change" and held.price != self.plans[number].price:
            self.change(held, number, at)

    def resume(self, held, at):
        """Go on with the turn if it lasts, else begin anew."""
        resume(subscription=held, at=at)
        last = self.stretches[-1]
        if at >= last.paid(at):
            last.paid_until = last.paid(at)
            self.stretches.append(Stretch(last.plan, at, at))
        last.paused_at = None

    def change(self, held, number, at):
        """Change to another plan; the clock goes on where the fees turn as before."""
        change_now(subscription=held, price=self.plans[number].price, at=at)
        last = self.stretches[-1]
        last.end(at, kept=False)
        goes_on = FREE not in (number, last.plan) and TERMS[number][0] == TERMS[last.plan][0]
        self.stretches.append(Stretch(number, at, last.anchor if goes_on else at))

    def left(self, at):
        """What plans' allowances would still pay for, and what they have paid for."""
        position = read_positions([(self.customer.pk, self.metric.pk)], at=at)[self.customer.pk, self.metric.pk]
        burned = CreditTransaction.objects.filter(grant__metric=self.metric, kind="burned")
        settled = burned.aggregate(units=Sum("amount"))["units"] or 0
        unsettled = sum((share.units for share in position.burn.shares), Decimal(0))
        return position.remaining(at), unsettled - settled


@FEW
@given(st.lists(STEPS, max_size=14))
def test_a_quota_cannot_be_farmed(steps):
    life = Life()
    for number, (hours, (what, amount)) in enumerate(sorted(steps)):
        at = MAY + timedelta(hours=hours, seconds=number)
        life.do(at, what, amount)
        after = at + timedelta(microseconds=500)
        worth = sum(stretch.worth(after) for stretch in life.stretches)
        left, paid = life.left(after)
        # Each grant is rounded up to a millionth.
        assert left <= max(worth - Fraction(paid), 0) + Fraction(len(life.stretches), 10**6), (what, at)
    run_sweeps(JULY)
    assert_books_add_up(at=JULY)


@FEW
@given(
    day=st.integers(0, 30), there=st.integers(0, 23), fees=st.tuples(st.integers(100, 99_999), st.integers(100, 99_999))
)
def test_a_change_and_back_on_one_day_nets_to_zero(day, there, fees):
    pro = make_pro_plan(base_cents=fees[0])
    big = make_pro_plan(base_cents=fees[1], beside=pro)
    first = subscribe(at=MAY, customer=CustomerFactory(), plan=pro.plan)
    at = MAY + timedelta(days=day, hours=there)

    second = change_now(subscription=first, price=big.price, at=at)
    third = change_now(subscription=second.subscription, price=pro.price, at=at + timedelta(minutes=59))

    shared = [line for change in (second, third) for line in change.lines if line.type in ("fixed", "proration")]
    assert sum(line.amount_cents for line in shared) == 0
