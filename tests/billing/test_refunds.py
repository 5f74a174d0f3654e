"""Money goes back to its card once, whatever the network does, and we know how it ended."""

from datetime import UTC, datetime, timedelta

import pytest

from billing import gateway, jobs
from billing.books import check_books
from billing.exchange import RefundAtStripe
from billing.models import Invoice, Payment, Refund, StripeInbox
from billing.sandbox import FaultKind
from billing.services import inbox
from billing.services.credit_notes import credit_invoice
from billing.services.due import next_due
from billing.services.refunds import record_refund
from billing.services.subscribe import subscribe
from billing.words import payment_body
from config.first_start import WEBHOOK_EVENTS
from tests.factories import CustomerFactory
from tests.pro_plan import make_pro_plan

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
# Two make the refund, three are dj-stripe's for its mirror, two credit Stripe's invoice.
CALLS = range(7)
UUID = "11111111-2222-4333-8444-555555555555"

pytestmark = pytest.mark.django_db


@pytest.fixture
def paid(stripe_sandbox, give_card):
    """A paid invoice of 29.00."""
    return paid_by(give_card)


def paid_by(give_card, token="pm_card_visa", **plan):
    customer = CustomerFactory(invoice_prefix="ADA")
    subscribe(at=AT, customer=customer, plan=make_pro_plan(**plan).plan)
    give_card(customer, token)
    jobs.send_invoices(AT)
    jobs.collect_invoices(AT)
    return Invoice.objects.get(customer=customer)


def credit(invoice, cents, at=AT + MINUTE):
    return credit_invoice(invoice=invoice, reason="Sorry", amount_cents=cents, at=at)


def refunds_of(at_stripe):
    return [(one.amount, one.status) for one in at_stripe.v1.refunds.list()]


def stored():
    return [(one.amount_cents, one.status, one.refund_at) for one in Refund.objects.order_by("pk")]


@pytest.fixture(autouse=True)
def books_add_up():
    yield
    assert [offender for finding in check_books(at=AT + DAY) for offender in finding.offenders] == []


class TestMade:
    def test_goes_back_to_the_card_that_paid(self, paid, at_stripe):
        credit(paid, 1_000)

        assert jobs.make_refunds(AT + MINUTE).done == 1

        assert refunds_of(at_stripe) == [(1_000, "succeeded")]
        assert stored() == [(1_000, "succeeded", None)]
        refund = Refund.objects.get()
        assert refund.refunded_at == AT + MINUTE
        assert at_stripe.v1.refunds.list().data[0].id == refund.external_id

    def test_stripes_invoice_is_credited_by_as_much(self, paid, at_stripe):
        note = credit(paid, 1_000)
        jobs.make_refunds(AT + MINUTE)

        (there,) = at_stripe.v1.credit_notes.list({"invoice": paid.stripe_invoice_id}).data
        assert (there.amount, there.memo) == (1_000, f"Credit note {note.number}")
        assert [(one.amount_refunded, one.refund) for one in there.refunds] == [
            (1_000, Refund.objects.get().external_id)
        ]

    def test_in_parts_and_then_whole(self, paid, at_stripe):
        for number, cents in enumerate((1_000, 1_900)):
            credit(paid, cents, AT + number * MINUTE)
            jobs.make_refunds(AT + number * MINUTE)
            body = payment_body(Payment.objects.get())
            assert (body["refundStatus"], body["refundedAmountCents"]) == (
                ["partial", "full"][number],
                1_000 + number * 1_900,
            )

        assert sum(amount for amount, _ in refunds_of(at_stripe)) == 2_900

    def test_a_second_sweep_does_nothing(self, paid, at_stripe):
        credit(paid, 1_000)
        jobs.make_refunds(AT + MINUTE)

        assert jobs.make_refunds(AT + DAY).done == 0
        assert len(refunds_of(at_stripe)) == 1
        assert next_due(until=AT + DAY, after=AT + 2 * MINUTE) is None

    def test_yen_have_no_decimals(self, stripe_sandbox, give_card, at_stripe):
        invoice = paid_by(give_card, base_cents=2_900, unit_cost_cents="5", quota=None, currency="JPY")
        credit(invoice, 1_000)
        jobs.make_refunds(AT + MINUTE)

        assert refunds_of(at_stripe) == [(1_000, "succeeded")]

    def test_a_payment_that_was_not_owed_any_more_goes_back_without_a_credit_note_of_its_own(
        self, stripe_sandbox, give_card, at_stripe
    ):
        customer = CustomerFactory()
        subscribe(at=AT, customer=customer, plan=make_pro_plan().plan)
        give_card(customer)
        jobs.send_invoices(AT)
        invoice = Invoice.objects.get(customer=customer)
        credit(invoice, 1_000)
        at_stripe.v1.invoices.pay(
            invoice.stripe_invoice_id or Invoice.objects.get().stripe_voids.get().stripe_invoice_id
        )
        jobs.void_invoices(AT + MINUTE)

        jobs.make_refunds(AT + 2 * MINUTE)

        assert refunds_of(at_stripe) == [(1_000, "succeeded")]
        assert list(at_stripe.v1.credit_notes.list()) == []


class TestFaults:
    @pytest.mark.parametrize("fault", [FaultKind.SERVER_ERROR, FaultKind.TIMEOUT, FaultKind.TIMEOUT_AFTER_COMMIT])
    @pytest.mark.parametrize("call", CALLS)
    def test_any_call_may_go_wrong_and_the_money_goes_back_once(self, paid, wire, at_stripe, call, fault):
        credit(paid, 1_000)
        wire.break_at(call, fault)

        first = jobs.make_refunds(AT + MINUTE)
        wire.heal()
        second = jobs.make_refunds(AT + DAY)

        assert (first.done, second.done) == ((0, 1) if call < 2 else (1, 0))
        assert refunds_of(at_stripe) == [(1_000, "succeeded")]
        assert len(list(at_stripe.v1.credit_notes.list())) == 1
        assert stored() == [(1_000, "succeeded", None)]

    @pytest.mark.parametrize("moment", ["before", "after"])
    @pytest.mark.parametrize("call", CALLS)
    def test_killed_at_any_call_the_next_sweep_goes_on(self, paid, wire, at_stripe, call, moment):
        credit(paid, 1_000)
        wire.kill_at(call, moment)

        with pytest.raises(wire.Killed):
            jobs.make_refunds(AT + MINUTE)
        wire.heal()
        jobs.make_refunds(AT + DAY)

        assert refunds_of(at_stripe) == [(1_000, "succeeded")]
        assert len(list(at_stripe.v1.credit_notes.list())) == 1

    @pytest.mark.parametrize("call", [1, 6])
    def test_a_day_later_stripe_has_forgotten_the_keys_and_what_is_there_is_found(
        self, paid, wire, stripe_sandbox, at_stripe, call
    ):
        credit(paid, 1_000)
        wire.kill_at(call, "after")
        with pytest.raises(wire.Killed):
            jobs.make_refunds(AT + MINUTE)
        wire.heal()
        stripe_sandbox.set_clock(int(stripe_sandbox.clock.now()) + 2 * 24 * 3600)

        assert jobs.make_refunds(AT + 2 * DAY).failed == 0

        assert refunds_of(at_stripe) == [(1_000, "succeeded")]
        assert (Refund.objects.get().credit_at, Refund.objects.get().error) == (None, "")
        assert [note.amount for note in at_stripe.v1.credit_notes.list()] == [1_000]

    def test_after_a_restore_from_a_backup_that_knew_no_attempt_what_is_there_is_found(
        self, paid, stripe_sandbox, at_stripe
    ):
        credit(paid, 1_000)
        jobs.make_refunds(AT + MINUTE)
        restored = {"external_id": None, "status": "pending", "attempts": 0, "refund_at": AT + MINUTE}
        Refund.objects.update(**restored, refunded_at=None, credit_at=None)
        stripe_sandbox.set_clock(int(stripe_sandbox.clock.now()) + 2 * 24 * 3600)

        assert jobs.make_refunds(AT + 2 * DAY).failed == 0

        assert refunds_of(at_stripe) == [(1_000, "succeeded")]
        assert [note.amount for note in at_stripe.v1.credit_notes.list()] == [1_000]

    def test_what_stripe_refuses_is_tried_again_and_says_why(self, paid, at_stripe):
        credit(paid, 2_000)
        # Somebody was faster in Stripe's dashboard, and too little is left.
        intent = at_stripe.v1.payment_intents.list().data[0]
        at_stripe.v1.refunds.create({"payment_intent": intent.id, "amount": 1_500})

        swept = jobs.make_refunds(AT + MINUTE)

        refund = Refund.objects.get()
        assert (swept.done, swept.failed, refund.status) == (0, 1, "pending")
        assert "greater than unrefunded amount" in refund.error
        assert refund.refund_at > AT + MINUTE
        assert payment_body(Payment.objects.get())["refundStatus"] == "pending"

    def test_an_invoice_that_is_on_its_way_to_stripe_is_credited_once_it_is_there(self, paid, at_stripe):
        """As where a checkout's hold has paid it."""
        credit(paid, 1_000)
        intent = at_stripe.v1.payment_intents.list().data[0]
        Payment.objects.update(external_id=intent.id)
        Invoice.objects.filter(pk=paid.pk).update(stripe_sent_at=None)

        assert jobs.make_refunds(AT + MINUTE).done == 1
        assert list(at_stripe.v1.credit_notes.list()) == []

        Invoice.objects.filter(pk=paid.pk).update(stripe_sent_at=AT)
        jobs.make_refunds(AT + MINUTE)
        assert len(list(at_stripe.v1.credit_notes.list())) == 1

    def test_what_was_paid_at_stripe_in_an_earlier_revision_goes_back(self, stripe_sandbox, give_card, at_stripe):
        customer = CustomerFactory()
        subscribe(at=AT, customer=customer, plan=make_pro_plan().plan)
        give_card(customer)
        jobs.send_invoices(AT)
        invoice = Invoice.objects.get(customer=customer)
        sent = invoice.stripe_invoice_id
        credit(invoice, 500)
        # Paid by hand before it was made void there.
        at_stripe.v1.invoices.pay(sent)
        jobs.void_invoices(AT + MINUTE)
        jobs.make_refunds(AT + MINUTE)
        credit(invoice, 600, AT + 2 * MINUTE)

        jobs.make_refunds(AT + 2 * MINUTE)

        assert sorted(refunds_of(at_stripe)) == [(500, "succeeded"), (600, "succeeded")]
        assert [note.amount for note in at_stripe.v1.credit_notes.list({"invoice": sent})] == [600]

    def test_a_credit_that_stripe_refuses_does_not_keep_the_refund_pending(self, paid, at_stripe):
        # Somebody has credited all of it in Stripe's dashboard, out of band.
        at_stripe.v1.credit_notes.create(
            {"invoice": paid.stripe_invoice_id, "amount": 2_900, "out_of_band_amount": 2_900}
        )
        credit(paid, 1_000)

        swept = jobs.make_refunds(AT + MINUTE)

        assert (swept.done, swept.failed) == (1, 1)
        refund = Refund.objects.get()
        assert (refund.status, refund.external_id is not None) == ("succeeded", True)
        assert refund.error
        assert refund.credit_at > AT + MINUTE


class TestEnds:
    @pytest.fixture(autouse=True)
    def endpoint(self, stripe_sandbox):
        """Stripe's events come to our door."""
        gateway.create_webhook_endpoint(url=f"http://127.0.0.1/stripe/webhook/{UUID}", uuid=UUID, events=WEBHOOK_EVENTS)

    def test_a_pending_one_is_made_when_the_bank_says_so(self, give_card, stripe_sandbox):
        credit(paid_by(give_card, "pm_card_pendingRefund"), 1_000)
        jobs.make_refunds(AT + MINUTE)
        assert stored() == [(1_000, "pending", AT + MINUTE + DAY)]
        assert payment_body(Payment.objects.get())["refundStatus"] == "pending"

        hear_from_banks(stripe_sandbox)

        assert stored() == [(1_000, "succeeded", None)]
        assert payment_body(Payment.objects.get())["refundedAmountCents"] == 1_000

    def test_one_that_the_bank_sends_back_says_what_to_do(self, give_card, stripe_sandbox):
        credit(paid_by(give_card, "pm_card_refundFail"), 1_000)
        jobs.make_refunds(AT + MINUTE)
        assert stored() == [(1_000, "succeeded", None)]

        hear_from_banks(stripe_sandbox)

        assert stored() == [(1_000, "failed", None)]
        refund = Refund.objects.get()
        assert refund.error == "The money could not go back: unknown. Pay it in another way."
        assert refund.refunded_at is None
        body = payment_body(Payment.objects.get())
        assert (body["refundStatus"], body["refundedAmountCents"]) == ("failed", 0)

    def test_events_in_any_order_and_twice_come_to_the_same(self, give_card, stripe_sandbox):
        credit(paid_by(give_card, "pm_card_refundFail"), 1_000)
        jobs.make_refunds(AT + MINUTE)
        stripe_sandbox.settle_refunds()
        stripe_sandbox.deliver_pending()
        events = list(StripeInbox.objects.filter(type__startswith="refund."))

        for event in [*reversed(events), *events]:
            inbox.work_off(event=event, at=AT + DAY)

        assert len(events) == 2
        assert stored() == [(1_000, "failed", None)]

    @pytest.mark.parametrize(
        ("news", "ends"),
        [
            (["succeeded", "pending"], "succeeded"),
            (["pending", "succeeded"], "succeeded"),
            (["failed", "succeeded"], "failed"),
            (["succeeded", "failed", "pending"], "failed"),
        ],
    )
    def test_older_news_changes_nothing(self, paid, news, ends):
        credit(paid, 1_000)
        refund = Refund.objects.get()

        for status in news:
            there = RefundAtStripe.told(stripe_id="re_1", status=status, failure_reason="")
            record_refund(refund=refund.public_id, there=there, at=AT + MINUTE)

        refund.refresh_from_db()
        assert refund.status == ends

    def test_without_an_event_it_is_asked_for_a_day_later(self, give_card, stripe_sandbox):
        credit(paid_by(give_card, "pm_card_pendingRefund"), 1_000)
        jobs.make_refunds(AT + MINUTE)
        stripe_sandbox.settle_refunds()

        assert jobs.make_refunds(AT + DAY).done == 0
        assert jobs.make_refunds(AT + MINUTE + DAY).done == 1
        assert stored() == [(1_000, "succeeded", None)]

    def test_one_that_somebody_made_in_stripes_dashboard_is_none_of_ours(self, paid, at_stripe, stripe_sandbox):
        intent = at_stripe.v1.payment_intents.list().data[0]
        there = at_stripe.v1.refunds.create({"payment_intent": intent.id, "amount": 500})
        at_stripe.v1.refunds.update(there.id, {"metadata": {"by": "hand"}})

        stripe_sandbox.deliver_pending()
        assert jobs.work_off_inbox(AT + DAY).failed == 0

        assert not Refund.objects.exists()

    def test_an_event_that_comes_first_leaves_the_invoice_to_be_credited(self, paid, wire, stripe_sandbox, at_stripe):
        credit(paid, 1_000)
        wire.break_at(2, FaultKind.SERVER_ERROR)
        jobs.make_refunds(AT + MINUTE)
        wire.heal()
        hear_from_banks(stripe_sandbox)

        jobs.make_refunds(AT + DAY)

        assert [note.amount for note in at_stripe.v1.credit_notes.list()] == [1_000]


def hear_from_banks(stripe_sandbox):
    stripe_sandbox.settle_refunds()
    stripe_sandbox.deliver_pending()
    assert jobs.work_off_inbox(datetime.now(UTC) + DAY).failed == 0
