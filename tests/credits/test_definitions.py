from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.services.subscribe import subscribe
from credits.models import CreditDefinition, CreditGrant
from credits.services.definitions import CreditDefinitionNotFound, create_definition, find_definition
from plans.refusals import InvalidInput
from tests.factories import (
    CreditDefinitionFactory,
    CustomerFactory,
    FeatureFactory,
    MetricFactory,
    PlanFactory,
    PriceFactory,
)
from tests.pro_plan import make_pro_plan, remaining, sweep

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 28, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def define(**words):
    return create_definition(
        **{
            "at": AT,
            "name": "Quota",
            "scope": "plan",
            "application_type": "usage",
            "default_amount": Decimal(100),
        }
        | words
    )


def path_refused(**words):
    with pytest.raises(InvalidInput) as refused:
        define(**words)
    return refused.value.details[0]["path"]


class TestLinks:
    def test_counts_the_units_of_the_linked_component(self):
        pro = make_pro_plan(quota=None)
        component = pro.price.components.get(kind="usage")

        definition = define(scope="component", price=pro.price, price_component_id=component.component_id)

        assert (definition.metric, definition.plan) == (pro.metric, pro.plan)

    def test_counts_the_units_of_the_features_metric(self):
        pro = make_pro_plan(quota=None)

        assert define(plan=pro.plan, feature=pro.feature).metric == pro.metric

    @pytest.mark.parametrize(
        ("words", "path"),
        [
            ({"scope": "plan"}, "planId"),
            ({"scope": "price"}, "priceId"),
            ({"scope": "component"}, "priceId"),
            ({"scope": "merchant"}, "priceComponentId"),
            ({"application_type": "monetary"}, "applicationType"),
            ({"renew_on_billing": True, "expiry_days": 5}, "expiryDays"),
        ],
    )
    def test_that_are_missing_are_refused(self, words, path):
        assert path_refused(**words) == path

    def test_a_price_of_another_plan_is_refused(self):
        assert path_refused(plan=PlanFactory(), price=PriceFactory(), price_component_id="x") == "priceId"

    def test_a_component_that_does_not_exist_is_refused(self):
        pro = make_pro_plan()

        assert path_refused(plan=pro.plan, price_component_id="nothing") == "priceComponentId"

    def test_a_fixed_component_is_refused(self):
        pro = make_pro_plan()
        fee = pro.price.components.get(kind="fixed")

        assert path_refused(plan=pro.plan, price_component_id=fee.component_id) == "priceComponentId"

    @pytest.mark.parametrize("metrics", [0, 2])
    def test_a_feature_without_one_metric_is_refused(self, metrics):
        feature = FeatureFactory(metrics=[MetricFactory() for _ in range(metrics)])

        assert path_refused(plan=PlanFactory(), feature=feature) == "featureSlug"

    def test_nothing_is_written_when_refused(self):
        path_refused(scope="plan")

        assert not CreditDefinition.objects.exists()


def test_finds_definitions_that_are_not_deleted():
    definition = CreditDefinitionFactory()
    assert find_definition(definition.public_id) == definition

    definition.deleted_at = AT
    definition.save()

    with pytest.raises(CreditDefinitionNotFound):
        find_definition(definition.public_id)


def test_one_made_later_grants_from_the_next_renewal():
    pro, customer = make_pro_plan(quota=None), CustomerFactory()
    subscribe(at=AT, customer=customer, plan=pro.plan)

    define(at=AT + timedelta(days=5), plan=pro.plan, feature=pro.feature, renew_on_billing=True)

    assert remaining(customer, pro.metric, AT + timedelta(days=6)) == 0
    assert remaining(customer, pro.metric, FEBRUARY) == 100
    sweep(FEBRUARY)
    assert CreditGrant.objects.filter(customer=customer).count() == 2


def test_one_of_a_single_price_grants_to_its_subscribers_only():
    pro = make_pro_plan(quota=None)
    other = PriceFactory(plan=pro.plan)
    one, another = CustomerFactory(), CustomerFactory()
    subscribe(at=AT, customer=one, plan=pro.plan, price=pro.price)
    subscribe(at=AT, customer=another, plan=pro.plan, price=other)

    define(scope="price", price=pro.price, feature=pro.feature, renew_on_billing=True)

    assert set(CreditGrant.objects.values_list("customer", flat=True)) == {one.pk}


def test_one_of_the_merchant_grants_to_nobody_by_itself():
    pro, customer = make_pro_plan(quota=None), CustomerFactory()
    define(scope="merchant", feature=pro.feature, renew_on_billing=True)

    subscribe(at=AT, customer=customer, plan=pro.plan)

    assert not CreditGrant.objects.exists()
