"""`/v1/tax` and `/v1/public/calculate-tax`: what they answer, and what they refuse by name."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
import time_machine

from billing.models import Invoice, TaxNexus, TaxRate, TaxRegistration, TaxSettings
from billing.services.subscribe import subscribe
from config.keys import create_api_key
from tests.conftest import ApiClient
from tests.factories import CustomerFactory
from tests.pro_plan import make_pro_plan

pytestmark = pytest.mark.django_db

AT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def now():
    with time_machine.travel(AT, tick=False):
        yield AT


@pytest.fixture
def define(api):
    """Define a rate; the answer's body."""

    def make(**body):
        answer = api.post("/v1/tax/rate-definitions/create", {"name": "VAT", "taxRate": "0.19"} | body)
        assert answer.status == 200, answer
        return answer.body

    return make


def paths(answer):
    return [problem["path"] for problem in answer.body["details"]]


class TestConfig:
    def test_is_made_when_it_is_first_asked_for(self, api):
        first, second = api.get("/v1/tax/config"), api.get("/v1/tax/config")

        assert first.body["id"].startswith("mer_tax_cfg_")
        assert first.body["id"] == second.body["id"]
        assert (first.body["autoTaxCalculation"], first.body["defaultTaxRate"], first.body["pricesIncludeTax"]) == (
            False, None, False,
        )  # fmt: skip

    def test_changes_what_is_sent(self, api):
        api.post("/v1/tax/config/update", {"autoTaxCalculation": True, "defaultTaxRate": "0.0875"})

        answer = api.post("/v1/tax/config/update", {"pricesIncludeTax": True})

        assert (answer.body["autoTaxCalculation"], answer.body["defaultTaxRate"], answer.body["pricesIncludeTax"]) == (
            True, "0.0875", True,
        )  # fmt: skip
        assert api.post("/v1/tax/config/update", {"defaultTaxRate": None}).body["defaultTaxRate"] is None

    @pytest.mark.parametrize(
        "rate", ["1.01", "19", "-0.1", "", "NaN", "1e-2", "0.1234567", "½", True, [], 2, ".", "0.", " 0.1", "9" * 50]
    )
    def test_refuses_what_is_no_share(self, api, rate):
        answer = api.post("/v1/tax/config/update", {"defaultTaxRate": rate})

        assert (answer.status, paths(answer)) == (400, ["defaultTaxRate"])
        assert not TaxSettings.objects.filter(default_tax_rate__isnull=False).exists()

    @pytest.mark.parametrize("rate", ["0", "1", "0.19", "0.08875", 0, 1, Decimal("0.19")])
    def test_takes_shares_as_text_or_number(self, api, rate):
        assert api.post("/v1/tax/config/update", {"defaultTaxRate": rate}).status == 200

    @pytest.mark.parametrize("field", ["autoTaxCalculation", "pricesIncludeTax"])
    def test_refuses_what_is_no_boolean(self, api, field):
        assert paths(api.post("/v1/tax/config/update", {field: "yes"})) == [field]


class TestRateDefinitions:
    def test_are_made_and_listed(self, api, define):
        made = define(jurisdiction="DE", description="Standard")

        assert made["id"].startswith("tax_rate_def_")
        assert (made["taxRate"], made["taxType"], made["isActive"], made["appliesToJurisdiction"]) == (
            "0.19", "manual", True, True,
        )  # fmt: skip
        assert api.get("/v1/tax/rate-definitions").body == [made]

    def test_a_second_one_of_a_place_is_only_for_who_was_given_it(self, define):
        define(jurisdiction="DE")

        assert define(jurisdiction="Germany", taxRate="0.07")["appliesToJurisdiction"] is False

    def test_two_cannot_both_apply_to_a_place(self, api, define):
        define(jurisdiction="DE")

        answer = api.post(
            "/v1/tax/rate-definitions/create",
            {"name": "VAT", "taxRate": "0.16", "jurisdiction": "DE", "appliesToJurisdiction": True},
        )

        assert (answer.status, answer.body["code"], TaxRate.objects.count()) == (409, "jurisdiction_has_rate", 1)
        assert f"{TaxRate.objects.get().name} applies to DE already" in str(answer.body)

    def test_one_that_is_retired_makes_room(self, api, define):
        old = define(jurisdiction="DE")

        assert api.post(f"/v1/tax/rate-definitions/{old['id']}/update", {"isActive": False}).body["isActive"] is False
        assert define(jurisdiction="DE", taxRate="0.16")["appliesToJurisdiction"] is True
        again = api.post(f"/v1/tax/rate-definitions/{old['id']}/update", {"isActive": True})
        assert (again.status, again.body["code"]) == (409, "jurisdiction_has_rate")

    def test_what_was_billed_with_cannot_change(self, api, define):
        old = define()

        answer = api.post(f"/v1/tax/rate-definitions/{old['id']}/update", {"taxRate": "0.2"})

        assert (answer.status, paths(answer)) == (400, ["taxRate"])

    @pytest.mark.parametrize(
        ("field", "value"),
        [("name", None), ("name", ""), ("name", 7), ("taxRate", None), ("taxRate", "19"), ("taxRate", "8.75"),
         ("jurisdiction", 7), ("isActive", "no"), ("description", "x" * 501)],
    )  # fmt: skip
    def test_refuses_by_the_name_of_the_field(self, api, field, value):
        body = {"name": "VAT", "taxRate": "0.19"} | {field: value}

        answer = api.post("/v1/tax/rate-definitions/create", body)

        assert (answer.status, paths(answer)) == (400, [field])
        assert not TaxRate.objects.exists()

    def test_one_that_applies_names_its_place(self, api):
        body = {"name": "VAT", "taxRate": "0.19", "jurisdiction": "the moon", "appliesToJurisdiction": True}

        answer = api.post("/v1/tax/rate-definitions/create", body)

        assert (answer.status, paths(answer)) == (400, ["jurisdiction"])

    def test_an_unknown_one_is_not_found(self, api):
        assert api.post("/v1/tax/rate-definitions/tax_rate_def_no/update", {}).status == 404


class TestNexus:
    def test_is_said_per_state(self, api):
        made = api.post(
            "/v1/tax/nexus/CA/update",
            {"hasNexus": True, "nexusType": "economic", "salesThreshold": 50_000_000, "transactionThreshold": 200},
        )

        assert made.body["id"].startswith("us_nexus_cfg_")
        assert (made.body["state"], made.body["hasNexus"], made.body["salesThreshold"]) == ("CA", True, 50_000_000)
        changed = api.post("/v1/tax/nexus/ca/update", {"hasOffices": True})
        assert (changed.body["hasOffices"], changed.body["nexusType"]) == (True, "economic")
        assert api.get("/v1/tax/nexus").body == [changed.body]

    def test_only_of_states(self, api):
        answer = api.post("/v1/tax/nexus/ZZ/update", {"hasNexus": True})

        assert (answer.status, answer.body["error"]) == (400, "Invalid US state or territory code")

    @pytest.mark.parametrize(
        ("body", "path"),
        [({}, "hasNexus"), ({"hasNexus": 1}, "hasNexus"), ({"hasNexus": True, "salesThreshold": -1}, "salesThreshold"),
         ({"hasNexus": True, "transactionThreshold": "many"}, "transactionThreshold")],
    )  # fmt: skip
    def test_refuses_by_the_name_of_the_field(self, api, body, path):
        answer = api.post("/v1/tax/nexus/CA/update", body)

        assert (answer.status, paths(answer)) == (400, [path])
        assert not TaxNexus.objects.exists()


class TestRegistrations:
    BODY = {"jurisdiction": "DE", "registrationNumber": "DE123", "taxType": "VAT"}

    def test_active_ones_are_listed(self, api):
        made = api.post("/v1/tax/registrations/create", self.BODY)
        api.post("/v1/tax/registrations/create", self.BODY | {"registrationNumber": "DE9", "isActive": False})

        assert made.body["id"].startswith("tax_reg_")
        assert api.get("/v1/tax/registrations").body == [made.body]

    def test_the_same_is_noted_once(self, api):
        api.post("/v1/tax/registrations/create", self.BODY)

        answer = api.post("/v1/tax/registrations/create", self.BODY)

        assert (answer.status, answer.body["code"]) == (409, "already_registered")

    @pytest.mark.parametrize("field", ["jurisdiction", "registrationNumber", "taxType"])
    def test_refuses_by_the_name_of_the_field(self, api, field):
        answer = api.post("/v1/tax/registrations/create", self.BODY | {field: ""})

        assert (answer.status, paths(answer)) == (400, [field])
        assert not TaxRegistration.objects.exists()


class TestPreview:
    def test_answers_what_an_invoice_would_have(self, api, define):
        define(jurisdiction="DE", name="German VAT")
        customer = CustomerFactory(billing_country="DE")

        answer = api.post(
            "/v1/tax/calculate-preview", {"customerId": customer.public_id, "amount": 2_900, "currency": "EUR"}
        )

        body = answer.body
        assert (body["taxableAmount"], body["totalTaxCents"], body["effectiveTaxRate"]) == (2_900, 551, Decimal("0.19"))
        assert (body["jurisdiction"], body["calculationMethod"], body["taxBreakdown"]) == (
            "DE", "manual", {"countryTax": 551},
        )  # fmt: skip
        assert body["taxLineItems"][0]["description"] == "Tax (19%)"
        assert body["taxLineItems"][0]["taxMetadata"]["fullDescription"] == "German VAT (19%), DE"

    def test_rounds_each_line(self, api, define):
        rate = define()
        customer = CustomerFactory(tax_rate_definition_id=rate["id"])
        lines = [{"description": "A", "quantity": 1, "unitAmountCents": 3}, {"subtotalCents": 3}, {"subtotalCents": 3}]

        answer = api.post(
            "/v1/tax/calculate-preview",
            {"customerId": customer.public_id, "amount": 9, "currency": "EUR", "lineItems": lines},
        )

        # 0.57 each.
        assert answer.body["totalTaxCents"] == 3

    @pytest.mark.parametrize(
        ("body", "path"),
        [({"amount": None}, "amount"), ({"amount": "9"}, "amount"), ({"amount": 10**14}, "amount"),
         ({"currency": "ZZZ"}, "currency"), ({"customerId": ""}, "customerId"),
         ({"lineItems": [{"subtotalCents": 8}]}, "lineItems"), ({"lineItems": "x"}, "lineItems"),
         ({"lineItems": [{}]}, "lineItems[0].subtotalCents")],
    )  # fmt: skip
    def test_refuses_by_the_name_of_the_field(self, api, body, path):
        asked = {"customerId": CustomerFactory().public_id, "amount": 9, "currency": "EUR"} | body

        answer = api.post("/v1/tax/calculate-preview", asked)

        assert (answer.status, paths(answer)) == (400, [path])

    def test_of_nobody_is_not_found(self, api):
        asked = {"customerId": "cus_no", "amount": 9, "currency": "EUR"}

        assert api.post("/v1/tax/calculate-preview", asked).status == 404


class TestPublicCalculation:
    @pytest.fixture
    def price(self, db):
        return make_pro_plan().price

    def ask(self, price, **body):
        _, key = create_api_key(name="Page", key_type="publishable", at=AT)
        asked = {"lumenPublishableKey": key, "planId": price.plan.public_id, "priceId": price.public_id}
        asked |= {"subtotalCents": 2_900, "currency": "usd"} | body
        client = ApiClient("")
        client._headers = lambda headers: headers
        return client.post("/v1/public/calculate-tax", asked)

    def test_answers_in_the_contracts_shape(self, api, price):
        api.post("/v1/tax/config/update", {"defaultTaxRate": "0.0875"})

        answer = self.ask(price, subtotalCents=10_000, customerCountry="DE")

        assert answer.body == {
            "success": True,
            "taxCalculation": {
                "subtotalCents": 10_000,
                "taxAmountCents": 875,
                "totalAmountCents": 10_875,
                "effectiveTaxRate": Decimal("0.0875"),
                "jurisdiction": "DE",
                "calculationMethod": "manual",
                "taxLineItems": [
                    {
                        "type": "tax",
                        "description": "Tax (8.75%)",
                        "subtotalCents": 875,
                        "taxMetadata": {
                            "taxAuthority": "DE",
                            "taxType": "manual",
                            "jurisdiction": "DE",
                            "taxRate": "0.0875",
                            "rateSource": "default_rate",
                            "exemptionReason": None,
                            "reasonCode": None,
                            "fullDescription": "Tax (8.75%), DE",
                        },
                        "billingPeriodStart": None,
                        "billingPeriodEnd": None,
                    }
                ],
            },
        }

    def test_rounds_what_a_browser_multiplied(self, price):
        answer = self.ask(price, subtotalCents=Decimal("2998.9999999999995"))

        assert answer.body["taxCalculation"]["subtotalCents"] == 2_999

    def test_says_why_there_is_none(self, api, price):
        api.post("/v1/tax/config/update", {"defaultTaxRate": "0.0875"})

        answer = self.ask(price, customerCountry="US", customerStateProvince="NY")

        (line,) = answer.body["taxCalculation"]["taxLineItems"]
        assert (line["subtotalCents"], line["taxMetadata"]["reasonCode"]) == (0, "no_nexus")

    @pytest.mark.parametrize(
        ("body", "status"),
        [({"priceId": "price_no"}, 404), ({"planId": "plan_int_no"}, 400), ({"currency": "EUR"}, 400),
         ({"customerCountry": "Atlantis"}, 400), ({"subtotalCents": "x"}, 400), ({"subtotalCents": None}, 400)],
    )  # fmt: skip
    def test_refuses_what_does_not_fit(self, price, body, status):
        assert self.ask(price, **body).status == status

    def test_needs_a_publishable_key(self, price):
        answer = self.ask(price, lumenPublishableKey="pk_no")

        assert (answer.status, answer.body["error"]) == (401, "Invalid Lumen publishable key")


class TestInvoices:
    def test_say_their_tax(self, api):
        api.post("/v1/tax/config/update", {"defaultTaxRate": "0.19"})
        customer = CustomerFactory(billing_country="DE")
        subscribe(at=AT, customer=customer, plan=make_pro_plan().plan)
        invoice = Invoice.objects.get(customer=customer)

        body = api.get(f"/v1/invoices/{invoice.public_id}").body["invoice"]

        assert (body["subtotalCents"], body["taxAmountCents"], body["totalAmountCents"]) == (2_900, 551, 3_451)
        assert (body["effectiveTaxRate"], body["taxJurisdiction"], body["taxCalculationMethod"]) == (
            "0.19", "DE", "manual",
        )  # fmt: skip
        assert body["taxLineItemDescriptions"] == ["Tax (19%)"]
        fee, tax = body["lineItems"]
        assert fee["taxMetadata"] == {"taxRate": "0.19", "taxableCents": 2_900, "taxAmountCents": 551}
        assert (tax["type"], tax["description"], tax["subtotalCents"]) == ("tax", "Tax (19%)", 551)
        assert sum(line["subtotalCents"] for line in body["lineItems"]) == body["totalAmountCents"]
        (row,) = api.get("/v1/invoices").body["invoices"]
        assert (row["taxAmountCents"], row["taxLineItemDescriptions"]) == (551, ["Tax (19%)"])

    def test_of_the_exempt_say_why(self, api):
        customer = CustomerFactory(tax_exempt=True, tax_exemption_reason="Charity")
        subscribe(at=AT, customer=customer, plan=make_pro_plan().plan)

        (row,) = api.get("/v1/invoices").body["invoices"]

        assert (row["effectiveTaxRate"], row["taxCalculationMethod"]) == ("0", "exempt")
        assert (row["taxReasonCode"], row["taxExemptionReason"]) == ("customer_exempt", "Charity")


class TestCustomers:
    def test_are_given_rates_and_exemptions(self, api, define):
        rate = define()
        given = {
            "taxRateDefinitionId": rate["id"],
            "taxCalculationMethod": "manual",
            "taxExempt": True,
            "taxExemptionReason": "Charity",
            "taxExemptionCertificate": "C-1",
        }

        customer = api.post("/v1/customers", {"name": "Ada", "email": "ada@example.com"} | given).body["customer"]

        assert {name: customer[name] for name in given} == given
        cleared = api.post(f"/v1/customers/{customer['id']}", {"taxRateDefinitionId": None}).body["customer"]
        assert cleared["taxRateDefinitionId"] is None

    @pytest.mark.parametrize(
        ("field", "value"), [("taxRateDefinitionId", "tax_rate_def_no"), ("taxCalculationMethod", "stripe")]
    )
    def test_refuse_what_does_not_exist(self, api, field, value):
        created = api.post("/v1/customers", {"name": "Ada", "email": "ada@example.com", field: value})
        changed = api.post(f"/v1/customers/{CustomerFactory().public_id}", {field: value})

        assert [(answer.status, paths(answer)) for answer in (created, changed)] == [(400, [field])] * 2
