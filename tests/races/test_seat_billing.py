"""Seats and sign-ups under concurrency: each unit is billed once, and nobody is made twice."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from billing.books import check_books
from billing.models import InvoiceLine
from billing.services.change_quantity import change_quantity
from billing.services.close_periods import close_periods
from billing.services.enroll import AlreadyEnrolled, Enrollment, enroll
from billing.services.seats import add_seat, remove_seat
from billing.services.subscribe import subscribe
from plans.models import AddedUnits, Customer, Seat, Subscription, SubscriptionPeriod
from tests.factories import CustomerFactory, FixedComponentFactory, PriceFactory
from tests.pro_plan import sweep
from tests.seat_plan import make_seat_plan, subscribed

MARCH, APRIL = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
MARCH_10 = datetime(2026, 3, 10, 15, 30, tzinfo=UTC)

pytestmark = pytest.mark.django_db(transaction=True)


def failures(outcomes):
    return [outcome for outcome in outcomes if isinstance(outcome, Exception)]


def assert_books_are_clean(at):
    assert [finding for finding in check_books(at=at) if finding.offenders] == []


def seat_lines():
    return list(InvoiceLine.objects.filter(invoice__kind="seats").values_list("quantity", "amount_cents"))


def test_one_seat_added_by_eight_calls_at_once_is_one_and_is_billed_once(at_once):
    subscription = subscribed(make_seat_plan(), at=MARCH, seats=2)
    add = partial(add_seat, at=MARCH_10, organization=subscription.customer, member_id="ann")

    outcomes = at_once([partial(add, idempotency_key="k" if number % 2 else None) for number in range(8)])

    assert failures(outcomes) == []
    assert Seat.objects.filter(member__external_customer_id="ann").count() == 1
    assert seat_lines() == [(1, 710)]
    assert_books_are_clean(MARCH_10)


def test_eight_seats_added_at_once_are_billed_each_once(at_once):
    subscription = subscribed(make_seat_plan(), at=MARCH, seats=2)

    outcomes = at_once(
        [
            partial(add_seat, at=MARCH_10, organization=subscription.customer, member_id=f"new-{number}")
            for number in range(8)
        ]
    )

    assert failures(outcomes) == []
    assert seat_lines() == [(1, 710)] * 8
    assert sorted(AddedUnits.objects.values_list("from_quantity", "to_quantity")) == [
        (units, units + 1) for units in range(2, 10)
    ]
    assert_books_are_clean(MARCH_10)


def test_seats_added_while_the_period_is_closed_are_in_one_bill_each(at_once):
    subscription = subscribed(make_seat_plan(), at=MARCH, seats=2)
    soon = APRIL + timedelta(minutes=1)

    outcomes = at_once(
        [
            partial(close_periods, subscriptions=[subscription.pk], at=soon),
            *(
                partial(add_seat, at=soon, organization=subscription.customer, member_id=f"new-{number}")
                for number in range(4)
            ),
            partial(close_periods, subscriptions=[subscription.pk], at=soon),
        ]
    )
    sweep(soon)

    assert failures(outcomes) == []
    assert SubscriptionPeriod.objects.get(subscription=subscription, start_at=APRIL).quantity == 2
    assert seat_lines() == [(1, 1_000)] * 4
    assert_books_are_clean(soon)


def test_giving_and_taking_seats_at_once_never_leaves_one_unpaid(at_once):
    subscription = subscribed(make_seat_plan(), at=MARCH, seats=3)
    acme = subscription.customer
    calls = [partial(remove_seat, at=MARCH_10, organization=acme, member_id=f"acme-{number}") for number in range(3)]
    calls += [partial(add_seat, at=MARCH_10, organization=acme, member_id=f"new-{number}") for number in range(5)]

    outcomes = at_once(calls)

    assert failures(outcomes) == []
    assert Seat.objects.filter(ended_at=None).count() == 5
    # Five were needed at the end: between two of them, if all removals came first, and five, if they came last.
    assert 2 <= len(seat_lines()) <= 5
    assert_books_are_clean(MARCH_10)


def test_one_quantity_asked_for_by_six_calls_at_once_is_billed_once(at_once):
    subscription = subscribe(at=MARCH, customer=CustomerFactory(), plan=make_seat_plan().plan)
    change = partial(change_quantity, at=MARCH_10, subscription=subscription, component_id="comp_seats", quantity=4)

    outcomes = at_once([change] * 6)

    assert failures(outcomes) == []
    # 3 × 1,000 × 22 / 31 = 2,129.03
    assert seat_lines() == [(3, 2_129)]
    assert_books_are_clean(MARCH_10)


def test_of_eight_sign_ups_of_one_user_at_once_one_makes_a_customer_and_a_subscription(at_once):
    price = PriceFactory(fee=None)
    FixedComponentFactory(price=price, amount_cents=0)
    sign_up = partial(enroll, at=MARCH, user_id="u1", email="ann@x.io", name="Ann", plan_id=price.plan.public_id)

    outcomes = at_once([sign_up] * 8)

    assert [type(outcome) for outcome in outcomes].count(Enrollment) == 1
    assert [type(failure) for failure in failures(outcomes)] == [AlreadyEnrolled] * 7
    assert Customer.objects.count() == Subscription.objects.count() == 1
