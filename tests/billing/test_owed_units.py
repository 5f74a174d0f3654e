"""What was taken beyond the days that were paid for is owed: a shorter clock, or a new subscription, gives it no second
time. 10,000 calls a month from 1 April on, 2,500 a week in the other plan, unless a test says so."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.services.cancel import cancel_now
from billing.services.change import change_now
from billing.services.pause import pause, resume
from billing.services.subscribe import subscribe
from entitlements.services.check import check
from plans.models import PlanFeature, SubscriptionItem
from tests.billing.lives import live, run_sweeps
from tests.factories import CustomerFactory, FixedComponentFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, remaining, use

pytestmark = pytest.mark.django_db

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
APRIL_2 = datetime(2026, 4, 2, 9, tzinfo=UTC)
APRIL_11 = datetime(2026, 4, 11, 9, tzinfo=UTC)
APRIL_13 = datetime(2026, 4, 13, 9, tzinfo=UTC)
APRIL_20 = datetime(2026, 4, 20, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WEEK = timedelta(days=7)
LATER = datetime(2026, 7, 1, tzinfo=UTC)


@pytest.fixture
def monthly():
    return make_pro_plan()


@pytest.fixture
def weekly(monthly):
    return make_pro_plan(frequency="WEEKLY", base_cents=700, quota=2_500, beside=monthly)


@pytest.fixture
def free(monthly):
    return make_pro_plan(base_cents=None, quota=1_000, beside=monthly)


@pytest.fixture
def customer():
    return CustomerFactory()


@pytest.fixture(autouse=True)
def books_add_up():
    yield
    run_sweeps(LATER)
    assert_books_add_up(at=LATER)


def left(customer, plan, *instants):
    """What is left at instants, after the sweeps that ran until then."""
    found = []
    for at in instants:
        run_sweeps(at)
        found.append(remaining(customer, plan.metric, at))
    return found


def test_a_shorter_clock_does_not_forget_what_was_taken_of_the_longer_one(monthly, weekly, customer):
    subscription = subscribe(at=APRIL, customer=customer, plan=monthly.plan)
    use(customer, monthly.metric, 10_000, APRIL + HOUR)

    change_now(subscription=subscription, price=weekly.price, at=APRIL_2)

    # 10,000 / 30 + 2,500 - 10,000 are -7,166.67; the weeks from 9, 16 and 23 April on pay that back, and the one that
    # begins on the 30th is not touched.
    starts = [APRIL_2 + HOUR + week * WEEK for week in range(5)]
    assert left(customer, monthly, *starts) == [0, 0, 0, Decimal("333.333334"), 2_500]


def test_a_number_of_the_plans_feature_is_withheld_like_a_quota(customer):
    monthly = make_pro_plan(quota=None)
    weekly = make_pro_plan(frequency="WEEKLY", base_cents=700, quota=None, beside=monthly)
    PlanFeature.objects.filter(plan=monthly.plan).update(value=10_000)
    PlanFeature.objects.filter(plan=weekly.plan).update(value=2_500)
    subscription = subscribe(at=APRIL, customer=customer, plan=monthly.plan)
    use(customer, monthly.metric, 10_000, APRIL + HOUR)

    change_now(subscription=subscription, price=weekly.price, at=APRIL_2)

    starts = [APRIL_2 + HOUR + week * WEEK for week in range(5)]
    assert left(customer, monthly, *starts[:4]) == [0, 0, 0, Decimal("333.333334")]
    answer = check(customer=customer.public_id, slug=monthly.feature.slug, at=starts[3])
    assert answer.remaining == Decimal("333.333334")
    assert left(customer, monthly, starts[4]) == [2_500]


def test_another_change_counts_what_whole_weeks_have_paid_back(monthly, weekly, customer):
    subscription = subscribe(at=APRIL, customer=customer, plan=monthly.plan)
    use(customer, monthly.metric, 10_000, APRIL + HOUR)
    there = change_now(subscription=subscription, price=weekly.price, at=APRIL_2)
    run_sweeps(APRIL_20)

    change_now(subscription=there.subscription, price=monthly.price, at=APRIL_20)

    # 333.33 - 10,000, two weeks of 2,500, 4 of 7 days, and a new month.
    assert left(customer, monthly, APRIL_20 + HOUR) == [Decimal("6761.904762")]


def test_another_change_does_not_count_what_whole_weeks_left_unused(monthly, weekly, customer):
    subscription = subscribe(at=APRIL, customer=customer, plan=monthly.plan)
    there = change_now(subscription=subscription, price=weekly.price, at=APRIL_2)
    # 333.33 and 2,500
    assert left(customer, monthly, APRIL_2 + HOUR) == [Decimal("2833.333334")]
    use(customer, monthly.metric, 1_000, APRIL_2 + DAY)
    run_sweeps(APRIL_13)

    change_now(subscription=there.subscription, price=monthly.price, at=APRIL_13)

    # What the first week had left is gone; 4 of 7 days of 2,500, and a new month.
    assert left(customer, monthly, APRIL_13 + HOUR) == [Decimal("11428.571429")]


def test_whole_weeks_that_were_used_are_not_taken_for_a_debt(monthly, weekly, customer):
    subscription = subscribe(at=APRIL, customer=customer, plan=monthly.plan)
    there = change_now(subscription=subscription, price=weekly.price, at=APRIL_2)
    use(customer, monthly.metric, 5_000, APRIL_2 + DAY)
    use(customer, monthly.metric, 5_000, APRIL_2 + WEEK)
    run_sweeps(APRIL_20)

    change_now(subscription=there.subscription, price=monthly.price, at=APRIL_20)

    # 2,833.333334 and 2,500 were given and taken; 4 of 7 days of 2,500, and a new month, less the millionth of
    # rounding.
    assert left(customer, monthly, APRIL_20 + HOUR) == [Decimal("11428.571428")]


def test_a_pause_does_not_forget_what_is_owed(monthly, weekly, customer):
    subscription = subscribe(at=APRIL, customer=customer, plan=monthly.plan)
    use(customer, monthly.metric, 10_000, APRIL + HOUR)
    following = change_now(subscription=subscription, price=weekly.price, at=APRIL_2).subscription
    pause(subscription=following, at=APRIL_2 + DAY)
    resume(subscription=following, at=APRIL_2 + 2 * DAY)

    starts = [APRIL_2 + 2 * DAY + HOUR, *(APRIL_2 + HOUR + week * WEEK for week in range(1, 5))]
    assert left(customer, monthly, *starts) == [0, 0, 0, Decimal("333.333334"), 2_500]


def test_a_free_plan_is_not_new_by_subscribing_again(free, customer):
    subscription = subscribe(at=APRIL, customer=customer, plan=free.plan)
    use(customer, free.metric, 1_000, APRIL + HOUR)
    cancel_now(subscription=subscription, at=APRIL_11)

    again = subscribe(at=APRIL_11 + HOUR, customer=customer, plan=free.plan)

    # 1,000 × 10 / 30 - 1,000 + 1,000
    assert left(customer, free, APRIL_11 + 2 * HOUR) == [Decimal("333.333334")]
    cancel_now(subscription=again, at=APRIL_11 + 3 * HOUR)
    subscribe(at=APRIL_11 + 4 * HOUR, customer=customer, plan=free.plan)
    assert left(customer, free, APRIL_11 + 5 * HOUR) == [Decimal("333.333334")]
    assert left(customer, free, datetime(2026, 5, 11, 1, tzinfo=UTC)) == [1_000]


@pytest.mark.parametrize("settled", [False, True])
def test_usage_counts_that_waits_for_its_invoice(free, customer, settled):
    subscription = subscribe(at=APRIL, customer=customer, plan=free.plan)
    use(customer, free.metric, 1_000, APRIL + HOUR)
    cancel_now(subscription=subscription, at=APRIL + 2 * HOUR)
    if settled:
        run_sweeps(APRIL + 4 * HOUR)

    subscribe(at=APRIL + 4 * HOUR, customer=customer, plan=free.plan)

    # No day was kept.
    assert left(customer, free, APRIL + 5 * HOUR) == [0]


def test_a_fee_of_nothing_pays_for_nothing(free, customer):
    FixedComponentFactory(price=free.price, amount_cents=0)
    subscription = subscribe(at=APRIL, customer=customer, plan=free.plan)
    use(customer, free.metric, 1_000, APRIL + HOUR)
    cancel_now(subscription=subscription, at=APRIL_11)

    subscribe(at=APRIL_11 + HOUR, customer=customer, plan=free.plan)

    assert left(customer, free, APRIL_11 + 2 * HOUR) == [Decimal("333.333334")]


@pytest.mark.parametrize(("prorate", "units"), [(True, Decimal("3333.333334")), (False, 10_000)])
def test_who_got_his_fee_back_owes_the_units_of_those_days(monthly, customer, prorate, units):
    subscription = subscribe(at=APRIL, customer=customer, plan=monthly.plan)
    use(customer, monthly.metric, 10_000, APRIL + HOUR)
    cancel_now(subscription=subscription, at=APRIL_11, prorate=prorate)

    subscribe(at=APRIL_11 + HOUR, customer=customer, plan=monthly.plan)

    assert left(customer, monthly, APRIL_11 + 2 * HOUR) == [units]


def test_what_was_left_unused_is_not_carried_into_a_new_subscription(monthly, free, customer):
    subscription = subscribe(at=APRIL, customer=customer, plan=monthly.plan)
    cancel_now(subscription=subscription, at=APRIL_11, prorate=True)

    subscribe(at=APRIL_11 + HOUR, customer=customer, plan=free.plan)

    assert left(customer, monthly, APRIL_11 + 2 * HOUR) == [1_000]


def test_a_number_is_owed_by_a_new_subscription_too(customer):
    free = make_pro_plan(base_cents=None, quota=None)
    PlanFeature.objects.filter(plan=free.plan).update(value=1_000)
    subscription = subscribe(at=APRIL, customer=customer, plan=free.plan)
    use(customer, free.metric, 1_000, APRIL + HOUR)
    cancel_now(subscription=subscription, at=APRIL_11)

    subscribe(at=APRIL_11 + HOUR, customer=customer, plan=free.plan)

    assert left(customer, free, APRIL_11 + 2 * HOUR) == [Decimal("333.333334")]


def test_a_new_trial_is_whole(monthly, free, customer):
    subscription = subscribe(at=APRIL, customer=customer, plan=free.plan)
    use(customer, free.metric, 1_000, APRIL + HOUR)
    cancel_now(subscription=subscription, at=APRIL + 2 * HOUR)

    subscribe(at=APRIL + 4 * HOUR, customer=customer, plan=monthly.plan, trial_days=10)

    assert left(customer, monthly, APRIL_2) == [10_000]


def test_a_plan_without_the_metric_in_between_and_a_second_subscription_give_nothing_new(monthly, customer):
    other = make_pro_plan()
    subscription = subscribe(at=APRIL, customer=customer, plan=monthly.plan)
    use(customer, monthly.metric, 10_000, APRIL + HOUR)
    change_now(subscription=subscription, price=other.price, at=APRIL_11)

    subscribe(at=APRIL_11 + HOUR, customer=customer, plan=monthly.plan, beside_others=True)

    assert left(customer, monthly, APRIL_11 + 2 * HOUR) == [Decimal("3333.333334")]


def test_a_years_quota_is_not_new_when_a_months_fee_is_paid_again(customer):
    plan = make_pro_plan(frequency="YEARLY", base_frequency="MONTHLY", quota=None)
    PlanFeature.objects.filter(plan=plan.plan).update(value=36_500)
    subscription = subscribe(at=datetime(2026, 1, 1, tzinfo=UTC), customer=customer, plan=plan.plan)
    use(customer, plan.metric, 36_500, datetime(2026, 1, 2, tzinfo=UTC))
    pause(subscription=subscription, at=datetime(2026, 1, 11, tzinfo=UTC))

    resume(subscription=subscription, at=datetime(2026, 3, 1, tzinfo=UTC))

    # January is paid for: 3,100 of 36,500, and another year of 36,500.
    at = datetime(2026, 3, 1, 1, tzinfo=UTC)
    assert remaining(customer, plan.metric, at) == 3_100


def test_who_owes_nothing_has_nothing_withheld(monthly, weekly, customer):
    subscription = subscribe(at=APRIL, customer=customer, plan=monthly.plan)
    use(customer, monthly.metric, 300, APRIL + HOUR)
    change_now(subscription=subscription, price=weekly.price, at=APRIL_2)

    run_sweeps(APRIL_20)

    assert not SubscriptionItem.objects.exclude(owed_units=0).exists()
    assert not live(customer).periods.exclude(withheld_units=None).exists()
