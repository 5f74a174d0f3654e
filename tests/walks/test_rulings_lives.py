"""Rulings 19 to 33 in numbers: what customers are billed for, from the subscription to the invoice. Those that need
nothing but their own rule are beside it in tests/billing; these have tax, or several rules together."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.exchange import Paid
from billing.models import CreditNote, Invoice, InvoiceLine
from billing.services.cancel import cancel_now
from billing.services.change import OtherCurrency, change_now
from billing.services.close_periods import close_periods, due_subscriptions
from billing.services.collect import record_payment
from billing.services.subscribe import subscribe
from billing.services.tax_settings import update_settings
from credits.models import CreditGrant
from credits.services.definitions import create_definition
from credits.services.grants import grant_credits
from credits.services.plan_versions import publish_version
from plans.models import PriceComponent
from tests.billing.lives import in_advance, invoices, lines_of, live, run_sweeps
from tests.factories import START, CustomerFactory, FixedComponentFactory, PlanFactory, PriceFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, remaining, use
from tests.seat_plan import give_seat, make_seat_plan, subscribed

APRIL, MAY, JUNE, JULY, AUGUST = (datetime(2026, month, 1, tzinfo=UTC) for month in (4, 5, 6, 7, 8))
MAY_11 = datetime(2026, 5, 11, 9, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def books_add_up():
    yield
    run_sweeps(AUGUST)
    assert_books_add_up(at=AUGUST)


@pytest.fixture
def vat():
    return update_settings({"default_tax_rate": Decimal("0.19")})


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def ada():
    return CustomerFactory(invoice_prefix="ADA")


def sums(invoice):
    return invoice.subtotal_cents, invoice.tax_cents, invoice.total_cents


def bill(customer, closes_at):
    return Invoice.objects.shown().get(customer=customer, closes_at=closes_at)


def pay(number, at):
    invoice = Invoice.objects.get(number=number)
    paid = Paid(reference=f"in_{number}", amount_cents=invoice.open_cents)
    record_payment(invoice=invoice.public_id, paid=paid, at=at)


def give_money(customer, cents):
    definition = create_definition(
        at=START, name="Goodwill", scope="merchant", application_type="monetary", default_amount=Decimal(cents),
        currency="USD",
    )  # fmt: skip
    return grant_credits(at=MAY, customer=customer, definition=definition)


def fees(*cents, currency="USD"):
    """A plan of monthly fees."""
    plan = PlanFactory()
    price = PriceFactory(plan=plan, fee=None, currency=currency)
    for position, amount_cents in enumerate(cents):
        FixedComponentFactory(price=price, amount_cents=amount_cents, position=position)
    return plan


def test_ruling_19_the_first_period_costs_the_full_price_from_its_instant_on(pro, ada):
    subscribe(at=datetime(2026, 5, 31, 23, 59, tzinfo=UTC), customer=ada, plan=pro.plan)

    run_sweeps(JULY)

    # The anchor is the 31st, so June has its last day.
    assert invoices(ada) == [
        ("cycle", datetime(2026, 5, 31, 23, 59, tzinfo=UTC), 2_900),
        ("cycle", datetime(2026, 6, 30, tzinfo=UTC), 2_900),
    ]


def test_ruling_20_an_invoice_has_the_next_periods_fee_and_the_past_periods_usage(pro, ada):
    subscribe(at=MAY, customer=ada, plan=pro.plan)
    use(ada, pro.metric, 10_002, MAY_11)

    run_sweeps(JUNE + HOUR)

    fee, usage, credit = bill(ada, JUNE).lines.order_by("position")
    assert (fee.billing_period_start_at, fee.billing_period_end_at, fee.usage_period_start_at) == (JUNE, JULY, None)
    for line in (usage, credit):
        assert (line.billing_period_start_at, line.billing_period_end_at) == (JUNE, JULY)
        assert (line.usage_period_start_at, line.usage_period_end_at) == (MAY, JUNE)
    assert (usage.quantity, usage.amount_cents, credit.amount_cents) == (10_002, 50_010, -50_000)


def test_ruling_21_usage_waits_an_hour_for_late_events_and_fees_do_not(pro, ada):
    subscribe(at=MAY, customer=ada, plan=pro.plan)
    fee_alone = CustomerFactory()
    subscribe(at=MAY, customer=fee_alone, plan=fees(2_900))

    run_sweeps(JUNE)
    assert (bill(ada, JUNE).status, bill(fee_alone, JUNE).status) == ("draft", "issued")
    use(ada, pro.metric, 10_001, JUNE - HOUR)
    run_sweeps(JUNE + HOUR - timedelta(microseconds=1))
    assert bill(ada, JUNE).status == "draft"
    run_sweeps(JUNE + HOUR)

    assert bill(ada, JUNE).total_cents == 2_905


def test_ruling_21_a_change_first_finalizes_the_drafts(pro, ada):
    big = make_pro_plan(base_cents=9_900, beside=pro)
    subscription = subscribe(at=MAY, customer=ada, plan=pro.plan)
    use(ada, pro.metric, 12_000, MAY_11)
    close_periods(subscriptions=due_subscriptions(JUNE), at=JUNE)
    soon = JUNE + HOUR / 2

    change_now(subscription=subscription, price=big.price, at=soon)

    june, change = bill(ada, JUNE), bill(ada, soon)
    assert (june.status, june.finalized_at, june.total_cents) == ("issued", soon, 12_900)
    assert (june.number, change.number) == ("ADA-002", "ADA-003")
    assert change.total_cents == 9_900 - 2_900


def test_ruling_22_charges_credits_minimum_money_tax_and_total_come_in_this_order(vat, ada):
    sold = make_pro_plan(base_cents=None, quota=900)
    sold.price.components.update(minimum_cents=2_000)
    give_money(ada, 500)
    subscribe(at=MAY, customer=ada, plan=sold.plan)
    use(ada, sold.metric, 1_000, MAY_11)

    run_sweeps(JUNE + HOUR)

    # 1,500 are left to be taxed: 285.
    june = bill(ada, JUNE)
    assert lines_of(june) == [("usage", 5_000), ("credit", -4_500), ("minimum", 1_500), ("credit", -500)]
    assert sums(june) == (1_500, 285, 1_785)


def test_ruling_22_below_zero_an_invoice_is_at_0_and_the_rest_pays_for_the_next(ada):
    sold = make_pro_plan(base_cents=None, quota=None)
    subscribe(at=APRIL, customer=ada, plan=sold.plan)
    use(ada, sold.metric, 1_000, APRIL + DAY)
    run_sweeps(MAY + HOUR)
    use(ada, sold.metric, -900, APRIL + DAY, key="too many")
    use(ada, sold.metric, 20, MAY_11)
    run_sweeps(JUNE + HOUR)
    use(ada, sold.metric, 1_000, JUNE + DAY)
    run_sweeps(JULY + HOUR)

    assert lines_of(bill(ada, JUNE)) == [("usage", 100), ("late_usage", -4_500), ("refund", 4_400)]
    assert lines_of(bill(ada, JULY)) == [("usage", 5_000), ("credit", -4_400)]
    assert [cents for _, _, cents in invoices(ada)] == [5_000, 0, 600]
    assert CreditGrant.objects.get(customer=ada, source="refund").initial_amount == 4_400


@pytest.mark.parametrize(
    ("currency", "amounts", "taxes", "rounding"),
    [
        ("USD", [1_003, 1_003, 1_003], [191, 191, 191], 0),  # 190.57 each; 3,009 at once would be 571.71, so 572
        ("JPY", [995, 50], [189, 10], 0),  # 189.05 and 9.5
        ("KWD", [12_345, 1_250], [2_346, 238], 1),  # 2,345.55 and 237.5 fils; 16,179 in all, charged in tens
    ],
)
def test_ruling_25_tax_is_rounded_once_per_line_half_away_from_zero(vat, ada, currency, amounts, taxes, rounding):
    subscribe(at=MAY, customer=ada, plan=fees(*amounts, currency=currency))

    invoice = bill(ada, MAY)
    assert list(invoice.lines.order_by("position").values_list("amount_cents", "tax_cents")) == [
        *zip(amounts, taxes, strict=True),
        *([(rounding, 0)] if rounding else []),
    ]
    assert sums(invoice) == (sum(amounts) + rounding, sum(taxes), sum(amounts) + sum(taxes) + rounding)


def test_ruling_25_tax_that_prices_include_is_rounded_once_per_line_too(vat, ada):
    update_settings({"prices_include_tax": True})

    subscribe(at=MAY, customer=ada, plan=fees(1_000, 1_000))

    # 1,000 × 19 / 119 = 159.66 each; 2,000 at once would be 319.33, so 319.
    assert sums(bill(ada, MAY)) == (1_680, 320, 2_000)


@pytest.mark.parametrize(
    ("unit_cost", "units", "cents"),
    [
        ("0.5", 1_001, 501),  # 500.5
        ("0.35", 207, 72),  # 72.45; 207 units of 0.35, each rounded, would be nothing
        ("0.000001", 123_456_789, 123),  # 123.456789
    ],
)
def test_ruling_25_usage_is_multiplied_first_and_rounded_once(ada, unit_cost, units, cents):
    sold = make_pro_plan(base_cents=None, quota=None, unit_cost_cents=unit_cost)
    subscribe(at=MAY, customer=ada, plan=sold.plan)
    use(ada, sold.metric, units, MAY_11)

    run_sweeps(JUNE + HOUR)

    assert bill(ada, JUNE).total_cents == cents


def test_ruling_25_a_change_of_currency_is_refused(pro, ada):
    subscription = subscribe(at=MAY, customer=ada, plan=pro.plan)
    euro = make_pro_plan(currency="EUR", beside=pro)

    with pytest.raises(OtherCurrency, match="Cancel the subscription and subscribe anew"):
        change_now(subscription=subscription, price=euro.price, at=MAY_11)


@pytest.mark.parametrize(
    ("included", "carried", "june"),
    [
        # 30 and 5.7; then 100 and 19, and the 36 without further tax.
        (False, (30, 6, 36), (136, 19, 155)),
        # 30 × 19 / 119 = 4.79; then 100 with 15.97, and the 30 without further tax.
        (True, (25, 5, 30), (114, 16, 130)),
    ],
)
def test_ruling_26_a_balance_that_is_brought_forward_is_not_taxed_again(vat, ada, included, carried, june):
    update_settings({"prices_include_tax": included})
    sold = make_pro_plan(base_cents=None, quota=None)
    subscribe(at=APRIL, customer=ada, plan=sold.plan)
    use(ada, sold.metric, 6, APRIL + DAY)
    use(ada, sold.metric, 20, MAY_11)

    run_sweeps(MAY + HOUR)
    run_sweeps(JUNE + HOUR)

    assert (bill(ada, MAY).status, sums(bill(ada, MAY))) == ("carried", carried)
    assert sums(bill(ada, JUNE)) == june
    assert lines_of(bill(ada, JUNE)) == [("usage", 100), ("brought_forward", carried[2])]
    forward = bill(ada, JUNE).lines.get(type="brought_forward")
    assert (forward.taxable_cents, forward.tax_rate, forward.tax_cents) == (0, None, 0)


def test_ruling_27_without_a_card_invoices_wait_and_the_subscription_goes_on(pro, ada):
    subscribe(at=MAY, customer=ada, plan=pro.plan)
    use(ada, pro.metric, 12_000, JUNE + DAY)

    run_sweeps(JULY + HOUR)

    waiting = Invoice.objects.filter(customer=ada).order_by("closes_at")
    assert [(one.status, one.open_cents) for one in waiting] == [
        ("issued", 2_900),
        ("issued", 2_900),
        ("issued", 12_900),
    ]
    assert live(ada).status == "active"
    assert remaining(ada, pro.metric, JULY + HOUR) == 10_000


def test_ruling_28_change_and_back_on_one_day_nets_to_zero_with_its_tax(vat, pro, ada):
    big = make_pro_plan(base_cents=9_900, quota=20_000, beside=pro)
    undisturbed = CustomerFactory()
    for customer in (ada, undisturbed):
        subscribe(at=MAY, customer=customer, plan=pro.plan)

    there = change_now(subscription=live(ada), price=big.price, at=MAY_11)
    back = change_now(subscription=live(ada), price=pro.price, at=MAY_11 + HOUR)
    run_sweeps(JULY + HOUR)

    # 21 of 31 days: 6,706 and 1,965. The tax is 1,274.14 − 373.35.
    assert in_advance(there.invoice) == [("fixed", 6_706), ("proration", -1_965)]
    assert sums(Invoice.objects.get(pk=there.invoice.pk)) == (4_741, 901, 5_642)
    assert in_advance(back.invoice) == [("fixed", 1_965), ("proration", -6_706)]
    # The 4,741 that are kept pay for June's 2,900 and for 1,841 of July's: 1,059 and 201 are left.
    assert [cents for _, _, cents in invoices(ada)] == [3_451, 5_642, 0, 0, 1_260]
    assert sum(cents for _, _, cents in invoices(ada)) == sum(cents for _, _, cents in invoices(undisturbed)) == 10_353


def test_ruling_28_the_credit_has_the_rate_that_was_paid(vat, pro, ada):
    big = make_pro_plan(base_cents=9_900, beside=pro)
    subscription = subscribe(at=MAY, customer=ada, plan=pro.plan)
    update_settings({"default_tax_rate": Decimal("0.16")})

    change = change_now(subscription=subscription, price=big.price, at=MAY_11)

    # 6,706 × 16 % = 1,072.96; 1,965 × 19 % = 373.35.
    taxes = InvoiceLine.objects.filter(invoice=change.invoice, tax_cents__gt=-1_000).exclude(tax_cents=0)
    assert dict(taxes.values_list("type", "tax_cents")) == {"fixed": 1_073, "proration": -373}


def test_ruling_28_minimum_maximum_and_included_units_have_the_share_of_a_part(ada):
    low = make_pro_plan(base_cents=None, quota=None)
    high = make_pro_plan(base_cents=None, quota=None, unit_cost_cents="7", beside=low)
    PriceComponent.objects.filter(price=low.price).update(minimum_cents=3_000, included_units=300)
    PriceComponent.objects.filter(price=high.price).update(maximum_cents=6_000, included_units=600)
    # April has 30 days: 10 of them on the first price, 20 on the second.
    subscription = subscribe(at=APRIL, customer=ada, plan=low.plan)
    use(ada, low.metric, 150, APRIL + DAY)
    changed_at = datetime(2026, 4, 11, 12, tzinfo=UTC)

    change = change_now(subscription=subscription, price=high.price, at=changed_at)
    use(ada, low.metric, 1_400, changed_at + DAY)
    run_sweeps(MAY + HOUR)

    # 150 − 100 = 50 × 5 = 250, at least 1,000; 1,400 − 400 = 1,000 × 7 = 7,000, at most 4,000.
    assert lines_of(change.invoice) == [("usage", 250), ("minimum", 750)]
    assert lines_of(bill(ada, MAY)) == [("usage", 7_000), ("maximum", -3_000)]


class TestRuling29:
    """A fee of 2,900 for May, cancelled on the 11th: 2,900 × 21 / 31 = 1,964.52 → 1,965 are not used."""

    @pytest.mark.parametrize(
        ("included", "tax", "total"),
        [
            (False, 373, 2_338),  # of 551: 373.35
            (True, 314, 1_965),  # of the 463 in 2,900: 313.73
        ],
    )
    def test_ruling_29_the_unused_days_come_back_with_the_tax_of_their_invoice(
        self, vat, pro, ada, included, tax, total
    ):
        update_settings({"prices_include_tax": included})
        subscription = subscribe(at=MAY, customer=ada, plan=pro.plan)
        pay("ADA-001", MAY + DAY)
        # What the seller charges by now is of no account.
        update_settings({"default_tax_rate": Decimal("0.07")})

        cancel_now(subscription=subscription, at=MAY_11, prorate=True)

        note = CreditNote.objects.get()
        assert (note.tax_cents, note.total_cents, note.source_cents) == (tax, total, total)

    def test_ruling_29_what_credits_of_money_paid_goes_back_to_them(self, vat, pro, ada):
        money = give_money(ada, 1_000)
        subscription = subscribe(at=MAY, customer=ada, plan=pro.plan)
        assert sums(bill(ada, MAY)) == (1_900, 361, 2_261)
        pay("ADA-001", MAY + DAY)

        cancel_now(subscription=subscription, at=MAY_11, prorate=True)

        # Of the 1,000 a share of 677 (677.59, rounded down), of the 361 one of 245 (244.61).
        note = CreditNote.objects.get()
        assert (note.monetary_credit_cents, note.tax_cents, note.source_cents) == (677, 245, 1_965 - 677 + 245)
        money.refresh_from_db()
        assert money.ledger_remaining == 677

    def test_ruling_29_never_more_than_was_paid(self, vat, pro, ada):
        subscription = subscribe(at=MAY, customer=ada, plan=pro.plan)

        cancel_now(subscription=subscription, at=MAY_11, prorate=True)
        left = Invoice.objects.get(number="ADA-001").open_cents
        pay("ADA-001", MAY_11 + DAY)

        # Nothing was paid by then, so nothing goes back; 3,451 − 2,338 are still due.
        note = CreditNote.objects.get()
        assert (note.source_cents, note.due_cents, left) == (0, 2_338, 1_113)

    def test_ruling_29_bought_and_given_units_stay_and_the_plans_end(self, pro, ada):
        subscription = subscribe(at=MAY, customer=ada, plan=pro.plan)
        pool = create_definition(
            at=START, name="Extra", scope="merchant", application_type="usage", default_amount=Decimal(300),
            feature=pro.feature,
        )  # fmt: skip
        grant_credits(at=MAY, customer=ada, definition=pool, source="topup")
        use(ada, pro.metric, 10_100, MAY + DAY)

        cancel_now(subscription=subscription, at=MAY_11)
        run_sweeps(MAY_11 + HOUR)

        # The quota ends first and pays 10,000; the bought 300 pay 100.
        assert remaining(ada, pro.metric, MAY_11 + 2 * HOUR) == 200


def test_ruling_31_the_first_fee_is_invoiced_at_the_end_of_the_trial_with_its_tax(vat, pro, ada):
    subscribe(at=datetime(2026, 5, 1, 14, 30, tzinfo=UTC), customer=ada, plan=pro.plan, trial_days=14)
    use(ada, pro.metric, 25_000, MAY + 2 * DAY)
    end = datetime(2026, 5, 16, tzinfo=UTC)

    run_sweeps(end - timedelta(microseconds=1))
    assert invoices(ada) == []
    run_sweeps(end + HOUR)

    assert invoices(ada) == [("cycle", end, 3_451)]
    assert remaining(ada, pro.metric, end + HOUR) == 10_000


def test_ruling_32_an_added_seat_is_taxed_by_itself(vat):
    subscription = subscribed(make_seat_plan(), at=datetime(2026, 3, 1, tzinfo=UTC), seats=2)

    give_seat(subscription, "ann", datetime(2026, 3, 10, 15, 30, tzinfo=UTC))

    # 1,000 × 22 / 31 = 709.68 → 710; 134.9 → 135.
    assert sums(Invoice.objects.get(kind="seats")) == (710, 135, 845)


def test_ruling_33_who_was_sold_a_version_keeps_it_when_a_dearer_one_is_made(pro, ada):
    subscribe(at=MAY, customer=ada, plan=pro.plan)
    made = publish_version(at=MAY_11, base=pro.plan, commit_message="Dearer")
    PriceComponent.objects.filter(price__plan=made, kind="fixed").update(amount_cents=4_900)
    later = CustomerFactory()
    subscribe(at=JUNE, customer=later, plan=made)

    run_sweeps(JUNE + HOUR)

    assert invoices(ada)[-1] == ("cycle", JUNE, 2_900)
    assert invoices(later) == [("cycle", JUNE, 4_900)]
