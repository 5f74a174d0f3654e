"""Ruling 26: what is too little to be charged is carried to the next invoice."""

from datetime import UTC, datetime, timedelta

import pytest

from billing.books import check_books
from billing.models import Invoice
from billing.services.hold_invoice import InvoiceIsCarried
from billing.services.subscribe import subscribe
from billing.services.upcoming import upcoming_invoice
from billing.services.void import void_invoice
from tests.factories import CustomerFactory
from tests.pro_plan import bills, make_pro_plan, sweep, use

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
FEBRUARY, MARCH, APRIL = (datetime(2026, month, day, 1, tzinfo=UTC) for month, day in ((2, 28), (3, 31), (4, 30)))
DAY = timedelta(days=1)

pytestmark = pytest.mark.django_db


@pytest.fixture
def pro():
    return make_pro_plan(base_cents=None, quota=None)


@pytest.fixture
def ada(pro):
    """0.30 of February."""
    customer = CustomerFactory(invoice_prefix="ADA")
    subscribe(at=AT, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 6, AT + DAY)
    sweep(FEBRUARY)
    return customer


@pytest.fixture(autouse=True)
def books_add_up():
    yield
    assert [offender for finding in check_books(at=APRIL) for offender in finding.offenders] == []


def number(text):
    return Invoice.objects.get(number=text)


def test_ruling_26_below_the_minimum_charge_it_is_carried_and_not_pushed(ada):
    carried = number("ADA-001")

    assert (carried.status, carried.total_cents, carried.send_at, carried.open_cents) == ("carried", 30, None, 30)


def test_ruling_26_the_next_invoice_brings_the_balance_forward(ada, pro):
    use(ada, pro.metric, 20, FEBRUARY + DAY)

    sweep(MARCH)

    assert bills(ada)[-1] == ("issued", 130, [("usage", 20, 100), ("brought_forward", 1, 30)])
    later = number("ADA-002")
    assert later.lines.get(type="brought_forward").description == "Balance brought forward from ADA-001"
    carried = number("ADA-001")
    assert (carried.carried_into, carried.open_cents, carried.status) == (later, 0, "carried")


def test_small_balances_add_up_until_they_can_be_charged(ada, pro):
    use(ada, pro.metric, 2, FEBRUARY + DAY)
    sweep(MARCH)
    use(ada, pro.metric, 2, MARCH + DAY)
    sweep(APRIL)

    assert [(status, total) for status, total, _ in bills(ada)] == [("carried", 30), ("carried", 40), ("issued", 50)]
    assert bills(ada)[-1][2] == [("usage", 2, 10), ("brought_forward", 1, 40)]


def test_nothing_is_billed_for_a_balance_alone(ada):
    sweep(MARCH)

    assert len(bills(ada)) == 2
    assert bills(ada)[-1][0] == "skipped"
    assert number("ADA-001").carried_into is None


def test_the_upcoming_invoice_shows_it(ada, pro):
    use(ada, pro.metric, 20, FEBRUARY + DAY)

    tried = upcoming_invoice(customer=ada, at=FEBRUARY + 2 * DAY)

    assert tried.invoice.total_cents == 130


def test_a_void_gives_the_balance_back_to_be_carried_again(ada, pro):
    use(ada, pro.metric, 20, FEBRUARY + DAY)
    sweep(MARCH)
    with pytest.raises(InvoiceIsCarried, match="ADA-002"):
        void_invoice(invoice=number("ADA-001"), reason="x", at=MARCH)

    replacement = void_invoice(invoice=number("ADA-002"), reason="x", at=MARCH, rebill=True)

    assert replacement.total_cents == 130
    assert number("ADA-001").carried_into == replacement


def test_a_carried_invoice_can_be_void(ada, pro):
    void_invoice(invoice=number("ADA-001"), reason="x", at=FEBRUARY + DAY)
    use(ada, pro.metric, 20, FEBRUARY + DAY)

    sweep(MARCH)

    assert bills(ada)[-1][1] == 100


@pytest.mark.parametrize(("wanted", "statuses"), [(False, ["skipped"]), (True, ["paid"])])
def test_an_invoice_of_nothing_is_made_where_the_operator_wants_it(settings, wanted, statuses):
    settings.INVOICE_ZERO_TOTALS = wanted
    free, customer = make_pro_plan(base_cents=None, unit_cost_cents="0", quota=None), CustomerFactory()
    subscribe(at=AT, customer=customer, plan=free.plan)
    use(customer, free.metric, 5, AT + DAY)

    sweep(FEBRUARY)

    assert [status for status, _, _ in bills(customer)] == statuses
