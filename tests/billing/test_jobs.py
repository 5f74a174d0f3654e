"""The sweeps from usage to a paid invoice, with Stripe well, slow, refusing, or the worker killed on the way."""

import gc
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.conf import settings
from django.utils import timezone
from django.utils.module_loading import import_string

from billing import jobs
from billing.models import Invoice, MailKind, Payment
from billing.sandbox import FaultKind
from billing.services.mail import queue_mail
from billing.services.park import unpark_customer
from billing.services.subscribe import subscribe
from plans.models import Customer, Subscription
from tests.factories import CustomerFactory
from tests.pro_plan import bills, make_pro_plan, use

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 28, tzinfo=UTC)
BILLED = FEBRUARY + timedelta(hours=1)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
# A worker that was killed holds what it claimed for ten minutes.
AFTER_THE_LEASE = timedelta(minutes=11)
# What the sweeps call at Stripe for one invoice of a customer with a card. Mirroring asks for more in between; it is
# let be.
SENDING = ["POST /v1/invoices", "POST /v1/invoiceitems", "GET /v1/invoices/…", "POST /v1/invoices/…/finalize"]
CHARGING = ["GET /v1/invoices/…", "POST /v1/invoices/…/pay"]
WORKED_BILL = ("paid", 15_400, [("fixed", 1, 2_900), ("usage", 12_500, 62_500), ("credit", 10_000, -50_000)])

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("stripe_sandbox")]


def subscribed(*, at=AT, **plan):
    pro, customer = make_pro_plan(**plan), CustomerFactory()
    subscribe(at=at, customer=customer, plan=pro.plan)
    return pro, customer


def newest(customer):
    return Invoice.objects.filter(customer=customer).latest("closes_at")


def stripe_invoices(at_stripe):
    return [
        (invoice.status, invoice.total) for invoice in at_stripe.v1.invoices.list({"limit": 100}).auto_paging_iter()
    ]


def money_taken(at_stripe):
    return [charge.amount for charge in at_stripe.v1.charges.list({"limit": 100}).auto_paging_iter() if charge.paid]


def test_a_sweep_leaves_the_collection_of_garbage_as_it_was():
    subscribed()

    jobs.close(FEBRUARY)
    assert gc.isenabled()
    gc.disable()
    try:
        jobs.finalize_drafts(BILLED)
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize("entry", settings.SCHEDULES, ids=lambda entry: entry["func"])
def test_each_schedule_runs_its_sweeps_and_says_what_they_did(entry):
    assert import_string(entry["func"])() is not None


def test_the_job_of_mails_sends_what_is_queued(mailoutbox):
    queue_mail(
        key="one", kind=MailKind.RECOVERED, customer=CustomerFactory(email="ada@example.com"), at=timezone.now(),
        facts={
            "number": "ADA-001", "currency": "USD", "amount_cents": 100, "plan": "", "goes_on": False,
            "runs_again": False,
        },
    )  # fmt: skip

    assert (jobs.sweep_mail(), len(mailoutbox)) == ({"mail": 1}, 1)


class TestWorkedNumbers:
    def test_12_500_calls_are_billed_and_paid_with_154_dollars(self, give_card, run_sweeps, at_stripe):
        pro, customer = subscribed()
        give_card(customer)
        use(customer, pro.metric, 12_500, AT + 2 * DAY)

        run_sweeps(AT)
        run_sweeps(BILLED)

        assert bills(customer) == [("paid", 2_900, [("fixed", 1, 2_900)]), WORKED_BILL]
        invoice = newest(customer)
        copy = at_stripe.v1.invoices.retrieve(invoice.stripe_invoice_id)
        assert (copy.status, copy.total, copy.amount_paid) == ("paid", 15_400, 15_400)
        payment = Payment.objects.get(invoice=invoice)
        assert (payment.status, payment.amount_cents, payment.payment_method.card_last_four) == (
            "succeeded",
            15_400,
            "4242",
        )
        assert money_taken(at_stripe) == [15_400, 2_900]

    def test_every_sweep_again_changes_nothing(self, give_card, run_sweeps, at_stripe):
        pro, customer = subscribed()
        give_card(customer)
        use(customer, pro.metric, 12_500, AT + 2 * DAY)
        run_sweeps(BILLED)

        run_sweeps(BILLED)
        run_sweeps(BILLED + DAY)

        assert len(bills(customer)) == 2
        assert money_taken(at_stripe) == [15_400, 2_900]

    def test_the_scheduled_jobs_read_the_clock(self, give_card):
        _, customer = subscribed()
        give_card(customer)

        with time_machine.travel(BILLED, tick=False):
            books = jobs.sweep_books()
            stripe = jobs.sweep_send() | jobs.sweep_collect()

        assert (books["close"], books["finalize"]) == (1, 1)
        assert (stripe["send"], stripe["collect"]) == (2, 2)
        assert [status for status, _, _ in bills(customer)] == ["paid", "paid"]

    def test_an_invoice_below_stripes_minimum_is_not_sent(self, give_card, run_sweeps, at_stripe):
        _, customer = subscribed(base_cents=49)
        give_card(customer)

        run_sweeps(AT)

        assert bills(customer)[0][:2] == ("carried", 49)
        assert stripe_invoices(at_stripe) == []

    def test_an_invoice_of_stripes_minimum_is_sent_and_paid(self, give_card, run_sweeps, at_stripe):
        _, customer = subscribed(base_cents=50)
        give_card(customer)

        run_sweeps(AT)

        assert stripe_invoices(at_stripe) == [("paid", 50)]


class TestStripeInTrouble:
    @pytest.mark.parametrize(
        "kind",
        [
            FaultKind.TIMEOUT,
            FaultKind.TIMEOUT_AFTER_COMMIT,
            FaultKind.SERVER_ERROR,
            FaultKind.TOO_MANY_REQUESTS,
        ],
    )
    @pytest.mark.parametrize("position", range(len(SENDING)))
    def test_an_invoice_that_could_not_be_sent_waits_and_is_sent_once(
        self, give_card, run_sweeps, at_stripe, wire, position, kind
    ):
        _, customer = subscribed()
        give_card(customer)
        wire.break_at(position, kind)

        swept = jobs.send_invoices(AT)

        invoice = newest(customer)
        assert (swept.done, swept.failed, swept.unavailable) == (0, 0, invoice.send_error)
        assert (invoice.status, invoice.stripe_sent_at) == ("issued", None)
        assert invoice.send_error != ""
        assert invoice.send_at == AT + MINUTE
        assert wire.calls == SENDING[: position + 1]
        wire.heal()
        run_sweeps(AT + MINUTE)
        invoice = newest(customer)
        assert (invoice.status, invoice.send_error) == ("paid", "")
        assert stripe_invoices(at_stripe) == [("paid", 2_900)]
        assert money_taken(at_stripe) == [2_900]

    def test_after_a_restore_from_a_backup_that_knew_no_attempt_it_is_found_and_not_sent_twice(
        self, stripe_sandbox, at_stripe
    ):
        _, customer = subscribed()
        jobs.send_invoices(AT)
        sent = newest(customer)
        restored = {"stripe_invoice_id": None, "stripe_sent_at": None, "send_attempts": 0, "send_at": AT}
        Invoice.objects.filter(pk=sent.pk).update(**restored, collect_at=None)
        # By then Stripe has forgotten the keys.
        stripe_sandbox.set_clock(int(stripe_sandbox.clock.now()) + 2 * 24 * 3600)

        assert jobs.send_invoices(AT + 2 * DAY).done == 1

        assert stripe_invoices(at_stripe) == [("open", 2_900)]
        assert newest(customer).stripe_invoice_id == sent.stripe_invoice_id

    def test_the_pauses_between_attempts_grow(self, give_card, wire):
        _, customer = subscribed()
        give_card(customer)
        at, pauses = AT, []

        for _ in range(6):
            wire.break_at(0, FaultKind.TIMEOUT)
            jobs.send_invoices(at)
            pauses.append(newest(customer).send_at - at)
            at = newest(customer).send_at

        assert [pause / MINUTE for pause in pauses] == [1, 5, 30, 120, 720, 720]

    def test_a_sweep_stops_at_the_first_time_out(self, give_card, wire):
        for _ in range(3):
            _, customer = subscribed()
            give_card(customer)
        wire.break_at(0, FaultKind.TIMEOUT)

        jobs.send_invoices(AT)

        assert wire.calls == ["POST /v1/invoices"]
        assert Invoice.objects.filter(send_attempts=0).count() == 2

    def test_one_refused_invoice_does_not_hold_up_the_others(self, give_card, at_stripe):
        _, unlucky = subscribed()
        _, lucky = subscribed()
        Customer.objects.filter(pk=unlucky.pk).update(psp_customer_id="cus_nobody")
        give_card(lucky)

        swept = jobs.send_invoices(AT)

        assert (swept.done, swept.failed, swept.unavailable) == (1, 1, "")
        assert "cus_nobody" in newest(unlucky).send_error
        assert stripe_invoices(at_stripe) == [("open", 2_900)]

    @pytest.mark.parametrize("kind", [FaultKind.TIMEOUT, FaultKind.TIMEOUT_AFTER_COMMIT])
    @pytest.mark.parametrize("position", range(len(CHARGING)))
    def test_a_charge_without_an_answer_is_repeated_as_the_same_charge(
        self, give_card, run_sweeps, at_stripe, wire, position, kind
    ):
        _, customer = subscribed()
        give_card(customer)
        jobs.send_invoices(AT)
        wire.break_at(position, kind)

        swept = jobs.collect_invoices(AT)

        assert (swept.done, swept.failed) == (0, 0)
        assert swept.unavailable != ""
        invoice = newest(customer)
        assert (invoice.status, invoice.collect_attempts, invoice.collect_at) == ("issued", 0, AT + MINUTE)
        wire.heal()
        run_sweeps(AT + MINUTE)
        assert newest(customer).status == "paid"
        assert money_taken(at_stripe) == [2_900]
        assert Payment.objects.get().status == "succeeded"

    def test_a_charge_that_stripe_refuses_is_not_repeated_every_minute(self, give_card, at_stripe, wire):
        _, customer = subscribed()
        card = give_card(customer)
        jobs.send_invoices(AT)
        at_stripe.v1.payment_methods.detach(card.external_id)
        wire.heal()

        for minutes in range(60):
            jobs.collect_invoices(AT + minutes * MINUTE)

        assert newest(customer).status == "issued"
        assert wire.calls.count("POST /v1/invoices/…/pay") < 10


class TestCards:
    def test_a_customer_without_a_card_is_never_dunned(self, run_sweeps, at_stripe):
        _, customer = subscribed()

        run_sweeps(AT)
        run_sweeps(BILLED)

        assert [status for status, _, _ in bills(customer)] == ["issued", "issued"]
        assert stripe_invoices(at_stripe) == [("open", 2_900), ("open", 2_900)]
        assert Payment.objects.count() == 0
        assert Subscription.objects.get().status == "active"

    def test_the_first_card_pays_all_that_waits(self, give_card, run_sweeps, at_stripe):
        _, customer = subscribed()
        run_sweeps(AT)
        run_sweeps(BILLED)

        give_card(customer, at=BILLED + DAY)
        run_sweeps(BILLED + DAY)

        assert [status for status, _, _ in bills(customer)] == ["paid", "paid"]
        assert money_taken(at_stripe) == [2_900, 2_900]

    def test_a_declined_card_leaves_the_invoice_issued_with_one_failed_payment(self, give_card, run_sweeps):
        _, customer = subscribed()
        card = give_card(customer, "pm_card_chargeCustomerFail")

        run_sweeps(AT)
        run_sweeps(AT + 30 * MINUTE)

        invoice = newest(customer)
        # The first retry of its dunning.
        assert (invoice.status, invoice.collect_attempts, invoice.collect_at) == ("issued", 1, AT + DAY)
        payment = Payment.objects.get()
        assert (payment.status, payment.amount_cents, payment.error_code, payment.error_message) == (
            "failed",
            2_900,
            "generic_decline",
            "Your card was declined.",
        )
        assert payment.payment_method == card

    def test_a_new_card_pays_what_the_old_one_did_not(self, give_card, run_sweeps, at_stripe):
        _, customer = subscribed()
        give_card(customer, "pm_card_chargeCustomerFail")
        run_sweeps(AT)

        give_card(customer, at=AT + DAY)
        run_sweeps(AT + DAY)

        assert newest(customer).status == "paid"
        assert list(Payment.objects.order_by("pk").values_list("status", "attempt")) == [
            ("failed", 1),
            ("succeeded", 2),
        ]
        assert money_taken(at_stripe) == [2_900]

    def test_a_new_card_pays_after_the_answer_of_a_declined_one_was_lost(self, give_card, run_sweeps, at_stripe, wire):
        _, customer = subscribed()
        give_card(customer, "pm_card_chargeCustomerFail")
        jobs.send_invoices(AT)
        wire.break_at(1, FaultKind.TIMEOUT_AFTER_COMMIT)
        jobs.collect_invoices(AT)
        wire.heal()

        give_card(customer, at=AT + DAY)
        run_sweeps(AT + DAY)

        assert newest(customer).status == "paid"
        assert money_taken(at_stripe) == [2_900]

    def test_a_card_that_is_given_before_the_invoice_is_sent_pays_it(self, give_card, run_sweeps):
        _, customer = subscribed()

        give_card(customer)
        run_sweeps(AT)

        assert newest(customer).status == "paid"

    def test_an_invoice_paid_at_stripe_by_hand_is_paid_here_without_a_charge_of_ours(
        self, give_card, run_sweeps, at_stripe
    ):
        _, customer = subscribed()
        give_card(customer)
        jobs.send_invoices(AT)
        at_stripe.v1.invoices.pay(newest(customer).stripe_invoice_id)

        jobs.collect_invoices(AT)

        assert newest(customer).status == "paid"
        assert money_taken(at_stripe) == [2_900]


class TestParking:
    @pytest.fixture
    def customers(self):
        """Five customers. The third's count of invoices was set back, so its next number is taken already."""
        customers = [subscribed()[1] for _ in range(5)]
        Customer.objects.filter(pk=customers[2].pk).update(last_invoice_number=0)
        return customers

    def test_one_failing_customer_is_parked_alone_and_says_why(self, customers):
        jobs.close(BILLED)

        swept = jobs.finalize_drafts(BILLED)

        assert (swept.done, swept.failed, len(swept.problems)) == (4, 1, 1)
        parked = Customer.objects.get(parked_at__isnull=False)
        assert (parked.pk, parked.parked_at) == (customers[2].pk, BILLED)
        assert "invoice_number_is_unique" in parked.parked_reason

    def test_everybody_else_is_billed(self, customers, run_sweeps):
        run_sweeps(BILLED)

        numbered = [Invoice.objects.filter(customer=one, number__isnull=False).count() for one in customers]
        assert numbered == [2, 2, 1, 2, 2]
        assert newest(customers[2]).status == "draft"

    def test_a_parked_customer_is_left_alone(self, customers, run_sweeps):
        run_sweeps(BILLED)

        run_sweeps(BILLED + 60 * DAY)

        assert Invoice.objects.filter(customer=customers[2]).count() == 2
        assert Invoice.objects.filter(customer=customers[3]).count() == 3

    def test_an_unparked_customer_is_billed_again(self, customers, run_sweeps):
        run_sweeps(BILLED)
        Customer.objects.filter(pk=customers[2].pk).update(last_invoice_number=1)

        unpark_customer(customer=customers[2])
        run_sweeps(BILLED + DAY)

        assert (newest(customers[2]).number, newest(customers[2]).status) == (
            f"{customers[2].invoice_prefix}-002",
            "issued",
        )
        assert Customer.objects.filter(parked_at__isnull=False).count() == 0

    def test_a_payment_of_another_amount_parks_the_customer(self, give_card, at_stripe):
        _, customer = subscribed()
        give_card(customer)
        jobs.send_invoices(AT)
        other = at_stripe.v1.invoices.create({"customer": newest(customer).customer.psp_customer_id or ""})
        at_stripe.v1.invoice_items.create({"customer": other.customer, "invoice": other.id, "amount": 5_000})
        at_stripe.v1.invoices.finalize_invoice(other.id)
        Invoice.objects.filter(customer=customer).update(stripe_invoice_id=other.id)

        jobs.collect_invoices(AT)

        parked = Customer.objects.get(parked_at__isnull=False)
        assert "5000 were paid, 2900 of 2900 are open" in parked.parked_reason
        assert newest(customer).status == "issued"


class TestKilled:
    """A worker that is killed leaves what it had committed; the next sweep after its lease goes on from there."""

    @pytest.mark.parametrize("moment", ["before", "after"])
    @pytest.mark.parametrize("position", range(len(SENDING)))
    def test_while_sending(self, give_card, run_sweeps, at_stripe, wire, position, moment):
        _, customer = subscribed()
        give_card(customer)
        wire.kill_at(position, moment)
        with pytest.raises(wire.Killed):
            jobs.send_invoices(AT)
        assert wire.calls == SENDING[: position + 1]
        wire.heal()

        run_sweeps(AT + AFTER_THE_LEASE)

        assert newest(customer).status == "paid"
        assert stripe_invoices(at_stripe) == [("paid", 2_900)]
        assert money_taken(at_stripe) == [2_900]

    @pytest.mark.parametrize("moment", ["before", "after"])
    @pytest.mark.parametrize("position", range(len(CHARGING)))
    def test_while_charging(self, give_card, run_sweeps, at_stripe, wire, position, moment):
        _, customer = subscribed()
        give_card(customer)
        jobs.send_invoices(AT)
        wire.kill_at(position, moment)
        with pytest.raises(wire.Killed):
            jobs.collect_invoices(AT)
        assert wire.calls == CHARGING[: position + 1]
        wire.heal()

        run_sweeps(AT + AFTER_THE_LEASE)

        assert newest(customer).status == "paid"
        assert stripe_invoices(at_stripe) == [("paid", 2_900)]
        assert money_taken(at_stripe) == [2_900]
        assert Payment.objects.get().status == "succeeded"

    @pytest.mark.parametrize("moment", ["before", "after"])
    @pytest.mark.parametrize("position", range(2))
    def test_while_creating_the_customer(self, run_sweeps, at_stripe, wire, position, moment):
        subscribed()
        wire.kill_at(position, moment)
        with pytest.raises(wire.Killed):
            jobs.send_invoices(AT)
        wire.heal()

        run_sweeps(AT + AFTER_THE_LEASE)

        assert len(at_stripe.v1.customers.list().data) == 1
        assert stripe_invoices(at_stripe) == [("open", 2_900)]

    def test_nobody_else_takes_the_invoice_before_the_lease_is_over(self, give_card, wire):
        _, customer = subscribed()
        give_card(customer)
        wire.kill_at(0, "before")
        with pytest.raises(wire.Killed):
            jobs.send_invoices(AT)
        wire.heal()

        jobs.send_invoices(AT + 9 * MINUTE)

        assert wire.calls == []


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_stripe_is_asked(give_card, run_sweeps, wire):
    _, customer = subscribed()
    give_card(customer)

    jobs.send_invoices(AT)
    jobs.collect_invoices(AT)

    assert set(SENDING + CHARGING) <= set(wire.calls_outside_transactions)
