"""A misspelt field of a body that moves money, or is all ours, is refused by its name and never left out in silence."""

import pytest

from credits.models import CreditGrant
from plans.models import Subscription
from tests.factories import CreditDefinitionFactory, CustomerFactory

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("path", "field", "meant"),
    [
        ("/v1/credits/grants", "initialAmonut", "initialAmount"),
        ("/v1/credits/grants/x/revoke", "note", "notes"),
        ("/v1/credits/grants/x/adjust", "amuont", "amount"),
        ("/v1/credits/packs", "pricecents", "priceCents"),
        ("/v1/credits/packs/x/update", "isactive", "isActive"),
        ("/v1/credits/packs/x/purchase", "quantitiy", "quantity"),
        ("/v1/prices/preview", "quantites", "quantities"),
        ("/v1/plans/x/simulate", "month", "months"),
        ("/v1/plans/x/migrate", "pricemap", "priceMap"),
        ("/v1/plans/x/migrate/preview", "wen", "when"),
        ("/v1/subscriptions/x/change", "prorate", "proration"),
        ("/v1/subscriptions/x/change/preview", "When", "when"),
        ("/v1/subscriptions/x/quantities", "quantitty", "quantity"),
        ("/v1/invoices", "taxAmount", "taxAmountCents"),
        ("/v1/invoices/x/void", "rebil", "rebill"),
        ("/v1/invoices/x/credit-notes", "amountCent", "amountCents"),
        ("/v1/tax/config/update", "defaultTax", "defaultTaxRate"),
        ("/v1/tax/rate-definitions/create", "taxrate", "taxRate"),
        ("/v1/tax/registrations/create", "registrationNo", "registrationNumber"),
        ("/v1/tax/calculate-preview", "amonut", "amount"),
    ],
)
def test_a_misspelt_field_is_refused_with_what_was_meant(api, path, field, meant):
    answer = api.post(path, {field: 1})

    assert answer.status == 400
    assert answer.body["error"] == f"{field}: is not known here. Did you mean {meant}?"
    assert answer.body["details"][0]["path"] == field


def test_an_override_is_read_exactly_too(api):
    answer = api.put("/v1/subscriptions/x/features/y", {"value": 5, "reasn": "x"})

    assert [problem["path"] for problem in answer.body["details"]] == ["reasn", "reason"]


def test_nothing_is_granted_by_a_body_with_a_misspelt_field(api):
    customer, definition = (
        CustomerFactory(),
        CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False),
    )
    body = {"customerId": customer.public_id, "creditDefinitionId": definition.public_id, "initialAmount": 50}

    refused = api.post("/v1/credits/grants", body | {"experyDate": "2030-01-01T00:00:00Z", "zzz": None})
    taken = api.post("/v1/credits/grants", body)

    assert [problem["message"] for problem in refused.body["details"]] == [
        "is not known here. Did you mean expiryDate?",
        "is not known here; use customerId, creditDefinitionId, initialAmount, source, startDate, expiryDate, "
        "priority, referenceCode, notes.",
    ]
    assert (refused.status, taken.status, CreditGrant.objects.count()) == (400, 200, 1)


def test_open_bodies_of_the_contract_take_what_we_do_not_know(api):
    answer = api.post("/v1/customers", {"name": "Ada", "email": "ada@x.example", "crmNumber": 7})

    assert answer.status in (200, 201)
    assert not Subscription.objects.exists()
