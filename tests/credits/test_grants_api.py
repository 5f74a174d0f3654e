"""The doors of /v1/credits/grants."""

from decimal import Decimal

import pytest
from django.utils import timezone

from credits.models import CreditGrant
from tests.factories import MetricFactory
from tests.pro_plan import use

pytestmark = pytest.mark.django_db


def test_grants_and_lists_with_live_numbers(api, pro, customer):
    use(customer, pro.metric, 10_100, timezone.now())
    granted = api.post(
        "/v1/credits/grants",
        {"customerId": customer.public_id, "creditDefinitionId": pro.quota.public_id, "initialAmount": 500},
    )

    assert granted.status == 200
    grant = granted.body["grant"]
    assert (grant["initialAmount"], grant["source"], grant["status"]) == (500, "manual", "ACTIVE")
    listed = api.get(f"/v1/credits/customers/{customer.public_id}/grants").body["grants"]
    by_id = {row["id"]: (row["remainingAmount"], row["settled"], row["status"]) for row in listed}
    # The quota ends first, so it is burned first: 10,000 of it and 100 of the goodwill.
    assert by_id[grant["id"]] == (400, 500, "ACTIVE")
    assert sorted(by_id.values()) == [(0, 10_000, "DEPLETED"), (400, 500, "ACTIVE"), (10_000, 10_000, "ACTIVE")]


def test_filters_grants_by_status(api, pro, customer):
    use(customer, pro.metric, 10_000, timezone.now())

    grants = api.get(f"/v1/credits/customers/{customer.public_id}/grants", {"status": "DEPLETED"}).body["grants"]

    assert [grant["remainingAmount"] for grant in grants] == [0]


def test_filters_and_pages_grants(api, pro, customer):
    address = f"/v1/credits/customers/{customer.public_id}/grants"
    body = {"customerId": customer.public_id, "creditDefinitionId": pro.quota.public_id}
    made = [api.post("/v1/credits/grants", body | {"initialAmount": n}).body["grant"]["id"] for n in (1, 2, 3)]
    api.post(f"/v1/credits/grants/{made[0]}/revoke", {})

    first = api.get(address, {"status": "ACTIVE", "limit": "2"}).body
    rest = api.get(address, {"status": "ACTIVE", "limit": "2", "cursor": first["nextCursor"]}).body

    assert [grant["id"] for grant in first["grants"]] == [made[2], made[1]]
    assert (len(rest["grants"]), rest["hasMore"]) == (2, False)
    assert [grant["id"] for grant in api.get(address, {"status": "REVOKED"}).body["grants"]] == [made[0]]
    assert api.get(address, {"applicationType": "monetary"}).body["grants"] == []
    for wrong in ({"status": "active"}, {"applicationType": "x"}):
        answer = api.get(address, wrong)
        assert (answer.status, answer.body["details"][0]["path"]) == (400, next(iter(wrong)))


def test_the_same_reference_code_grants_once(api, pro, customer):
    body = {"customerId": customer.public_id, "creditDefinitionId": pro.quota.public_id, "referenceCode": "T-1"}

    first, again = api.post("/v1/credit-grants", body), api.post("/v1/credit-grants", body)
    other = api.post("/v1/credit-grants", body | {"initialAmount": 7})

    assert first.body["grant"]["id"] == again.body["grant"]["id"]
    assert (other.status, other.body["code"]) == (409, "reference_code_conflict")


def test_revokes_what_is_left_and_keeps_what_was_burned(api, pro, customer):
    use(customer, pro.metric, 300, timezone.now())
    grant = CreditGrant.objects.filter(customer=customer).order_by("starts_at")[0]

    answer = api.post(f"/v1/credits/grants/{grant.public_id}/revoke", {"notes": "Sold by mistake"})
    again = api.post(f"/v1/credits/grants/{grant.public_id}/revoke", {})

    assert (answer.body["grant"]["remainingAmount"], answer.body["grant"]["status"]) == (0, "REVOKED")
    assert answer.body["grant"]["settled"] == 300
    assert again.body["grant"]["settled"] == 300
    moves = api.get(f"/v1/credits/customers/{customer.public_id}/transactions").body["transactions"]
    own = [move for move in moves if move["creditGrantId"] == grant.public_id]
    assert [(move["kind"], move["amount"], move["pending"]) for move in own] == [
        ("revoked", -9_700, False),
        ("burned", -300, True),
        ("granted", 10_000, False),
    ]


@pytest.mark.parametrize(
    ("change", "status", "path"),
    [
        ({"customerId": None}, 400, "customerId"),
        ({"customerId": "cus_unknown"}, 404, None),
        ({"creditDefinitionId": "cred_def_unknown"}, 404, None),
        ({"initialAmount": 0}, 400, "initialAmount"),
        ({"initialAmount": Decimal("0.0000001")}, 400, "initialAmount"),
        ({"source": "theft"}, 400, "source"),
        ({"expiryDate": "2001-01-01T00:00:00Z"}, 400, "expiryDate"),
        ({"expiryDate": "soon"}, 400, "expiryDate"),
    ],
)
def test_refuses_a_grant_at_its_field_and_writes_nothing(api, pro, customer, change, status, path):
    before = CreditGrant.objects.count()
    body = {"customerId": customer.public_id, "creditDefinitionId": pro.quota.public_id} | change

    answer = api.post("/v1/credits/grants", body)

    assert answer.status == status
    if path:
        assert answer.body["details"][0]["path"] == path
    assert CreditGrant.objects.count() == before


@pytest.mark.parametrize("body", [{}, {"customerId": None}, {"customerId": ""}], ids=["absent", "null", "empty"])
def test_says_in_the_contracts_words_that_the_customer_is_missing(api, pro, body):
    answer = api.post("/v1/credits/grants", {"creditDefinitionId": pro.quota.public_id} | body)

    assert (answer.status, answer.body["error"]) == (400, "Customer ID is required")
    assert answer.body["details"] == [{"path": "customerId", "message": "Customer ID is required"}]


def test_says_in_the_contracts_words_how_many_transactions_may_be_asked_for(api, customer):
    answer = api.get(f"/v1/credits/customers/{customer.public_id}/transactions", {"limit": "1001"})

    assert (answer.status, answer.body["error"]) == (400, "Limit must be less than 1000")


def test_an_unknown_grant_cannot_be_revoked(api):
    answer = api.post("/v1/credits/grants/cred_unknown/revoke", {})

    assert (answer.status, answer.body["error"]) == (404, "Credit grant not found")


def test_metrics_of_grants_stay_apart(api, pro, customer):
    other = MetricFactory()
    use(customer, other, 999, timezone.now())

    grants = api.get(f"/v1/credits/customers/{customer.public_id}/grants").body["grants"]

    assert {grant["remainingAmount"] for grant in grants} == {10_000}


class TestAdjusting:
    @pytest.fixture
    def grant(self, pro, customer):
        return CreditGrant.objects.earliest("starts_at")

    @pytest.mark.parametrize("path", ["credits/grants", "credit-grants"])
    def test_answers_with_the_live_grant(self, api, pro, customer, grant, path):
        use(customer, pro.metric, 300, timezone.now())

        answer = api.post(f"/v1/{path}/{grant.public_id}/adjust", {"amount": -200, "notes": "Too many"})

        assert answer.status == 200
        body = answer.body["grant"]
        amounts = (body["initialAmount"], body["adjustedAmount"], body["settled"], body["remainingAmount"])
        assert amounts == (10_000, -200, 9_800, 9_500)
        moves = api.get(f"/v1/credits/customers/{customer.public_id}/transactions").body["transactions"]
        assert [(move["amount"], move["notes"]) for move in moves if move["kind"] == "adjusted"] == [(-200, "Too many")]

    def test_says_how_much_is_left_when_more_is_taken(self, api, pro, customer, grant):
        use(customer, pro.metric, 300, timezone.now())

        answer = api.post(f"/v1/credits/grants/{grant.public_id}/adjust", {"amount": -9_701})

        assert (answer.status, answer.body["code"]) == (409, "adjust_exceeds_remaining")
        assert answer.body["details"] == {"remaining": 9_700}
        assert "9700" in answer.body["error"]

    def test_is_done_once_per_idempotency_key(self, api, grant):
        address, body = f"/v1/credits/grants/{grant.public_id}/adjust", {"amount": 5}

        first = api.post(address, body, idempotency_key="a")
        again = api.post(address, body, idempotency_key="a")

        assert first.body == again.body
        grant.refresh_from_db()
        assert grant.adjusted_amount == 5

    @pytest.mark.parametrize("amount", [0, None, "many", "NaN", Decimal("0.0000001"), 10**18])
    def test_refuses_what_is_no_amount(self, api, grant, amount):
        answer = api.post(f"/v1/credits/grants/{grant.public_id}/adjust", {"amount": amount})

        assert (answer.status, answer.body["details"][0]["path"]) == (400, "amount")
        assert not grant.transactions.filter(kind="adjusted").exists()

    def test_of_a_revoked_or_unknown_grant_is_refused(self, api, grant):
        api.post(f"/v1/credits/grants/{grant.public_id}/revoke", {})

        revoked = api.post(f"/v1/credits/grants/{grant.public_id}/adjust", {"amount": 5})
        unknown = api.post("/v1/credits/grants/cred_unknown/adjust", {"amount": 5})

        assert (revoked.status, revoked.body["code"]) == (409, "credit_grant_ended")
        assert (unknown.status, unknown.body["code"]) == (404, "credit_grant_not_found")
