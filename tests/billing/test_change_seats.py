"""Ruling 28 for quotas per seat: 1,000 calls a seat and month become 2,000, in April with its 30 days."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.services.change import change_now
from credits.services.definitions import create_definition
from tests.billing.lives import run_sweeps
from tests.factories import START, MetricFactory, UsageComponentFactory
from tests.pro_plan import assert_books_add_up, remaining, use
from tests.seat_plan import give_seat, make_seat_plan, subscribed

pytestmark = pytest.mark.django_db

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
APRIL_11 = datetime(2026, 4, 11, 9, tzinfo=UTC)
APRIL_16 = datetime(2026, 4, 16, 12, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def metric():
    return MetricFactory()


def plan_with_calls(metric, units):
    sold = make_seat_plan()
    UsageComponentFactory(price=sold.price, metric=metric, position=1, component_id="comp_calls")
    create_definition(
        at=START, name="Calls per seat", scope="plan", application_type="usage", plan=sold.plan, price=sold.price,
        price_component_id="comp_calls", per_seat=True, renew_on_billing=True, default_amount=Decimal(units),
    )  # fmt: skip
    return sold


@pytest.fixture(autouse=True)
def books_add_up():
    yield
    run_sweeps(MAY + DAY)
    assert_books_add_up(at=MAY + DAY)


def test_each_part_counts_the_seats_that_it_had(metric):
    few, many = plan_with_calls(metric, 1_000), plan_with_calls(metric, 2_000)
    subscription = subscribed(few, at=APRIL, seats=3)
    use(subscription.customer, metric, 1_500, APRIL + DAY)

    change_now(subscription=subscription, price=many.price, at=APRIL_16)

    # 3 × 1,000 / 2 + 3 × 2,000 / 2 - 1,500
    assert remaining(subscription.customer, metric, APRIL_16 + HOUR) == 3_000
    run_sweeps(MAY + HOUR)
    assert remaining(subscription.customer, metric, MAY + 2 * HOUR) == 6_000


def test_a_seat_that_was_added_counts_from_its_day_on(metric):
    few, many = plan_with_calls(metric, 1_000), plan_with_calls(metric, 2_000)
    subscription = subscribed(few, at=APRIL, seats=3)
    give_seat(subscription, "ann", APRIL_11)
    use(subscription.customer, metric, 1_500, APRIL_11 + DAY)

    change_now(subscription=subscription, price=many.price, at=APRIL_16)

    # 3,000 × 15 / 30 + 1,000 × 5 / 30 + 4 × 2,000 × 15 / 30 - 1,500
    assert remaining(subscription.customer, metric, APRIL_16 + HOUR) == Decimal("4166.666667")


def test_there_and_back_gives_no_seat_more(metric):
    few, many = plan_with_calls(metric, 1_000), plan_with_calls(metric, 2_000)
    subscription = subscribed(few, at=APRIL, seats=3)
    use(subscription.customer, metric, 3_000, APRIL + DAY)

    there = change_now(subscription=subscription, price=many.price, at=APRIL_16)
    change_now(subscription=there.subscription, price=few.price, at=APRIL_16 + HOUR)

    assert remaining(subscription.customer, metric, APRIL_16 + 2 * HOUR) == 0
