"""Items whose clock has an end simply get no further periods."""

from datetime import UTC, datetime, timedelta

import pytest

from billing.books import live_items_have_a_period_ahead
from plans.models import SubscriptionItem, SubscriptionPeriod
from plans.services.overrides import override_feature
from plans.services.subscriptions import current_periods, store_periods
from tests.factories import (
    FeatureFactory,
    FixedComponentFactory,
    MetricFactory,
    PriceFactory,
    SubscriptionFactory,
    UsageComponentFactory,
)

pytestmark = pytest.mark.django_db
AT = datetime(2026, 1, 10, 14, 46, tzinfo=UTC)
LATER = datetime(2026, 4, 20, tzinfo=UTC)


def subscribe(*components):
    """A subscription of 10 January whose price has fees with these clocks, by the name of the first."""
    price = PriceFactory(fee=None)
    for position, terms in enumerate(components):
        FixedComponentFactory(price=price, component_id=f"c{position}", position=position, **terms)
    return SubscriptionFactory(price=price, at=AT)


def extend(subscription, through=LATER):
    store_periods(items=SubscriptionItem.objects.filter(subscription=subscription), through=through)


def days(subscription, component="c0"):
    periods = SubscriptionPeriod.objects.filter(
        subscription=subscription, item__component__component_id=component
    ).order_by("number")
    return [(f"{period.start_at:%m-%d}", f"{period.end_at:%m-%d}") for period in periods]


def test_a_monthly_fee_with_a_count_of_one_comes_once():
    subscription = subscribe({"recurrence_count": 1}, {})

    extend(subscription)

    assert days(subscription) == [("01-10", "02-10")]
    assert days(subscription, "c1")[-1] == ("05-10", "06-10")


def test_the_second_of_two_periods_is_stored_ahead_and_no_third():
    subscription = subscribe({"recurrence_count": 2}, {})
    ahead = days(subscription)

    extend(subscription)

    assert ahead == days(subscription) == [("01-10", "02-10"), ("02-10", "03-10")]


@pytest.mark.parametrize("until", ["20260310", "20260310T000000Z", "20260409T235959Z"])
def test_a_period_begins_that_starts_no_later_than_the_end(until):
    subscription = subscribe({"recurrence_until": until})

    extend(subscription)

    assert days(subscription) == [("01-10", "02-10"), ("02-10", "03-10"), ("03-10", "04-10")]


def test_ruling_19_the_first_period_of_days_ends_at_the_second_midnight():
    subscription = subscribe({"frequency": "DAILY", "recurrence_count": 3}, {})

    extend(subscription)

    assert days(subscription) == [("01-10", "01-12"), ("01-12", "01-13"), ("01-13", "01-14")]


def test_a_clock_that_ended_before_the_start_has_no_period_at_all():
    subscription = subscribe({"recurrence_until": "20260109"}, {})

    assert days(subscription) == []
    assert days(subscription, "c1")


def test_ruling_20_units_in_advance_are_billed_at_the_start_of_their_period_like_fees():
    subscription = subscribe({}, {"kind": "per_unit", "amount_cents": 1500, "minimum_quantity": 3})

    billed = SubscriptionPeriod.objects.filter(subscription=subscription, number=0).values_list("bill_at", flat=True)
    assert list(billed) == [AT, AT]


def test_a_metric_without_a_price_follows_a_clock_that_has_no_end():
    metric = MetricFactory()
    feature = FeatureFactory(value="usage_based", metrics=[metric])
    subscription = subscribe({"recurrence_count": 1}, {"frequency": "YEARLY"})

    override_feature(at=AT, subscription=subscription, feature=feature, value="usage_based", reason="Sold by hand")

    item = SubscriptionItem.objects.get(subscription=subscription, metric=metric)
    assert item.frequency == "YEARLY"
    assert item.periods.earliest("number").end_at == datetime(2027, 1, 10, tzinfo=UTC)


def test_a_metric_without_a_price_takes_its_periods_from_the_item_that_goes_on():
    metric = MetricFactory()
    feature = FeatureFactory(value="usage_based", metrics=[metric])
    subscription = subscribe({"recurrence_count": 1}, {})
    later = AT + timedelta(days=60)
    extend(subscription, through=later)

    override_feature(at=later, subscription=subscription, feature=feature, value="usage_based", reason="Sold by hand")

    item = SubscriptionItem.objects.get(subscription=subscription, metric=metric)
    assert [period.number for period in item.periods.order_by("number")] == [2, 3]


def test_the_books_ask_for_a_period_ahead_only_of_clocks_without_an_end():
    price = PriceFactory(fee=None)
    FixedComponentFactory(price=price, recurrence_count=1)
    FixedComponentFactory(price=price, position=1, recurrence_until="20260201")
    UsageComponentFactory(price=price, position=2)
    subscription = SubscriptionFactory(price=price, at=AT)
    SubscriptionPeriod.objects.update(closed_at=AT)

    checked = live_items_have_a_period_ahead(LATER)
    extend(subscription)
    SubscriptionPeriod.objects.update(closed_at=AT)

    assert [str(row).count("newest period") for row in checked.offenders] == [1]
    assert not live_items_have_a_period_ahead(LATER).offenders


def current(subscription, at):
    period = current_periods([subscription], at)[subscription.pk]
    return (f"{period.start_at:%m-%d}", f"{period.end_at:%m-%d}")


def test_the_current_period_is_not_that_of_a_fee_which_comes_once():
    yearly = subscribe({"recurrence_count": 1}, {"frequency": "YEARLY"})

    assert current(yearly, AT + timedelta(days=3)) == ("01-10", "01-10")
    assert current(yearly, LATER) == ("01-10", "01-10")
    # Before the start, too.
    assert current(yearly, AT - timedelta(days=3)) == ("01-10", "01-10")


def test_the_current_period_is_that_of_the_shorter_of_two_clocks_which_turn_together():
    subscription = subscribe({"frequency": "YEARLY"}, {})
    extend(subscription, through=AT + timedelta(days=400))

    assert current(subscription, datetime(2026, 12, 20, tzinfo=UTC)) == ("12-10", "01-10")


def test_the_current_period_of_clocks_that_have_all_ended_is_the_last_one():
    subscription = subscribe({"recurrence_count": 1}, {"recurrence_count": 2})

    assert current(subscription, LATER) == ("02-10", "03-10")
