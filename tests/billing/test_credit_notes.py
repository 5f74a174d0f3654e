"""Credit notes: numbers, places of the money, and never more than the invoice."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.books import check_books
from billing.exchange import Paid
from billing.models import CreditNote, Invoice, Refund
from billing.services.close_periods import close_periods
from billing.services.collect import record_payment
from billing.services.credit_notes import CreditAboveInvoice, NothingToCredit, PurchaseNotPaid, credit_invoice
from billing.services.hold_invoice import ChargeUnderWay, InvoiceIsDraft, InvoiceIsVoid
from billing.services.subscribe import subscribe
from billing.services.tax_settings import update_settings
from billing.services.top_up import buy_pack
from billing.services.void import void_invoice
from credits.models import CreditGrant
from credits.services.definitions import create_definition
from credits.services.grants import grant_credits
from credits.services.packs import create_pack
from plans.models import Customer
from plans.refusals import InvalidInput
from tests.factories import CreditDefinitionFactory, CustomerFactory
from tests.pro_plan import make_pro_plan, sweep, use

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
BILLED = datetime(2026, 2, 28, 1, tzinfo=UTC)
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
    """154.00: a fee of 29.00, 12,500 calls (625.00), 10,000 of them credited (−500.00)."""
    subscribe(at=AT, customer=ada, plan=pro.plan)
    use(ada, pro.metric, 12_500, AT + DAY)
    sweep(BILLED)
    return Invoice.objects.get(number="ADA-002")


@pytest.fixture(autouse=True)
def books_add_up():
    yield
    assert [offender for finding in check_books(at=BILLED + DAY) for offender in finding.offenders] == []


def pay(invoice, cents=None):
    invoice.refresh_from_db()
    paid = Paid(reference=f"in_{invoice.pk}", amount_cents=invoice.total_cents if cents is None else cents)
    record_payment(invoice=invoice.public_id, paid=paid, at=BILLED)


def line(invoice, kind):
    return invoice.lines.filter(type=kind).earliest("position").public_id


def credit(invoice, lines=None, **terms):
    return credit_invoice(invoice=invoice, lines=lines, reason="Goodwill", at=BILLED + DAY, **terms)


def state(invoice):
    invoice.refresh_from_db()
    return invoice.status, invoice.total_cents, invoice.credited_cents, invoice.open_cents


def charge_tax(rate, included):
    update_settings({"default_tax_rate": Decimal(rate), "prices_include_tax": included})


def give_money(customer, cents):
    definition = create_definition(
        at=AT, name="Goodwill", scope="merchant", application_type="monetary", default_amount=Decimal(1),
        currency="USD",
    )  # fmt: skip
    return grant_credits(at=AT, customer=customer, definition=definition, amount=Decimal(cents))


class TestUnpaid:
    def test_a_part_of_a_line_is_due_no_more(self, bill):
        note = credit(bill, [(line(bill, "fixed"), 900)])

        assert (note.number, note.total_cents, note.due_cents, note.source_cents) == ("ADA-CN-001", 900, 900, 0)
        assert state(bill) == ("issued", 15_400, 900, 14_500)

    def test_what_is_left_is_paid_and_no_more(self, bill):
        credit(bill, [(line(bill, "fixed"), 900)])

        pay(bill, 14_500)

        assert state(bill) == ("paid", 15_400, 900, 0)
        assert not Refund.objects.exists()

    def test_all_of_it_closes_the_invoice(self, bill):
        note = credit(bill)

        assert (note.total_cents, note.lines.count()) == (15_400, 2)
        assert state(bill) == ("paid", 15_400, 15_400, 0)

    def test_a_rest_too_little_to_charge_is_carried(self, bill):
        credit(bill, amount_cents=15_370)

        assert state(bill) == ("carried", 15_400, 15_370, 30)

    def test_an_amount_is_spread_over_the_charges(self, bill):
        # 154.00 are 29.00 and 125.00; of 10.01 they are 1.885 and 8.125, so 1.88 and 8.12, and the cent to the larger.
        note = credit(bill, amount_cents=1_001)

        assert [one.amount_cents for one in note.lines.all()] == [189, 812]

    def test_numbers_have_no_gaps(self, bill, ada):
        other = Invoice.objects.get(number="ADA-001")
        for invoice in (bill, other, bill):
            credit(invoice, amount_cents=100)

        with pytest.raises(CreditAboveInvoice):
            credit(other, amount_cents=10_000)
        credit(bill, amount_cents=1)

        assert list(CreditNote.objects.order_by("pk").values_list("number", flat=True)) == [
            "ADA-CN-001", "ADA-CN-002", "ADA-CN-003", "ADA-CN-004",
        ]  # fmt: skip

    def test_a_payment_that_was_under_way_gives_the_difference_back(self, bill):
        credit(bill, amount_cents=5_400)

        pay(bill, 15_400)

        assert state(bill)[0] == "paid"
        refund = Refund.objects.get()
        assert (refund.amount_cents, refund.credit_note, refund.refunded_at) == (5_400, None, None)


class TestPaid:
    def test_money_goes_back_to_its_source(self, bill):
        pay(bill)

        note = credit(bill, [(line(bill, "usage"), 12_500)])

        assert (note.due_cents, note.source_cents, note.credit_cents) == (0, 12_500, 0)
        assert (note.refund.amount_cents, note.refund.payment.invoice) == (12_500, bill)
        assert state(bill) == ("paid", 15_400, 12_500, 0)

    def test_or_is_kept_as_credit(self, bill, ada):
        pay(bill)

        note = credit(bill, amount_cents=400, to="credit")

        grant = CreditGrant.objects.get(reference_code=f"credit_note:{note.public_id}")
        assert (grant.initial_amount, grant.source, grant.currency, note.credit_cents) == (400, "refund", "USD", 400)
        assert not Refund.objects.exists()

    def test_never_more_than_was_paid(self, bill):
        credit(bill, amount_cents=5_400)
        pay(bill, 10_000)

        note = credit(bill)

        assert (note.source_cents, note.refund.amount_cents) == (10_000, 10_000)
        assert state(bill) == ("paid", 15_400, 15_400, 0)


class TestCreditsOfMoney:
    def test_what_they_paid_returns_to_their_grants(self, pro, ada):
        grant = give_money(ada, 5_000)
        subscribe(at=AT, customer=ada, plan=pro.plan)
        use(ada, pro.metric, 12_500, AT + DAY)
        sweep(BILLED)
        # The first fee of 29.00 took 2,900 of them; of the 154.00 the other 2,100 paid 395 and 1,705.
        bill = Invoice.objects.get(number="ADA-002")
        assert bill.total_cents == 13_300

        note = credit(bill, [(line(bill, "fixed"), 2_900)])

        grant.refresh_from_db()
        assert (note.total_cents, note.monetary_credit_cents, grant.ledger_remaining) == (2_505, 395, 395)

    def test_an_invoice_that_they_paid_in_full_gives_all_of_it_back(self, pro, ada):
        grant = give_money(ada, 5_000)
        subscribe(at=AT, customer=ada, plan=pro.plan)
        first = Invoice.objects.get(number="ADA-001")
        assert state(first) == ("paid", 0, 0, 0)

        note = credit(first)

        grant.refresh_from_db()
        assert (note.total_cents, note.monetary_credit_cents, grant.ledger_remaining) == (0, 2_900, 5_000)
        with pytest.raises(NothingToCredit):
            credit(first)


class TestTax:
    @pytest.mark.parametrize(
        ("included", "whole", "half"), [(False, (2_900, 551, 3_451), 1_726), (True, (2_437, 463, 2_900), 1_450)]
    )
    def test_comes_back_by_the_invoices_own_rate(self, pro, ada, included, whole, half):
        # 19 % of 29.00 are 5.51; in 29.00 they are 4.63.
        charge_tax("0.19", included)
        subscribe(at=AT, customer=ada, plan=pro.plan)
        charge_tax("0.5", included)
        bill = Invoice.objects.get(number="ADA-001")
        assert (bill.subtotal_cents, bill.tax_cents, bill.total_cents) == whole

        first = credit(bill, [(line(bill, "fixed"), 1_450)])
        second = credit(bill)

        assert first.total_cents == half
        assert first.total_cents + second.total_cents == whole[2]
        assert first.tax_cents + second.tax_cents == whole[1]


class TestRefusals:
    def test_more_than_the_invoice(self, bill):
        for terms in ({"amount_cents": 15_401}, {"lines": [(line(bill, "fixed"), 2_901)]}):
            with pytest.raises(CreditAboveInvoice):
                credit(bill, **terms)

        assert not CreditNote.objects.exists()

    def test_more_than_the_invoice_in_two_steps(self, bill):
        credit(bill, [(line(bill, "usage"), 12_500)])

        with pytest.raises(InvalidInput, match="lineId"):
            credit(bill, [(line(bill, "usage"), 1)])

    @pytest.mark.parametrize("lines", [[("inv_item_x", 1)], [("same", 1), ("same", 1)]])
    def test_unknown_and_repeated_lines(self, bill, lines):
        lines = [(line(bill, "fixed") if one == "same" else one, cents) for one, cents in lines]

        with pytest.raises(InvalidInput, match=r"lines\[\d\]\.lineId"):
            credit(bill, lines)

    def test_another_customers_line_and_a_credit_line(self, bill, pro):
        other = CustomerFactory(invoice_prefix="BOB")
        subscribe(at=AT, customer=other, plan=pro.plan)
        theirs = Invoice.objects.get(number="BOB-001")

        for public_id in (line(theirs, "fixed"), line(bill, "credit")):
            with pytest.raises(InvalidInput, match="lineId"):
                credit(bill, [(public_id, 1)])

    @pytest.mark.parametrize("terms", [{"amount_cents": -5}, {"amount_cents": 0}])
    def test_amounts_that_are_not_positive(self, bill, terms):
        with pytest.raises(InvalidInput, match="amountCents"):
            credit(bill, **terms)

    def test_drafts_and_void_invoices(self, bill, pro, ada):
        close_periods(subscriptions=[ada.subscriptions.get().pk], at=datetime(2026, 3, 31, tzinfo=UTC))
        with pytest.raises(InvoiceIsDraft):
            credit(Invoice.objects.get(customer=ada, status="draft"))

        void_invoice(invoice=bill, reason="Wrong", at=BILLED + DAY)

        with pytest.raises(InvoiceIsVoid):
            credit(bill)

    def test_an_invoice_that_is_being_charged(self, bill):
        Invoice.objects.filter(pk=bill.pk).update(charge_started_at=BILLED + DAY - timedelta(minutes=1))

        with pytest.raises(ChargeUnderWay):
            credit(bill)

    def test_a_pack_that_is_not_paid(self, bill, ada):
        definition = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False)
        pack = create_pack(
            at=AT, name="Pack", definition=definition, amount=Decimal(500), price_cents=900, currency="USD"
        )

        with pytest.raises(PurchaseNotPaid):
            credit(buy_pack(customer=ada, pack=pack, at=BILLED))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["amount", "fixed", "usage", "whole", "pay"]),
            st.integers(1, 13_000),
            st.sampled_from(["source", "credit"]),
        ),
        max_size=8,
    ),
    rate=st.sampled_from(["0", "0.0875", "0.19"]),
    included=st.booleans(),
    money=st.sampled_from([0, 3_333]),
)
def test_credit_notes_never_exceed_the_invoice(steps, rate, included, money):
    with transaction.atomic():
        charge_tax(rate, included)
        sold, customer = make_pro_plan(), CustomerFactory(invoice_prefix="ANY")
        if money:
            give_money(customer, money)
        subscribe(at=AT, customer=customer, plan=sold.plan)
        use(customer, sold.metric, 12_500, AT + DAY)
        sweep(BILLED)
        invoice = Invoice.objects.get(number="ANY-002")
        for step, cents, to in steps:
            _try(invoice, step, cents, to)
        invoice.refresh_from_db()
        notes = list(invoice.credit_notes.all())
        taken = sum(note.monetary_credit_cents for note in notes)

        assert sum(note.total_cents for note in notes) == invoice.credited_cents <= invoice.total_cents
        assert sum(note.tax_cents for note in notes) <= invoice.tax_cents
        assert taken <= sum(one.monetary_credit_cents for one in invoice.lines.all())
        assert [offender for finding in check_books(at=BILLED + DAY) for offender in finding.offenders] == []
        transaction.set_rollback(True)


def _try(invoice, step, cents, to):
    try:
        with transaction.atomic():
            if step == "pay":
                invoice.refresh_from_db()
                pay(invoice, invoice.open_cents or invoice.total_cents)
            elif step == "amount":
                credit(invoice, amount_cents=cents, to=to)
            elif step == "whole":
                credit(invoice, to=to)
            else:
                credit(invoice, [(line(invoice, step), cents)], to=to)
    except (CreditAboveInvoice, NothingToCredit, InvalidInput):
        pass


class TestTheDatabaseSaysNo:
    def test_to_a_change_of_a_credit_note(self, bill):
        credit(bill, amount_cents=100)

        for statement in (
            "UPDATE billing_creditnote SET reason = 'x'",
            "DELETE FROM billing_creditnoteline",
        ):
            with pytest.raises(IntegrityError, match="cannot change"), transaction.atomic(), connection.cursor() as c:
                c.execute(statement)

    def test_to_more_credit_than_a_charge(self, bill):
        note = credit(bill, [(line(bill, "usage"), 12_000)])
        copy = (
            "INSERT INTO billing_creditnote (public_id, customer_id, invoice_id, sequence, number, currency, reason,"
            " subtotal_cents, tax_cents, total_cents, monetary_credit_cents, due_cents, source_cents, credit_cents,"
            " issued_at) SELECT 'inv_2', customer_id, invoice_id, 2, 'x-2', currency, reason, 501, 0, 501, 0, 501, 0,"
            " 0, issued_at FROM billing_creditnote"
        )
        line_of = (
            "INSERT INTO billing_creditnoteline (public_id, credit_note_id, position, line_id, description,"
            " amount_cents, monetary_credit_cents, tax_cents) SELECT 'x', max(note.id), 1, max(line_id), 'x', 501, 0, 0"
            " FROM billing_creditnote note, billing_creditnoteline"
        )
        with (
            pytest.raises(IntegrityError, match="credit_note_line_fits_its_line"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(f"{copy};{line_of}")

        assert note.customer == Customer.objects.get(pk=bill.customer_id)
