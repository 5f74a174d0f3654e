"""What happens to an invoice while a call to Stripe about it is under way, or its answer is lost."""

from datetime import UTC, datetime, timedelta

import pytest

from billing import jobs
from billing.books import check_books
from billing.models import Invoice
from billing.sandbox import FaultKind
from billing.services.credit_notes import credit_invoice
from billing.services.subscribe import subscribe
from billing.services.void import void_invoice
from tests.factories import CustomerFactory
from tests.pro_plan import make_pro_plan

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
AFTER_THE_LEASE = timedelta(minutes=11)
# Calls of an invoice that is sent; between them is one of the sweep that makes it void.
CREATE, FINALIZE = 0, 4

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("stripe_sandbox")]


@pytest.fixture
def invoice(give_card):
    """29.00, issued, with a card that would pay it."""
    customer = CustomerFactory()
    subscribe(at=AT, customer=customer, plan=make_pro_plan().plan)
    give_card(customer)
    return Invoice.objects.get()


@pytest.fixture(autouse=True)
def books_add_up():
    yield
    assert [offender for finding in check_books(at=AT + DAY) for offender in finding.offenders] == []


def at_theirs(at_stripe):
    return sorted((one.status, one.total) for one in at_stripe.v1.invoices.list({"limit": 100}).data)


def lose_the_end_of_sending(wire, how):
    """Finalize at Stripe, and let nobody here learn of it."""
    if how == "killed":
        wire.kill_at(FINALIZE, "after")
    else:
        wire.break_at(FINALIZE, FaultKind.TIMEOUT_AFTER_COMMIT)


def send(wire):
    try:
        jobs.send_invoices(AT)
    except wire.Killed:
        pass


@pytest.mark.parametrize("how", ["killed", "timed out"])
class TestSent:
    def test_an_invoice_voided_while_it_is_sent_is_void_at_stripe(self, invoice, wire, at_stripe, how):
        def void():
            void_invoice(invoice=invoice, reason="Wrong", at=AT)
            jobs.void_invoices(AT)

        lose_the_end_of_sending(wire, how)
        wire.meanwhile_at(CREATE, void)
        send(wire)
        wire.heal()

        jobs.void_invoices(AT + AFTER_THE_LEASE)

        assert at_theirs(at_stripe) == [("void", 2_900)]

    def test_an_invoice_credited_while_it_is_sent_can_be_paid_at_stripe_once(self, invoice, wire, at_stripe, how):
        def credit():
            credit_invoice(invoice=invoice, reason="Sorry", amount_cents=900, at=AT)
            jobs.void_invoices(AT)

        lose_the_end_of_sending(wire, how)
        wire.meanwhile_at(CREATE, credit)
        send(wire)
        wire.heal()

        for minutes in range(1, 13):
            jobs.send_invoices(AT + minutes * MINUTE)
            assert [status for status, _ in at_theirs(at_stripe)].count("open") == 1
            jobs.void_invoices(AT + minutes * MINUTE)
        jobs.send_invoices(AT + AFTER_THE_LEASE + MINUTE)

        assert at_theirs(at_stripe) == [("open", 2_000), ("void", 2_900)]
