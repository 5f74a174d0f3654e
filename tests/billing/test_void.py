"""Voiding an invoice, and issuing another one in its place."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.books import check_books
from billing.exchange import Paid
from billing.models import Invoice, Refund
from billing.services.close_periods import close_periods
from billing.services.collect import record_payment
from billing.services.credit_notes import credit_invoice
from billing.services.hold_invoice import ChargeUnderWay, InvoiceIsDraft, InvoiceIsVoid
from billing.services.manual_invoices import WrittenLine, write_invoice
from billing.services.subscribe import subscribe
from billing.services.void import CreditedElsewhere, InvoiceIsPaid, NothingToBillAgain, void_invoice
from credits.models import CreditTransaction
from credits.services.definitions import create_definition
from credits.services.grants import grant_credits
from metering.models import UsageEvent
from metering.services.void_event import void_event
from tests.factories import CustomerFactory
from tests.pro_plan import bills, make_pro_plan, sweep, use

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
BILLED = datetime(2026, 2, 28, 1, tzinfo=UTC)
MARCH = datetime(2026, 3, 31, 1, tzinfo=UTC)
DAY = timedelta(days=1)

pytestmark = pytest.mark.django_db


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def ada():
    return CustomerFactory(invoice_prefix="ADA")


@pytest.fixture
def bill(pro, ada):
    """154.00: a fee of 29.00, 12,500 calls, 10,000 of them credited."""
    return billed(pro, ada)


def billed(pro, ada):
    subscribe(at=AT, customer=ada, plan=pro.plan)
    use(ada, pro.metric, 12_500, AT + DAY)
    sweep(BILLED)
    return Invoice.objects.get(number="ADA-002")


@pytest.fixture(autouse=True)
def books_add_up():
    yield
    assert [offender for finding in check_books(at=BILLED + DAY) for offender in finding.offenders] == []


def void(invoice, at=BILLED + DAY, **terms):
    return void_invoice(invoice=invoice, reason="Wrong", at=at, **terms)


def give_money(customer, cents):
    definition = create_definition(
        at=AT, name="Goodwill", scope="merchant", application_type="monetary", default_amount=Decimal(1),
        currency="USD",
    )  # fmt: skip
    return grant_credits(at=AT, customer=customer, definition=definition, amount=Decimal(cents))


def lines(invoice):
    return [(line.type, line.quantity, line.amount_cents) for line in invoice.lines.all()]


def test_a_void_invoice_keeps_its_number_and_is_owed_no_more(bill):
    void(bill)

    bill.refresh_from_db()
    assert (bill.number, bill.status, bill.void_reason, bill.open_cents) == ("ADA-002", "void", "Wrong", 0)


def test_ruling_24_a_void_does_not_change_what_is_already_billed(bill, pro, ada):
    void(bill)
    use(ada, pro.metric, 300, AT + DAY, key="late")

    sweep(MARCH)

    # 300 × 5 of February; its 125.00 are not billed again.
    assert bills(ada)[-1][2] == [("fixed", 1, 2_900), ("late_usage", 300, 1_500)]


def test_ruling_24_monetary_credit_on_a_voided_invoice_returns_to_its_grant(pro, ada):
    grant = give_money(ada, 5_000)
    bill = billed(pro, ada)
    grant.refresh_from_db()
    assert (bill.total_cents, grant.ledger_remaining) == (13_300, 0)

    void(bill)

    grant.refresh_from_db()
    assert grant.ledger_remaining == 2_100
    assert CreditTransaction.objects.get(kind="returned").amount == 2_100


def test_what_it_kept_as_credit_is_taken_back_as_far_as_it_is_unspent(bill, pro, ada):
    use(ada, pro.metric, -1_000, AT + DAY, key="fewer")
    sweep(MARCH)
    kept = Invoice.objects.get(number="ADA-003")
    grant = kept.lines.get(type="refund").grant
    assert (kept.status, kept.total_cents, grant.ledger_remaining) == ("paid", 0, 2_100)

    void(kept, at=MARCH + DAY)

    grant.refresh_from_db()
    assert (grant.ledger_remaining, grant.revoked_at) == (0, MARCH + DAY)


class TestRebill:
    def test_ruling_24_a_replacement_bills_todays_events(self, bill, pro, ada):
        use(ada, pro.metric, 300, AT + DAY, key="late")

        replacement = void(bill, rebill=True)

        assert (replacement.number, replacement.status, replacement.total_cents) == ("ADA-003", "issued", 16_900)
        assert lines(replacement) == [
            ("fixed", 1, 2_900),
            ("usage", 12_500, 62_500),
            ("credit", 10_000, -50_000),
            ("late_usage", 300, 1_500),
        ]
        assert replacement.replaces == bill

    def test_of_fewer_events_gives_units_back(self, bill, pro, ada):
        event = UsageEvent.objects.get(customer=ada)
        void_event(event_id=event.pk, reason="Test traffic", by="operator", at=BILLED)
        use(ada, pro.metric, 9_000, AT + DAY, key="real")

        replacement = void(bill, rebill=True)

        # 12,500 − 3,500 are 9,000, all of them credited: 125.00 less. 1,000 units return to the quota, and expire.
        assert replacement.total_cents == 2_900
        assert sum(line.amount_cents for line in replacement.lines.filter(type="late_usage")) == -12_500

    def test_bills_nothing_twice_afterwards(self, bill, pro, ada):
        use(ada, pro.metric, 300, AT + DAY, key="late")
        void(bill, rebill=True)

        sweep(MARCH)

        assert bills(ada)[-1][2] == [("fixed", 1, 2_900)]

    def test_spends_credits_of_money_anew(self, pro, ada):
        grant = give_money(ada, 5_000)
        bill = billed(pro, ada)

        replacement = void(bill, rebill=True)

        grant.refresh_from_db()
        assert (replacement.total_cents, grant.ledger_remaining) == (13_300, 0)

    def test_can_itself_be_voided_and_billed_again(self, bill, pro, ada):
        first = void(bill, rebill=True)
        use(ada, pro.metric, 300, AT + DAY, key="late")

        second = void(first, rebill=True)

        assert (second.total_cents, second.replaces) == (16_900, first)


class TestStripe:
    def test_what_stripe_may_have_is_to_be_void_there(self, bill):
        Invoice.objects.filter(pk=bill.pk).update(stripe_invoice_id="in_1", stripe_sent_at=BILLED, collect_at=BILLED)

        void(bill)

        bill.refresh_from_db()
        waiting = bill.stripe_voids.get()
        assert (waiting.stripe_invoice_id, waiting.revision, waiting.voided_at) == ("in_1", 0, None)
        assert (bill.stripe_invoice_id, bill.send_at, bill.collect_at) == (None, None, None)

    def test_a_payment_of_a_void_invoice_goes_back(self, bill):
        void(bill)

        record_payment(invoice=bill.public_id, paid=Paid(reference="in_1", amount_cents=15_400), at=BILLED + DAY)

        bill.refresh_from_db()
        assert (bill.status, Refund.objects.get().amount_cents) == ("void", 15_400)


class TestRefusals:
    def test_voiding_twice(self, bill):
        void(bill)

        with pytest.raises(InvoiceIsVoid):
            void(bill)

    def test_a_paid_invoice(self, bill):
        record_payment(invoice=bill.public_id, paid=Paid(reference="in_1", amount_cents=15_400), at=BILLED)
        bill.refresh_from_db()

        with pytest.raises(InvoiceIsPaid):
            void(bill)

    def test_a_draft(self, bill, ada):
        close_periods(subscriptions=[ada.subscriptions.get().pk], at=MARCH)

        with pytest.raises(InvoiceIsDraft):
            void(Invoice.objects.get(status="draft"))

    def test_one_that_a_credit_note_credits(self, bill):
        credit_invoice(invoice=bill, amount_cents=5, reason="x", at=BILLED)

        with pytest.raises(CreditedElsewhere):
            void(bill)

    def test_one_that_is_being_charged(self, bill):
        Invoice.objects.filter(pk=bill.pk).update(charge_started_at=BILLED + DAY)
        bill.refresh_from_db()

        with pytest.raises(ChargeUnderWay):
            void(bill)

    def test_billing_again_what_no_subscription_bills(self, ada):
        written = WrittenLine("Setup", Decimal(1), Decimal(5_000))
        manual = write_invoice(customer=ada, currency="USD", lines=[written], issue=True, at=AT)

        with pytest.raises(NothingToBillAgain):
            void(manual, rebill=True)
