"""What a carried balance is made of and where it goes: by what is open of it, in its currency, after tax."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.models import Invoice
from billing.services.credit_notes import credit_invoice
from billing.services.subscribe import subscribe
from billing.services.tax_settings import update_settings
from credits.services.definitions import create_definition
from credits.services.grants import grant_credits
from tests.factories import START, CustomerFactory
from tests.pro_plan import assert_books_add_up, bills, make_pro_plan, sweep, use

MAY, JUNE, JULY, AUGUST = (datetime(2026, month, 1, tzinfo=UTC) for month in (5, 6, 7, 8))
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def books_add_up():
    yield
    assert_books_add_up(at=AUGUST)


@pytest.fixture
def ada():
    return CustomerFactory(invoice_prefix="ADA")


def metered(**terms):
    return make_pro_plan(base_cents=None, quota=None, **terms)


def test_ruling_26_the_total_with_its_tax_decides_whether_it_can_be_charged(ada):
    update_settings({"default_tax_rate": Decimal("0.19")})
    sold = metered()
    subscribe(at=MAY, customer=ada, plan=sold.plan)
    use(ada, sold.metric, 9, MAY + DAY)

    sweep(JUNE + HOUR)

    # 45 are below the 50 that Stripe charges at least; with 8.55 of tax they are 54.
    assert bills(ada) == [("issued", 54, [("usage", 9, 45)])]


@pytest.mark.parametrize(("small", "large"), [("USD", "EUR"), ("EUR", "USD")])
def test_a_balance_waits_for_an_invoice_in_its_own_currency(ada, small, large):
    carried, charged = metered(currency=small), metered(currency=large)
    subscribe(at=MAY, customer=ada, plan=carried.plan)
    subscribe(at=MAY + HOUR, customer=ada, plan=charged.plan, beside_others=True)
    use(ada, carried.metric, 6, MAY + DAY)
    use(ada, charged.metric, 20, JUNE + DAY)
    sweep(JUNE + HOUR)

    sweep(JULY + HOUR)

    shown = [bill for bill in bills(ada) if bill[0] != "skipped"]
    assert shown == [("carried", 30, [("usage", 6, 30)]), ("issued", 100, [("usage", 20, 100)])]
    assert Invoice.objects.get(number="ADA-001").carried_into is None


def test_what_credit_notes_left_of_several_invoices_is_brought_forward_in_their_order(ada):
    sold = metered()
    subscribe(at=MAY, customer=ada, plan=sold.plan)
    for first, units in ((MAY, 100), (JUNE, 200), (JULY, 300)):
        use(ada, sold.metric, units, first + DAY)
    sweep(JULY + HOUR)
    # 500 and 1,000, of which 20 and 30 are left.
    credit_invoice(invoice=Invoice.objects.get(number="ADA-002"), reason="x", amount_cents=970, at=JULY + DAY)
    credit_invoice(invoice=Invoice.objects.get(number="ADA-001"), reason="x", amount_cents=480, at=JULY + DAY)

    sweep(AUGUST + HOUR)

    latest = Invoice.objects.get(number="ADA-003")
    assert [(line.description, line.amount_cents) for line in latest.lines.order_by("position")] == [
        ("Calls", 1_500),
        ("Balance brought forward from ADA-001", 20),
        ("Balance brought forward from ADA-002", 30),
    ]
    assert latest.total_cents == 1_550


def test_credits_of_money_pay_for_a_balance_that_is_brought_forward(ada):
    sold = metered()
    subscribe(at=MAY, customer=ada, plan=sold.plan)
    use(ada, sold.metric, 6, MAY + DAY)
    use(ada, sold.metric, 20, JUNE + DAY)
    sweep(JUNE + HOUR)
    definition = create_definition(
        at=START, name="Goodwill", scope="merchant", application_type="monetary", default_amount=Decimal(1_000),
        currency="USD",
    )  # fmt: skip
    goodwill = grant_credits(at=JUNE + DAY, customer=ada, definition=definition)

    sweep(JULY + HOUR)

    assert bills(ada)[-1] == ("paid", 0, [("usage", 20, 100), ("brought_forward", 1, 30), ("credit", 1, -130)])
    goodwill.refresh_from_db()
    assert goodwill.ledger_remaining == 870
