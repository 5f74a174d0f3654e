"""Rulings 22, 25 and 26 in currencies with none, two or three decimals: an invoice comes to what Stripe can charge."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing import jobs
from billing.models import CreditNote, Invoice, InvoiceKind, Refund
from billing.sandbox.objects.money import MINIMUM_CHARGE, step_of
from billing.services.cancel import cancel_now
from billing.services.credit_notes import credit_invoice
from billing.services.explain import explain_lines
from billing.services.first_bill import due_today_cents, first_bill
from billing.services.subscribe import subscribe
from billing.services.tax import AppliedTax
from billing.services.tax_settings import update_settings
from billing.services.top_up import buy_pack
from billing.services.upcoming import upcoming_invoice
from billing.services.void import void_invoice
from billing.stripe_amounts import MINIMUM_CHARGES, charge_step, from_stripe, is_chargeable, least_charge, to_stripe
from credits.models import CreditGrant
from credits.services.packs import create_pack
from plans.money import currency_exponent
from plans.refusals import InvalidInput
from tests.factories import CreditDefinitionFactory, CustomerFactory
from tests.pro_plan import assert_books_add_up, bills, make_pro_plan, sweep, use

pytestmark = pytest.mark.django_db

AT = datetime(2026, 4, 1, tzinfo=UTC)
MAY, JUNE = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

ZERO_DECIMAL = [
    "BIF",
    "CLP",
    "DJF",
    "GNF",
    "JPY",
    "KMF",
    "KRW",
    "MGA",
    "PYG",
    "RWF",
    "UGX",
    "VND",
    "VUV",
    "XAF",
    "XOF",
    "XPF",
    "ISK",
]
THREE_DECIMAL = ["BHD", "JOD", "KWD", "OMR", "TND"]


def sold(base_cents, currency, *, customer=None, quota=None, unit_cost_cents="1"):
    """A customer with the plan, from the first of April on."""
    pro = make_pro_plan(base_cents=base_cents, currency=currency, quota=quota, unit_cost_cents=unit_cost_cents)
    customer = customer or CustomerFactory()
    return customer, pro, subscribe(at=AT, customer=customer, plan=pro.plan)


def charge(at=AT):
    jobs.void_invoices(at)
    jobs.send_invoices(at)
    jobs.collect_invoices(at)


def charged(at_stripe):
    """What Stripe has charged, in its units, the first charge first."""
    return [one.amount for one in reversed(at_stripe.v1.charges.list().data)]


class TestNumbers:
    @pytest.mark.parametrize("currency", ZERO_DECIMAL)
    def test_these_have_no_minor_unit(self, currency):
        assert (currency_exponent(currency), charge_step(currency)) == (0, 1)

    @pytest.mark.parametrize("currency", THREE_DECIMAL)
    def test_these_have_three_decimals_and_are_charged_in_tens(self, currency):
        assert (currency_exponent(currency), charge_step(currency), least_charge(currency)) == (3, 10, 10)

    @pytest.mark.parametrize("currency", ["HUF", "TWD"])
    def test_these_are_whole_in_payouts_only(self, currency):
        assert (currency_exponent(currency), charge_step(currency), to_stripe(1234, currency)) == (2, 1, 1234)

    @pytest.mark.parametrize(
        ("cents", "currency", "there"),
        [(500, "JPY", 500), (5, "ISK", 500), (5, "UGX", 500), (1230, "KWD", 1230), (2900, "USD", 2900)],
    )
    def test_an_amount_there_and_back(self, cents, currency, there):
        assert to_stripe(cents, currency) == there
        assert from_stripe(there, currency) == cents

    @pytest.mark.parametrize(
        ("cents", "currency", "can_be"),
        [
            (1234, "KWD", False), (1230, "KWD", True), (10, "KWD", True), (9, "KWD", False), (0, "KWD", False),
            (1, "ISK", True), (1, "UGX", True), (49, "JPY", False), (50, "JPY", True), (17_499, "HUF", False),
        ],
    )  # fmt: skip
    def test_what_can_be_charged_at_once(self, cents, currency, can_be):
        assert is_chargeable(cents, currency) is can_be

    def test_the_sandbox_refuses_by_the_same_numbers(self):
        ours = {currency.lower(): to_stripe(cents, currency) for currency, cents in MINIMUM_CHARGES.items()}
        assert ours == MINIMUM_CHARGE
        for currency in (*ZERO_DECIMAL, *THREE_DECIMAL, "USD", "HUF", "TWD"):
            assert step_of(currency.lower()) == to_stripe(charge_step(currency), currency), currency


class TestInvoice:
    @pytest.mark.parametrize(
        ("base_cents", "total", "lines"),
        [
            (1230, 1230, [("fixed", 1, 1230)]),
            (1234, 1230, [("fixed", 1, 1234), ("rounding", 1, -4)]),
            (1235, 1240, [("fixed", 1, 1235), ("rounding", 1, 5)]),
            (1239, 1240, [("fixed", 1, 1239), ("rounding", 1, 1)]),
            (14, 10, [("fixed", 1, 14), ("rounding", 1, -4)]),
        ],
    )
    def test_in_dinars_is_rounded_to_ten_fils_and_charged(
        self, stripe_sandbox, at_stripe, give_card, base_cents, total, lines
    ):
        customer = CustomerFactory()
        give_card(customer)
        sold(base_cents, "KWD", customer=customer)
        charge()

        assert bills(customer) == [("paid", total, lines)]
        assert charged(at_stripe) == [total]
        assert_books_add_up(AT)

    @pytest.mark.parametrize(("currency", "there"), [("JPY", 2_900), ("ISK", 290_000), ("UGX", 290_000)])
    def test_in_whole_units_is_exact_and_charged_in_stripes_units(
        self, stripe_sandbox, at_stripe, give_card, currency, there
    ):
        customer = CustomerFactory()
        give_card(customer)
        sold(2_900, currency, customer=customer)
        charge()

        assert bills(customer) == [("paid", 2_900, [("fixed", 1, 2_900)])]
        assert charged(at_stripe) == [there]

    def test_is_rounded_after_tax_which_stays_as_it_is(self):
        """1.234 and 5 % (61.7, so 0.062) are 1.296; rounded 1.300."""
        update_settings({"default_tax_rate": Decimal("0.05")})
        customer, _, _ = sold(1234, "KWD")

        invoice = Invoice.objects.get()
        assert (invoice.subtotal_cents, invoice.tax_cents, invoice.total_cents) == (1_238, 62, 1_300)
        assert bills(customer)[0][2] == [("fixed", 1, 1_234), ("rounding", 1, 4)]
        assert_books_add_up(AT)

    def test_in_a_price_that_includes_tax_is_rounded_too(self):
        """In 1.234 are 5 %: 1234 × 5 / 105 = 58.76, so 0.059."""
        update_settings({"default_tax_rate": Decimal("0.05"), "prices_include_tax": True})
        sold(1234, "KWD")

        invoice = Invoice.objects.get()
        assert (invoice.subtotal_cents, invoice.tax_cents, invoice.total_cents) == (1_171, 59, 1_230)
        assert_books_add_up(AT)

    def test_below_ten_fils_is_carried_exactly(self):
        """0.004 of April and 0.013 of May are 0.017; rounded 0.020."""
        customer, pro, _ = sold(None, "KWD")
        use(customer, pro.metric, 4, AT + DAY)
        sweep(MAY + HOUR)
        assert bills(customer) == [("carried", 4, [("usage", 4, 4)])]

        use(customer, pro.metric, 13, MAY + DAY)
        sweep(JUNE + HOUR)

        assert bills(customer)[-1] == ("issued", 20, [("usage", 13, 13), ("brought_forward", 1, 4), ("rounding", 1, 3)])
        assert_books_add_up(JUNE + HOUR)

    def test_that_is_upcoming_is_rounded_like_the_real_one(self):
        customer, _, _ = sold(1234, "KWD")

        tried = upcoming_invoice(customer=customer, at=AT + DAY)

        assert (tried.invoice.total_cents, [line.type for line in tried.lines]) == (1_230, ["fixed", "rounding"])

    def test_says_how_it_was_rounded(self):
        sold(1234, "KWD")

        rounding = explain_lines(invoice=Invoice.objects.get(), at=AT)[-1]

        assert rounding.line.type == "rounding"

    def test_that_replaces_a_void_one_is_rounded_once(self):
        customer, _, _ = sold(1234, "KWD")

        void_invoice(invoice=Invoice.objects.get(), reason="Wrong.", at=AT, rebill=True)

        assert bills(customer)[-1] == ("issued", 1_230, [("fixed", 1, 1_234), ("rounding", 1, -4)])
        assert_books_add_up(AT)

    def test_of_a_pack_is_rounded(self):
        definition = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False)
        pack = create_pack(
            at=AT, name="Pack", definition=definition, amount=Decimal(10), price_cents=1_234, currency="KWD"
        )
        customer = CustomerFactory()

        assert buy_pack(customer=customer, pack=pack, at=AT).total_cents == 1_230
        assert bills(customer)[0][2] == [("top_up", 1, 1_234), ("rounding", 1, -4)]
        assert_books_add_up(AT)


class TestCreditNote:
    @pytest.fixture
    def paid(self, stripe_sandbox, give_card):
        """A paid invoice of 1.230."""
        customer = CustomerFactory()
        give_card(customer)
        sold(1234, "KWD", customer=customer)
        charge()
        return Invoice.objects.get()

    def test_gives_back_in_steps_and_keeps_the_rest_as_credit(self, paid, at_stripe):
        """Of 0.123 go 0.120 back and 0.003 are kept; of the remaining 1.107 go 1.100 back and 0.007 are kept."""
        for _ in range(2):
            cents = 123 if not CreditNote.objects.exists() else None
            credit_invoice(invoice=paid, reason="Sorry.", amount_cents=cents, at=AT + HOUR)
            jobs.make_refunds(AT + HOUR)

        placed = CreditNote.objects.order_by("pk").values_list("total_cents", "source_cents", "credit_cents")
        assert list(placed) == [(123, 120, 3), (1_107, 1_100, 7)]
        assert [one.amount for one in reversed(at_stripe.v1.refunds.list().data)] == [120, 1_100]
        assert {one.status for one in Refund.objects.all()} == {"succeeded"}
        assert sorted(grant.initial_amount for grant in CreditGrant.objects.filter(currency="KWD")) == [3, 7]
        assert_books_add_up(AT + HOUR)

    def test_below_a_step_is_kept_as_credit_altogether(self, paid):
        credit_invoice(invoice=paid, reason="Sorry.", amount_cents=7, at=AT + HOUR)

        assert not Refund.objects.exists()
        assert CreditGrant.objects.get(currency="KWD").initial_amount == 7
        assert_books_add_up(AT + HOUR)

    @pytest.mark.parametrize(("currency", "there"), [("JPY", 900), ("ISK", 90_000), ("UGX", 90_000)])
    def test_in_whole_units_goes_back_exactly(self, stripe_sandbox, at_stripe, give_card, currency, there):
        customer = CustomerFactory()
        give_card(customer)
        sold(2_900, currency, customer=customer)
        charge()

        credit_invoice(invoice=Invoice.objects.get(), reason="Sorry.", amount_cents=900, at=AT + HOUR)
        jobs.make_refunds(AT + HOUR)

        assert [one.amount for one in at_stripe.v1.refunds.list().data] == [there]
        assert_books_add_up(AT + HOUR)

    def test_leaves_what_can_be_charged_of_an_unpaid_invoice(self, stripe_sandbox, at_stripe, give_card):
        customer, _, _ = sold(1234, "KWD")
        charge()
        invoice = Invoice.objects.get()
        with pytest.raises(InvalidInput, match=r"amountCents: must come to a multiple of KWD\s0\.010"):
            credit_invoice(invoice=invoice, reason="Sorry.", amount_cents=123, at=AT + HOUR)
        assert not CreditNote.objects.exists()

        credit_invoice(invoice=invoice, reason="Sorry.", amount_cents=120, at=AT + HOUR)
        give_card(customer, at=AT + HOUR)
        charge(AT + HOUR)
        charge(AT + HOUR)

        assert (bills(customer)[0][0], charged(at_stripe)) == ("paid", [1_110])
        assert_books_add_up(AT + HOUR)


class TestCancel:
    def test_of_an_unpaid_period_leaves_what_can_be_charged(self):
        """15 of 30 days of 1.230 are 0.615; 0.610 are credited, and 0.620 remain."""
        _, _, subscription = sold(1230, "KWD")

        cancel_now(subscription=subscription, prorate=True, at=AT + 15 * DAY)

        assert Invoice.objects.get(kind=InvoiceKind.CYCLE).open_cents == 620
        assert_books_add_up(AT + 15 * DAY)

    def test_of_a_paid_period_gives_back_in_steps(self, stripe_sandbox, give_card):
        """Of 0.615 go 0.610 back and 0.005 are kept."""
        customer = CustomerFactory()
        give_card(customer)
        _, _, subscription = sold(1230, "KWD", customer=customer)
        charge()

        cancel_now(subscription=subscription, prorate=True, at=AT + 15 * DAY)

        note = CreditNote.objects.get()
        assert (note.total_cents, note.source_cents, note.credit_cents) == (615, 610, 5)
        assert_books_add_up(AT + 15 * DAY)


def test_a_checkout_holds_what_the_first_invoice_will_come_to():
    # 29.004 KWD cannot be charged; the invoice of it is rounded to 29.000, 29.005 to 29.010.
    prices = [make_pro_plan(base_cents=cents, currency="KWD").price for cents in (29_004, 29_005)]

    assert [due_today_cents(price, first_bill(price, AppliedTax())) for price in prices] == [29_000, 29_010]


def test_a_late_correction_leaves_an_unpaid_last_invoice_to_be_charged():
    # 10,000 calls of 1 fils are 10.000 KWD; 333 fewer would leave 9.667, which cannot be charged.
    customer, pro, subscription = sold(None, "KWD")
    use(customer, pro.metric, 10_000, AT + DAY)
    cancel_now(subscription=subscription, at=AT + 2 * DAY)
    sweep(AT + 3 * DAY)
    use(customer, pro.metric, -333, AT + DAY, key="correction")

    jobs.look_for_late_usage(AT + 40 * DAY)

    assert [(status, total) for status, total, _ in bills(customer)] == [("issued", 10_000)]
    assert CreditGrant.objects.get(customer=customer, source="refund").initial_amount == 333
    assert_books_add_up(AT + 40 * DAY)
