"""Explanations of lines that repeat, bring forward, credit unused time, or were written by hand: over the API and on
the customer's page."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from html import unescape

import pytest
import time_machine

from billing.jobs import look_for_late_usage
from billing.models import Invoice
from billing.services.cancel import cancel_now
from billing.services.change import change_now
from billing.services.late_usage import bill_with_next_invoice
from billing.services.manual_invoices import WrittenLine, write_invoice
from billing.services.subscribe import subscribe
from billing.services.tax_settings import update_settings
from billing.services.void import void_invoice
from billing.signed_links import invoice_page_path
from credits.services.late_usage import charged_periods
from tests.billing.explaining import APRIL, AT, BILLED, DAY, month
from tests.factories import CustomerFactory, FixedComponentFactory, PlanFactory, PriceFactory
from tests.pro_plan import make_pro_plan, sweep, use

MAY = datetime(2026, 5, 1, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, 1, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture
def explain(api):
    """Explains a line over the API, at an instant."""

    def explaining(line, at=JUNE):
        with time_machine.travel(at, tick=False):
            answer = api.get(f"/v1/invoices/{line.invoice.public_id}/lines/{line.public_id}/explain")
        assert answer.status == 200, answer
        return answer.body["explanation"]

    return explaining


@pytest.fixture
def read(client):
    """Reads the customer's page of an invoice as its text."""

    def reading(invoice, at=JUNE):
        with time_machine.travel(at, tick=False):
            page = client.get(invoice_page_path(invoice)).content.decode()
        return unescape(" ".join(re.sub(r"<[^>]+>", " ", page).split()))

    return reading


def late_lines(customer):
    lines = [
        line for bill in Invoice.objects.filter(customer=customer) for line in bill.lines.filter(type="late_usage")
    ]
    return sorted(lines, key=lambda line: line.pk)


class TestLateUsageTwice:
    @pytest.fixture
    def march(self):
        """1,000 calls in March (50.00); 500 more on April's invoice, and 300 more that an operator let May's bill."""
        march = month(1_000)
        march.late(500)
        use(march.customer, march.metric, 1, APRIL + DAY)
        sweep(MAY)
        look_for_late_usage(APRIL + 36 * DAY)
        march.late(300, at=MAY)
        bill_with_next_invoice(periods=[charged_periods().get(pk=march.lines[0].period_id)], at=APRIL + 37 * DAY)
        use(march.customer, march.metric, 1, MAY + DAY)
        sweep(JUNE)
        return march

    def test_each_tells_what_was_billed_before_it(self, march, explain, read):
        first, second = late_lines(march.customer)

        assert explain(first)["text"] == (
            "After 1–31 March 2026 had been billed, 500 calls more were found. In all: 1,500 calls × $0.05 = $75.00. "
            "$75.00 − $50.00 billed before = $25.00."
        )
        told = (
            "After 1–31 March 2026 and late usage of it had been billed, 300 calls more were found. In all: 1,800 "
            "calls × $0.05 = $90.00. $90.00 − $75.00 billed before = $15.00."
        )
        body = explain(second)
        assert (body["text"], body["amountCents"], body["agrees"]) == (told, 1_500, True)
        assert (body["lateUsage"]["number"], body["lateUsage"]["before"]["netCents"]) == (2, 7_500)
        assert told in read(second.invoice)

    def test_the_line_of_the_usage_names_both(self, march, explain, read):
        usage = march.lines[0]
        numbers = [line.invoice.number for line in late_lines(march.customer)]

        told = explain(usage)["recompute"]

        assert told["text"] == (
            f"Late usage of this period (+500 calls) is a line of its own of invoice {numbers[0]}: $25.00. "
            f"Late usage of this period (+300 calls) is a line of its own of invoice {numbers[1]}: $15.00. "
            "Recomputed from the events of today: the same. Together the lines of the period come to that."
        )
        assert [one["number"] for one in told["lateUsage"]] == [1, 2]
        assert told["text"] in read(march.invoice)

    def test_two_on_one_invoice_stand_apart(self, explain, read):
        march = month(1_000)
        march.late(500)
        # An operator lets what arrived after the time for it be billed, twice before the next invoice comes.
        look_for_late_usage(APRIL + 36 * DAY)
        period = charged_periods().get(pk=march.lines[0].period_id)
        march.late(300, at=MAY)
        bill_with_next_invoice(periods=[period], at=APRIL + 37 * DAY)
        use(march.customer, march.metric, 1, APRIL + DAY)
        sweep(MAY)
        first, second = late_lines(march.customer)

        assert first.invoice == second.invoice
        assert [explain(line)["agrees"] for line in (first, second)] == [True, True]
        text = read(first.invoice)
        assert text.index("$75.00 − $50.00 billed before = $25.00.") < text.index(
            "$90.00 − $75.00 billed before = $15.00."
        )


class TestOnAReplacement:
    @pytest.fixture
    def replaced(self):
        """April's invoice with late usage of March, void and issued again."""
        march = month(1_000)
        march.late(500)
        use(march.customer, march.metric, 1_000, APRIL + DAY)
        sweep(MAY)
        april = Invoice.objects.filter(customer=march.customer).latest("closes_at")
        return march, void_invoice(invoice=april, reason="Wrong address", rebill=True, at=MAY + DAY)

    def test_a_repeated_late_line_is_explained_as_the_one_that_it_repeats(self, replaced, explain, read):
        _, replacement = replaced
        late = replacement.lines.get(type="late_usage")
        assert late.difference is None

        body = explain(late)

        told = (
            "After 1–31 March 2026 had been billed, 500 calls more were found. In all: 1,500 calls × $0.05 = $75.00. "
            "$75.00 − $50.00 billed before = $25.00."
        )
        assert (body["text"], body["amountCents"], body["agrees"]) == (told, 2_500, True)
        assert body["lateUsage"]["after"]["usage"] == 1_500
        assert told in read(replacement)
        assert "The arithmetic gives" not in read(replacement)

    def test_the_line_of_the_usage_names_the_replacement(self, replaced, explain):
        march, replacement = replaced

        told = explain(march.lines[0])["recompute"]

        assert f"is a line of its own of invoice {replacement.number}: $25.00." in told["text"]
        assert told["lateUsage"][0]["invoiceId"] == replacement.public_id

    def test_repeated_usage_and_its_credits_add_up(self, explain):
        march = month(12_500, quotas=[10_000])
        replacement = void_invoice(invoice=march.invoice, reason="Wrong", rebill=True, at=BILLED + DAY)

        bodies = [explain(line) for line in replacement.lines.all()]

        assert [(body["amountCents"], body["agrees"]) for body in bodies] == [(62_500, True), (-50_000, True)]


def test_late_usage_that_a_credit_note_gave_back_names_it(explain):
    pro, customer = make_pro_plan(base_cents=None, quota=None), CustomerFactory(invoice_prefix="ADA")
    subscription = subscribe(at=AT, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 1_000, AT + DAY)
    cancel_now(subscription=subscription, at=AT + 10 * DAY)
    sweep(AT + 11 * DAY)
    use(customer, pro.metric, -300, AT + DAY, key="fewer")
    look_for_late_usage(AT + 46 * DAY)

    told = explain(Invoice.objects.get().lines.get())["recompute"]["text"]

    assert told.startswith("Late usage of this period (−300 calls) is credited by ADA-CN-001: −$15.00.")


class TestBroughtForward:
    @pytest.fixture
    def line(self):
        """0.30 of March on April's invoice."""
        march = month(6)
        use(march.customer, march.metric, 20, APRIL + DAY)
        sweep(MAY)
        return Invoice.objects.filter(customer=march.customer).latest("closes_at").lines.get(type="brought_forward")

    def test_it_tells_of_which_invoice_and_why(self, line, explain, read):
        body = explain(line)

        told = (
            "Invoice ACME-001 came to $0.30. That is too little to be charged by itself, so this invoice takes $0.30 "
            "along."
        )
        assert (body["text"], body["amountCents"], body["agrees"]) == (told, 30, True)
        assert body["broughtForward"] == {
            "invoiceId": line.carried_invoice.public_id, "customerInvoiceNumber": "ACME-001", "totalAmountCents": 30,
        }  # fmt: skip
        assert told in read(line.invoice)

    def test_its_tax_is_part_of_it(self, explain):
        update_settings({"default_tax_rate": Decimal("0.2")})
        march = month(6)
        use(march.customer, march.metric, 20, APRIL + DAY)
        sweep(MAY)
        line = Invoice.objects.latest("closes_at").lines.get(type="brought_forward")

        # 30 and 20 % of that.
        assert explain(line)["text"] == (
            "Invoice ACME-001 came to $0.36. That is too little to be charged by itself, so this invoice takes $0.36 "
            "along. Its tax is in that."
        )

    def test_other_lines_bring_nothing_forward(self, line, explain):
        assert explain(line.invoice.lines.get(type="usage"))["broughtForward"] is None


class TestWrittenByHand:
    @pytest.fixture
    def invoice(self):
        lines = [
            WrittenLine(description="Setup", quantity=Decimal(2), unit_amount_cents=Decimal("2500.5")),
            WrittenLine(description="Hours", quantity=Decimal("1.5"), unit_amount_cents=Decimal("333"), type="usage"),
            WrittenLine(description="Thanks", quantity=Decimal(1), unit_amount_cents=Decimal(-500), type="credit"),
        ]
        return write_invoice(customer=CustomerFactory(), currency="USD", lines=lines, issue=True, at=AT)

    def test_each_is_so_many_at_so_much(self, invoice, explain):
        bodies = [explain(line) for line in invoice.lines.all()]

        # 1.5 × 333 = 499.5, rounded 500.
        assert [(body["text"], body["amountCents"], body["agrees"]) for body in bodies] == [
            ("Written by hand: 2 × $25.005 = $50.01.", 5_001, True),
            ("Written by hand: 1.5 × $3.33 = $4.995, rounded $5.00.", 500, True),
            ("Written by hand: 1 × −$5.00 = −$5.00.", -500, True),
        ]
        assert [body["price"] for body in bodies] == [None] * 3

    def test_the_page_tells_only_what_its_columns_do_not(self, invoice, read):
        text = read(invoice)

        assert "Written by hand: 1.5 × $3.33 = $4.995, rounded $5.00." in text
        assert text.count("Written by hand") == 1

    def test_a_draft_of_them_can_be_explained(self, explain):
        line = WrittenLine(description="Setup", quantity=Decimal(1), unit_amount_cents=Decimal(100))
        draft = write_invoice(customer=CustomerFactory(), currency="USD", lines=[line], at=AT)

        assert explain(draft.lines.get())["text"] == "Written by hand: 1 × $1.00 = $1.00."


class TestOfAChange:
    def test_unused_time_tells_what_billed_it(self, explain, read):
        pro, customer = make_pro_plan(base_cents=3_100, quota=None, unit_cost_cents=None), CustomerFactory()
        other = make_pro_plan(base_cents=6_200, quota=None, unit_cost_cents=None)
        subscription = subscribe(at=AT, customer=customer, plan=pro.plan)
        first = Invoice.objects.get()
        change = change_now(subscription=subscription, price=other.price, at=AT + 10 * DAY)
        line = change.invoice.lines.get(type="proration")

        body = explain(line)

        # 21 of 31 days.
        told = (
            f"Invoice {first.number} billed Base fee in advance, $31.00. Its share of the days from 11 March 2026 on "
            "is not used: −$21.00."
        )
        assert (body["text"], body["amountCents"], body["agrees"]) == (told, -2_100, True)
        assert told in read(line.invoice)

    def test_units_of_a_part_tell_their_days(self, explain):
        customer, prices = CustomerFactory(), []
        for cents in (1_000, 2_000):
            price = PriceFactory(plan=PlanFactory(), fee=None)
            FixedComponentFactory(
                price=price, kind="per_unit", label="Seats", unit_label="seat", amount_cents=cents,
                minimum_quantity=3,
            )  # fmt: skip
            prices.append(price)
        subscription = subscribe(at=AT, customer=customer, plan=prices[0].plan)
        change = change_now(subscription=subscription, price=prices[1], at=AT + 10 * DAY)
        line = change.invoice.lines.get(type="per_unit")

        body = explain(line)

        # 6,000 × 21 / 31 = 4,064.52
        assert (body["text"], body["amountCents"], body["agrees"]) == (
            "For the whole period 3 seats cost $60.00. For 21 of its 31 days: $40.65.", 4_065, True,
        )  # fmt: skip
