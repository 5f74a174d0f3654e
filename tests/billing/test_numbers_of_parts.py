"""Ruling 8: of a turn that was cut, each part has one number of a metric without segments, and it counts by the part's
share of the days. 1.00 a unit becomes 0.50 a unit on 11 April, after 10 of 30 days."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.explain_text import explanation_sentences
from billing.models import Invoice
from billing.services.cancel import cancel_now
from billing.services.change import change_now
from billing.services.explain import explain_lines
from billing.services.pause import pause, resume
from billing.services.subscribe import subscribe
from billing.services.upcoming import draft_as_it_stands, upcoming_invoice
from credits.services.positions import read_positions
from entitlements.services.check import check
from plans.models import SubscriptionPeriod
from plans.services.time_zone import billing_zone
from tests.billing.lives import run_sweeps
from tests.factories import CustomerFactory, FeatureFactory, MetricFactory
from tests.pro_plan import ProPlan, assert_books_add_up, make_pro_plan, remaining, use

pytestmark = pytest.mark.django_db

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
APRIL = datetime(2026, 4, 1, tzinfo=UTC)
APRIL_11 = datetime(2026, 4, 11, 9, tzinfo=UTC)
APRIL_21 = datetime(2026, 4, 21, 12, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class Sold:
    """A customer at the first of two prices of one metric, and what happens."""

    def __init__(self, aggregation, *, since=APRIL, quotas=(None, None)):
        metric = MetricFactory(aggregation_type=aggregation)
        feature = FeatureFactory(value="usage_based", metrics=[metric])
        metered = ProPlan(plan=None, price=None, metric=metric, feature=feature, quota=None)
        self.metric, self.feature = metric, feature
        self.first, self.second = (
            make_pro_plan(unit_cost_cents=cents, quota=quota, beside=metered)
            for cents, quota in zip(("100", "50"), quotas, strict=True)
        )
        self.customer = CustomerFactory()
        self.subscription = subscribe(at=since, customer=self.customer, plan=self.first.plan)

    def use(self, *numbers, since):
        for place, number in enumerate(numbers):
            use(self.customer, self.metric, number, since + place * HOUR)

    def change(self, at=APRIL_11, to=None):
        live = self.customer.subscriptions.get(ended_at=None)
        return change_now(subscription=live, price=(to or self.second).price, at=at)

    def used(self, at):
        """Live units of each period that has some, in order of time."""
        position = read_positions([(self.customer.pk, self.metric.pk)], at=at, since={self.pair: MARCH})[self.pair]
        return [units for period in position.periods if (units := position.used_within(period))]

    @property
    def pair(self):
        return (self.customer.pk, self.metric.pk)


@pytest.fixture(autouse=True)
def books_add_up():
    yield
    run_sweeps(JUNE + 40 * DAY)
    assert_books_add_up(at=JUNE + 40 * DAY)


def usage(lines):
    """Units and amount of what lines bill of usage."""
    billed = ("usage", "credit", "late_usage")
    return [(line.type, line.quantity, line.amount_cents) for line in lines if line.type in billed]


def usage_at(closes_at):
    return usage(Invoice.objects.get(closes_at=closes_at).lines.order_by("position"))


@pytest.mark.parametrize(
    ("aggregation", "before", "cents_before", "after", "cents_after"),
    [
        # The peak of 30 in a third of the days; that of 12 in two thirds.
        ("MAX", 10, 1_000, 8, 400),
        ("MIN", "3.333333", 333, 4, 200),
        # The mean of 10, 30 and 20; that of 12, 6 and 9.
        ("AVG", "6.666667", 667, 6, 300),
        ("LAST", "6.666667", 667, 6, 300),
        # Three different numbers each.
        ("UNIQUE_COUNT", 1, 100, 2, 100),
    ],
)
def test_each_part_counts_by_its_days(aggregation, before, cents_before, after, cents_after):
    sold = Sold(aggregation)
    sold.use(10, 30, 20, since=APRIL + DAY)

    change = sold.change()
    sold.use(12, 6, 9, since=APRIL_11 + DAY)

    assert usage(change.lines) == [("usage", Decimal(before), cents_before)]
    assert sold.used(APRIL_21) == [Decimal(before), Decimal(after)]
    upcoming = upcoming_invoice(customer=sold.customer, at=APRIL_21)
    assert usage(upcoming.lines) == [("usage", Decimal(after), cents_after)]
    run_sweeps(MAY)
    draft = Invoice.objects.get(closes_at=MAY)
    assert usage(draft_as_it_stands(draft=draft, at=MAY + HOUR / 2).lines) == usage(upcoming.lines)
    run_sweeps(MAY + HOUR)
    assert usage_at(MAY) == usage(upcoming.lines)


def test_what_is_not_cut_counts_whole():
    sold = Sold("MAX")
    sold.use(30, since=APRIL + DAY)

    run_sweeps(MAY + HOUR)

    assert usage_at(MAY) == [("usage", 30, 3_000)]


def test_a_part_of_no_day_counts_nothing():
    sold = Sold("MAX")
    sold.use(30, since=APRIL + DAY)
    sold.change(APRIL_11)
    sold.use(60, since=APRIL_11)

    change = sold.change(APRIL_11 + 5 * HOUR, to=sold.first)
    run_sweeps(MAY + HOUR)

    assert usage(change.lines) == []
    assert usage_at(APRIL_11) == [("usage", 10, 1_000)]


def test_three_parts_of_a_month_may_lack_a_millionth():
    sold = Sold("MAX")
    for at in (APRIL, APRIL_11, APRIL_21):
        if at != APRIL:
            sold.change(at, to=sold.second if at == APRIL_11 else sold.first)
        sold.use(10, since=at + DAY)

    run_sweeps(MAY + HOUR)

    # A third of 10 each: 3.333333 at 100, 50 and 100
    assert list(SubscriptionPeriod.objects.filter(metric=sold.metric, settled_usage__gt=0).order_by("start_at")
        .values_list("settled_usage", "settled_net_cents")) == [
        (Decimal("3.333333"), 333), (Decimal("3.333333"), 167), (Decimal("3.333333"), 333)
    ]  # fmt: skip


def test_the_parts_around_a_pause_count_by_their_days():
    sold = Sold("MAX")
    sold.use(30, since=APRIL + DAY)
    pause(subscription=sold.subscription, at=APRIL_11)
    run_sweeps(APRIL_11 + HOUR)
    sold.use(90, since=APRIL_11 + DAY)

    resume(subscription=sold.subscription, at=APRIL_21)
    sold.use(60, since=APRIL_21 + DAY)
    run_sweeps(MAY + HOUR)

    assert usage_at(APRIL_11) == [("usage", 10, 1_000)]
    assert usage_at(MAY) == [("usage", 20, 2_000)]


def test_what_an_end_cuts_counts_by_its_days():
    sold = Sold("MAX")
    sold.use(30, since=APRIL + DAY)

    cancel_now(subscription=sold.subscription, at=APRIL_11)
    run_sweeps(APRIL_11 + HOUR)

    assert usage_at(APRIL_11) == [("usage", 10, 1_000)]


class TestLastCarriesForward:
    @pytest.fixture
    def sold(self):
        """Six since March, and nothing said about it in April."""
        sold = Sold("LAST", since=MARCH)
        sold.use(9, 6, since=MARCH + DAY)
        run_sweeps(APRIL + HOUR)
        return sold

    def test_into_both_parts_without_an_event(self, sold):
        change = sold.change()
        run_sweeps(MAY + HOUR)

        assert usage(change.lines) == [("usage", 2, 200)]
        assert usage_at(MAY) == [("usage", 4, 200)]

    def test_into_the_part_that_begins_with_a_change_from_the_one_before(self, sold):
        sold.use(3, since=APRIL_11 - HOUR)

        change = sold.change()
        run_sweeps(MAY + HOUR)

        assert usage(change.lines) == [("usage", 1, 100)]
        assert usage_at(MAY) == [("usage", 2, 100)]

    def test_is_explained(self, sold):
        sold.change()
        run_sweeps(MAY + HOUR)

        assert texts(MAY)[1] == "latest 6 × 20/30 days = 4 calls × $0.50 = $2.00."


def texts(closes_at):
    explained = explain_lines(invoice=Invoice.objects.get(closes_at=closes_at), at=MAY + HOUR)
    return [" ".join(explanation_sentences(one, billing_zone())) for one in explained]


class TestCredits:
    @pytest.mark.parametrize("aggregation", ["UNIQUE_COUNT", "MAX"])
    def test_pay_for_the_share_of_each_part(self, aggregation):
        sold = Sold(aggregation, quotas=(30, 60))
        numbers = range(1, 25) if aggregation == "UNIQUE_COUNT" else [24]
        sold.use(*numbers, since=APRIL + DAY)

        # 24 × 10/30 = 8
        assert usage(sold.change().lines) == [("usage", 8, 800), ("credit", 8, -800)]

        # 30 × 10/30 + 60 × 20/30 - 8
        assert remaining(sold.customer, sold.metric, APRIL_11 + HOUR) == 42
        sold.use(*(range(1, 37) if aggregation == "UNIQUE_COUNT" else [36]), since=APRIL_11 + DAY)
        # 36 × 20/30 = 24
        assert remaining(sold.customer, sold.metric, APRIL_21) == 18
        answer = check(customer=sold.customer.public_id, slug=sold.feature.slug, at=APRIL_21)
        assert (answer.usage, answer.remaining, answer.limit) == (24, 18, 42)
        run_sweeps(MAY + HOUR)
        assert usage_at(MAY) == [("usage", 24, 1_200), ("credit", 24, -1_200)]


def test_late_usage_of_a_part_counts_by_its_days():
    sold = Sold("MAX")
    sold.use(30, since=APRIL + DAY)
    sold.change()
    sold.use(12, since=APRIL_11 + DAY)

    use(sold.customer, sold.metric, 45, APRIL + 2 * DAY, key="late")
    run_sweeps(MAY + HOUR)

    # 45 × 10/30 = 15, of which 10 are billed
    assert usage_at(MAY) == [("usage", 8, 400), ("late_usage", 5, 500)]


class TestExplain:
    @pytest.mark.parametrize(
        ("aggregation", "text"),
        [
            ("MAX", "peak 30 × 10/30 days = 10 calls × $1.00 = $10.00."),
            ("MIN", "lowest 10 × 10/30 days = 3.333333 calls × $1.00 = $3.333333, rounded $3.33."),
            ("AVG", "mean 20 × 10/30 days = 6.666667 calls × $1.00 = $6.666667, rounded $6.67."),
            ("UNIQUE_COUNT", "3 different × 10/30 days = 1 call × $1.00 = $1.00."),
        ],
    )
    def test_says_how_the_number_became_units(self, aggregation, text):
        sold = Sold(aggregation)
        sold.use(10, 30, 20, since=APRIL + DAY)

        sold.change()

        assert text in texts(APRIL_11)

    def test_says_so_of_late_usage(self):
        sold = Sold("MAX")
        sold.use(30, since=APRIL + DAY)
        sold.change()
        use(sold.customer, sold.metric, 45, APRIL + 2 * DAY, key="late")
        run_sweeps(MAY + HOUR)

        assert texts(MAY)[-1] == (
            "After 1–11 April 2026 had been billed, 5 calls more were found. In all: peak 45 × 10/30 days = 15 calls "
            "× $1.00 = $15.00. $15.00 − $10.00 billed before = $5.00."
        )

    def test_says_nothing_of_days_where_the_events_of_today_give_another_number(self):
        sold = Sold("MAX")
        sold.use(30, since=APRIL + DAY)
        sold.change()

        use(sold.customer, sold.metric, 45, APRIL + 2 * DAY, key="late")

        (explained,) = [one for one in explain_lines(invoice=Invoice.objects.get(closes_at=APRIL_11), at=APRIL_21)
            if one.line.type == "usage"]  # fmt: skip
        assert explanation_sentences(explained, billing_zone()) == ["10 calls × $1.00 = $10.00."]
        assert explained.agrees is False
        assert explained.recomputed.used == 15
