"""Metrics with filters and properties, their versions, and how events that were there before are counted."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.services.subscribe import subscribe
from credits.models import CreditDefinition
from credits.services.delete_metric import delete_unused_metric
from credits.services.positions import read_positions
from entitlements.services.check import check
from metering.models import UsageDay
from metering.services.build_metrics import build_next_slice
from metering.services.metrics import MetricInUse, MetricIsBeingBuilt, create_metric, delete_metric, update_metric
from metering.services.record_events import record_events
from plans.models import MetricVersion, SubscriptionPeriod
from plans.refusals import InvalidInput
from tests.factories import (
    CustomerFactory,
    FeatureFactory,
    MetricFactory,
    PlanFactory,
    PlanFeatureFactory,
    PriceFactory,
)
from tests.pro_plan import event, make_pro_plan, sweep, use

AT = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
JANUARY, FEBRUARY = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def make(aggregation="SUM", **terms):
    return create_metric(at=AT, name="Calls", event_name="call", aggregation_type=aggregation, **terms)


def send(customer, *sent):
    """Events of (value, properties as JSON), an hour apart."""
    events = [
        event(
            "call", value, AT + number * HOUR, f"{value}/{properties}/{number}", customer=customer.public_id,
            properties=properties,
        )
        for number, (value, properties) in enumerate(sent)
    ]  # fmt: skip
    record_events(events=events, at=AT)


def test_counts_only_events_whose_properties_pass_the_filter():
    customer = CustomerFactory()
    metric = make(property_filter={"region": ["eu", "us"], "live": True, "size": Decimal("1.5")})

    send(
        customer,
        (1, '{"region": "eu", "live": true, "size": 1.5}'),
        (2, '{"region": "us", "live": true, "size": 1.50}'),
        (4, '{"region": "asia", "live": true, "size": 1.5}'),
        (8, '{"region": "eu", "live": "true", "size": 1.5}'),
        (16, '{"region": "eu", "live": true, "size": "1.5"}'),
        (32, '{"region": ["eu"], "live": true, "size": 1.5}'),
        (64, '{"live": true, "size": 1.5}'),
        (128, '{"region": null, "live": true, "size": 1.5}'),
    )

    day = UsageDay.objects.get(version__metric=metric)
    assert (day.events, day.total) == (2, 3)


def test_aggregates_a_property_instead_of_the_value():
    customer = CustomerFactory()
    metric = make(value_property="tokens")

    send(
        customer,
        (1, '{"tokens": 100}'),
        (1, '{"tokens": "0.5"}'),
        (1, '{"tokens": -3}'),
        (1, '{"tokens": "many"}'),
        (1, '{"tokens": 1e30}'),
        (1, '{"tokens": [7]}'),
        (1, "{}"),
    )

    day = UsageDay.objects.get(version__metric=metric)
    assert (day.events, day.total) == (3, Decimal("97.5"))


@pytest.mark.parametrize(
    ("aggregation", "number"), [("SUM", 6), ("COUNT", 4), ("MAX", 5), ("MIN", -2), ("AVG", "1.5"), ("LAST", 1)]
)
def test_each_aggregation_of_a_day_by_hand(aggregation, number):
    customer = CustomerFactory()
    metric = make(aggregation)

    send(customer, (2, "{}"), (5, "{}"), (-2, "{}"), (1, "{}"))

    day = UsageDay.objects.get(version__metric=metric)
    kept = {
        "SUM": day.total,
        "COUNT": day.events,
        "MAX": day.maximum,
        "MIN": day.minimum,
        "AVG": day.total / day.events,
        "LAST": day.last_value,
    }
    assert kept[aggregation] == Decimal(number)


def test_the_latest_is_the_one_that_happened_last_not_the_one_that_came_last():
    customer = CustomerFactory()
    metric = make("LAST")

    send(customer, (2, "{}"), (5, "{}"))
    record_events(events=[event("call", 9, AT + HOUR / 2, "between", customer=customer.public_id)], at=AT)

    assert UsageDay.objects.get(version__metric=metric).last_value == 5


class TestChange:
    def test_another_filter_makes_a_version_that_has_counted_what_was_there(self):
        customer, metric = CustomerFactory(), make()
        send(customer, (1, '{"region": "eu"}'), (2, '{"region": "us"}'))

        metric = update_metric(metric=metric, at=AT + HOUR, property_filter={"region": "us"})

        assert (metric.current.number, metric.current.property_filter) == (2, {"region": ["us"]})
        assert metric.current.effective_at == AT + HOUR
        assert UsageDay.objects.get(version=metric.current).total == 2
        assert UsageDay.objects.get(version__number=1).total == 3

    def test_events_that_come_later_count_for_both_versions(self):
        # Late usage of a period that was billed by the old version is rated by it.
        customer, metric = CustomerFactory(), make()
        update_metric(metric=metric, at=AT, property_filter={"region": "us"})

        send(customer, (1, '{"region": "eu"}'), (2, '{"region": "us"}'))

        assert list(UsageDay.objects.order_by("version__number").values_list("total", flat=True)) == [3, 2]

    def test_another_name_or_the_same_terms_make_no_version(self):
        metric = make(property_filter={"region": "us"})

        update_metric(metric=metric, at=AT, name="Other", event_name="call", property_filter={"region": ["us"]})

        assert MetricVersion.objects.get().number == 1

    def test_many_events_are_counted_by_the_job_and_then_count(self, monkeypatch):
        monkeypatch.setattr("metering.services.metrics.EVENTS_COUNTED_AT_ONCE", 1)
        customer, other = CustomerFactory(), CustomerFactory()
        metric = make()
        send(customer, (1, "{}"), (2, "{}"))
        send(other, (4, "{}"))

        changed = update_metric(metric=metric, at=AT, property_filter={})
        assert changed.current.number == 1
        changed = update_metric(metric=metric, at=AT, value_property="tokens")

        version = MetricVersion.objects.get(number=2)
        assert (changed.current.number, version.built_at, version.percent_built) == (1, None, 0)
        with pytest.raises(MetricIsBeingBuilt):
            update_metric(metric=metric, at=AT, value_property="other")
        # One transaction counts, another makes it the current one.
        assert build_next_slice(at=AT + HOUR) and build_next_slice(at=AT + HOUR)
        version.refresh_from_db()
        metric.refresh_from_db()
        assert (version.built_at, version.effective_at, metric.current) == (AT + HOUR, AT + HOUR, version)
        assert not build_next_slice(at=AT + HOUR)

    def test_a_change_counts_from_the_open_period_on(self):
        pro, customer = make_pro_plan(), CustomerFactory()
        january, february = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
        subscribe(at=january, customer=customer, plan=pro.plan)
        for at, key in ((january + HOUR, "a"), (february + HOUR, "b")):
            sent = event(pro.metric.event_name, 100, at, key, customer=customer.public_id, properties='{"free": true}')
            record_events(events=[sent], at=at)

        update_metric(metric=pro.metric, at=february + 2 * HOUR, property_filter={"free": False})

        # January keeps its 100; February, which is not over, counts them no longer.
        position = read_positions([(customer.pk, pro.metric.pk)], at=february + 2 * HOUR)[customer.pk, pro.metric.pk]
        first, second = position.periods[:2]
        assert (position.used_in(first.key), position.used_in(second.key)) == (100, 0)

    def test_a_period_that_is_settled_keeps_its_version_even_when_the_clock_lags(self):
        pro, customer = make_pro_plan(), CustomerFactory()
        january, february = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
        subscribe(at=january, customer=customer, plan=pro.plan)
        sweep(february + HOUR)

        metric = update_metric(metric=pro.metric, at=february - HOUR, property_filter={"free": False})

        assert metric.current.effective_at == february


class TestDelete:
    def test_counts_no_longer_and_leaves_its_features(self):
        customer, metric = CustomerFactory(), make()
        feature = FeatureFactory(metrics=[metric])

        delete_metric(metric=metric, at=AT)
        send(customer, (1, "{}"))

        assert not UsageDay.objects.exists()
        assert not feature.metrics.exists()

    def test_is_refused_while_a_plan_needs_it(self):
        pro = make_pro_plan()

        with pytest.raises(MetricInUse) as refused:
            delete_metric(metric=pro.metric, at=AT)

        assert refused.value.message == (
            "This metric is used by a price and a plan's feature. Take it out there first."
        )
        pro.metric.refresh_from_db()
        assert pro.metric.deleted_at is None


@pytest.mark.parametrize(("before", "after"), [(1, True), (True, 1), ("1", 1)])
def test_values_that_python_takes_for_equal_are_another_filter(before, after):
    metric = make(property_filter={"live": before})

    metric = update_metric(metric=metric, at=AT, property_filter={"live": after})

    assert metric.current.number == 2
    assert repr(metric.current.property_filter) == repr({"live": [after]})


def test_the_same_fraction_is_the_same_filter():
    metric = make(property_filter={"size": Decimal("0.1")})

    assert update_metric(metric=metric, at=AT, property_filter={"size": [Decimal("0.1")]}).current.number == 1


def test_a_metric_with_a_grant_or_a_quota_is_not_deleted():
    pro, customer = make_pro_plan(), CustomerFactory()
    subscribe(at=AT, customer=customer, plan=pro.plan)

    with pytest.raises(MetricInUse, match="credit definition"):
        delete_unused_metric(metric=pro.metric, at=AT)
    CreditDefinition.objects.update(deleted_at=AT)
    with pytest.raises(MetricInUse, match="grant with something left"):
        delete_unused_metric(metric=pro.metric, at=AT)


class TestOneNumberAPeriod:
    def limited(self, aggregation):
        """A customer who may have 10 of a metric, from 1 January on."""
        metric = MetricFactory(aggregation_type=aggregation)
        plan, feature = PlanFactory(), FeatureFactory(value=10, metrics=[metric])
        PlanFeatureFactory(plan=plan, feature=feature, value=10)
        PriceFactory(plan=plan)
        customer = CustomerFactory()
        subscribe(at=JANUARY, customer=customer, plan=plan)
        return customer, metric, feature

    def send(self, customer, metric, *values, at):
        for number, value in enumerate(values):
            use(customer, metric, value, at + number * HOUR)

    @pytest.mark.parametrize(
        ("aggregation", "usage"),
        [("MAX", 7), ("MIN", 1), ("AVG", "3.333333"), ("UNIQUE_COUNT", 3), ("LAST", 7), ("SUM", 10), ("COUNT", 3)],
    )
    def test_a_check_counts_it_once(self, aggregation, usage):
        customer, metric, feature = self.limited(aggregation)
        self.send(customer, metric, 1, 2, 7, at=JANUARY + 12 * HOUR)

        decision = check(customer=customer.public_id, slug=feature.slug, at=JANUARY + 48 * HOUR)

        assert (decision.usage, decision.limit) == (Decimal(usage), 10)
        assert decision.remaining == 10 - Decimal(usage)

    def test_thirds_are_settled(self):
        customer, metric, _ = self.limited("AVG")
        self.send(customer, metric, 1, 2, 7, at=JANUARY + 12 * HOUR)

        sweep(FEBRUARY + HOUR)

        period = SubscriptionPeriod.objects.get(customer=customer, metric=metric, settled_at__isnull=False)
        assert period.settled_usage == Decimal("3.333333")

    def test_the_latest_is_carried_into_the_next_period(self):
        customer, metric, feature = self.limited("LAST")
        self.send(customer, metric, 5, at=JANUARY + 12 * HOUR)
        sweep(FEBRUARY + HOUR)

        decision = check(customer=customer.public_id, slug=feature.slug, at=FEBRUARY + 48 * HOUR)

        assert (decision.usage, decision.remaining) == (5, 5)

    @pytest.mark.parametrize("aggregation", ["UNIQUE_COUNT", "MAX"])
    def test_different_ones_and_the_greatest_begin_anew(self, aggregation):
        customer, metric, feature = self.limited(aggregation)
        self.send(customer, metric, 5, at=JANUARY + 12 * HOUR)
        sweep(FEBRUARY + HOUR)

        assert check(customer=customer.public_id, slug=feature.slug, at=FEBRUARY + 48 * HOUR).usage == 0


@pytest.mark.parametrize(
    ("terms", "path"),
    [
        ({"property_filter": {"": "x"}}, "filter."),
        ({"property_filter": {"x" * 256: "x"}}, "filter." + "x" * 50),
        ({"property_filter": {"region": []}}, "filter.region"),
        ({"property_filter": {"region": None}}, "filter.region"),
        ({"property_filter": {"region": {"eu": 1}}}, "filter.region"),
        ({"property_filter": {"region": [["eu"]]}}, "filter.region"),
        ({"property_filter": {"region": "x" * 1001}}, "filter.region"),
        ({"property_filter": {"region": Decimal("1e30")}}, "filter.region"),
        ({"property_filter": {"region": ["x"] * 101}}, "filter.region"),
        ({"property_filter": {f"p{n}": 1 for n in range(21)}}, "filter"),
        ({"aggregation_type": "COUNT", "value_property": "size"}, "valueProperty"),
        ({"value_property": "x" * 256}, "valueProperty"),
        ({"value_type": "STRING"}, "valueType"),
    ],
)
def test_terms_that_cannot_be_are_refused_at_their_field(terms, path):
    with pytest.raises(InvalidInput) as refused:
        create_metric(**{"at": AT, "name": "x", "event_name": "x", "aggregation_type": "SUM"} | terms)

    assert refused.value.details[0]["path"] == path
    assert not MetricVersion.objects.exists()


def test_a_bill_waits_until_its_metric_has_counted_what_was_there():
    pro, customer = make_pro_plan(), CustomerFactory()
    january, february = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    subscription = subscribe(at=january, customer=customer, plan=pro.plan)
    MetricVersion.objects.update(built_at=None)

    sweep(february + HOUR)
    assert subscription.invoices.filter(status="draft").count() == 1

    assert build_next_slice(at=february + HOUR)
    sweep(february + HOUR)
    assert subscription.invoices.filter(status="draft").count() == 0


def test_a_metric_of_its_own_says_what_it_counts():
    assert MetricFactory(event_name="mail").event_name == "mail"
