"""The operator's pages of automatic top-ups."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from billing.models import AutoTopUp, PaymentMethod
from credits.services.packs import create_pack
from tests.factories import CreditDefinitionFactory, CustomerFactory

pytestmark = pytest.mark.django_db

AT = datetime(2026, 3, 10, tzinfo=UTC)


@pytest.fixture
def operator(admin_user):
    client = Client()
    client.force_login(admin_user)
    return client


@pytest.fixture
def pack():
    definition = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False)
    return create_pack(
        at=AT, name="Pack", definition=definition, amount=Decimal(1_000), price_cents=900, currency="USD"
    )


@pytest.fixture
def customer():
    customer = CustomerFactory(email="ada@customer.example")
    PaymentMethod.objects.create(customer=customer, external_id="pm_1", is_default=True, created_at=AT)
    return customer


def page(name, *args):
    return reverse(f"admin:billing_autotopup_{name}", args=args)


def terms(pack, **changes):
    common = {"customer": "ada@customer.example", "pack": pack.pk, "threshold": "200", "quantity": "1"}
    return common | {"monthly_limit_cents": "27.00", "is_enabled": "on"} | changes


def test_one_is_set_up_by_its_form(operator, customer, pack):
    operator.post(page("add"), terms(pack))

    made = AutoTopUp.objects.get()
    assert (made.customer, made.pack, made.threshold, made.monthly_limit_cents) == (customer, pack, 200, 2_700)
    assert made.is_enabled


def test_what_makes_no_sense_is_said_at_its_field(operator, customer, pack):
    answer = operator.post(page("add"), terms(pack, monthly_limit_cents="8.99", threshold="1000"))

    (words,) = answer.context["form"].errors["monthly_limit_cents"]
    assert "one purchase comes to $9.00" in words
    assert not AutoTopUp.objects.exists()


def test_it_is_switched_off_on_its_page(operator, customer, pack):
    operator.post(page("add"), terms(pack))
    made = AutoTopUp.objects.get()
    change = reverse("admin:billing_autotopup_change_terms", args=[made.pk])
    assert operator.get(change).context["form"].initial["monthly_limit_cents"] == "27.00"

    operator.post(change, {"threshold": "100", "quantity": "1", "monthly_limit_cents": "9.00"})

    made.refresh_from_db()
    assert (made.is_enabled, made.threshold, made.monthly_limit_cents) == (False, 100, 900)


def test_the_customers_page_leads_to_the_form(operator, customer):
    answer = operator.get(reverse("admin:plans_customer_top_up", args=[customer.pk]))

    assert answer.headers["Location"] == f"{page('add')}?customer={customer.public_id}"
