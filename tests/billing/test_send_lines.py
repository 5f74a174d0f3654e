"""Every type of line at Stripe: its amount, its words, our id, and units where Stripe can multiply them exactly."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing import gateway, jobs
from billing.exchange import CustomerToSend, InvoiceToSend, LineToSend
from billing.models import Invoice
from billing.services.send import claim_invoice_to_send
from billing.services.subscribe import subscribe
from billing.services.top_up import buy_pack
from credits.services.definitions import create_definition
from credits.services.grants import grant_credits
from credits.services.packs import create_pack
from plans.models import PriceComponent
from tests.factories import START, CreditDefinitionFactory, CustomerFactory, UsageComponentFactory
from tests.pro_plan import make_pro_plan, sweep, use

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
APRIL = datetime(2026, 4, 1, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("stripe_sandbox")]


def items_at(at_stripe, invoice):
    """What Stripe has of each line of an invoice, by our ids."""
    invoice.refresh_from_db()
    items = at_stripe.v1.invoices.line_items.list(invoice.stripe_invoice_id, {"limit": 100})
    return {item.metadata["candela_line"]: item for item in items.auto_paging_iter()}


def all_types_but_top_up():
    """An invoice of April with a fee, usage, quota, minimum, maximum, negative late usage and a monetary credit."""
    pro, customer = make_pro_plan(quota=1_000), CustomerFactory()
    floor = UsageComponentFactory(price=pro.price, position=2, label="Storage", minimum_cents=700)
    ceiling = UsageComponentFactory(price=pro.price, position=3, label="Mails", maximum_cents=900)
    subscribe(at=MARCH, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 3_000, MARCH + DAY)
    sweep(APRIL + HOUR)
    use(customer, pro.metric, -200, MARCH + DAY, key="late")
    for metric, units in ((pro.metric, 1_500), (floor.metric, 20), (ceiling.metric, 500)):
        use(customer, metric, units, APRIL + DAY)
    definition = create_definition(
        at=START, name="Goodwill", scope="merchant", application_type="monetary", default_amount=Decimal(1_234),
        currency="USD",
    )  # fmt: skip
    grant_credits(at=APRIL + 2 * DAY, customer=customer, definition=definition)
    sweep(MAY + HOUR)
    return Invoice.objects.get(customer=customer, closes_at=MAY)


def test_lines_of_every_type_add_up_to_the_same_total(at_stripe):
    invoice = all_types_but_top_up()
    lines = {line.public_id: line for line in invoice.lines.all()}
    # 29.00 + 75.00 − 50.00 + 1.00 + 6.00 + 25.00 − 16.00 − 10.00 − 12.34
    assert [(line.type, line.amount_cents) for line in lines.values()] == [
        ("fixed", 2_900),
        ("usage", 7_500),
        ("credit", -5_000),
        ("usage", 100),
        ("minimum", 600),
        ("usage", 2_500),
        ("maximum", -1_600),
        ("late_usage", -1_000),
        ("credit", -1_234),
    ]

    jobs.send_invoices(MAY + HOUR)

    items = items_at(at_stripe, invoice)
    sent = at_stripe.v1.invoices.retrieve(invoice.stripe_invoice_id)
    assert (sent.status, sent.total, invoice.total_cents) == ("open", 4_766, 4_766)
    assert {key: (item.amount, item.description) for key, item in items.items()} == {
        key: (line.amount_cents, line.description) for key, line in lines.items()
    }


def test_an_invoice_of_a_pack_goes_with_its_units(at_stripe):
    definition = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False)
    pack = create_pack(
        at=MARCH, name="1,000 calls", definition=definition, amount=Decimal(1_000), price_cents=900, currency="USD"
    )
    invoice = buy_pack(customer=CustomerFactory(), pack=pack, quantity=3, at=MARCH)

    jobs.send_invoices(MARCH)

    (item,) = items_at(at_stripe, invoice).values()
    assert (item.amount, item.quantity, item.pricing.unit_amount_decimal) == (2_700, 3, 900)
    assert item.description == "1,000 calls"


def test_what_is_kept_below_zero_comes_to_nothing_at_stripe():
    pro, customer = make_pro_plan(base_cents=None, quota=None), CustomerFactory()
    subscribe(at=MARCH, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 3_000, MARCH + DAY)
    sweep(APRIL + HOUR)
    use(customer, pro.metric, -2_000, MARCH + DAY, key="late")
    use(customer, pro.metric, 1, APRIL + DAY)
    sweep(MAY + HOUR)
    invoice = Invoice.objects.get(customer=customer, closes_at=MAY)

    # 0.05 − 100.00 + 99.95: a refund line, and nothing that Stripe should have.
    assert [line.amount_cents for line in invoice.lines.all()] == [5, -10_000, 9_995]
    assert (invoice.status, invoice.total_cents, invoice.send_at) == ("paid", 0, None)


class TestUnits:
    def sent(self, **usage):
        """The usage line of a month as it is to go to Stripe."""
        used, terms = usage.pop("used"), usage
        pro, customer = make_pro_plan(base_cents=None, quota=None), CustomerFactory()
        PriceComponent.objects.filter(price=pro.price).update(**terms)
        subscribe(at=MARCH, customer=customer, plan=pro.plan)
        use(customer, pro.metric, used, MARCH + DAY)
        sweep(APRIL + HOUR)
        to_send = claim_invoice_to_send(at=APRIL + HOUR, now=APRIL + HOUR)
        return to_send.lines[0]

    def test_whole_units_at_an_exact_price_go_as_such(self):
        line = self.sent(used=12_500)

        assert (line.amount_cents, line.units, line.unit_amount_cents) == (62_500, 12_500, 5)

    @pytest.mark.parametrize(
        "usage",
        [
            {"used": "2500.5"},
            # 2,501 × 0.05 is 125.05: rounded, so Stripe's product might be another.
            {"used": 2_501, "unit_cost_cents": "0.05"},
            {"used": 1_000_001},
            {
                "used": 2_000,
                "model": "graduated",
                "unit_cost_cents": None,
                "tiers": [{"up_to": "1000", "unit_cost_cents": "5"}, {"up_to": None, "unit_cost_cents": "4"}],
            },
        ],
    )
    def test_all_else_goes_as_an_amount_alone(self, usage):
        line = self.sent(**usage)

        assert (line.units, line.unit_amount_cents) == (None, None)

    def test_a_tiny_price_is_written_without_an_exponent(self, at_stripe):
        ada = gateway.ensure_customer(CustomerToSend(id="cus_a", stripe_id=None, name="Ada", email=""))
        line = LineToSend(
            id="inv_item_1", description="Bytes", amount_cents=100, units=1_000_000, unit_amount_cents=Decimal("1E-4")
        )
        tiny = LineToSend(
            id="inv_item_2", description="Bits", amount_cents=0, units=2, unit_amount_cents=Decimal("0E-12")
        )
        invoice = InvoiceToSend(
            id="inv_1", number="A-1", currency="USD", total_cents=100, customer=None, lines=(line, tiny), retried=False
        )

        stripe_id = gateway.send_invoice(invoice, stripe_customer=ada)

        assert at_stripe.v1.invoices.retrieve(stripe_id).total == 100

    def test_kronur_have_the_decimals_that_stripe_counts(self, at_stripe):
        ada = gateway.ensure_customer(CustomerToSend(id="cus_a", stripe_id=None, name="Ada", email=""))
        line = LineToSend(
            id="inv_item_1", description="Calls", amount_cents=500, units=100, unit_amount_cents=Decimal(5)
        )
        invoice = InvoiceToSend(
            id="inv_1", number="A-1", currency="ISK", total_cents=500, customer=None, lines=(line,), retried=False
        )

        stripe_id = gateway.send_invoice(invoice, stripe_customer=ada)

        # 500 krónur are 50,000 of Stripe's units.
        assert at_stripe.v1.invoices.retrieve(stripe_id).total == 50_000
