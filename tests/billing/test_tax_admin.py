"""The operator's pages of the seller and his taxes."""

from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from billing.models import Invoice, TaxRate, TaxRegistration, TaxSettings
from billing.services.subscribe import subscribe
from billing.services.tax_settings import create_rate, update_settings
from plans.models import Merchant
from tests.factories import START, CustomerFactory
from tests.pro_plan import make_pro_plan

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(admin_user):
    client = Client()
    client.force_login(admin_user)
    return client


def test_the_list_of_the_seller_leads_to_him(operator):
    merchant = Merchant.objects.get()

    answer = operator.get(reverse("admin:plans_merchant_changelist"))

    assert answer.url == reverse("admin:plans_merchant_change", args=[merchant.pk])


def test_the_seller_is_changed_by_his_form(operator):
    merchant = Merchant.objects.get()
    address = reverse("admin:plans_merchant_change", args=[merchant.pk])
    filled = {"legal_name": "Northwind GmbH", "country": "de", "default_currency": "eur", "city": "Berlin"}

    operator.post(address, filled)

    merchant.refresh_from_db()
    assert (merchant.legal_name, merchant.country, merchant.default_currency) == ("Northwind GmbH", "DE", "EUR")


@pytest.mark.parametrize(
    ("field", "value"), [("country", "XX"), ("default_currency", "ZZZ"), ("invoice_prefix", "a b")]
)
def test_what_the_seller_cannot_have_is_said_at_its_field(operator, field, value):
    address = reverse("admin:plans_merchant_change", args=[Merchant.objects.get().pk])

    answer = operator.post(address, {"default_currency": "USD", field: value})

    assert list(answer.context["adminform"].form.errors) == [field]


def test_tax_settings_are_changed_by_their_form(operator):
    address = operator.get(reverse("admin:billing_taxsettings_changelist")).url

    operator.post(address, {"default_tax_rate": "0.19", "prices_include_tax": "on"})

    settings = TaxSettings.objects.get()
    assert (settings.default_tax_rate, settings.prices_include_tax) == (Decimal("0.19"), True)


def test_a_rate_is_defined_by_its_form_and_applies_to_its_place(operator):
    terms = {"name": "VAT", "rate": "0.19", "jurisdiction": "Germany", "applies_to_area": "on", "is_active": "on",
             "tax_type": "VAT"}  # fmt: skip
    operator.post(reverse("admin:billing_taxrate_add"), terms)
    again = operator.post(reverse("admin:billing_taxrate_add"), terms | {"name": "Other"})
    nowhere = operator.post(reverse("admin:billing_taxrate_add"), terms | {"jurisdiction": "the moon"})

    rate = TaxRate.objects.get()
    assert (rate.rate, rate.area, rate.applies_to_area) == (Decimal("0.19"), "DE", True)
    assert again.context["adminform"].form.errors["applies_to_area"] == ["VAT applies to DE already."]
    assert "applies_to_area" in nowhere.context["adminform"].form.errors


def test_a_registration_and_a_state_are_noted_by_their_forms(operator):
    operator.post(
        reverse("admin:billing_taxregistration_add"),
        {"jurisdiction": "Germany", "tax_type": "VAT", "registration_number": "DE1", "is_active": "on"},
    )
    operator.post(reverse("admin:billing_taxnexus_add"), {"state": "CA", "has_nexus": "on"})

    assert TaxRegistration.objects.get().area == "DE"
    assert "CA" in operator.get(reverse("admin:billing_taxnexus_changelist")).content.decode()


def test_a_customer_is_given_a_rate_by_its_form(operator):
    rate = create_rate(at=START, name="Reduced VAT", rate=Decimal("0.07"))
    customer = CustomerFactory()

    page = operator.get(reverse("admin:plans_customer_change", args=[customer.pk])).content.decode()

    assert f'<option value="{rate.public_id}">Reduced VAT (7%)</option>' in page


def test_an_invoice_shows_its_tax(operator):
    update_settings({"default_tax_rate": Decimal("0.19")})
    customer = CustomerFactory()
    subscribe(at=START, customer=customer, plan=make_pro_plan().plan)
    invoice = Invoice.objects.get(customer=customer)

    page = operator.get(reverse("admin:billing_invoice_change", args=[invoice.pk])).content.decode()

    assert "Tax (19%) on $29.00" in page
    assert "$5.51" in page
