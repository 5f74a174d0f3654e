"""publish_plan: a plan with everything that it takes to sell it, or nothing."""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing.services.subscribe import subscribe
from credits.models import CreditDefinition, CreditGrant
from credits.services.publish_plan import QuotaTerms, SwitchTerms, UsageTerms, publish_plan
from metering.models import UsageDay
from plans.models import Feature, Metric, Plan, Price
from plans.refusals import InvalidInput
from plans.services.plans import FeatureConfig
from plans.services.subscriptions import open_subscription
from tests.factories import START, CustomerFactory, FeatureFactory, MetricFactory, UsageEventFactory

pytestmark = pytest.mark.django_db


def usage(**changes):
    """API calls: 5 cents each, 10,000 included each period."""
    terms = {
        "slug": "api-calls",
        "name": "API calls",
        "unit_label": "call",
        "unit_cost_cents": Decimal(5),
        "quota": QuotaTerms(units=Decimal(10_000)),
    }
    return UsageTerms(**terms | changes)


def publish(**changes):
    """Publish a plan of 29.00 a month."""
    terms = {"at": START, "name": "Pro", "currency": "USD", "monthly_amount_cents": 2900}
    return publish_plan(**terms | changes)


def assert_nothing_is_written():
    for model in (Plan, Price, Feature, Metric, CreditDefinition):
        assert not model.objects.exists()


def test_publishes_a_plan_with_fee_usage_and_quota():
    plan = publish(usage_components=[usage()], description="For teams", is_visible_in_pricing_table=True)

    metric = Metric.objects.get()
    feature = Feature.objects.get()
    fee, component = Price.objects.get(plan=plan).components.all()
    definition = CreditDefinition.objects.get()
    assert (plan.description, plan.is_visible_in_pricing_table) == ("For teams", True)
    assert (metric.event_name, metric.aggregation_type) == ("api-calls", "SUM")
    assert (feature.value, list(feature.metrics.all())) == ("usage_based", [metric])
    assert (plan.plan_features.get().feature, plan.plan_features.get().overage) == (feature, "block")
    assert (fee.kind, fee.amount_cents) == ("fixed", 2900)
    assert (component.component_name, component.unit_label, component.unit_cost_cents) == ("usage_api-calls", "call", 5)
    assert (definition.metric, definition.price_component_id) == (metric, component.component_id)
    assert (definition.default_amount, definition.renew_on_billing, definition.billing_visible) == (10_000, True, False)


def test_the_yearly_price_bills_its_usage_monthly_and_has_a_quota_of_its_own():
    plan = publish(yearly_amount_cents=29_000, usage_components=[usage()])

    monthly, yearly = Price.objects.filter(plan=plan).order_by("pk")
    assert [(part.kind, part.frequency) for part in monthly.components.all()] == [
        ("fixed", "MONTHLY"),
        ("usage", "MONTHLY"),
    ]
    assert [(part.kind, part.frequency) for part in yearly.components.all()] == [
        ("fixed", "YEARLY"),
        ("usage", "MONTHLY"),
    ]
    assert {definition.price for definition in CreditDefinition.objects.all()} == {monthly, yearly}


def test_pure_usage_needs_no_fee():
    plan = publish(monthly_amount_cents=None, usage_components=[usage(quota=None)])

    assert [component.kind for component in plan.prices.get().components.all()] == ["usage"]


def test_a_plan_may_wait_for_its_price():
    plan = publish(monthly_amount_cents=None, currency="", features=[SwitchTerms(slug="sso", name="SSO")])

    assert not plan.prices.exists()
    assert plan.plan_features.get().value is True


def test_a_quota_without_unit_price_renews_monthly_beside_a_yearly_fee_too():
    plan = publish_plan(
        at=START,
        name="Pro",
        currency="USD",
        monthly_amount_cents=2_900,
        yearly_amount_cents=29_000,
        usage_components=[UsageTerms(slug="calls", name="Calls", quota=QuotaTerms(units=Decimal(10_000)))],
    )

    for price in plan.prices.all():
        customer = CustomerFactory()
        subscribe(at=START, customer=customer, plan=plan, price=price)
        first = CreditGrant.objects.filter(customer=customer).earliest("starts_at")
        assert first.expires_at - first.starts_at <= timedelta(days=31), price


def test_a_quota_without_unit_price_is_linked_to_the_feature():
    publish(usage_components=[usage(unit_cost_cents=None, overage="allow")])

    definition = CreditDefinition.objects.get()
    assert (definition.price, definition.price_component_id, definition.feature.slug) == (None, None, "api-calls")
    assert Plan.objects.get().plan_features.get().overage == "allow"


def test_says_how_a_quota_renews_and_shows():
    quota = QuotaTerms(units=Decimal(500), renews=False, shown_on_invoices=True)

    publish(usage_components=[usage(quota=quota)])

    definition = CreditDefinition.objects.get()
    assert (definition.renew_on_billing, definition.billing_visible) == (False, True)


def test_whoever_subscribes_gets_the_quota():
    from credits.services.renew import grant_with_subscription

    plan = publish(usage_components=[usage()])
    subscription = open_subscription(at=START, customer=CustomerFactory(), price=plan.prices.get(), started_at=START)

    grant_with_subscription(at=START, subscription=subscription)

    # One for the period that runs and one for the next.
    assert [grant.initial_amount for grant in CreditGrant.objects.all()] == [10_000, 10_000]


def test_counts_an_event_name_that_is_not_the_slug():
    publish(usage_components=[usage(event_name="API.Call")])

    assert (Metric.objects.get().event_name, Feature.objects.get().slug) == ("API.Call", "api-calls")


def test_takes_the_sum_metric_of_the_event_name_that_is_there():
    MetricFactory(event_name="api-calls", aggregation_type="COUNT")
    metric = MetricFactory(event_name="api-calls")

    publish(usage_components=[usage()])

    assert list(Feature.objects.get().metrics.all()) == [metric]


def test_counts_events_that_came_before_the_plan():
    UsageEventFactory(event_name="api-calls", value=Decimal(7))

    publish(usage_components=[usage()])

    assert UsageDay.objects.get().total == 7


def test_reuses_a_feature_with_the_metric_that_it_counts():
    metric = MetricFactory(event_name="something")
    feature = FeatureFactory(slug="api-calls", value="usage_based", metrics=[metric])

    plan = publish(usage_components=[usage()])

    assert plan.plan_features.get().feature == feature
    assert plan.prices.get().components.get(kind="usage").metric == metric
    assert Metric.objects.count() == 1


def test_joins_a_feature_without_metric():
    feature = FeatureFactory(slug="api-calls", value="usage_based")

    plan = publish(usage_components=[usage()])

    assert feature.metrics.get().event_name == "api-calls"
    assert plan.plan_features.get().value == "usage_based"


@pytest.mark.parametrize("value", [5, True, "gold"])
def test_refuses_to_count_a_feature_that_others_have_without_a_count(value):
    feature = FeatureFactory(slug="api-calls", value=value)

    with pytest.raises(InvalidInput, match="it is a feature that counts nothing"):
        publish(usage_components=[usage()])

    assert not feature.metrics.exists()
    assert not Plan.objects.exists()


@pytest.mark.parametrize(
    ("own", "given"), [(False, True), (True, True), ("usage_based", True), (5, 5), ("gold", "gold")]
)
def test_gives_an_existing_feature_that_it_lists(own, given):
    FeatureFactory(slug="sso", value=own)

    plan = publish(features=[SwitchTerms(slug="sso", name="SSO")])

    assert plan.plan_features.get().value == given


def test_a_config_has_the_last_word():
    feature = FeatureFactory(slug="api-calls", value="usage_based")

    plan = publish(
        usage_components=[usage()], feature_configs=[FeatureConfig(feature=feature, value=9, overage="allow")]
    )

    sold = plan.plan_features.get()
    assert (sold.value, sold.overage) == (9, "allow")


def test_refuses_an_event_name_that_the_feature_does_not_count():
    FeatureFactory(slug="api-calls", metrics=[MetricFactory(event_name="something")])

    with pytest.raises(InvalidInput, match="it counts something"):
        publish(usage_components=[usage(event_name="api.calls")])

    assert not Plan.objects.exists()


def test_refuses_a_feature_with_several_metrics():
    FeatureFactory(slug="api-calls", metrics=[MetricFactory(), MetricFactory()])

    with pytest.raises(InvalidInput, match="cannot count"):
        publish(usage_components=[usage()])


@pytest.mark.parametrize(
    "changes",
    [
        {"currency": ""},
        {"currency": "ABC"},
        {"monthly_amount_cents": -1},
        {"yearly_amount_cents": -1},
        {"usage_components": [usage(unit_cost_cents=Decimal(-1))]},
        {"usage_components": [usage(unit_cost_cents=Decimal("1e-13"))]},
        {"usage_components": [usage(slug="No Slug")]},
        {"usage_components": [usage(quota=QuotaTerms(units=Decimal(0)))]},
        {"usage_components": [usage(), usage()]},
        {"usage_components": [usage(), usage(slug="other", event_name="api-calls")]},
        {"usage_components": [usage()], "features": [SwitchTerms(slug="api-calls", name="Calls")]},
    ],
)
def test_refuses_terms_that_cannot_be_and_writes_nothing(changes):
    with pytest.raises(InvalidInput):
        publish(**{"usage_components": [usage()], "features": [SwitchTerms(slug="sso", name="SSO")]} | changes)

    assert_nothing_is_written()
