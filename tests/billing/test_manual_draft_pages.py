"""What the pages say of a draft that an operator writes: it waits for the operator, not for late events."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from html import unescape

import pytest
from django.test import Client
from django.urls import reverse

from billing.services.manual_invoices import WrittenLine, update_invoice, write_invoice
from billing.signed_links import invoice_page_path
from tests.factories import CustomerFactory

# At midnight, so that the day before would show if the instant were taken for a period.
AT = datetime(2026, 3, 1, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture
def draft():
    lines = [
        WrittenLine(description="Setup", quantity=Decimal(2), unit_amount_cents=Decimal("2500.5")),
        WrittenLine(description="Goodwill", quantity=Decimal(1), unit_amount_cents=Decimal(-1_000), type="credit"),
    ]
    return write_invoice(customer=CustomerFactory(), currency="USD", lines=lines, at=AT)


def words(page):
    return unescape(" ".join(re.sub(r"<[^>]+>", " ", page.content.decode()).split()))


def test_the_customers_page_says_that_it_may_change_and_shows_what_stands_there(client, draft):
    text = words(client.get(invoice_page_path(draft)))

    assert "Not final yet. The lines and the total may still change, and nothing is due before it is issued." in text
    assert "arrives late" not in text
    assert "Setup 2 $25.005 $50.01" in text
    assert "Goodwill 1 −$10.00 −$10.00" in text
    assert "Subtotal $40.01 Total $40.01" in text
    assert "Amount due" not in text


def test_what_is_written_by_hand_has_no_period(client, draft):
    text = words(client.get(invoice_page_path(draft)))

    assert "Period" not in text
    assert "28 February" not in text


def test_the_operators_page_says_what_it_waits_for(admin_user, draft):
    client = Client()
    client.force_login(admin_user)

    text = words(client.get(reverse("admin:billing_invoice_change", args=[draft.pk])))

    assert "Draft, written by hand. It waits until it is issued over the API, and bills nothing before." in text
    assert "late events" not in text


def test_an_issued_one_has_the_date_that_was_chosen(client, draft):
    issued = update_invoice(invoice=draft, issue=True, at=AT, issue_date=datetime(2026, 2, 14, 12, tzinfo=UTC))

    assert "Issued 14 February 2026" in words(client.get(invoice_page_path(issued)))
