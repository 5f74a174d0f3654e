"""/v1/prices: create, get, list."""

from decimal import Decimal

import pytest

from credits.models import CreditDefinition
from plans.models import Merchant, Price
from tests.factories import CreditDefinitionFactory, MetricFactory, PlanFactory, PriceFactory, UsageComponentFactory
from tests.pro_plan import make_pro_plan

NOON = "2025-03-10T12:00:00.000Z"
MONTHLY = "RRULE:FREQ=MONTHLY;INTERVAL=1"
FEE = {"type": "fixed", "label": "Base fee", "amount_cents": 2900, "recurrence_rule": "FREQ=MONTHLY"}


def data(*components):
    return {"dsl_version": 1, "components": list(components)}


def usage(metric, **changes):
    return {
        "type": "usage",
        "component_id": "comp_usage_xyz",
        "component_name": "usage_api-calls",
        "label": "API Calls usage",
        "unit_label": "call",
        "metric_id": metric.public_id,
        "unit_cost_cents": 5,
        "recurrence_rule": MONTHLY,
    } | changes


def test_creates_a_price_and_answers_the_normalised_language(api):
    plan, metric = PlanFactory(), MetricFactory()

    answer = api.post(
        "/v1/prices",
        {"planId": plan.public_id, "currency": "usd", "pricingData": data(FEE, usage(metric))},
    )

    price = Price.objects.get()
    assert answer.status == 200
    assert answer.body == {
        "price": {
            "id": price.public_id,
            "planId": plan.public_id,
            "merchantId": Merchant.objects.get().public_id,
            "currency": "USD",
            "pricingData": data(
                FEE | {"component_id": price.components.get(kind="fixed").component_id, "recurrence_rule": MONTHLY},
                usage(metric),
            ),
            "isOverridePrice": False,
            "clonedFromPriceId": None,
            "createdAt": NOON,
            "updatedAt": NOON,
            "deletedAt": None,
        }
    }
    assert api.get(f"/v1/prices/{price.public_id}").body == answer.body


@pytest.mark.parametrize("cost", ["0.000000000001", "5", "0.1", "1000000000"])
def test_writes_unit_costs_as_exact_json_numbers(api, cost):
    pricing_data = data(usage(MetricFactory(), unit_cost_cents=cost))

    answer = api.post("/v1/prices", {"planId": PlanFactory().public_id, "currency": "USD", "pricingData": pricing_data})

    assert f'"unit_cost_cents":{cost},'.encode() in answer.response.content
    assert answer.body["price"]["pricingData"]["components"][0]["unit_cost_cents"] == Decimal(cost)


def test_its_own_answer_can_be_sent_again(api):
    plan, metric = PlanFactory(), MetricFactory()
    sent = {"planId": plan.public_id, "currency": "USD", "pricingData": data(FEE, usage(metric))}
    first = api.post("/v1/prices", sent).body["price"]

    second = api.post("/v1/prices", sent | {"pricingData": first["pricingData"]}).body["price"]

    assert second["pricingData"] == first["pricingData"]


@pytest.mark.parametrize("amount", [-1, Decimal("29.5"), "2900", None, True])
def test_refuses_an_amount_in_the_words_of_the_contract(api, amount):
    answer = api.post(
        "/v1/prices",
        {"planId": PlanFactory().public_id, "currency": "USD", "pricingData": data(FEE | {"amount_cents": amount})},
    )

    assert answer.status == 400
    assert answer.body["error"] == "Invalid pricing data: amount must be a non-negative integer"
    assert answer.body["details"][0]["path"] == "pricingData.components[0].amount_cents"
    assert not Price.objects.exists()


@pytest.mark.parametrize(
    ("pricing_data", "path"),
    [
        (None, "pricingData"),
        ([], "pricingData"),
        ({}, "pricingData.dsl_version"),
        (data(), "pricingData.components"),
        (data(FEE | {"amount_cents": 10**13}), "pricingData.components[0].amount_cents"),
        (data(FEE | {"surprise": 1}), "pricingData.components[0].surprise"),
        (data(FEE | {"type": "one_time"}), "pricingData.components[0].type"),
        (data(FEE | {"recurrence_rule": "FREQ=DAILY"}), "pricingData.components[0].recurrence_rule"),
        (
            data(FEE, {"type": "usage", "metric_id": "met_x", "unit_cost_cents": 1, "recurrence_rule": MONTHLY}),
            "pricingData.components[1].metric_id",
        ),
    ],
)
def test_refuses_pricing_data_by_the_path_of_its_field(api, pricing_data, path):
    answer = api.post("/v1/prices", {"planId": PlanFactory().public_id, "currency": "USD", "pricingData": pricing_data})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, path)
    assert not Price.objects.exists()


@pytest.mark.parametrize(
    ("shape", "component"),
    [
        (
            {"type": "recurring", "interval": "month", "intervalCount": 1, "amountCents": 2999},
            {"type": "fixed", "amount_cents": 2999, "recurrence_rule": MONTHLY},
        ),
        (
            {"type": "flat_rate", "amount": 2900, "interval": "month"},
            {"type": "fixed", "amount_cents": 2900, "recurrence_rule": MONTHLY},
        ),
        (
            {"type": "tiered", "tiers": [{"upTo": 100, "unitAmount": 1000}, {"upTo": None, "unitAmount": 800}]},
            {
                "type": "per_unit",
                "model": "graduated",
                "tiers": [
                    {"up_to": "100", "unit_cost_cents": "1000", "flat_cost_cents": "0"},
                    {"up_to": None, "unit_cost_cents": "800", "flat_cost_cents": "0"},
                ],
                "recurrence_rule": MONTHLY,
            },
        ),
    ],
)
def test_takes_the_other_shapes_of_the_contract_and_answers_the_language(api, shape, component):
    answer = api.post("/v1/prices", {"planId": PlanFactory().public_id, "currency": "USD", "pricingData": shape})

    (written,) = answer.body["price"]["pricingData"]["components"]
    assert written.pop("component_id")
    assert written == component


@pytest.mark.parametrize(
    ("fields", "component"),
    [
        ({}, {"type": "fixed", "amount_cents": 2900}),
        ({"pricingModel": "flat", "billingInterval": "month"}, {"type": "fixed", "amount_cents": 2900}),
        ({"pricingModel": "per_seat", "pricingData": None}, {"type": "per_unit", "amount_cents": 2900}),
    ],
)
def test_takes_the_flat_fields_of_the_contract(api, fields, component):
    body = {"planId": PlanFactory().public_id, "currency": "USD", "unitAmountCents": 2900}

    (written,) = api.post("/v1/prices", body | fields).body["price"]["pricingData"]["components"]

    assert written.pop("component_id")
    assert written == component | {"recurrence_rule": MONTHLY}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"pricingModel": "usage"}, "metricId"),
        ({"pricingModel": "usage", "metricId": "met_x"}, "metricId"),
        ({"pricingModel": "tiered"}, "pricingModel"),
        ({"billingInterval": "day"}, "billingInterval"),
        ({"pricingData": data(FEE)}, "unitAmountCents"),
        ({"unitAmountCents": None, "pricingModel": "flat"}, "unitAmountCents"),
    ],
)
def test_refuses_flat_fields_by_name(api, fields, path):
    body = {"planId": PlanFactory().public_id, "currency": "USD", "unitAmountCents": 2900}

    answer = api.post("/v1/prices", body | fields)

    assert (answer.status, answer.body["details"][0]["path"]) == (400, path)
    assert not Price.objects.exists()


COMPONENTS = {
    "graduated": {
        "model": "graduated",
        "tiers": [
            {"up_to": "1000.5", "unit_cost_cents": "0.000000000001", "flat_cost_cents": "100"},
            {"up_to": None, "unit_cost_cents": "4", "flat_cost_cents": "0"},
        ],
        "first_tier_flat_at_zero": True,
    },
    "volume": {"model": "volume", "tiers": [{"up_to": None, "unit_cost_cents": "4", "flat_cost_cents": "0"}]},
    "package": {
        "model": "package",
        "package_size": 1000,
        "package_cost_cents": Decimal("2.5"),
        "package_round": "down",
    },
    "percentage": {"model": "percentage", "rate_percent": Decimal("2.9"), "fixed_cost_cents": 30},
    "graduated_percentage": {
        "model": "graduated_percentage",
        "tiers": [
            {"up_to": "1000", "rate_percent": "3", "flat_cost_cents": "0"},
            {"up_to": None, "rate_percent": "2.5", "flat_cost_cents": "0"},
        ],
    },
    "options": {
        "unit_cost_cents": 5,
        "divide_by": Decimal("1073741824.5"),
        "divide_round": "half_up",
        "included_units": Decimal("10"),
        "minimum_cents": 100,
        "maximum_cents": 10**12,
    },
}


@pytest.mark.parametrize("terms", COMPONENTS.values(), ids=COMPONENTS)
def test_keeps_every_term_of_every_model(api, terms):
    metric = MetricFactory()
    component = {
        "type": "usage", "component_id": "c", "metric_id": metric.public_id, "recurrence_rule": MONTHLY,
    } | terms  # fmt: skip
    body = {"planId": PlanFactory().public_id, "currency": "USD", "pricingData": data(component)}

    answer = api.post("/v1/prices", body)

    assert answer.status == 200
    price = answer.body["price"]
    assert price["pricingData"] == data(component)
    assert api.get(f"/v1/prices/{price['id']}").body["price"] == price


def test_keeps_seats_and_the_end_of_a_clock(api):
    seats = {
        "type": "per_unit", "component_id": "seats", "unit_label": "seat", "metric_id": MetricFactory().public_id,
        "amount_cents": 1500, "minimum_quantity": 3, "bill_immediately": False, "recurrence_rule": MONTHLY,
    }  # fmt: skip
    setup = FEE | {"component_id": "setup", "recurrence_rule": f"{MONTHLY};COUNT=1"}
    trial = FEE | {"component_id": "days", "recurrence_rule": "RRULE:FREQ=DAILY;INTERVAL=1;UNTIL=20261231T235959Z"}
    pricing_data = data(seats, setup, trial)

    answer = api.post("/v1/prices", {"planId": PlanFactory().public_id, "currency": "USD", "pricingData": pricing_data})

    assert answer.body["price"]["pricingData"] == pricing_data


@pytest.mark.parametrize(
    ("field", "value"), [("currency", None), ("currency", "ABC"), ("currency", 5), ("planId", None), ("planId", 1)]
)
def test_refuses_a_field_of_the_wrong_kind(api, field, value):
    body = {"planId": PlanFactory().public_id, "currency": "USD", "pricingData": data(FEE)}

    answer = api.post("/v1/prices", body | {field: value})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, field)
    assert not Price.objects.exists()


def test_refuses_an_unknown_plan(api):
    answer = api.post("/v1/prices", {"planId": "plan_int_x", "currency": "USD", "pricingData": data(FEE)})

    assert (answer.status, answer.body["error"]) == (404, "Plan not found or access denied")


def test_lists_the_prices_of_a_plan_the_newest_first(api, now, django_assert_num_queries):
    plan = PlanFactory()
    older, newer = PriceFactory(plan=plan), PriceFactory(plan=plan, created_at=now)
    UsageComponentFactory(price=older)
    UsageComponentFactory(price=newer)
    PriceFactory(plan=plan, deleted_at=now)
    PriceFactory()

    # The key, the plan, the prices, their components, the metrics, the merchant.
    with django_assert_num_queries(6):
        body = api.get("/v1/prices", {"planId": plan.public_id}).body

    assert list(body) == ["prices"]
    assert [price["id"] for price in body["prices"]] == [newer.public_id, older.public_id]


@pytest.mark.parametrize("query", [{}, {"planId": ""}])
def test_asks_for_the_plan_whose_prices_are_wanted(api, query):
    answer = api.get("/v1/prices", query)

    assert answer.status == 400
    assert answer.body["error"].startswith("Empty planId provided")


def test_answers_404_for_the_prices_of_an_unknown_plan(api):
    answer = api.get("/v1/prices", {"planId": "plan_int_x"})

    assert answer.status == 404
    assert answer.body["error"] == "Plan not found. If you have multiple accounts, are you using the right API key?"


def test_answers_404_for_an_unknown_price(api):
    assert api.get("/v1/prices/price_x").body["error"] == "Price not found or access denied"


def test_a_fee_per_event_beside_a_quota_of_the_plan_is_refused_and_nothing_is_written(api):
    pro = make_pro_plan()
    fee = usage(pro.metric, model="percentage", rate_percent=2, fixed_cost_cents=10)
    del fee["unit_cost_cents"]

    answer = api.post("/v1/prices", {"planId": pro.plan.public_id, "currency": "USD", "pricingData": data(fee)})

    assert answer.status == 400
    assert answer.body["details"][0]["path"] == "pricingData"
    assert Price.objects.count() == 1


def test_a_clone_with_a_fee_per_event_leaves_the_quota_of_its_source_behind(api):
    pro = make_pro_plan(quota=None)
    component = pro.price.components.get(kind="usage")
    CreditDefinitionFactory(
        scope="price", plan=pro.plan, price=pro.price, price_component_id=component.component_id, feature=pro.feature
    )
    fee = usage(pro.metric, component_id=component.component_id, model="percentage", rate_percent=2, fixed_cost_cents=9)
    del fee["unit_cost_cents"]

    answer = api.post(f"/v1/prices/clone/{pro.price.public_id}", {"pricingData": data(fee)})

    assert answer.status == 200
    assert CreditDefinition.objects.count() == 1
