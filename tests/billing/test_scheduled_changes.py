"""Changes that wait for the end of what is paid for. 29.00 a month from 1 May on becomes 99.00."""

from datetime import UTC, datetime, timedelta

import pytest

from billing.services.cancel import cancel_at_period_end, cancel_now, undo_scheduled
from billing.services.change import change_at_period_end, change_now
from billing.services.close_periods import close_periods, due_subscriptions
from billing.services.subscribe import subscribe
from billing.services.wind_down import ScheduledChangeIsDue
from plans.models import ScheduledChange
from plans.services.subscriptions import MetricAlreadyPriced
from tests.billing.lives import invoices, live, run_sweeps
from tests.factories import CustomerFactory, FixedComponentFactory, PlanFactory, PriceFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, remaining, use

pytestmark = pytest.mark.django_db

MAY = datetime(2026, 5, 1, tzinfo=UTC)
MAY_11 = datetime(2026, 5, 11, 9, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
JULY = datetime(2026, 7, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def big(pro):
    return make_pro_plan(base_cents=9_900, quota=20_000, unit_cost_cents="4", beside=pro)


@pytest.fixture
def customer():
    return CustomerFactory()


@pytest.fixture
def subscription(pro, customer):
    return subscribe(at=MAY, customer=customer, plan=pro.plan)


@pytest.fixture(autouse=True)
def books_add_up():
    yield
    run_sweeps(JULY + 40 * DAY)
    assert_books_add_up(at=JULY + 40 * DAY)


@pytest.mark.parametrize("swept_at", [JUNE, JUNE + 20 * DAY])
def test_a_change_comes_with_the_period_however_late_the_sweep(pro, big, customer, subscription, swept_at):
    use(customer, pro.metric, 12_000, MAY + DAY)
    change_at_period_end(subscription=subscription, price=big.price, at=MAY_11)
    use(customer, pro.metric, 21_000, JUNE + HOUR)

    run_sweeps(swept_at)
    run_sweeps(JULY + HOUR)

    assert invoices(customer) == [
        ("cycle", MAY, 2_900),
        ("change", JUNE, 9_900 + 10_000),
        ("cycle", JULY, 9_900 + 4_000),
    ]


def test_the_whole_allowance_comes_with_a_change_at_the_end(pro, big, customer, subscription):
    use(customer, pro.metric, 9_000, MAY + DAY)
    change_at_period_end(subscription=subscription, price=big.price, at=MAY_11)

    run_sweeps(JUNE)

    assert remaining(customer, pro.metric, JUNE + HOUR) == 20_000


def test_no_close_opens_the_boundary_at_which_something_else_happens(customer, subscription):
    cancel_at_period_end(subscription=subscription, at=MAY_11)

    assert due_subscriptions(JULY) == []
    assert close_periods(subscriptions=[subscription.pk], at=JULY) == 0


def test_a_second_schedule_takes_the_place_of_the_first(big, customer, subscription):
    cancel_at_period_end(subscription=subscription, at=MAY_11)

    change_at_period_end(subscription=subscription, price=big.price, at=MAY_11 + DAY)
    run_sweeps(JUNE)

    assert live(customer).price == big.price
    assert live(customer).cancel_at_period_end is False


def test_a_cancel_takes_the_place_of_a_scheduled_change(big, customer, subscription):
    change_at_period_end(subscription=subscription, price=big.price, at=MAY_11)

    cancel_now(subscription=subscription, at=MAY_11 + DAY)
    run_sweeps(JULY)

    assert ScheduledChange.objects.get().withdrawn_at == MAY_11 + DAY
    assert invoices(customer) == [("cycle", MAY, 2_900)]


def test_what_is_refused_when_its_time_comes_is_withdrawn_with_the_reason(big, customer, subscription):
    change_at_period_end(subscription=subscription, price=big.price, at=MAY_11)
    big.plan.deleted_at = MAY_11
    big.plan.save()

    run_sweeps(JUNE + HOUR)

    scheduled = ScheduledChange.objects.get()
    assert (scheduled.applied_at, scheduled.refusal) == (None, "This plan is no longer offered.")
    assert invoices(customer)[-1] == ("cycle", JUNE, 2_900)


def test_what_is_due_is_not_overtaken_by_another_change(pro, big, customer, subscription):
    cancel_at_period_end(subscription=subscription, at=MAY_11)

    for act in (
        lambda: change_now(subscription=subscription, price=big.price, at=JUNE + DAY),
        lambda: cancel_now(subscription=subscription, at=JUNE + DAY),
        lambda: undo_scheduled(subscription=subscription, at=JUNE + DAY),
    ):
        with pytest.raises(ScheduledChangeIsDue):
            act()


def test_a_change_that_would_meter_a_metric_twice_is_refused_when_it_is_scheduled(big, customer, subscription):
    plan = PlanFactory()
    FixedComponentFactory(price=PriceFactory(plan=plan, fee=None), amount_cents=500)
    beside = subscribe(at=MAY, customer=customer, plan=plan, beside_others=True)

    with pytest.raises(MetricAlreadyPriced):
        change_at_period_end(subscription=beside, price=big.price, at=MAY_11)


def test_one_jump_over_six_months_is_as_many_small_ones(pro, big):
    def outcome(steps):
        customer = CustomerFactory()
        subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
        for month in range(5, 11):
            use(customer, pro.metric, 11_000, datetime(2026, month, 3, tzinfo=UTC))
        change_at_period_end(subscription=subscription, price=big.price, at=MAY_11)
        for at in steps:
            run_sweeps(at)
        return invoices(customer)

    end = datetime(2026, 11, 1, 1, tzinfo=UTC)
    days = [MAY + number * 7 * DAY + HOUR for number in range(27) if MAY + number * 7 * DAY + HOUR < end]

    assert outcome([end]) == outcome([*days, end])
