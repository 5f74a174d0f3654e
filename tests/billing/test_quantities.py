"""Quantities of units without seats: more are billed by days, fewer count from the next period on."""

from datetime import UTC, datetime, timedelta

import pytest

from billing.books import check_books
from billing.services.change_quantity import QuantityBelowSeats, QuantityFollowsSeats, change_quantity
from billing.services.quantities import billed_quantities
from billing.services.subscribe import subscribe
from plans.models import AddedUnits, Subscription, SubscriptionItem, SubscriptionPeriod
from plans.refusals import InvalidInput
from plans.services.subscriptions import SubscriptionEnded, SubscriptionNotActive
from tests.factories import CustomerFactory, FixedComponentFactory
from tests.pro_plan import bills, sweep
from tests.seat_plan import added, make_seat_plan, subscribed

APRIL, MAY, JUNE = (datetime(2026, month, 1, tzinfo=UTC) for month in (4, 5, 6))
# 15 of April's 30 days are left.
MIDDLE = datetime(2026, 4, 16, 9, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture
def subscription():
    """Licences at 10.00 a month, of which there are 2."""
    sold = make_seat_plan(minimum_quantity=2)
    return subscribe(at=APRIL, customer=CustomerFactory(), plan=sold.plan)


def set_quantity(subscription, quantity, at, component="comp_seats"):
    return change_quantity(at=at, subscription=subscription, component_id=component, quantity=quantity)


def totals(subscription):
    return [[(int(units), cents) for _, units, cents in lines] for _, _, lines in bills(subscription.customer)]


def test_more_units_are_billed_at_once_for_the_days_that_are_left(subscription):
    change = set_quantity(subscription, 5, MIDDLE)

    # 3 × 1,000 × 15 / 30
    assert totals(subscription) == [[(2, 2_000)], [(3, 1_500)]]
    assert (change.item.quantity, change.invoice.total_cents, change.invoice.kind) == (5, 1_500, "seats")
    sweep(MAY)
    assert totals(subscription)[2:] == [[(5, 5_000)]]
    assert [finding for finding in check_books(at=MAY) if finding.offenders] == []


def test_fewer_units_count_from_the_next_period_on_and_nothing_is_credited(subscription):
    set_quantity(subscription, 6, APRIL)
    change = set_quantity(subscription, 3, MIDDLE)
    sweep(MAY)

    assert change.invoice is None
    assert totals(subscription) == [[(2, 2_000)], [(4, 4_000)], [(3, 3_000)]]


def test_units_that_are_paid_may_be_had_again_without_a_charge(subscription):
    set_quantity(subscription, 6, APRIL)
    set_quantity(subscription, 3, MIDDLE)

    set_quantity(subscription, 7, MIDDLE + timedelta(days=1))

    # Six are paid until the end of the month; the seventh costs 1,000 × 14 / 30 = 466.67.
    assert totals(subscription)[2:] == [[(1, 467)]]
    assert added(subscription) == [(2, 6, APRIL), (6, 7, MIDDLE + timedelta(days=1))]


def test_without_bill_immediately_the_next_invoice_has_the_days():
    sold = make_seat_plan(bill_immediately=False)
    subscription = subscribe(at=APRIL, customer=CustomerFactory(), plan=sold.plan)

    change = set_quantity(subscription, 3, MIDDLE)
    sweep(MAY)

    assert change.invoice is None
    assert totals(subscription) == [[(1, 1_000)], [(3, 3_000), (2, 1_000)]]


def test_what_a_period_was_billed_stays_when_the_quantity_changes(subscription):
    period = SubscriptionPeriod.objects.select_related("item__component", "customer").get(
        subscription=subscription, start_at=APRIL
    )

    SubscriptionItem.objects.update(quantity=9)

    assert billed_quantities([period]) == {period.pk: 2}


def test_a_period_from_before_quantities_were_stored_is_counted_as_ever(subscription):
    SubscriptionPeriod.objects.update(quantity=None)
    SubscriptionItem.objects.update(quantity=9)
    period = SubscriptionPeriod.objects.select_related("item__component", "customer").get(
        subscription=subscription, start_at=APRIL
    )

    assert billed_quantities([period]) == {period.pk: 9}


def test_a_change_after_midnight_leaves_the_period_that_ended_and_bills_the_one_that_began(subscription):
    # No sweep has run: May begins with 2, and gets 2 more for all of its days.
    set_quantity(subscription, 4, MAY + timedelta(hours=1))
    sweep(MAY + timedelta(hours=1))

    assert totals(subscription) == [[(2, 2_000)], [(2, 2_000)], [(2, 2_000)]]


def test_each_component_has_a_quantity_of_its_own():
    sold = make_seat_plan()
    FixedComponentFactory(
        price=sold.price, position=1, kind="per_unit", amount_cents=300, component_id="comp_devices", label="Devices"
    )
    subscription = subscribe(at=APRIL, customer=CustomerFactory(), plan=sold.plan)

    set_quantity(subscription, 3, MIDDLE, component="comp_devices")

    assert totals(subscription)[1:] == [[(2, 300)]]
    assert sorted(SubscriptionItem.objects.values_list("quantity", flat=True)) == [1, 3]


def test_nothing_is_billed_in_a_trial():
    sold = make_seat_plan()
    subscription = subscribe(at=APRIL, customer=CustomerFactory(), plan=sold.plan, trial_days=30)

    set_quantity(subscription, 3, MIDDLE)
    sweep(MAY)

    assert totals(subscription) == [[(3, 3_000)]]
    assert [finding for finding in check_books(at=MAY) if finding.offenders] == []


class TestRefusals:
    def test_fewer_than_the_seats_in_use(self):
        subscription = subscribed(make_seat_plan(), at=APRIL, seats=5)

        with pytest.raises(QuantityBelowSeats, match="5 seats are in use"):
            set_quantity(subscription, 3, MIDDLE)

        assert SubscriptionItem.objects.get().quantity == 1

    def test_more_than_the_seats_which_are_what_is_paid_for(self):
        subscription = subscribed(make_seat_plan(), at=APRIL, seats=5)

        with pytest.raises(QuantityFollowsSeats):
            set_quantity(subscription, 8, MIDDLE)

        assert not AddedUnits.objects.exists()

    def test_fewer_than_the_minimum(self, subscription):
        with pytest.raises(InvalidInput, match="at least 2"):
            set_quantity(subscription, 1, MIDDLE)

    def test_a_component_that_is_not_counted_in_units(self, subscription):
        with pytest.raises(InvalidInput, match="componentId"):
            set_quantity(subscription, 3, MIDDLE, component="comp_fixed")

    def test_a_subscription_that_has_ended(self, subscription):
        Subscription.objects.update(ended_at=MIDDLE, status="canceled")

        with pytest.raises(SubscriptionEnded):
            set_quantity(subscription, 3, MIDDLE)

    def test_a_subscription_that_is_paused(self, subscription):
        Subscription.objects.update(paused_at=MIDDLE, status="paused")

        with pytest.raises(SubscriptionNotActive):
            set_quantity(subscription, 3, MIDDLE)
