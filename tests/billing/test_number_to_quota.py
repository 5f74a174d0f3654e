"""A change from a plan whose feature is a number to one with a quota: what the number gave stays given when usage of
the part before arrives late. 300 calls a month in April become 600 on the 11th; 5 cents each beyond."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.models import Invoice
from billing.services.change import change_now
from billing.services.explain import explain_lines
from billing.services.subscribe import subscribe
from plans.models import PlanFeature
from tests.billing.lives import run_sweeps
from tests.factories import CustomerFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, remaining, use

pytestmark = pytest.mark.django_db

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
APRIL_11 = datetime(2026, 4, 11, 9, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture(autouse=True)
def books_add_up():
    yield
    assert_books_add_up(at=MAY + DAY)


@pytest.fixture
def number():
    pro = make_pro_plan(quota=None)
    PlanFeature.objects.filter(plan=pro.plan).update(value=300)
    return pro


@pytest.fixture
def customer(number):
    """250 of 300 used, changed, and 100 used since."""
    customer = CustomerFactory()
    subscription = subscribe(at=APRIL, customer=customer, plan=number.plan)
    use(customer, number.metric, 250, APRIL + DAY)
    quota = make_pro_plan(quota=600, beside=number)
    change_now(subscription=subscription, price=quota.price, at=APRIL_11)
    use(customer, number.metric, 100, APRIL_11 + DAY)
    return customer


def usage_at(closes_at):
    lines = Invoice.objects.get(closes_at=closes_at).lines.exclude(type__in=["fixed", "proration"])
    return [(line.type, line.quantity, line.amount_cents) for line in lines.order_by("position")]


def test_the_quota_is_what_both_leave_by_their_days(customer, number):
    # 300 × 10/30 + 600 × 20/30 - 250 = 250, of which 100 are used
    assert remaining(customer, number.metric, APRIL_11 + 2 * DAY) == 150


@pytest.mark.parametrize(("late", "paid", "cents"), [(40, 40, 0), (150, 150, 0), (160, 150, 50)])
def test_late_usage_of_the_part_before_takes_what_the_quota_has_left(customer, number, late, paid, cents):
    use(customer, number.metric, late, APRIL + 2 * DAY, key="late")

    run_sweeps(MAY + HOUR)

    lines = usage_at(MAY)
    assert lines[-1] == ("late_usage", late, cents)
    assert lines[:-1] == [("usage", 100, 500), ("credit", 100, -500)]
    explained = explain_lines(invoice=Invoice.objects.get(closes_at=MAY), at=MAY + HOUR)[-1]
    assert (explained.late.after.included, explained.late.after.credited) == (250, Decimal(paid))


def test_fewer_calls_give_back_what_the_number_paid(customer, number):
    use(customer, number.metric, -50, APRIL + 2 * DAY, key="late")

    run_sweeps(MAY + HOUR)

    assert usage_at(MAY)[-1] == ("late_usage", -50, 0)
