"""What a turn was given counts, whatever its definition, its seats or its fee say later."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import import_module

import pytest
from django.db import connection

from billing.services.cancel import cancel_now
from billing.services.change import change_now
from billing.services.subscribe import subscribe
from credits.services.definitions import create_definition, delete_definition, update_definition
from plans.models import Customer, Subscription
from plans.services.customers import update_customer
from tests.billing.lives import run_sweeps
from tests.factories import START, CustomerFactory, FixedComponentFactory, MetricFactory, UsageComponentFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, remaining, use
from tests.seat_plan import make_seat_plan, subscribed

APRIL, MAY = datetime(2026, 4, 1, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)
APRIL_16 = datetime(2026, 4, 16, 9, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

pytestmark = pytest.mark.django_db


def set_amount(definition, units):
    update_definition(
        at=APRIL + 2 * DAY, definition=definition, changes={"default_amount": Decimal(units)}, apply_to_existing=True
    )


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda quota: set_amount(quota, 1_000),
        lambda quota: set_amount(quota, 100_000),
        lambda quota: delete_definition(at=APRIL + 2 * DAY, definition=quota, apply_to_existing=True),
    ],
    ids=["lowered", "raised", "deleted"],
)
def test_an_upgrade_counts_what_the_turn_was_given(meanwhile):
    small = make_pro_plan()
    big = make_pro_plan(quota=20_000, base_cents=5_800, beside=small)
    customer = CustomerFactory()
    subscription = subscribe(at=APRIL, customer=customer, plan=small.plan)
    use(customer, small.metric, 5_000, APRIL + DAY)
    meanwhile(small.quota)
    assert remaining(customer, small.metric, APRIL_16 - HOUR) == 5_000

    change_now(subscription=subscription, price=big.price, at=APRIL_16)

    # 15 of 30 days each: 5,000 + 10,000 − 5,000.
    assert remaining(customer, small.metric, APRIL_16 + HOUR) == 10_000
    assert_books_add_up(at=APRIL_16 + HOUR)


def test_a_turn_whose_fee_is_kept_leaves_no_debt_when_its_quota_was_lowered():
    small = make_pro_plan()
    other = make_pro_plan(base_cents=5_800, beside=small)
    customer = CustomerFactory()
    subscription = subscribe(at=APRIL, customer=customer, plan=small.plan)
    use(customer, small.metric, 9_000, APRIL + DAY)
    set_amount(small.quota, 1_000)
    cancel_now(subscription=subscription, at=APRIL_16)

    subscribe(at=APRIL_16 + HOUR, customer=customer, plan=other.plan)

    assert remaining(customer, small.metric, APRIL_16 + 2 * HOUR) == 10_000


@pytest.mark.parametrize(("joins", "left"), [(True, Decimal("6064.516130")), (False, Decimal("3032.258065"))])
def test_seats_that_came_by_the_customers_api_are_no_gift(joins, left):
    metric = MetricFactory()
    few, many = (plan_per_seat(metric, units) for units in (1_000, 2_000))
    subscription = subscribed(few, at=APRIL, seats=3)
    run_sweeps(APRIL + HOUR)
    if joins:
        update_customer(
            at=APRIL + 20 * DAY, customer=CustomerFactory(), customer_organization_id="acme", org_role="member"
        )
    else:
        member = Customer.objects.get(external_customer_id="acme-0")
        update_customer(at=APRIL + 20 * DAY, customer=member, customer_organization_id=None, org_role=None)
    at = MAY + 15 * DAY + 12 * HOUR
    run_sweeps(at)

    change_now(subscription=subscription, price=many.price, at=at)

    # Four seats, or two: 15 of 31 days at 1,000 each and 16 of 31 at 2,000.
    assert remaining(subscription.customer, metric, at + HOUR) == left


def plan_per_seat(metric, units):
    sold = make_seat_plan()
    UsageComponentFactory(price=sold.price, metric=metric, position=1, component_id="comp_calls")
    create_definition(
        at=START, name="Calls", scope="plan", application_type="usage", plan=sold.plan, price=sold.price,
        price_component_id="comp_calls", per_seat=True, renew_on_billing=True, default_amount=Decimal(units),
    )  # fmt: skip
    return sold


def test_seats_that_cost_nothing_pay_for_nothing():
    free = make_pro_plan(base_cents=None, quota=1_000)
    FixedComponentFactory(
        price=free.price, component_id="comp_seats", kind="per_unit", label="Seats", unit_label="seat", amount_cents=0
    )
    customer, given = CustomerFactory(), 0
    for number in range(4):
        at = APRIL + number * 3 * HOUR
        subscription = subscribe(at=at, customer=customer, plan=free.plan)
        left = remaining(customer, free.metric, at + HOUR)
        if left:
            use(customer, free.metric, left, at + HOUR)
        given += left
        cancel_now(subscription=subscription, at=at + 2 * HOUR)

    assert given == 1_000


@pytest.mark.parametrize("end", ["change", "prorated cancel", "cancel"])
def test_versions_from_before_the_upgrade_are_refunded_where_their_fees_were_credited(end):
    pro = make_pro_plan()
    big = make_pro_plan(quota=20_000, base_cents=5_800, beside=pro)
    first = subscribe(at=APRIL, customer=CustomerFactory(), plan=pro.plan)
    if end == "change":
        change_now(subscription=first, price=big.price, at=APRIL_16)
    else:
        cancel_now(subscription=first, at=APRIL_16, prorate=end == "prorated cancel")
    first.refresh_from_db()
    known = first.refunded_from
    Subscription.objects.update(refunded_from=None)

    with connection.cursor() as cursor:
        cursor.execute(import_module("billing.migrations.0011_versions_whose_fees_were_credited").REFUNDED)

    first.refresh_from_db()
    assert (known is None) == (end == "cancel")
    assert (first.refunded_from is None) == (end == "cancel")
