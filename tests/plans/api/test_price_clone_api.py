"""POST /v1/prices/clone/{priceId}."""

from decimal import Decimal

import pytest

from credits.models import CreditDefinition
from plans.models import Price
from tests.factories import (
    CreditDefinitionFactory,
    FeatureFactory,
    FixedComponentFactory,
    PlanFactory,
    PriceFactory,
    UsageComponentFactory,
)

MONTHLY = "RRULE:FREQ=MONTHLY;INTERVAL=1"
FEE = {"type": "fixed", "component_id": "fee", "amount_cents": 4900, "recurrence_rule": MONTHLY}


@pytest.fixture
def source():
    """A price with a fee and usage of which a quota of 10,000 hangs on the component."""
    price = PriceFactory(fee=None)
    FixedComponentFactory(price=price, component_id="fee")
    component = UsageComponentFactory(price=price, component_id="calls", included_units=Decimal("2.5"))
    CreditDefinitionFactory(
        plan=price.plan, price=price, price_component_id="calls", feature=None, priority=3, billing_visible=True
    )
    assert component.metric is not None
    return price


def clone(api, source, body=None):
    return api.post(f"/v1/prices/clone/{source.public_id}", body or {})


def test_is_the_same_price_under_another_id(api, source):
    answer = clone(api, source)

    original = api.get(f"/v1/prices/{source.public_id}").body["price"]
    price = answer.body["price"]
    assert answer.status == 200
    assert price["clonedFromPriceId"] == source.public_id
    assert price["id"] != source.public_id
    assert price["pricingData"] == original["pricingData"]
    same = ("planId", "currency", "isOverridePrice", "deletedAt")
    assert {name: price[name] for name in same} == {name: original[name] for name in same}
    assert api.get(f"/v1/prices/{source.public_id}").body["price"] == original
    assert source.components.count() == 2


def test_copies_the_quotas_of_its_components_in_the_same_plan(api, source, now):
    price = clone(api, source).body["price"]

    first, copy = CreditDefinition.objects.order_by("pk")
    assert (copy.price.public_id, copy.price_component_id, copy.plan_id) == (price["id"], "calls", first.plan_id)
    assert copy.public_id != first.public_id
    same = ("name", "scope", "metric_id", "default_amount", "renew_on_billing", "billing_visible", "priority")
    assert [getattr(copy, name) for name in same] == [getattr(first, name) for name in same]
    assert copy.created_at == now
    assert first.price == source


def test_leaves_quotas_behind_that_are_not_of_this_price_or_deleted(api, source, now):
    CreditDefinition.objects.update(deleted_at=now)
    CreditDefinitionFactory(plan=source.plan)

    clone(api, source)

    assert not CreditDefinition.objects.filter(price__cloned_from=source).exists()


def test_for_another_plan_takes_no_quotas_along(api, source):
    plan = PlanFactory()

    price = clone(api, source, {"planId": plan.public_id}).body["price"]

    assert price["planId"] == plan.public_id
    assert CreditDefinition.objects.count() == 1


def test_takes_another_currency_and_marks_an_override(api, source):
    price = clone(api, source, {"currency": "eur", "isOverridePrice": True}).body["price"]

    assert (price["currency"], price["isOverridePrice"]) == ("EUR", True)
    assert price["pricingData"]["components"][0]["amount_cents"] == 2900
    # What is not said is as in the source, also of a clone.
    again = api.post(f"/v1/prices/clone/{price['id']}").body["price"]
    assert (again["currency"], again["isOverridePrice"]) == ("EUR", True)


def test_with_other_components_keeps_the_quotas_of_those_that_are_still_there(api, source):
    CreditDefinitionFactory(
        plan=source.plan, price=source, feature=FeatureFactory(metrics=[source.components.get(position=1).metric])
    )
    metric = source.components.get(component_id="calls").metric.public_id
    usage = {"type": "usage", "metric_id": metric, "unit_cost_cents": 4, "recurrence_rule": MONTHLY}

    kept = clone(api, source, {"pricingData": {"dsl_version": 1, "components": [usage | {"component_id": "calls"}]}})
    dropped = clone(api, source, {"pricingData": {"dsl_version": 1, "components": [FEE]}})

    def linked(answer):
        definitions = CreditDefinition.objects.filter(price__public_id=answer.body["price"]["id"])
        return [definition.price_component_id for definition in definitions.order_by("pk")]

    assert linked(kept) == ["calls", None]
    assert linked(dropped) == [None]


@pytest.mark.parametrize(
    ("body", "status", "path"),
    [
        ({"currency": "ABC"}, 400, "currency"),
        ({"isOverridePrice": "yes"}, 400, "isOverridePrice"),
        ({"pricingData": []}, 400, "pricingData"),
        ({"pricingData": {"dsl_version": 1, "components": [FEE, FEE]}}, 400, "pricingData.components[1].component_id"),
    ],
)
def test_refuses_by_path_and_writes_nothing(api, source, body, status, path):
    answer = clone(api, source, body)

    assert (answer.status, answer.body["details"][0]["path"]) == (status, path)
    assert Price.objects.count() == 1


def test_refuses_an_unknown_source_and_an_unknown_plan(api, source):
    unknown = api.post("/v1/prices/clone/price_x", {})

    assert (unknown.status, unknown.body["error"]) == (404, "Source price not found or access denied")
    assert clone(api, source, {"planId": "plan_int_x"}).status == 404
    assert Price.objects.count() == 1


def test_the_same_idempotency_key_clones_once(api, source):
    path = f"/v1/prices/clone/{source.public_id}"

    first = api.post(path, {}, idempotency_key="once")
    second = api.post(path, {}, idempotency_key="once")

    assert first.body == second.body
    assert Price.objects.count() == 2
