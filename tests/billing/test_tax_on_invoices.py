"""The tax of real invoices: which rate applies, on what, and that it is frozen. Numbers are worked by hand."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.exchange import Paid
from billing.models import Invoice, InvoiceLine, LineType
from billing.services.collect import record_payment
from billing.services.first_bill import due_today_cents, first_bill
from billing.services.send import claim_invoice_to_send
from billing.services.subscribe import subscribe
from billing.services.tax import AppliedTax, TaxPayer, read_tax_terms, tax_of_customer
from billing.services.tax_settings import create_rate, set_nexus, update_rate, update_settings
from billing.services.top_up import buy_pack
from billing.services.upcoming import upcoming_invoice
from billing.tax_lines import TaxSum, charge_tax, tax_sums
from credits.models import CreditGrant
from credits.services.definitions import create_definition
from credits.services.grants import grant_credits
from credits.services.packs import create_pack
from tests.factories import START, CustomerFactory, FixedComponentFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, sweep, use

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
APRIL = datetime(2026, 4, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)

pytestmark = pytest.mark.django_db


@pytest.fixture
def vat():
    """19 % for everybody."""
    return update_settings({"default_tax_rate": Decimal("0.19")})


def first_invoice(customer, **terms):
    """The invoice of a first fee."""
    subscribe(at=MARCH, customer=customer, plan=make_pro_plan(**terms).plan)
    return Invoice.objects.get(customer=customer)


def sums(invoice):
    return invoice.subtotal_cents, invoice.tax_cents, invoice.total_cents


class TestTheAmount:
    def test_19_percent_of_2900_are_551(self, vat):
        invoice = first_invoice(CustomerFactory())

        assert sums(invoice) == (2_900, 551, 3_451)
        assert (invoice.tax_rate, invoice.tax_method) == (Decimal("0.19"), "manual")
        assert [(line.taxable_cents, line.tax_rate, line.tax_cents) for line in invoice.lines.all()] == [
            (2_900, Decimal("0.19"), 551)
        ]
        assert_books_add_up(MARCH)

    def test_gross_prices_have_the_tax_in_them(self, vat):
        update_settings({"prices_include_tax": True})

        invoice = first_invoice(CustomerFactory(), base_cents=11_900)

        assert sums(invoice) == (10_000, 1_900, 11_900)
        assert_books_add_up(MARCH)

    @pytest.mark.parametrize(
        ("currency", "cents", "tax", "rounding"), [("JPY", 995, 189, 0), ("KWD", 12_345, 2_346, -1)]
    )
    def test_is_rounded_to_the_minor_unit_of_the_currency(self, vat, currency, cents, tax, rounding):
        # 189.05 yen; 2,345.55 fils, and 14,691 in all, which are charged in tens.
        invoice = first_invoice(CustomerFactory(), base_cents=cents, currency=currency)

        assert sums(invoice) == (cents + rounding, tax, cents + tax + rounding)

    def test_usage_is_taxed_after_its_credits_whether_they_are_shown_or_not(self, vat):
        """124 units at 0.1 with 98 credited are 3: 0.57, so 1. The lines of 12 and −9 alone would have 2 and −2."""
        for shown in (True, False):
            sold = make_pro_plan(base_cents=None, unit_cost_cents="0.1", quota=98, shown=shown)
            customer = CustomerFactory()
            subscribe(at=MARCH, customer=customer, plan=sold.plan)
            use(customer, sold.metric, 124, MARCH + DAY)
            sweep(APRIL + HOUR)
            assert sums(Invoice.objects.get(customer=customer, number__isnull=False)) == (3, 1, 4)
        assert_books_add_up(APRIL + HOUR)

    def test_each_charge_is_rounded_by_itself(self, vat):
        """15,400 as of the worked example: 551 on the fee, 2,375 on 12,500."""
        sold, customer = make_pro_plan(), CustomerFactory()
        subscribe(at=MARCH, customer=customer, plan=sold.plan)
        use(customer, sold.metric, 12_500, MARCH + DAY)
        sweep(APRIL + HOUR)

        invoice = Invoice.objects.get(customer=customer, closes_at=APRIL)

        assert sums(invoice) == (15_400, 2_926, 18_326)
        assert [(line.type, line.taxable_cents, line.tax_cents) for line in invoice.lines.all()] == [
            ("fixed", 2_900, 551),
            ("usage", 12_500, 2_375),
            ("credit", 0, 0),
        ]
        assert_books_add_up(APRIL + HOUR)

    def test_a_minimum_is_taxed_with_its_usage(self, vat):
        sold, customer = make_pro_plan(base_cents=None, quota=None), CustomerFactory()
        sold.price.components.update(minimum_cents=2_000)
        subscribe(at=MARCH, customer=customer, plan=sold.plan)
        use(customer, sold.metric, 100, MARCH + DAY)
        sweep(APRIL + HOUR)

        # 500 and 1,500 are one charge of 2,000.
        invoice = Invoice.objects.get(customer=customer, number__isnull=False)
        assert sums(invoice) == (2_000, 380, 2_380)
        assert [(line.type, line.tax_cents) for line in invoice.lines.all()] == [("usage", 380), ("minimum", 0)]

    def test_a_maximum_is_taxed_with_its_usage(self, vat):
        sold, customer = make_pro_plan(base_cents=None, quota=None), CustomerFactory()
        sold.price.components.update(maximum_cents=2_001)
        subscribe(at=MARCH, customer=customer, plan=sold.plan)
        use(customer, sold.metric, 505, MARCH + DAY)
        sweep(APRIL + HOUR)

        # 2,525 and −524 are one charge of 2,001: 380.19. One by one they would have 479.75 and −99.56, so 380, too.
        invoice = Invoice.objects.get(customer=customer, number__isnull=False)
        assert sums(invoice) == (2_001, 380, 2_381)
        assert [(line.type, line.taxable_cents, line.tax_cents) for line in invoice.lines.all()] == [
            ("usage", 2_001, 380),
            ("maximum", 0, 0),
        ]

    def test_ruling_22_credits_of_money_come_before_tax(self, vat):
        """A fee of 2,900 less 1,000 is taxed on 1,900: 361."""
        customer = CustomerFactory()
        give_money(customer, 1_000)

        assert sums(first_invoice(customer)) == (1_900, 361, 2_261)
        assert_books_add_up(MARCH)

    def test_what_credits_of_money_pay_whole_has_no_tax(self, vat):
        customer = CustomerFactory()
        give_money(customer, 9_999)

        invoice = first_invoice(customer)

        assert (sums(invoice), invoice.status) == ((0, 0, 0), "paid")

    def test_an_invoice_that_keeps_credit_has_no_tax_and_the_credit_takes_it_off_the_next(self, vat):
        """900 calls too many were billed at 5: the next month of 20 calls keeps 4,400, and so on."""
        sold, customer = make_pro_plan(base_cents=None, quota=None), CustomerFactory()
        subscribe(at=MARCH, customer=customer, plan=sold.plan)
        use(customer, sold.metric, 1_000, MARCH + DAY)
        sweep(APRIL + HOUR)
        use(customer, sold.metric, -900, MARCH + DAY, key="late")
        use(customer, sold.metric, 20, APRIL + DAY)
        sweep(datetime(2026, 5, 1, 1, tzinfo=UTC))
        use(customer, sold.metric, 1_000, datetime(2026, 5, 2, tzinfo=UTC))
        sweep(datetime(2026, 6, 1, 1, tzinfo=UTC))

        invoices = Invoice.objects.filter(customer=customer, number__isnull=False).order_by("closes_at")
        # 600 of 5,000 are left to pay: 114.
        assert [sums(invoice) for invoice in invoices] == [(5_000, 950, 5_950), (0, 0, 0), (600, 114, 714)]
        assert_books_add_up(datetime(2026, 6, 1, 2, tzinfo=UTC))

    def test_ruling_17_bought_packs_are_taxed_when_they_are_bought(self, vat):
        customer = CustomerFactory()
        definition = create_definition(
            at=START, name="Top-up", scope="merchant", application_type="monetary", default_amount=Decimal(1),
            currency="USD",
        )  # fmt: skip
        pack = create_pack(
            at=MARCH, name="$100", definition=definition, amount=Decimal(10_000), price_cents=10_000, currency="USD"
        )

        bought = buy_pack(customer=customer, pack=pack, at=MARCH)

        assert sums(bought) == (10_000, 1_900, 11_900)
        record_payment(invoice=bought.public_id, paid=Paid(reference="in_1", amount_cents=11_900), at=MARCH)
        assert CreditGrant.objects.get(customer=customer).initial_amount == 10_000
        assert_books_add_up(MARCH)


def give_money(customer, cents):
    definition = create_definition(
        at=START, name="Goodwill", scope="merchant", application_type="monetary", default_amount=Decimal(cents),
        currency="USD",
    )  # fmt: skip
    grant_credits(at=MARCH, customer=customer, definition=definition)


class TestProration:
    """Lines of a change, taxed without storing them."""

    def line(self, cents, credited=None):
        kind = LineType.FIXED if credited is None else LineType.PRORATION
        return InvoiceLine(type=kind, amount_cents=cents, credited_line=credited)

    def charge(self, lines, rate):
        invoice = Invoice()
        charge_tax(invoice, lines, AppliedTax(rate=Decimal(rate), method="manual"))
        return invoice.subtotal_cents, invoice.tax_cents, invoice.total_cents

    def test_unused_time_gives_its_tax_back(self):
        paid = InvoiceLine(type=LineType.FIXED, tax_rate=Decimal("0.19"))
        # 931 − 276 (275.5)
        assert self.charge([self.line(4_900), self.line(-1_450, paid)], "0.19") == (3_450, 655, 4_105)

    def test_unused_time_gives_back_the_rate_that_was_paid(self):
        paid = InvoiceLine(type=LineType.FIXED, tax_rate=Decimal("0.19"))
        # 4,900 at 16 % are 784
        assert self.charge([self.line(4_900), self.line(-1_450, paid)], "0.16") == (3_450, 508, 3_958)

    def test_what_was_not_taxed_gives_no_tax_back(self):
        assert self.charge([self.line(4_900), self.line(-1_450, InvoiceLine())], "0.19") == (3_450, 931, 4_381)

    def test_who_is_exempt_by_now_gets_no_negative_tax(self):
        paid = InvoiceLine(type=LineType.FIXED, tax_rate=Decimal("0.19"))
        assert self.charge([self.line(4_900), self.line(-1_450, paid)], "0") == (3_450, 0, 3_450)

    def test_what_is_kept_as_credit_has_no_tax_at_any_rate(self):
        """The 19 % that were paid on 1,450 are 276, the 25 % of today 363: the credit is neither more nor less."""
        paid = InvoiceLine(type=LineType.FIXED, tax_rate=Decimal("0.19"))
        kept = InvoiceLine(type=LineType.REFUND, amount_cents=1_450)

        assert self.charge([self.line(-1_450, paid), kept], "0.25") == (0, 0, 0)

    def test_ruling_26_what_is_brought_forward_is_no_part_of_what_is_taxed(self):
        carried = InvoiceLine(type=LineType.BROUGHT_FORWARD, amount_cents=30)

        assert self.charge([self.line(4_900), carried], "0.19") == (4_930, 931, 5_861)
        assert (carried.taxable_cents, carried.tax_rate, carried.tax_cents) == (0, None, 0)

    def test_the_sums_of_each_rate_begin_with_the_highest(self):
        lines = [
            InvoiceLine(taxable_cents=cents, tax_rate=Decimal(rate), tax_cents=tax)
            for cents, rate, tax in ((1_000, "0.07", 70), (100, "0.19", 19), (2_000, "0.07", 140), (500, "0", 0))
        ]

        assert tax_sums(Invoice(), lines) == [
            TaxSum(Decimal("0.19"), 100, 19),
            TaxSum(Decimal("0.07"), 3_000, 210),
        ]


class TestWhichRate:
    def test_without_any_terms_nobody_is_taxed(self):
        invoice = first_invoice(CustomerFactory())

        assert (sums(invoice), invoice.tax_method, invoice.tax_rate) == ((2_900, 0, 2_900), "", None)
        assert [line.tax_rate for line in invoice.lines.all()] == [None]

    def test_a_default_rate_of_nothing_is_a_decision(self):
        update_settings({"default_tax_rate": Decimal(0)})

        applied = tax_of_customer(CustomerFactory(billing_country="DE"))

        assert (applied.rate, applied.method, applied.jurisdiction) == (0, "manual", "DE")

    def test_with_a_default_rate_alone_a_state_of_the_us_needs_nexus(self, vat):
        nowhere = TaxPayer(country="US", state="CA")

        without = read_tax_terms().applied_to(nowhere)
        set_nexus(state="CA", changes={"has_nexus": True})

        assert (without.rate, without.reason_code) == (0, "no_nexus")
        assert read_tax_terms().applied_to(nowhere).rate == Decimal("0.19")

    @pytest.mark.parametrize(
        ("payer", "default", "rate"),
        [
            (TaxPayer(country="DE"), None, "0.19"),
            (TaxPayer(country="DE", is_exempt=True), None, "0"),
            (TaxPayer(country="FR"), None, "0"),
            (TaxPayer(country="FR"), "0.10", "0.10"),
        ],
    )
    def test_gross_prices_are_gross_whatever_decides_the_rate(self, payer, default, rate):
        update_settings({"prices_include_tax": True, "default_tax_rate": default and Decimal(default)})
        create_rate(at=MARCH, name="VAT", rate=Decimal("0.19"), jurisdiction="DE")

        applied = read_tax_terms().applied_to(payer)

        assert (applied.is_included, applied.rate) == (True, Decimal(rate))

    def test_a_rate_that_is_retired_from_the_start_does_not_apply_once_it_is_switched_on(self):
        made = create_rate(at=MARCH, name="VAT", rate=Decimal("0.19"), jurisdiction="DE", is_active=False)

        update_rate(rate=made, changes={"is_active": True})

        assert first_invoice(CustomerFactory(billing_country="DE")).tax_cents == 0

    def test_the_exempt_pay_none_and_the_invoice_says_why(self, vat):
        rate = create_rate(at=MARCH, name="VAT", rate=Decimal("0.19"), jurisdiction="DE")
        customer = CustomerFactory(
            tax_exempt=True, tax_exemption_reason="Charity", tax_rate_definition_id=rate.public_id, billing_country="DE"
        )

        invoice = first_invoice(customer)

        assert sums(invoice) == (2_900, 0, 2_900)
        assert (invoice.tax_method, invoice.tax_reason_code, invoice.tax_exemption_reason) == (
            "exempt", "customer_exempt", "Charity",
        )  # fmt: skip
        assert_books_add_up(MARCH)

    def test_consumers_are_taxed_like_businesses(self, vat):
        business = CustomerFactory(business_name="Acme Ltd", tax_id="DE123")

        assert sums(first_invoice(CustomerFactory())) == sums(first_invoice(business)) == (2_900, 551, 3_451)

    def test_a_rate_that_was_given_to_the_customer_comes_first(self, vat):
        create_rate(at=MARCH, name="VAT", rate=Decimal("0.19"), jurisdiction="DE")
        reduced = create_rate(at=MARCH, name="Reduced VAT", rate=Decimal("0.07"), jurisdiction="DE")

        invoice = first_invoice(CustomerFactory(billing_country="DE", tax_rate_definition_id=reduced.public_id))

        assert (invoice.tax_cents, invoice.tax_name, invoice.tax_rate_definition) == (203, "Reduced VAT", reduced)

    def test_a_second_rate_of_a_place_waits_to_be_given(self):
        create_rate(at=MARCH, name="VAT", rate=Decimal("0.19"), jurisdiction="Germany")
        reduced = create_rate(at=MARCH, name="Reduced VAT", rate=Decimal("0.07"), jurisdiction="DE")

        assert not reduced.applies_to_area
        assert first_invoice(CustomerFactory(billing_country="DE")).tax_cents == 551

    def test_a_retired_rate_applies_no_more(self, vat):
        old = create_rate(at=MARCH, name="VAT", rate=Decimal("0.16"), jurisdiction="DE")
        update_rate(rate=old, changes={"is_active": False})

        customer = CustomerFactory(billing_country="DE", tax_rate_definition_id=old.public_id)

        assert first_invoice(customer).tax_cents == 551

    @pytest.mark.parametrize(
        ("country", "state", "rate", "reason"),
        [
            ("US", "CA", "0.0725", ""),
            ("US", "California", "0.0725", ""),
            ("US", "TX", "0.05", ""),  # nexus, no rate of its own: the country's
            ("US", "NY", "0", "no_nexus"),
            ("US", "", "0", "us_state_missing"),
            ("US", "Bavaria", "0", "us_state_missing"),
            ("DE", "", "0.19", ""),
            ("FR", "", "0.10", ""),  # the default
            ("", "", "0.10", ""),
        ],
    )
    def test_a_place_has_its_rate_and_states_of_the_us_only_with_nexus(self, country, state, rate, reason):
        update_settings({"default_tax_rate": Decimal("0.10")})
        for place, share in (("US-CA", "0.0725"), ("US", "0.05"), ("DE", "0.19"), ("US-NY", "0.08875")):
            create_rate(at=MARCH, name=place, rate=Decimal(share), jurisdiction=place)
        for code, has in (("CA", True), ("TX", True), ("NY", False)):
            set_nexus(state=code, changes={"has_nexus": has})

        applied = read_tax_terms().applied_to(TaxPayer(country=country, state=state))

        assert (applied.rate, applied.reason_code) == (Decimal(rate), reason)

    def test_what_was_issued_keeps_its_rate(self, vat):
        customer = CustomerFactory()
        invoice = first_invoice(customer)

        update_settings({"default_tax_rate": Decimal("0.16")})
        sweep(APRIL + HOUR)

        later = Invoice.objects.get(customer=customer, closes_at=APRIL)
        invoice.refresh_from_db()
        assert (invoice.tax_cents, later.tax_cents) == (551, 464)
        assert_books_add_up(APRIL + HOUR)

    def test_automatic_calculation_uses_our_rates_until_it_is_connected(self, vat):
        update_settings({"auto_tax_calculation": True})

        assert first_invoice(CustomerFactory(tax_calculation_method="auto")).tax_cents == 551


class TestEverywhere:
    def test_the_upcoming_invoice_is_the_one_that_comes(self, vat):
        sold, customer = make_pro_plan(), CustomerFactory()
        subscribe(at=MARCH, customer=customer, plan=sold.plan)
        use(customer, sold.metric, 12_500, MARCH + DAY)

        expected = upcoming_invoice(customer=customer, at=MARCH + 2 * DAY).invoice
        sweep(APRIL + HOUR)

        assert (
            sums(expected) == sums(Invoice.objects.get(customer=customer, closes_at=APRIL)) == (15_400, 2_926, 18_326)
        )

    @pytest.mark.parametrize("included", [False, True])
    def test_what_the_checkout_holds_is_the_first_invoice(self, vat, included):
        update_settings({"prices_include_tax": included})
        sold, customer = make_pro_plan(base_cents=1_003), CustomerFactory()
        FixedComponentFactory(price=sold.price, amount_cents=1_003, position=5)

        due_cents = due_today_cents(sold.price, first_bill(sold.price, tax_of_customer(customer)))
        subscribe(at=MARCH, customer=customer, plan=sold.plan)

        assert Invoice.objects.get(customer=customer).total_cents == due_cents > 0

    def test_stripe_gets_the_tax_as_a_line_of_ours(self, vat):
        first_invoice(CustomerFactory())

        sent = claim_invoice_to_send(at=MARCH + HOUR, now=MARCH + HOUR)

        assert [(line.description, line.amount_cents) for line in sent.lines][1:] == [("Tax (19%)", 551)]
        assert sum(line.amount_cents for line in sent.lines) == sent.total_cents == 3_451

    def test_stripe_is_told_of_tax_that_prices_include(self, vat):
        update_settings({"prices_include_tax": True})
        first_invoice(CustomerFactory(), base_cents=11_900)

        sent = claim_invoice_to_send(at=MARCH + HOUR, now=MARCH + HOUR)

        assert [(line.description, line.amount_cents) for line in sent.lines][1:] == [("Tax (19%): $19.00 included", 0)]
        assert sum(line.amount_cents for line in sent.lines) == sent.total_cents == 11_900
