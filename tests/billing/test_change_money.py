"""Ruling 28 for money that comes with a plan: each plan gives its share of the days, less what was spent. 10.00 a month
with the first plan and 20.00 with the big one, in April with its 30 days."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.services.change import change_now
from billing.services.subscribe import subscribe
from credits.models import CreditGrant
from credits.services.definitions import create_definition
from tests.billing.lives import lines_of, run_sweeps
from tests.factories import START, CustomerFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, use

pytestmark = pytest.mark.django_db

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
APRIL_11 = datetime(2026, 4, 11, 9, tzinfo=UTC)
APRIL_16 = datetime(2026, 4, 16, 12, tzinfo=UTC)
APRIL_21 = datetime(2026, 4, 21, 12, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def plan_with_money(cents, beside=None, **terms):
    """A plan that gives money with each period, and no units."""
    sold = make_pro_plan(quota=None, beside=beside, **terms)
    create_definition(
        at=START, name="Monthly money", scope="plan", application_type="monetary", currency="USD",
        default_amount=Decimal(cents), plan=sold.plan, renew_on_billing=True, billing_visible=True,
    )  # fmt: skip
    return sold


@pytest.fixture
def customer():
    return CustomerFactory()


@pytest.fixture(autouse=True)
def books_add_up():
    yield
    run_sweeps(JUNE + DAY)
    assert_books_add_up(at=JUNE + DAY)


def given(subscription, before=MAY):
    """What a version was given before an instant."""
    grants = CreditGrant.objects.filter(subscription=subscription, metric=None, source="subscription")
    return [int(grant.initial_amount) for grant in grants.filter(starts_at__lt=before)]


def test_an_upgrade_gives_its_days_of_the_larger_money_less_what_was_spent(customer):
    pro = plan_with_money(1_000, base_cents=400)
    big = plan_with_money(2_000, base_cents=9_900, beside=pro)
    subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)

    following = change_now(subscription=subscription, price=big.price, at=APRIL_16).subscription

    # 400 paid the fee: 500 + 1,000 - 400. What the change charges comes before its money.
    assert given(subscription) == [1_000]
    assert given(following) == [1_100]


def test_a_downgrade_leaves_nothing_where_more_was_spent(customer):
    big = plan_with_money(2_000, base_cents=9_900)
    pro = plan_with_money(1_000, base_cents=2_900, beside=big)
    subscription = subscribe(at=APRIL, customer=customer, plan=big.plan)

    following = change_now(subscription=subscription, price=pro.price, at=APRIL_16).subscription

    # 1,000 + 500 - 2,000
    assert given(following) == []
    run_sweeps(MAY)
    assert given(following, before=JUNE) == [1_000]


def test_there_and_back_on_one_day_gives_no_more_money(customer):
    pro = plan_with_money(1_000, base_cents=2_900)
    big = plan_with_money(2_000, base_cents=9_900, beside=pro)
    subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)

    there = change_now(subscription=subscription, price=big.price, at=APRIL_16).subscription
    back = change_now(subscription=there, price=pro.price, at=APRIL_16 + HOUR).subscription

    # All of the 1,000 was spent on the fee; a half of the 2,000 is more by 500, and a half of the 1,000 is not.
    assert (given(there), given(back)) == ([500], [])


def test_money_of_a_plan_without_a_fee_is_shared_by_the_days_of_each_plan(customer):
    first = plan_with_money(900, base_cents=None)
    second = plan_with_money(1_800, base_cents=None, beside=first)
    third = plan_with_money(300, base_cents=None, beside=first)
    subscription = subscribe(at=APRIL, customer=customer, plan=first.plan)
    use(customer, first.metric, 20, APRIL + DAY)

    there = change_now(subscription=subscription, price=second.price, at=APRIL_11)
    last = change_now(subscription=there.subscription, price=third.price, at=APRIL_21).subscription

    # 100 were spent: 300 + 1,200 - 100, then 300 + 600 + 100 - 100.
    assert lines_of(there.invoice)[-1] == ("credit", -100)
    assert (given(there.subscription), given(last)) == ([1_400], [900])


def test_a_new_anchor_gives_no_money_that_was_spent_already(customer):
    pro = plan_with_money(1_000, base_cents=2_900)
    yearly = plan_with_money(1_200, base_cents=29_000, frequency="YEARLY", beside=pro)
    subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)

    there = change_now(subscription=subscription, price=yearly.price, at=APRIL + HOUR).subscription
    back = change_now(subscription=there, price=pro.price, at=APRIL + 2 * HOUR).subscription

    # No day belongs to the first two: 1,200 - 1,000, then 1,000 - 1,000.
    assert (given(there), given(back)) == ([200], [])
