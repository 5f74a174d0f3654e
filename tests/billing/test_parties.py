"""Seller and buyer of an issued invoice stay as they were when it was issued."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape
from importlib import import_module

import pytest
from django.apps import apps
from django.db import connection
from django.test import Client
from django.urls import reverse

from billing.models import Invoice
from billing.services.close_periods import close_periods, due_subscriptions
from billing.services.manual_invoices import WrittenLine, write_invoice
from billing.services.subscribe import subscribe
from billing.services.tax_settings import create_rate, register
from billing.services.void import void_invoice
from billing.signed_links import invoice_page_path
from plans.models import Customer, Merchant
from plans.services.merchant import update_merchant
from tests.factories import CustomerFactory
from tests.pro_plan import make_pro_plan

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 28, tzinfo=UTC)
DAY = timedelta(days=1)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def seller():
    update_merchant({"legal_name": "Northwind GmbH", "address_line1": "Hafen 1", "city": "Berlin", "country": "DE"})


@pytest.fixture
def ada():
    return CustomerFactory(name="Ada", email="ada@x.example", billing_city="Bristol", billing_country="GB")


@pytest.fixture
def issued(ada):
    """The first fee of a plan, issued at once; a draft is to follow."""
    subscribe(at=AT, customer=ada, plan=make_pro_plan().plan)
    return Invoice.objects.get(status="issued")


def everybody_moves():
    update_merchant({"legal_name": "Southwind Ltd", "city": "Leeds", "country": "GB", "tax_id": "GB1"})
    Customer.objects.update(name="Ada King", billing_city="London")


def read(client, invoice):
    """The customer's page as its text."""
    page = client.get(invoice_page_path(invoice)).content.decode()
    return unescape(" ".join(re.sub(r"<[^>]+>", " ", page).split()))


BEFORE = "From Northwind GmbH Hafen 1 Berlin Germany To Ada Bristol United Kingdom ada@x.example Details"
AFTER = "From Southwind Ltd Hafen 1 Leeds United Kingdom Tax ID GB1 To Ada King London United Kingdom ada@x.example"


def test_the_customers_page_keeps_seller_and_buyer(client, issued):
    everybody_moves()

    text = read(client, issued)

    assert BEFORE in text
    assert "from Northwind GmbH" in text


def test_the_operators_page_keeps_them(admin_user, issued):
    everybody_moves()
    client = Client()
    client.force_login(admin_user)

    page = client.get(reverse("admin:billing_invoice_change", args=[issued.pk])).content.decode()

    assert "From: Northwind GmbH, Hafen 1, Berlin, Germany" in page
    assert "To: Ada, Bristol, United Kingdom, ada@x.example" in page


def test_a_draft_has_those_of_now_and_the_next_invoice_keeps_them(client, issued, ada):
    close_periods(subscriptions=due_subscriptions(FEBRUARY), at=FEBRUARY)
    draft = Invoice.objects.get(status="draft")
    assert BEFORE in read(client, draft)

    everybody_moves()

    assert AFTER in read(client, draft)
    assert draft.seller is None
    later = write(ada)
    update_merchant({"legal_name": "Westwind SA"})
    assert AFTER in read(client, later)


def write(customer):
    line = WrittenLine(description="Setup", quantity=Decimal(1), unit_amount_cents=Decimal(5_000))
    return write_invoice(customer=customer, currency="USD", lines=[line], issue=True, at=AT + DAY)


def test_a_replacement_is_sent_to_and_by_whom_it_is_then(client, issued):
    everybody_moves()

    replacement = void_invoice(invoice=issued, reason="Moved", rebill=True, at=AT + DAY)

    assert AFTER in read(client, replacement)
    assert BEFORE in read(client, issued)


def test_the_tax_numbers_of_then_stay(client, ada):
    create_rate(at=AT, name="VAT", rate=Decimal("0.2"), jurisdiction="GB")
    register(at=AT, jurisdiction="GB", registration_number="GB77", tax_type="VAT")
    subscribe(at=AT, customer=ada, plan=make_pro_plan().plan)
    invoice = Invoice.objects.get()

    register(at=AT, jurisdiction="GB", registration_number="GB88", tax_type="VAT")

    assert invoice.seller == ["Northwind GmbH", "Hafen 1", "Berlin", "Germany", "VAT GB77"]
    assert "GB88" not in read(client, invoice)


def test_invoices_from_before_the_upgrade_get_those_that_were_shown(issued):
    kept = (issued.seller, issued.buyer)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE billing_invoice DISABLE TRIGGER issued_invoice_is_frozen")
        cursor.execute("UPDATE billing_invoice SET seller = NULL, buyer = NULL")
        import_module("billing.migrations.0012_keep_parties_of_issued_invoices").keep_parties(apps, _Editor)
        cursor.execute("ALTER TABLE billing_invoice ENABLE TRIGGER issued_invoice_is_frozen")

    issued.refresh_from_db()
    assert (issued.seller, issued.buyer) == kept
    assert kept[0] == ["Northwind GmbH", "Hafen 1", "Berlin", "Germany"]


class _Editor:
    connection = connection


def test_who_is_known_by_nothing_is_named_by_the_id(ada):
    update_merchant({"legal_name": "", "display_name": "", "address_line1": "", "city": "", "country": ""})

    assert write(ada).seller == [Merchant.objects.get().public_id]
