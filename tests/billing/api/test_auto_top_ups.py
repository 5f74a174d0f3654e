"""`/v1/credits/auto-top-ups`: setting them up, changing, listing, and what is refused."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
import time_machine

from billing import jobs
from billing.models import AutoTopUp, Invoice, PaymentMethod
from credits.services.packs import create_pack
from tests.factories import CreditDefinitionFactory, CustomerFactory

pytestmark = pytest.mark.django_db

AT = datetime(2026, 3, 10, 15, 30, tzinfo=UTC)
PATH = "/v1/credits/auto-top-ups"


@pytest.fixture(autouse=True)
def now():
    with time_machine.travel(AT, tick=False):
        yield AT


@pytest.fixture
def pack():
    definition = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False)
    return create_pack(
        at=AT, name="Pack", definition=definition, amount=Decimal(1_000), price_cents=900, currency="USD"
    )


@pytest.fixture
def customer():
    customer = CustomerFactory(external_customer_id="ada")
    PaymentMethod.objects.create(customer=customer, external_id="pm_1", is_default=True, created_at=AT)
    return customer


def body(customer, pack, **changes):
    terms = {"customerId": customer.public_id, "packId": pack.public_id, "threshold": 200, "monthlyLimitCents": 2700}
    return terms | changes


def test_answers_the_terms_and_where_it_stands(api, customer, pack):
    made = api.post(PATH, body(customer, pack, quantity=2, currency="usd")).body["autoTopUp"]

    assert made == {
        "id": AutoTopUp.objects.get().public_id,
        "merchantId": made["merchantId"],
        "customerId": customer.public_id,
        "packId": pack.public_id,
        "threshold": 200,
        "quantity": 2,
        "monthlyLimitCents": 2700,
        "currency": "USD",
        "agreedPriceCents": 900,
        "enabled": True,
        "status": "active",
        "stopped": None,
        "resumesAt": None,
        "spentThisMonthCents": 0,
        "pendingInvoiceId": None,
        "createdAt": "2026-03-10T15:30:00.000Z",
        "updatedAt": "2026-03-10T15:30:00.000Z",
    }
    assert made["id"].startswith("atu_")
    assert api.get(f"{PATH}/{made['id']}").body["autoTopUp"] == made


def test_says_what_is_bought_and_why_it_stopped(api, customer, pack):
    made = api.post(PATH, body(customer, pack)).body["autoTopUp"]
    jobs.top_up(AT)

    pending = api.get(f"{PATH}/{made['id']}").body["autoTopUp"]
    assert (pending["status"], pending["spentThisMonthCents"]) == ("pending", 900)
    assert pending["pendingInvoiceId"] == Invoice.objects.get().public_id

    api.post(f"/v1/invoices/{pending['pendingInvoiceId']}/void", {"reason": "Wrong."})
    stopped = api.get(f"{PATH}/{made['id']}").body["autoTopUp"]
    assert (stopped["status"], stopped["stopped"]["code"]) == ("stopped", "invoice_voided")
    again = api.post(f"{PATH}/{made['id']}/update", {"enabled": True}).body["autoTopUp"]
    assert (again["status"], again["stopped"]) == ("active", None)


def test_lists_those_of_a_customer(api, customer, pack):
    made = api.post(f"{PATH}?isExtCustId=true", body(customer, pack) | {"customerId": "ada"}).body["autoTopUp"]
    other = CustomerFactory()
    api.post(PATH, body(other, pack, enabled=False))

    assert len(api.get(PATH).body["autoTopUps"]) == 2
    assert api.get(f"{PATH}?customerId=ada&isExtCustId=true").body["autoTopUps"] == [made]


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"threshold": -1}, "threshold"),
        ({"threshold": 0}, "threshold"),
        ({"threshold": 1001}, "threshold"),
        ({"threshold": "NaN"}, "threshold"),
        ({"threshold": "1e40"}, "threshold"),
        ({"threshold": True}, "threshold"),
        ({"quantity": 0}, "quantity"),
        ({"quantity": 1.5}, "quantity"),
        ({"quantity": 10_001}, "quantity"),
        ({"monthlyLimitCents": 899}, "monthlyLimitCents"),
        ({"monthlyLimitCents": -1}, "monthlyLimitCents"),
        ({"monthlyLimitCents": 10**30}, "monthlyLimitCents"),
        ({"currency": "EUR"}, "currency"),
        ({"enabled": "yes"}, "enabled"),
        ({"limit": 5}, "limit"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(api, customer, pack, changes, path):
    answer = api.post(PATH, body(customer, pack, **changes))

    assert answer.status == 400, answer
    assert [problem["path"] for problem in answer.body["details"]] == [path]
    assert not AutoTopUp.objects.exists()


def test_who_and_what_cannot_be_changed(api, customer, pack):
    made = api.post(PATH, body(customer, pack)).body["autoTopUp"]

    answer = api.post(f"{PATH}/{made['id']}/update", {"packId": pack.public_id})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "packId")


def test_refusals_have_codes(api, customer, pack):
    assert api.post(PATH, body(CustomerFactory(), pack)).body["code"] == "no_payment_method"
    api.post(PATH, body(customer, pack))
    assert api.post(PATH, body(customer, pack)).body["code"] == "duplicate_auto_top_up"
    assert api.get(f"{PATH}/atu_no").body["code"] == "auto_top_up_not_found"
    assert api.post(PATH, body(customer, pack, packId="pack_no")).body["code"] == "pack_not_found"
    assert AutoTopUp.objects.count() == 1
