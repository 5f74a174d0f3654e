"""`/v1/credits/packs`: offering, changing, listing and buying packs."""

from datetime import UTC, datetime

import pytest
import time_machine

from billing.exchange import Paid
from billing.models import Invoice
from billing.services.collect import record_payment
from credits.models import CreditGrant, TopUpPack
from plans.services.customers import find_customer
from tests.factories import CreditDefinitionFactory, CustomerFactory

pytestmark = pytest.mark.django_db

AT = datetime(2026, 3, 10, 15, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def now():
    with time_machine.travel(AT, tick=False):
        yield AT


@pytest.fixture
def definition():
    return CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False)


@pytest.fixture
def offer(api, definition):
    """Offer a pack; the answer's `pack`."""

    def make(**body):
        words = {"name": "1,000 calls", "creditDefinitionId": definition.public_id, "amount": 1_000}
        answer = api.post("/v1/credits/packs", words | {"priceCents": 900, "currency": "USD"} | body)
        assert answer.status == 200, answer
        return answer.body["pack"]

    return make


def buy(api, pack, customer, **body):
    return api.post(f"/v1/credits/packs/{pack['id']}/purchase", {"customerId": customer.public_id} | body)


class TestOffer:
    def test_answers_what_can_be_bought(self, api, offer, definition):
        pack = offer()

        assert pack["id"].startswith("pack_")
        assert pack == {
            "id": TopUpPack.objects.get().public_id,
            "merchantId": pack["merchantId"],
            "name": "1,000 calls",
            "creditDefinitionId": definition.public_id,
            "applicationType": "usage",
            "metricId": definition.metric.public_id,
            "amount": 1_000,
            "priceCents": 900,
            "currency": "USD",
            "isActive": True,
            "createdAt": "2026-03-10T15:30:00.000Z",
            "updatedAt": "2026-03-10T15:30:00.000Z",
        }

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("name", None),
            ("name", ""),
            ("name", "x" * 201),
            ("name", 7),
            ("amount", None),
            ("amount", 0),
            ("amount", -5),
            ("amount", "NaN"),
            ("amount", "many"),
            ("amount", "0.0000001"),
            ("amount", "1e30"),
            ("amount", True),
            ("priceCents", None),
            ("priceCents", 0),
            ("priceCents", -1),
            ("priceCents", "9.5"),
            ("priceCents", 10**13),
            ("priceCents", True),
            ("currency", "ZZZ"),
            ("currency", None),
            ("currency", 7),
            ("creditDefinitionId", None),
            ("creditDefinitionId", ["x"]),
        ],
    )
    def test_refuses_by_the_name_of_the_field(self, api, definition, field, value):
        body = {"name": "Pack", "creditDefinitionId": definition.public_id, "amount": 5, "priceCents": 900}

        answer = api.post("/v1/credits/packs", body | {"currency": "USD"} | {field: value})

        assert answer.status == 400, answer
        assert [problem["path"] for problem in answer.body["details"]] == [field]
        assert not TopUpPack.objects.exists()

    @pytest.mark.parametrize("body", [[], "text", 7, None])
    def test_refuses_what_is_no_object(self, api, body):
        assert api.post("/v1/credits/packs", body).status == 400

    def test_of_an_unknown_definition_is_not_found(self, api):
        body = {"name": "Pack", "creditDefinitionId": "cred_def_no", "amount": 5, "priceCents": 900, "currency": "USD"}

        assert api.post("/v1/credits/packs", body).status == 404


class TestUpdate:
    def test_changes_what_is_sent(self, api, offer):
        pack = offer()

        answer = api.post(f"/v1/credits/packs/{pack['id']}/update", {"priceCents": 1_100, "isActive": False})

        assert answer.body["pack"] == pack | {"priceCents": 1_100, "isActive": False}

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("amount", 5),
            ("currency", "EUR"),
            ("creditDefinitionId", "cred_def_x"),
            ("priceCents", 0),
            ("priceCents", "x"),
            ("isActive", "no"),
            ("name", ""),
        ],
    )
    def test_refuses_by_the_name_of_the_field(self, api, offer, field, value):
        pack = offer()

        answer = api.post(f"/v1/credits/packs/{pack['id']}/update", {field: value})

        assert answer.status == 400, answer
        assert [problem["path"] for problem in answer.body["details"]] == [field]
        assert api.get("/v1/credits/packs").body["packs"] == [pack]

    def test_of_an_unknown_pack_is_not_found(self, api):
        answer = api.post("/v1/credits/packs/pack_no/update", {"name": "x"})

        assert (answer.status, answer.body["code"]) == (404, "pack_not_found")


class TestList:
    def test_is_newest_first_and_comes_in_pages(self, api, offer):
        first, second = offer(name="First"), offer(name="Second")

        assert api.get("/v1/credits/packs").body == {"packs": [second, first]}
        page = api.get("/v1/credits/packs", {"limit": "1"}).body
        assert (page["packs"], page["hasMore"]) == ([second], True)
        assert api.get("/v1/credits/packs", {"limit": "1", "cursor": page["nextCursor"]}).body["packs"] == [first]

    def test_of_those_on_offer_leaves_out_the_retired(self, api, offer):
        kept, retired = offer(), offer()
        api.post(f"/v1/credits/packs/{retired['id']}/update", {"isActive": False})

        assert [pack["id"] for pack in api.get("/v1/credits/packs", {"isActive": "true"}).body["packs"]] == [kept["id"]]
        assert api.get("/v1/credits/packs", {"isActive": "maybe"}).status == 400

    def test_asks_no_more_for_more_packs(self, api, offer, django_assert_max_num_queries):
        for _ in range(5):
            offer()

        with django_assert_max_num_queries(6):
            api.get("/v1/credits/packs")


class TestPurchase:
    def test_answers_the_invoice_that_waits(self, api, offer):
        ada = CustomerFactory(invoice_prefix="ADA")

        pack = offer()

        answer = buy(api, pack, ada, quantity=3)

        assert answer.status == 200, answer
        assert answer.body["grant"] is None
        invoice = answer.body["invoice"]
        assert (invoice["customerInvoiceNumber"], invoice["kind"], invoice["status"]) == ("ADA-001", "top_up", "issued")
        assert (invoice["totalAmountCents"], invoice["currency"], invoice["subscriptionId"]) == (2_700, "USD", None)
        (line,) = api.get(f"/v1/invoices/{invoice['id']}").body["invoice"]["lineItems"]
        assert line["packId"] == pack["id"]
        assert (line["type"], line["quantity"], line["unitAmountCents"], line["subtotalCents"]) == (
            "top_up",
            3,
            900,
            2_700,
        )

    def test_takes_an_external_customer_id(self, api, offer):
        CustomerFactory(external_customer_id="user_1")
        pack = offer()

        answer = api.post(f"/v1/credits/packs/{pack['id']}/purchase?isExtCustId=true", {"customerId": "user_1"})

        assert answer.body["invoice"]["customerId"] == find_customer("user_1", external=True).public_id

    def test_repeated_with_its_key_is_one_purchase(self, api, offer):
        pack, ada = offer(), CustomerFactory()
        body = {"customerId": ada.public_id}

        answers = [api.post(f"/v1/credits/packs/{pack['id']}/purchase", body, idempotency_key="k") for _ in range(2)]

        assert answers[0].body == answers[1].body
        assert Invoice.objects.count() == 1

    def test_shows_in_the_customers_grants_once_it_is_paid(self, api, offer):
        ada = CustomerFactory()
        invoice = buy(api, offer(), ada, quantity=2).body["invoice"]
        assert api.get(f"/v1/credits/customers/{ada.public_id}/grants").body["grants"] == []

        record_payment(invoice=invoice["id"], paid=Paid(reference="in_1", amount_cents=1_800), at=AT)

        (grant,) = api.get(f"/v1/credits/customers/{ada.public_id}/grants").body["grants"]
        assert (grant["source"], grant["initialAmount"], grant["remainingAmount"]) == ("topup", 2_000, 2_000)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("quantity", 0),
            ("quantity", -1),
            ("quantity", 10_001),
            ("quantity", "1.5"),
            ("quantity", True),
            ("quantity", None),
            ("customerId", None),
            ("customerId", ""),
            ("customerId", 7),
        ],
    )
    def test_refuses_by_the_name_of_the_field(self, api, offer, field, value):
        answer = buy(api, offer(), CustomerFactory(), **{field: value})

        assert answer.status == 400, answer
        assert [problem["path"] for problem in answer.body["details"]] == [field]
        assert not Invoice.objects.exists()
        assert not CreditGrant.objects.exists()

    def test_below_the_minimum_charge_is_refused_with_the_amount(self, api, offer):
        answer = buy(api, offer(priceCents=49), CustomerFactory())

        assert (answer.status, answer.body["code"]) == (400, "below_minimum_charge")
        assert answer.body["error"] == (
            "quantity: $0.49 is less than the $0.50 that can be charged at once. Buy more packs together."
        )

    def test_of_a_retired_pack_is_refused(self, api, offer):
        pack = offer()
        api.post(f"/v1/credits/packs/{pack['id']}/update", {"isActive": False})

        answer = buy(api, pack, CustomerFactory())

        assert (answer.status, answer.body["code"]) == (409, "pack_not_offered")

    def test_of_an_unknown_pack_or_customer_is_not_found(self, api, offer):
        pack = offer()

        assert buy(api, {"id": "pack_no"}, CustomerFactory()).status == 404
        answer = api.post(f"/v1/credits/packs/{pack['id']}/purchase", {"customerId": "cus_no"})
        assert (answer.status, answer.body["code"]) == (404, "customer_not_found")
