"""No sequence of change, pause, resume, cancel and subscribing again gives more units than its days paid for, and a
change and back costs nothing."""

from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction

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
from tests.billing.lives import run_sweeps
from tests.factories import CustomerFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, use

pytestmark = pytest.mark.django_db

MAY = datetime(2026, 5, 1, tzinfo=UTC)
JULY = datetime(2026, 7, 2, tzinfo=UTC)
# A turn that begins in May has this many days.
TURN = 31
FEES_AND_QUOTAS = [(2_900, 3_100), (9_900, 6_201), (500, 310)]

STEPS = st.tuples(
    st.integers(0, 30 * 24),
    st.one_of(
        st.tuples(st.just("use"), st.integers(1, 4_000)),
        st.tuples(st.just("change"), st.integers(0, 2)),
        st.tuples(st.sampled_from(["pause", "resume", "cancel"]), st.just(0)),
    ),
)
FEW = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class Life:
    """A customer who does one thing after the other, with what his days are worth in units."""

    def __init__(self):
        first = make_pro_plan(base_cents=FEES_AND_QUOTAS[0][0], quota=FEES_AND_QUOTAS[0][1])
        self.metric = first.metric
        others = [make_pro_plan(base_cents=fee, quota=quota, beside=first) for fee, quota in FEES_AND_QUOTAS[1:]]
        self.plans = [first, *others]
        self.customer = CustomerFactory()
        self.subscribe(MAY)

    @property
    def subscription(self):
        return Subscription.objects.live().filter(customer=self.customer).select_related("price").first()

    def subscribe(self, at):
        """Begin a turn at the first plan."""
        subscribe(at=at, customer=self.customer, plan=self.plans[0].plan)
        self.stretches = [(at.date(), FEES_AND_QUOTAS[0][1])]

    def do(self, at, what, number):
        """Take one step if it is possible."""
        held = self.subscription
        if what == "use":
            use(self.customer, self.metric, number, at, key=f"{at}/{number}")
        elif held is None:
            self.subscribe(at)
        elif what == "cancel":
            cancel_now(subscription=held, at=at)
        elif held.status == "paused":
            resume(subscription=held, at=at)
        elif what == "pause":
            pause(subscription=held, at=at)
        elif what == "change" and held.price != self.plans[number].price:
            change_now(subscription=held, price=self.plans[number].price, at=at)
            self.stretches.append((at.date(), FEES_AND_QUOTAS[number][1]))

    def worth(self):
        """The units that the days of the turn pay for, with the current plan to its end."""
        ends = [day for day, _ in self.stretches[1:]] + [self.stretches[0][0] + timedelta(days=TURN)]
        return sum(
            Fraction(quota * (end - day).days, TURN) for (day, quota), end in zip(self.stretches, ends, strict=True)
        )

    def left(self, at):
        """What is left, and what plans' grants of the running subscription have paid so far."""
        position = read_positions([(self.customer.pk, self.metric.pk)], at=at)[self.customer.pk, self.metric.pk]
        left = position.remaining(at)
        unsettled = sum((grant.ledger_remaining for grant in position.active_grants(at)), Decimal(0)) - left
        burned = CreditTransaction.objects.filter(
            grant__subscription__stable_subscription_id=self.subscription.stable_subscription_id, kind="burned"
        ).aggregate(units=Sum("amount"))["units"]
        return left, unsettled - (burned or 0)


@FEW
@given(st.lists(STEPS, max_size=12))
def test_a_quota_cannot_be_farmed(steps):
    life = Life()
    for number, (hours, (what, amount)) in enumerate(sorted(steps)):
        at = MAY + timedelta(hours=hours, seconds=number)
        life.do(at, what, amount)
        if life.subscription is not None:
            left, paid = life.left(at + timedelta(microseconds=500))
            worth = Decimal(life.worth().numerator) / Decimal(life.worth().denominator)
            allowed = (worth - paid).quantize(Decimal("0.000001"), rounding=ROUND_CEILING)
            assert left <= max(allowed, 0), (what, at)
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
