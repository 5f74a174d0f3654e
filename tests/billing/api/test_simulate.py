"""POST /v1/plans/{id}/simulate."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from billing.services.subscribe import subscribe
from config.keys import create_api_key
from config.models import IdempotencyRecord
from plans.models import Plan
from tests.conftest import ApiClient
from tests.factories import CustomerFactory, PlanFactory, PriceFactory
from tests.pro_plan import make_pro_plan, sweep, use

pytestmark = pytest.mark.django_db

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
NOW = datetime(2026, 5, 15, tzinfo=UTC)
MONTHLY = "RRULE:FREQ=MONTHLY;INTERVAL=1"
FEE = {"type": "fixed", "amount_cents": 1_900, "recurrence_rule": MONTHLY}


@pytest.fixture(autouse=True)
def now():
    with time_machine.travel(NOW, tick=False):
        yield NOW


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def ada(pro):
    """Three months, 12,500 calls in the first."""
    customer = CustomerFactory(name="Ada", external_customer_id="user_1")
    subscribe(at=AT, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 12_500, AT + timedelta(days=1))
    sweep(NOW)
    return customer


def data(pro, cost="8", **changes):
    usage = {"type": "usage", "metric_id": pro.metric.public_id, "unit_cost_cents": cost, "recurrence_rule": MONTHLY}
    return {"pricingData": {"dsl_version": 1, "components": [FEE, usage]}} | changes


def ask(api, plan, body, query=""):
    return api.post(f"/v1/plans/{plan if isinstance(plan, str) else plan.public_id}/simulate{query}", body)


def test_answers_each_customer_and_the_totals(api, pro, ada):
    """3 × 29.00 + 2,500 × 5 cents were billed; 3 × 19.00 + 2,500 × 8 cents would have been."""
    compared = {"oldCents": 21_200, "newCents": 25_700, "differenceCents": 4_500}

    answer = ask(api, pro.plan, data(pro, months=3))

    assert answer.status == 200, answer
    assert answer.body == {
        "currency": "USD",
        "months": 3,
        "from": "2026-02-15T00:00:00.000Z",
        "until": "2026-05-15T00:00:00.000Z",
        "subscriptions": 1,
        "subscriptionsLeftOut": 0,
        "usagePeriods": 3,
        "totals": compared,
        "freeUsage": [],
        "otherClocks": [],
        "customers": [{"customerId": ada.public_id, "externalCustomerId": "user_1", "name": "Ada"} | compared],
    }


def test_simulates_a_price_that_exists(api, pro, ada):
    answer = ask(api, pro.plan, {"priceId": pro.price.public_id})

    assert answer.body["totals"] == {"oldCents": 21_200, "newCents": 21_200, "differenceCents": 0}
    assert answer.body["months"] == 12


def test_says_which_usage_would_be_free(api, pro, ada):
    answer = ask(api, pro.plan, {"pricingData": {"dsl_version": 1, "components": [FEE]}})

    assert answer.body["freeUsage"] == [{"metricId": pro.metric.public_id, "used": 12_500, "oldCents": 12_500}]


def test_takes_the_other_shapes_of_a_price(api, pro, ada):
    words = {"type": "recurring", "interval": "month", "intervalCount": 1, "amountCents": 2_999}

    answer = ask(api, pro.plan, {"pricingData": words})

    assert answer.body["totals"]["newCents"] == 8_997


def test_of_a_stable_id_takes_every_version(api, pro, ada):
    newer = PlanFactory(stable_plan_id=pro.plan.stable_plan_id, version_number=2)
    subscribe(at=AT, customer=CustomerFactory(), plan=newer, price=PriceFactory(plan=newer))
    sweep(NOW)
    Plan.objects.filter(pk=pro.plan.pk).update(deleted_at=NOW)

    everybody = ask(api, pro.plan.stable_plan_id, data(pro))
    newer_alone = ask(api, newer, data(pro))

    assert (everybody.body["subscriptions"], everybody.body["totals"]["oldCents"]) == (2, 21_200 + 8_700)
    assert (newer_alone.body["subscriptions"], newer_alone.body["totals"]["oldCents"]) == (1, 8_700)


def test_customers_come_in_pages_and_the_totals_are_of_all(api, pro, ada):
    for number in range(2):
        customer = CustomerFactory(name=f"Later {number}")
        subscribe(at=AT, customer=customer, plan=pro.plan)
    sweep(NOW)

    first = ask(api, pro.plan, data(pro), "?limit=2").body
    second = ask(api, pro.plan, data(pro), f"?limit=2&cursor={first['nextCursor']}").body

    assert [customer["name"] for customer in first["customers"]] == ["Later 1", "Later 0"]
    assert (first["hasMore"], second["hasMore"], second["nextCursor"]) == (True, False, None)
    assert [customer["name"] for customer in second["customers"]] == ["Ada"]
    assert first["totals"] == second["totals"] == {"oldCents": 38_600, "newCents": 37_100, "differenceCents": -1_500}


def test_a_plan_that_nobody_has_comes_to_nothing(api, pro):
    answer = ask(api, pro.plan, {"priceId": pro.price.public_id})

    assert answer.body["totals"] == {"oldCents": 0, "newCents": 0, "differenceCents": 0}
    assert answer.body["customers"] == []


COMPONENTS = "pricingData.components"


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"pricingData": None}, "priceId"),
        ({"priceId": "price_x"}, "priceId"),
        ({"priceId": 7}, "priceId"),
        ({"pricingData": []}, "pricingData"),
        ({"pricingData": {"dsl_version": 1, "components": []}}, COMPONENTS),
        (
            {"pricingData": {"dsl_version": 1, "components": [FEE | {"amount_cents": -1}]}},
            f"{COMPONENTS}[0].amount_cents",
        ),
        (
            {
                "pricingData": {
                    "dsl_version": 1,
                    "components": [
                        {"type": "usage", "metric_id": "met_no", "unit_cost_cents": 1, "recurrence_rule": MONTHLY}
                    ],
                }
            },
            f"{COMPONENTS}[0].metric_id",
        ),
        ({"months": 0}, "months"),
        ({"months": 25}, "months"),
        ({"months": -1}, "months"),
        ({"months": 1.5}, "months"),
        ({"months": "3"}, "months"),
        ({"months": None}, "months"),
        ({"currency": "EUR"}, "currency"),
        ({"currency": "ZZZ"}, "currency"),
        ({"currency": 5}, "currency"),
    ],
)
def test_refuses_by_the_name_of_the_field(api, pro, ada, changes, path):
    answer = ask(api, pro.plan, data(pro) | changes)

    assert answer.status == 400, answer
    assert [problem["path"] for problem in answer.body["details"]] == [path]


@pytest.mark.parametrize(("query", "path"), [("?limit=0", "limit"), ("?limit=x", "limit"), ("?cursor=x", "cursor")])
def test_refuses_a_page_that_there_is_not(api, pro, ada, query, path):
    answer = ask(api, pro.plan, data(pro), query)

    assert (answer.status, answer.body["details"][0]["path"]) == (400, path)


@pytest.mark.parametrize("body", [[], "text", 7, None])
def test_refuses_what_is_no_object(api, pro, body):
    assert ask(api, pro.plan, body).status == 400


def test_a_price_in_another_currency_is_refused(api, pro, ada):
    price = PriceFactory(plan=pro.plan, currency="EUR")

    answer = ask(api, pro.plan, {"priceId": price.public_id})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "currency")
    assert "billed in USD" in answer.body["error"]


def test_terms_for_a_plan_without_subscriptions_need_a_currency(api, pro):
    assert ask(api, pro.plan, data(pro)).body["details"][0]["path"] == "currency"
    assert ask(api, pro.plan, data(pro, currency="USD")).status == 200


def test_an_unknown_plan_or_price_is_not_found(api, pro):
    assert ask(api, "plan_int_no", data(pro)).status == 404
    assert ask(api, pro.plan, {"priceId": "price_no"}).status == 404


def test_reading_is_enough_and_no_answer_is_kept(pro, ada):
    _, text = create_api_key(name="Reader", key_type="secret", at=NOW, scopes=["plans:read"])

    answer = ApiClient(text).post(f"/v1/plans/{pro.plan.public_id}/simulate", data(pro), idempotency_key="k")

    assert answer.status == 200, answer
    assert not IdempotencyRecord.objects.exists()
