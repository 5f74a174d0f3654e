"""Ruling 28 without proration: nothing is credited or charged for the days that are left, so until the new fees begin
the allowance is what was paid for. 29.00 and 10,000 calls a month; 99.00 and 20,000 in the big plan."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.services.change import Proration, change_now
from billing.services.subscribe import subscribe
from plans.models import PlanFeature
from tests.billing.lives import invoices, run_sweeps
from tests.factories import CustomerFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, remaining, use

pytestmark = pytest.mark.django_db

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
APRIL_16 = datetime(2026, 4, 16, 12, tzinfo=UTC)
APRIL_21 = datetime(2026, 4, 21, 12, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def big(pro):
    return make_pro_plan(base_cents=9_900, quota=20_000, beside=pro)


@pytest.fixture
def customer():
    return CustomerFactory()


@pytest.fixture(autouse=True)
def books_add_up():
    yield
    assert_books_add_up(at=datetime(2027, 1, 2, tzinfo=UTC))


def test_the_dearer_plan_gives_no_more_before_its_fee_is_paid(pro, big, customer):
    subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 4_000, APRIL + DAY)

    change_now(subscription=subscription, price=big.price, at=APRIL_16, proration=Proration.NONE)

    assert remaining(customer, pro.metric, APRIL_16 + HOUR) == 10_000 - 4_000
    run_sweeps(MAY + HOUR)
    assert invoices(customer)[-1] == ("cycle", MAY, 9_900)
    assert remaining(customer, pro.metric, MAY + 2 * HOUR) == 20_000


def test_the_cheaper_plan_leaves_what_was_paid_for(pro, big, customer):
    subscription = subscribe(at=APRIL, customer=customer, plan=big.plan)
    use(customer, pro.metric, 4_000, APRIL + DAY)

    change_now(subscription=subscription, price=pro.price, at=APRIL_16, proration=Proration.NONE)

    assert remaining(customer, pro.metric, APRIL_16 + HOUR) == 20_000 - 4_000
    run_sweeps(MAY + HOUR)
    assert invoices(customer)[-1] == ("cycle", MAY, 2_900)
    assert remaining(customer, pro.metric, MAY + 2 * HOUR) == 10_000


def test_there_and_back_gives_what_was_paid_for(pro, big, customer):
    subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)
    there = change_now(subscription=subscription, price=big.price, at=APRIL_16, proration=Proration.NONE)
    use(customer, pro.metric, 4_000, APRIL_16 + DAY)

    change_now(subscription=there.subscription, price=pro.price, at=APRIL_21, proration=Proration.NONE)

    assert remaining(customer, pro.metric, APRIL_21 + HOUR) == 10_000 - 4_000


def test_a_change_with_proration_afterwards_shares_the_days_that_were_paid_for(pro, big, customer):
    middle = make_pro_plan(base_cents=5_000, quota=15_000, beside=pro)
    subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)
    there = change_now(subscription=subscription, price=big.price, at=APRIL_16, proration=Proration.NONE)

    change_now(subscription=there.subscription, price=middle.price, at=APRIL_21)

    # The first plan's fee pays for 20 of 30 days: 6,666.67; then 15,000 × 10 / 30.
    assert remaining(customer, pro.metric, APRIL_21 + HOUR) == Decimal("11666.666667")


def test_the_months_of_a_paid_year_give_what_the_year_was_paid_for(customer):
    pro = make_pro_plan(base_cents=36_500, base_frequency="YEARLY")
    big = make_pro_plan(base_cents=73_000, base_frequency="YEARLY", quota=20_000, beside=pro)
    subscription = subscribe(at=datetime(2026, 1, 1, tzinfo=UTC), customer=customer, plan=pro.plan)
    run_sweeps(APRIL + HOUR)
    use(customer, pro.metric, 4_000, APRIL + DAY)

    change_now(subscription=subscription, price=big.price, at=APRIL_16, proration=Proration.NONE)

    assert remaining(customer, pro.metric, APRIL_16 + HOUR) == 6_000
    run_sweeps(MAY + HOUR)
    assert remaining(customer, pro.metric, MAY + 2 * HOUR) == 10_000
    new_year = datetime(2027, 1, 1, 1, tzinfo=UTC)
    run_sweeps(new_year)
    assert remaining(customer, pro.metric, new_year + HOUR) == 20_000


def test_a_number_of_the_plans_feature_waits_for_its_fee_too(customer):
    pro = make_pro_plan(quota=None)
    big = make_pro_plan(base_cents=9_900, quota=None, beside=pro)
    PlanFeature.objects.filter(plan=pro.plan).update(value=3_000)
    PlanFeature.objects.filter(plan=big.plan).update(value=6_000)
    subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)

    change_now(subscription=subscription, price=big.price, at=APRIL_16, proration=Proration.NONE)

    assert remaining(customer, pro.metric, APRIL_16 + HOUR) == 3_000
    run_sweeps(MAY + HOUR)
    assert remaining(customer, pro.metric, MAY + 2 * HOUR) == 6_000


def test_another_clock_is_paid_for_at_once_and_what_is_left_of_the_old_one_stays(pro, customer):
    yearly = make_pro_plan(frequency="YEARLY", base_cents=29_000, quota=120_000, beside=pro)
    subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 4_000, APRIL + DAY)

    change_now(subscription=subscription, price=yearly.price, at=APRIL_16, proration=Proration.NONE)

    # Nothing of the 29.00 came back, so the month counts whole.
    assert remaining(customer, pro.metric, APRIL_16 + HOUR) == 10_000 - 4_000 + 120_000
