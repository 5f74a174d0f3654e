"""Ruling 29: a cancel bills what was used, ends what the plan granted, and refunds only what is asked for."""

from datetime import UTC, datetime, timedelta

import pytest

from billing.exchange import Paid
from billing.models import CreditNote, Invoice
from billing.services.cancel import NothingScheduled, cancel_at_period_end, cancel_now, undo_scheduled
from billing.services.change import change_now
from billing.services.change_quantity import change_quantity
from billing.services.collect import record_payment
from billing.services.pause import pause
from billing.services.subscribe import subscribe
from credits.models import CreditGrant
from credits.services.grants import grant_credits
from plans.models import Subscription
from plans.services.subscriptions import SubscriptionEnded
from tests.billing.lives import invoices, lines_of, run_sweeps
from tests.factories import CreditDefinitionFactory, CustomerFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, remaining, use
from tests.seat_plan import make_seat_plan

pytestmark = pytest.mark.django_db

MAY = datetime(2026, 5, 1, tzinfo=UTC)
MAY_11 = datetime(2026, 5, 11, 9, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
AUGUST = datetime(2026, 8, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def customer():
    return CustomerFactory(invoice_prefix="ADA")


@pytest.fixture
def subscription(pro, customer):
    return subscribe(at=MAY, customer=customer, plan=pro.plan)


@pytest.fixture(autouse=True)
def books_add_up():
    yield
    run_sweeps(AUGUST)
    assert_books_add_up(at=AUGUST)


def pay(number, at=MAY + DAY):
    invoice = Invoice.objects.get(number=number)
    paid = Paid(reference=f"in_{number}", amount_cents=invoice.open_cents)
    record_payment(invoice=invoice.public_id, paid=paid, at=at)


def test_a_cancel_bills_what_was_used_after_the_grace_time(pro, customer, subscription):
    use(customer, pro.metric, 12_000, MAY + DAY)

    cancel_now(subscription=subscription, at=MAY_11)
    use(customer, pro.metric, 100, MAY_11 - HOUR, key="within the grace time")
    run_sweeps(MAY_11 + HOUR)

    # 12,100 × 5 less 10,000 × 5: the quota of a cancelled month is not shared by days
    assert invoices(customer) == [("cycle", MAY, 2_900), ("final", MAY_11, 10_500)]


def test_a_cancel_ends_grants_of_the_plan_and_leaves_what_was_bought(pro, customer, subscription):
    pool = CreditDefinitionFactory(at=MAY, scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature)
    grant_credits(at=MAY, customer=customer, definition=pool, amount=700)

    cancel_now(subscription=subscription, at=MAY_11)
    run_sweeps(MAY_11 + HOUR)

    assert remaining(customer, pro.metric, MAY_11 + 2 * HOUR) == 700
    assert not CreditGrant.objects.filter(source="subscription", ledger_remaining__gt=0).exists()


def test_nothing_is_billed_after_a_cancel(pro, customer, subscription):
    cancel_now(subscription=subscription, at=MAY_11)
    use(customer, pro.metric, 50_000, MAY_11 + DAY)

    run_sweeps(AUGUST)

    assert invoices(customer) == [("cycle", MAY, 2_900)]


def test_a_cancel_of_the_cancelled_is_refused(subscription):
    cancel_now(subscription=subscription, at=MAY_11)

    with pytest.raises(SubscriptionEnded, match="Subscription not found or already ended"):
        cancel_now(subscription=subscription, at=MAY_11)


def test_a_cancel_before_the_start_leaves_nothing_to_bill(pro, customer):
    future = subscribe(at=MAY, customer=customer, plan=pro.plan, started_at=JUNE)

    cancel_now(subscription=future, at=MAY_11)
    run_sweeps(AUGUST)

    assert invoices(customer) == []
    assert not CreditGrant.objects.exists()
    assert Subscription.objects.get().ended_at == MAY_11


def test_a_cancel_while_paused_ends_all_that_was_granted(pro, customer, subscription):
    use(customer, pro.metric, 100, MAY + DAY)
    pause(subscription=subscription, at=MAY_11)

    cancel_now(subscription=subscription, at=MAY_11 + DAY)
    run_sweeps(AUGUST)

    assert invoices(customer) == [("cycle", MAY, 2_900), ("change", MAY_11, 0)]
    assert remaining(customer, pro.metric, MAY_11 + 2 * DAY) == 0


def test_who_subscribes_again_while_a_draft_waits_is_billed_for_both_in_order(pro, customer, subscription):
    use(customer, pro.metric, 12_000, MAY + DAY)
    cancel_now(subscription=subscription, at=MAY_11)

    again = subscribe(at=MAY_11 + HOUR / 6, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 10_100, MAY_11 + HOUR / 4)
    cancel_now(subscription=again, at=MAY_11 + HOUR / 2)
    run_sweeps(MAY_11 + 2 * HOUR)

    assert invoices(customer) == [
        ("cycle", MAY, 2_900),
        ("final", MAY_11, 10_000),
        ("cycle", MAY_11 + HOUR / 6, 2_900),
        ("final", MAY_11 + HOUR / 2, 500),
    ]


def test_who_subscribes_again_while_a_draft_waits_may_change_at_once(pro, customer, subscription):
    big = make_pro_plan(base_cents=9_900, quota=20_000, unit_cost_cents="4", beside=pro)
    use(customer, pro.metric, 12_000, MAY + DAY)
    cancel_now(subscription=subscription, at=MAY_11)
    again = subscribe(at=MAY_11 + HOUR / 6, customer=customer, plan=pro.plan)

    change_now(subscription=again, price=big.price, at=MAY_11 + HOUR / 3)

    assert ("final", MAY_11, 10_000) in invoices(customer)
    assert remaining(customer, pro.metric, MAY_11 + HOUR) == 20_000


def test_ruling_29_prorate_refunds_the_unused_days_of_a_paid_fee(pro, customer, subscription):
    pay("ADA-001")

    cancel_now(subscription=subscription, at=MAY_11, prorate=True)

    # 2,900 × 21 / 31
    note = CreditNote.objects.get()
    assert (note.total_cents, note.source_cents, note.due_cents) == (1_965, 1_965, 0)


def test_prorate_takes_the_unused_days_off_a_fee_that_is_not_paid(pro, customer, subscription):
    cancel_now(subscription=subscription, at=MAY_11, prorate=True)

    note = CreditNote.objects.get()
    assert (note.total_cents, note.source_cents, note.due_cents) == (1_965, 0, 1_965)
    assert Invoice.objects.get(number="ADA-001").open_cents == 2_900 - 1_965


def test_prorate_after_a_change_gives_back_no_more_than_the_invoice_and_keeps_the_rest_as_credit(
    pro, customer, subscription
):
    big = make_pro_plan(base_cents=9_900, quota=20_000, beside=pro)
    pay("ADA-001")
    change = change_now(subscription=subscription, price=big.price, at=MAY_11)
    pay(change.invoice.number, MAY_11)

    cancel_now(subscription=change.subscription, at=MAY_11 + HOUR, prorate=True)

    # 6,706 were charged for those days, 4,741 of them by this invoice and 1,965 by the credit of the first one.
    assert CreditNote.objects.get().source_cents == 4_741
    assert CreditGrant.objects.get(source="refund").initial_amount == 1_965


def test_units_that_no_invoice_has_are_billed_by_the_cancel(customer):
    seats = make_seat_plan(bill_immediately=False)
    subscription = subscribe(at=MAY, customer=customer, plan=seats.plan)
    change_quantity(at=MAY + HOUR, subscription=subscription, component_id="comp_seats", quantity=2)

    cancel_now(subscription=subscription, at=MAY_11)

    assert invoices(customer) == [("cycle", MAY, 1_000), ("seats", MAY_11, 1_000)]


@pytest.mark.parametrize("swept_at", [JUNE, JUNE + 20 * DAY])
def test_an_end_with_the_period_is_the_same_however_late_the_sweep_comes(pro, customer, subscription, swept_at):
    use(customer, pro.metric, 12_000, MAY + DAY)
    scheduled = cancel_at_period_end(subscription=subscription, at=MAY_11)
    use(customer, pro.metric, 400, JUNE + HOUR, key="after the end")

    run_sweeps(swept_at)
    run_sweeps(swept_at + HOUR)

    assert scheduled.effective_at == JUNE
    assert invoices(customer) == [("cycle", MAY, 2_900), ("final", JUNE, 10_000)]
    assert Subscription.objects.get().ended_at == JUNE


def test_asking_for_the_end_again_changes_nothing(subscription):
    first = cancel_at_period_end(subscription=subscription, at=MAY_11)

    again = cancel_at_period_end(subscription=subscription, at=MAY_11 + DAY)

    assert again == first


def test_an_end_that_is_taken_back_does_not_come(customer, subscription):
    cancel_at_period_end(subscription=subscription, at=MAY_11)

    undo_scheduled(subscription=subscription, at=MAY_11 + DAY)
    run_sweeps(JUNE + HOUR)

    subscription.refresh_from_db()
    assert (subscription.ended_at, subscription.cancel_at_period_end) == (None, False)
    assert invoices(customer) == [("cycle", MAY, 2_900), ("cycle", JUNE, 2_900)]
    with pytest.raises(NothingScheduled):
        undo_scheduled(subscription=subscription, at=JUNE + DAY)


def test_the_end_of_the_period_is_found_although_sweeps_are_behind(customer, subscription):
    scheduled = cancel_at_period_end(subscription=subscription, at=datetime(2026, 7, 15, tzinfo=UTC))

    assert scheduled.effective_at == AUGUST


def test_a_final_invoice_shows_usage_and_its_credit(pro, customer, subscription):
    use(customer, pro.metric, 12_000, MAY + DAY)

    final = cancel_now(subscription=subscription, at=MAY_11)
    run_sweeps(MAY_11 + HOUR)

    assert lines_of(final) == [("usage", 60_000), ("credit", -50_000)]
