"""Ruling 23, after a cancel: an own invoice, or a credit note."""

from datetime import UTC, datetime, timedelta

import pytest

from billing.books import check_books
from billing.exchange import Paid
from billing.jobs import look_for_late_usage
from billing.models import CreditNote, Invoice
from billing.services.cancel import cancel_now
from billing.services.change import change_now
from billing.services.collect import record_payment
from billing.services.late_invoices import bill_found
from billing.services.pause import pause
from billing.services.subscribe import subscribe
from billing.services.void import void_invoice
from credits.models import CreditGrant
from plans.models import Subscription, SubscriptionPeriod
from tests.factories import CustomerFactory
from tests.pro_plan import bills, make_pro_plan, sweep, use

AT = datetime(2026, 1, 1, tzinfo=UTC)
CANCELED = datetime(2026, 1, 20, 12, tzinfo=UTC)
FINAL = CANCELED + timedelta(hours=1)
OVER = CANCELED + timedelta(days=35)
DAY = timedelta(days=1)

pytestmark = pytest.mark.django_db


@pytest.fixture
def pro():
    return make_pro_plan(base_cents=None, quota=None)


@pytest.fixture
def ada(pro):
    """1,000 calls (50.00) on the final invoice of a canceled subscription."""
    customer = CustomerFactory(invoice_prefix="ADA")
    subscription = subscribe(at=AT, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 1_000, AT + DAY)
    cancel_now(subscription=subscription, at=CANCELED)
    sweep(FINAL)
    return customer


@pytest.fixture(autouse=True)
def books_add_up():
    yield
    assert [offender for finding in check_books(at=OVER + DAY) for offender in finding.offenders] == []


def final():
    return Invoice.objects.get(number="ADA-001")


def test_late_usage_is_an_invoice_of_its_own_when_its_time_is_over(ada, pro):
    use(ada, pro.metric, 300, AT + DAY, key="late")

    look_for_late_usage(OVER)

    assert final().kind == "final"
    late = Invoice.objects.get(kind="late")
    assert (late.number, late.status, late.send_at) == ("ADA-002", "issued", OVER)
    assert bills(ada)[-1] == ("issued", 1_500, [("late_usage", 300, 1_500)])


class TestAVersionThatAChangeEnded:
    @pytest.fixture
    def bob(self, pro):
        """1,000 calls billed with a change to a price of 3 cents a call, on the instant of `CANCELED`."""
        customer = CustomerFactory(invoice_prefix="BOB")
        subscription = subscribe(at=AT, customer=customer, plan=pro.plan)
        use(customer, pro.metric, 1_000, AT + DAY)
        cheaper = make_pro_plan(base_cents=None, quota=None, unit_cost_cents="3", beside=pro)
        change_now(subscription=subscription, price=cheaper.price, at=CANCELED)
        return customer

    def test_what_is_found_last_of_it_waits_for_the_next_invoice(self, bob, pro):
        # The window closes on 24 February, amid the second month of the version that follows. In the first one nothing
        # was used.
        sweep(CANCELED + 13 * DAY)
        use(bob, pro.metric, 300, AT + DAY, key="late")

        look_for_late_usage(OVER)
        sweep(datetime(2026, 3, 1, 2, tzinfo=UTC))

        assert bills(bob) == [
            ("issued", 5_000, [("usage", 1_000, 5_000)]),
            ("skipped", 0, []),
            ("issued", 1_500, [("late_usage", 300, 1_500)]),
        ]

    def test_a_cancel_without_usage_bills_what_was_found_of_the_versions_before(self, bob, pro):
        sweep(CANCELED + 13 * DAY)
        use(bob, pro.metric, 300, AT + DAY, key="late")
        look_for_late_usage(OVER)

        cancel_now(subscription=Subscription.objects.live().get(), at=OVER + DAY)
        sweep(OVER + 2 * DAY)

        assert bills(bob)[-1] == ("issued", 1_500, [("late_usage", 300, 1_500)])

    def test_so_does_the_cancel_of_one_that_is_paused(self, bob, pro):
        sweep(CANCELED + 13 * DAY)
        subscription = Subscription.objects.live().get()
        pause(subscription=subscription, at=CANCELED + 14 * DAY)
        use(bob, pro.metric, 300, AT + DAY, key="late")
        look_for_late_usage(OVER)

        cancel_now(subscription=subscription, at=OVER + DAY)

        assert bills(bob)[-1] == ("issued", 1_500, [("late_usage", 300, 1_500)])


def test_nothing_late_is_no_invoice(ada):
    look_for_late_usage(OVER)

    assert len(bills(ada)) == 1


def test_a_correction_is_a_credit_note_of_what_billed_it(ada, pro):
    use(ada, pro.metric, -300, AT + DAY, key="fewer")

    look_for_late_usage(OVER)

    note = CreditNote.objects.get()
    assert (note.invoice, note.total_cents, note.due_cents) == (final(), 1_500, 1_500)
    assert final().open_cents == 3_500


def test_what_was_paid_goes_back_to_its_source(ada, pro):
    record_payment(invoice=final().public_id, paid=Paid(reference="in_1", amount_cents=5_000), at=FINAL)
    use(ada, pro.metric, -300, AT + DAY, key="fewer")

    look_for_late_usage(OVER)

    assert CreditNote.objects.get().refund.amount_cents == 1_500


def test_a_correction_of_a_void_invoice_is_kept_as_credit(ada, pro):
    void_invoice(invoice=final(), reason="x", at=FINAL)
    use(ada, pro.metric, -300, AT + DAY, key="fewer")

    look_for_late_usage(OVER)

    assert CreditGrant.objects.get(reference_code__startswith="difference:").initial_amount == 1_500


def test_an_operator_bills_what_comes_after_that(ada, pro):
    look_for_late_usage(OVER)
    use(ada, pro.metric, 300, AT + DAY, key="late")
    (period,) = SubscriptionPeriod.objects.filter(settled_net_cents__isnull=False).select_related(
        "item__component__price"
    )

    bill_found(periods=[period], at=OVER + DAY)
    bill_found(periods=[period], at=OVER + DAY)

    assert bills(ada)[-1] == ("issued", 1_500, [("late_usage", 300, 1_500)])
    assert len(bills(ada)) == 2
