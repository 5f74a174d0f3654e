"""Voids, credit notes and payments of one invoice at once: the books add up whoever is first."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from billing.books import check_books
from billing.exchange import Paid
from billing.models import CreditNote, Invoice, Payment, Refund
from billing.services.collect import record_payment
from billing.services.credit_notes import CreditAboveInvoice, NothingToCredit, credit_invoice
from billing.services.hold_invoice import InvoiceIsVoid
from billing.services.subscribe import subscribe
from billing.services.void import InvoiceIsPaid, void_invoice
from tests.factories import CustomerFactory
from tests.pro_plan import make_pro_plan, sweep, use

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
BILLED = datetime(2026, 2, 28, 1, tzinfo=UTC)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def bill():
    """154.00, issued."""
    pro, customer = make_pro_plan(), CustomerFactory()
    subscribe(at=AT, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 12_500, AT + timedelta(days=1))
    sweep(BILLED)
    return Invoice.objects.get(closes_at=datetime(2026, 2, 28, tzinfo=UTC))


def void(bill, **terms):
    return partial(void_invoice, invoice=bill, reason="x", at=BILLED, **terms)


def credit(bill, **terms):
    return partial(credit_invoice, invoice=bill, reason="x", at=BILLED, **terms)


def pay(bill):
    return partial(record_payment, invoice=bill.public_id, paid=Paid(reference="in_1", amount_cents=15_400), at=BILLED)


def offenders():
    return [offender for finding in check_books(at=BILLED) for offender in finding.offenders]


def test_void_against_pay_is_one_of_them(at_once, bill):
    voided, paid = at_once([void(bill), pay(bill)])

    bill.refresh_from_db()
    assert paid is True
    if isinstance(voided, InvoiceIsPaid):
        assert (bill.status, Refund.objects.count()) == ("paid", 0)
    else:
        assert voided is None
        assert (bill.status, Refund.objects.get().amount_cents) == ("void", 15_400)
    assert Payment.objects.count() == 1
    assert offenders() == []


def test_two_voids_make_one_replacement(at_once, bill):
    outcomes = at_once([void(bill, rebill=True)] * 3)

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Invoice", "InvoiceIsVoid", "InvoiceIsVoid"]
    assert Invoice.objects.filter(replaces=bill).count() == 1
    assert offenders() == []


def test_the_same_credit_note_twice_exceeds_nothing(at_once, bill):
    outcomes = at_once([credit(bill, amount_cents=8_000)] * 4)

    assert [isinstance(outcome, CreditNote) for outcome in outcomes].count(True) == 1
    assert [isinstance(outcome, CreditAboveInvoice) for outcome in outcomes].count(True) == 3
    bill.refresh_from_db()
    assert bill.credited_cents == 8_000
    assert offenders() == []


def test_credit_notes_against_void_and_pay(at_once, bill):
    outcomes = at_once([credit(bill), void(bill), pay(bill), credit(bill, amount_cents=1_000)])

    unexpected = [
        outcome
        for outcome in outcomes
        if isinstance(outcome, Exception)
        and not isinstance(outcome, InvoiceIsPaid | InvoiceIsVoid | NothingToCredit | CreditAboveInvoice)
        and type(outcome).__name__ != "CreditedElsewhere"
    ]
    assert unexpected == []
    assert offenders() == []
