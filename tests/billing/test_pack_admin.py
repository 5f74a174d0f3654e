"""The operator's pages of top-up packs."""

from datetime import UTC, datetime

import pytest
from django.test import Client
from django.urls import reverse

from billing.models import Invoice
from credits.models import TopUpPack
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
def definition():
    return CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False)


@pytest.fixture
def pack(definition):
    return create_pack(at=AT, name="1,000 calls", definition=definition, amount=1_000, price_cents=900, currency="USD")


def page(name, *args):
    return reverse(f"admin:credits_topuppack_{name}", args=args)


def test_a_pack_is_offered_by_its_form(operator, definition):
    terms = {"name": "Big", "definition": definition.pk, "amount": "5000", "price_cents": "40.00", "currency": "eur"}

    operator.post(page("add"), terms)

    made = TopUpPack.objects.get()
    assert (made.name, made.definition, made.amount, made.price_cents, made.currency) == (
        "Big",
        definition,
        5_000,
        4_000,
        "EUR",
    )


def test_what_cannot_be_offered_is_said_at_its_field(operator, definition):
    terms = {"name": "Big", "definition": definition.pk, "amount": "0", "price_cents": "40", "currency": "USD"}

    answer = operator.post(page("add"), terms)

    assert answer.context["form"].errors["amount"] == ["Write a number above 0."]
    assert not TopUpPack.objects.exists()


def test_a_pack_is_retired_by_its_form(operator, pack):
    operator.post(page("change_pack", pack.pk), {"name": "Old", "price_cents": "10"}, follow=True)

    pack.refresh_from_db()
    assert (pack.name, pack.price_cents, pack.is_active) == ("Old", 1_000, False)


def test_a_pack_is_sold_to_a_customer(operator, pack):
    ada = CustomerFactory()

    operator.post(page("sell", pack.pk), {"customer": ada.public_id, "quantity": "2"})

    assert (Invoice.objects.get().customer, Invoice.objects.get().total_cents) == (ada, 1_800)


@pytest.mark.parametrize(
    ("typed", "field"),
    [({"customer": "cus_no"}, "customer"), ({"customer": "\0"}, "customer"), ({"quantity": "0"}, "quantity")],
)
def test_a_sale_that_cannot_be_is_said_at_its_field(operator, pack, typed, field):
    terms = {"customer": CustomerFactory().public_id, "quantity": "1"} | typed

    answer = operator.post(page("sell", pack.pk), terms)

    assert list(answer.context["form"].errors) == [field]
    assert not Invoice.objects.exists()


def test_pages_answer(operator, pack):
    for address in (page("changelist"), page("add"), page("change", pack.pk)):
        assert operator.get(address).status_code == 200
