"""`/v1/merchants`: the seller, who stands on the invoices."""

import pytest

from billing.services.tax_settings import update_settings
from plans.models import Merchant
from tests.factories import PlanFactory

pytestmark = pytest.mark.django_db


def test_the_seller_is_shown(api):
    body = api.get("/v1/merchants/current").body

    merchant = Merchant.objects.get()
    assert body["id"] == merchant.public_id == body["merchant"]["id"]
    assert (body["timezone"], body["defaultCurrency"], body["supportedCurrencies"]) == ("UTC", "USD", ["USD"])
    assert api.get(f"/v1/merchants/{merchant.public_id}").body == body


def test_another_one_is_not_found(api):
    assert api.get("/v1/merchants/mer_no").status == 404


def test_what_is_sent_is_changed(api):
    sent = {
        "legalName": "Northwind GmbH",
        "displayName": "Northwind",
        "websiteUrl": "https://northwind.example",
        "taxId": "DE123",
        "supportEmail": "help@northwind.example",
        "billingEmail": "bills@northwind.example",
        "phoneNumber": "+49 30 1",
        "addressLine1": "Hafen 1",
        "addressLine2": "Haus 2",
        "city": "Berlin",
        "stateProvince": "Berlin",
        "postalCode": "10115",
        "country": "DE",
        "defaultCurrency": "EUR",
        "supportedCurrencies": ["EUR", "USD"],
        "invoicePrefix": "NW",
        "brandingSettings": {"color": "#fff"},
        "notificationPreferences": {"paid": True},
        "featureFlags": {"new": False},
    }
    assert api.post("/v1/merchants/current", sent).status == 200

    body = api.post("/v1/merchants/current", {"addressLine2": None, "timezone": "UTC"}).body

    assert {name: body[name] for name in sent} == sent | {"addressLine2": None}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("legalName", 7),
        ("legalName", "x" * 201),
        ("websiteUrl", "not an address"),
        ("supportEmail", "nobody"),
        ("country", "Atlantis"),
        ("defaultCurrency", "ZZZ"),
        ("supportedCurrencies", "USD"),
        ("supportedCurrencies", [""]),
        ("timezone", "Europe/Berlin"),
        ("invoicePrefix", "no spaces"),
        ("invoicePrefix", "LONGERTHANITIS"),
        ("brandingSettings", "red"),
    ],
)
def test_refuses_by_the_name_of_the_field(api, field, value):
    answer = api.post("/v1/merchants/current", {"city": "Berlin", field: value})

    assert answer.status == 400
    assert [problem["path"].split("[")[0] for problem in answer.body["details"]] == [field]
    assert Merchant.objects.get().city == ""


def test_numbers_of_new_customers_begin_with_the_sellers_prefix(api):
    api.post("/v1/merchants/current", {"invoicePrefix": "NW"})

    customer = api.post("/v1/customers", {"name": "Ada", "email": "ada@example.com"}).body["customer"]

    assert customer["invoicePrefix"].startswith("NW-")
    assert len(customer["invoicePrefix"]) == 9


def test_tells_what_of_the_set_up_is_done(api):
    assert api.get("/v1/merchants/checkonboarding").body == {
        "hasPlans": False, "hasPaymentProvider": False, "hasTax": False,
    }  # fmt: skip
    PlanFactory()
    update_settings({"default_tax_rate": "0.19"})

    body = api.get("/v1/merchants/checkonboarding").body

    assert (body["hasPlans"], body["hasTax"]) == (True, True)


def test_no_key_makes_a_merchant(api):
    answer = api.post("/v1/merchants/onboarding-create-merchant", {"legalName": "Other"})

    assert (answer.status, answer.body["error"]) == (403, "Merchant creation is not allowed via API keys")
    assert Merchant.objects.count() == 1
