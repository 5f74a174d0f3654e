"""The doors of /v1/credits/customers: what there is to spend, and what moved it."""

import pytest
from django.utils import timezone

from tests.pro_plan import use

pytestmark = pytest.mark.django_db


def test_shows_the_balance_by_feature_and_currency(api, pro, customer):
    use(customer, pro.metric, 300, timezone.now())
    money = api.post(
        "/v1/credits/definitions",
        {"scope": "merchant", "applicationType": "monetary", "currency": "usd", "name": "Gift", "defaultAmount": 5000},
    ).body["definition"]
    gift = api.post("/v1/credits/grants", {"customerId": customer.public_id, "creditDefinitionId": money["id"]}).body[
        "grant"
    ]
    assert (gift["currency"], gift["applicationType"], gift["remainingAmount"]) == ("USD", "monetary", 5000)

    answer = api.get(f"/v1/credits/customers/{customer.external_customer_id}/balance", {"isExtCustId": "true"})

    assert answer.status == 200
    balance = answer.body["balance"]
    (feature,) = balance["features"]
    assert (feature["featureSlug"], feature["metricId"]) == (pro.feature.slug, pro.metric.public_id)
    numbers = {"granted": 10_000, "settled": 10_000, "pending": 300, "remaining": 9_700}
    assert {name: feature[name] for name in numbers} == numbers
    (share,) = feature["grants"]
    assert {name: share[name] for name in numbers} == numbers
    assert (share["name"], share["rolledOver"]) == ("Included calls", False)
    (dollars,) = balance["money"]
    assert (dollars["currency"], dollars["remaining"]) == ("USD", 5000)
    assert [share["grantId"] for share in dollars["grants"]] == [gift["id"]]


def test_lists_pending_burn_among_the_transactions(api, pro, customer):
    use(customer, pro.metric, 300, timezone.now())

    moves = api.get(f"/v1/credits/customers/{customer.public_id}/transactions").body["transactions"]

    assert [(move["kind"], move["amount"], move["pending"]) for move in moves if move["pending"]] == [
        ("burned", -300, True)
    ]
    assert len(moves) == 3


@pytest.mark.parametrize("limit", ["0", "1001", "x"])
def test_refuses_a_limit_out_of_bounds(api, customer, limit):
    answer = api.get(f"/v1/credits/customers/{customer.public_id}/transactions", {"limit": limit})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "limit")
