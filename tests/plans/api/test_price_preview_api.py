"""POST /v1/prices/preview."""

from decimal import Decimal

import pytest

from config.keys import create_api_key
from config.models import IdempotencyRecord
from plans.models import Price
from tests.conftest import ApiClient
from tests.factories import FixedComponentFactory, PriceFactory, UsageComponentFactory

pytestmark = pytest.mark.django_db
MONTHLY = "RRULE:FREQ=MONTHLY;INTERVAL=1"
CALLS = {
    "type": "usage", "component_id": "calls", "label": "API calls", "metric_id": "met_any", "recurrence_rule": MONTHLY,
}  # fmt: skip


def data(*components):
    return {"dsl_version": 1, "components": list(components)}


def ask(api, component, **body):
    return api.post("/v1/prices/preview", {"pricingData": data(component), "currency": "USD"} | body)


@pytest.fixture
def price():
    """A fee of 29.00 and calls at 0.1 cent."""
    price = PriceFactory(fee=None)
    FixedComponentFactory(price=price, component_id="fee")
    UsageComponentFactory(price=price, component_id="calls", unit_cost_cents=Decimal("0.1"), label="API calls")
    return price


def test_answers_the_lines_of_a_price_and_their_sum(api, price):
    body = {"priceId": price.public_id, "quantities": {"calls": "124"}, "credits": {"calls": 98}}

    answer = api.post("/v1/prices/preview", body)

    assert answer.status == 200
    assert answer.body == {
        "lines": [
            {
                "componentId": "fee",
                "type": "fixed",
                "description": "Base fee",
                "quantity": 1,
                "unroundedCents": "2900",
                "amountCents": 2900,
            },
            {
                "componentId": "calls",
                "type": "usage",
                "description": "API calls",
                "quantity": 124,
                "unroundedCents": "12.4",
                "amountCents": 12,
            },
            {
                "componentId": "calls",
                "type": "credit",
                "description": "Credits for API calls",
                "quantity": 98,
                "unroundedCents": "-9.8",
                "amountCents": -9,
            },
        ],
        "subtotalCents": 2903,
    }


def test_answers_for_pricing_data_that_nobody_has_created(api):
    tiers = [{"up_to": 1000, "unit_cost_cents": 5}, {"up_to": None, "unit_cost_cents": "2.5"}]

    answer = ask(api, CALLS | {"model": "graduated", "tiers": tiers}, quantities={"calls": Decimal("1000.5")})

    (line,) = answer.body["lines"]
    assert (line["quantity"], line["unroundedCents"], line["amountCents"]) == (Decimal("1000.5"), "5001.25", 5001)
    assert not Price.objects.exists()


def test_components_without_an_id_go_by_their_place(api):
    fee = {"type": "fixed", "amount_cents": 2900, "recurrence_rule": MONTHLY}

    answer = ask(api, fee, quantities={"components[0]": 2})

    assert [(line["componentId"], line["amountCents"]) for line in answer.body["lines"]] == [("components[0]", 5800)]
    taken = api.post(
        "/v1/prices/preview",
        {"pricingData": data(fee, fee | {"component_id": "components[0]"}), "currency": "USD"},
    )
    assert (taken.status, taken.body["details"][0]["path"]) == (400, "pricingData.components")


@pytest.mark.parametrize(
    ("currency", "unrounded", "cents"), [("USD", "2871", 2871), ("JPY", "28.71", 29), ("KWD", "28710", 28710)]
)
def test_percentages_know_the_decimals_of_the_currency(api, currency, unrounded, cents):
    component = CALLS | {"model": "percentage", "rate_percent": "2.9"}

    (line,) = ask(api, component, currency=currency, quantities={"calls": {"amount": "990"}}).body["lines"]

    assert (line["unroundedCents"], line["amountCents"]) == (unrounded, cents)


def test_percentages_take_an_amount_and_its_events(api):
    component = CALLS | {"model": "percentage", "rate_percent": "2.9", "fixed_cost_cents": 30}

    (line,) = ask(api, component, quantities={"calls": {"amount": 100, "events": "3"}}).body["lines"]

    assert (line["quantity"], line["amountCents"]) == (100, 380)


def test_absurd_numbers_are_exact(api):
    answer = ask(api, CALLS | {"unit_cost_cents": "0.000000001"}, quantities={"calls": 10**18})

    assert answer.body["lines"][0]["amountCents"] == answer.body["subtotalCents"] == 10**9
    dear = ask(api, CALLS | {"unit_cost_cents": 10**9}, quantities={"calls": "99999999999999999999999999999999.999999"})
    assert dear.body["lines"][0]["unroundedCents"] == "99999999999999999999999999999999999999000"
    assert dear.body["subtotalCents"] == 99999999999999999999999999999999999999000


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"quantities": {"x": 1}}, "quantities.x"),
        ({"quantities": []}, "quantities"),
        ({"quantities": {"calls": -1}}, "quantities.calls"),
        ({"quantities": {"calls": "-0.1"}}, "quantities.calls"),
        ({"quantities": {"calls": "many"}}, "quantities.calls"),
        ({"quantities": {"calls": True}}, "quantities.calls"),
        ({"quantities": {"calls": "0.0000001"}}, "quantities.calls"),
        ({"quantities": {"calls": 10**32}}, "quantities.calls"),
        ({"quantities": {"calls": {"amount": 1}}}, "quantities.calls"),
        ({"quantities": {"calls": {"amount": -1}}}, "quantities.calls.amount"),
        ({"quantities": {"calls": {"events": "1.5"}}}, "quantities.calls.events"),
        ({"quantities": {"calls": {"units": 1}}}, "quantities.calls.units"),
        ({"credits": {"x": 1}}, "credits.x"),
        ({"credits": {"calls": -1}}, "credits.calls"),
        ({"credits": {"fee": 1}}, "credits.fee"),
        ({"credits": 5}, "credits"),
        ({"currency": "EUR"}, "currency"),
        ({"currency": "ABC"}, "currency"),
        ({"pricingData": data(CALLS)}, "priceId"),
        ({"priceId": None}, "priceId"),
        ({"priceId": None, "pricingData": data(CALLS | {"unit_cost_cents": 1})}, "currency"),
        ({"priceId": None, "pricingData": data(CALLS)}, "pricingData.components[0].unit_cost_cents"),
    ],
)
def test_refuses_by_the_path_of_the_field(api, price, body, path):
    answer = api.post("/v1/prices/preview", {"priceId": price.public_id} | body)

    assert (answer.status, answer.body["details"][0]["path"]) == (400, path)


def test_the_currency_of_a_price_may_be_said_again(api, price):
    assert api.post("/v1/prices/preview", {"priceId": price.public_id, "currency": "usd"}).status == 200


def test_answers_404_for_an_unknown_price(api):
    answer = api.post("/v1/prices/preview", {"priceId": "price_x"})

    assert (answer.status, answer.body["error"]) == (404, "Price not found or access denied")


def test_a_key_that_may_only_read_may_ask(now, price):
    reader = ApiClient(create_api_key(name="Reader", key_type="secret", at=now, scopes=["prices:read"])[1])

    assert reader.post("/v1/prices/preview", {"priceId": price.public_id}).status == 200
    assert reader.post(f"/v1/prices/clone/{price.public_id}").status == 403


def test_keeps_no_answer_for_repetitions(api, price):
    api.post("/v1/prices/preview", {"priceId": price.public_id}, idempotency_key="asked")

    assert not IdempotencyRecord.objects.exists()
