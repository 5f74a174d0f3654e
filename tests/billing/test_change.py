"""A change of plan: what is credited, what is charged, and what is left of the allowance."""

from datetime import UTC, datetime, timedelta

import pytest

from billing.models import Invoice
from billing.services.change import change_now
from billing.services.subscribe import subscribe
from tests.factories import CustomerFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, remaining, sweep, use

pytestmark = pytest.mark.django_db

MAY = datetime(2026, 5, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def big(pro):
    return make_pro_plan(base_cents=9900, quota=20_000, unit_cost_cents="4", beside=pro)


@pytest.fixture
def customer():
    return CustomerFactory()


def lines_of(invoice):
    return [(line.type, line.amount_cents) for line in invoice.lines.order_by("position")]


def test_ruling_28_used_10_000_and_upgraded_to_20_000_at_half_time_leaves_5_000(pro, big, customer):
    april = datetime(2026, 4, 1, tzinfo=UTC)
    subscription = subscribe(at=april, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 10_000, april + timedelta(days=3))

    change = change_now(subscription=subscription, price=big.price, at=datetime(2026, 4, 16, 12, tzinfo=UTC))

    # 15 of 30 days each: 10,000 / 2 + 20,000 / 2 - 10,000
    assert remaining(customer, pro.metric, datetime(2026, 4, 16, 13, tzinfo=UTC)) == 5_000
    # 2,900 × 15 / 30 and 9,900 × 15 / 30; the usage is covered
    assert lines_of(change.invoice) == [("fixed", 4_950), ("usage", 50_000), ("credit", -50_000), ("proration", -1_450)]
    assert_books_add_up(at=datetime(2026, 4, 17, tzinfo=UTC))


def test_the_next_period_after_a_change_is_whole_again(pro, big, customer):
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    change_now(subscription=subscription, price=big.price, at=MAY + timedelta(days=10))
    use(customer, pro.metric, 30_000, JUNE + timedelta(days=1))

    sweep(JUNE + HOUR)
    sweep(datetime(2026, 7, 1, 1, tzinfo=UTC))

    june = Invoice.objects.get(customer=customer, closes_at=JUNE)
    assert lines_of(june) == [("fixed", 9_900)]
    july = Invoice.objects.get(customer=customer, closes_at=datetime(2026, 7, 1, tzinfo=UTC))
    # 30,000 × 4, less 20,000 × 4
    assert lines_of(july) == [("fixed", 9_900), ("usage", 120_000), ("credit", -80_000)]
    assert_books_add_up(at=datetime(2026, 7, 2, tzinfo=UTC))


def test_change_and_back_on_one_day_nets_to_zero(pro, big, customer):
    first = subscribe(at=MAY, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 4_000, MAY + timedelta(days=3))
    there = change_now(subscription=first, price=big.price, at=MAY + timedelta(days=10, hours=9))

    back = change_now(subscription=there.subscription, price=pro.price, at=MAY + timedelta(days=10, hours=15))

    # 21 of 31 days: 9,900 × 21 / 31 = 6,706.45, 2,900 × 21 / 31 = 1,964.52
    assert [(one, cents) for one, cents in lines_of(there.invoice) if one in ("fixed", "proration")] == [
        ("fixed", 6_706),
        ("proration", -1_965),
    ]
    assert [(one, cents) for one, cents in lines_of(back.invoice) if one in ("fixed", "proration")] == [
        ("fixed", 1_965),
        ("proration", -6_706),
    ]
    assert remaining(customer, pro.metric, MAY + timedelta(days=11)) == 6_000
    assert_books_add_up(at=MAY + timedelta(days=11))
