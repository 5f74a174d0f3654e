from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError, connection, transaction

from billing.models import Invoice, InvoiceLine
from billing.services.close_periods import close_periods
from billing.services.subscribe import subscribe
from credits.models import CreditGrant, CreditTransaction
from tests.factories import CustomerFactory
from tests.pro_plan import make_pro_plan

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 28, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture
def issued():
    """The issued invoice of a first fee; its customer has a draft as well."""
    pro = make_pro_plan()
    subscription = subscribe(at=AT, customer=CustomerFactory(), plan=pro.plan)
    close_periods(subscriptions=[subscription.pk], at=FEBRUARY)
    return Invoice.objects.get(status="issued")


def refuses(statement, *parameters):
    refused = pytest.raises(DatabaseError, match=r"cannot change|append-only")
    with connection.cursor() as cursor, refused, transaction.atomic():
        cursor.execute(statement, parameters)
    return True


@pytest.mark.parametrize(
    "change",
    [
        "number = 'X-1'",
        "currency = 'EUR'",
        "kind = 'other'",
        "closes_at = closes_at + interval '1 day'",
        "finalized_at = NULL",
        "finalized_at = now()",
        "subscription_id = NULL",
        "subtotal_cents = 1, total_cents = 1",
        "tax_cents = 1, total_cents = total_cents + 1",
        "prices_include_tax = true",
        "tax_rate = 0.2",
        "tax_name = 'VAT'",
        "tax_jurisdiction = 'DE'",
        "tax_method = 'exempt'",
        "tax_reason_code = 'no_nexus'",
        "tax_exemption_reason = 'Charity'",
        "seller = '[]'",
        "seller = NULL",
        "buyer = '[]'",
        "public_id = 'inv_other'",
        "period_start_at = period_start_at - interval '1 day'",
        "period_end_at = period_end_at + interval '1 day'",
    ],
)
def test_what_an_issued_invoice_says_cannot_change(issued, change):
    assert refuses(f"UPDATE billing_invoice SET {change} WHERE id = %s", issued.pk)


def test_an_issued_invoice_cannot_go_to_another_customer(issued):
    assert refuses("UPDATE billing_invoice SET customer_id = %s WHERE id = %s", CustomerFactory().pk, issued.pk)


def test_an_issued_invoice_cannot_be_deleted(issued):
    assert refuses("DELETE FROM billing_invoice WHERE id = %s", issued.pk)


def test_the_state_of_an_issued_invoice_goes_on(issued):
    issued.status, issued.paid_at = "paid", AT
    issued.collect_at = issued.stripe_sent_at = AT
    issued.stripe_invoice_id = "in_1"

    issued.save()


@pytest.mark.parametrize(
    "change",
    [
        "amount_cents = 1",
        "quantity = 2",
        "description = 'x'",
        "position = 9",
        "tax_cents = 1",
        "tax_rate = 0.1",
        "taxable_cents = 1",
        "type = 'usage'",
    ],
)
def test_a_line_of_an_issued_invoice_cannot_change(issued, change):
    assert refuses(f"UPDATE billing_invoiceline SET {change} WHERE invoice_id = %s", issued.pk)


def test_a_line_of_an_issued_invoice_cannot_be_deleted(issued):
    assert refuses("DELETE FROM billing_invoiceline WHERE invoice_id = %s", issued.pk)


def test_an_issued_invoice_gets_no_further_line(issued):
    line = issued.lines.get()
    line.pk, line.public_id, line.position, line.period = None, "inv_item_other", 2, None

    with pytest.raises(DatabaseError, match="cannot change"), transaction.atomic():
        line.save()


def test_a_line_cannot_be_moved_away_from_an_issued_invoice(issued):
    draft = Invoice.objects.get(status="draft")

    assert refuses("UPDATE billing_invoiceline SET invoice_id = %s WHERE invoice_id = %s", draft.pk, issued.pk)


def test_a_line_cannot_be_moved_onto_an_issued_invoice(issued):
    draft = Invoice.objects.get(status="draft")
    line = issued.lines.get()
    line.pk, line.public_id, line.period, line.invoice, line.position = None, "inv_item_2", None, draft, 2
    line.save()

    assert refuses("UPDATE billing_invoiceline SET invoice_id = %s WHERE invoice_id = %s", issued.pk, draft.pk)


def test_a_draft_and_its_lines_may_change(issued):
    draft = Invoice.objects.get(status="draft")
    line = issued.lines.get()
    line.pk, line.public_id, line.period, line.invoice = None, "inv_item_3", None, draft
    line.save()

    InvoiceLine.objects.filter(invoice=draft).update(amount_cents=1)
    InvoiceLine.objects.filter(invoice=draft).delete()
    Invoice.objects.filter(pk=draft.pk).update(finalize_at=FEBRUARY + timedelta(days=1))
    draft.invoiced_periods.all().delete()
    draft.delete()


def test_the_credit_ledger_is_append_only(issued):
    granted = CreditTransaction.objects.earliest("pk")
    # What was never used may be withdrawn with its grant; from its first use on nothing of it may.
    CreditTransaction.objects.create(
        customer_id=granted.customer_id,
        grant_id=granted.grant_id,
        kind="burned",
        amount=-1,
        occurred_at=granted.occurred_at,
    )

    assert refuses("UPDATE credits_credittransaction SET amount = 1")
    assert refuses("UPDATE credits_credittransaction SET notes = 'x'")
    assert refuses("DELETE FROM credits_credittransaction WHERE grant_id = %s", granted.grant_id)


def test_a_grant_with_movements_cannot_be_deleted(issued):
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with pytest.raises(DatabaseError), transaction.atomic():
            cursor.execute("DELETE FROM credits_creditgrant")
    assert CreditGrant.objects.exists()
