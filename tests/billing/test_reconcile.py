"""What is here is compared with what Stripe has: each difference is found, named, and gone once it is mended."""

import json
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
import time_machine
from django.core.management import CommandError, call_command

from billing import gateway, jobs
from billing.jobs.reconcile_sweep import reconcile_nightly, reconcile_with_stripe
from billing.jobs.swept import SweepClock
from billing.models import Checkout, Difference, Invoice, Payment, Reconciliation, Refund, SeenAtStripe, StripeInbox
from billing.sandbox import FaultKind
from billing.services import reconcile
from billing.services.checkout import subscribe_by_checkout
from billing.services.credit_notes import credit_invoice
from billing.services.inbox import store_event
from billing.services.subscribe import subscribe
from billing.services.void import void_invoice
from tests.billing.api.conftest import offer, visitor  # noqa: F401 fixtures
from tests.factories import CustomerFactory
from tests.pro_plan import make_pro_plan

AT = datetime(2026, 10, 31, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LATER = AT + HOUR

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def clock(stripe_sandbox):
    """Stripe's clock, where ours begins."""
    stripe_sandbox.clock.set(AT)
    return stripe_sandbox.clock


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def make_invoice(give_card, pro):
    """Make an invoice of 29.00 that Stripe has, with a customer of its own."""

    def make(token="pm_card_visa", at=AT):
        customer = CustomerFactory()
        subscribe(at=at, customer=customer, plan=pro.plan)
        give_card(customer, token, at=at)
        jobs.send_invoices(at)
        return Invoice.objects.get(customer=customer)

    return make


@pytest.fixture
def issued(make_invoice):
    return make_invoice()


@pytest.fixture
def paid(issued):
    jobs.collect_invoices(AT)
    issued.refresh_from_db()
    assert issued.status == "paid"
    return issued


def compare(at=LATER, since=None):
    run = reconcile.begin(since=since, at=at)
    assert reconcile_with_stripe(run, SweepClock(at))
    return run


def found(at=LATER, since=None):
    compare(at, since)
    return [(one.kind, one.object_type, one.ours, one.theirs) for one in Difference.objects.filter(resolved_at=None)]


def charge_at_stripe(at_stripe, invoice, cents=2_900, metadata=None, **more):
    stripe_id = at_stripe.v1.invoices.retrieve(invoice.stripe_invoice_id).customer
    return at_stripe.v1.payment_intents.create(
        {
            "amount": cents,
            "currency": "usd",
            "customer": stripe_id,
            "payment_method": invoice.customer.payment_methods.get().external_id,
            "confirm": True,
            "off_session": True,
            "metadata": metadata or {},
            **more,
        }
    )


class TestNothingDiffers:
    def test_of_a_fee_that_was_credited_before_a_checkout_took_it(self, visitor, offer, run_sweeps):  # noqa: F811
        with time_machine.travel(AT, tick=False):
            visitor.pay(visitor.init(offer().price))
            checkout = Checkout.objects.get()
            subscribe_by_checkout(checkout=checkout, card=gateway.read_intent(checkout.intent_id).card, at=AT)
            credit_invoice(invoice=Invoice.objects.get(), reason="Sorry", amount_cents=900, at=AT)
            run_sweeps(AT)
            run_sweeps(AT)

        assert Refund.objects.get().status == "succeeded"
        assert found() == []

    def test_of_what_is_issued(self, issued):
        assert found() == []

    def test_of_what_is_paid(self, paid):
        assert found() == []

    def test_of_what_is_refunded_in_part(self, paid):
        credit_invoice(invoice=paid, reason="Sorry", amount_cents=1_000, at=AT)
        jobs.make_refunds(AT)

        assert found() == []

    def test_of_what_is_void(self, issued):
        void_invoice(invoice=issued, reason="Wrong", at=AT + MINUTE)
        jobs.void_invoices(AT + MINUTE)

        assert found() == []

    def test_of_what_was_credited_before_it_was_paid_and_went_to_stripe_anew(self, issued):
        credit_invoice(invoice=issued, reason="Sorry", amount_cents=1_000, at=AT)
        jobs.void_invoices(AT)
        jobs.send_invoices(AT)
        jobs.collect_invoices(AT)

        assert Payment.objects.get().amount_cents == 1_900
        assert found() == []

    def test_of_what_was_paid_although_it_was_credited_meanwhile(self, issued, at_stripe):
        at_stripe.v1.invoices.pay(issued.stripe_invoice_id)
        credit_invoice(invoice=issued, reason="Sorry", amount_cents=1_000, at=AT)
        jobs.void_invoices(AT + MINUTE)
        jobs.make_refunds(AT + MINUTE)

        assert Refund.objects.get().amount_cents == 1_000
        assert found() == []

    def test_of_a_declined_card(self, make_invoice):
        make_invoice("pm_card_chargeCustomerFail")
        jobs.collect_invoices(AT)

        assert found() == []

    def test_of_objects_that_others_make_in_the_same_account(self, paid, at_stripe):
        customer = at_stripe.v1.customers.create({"name": "Somebody else's"}).id
        method = at_stripe.v1.payment_methods.attach("pm_card_visa", {"customer": customer}).id
        charged = {"customer": customer, "payment_method": method, "confirm": True, "off_session": True}
        intent = at_stripe.v1.payment_intents.create({"amount": 500, "currency": "usd", **charged})
        at_stripe.v1.refunds.create({"payment_intent": intent.id})
        theirs = at_stripe.v1.invoices.create({"customer": customer, "currency": "usd"}).id
        at_stripe.v1.invoice_items.create({"customer": customer, "invoice": theirs, "amount": 700, "currency": "usd"})
        at_stripe.v1.invoices.finalize_invoice(theirs)
        at_stripe.v1.invoices.pay(theirs, {"payment_method": method})

        assert found() == []

    def test_and_nothing_that_was_read_is_kept(self, paid):
        run = compare()

        assert SeenAtStripe.objects.count() == 0
        # The invoice, its payment and its payment intent.
        assert (run.read, run.looked_again, run.unsettled) == (3, 0, 0)


class TestDifferences:
    def test_paid_at_stripe_and_not_here(self, issued, at_stripe):
        at_stripe.v1.invoices.pay(issued.stripe_invoice_id)

        assert found() == [("paid_there", "invoice", "issued, $29.00", "paid, $29.00")]
        one = Difference.objects.get()
        assert (one.object_id, one.stripe_id, one.made_at) == (issued.public_id, issued.stripe_invoice_id, AT)

    def test_what_a_sweep_mends_is_resolved_the_next_time(self, issued, at_stripe):
        at_stripe.v1.invoices.pay(issued.stripe_invoice_id)
        compare()
        jobs.collect_invoices(AT)

        assert found(LATER + DAY) == []
        assert Difference.objects.get().resolved_at == LATER + DAY

    def test_found_again_it_is_the_same_row(self, issued, at_stripe):
        at_stripe.v1.invoices.pay(issued.stripe_invoice_id)
        compare()
        compare(LATER + DAY)

        one = Difference.objects.get()
        assert (one.first_seen_at, one.last_seen_at, one.resolved_at) == (LATER, LATER + DAY, None)

    def test_a_resolved_one_that_comes_back_is_a_new_row(self, paid):
        Invoice.objects.filter(pk=paid.pk).update(stripe_invoice_id="in_gone", stripe_sent_at=AT)
        compare()
        Invoice.objects.filter(pk=paid.pk).update(stripe_invoice_id=Payment.objects.get().external_id)
        compare(LATER + DAY)
        Invoice.objects.filter(pk=paid.pk).update(stripe_invoice_id="in_gone")
        compare(LATER + 2 * DAY)

        rows = Difference.objects.filter(kind="missing_there").order_by("pk")
        assert [row.resolved_at for row in rows] == [LATER + DAY, None]

    def test_paid_here_and_not_at_stripe(self, issued):
        Payment.objects.create(
            customer=issued.customer, invoice=issued, status="succeeded", amount_cents=2_900, currency="USD",
            external_id=issued.stripe_invoice_id, created_at=AT,
        )  # fmt: skip
        Invoice.objects.filter(pk=issued.pk).update(status="paid", paid_at=AT)

        assert found() == [("paid_here", "invoice", "paid, $29.00", "open, $29.00")]

    def test_another_total(self, issued, stripe_sandbox):
        there = stripe_sandbox.store.find(issued.stripe_invoice_id)
        stripe_sandbox.store.put({**there, "total": 3_000})

        assert found() == [("amount_differs", "invoice", "issued, $29.00", "open, $30.00")]

    def test_another_currency(self, issued, stripe_sandbox):
        there = stripe_sandbox.store.find(issued.stripe_invoice_id)
        stripe_sandbox.store.put({**there, "currency": "eur"})

        assert found() == [("amount_differs", "invoice", "issued, $29.00", "open, €29.00")]

    def test_another_amount_was_paid(self, paid):
        Payment.objects.update(amount_cents=2_800)

        assert found() == [("amount_differs", "invoice", "paid, $28.00", "paid, $29.00")]

    def test_void_there_and_open_here(self, issued, at_stripe):
        at_stripe.v1.invoices.void_invoice(issued.stripe_invoice_id)

        assert found() == [("status_differs", "invoice", "issued, $29.00", "void, $29.00")]

    def test_uncollectible_there_and_open_here(self, issued, at_stripe):
        at_stripe.v1.invoices.mark_uncollectible(issued.stripe_invoice_id)

        assert found() == [("status_differs", "invoice", "issued, $29.00", "uncollectible, $29.00")]

    def test_open_there_and_void_here(self, issued):
        void_invoice(invoice=issued, reason="Wrong", at=AT)
        issued.stripe_voids.update(voided_at=AT)

        assert found() == [("status_differs", "invoice", "void, $29.00", "open, $29.00")]

    @pytest.fixture
    def paid_twice(self, paid, at_stripe):
        there = at_stripe.v1.invoices.retrieve(paid.stripe_invoice_id)
        copied = at_stripe.v1.invoices.create(
            {"customer": there.customer, "currency": "usd", "metadata": dict(there.metadata)}
        )
        line = {"customer": there.customer, "invoice": copied.id, "amount": 2_900, "currency": "usd"}
        at_stripe.v1.invoice_items.create(line)
        at_stripe.v1.invoices.finalize_invoice(copied.id)
        at_stripe.v1.invoices.pay(copied.id)
        return paid

    def test_charged_twice(self, paid_twice):
        assert found() == [("paid_twice", "invoice", "paid, $29.00", "2 payments, $58.00")]

    @pytest.mark.parametrize("cents", [900, 2_900])
    def test_charged_twice_still_when_a_credit_note_has_given_back_what_it_credits(self, paid_twice, cents):
        credit_invoice(invoice=paid_twice, reason="Sorry", amount_cents=cents, at=AT)
        jobs.make_refunds(AT)

        assert found() == [("paid_twice", "invoice", "paid, $29.00", "2 payments, $58.00")]

    def test_charged_twice_no_more_when_somebody_has_given_one_back_at_stripe(self, paid_twice, at_stripe):
        """The credit note's 9.00 go back too, of the other payment."""
        ours = Payment.objects.get().external_id
        second = next(
            one.payment.payment_intent for one in at_stripe.v1.invoice_payments.list().data if one.invoice != ours
        )
        at_stripe.v1.refunds.create({"payment_intent": second, "amount": 2_900})
        credit_invoice(invoice=paid_twice, reason="Sorry", amount_cents=900, at=AT)
        jobs.make_refunds(AT)

        assert "paid_twice" not in [kind for kind, *_ in found()]

    def test_a_copy_of_an_invoice_that_somebody_could_pay(self, issued, at_stripe):
        there = at_stripe.v1.invoices.retrieve(issued.stripe_invoice_id)
        at_stripe.v1.invoices.create({"customer": there.customer, "currency": "usd", "metadata": dict(there.metadata)})

        assert found() == [("unknown_invoice", "invoice", "issued, $29.00", "draft, $0.00")]

    def test_charged_twice_and_one_given_back_at_stripe_is_mended(self, paid_twice, at_stripe):
        self.test_charged_twice(paid_twice)
        intents = at_stripe.v1.payment_intents.list().data
        at_stripe.v1.refunds.create({"payment_intent": intents[0].id})

        assert found(LATER + DAY) == []

    @pytest.mark.parametrize("metadata", [{"candela_checkout": "chk_nobodys"}, {"candela_invoice": "inv_nobodys"}])
    def test_a_payment_with_our_metadata_that_belongs_to_nothing(self, issued, at_stripe, metadata):
        intent = charge_at_stripe(at_stripe, issued, 700, metadata)

        assert found() == [("unknown_payment", "intent", "nothing", "succeeded, $7.00")]
        assert Difference.objects.get().stripe_id == intent.id

    def test_money_that_is_held_for_nothing(self, issued, at_stripe):
        charge_at_stripe(at_stripe, issued, 700, {"candela_checkout": "chk_nobodys"}, capture_method="manual")

        assert found() == [("unknown_payment", "intent", "nothing", "requires capture, $7.00")]

    def test_an_intent_that_nobody_confirmed_is_no_money(self, issued, at_stripe):
        at_stripe.v1.payment_intents.create(
            {"amount": 700, "currency": "usd", "metadata": {"candela_checkout": "chk_nobodys"}}
        )

        assert found() == []

    def test_a_refund_that_somebody_made_at_stripe(self, paid, at_stripe):
        intent = at_stripe.v1.payment_intents.list().data[0].id
        refund = at_stripe.v1.refunds.create({"payment_intent": intent, "amount": 500})

        assert found() == [("refund_there", "refund", "nothing", "succeeded, $5.00")]
        assert Difference.objects.get().stripe_id == refund.id

    def test_a_refund_of_a_payment_that_is_older_than_what_is_compared(self, paid, at_stripe, clock):
        compare()
        clock.set(AT + 60 * DAY)
        intent = at_stripe.v1.payment_intents.list().data[0].id
        at_stripe.v1.refunds.create({"payment_intent": intent, "amount": 500})

        assert [kind for kind, *_ in found(AT + 61 * DAY, since=AT + 50 * DAY)] == ["refund_there"]

    def test_a_refund_that_stripe_does_not_have(self, paid, stripe_sandbox):
        credit_invoice(invoice=paid, reason="Sorry", amount_cents=1_000, at=AT)
        jobs.make_refunds(AT)
        stripe_sandbox.store.delete(Refund.objects.get().external_id)

        assert found() == [("refund_here", "refund", "succeeded, $10.00", "not there")]

    def test_a_refund_of_another_amount(self, paid):
        credit_invoice(invoice=paid, reason="Sorry", amount_cents=1_000, at=AT)
        jobs.make_refunds(AT)
        Refund.objects.update(amount_cents=900)

        assert found() == [("refund_differs", "refund", "succeeded, $9.00", "succeeded, $10.00")]

    def test_a_refund_that_failed_later(self, make_invoice, stripe_sandbox):
        invoice = make_invoice("pm_card_refundFail")
        jobs.collect_invoices(AT)
        invoice.refresh_from_db()
        credit_invoice(invoice=invoice, reason="Sorry", amount_cents=1_000, at=AT)
        jobs.make_refunds(AT)
        stripe_sandbox.settle_refunds()

        assert found() == [("refund_differs", "refund", "succeeded, $10.00", "failed, $10.00")]

    def test_an_invoice_with_our_id_that_we_do_not_know(self, issued, at_stripe):
        customer = at_stripe.v1.invoices.retrieve(issued.stripe_invoice_id).customer
        theirs = at_stripe.v1.invoices.create(
            {"customer": customer, "currency": "usd", "metadata": {"candela_invoice": "inv_lost"}}
        )

        assert found() == [("unknown_invoice", "invoice", "nothing", "draft, $0.00")]
        at_stripe.v1.invoices.delete(theirs.id)
        assert found(LATER + MINUTE) == []

    def test_an_invoice_that_stripe_does_not_have(self, paid, stripe_sandbox):
        stripe_sandbox.store.delete(paid.stripe_invoice_id)

        assert found() == [("missing_there", "invoice", "paid, $29.00", "not there")]

    def test_an_invoice_whose_metadata_somebody_removed_is_still_ours(self, paid, at_stripe):
        at_stripe.v1.invoices.update(paid.stripe_invoice_id, {"metadata": ""})

        assert found() == []

    @pytest.mark.parametrize(
        "metadata",
        [
            {"candela_invoice": "x" * 500, "candela_revision": "one"},
            {"candela_invoice": "'; DROP TABLE billing_invoice; --", "candela_revision": "9" * 400},
            {"candela_invoice": "%s %(run)s {}", "candela_revision": "-1"},
        ],
    )
    def test_nonsense_in_metadata_is_an_invoice_that_we_do_not_know(self, issued, at_stripe, metadata):
        customer = at_stripe.v1.invoices.retrieve(issued.stripe_invoice_id).customer
        at_stripe.v1.invoices.create({"customer": customer, "currency": "usd", "metadata": metadata})
        at_stripe.v1.payment_intents.create({"amount": 700, "currency": "usd", "metadata": metadata})

        assert [kind for kind, *_ in found()] == ["unknown_invoice"]


class TestUnderWay:
    def test_what_stripe_made_in_the_last_minutes_is_not_compared(self, issued, at_stripe, clock):
        clock.set(LATER - MINUTE)
        charge_at_stripe(at_stripe, issued, 700, {"candela_checkout": "chk_nobodys"})

        assert found() == []
        assert len(found(LATER + HOUR)) == 1

    def test_what_is_being_charged_is_not_compared(self, issued, at_stripe):
        at_stripe.v1.invoices.pay(issued.stripe_invoice_id)
        Invoice.objects.filter(pk=issued.pk).update(charge_started_at=LATER - MINUTE, collect_at=LATER + 9 * MINUTE)

        assert found() == []

    def test_what_waits_in_the_inbox_is_not_compared(self, issued, at_stripe):
        at_stripe.v1.invoices.pay(issued.stripe_invoice_id)
        news = {"id": "evt_1", "type": "invoice.paid", "data": {"object": {"id": issued.stripe_invoice_id}}}
        store_event(event=news, at=AT)

        assert found() == []

    def test_an_event_that_could_not_be_worked_off_hides_nothing(self, issued, at_stripe):
        at_stripe.v1.invoices.pay(issued.stripe_invoice_id)
        news = {"id": "evt_1", "type": "invoice.paid", "data": {"object": {"id": issued.stripe_invoice_id}}}
        store_event(event=news, at=AT)
        StripeInbox.objects.update(error="AmountMismatch")

        assert [kind for kind, *_ in found()] == ["paid_there"]

    def test_what_is_on_its_way_to_stripe_is_not_compared(self, give_card, pro, wire):
        customer = CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan)
        give_card(customer)
        wire.kill_at(2, "after")
        with pytest.raises(wire.Killed):
            jobs.send_invoices(AT)
        wire.heal()

        assert found() == []

    def test_what_moved_while_stripe_was_read_is_looked_at_again(self, issued, at_stripe):
        run = reconcile.begin(since=None, at=LATER)
        clock = SweepClock(LATER)
        slices = iter([True, False])
        assert not reconcile_with_stripe(run, clock, lambda: next(slices))
        assert run.stage == "payment"
        # Here as paid, as of long ago, so that only a second look can tell.
        at_stripe.v1.invoices.pay(issued.stripe_invoice_id)
        jobs.collect_invoices(AT)

        assert reconcile_with_stripe(run, clock)

        assert Difference.objects.count() == 0
        assert run.looked_again == 1


class TestNightly:
    def test_goes_over_everything_and_then_over_the_last_weeks(self, issued):
        for night in range(9):
            assert reconcile_nightly(LATER + night * DAY).done == 1

        since = Reconciliation.objects.order_by("pk").values_list("since", flat=True)
        assert [night for night, begin in enumerate(since) if begin is None] == [0, 7]
        assert since[1] == LATER + DAY - timedelta(days=35)

    def test_once_a_night(self, issued):
        done = [reconcile_nightly(LATER + minutes * MINUTE).done for minutes in range(0, 60, 5)]

        assert sum(done) == 1

    def test_begins_at_three(self, issued):
        midnight = datetime(2026, 11, 1, tzinfo=UTC)
        reconcile_nightly(midnight)

        assert reconcile_nightly(midnight + 2 * HOUR).done == 0
        assert reconcile_nightly(midnight + 3 * HOUR).done == 1

    def test_a_slice_goes_on_where_the_one_before_has_stopped(self, issued, wire):
        for number in range(20):
            steps = iter([True, False])
            swept = reconcile_nightly(LATER + number * MINUTE, lambda steps=steps: next(steps))
            if swept.done:
                break

        assert wire.calls[-5:] == [
            "GET /v1/invoices", "GET /v1/invoice_payments", "GET /v1/payment_intents", "GET /v1/refunds",
            "GET /v1/disputes",
        ]  # fmt: skip
        assert Reconciliation.objects.get().finished_at is not None

    @pytest.mark.parametrize("moment", ["before", "after"])
    @pytest.mark.parametrize("call", range(6))
    def test_killed_at_any_call_the_next_slice_after_the_lease_goes_on(self, issued, at_stripe, wire, call, moment):
        at_stripe.v1.invoices.pay(issued.stripe_invoice_id)
        wire.kill_at(call, moment)
        with pytest.raises(wire.Killed):
            reconcile_nightly(LATER)
        wire.heal()

        assert reconcile_nightly(LATER + MINUTE).done == 0
        assert reconcile_nightly(LATER + 11 * MINUTE).done == 1
        assert [one.kind for one in Difference.objects.all()] == ["paid_there"]
        # Six in all: what was read before the kill is not read again.
        assert len(wire.calls) == 6 - call

    def test_two_workers_at_once_do_it_once(self, issued):
        run = reconcile.claim_nightly(at=LATER, now=LATER)
        assert reconcile.claim_nightly(at=LATER, now=LATER) is None
        other = Reconciliation.objects.get(pk=run.pk)
        slices = iter([True, False])
        reconcile_with_stripe(run, SweepClock(LATER), lambda: next(slices))

        with pytest.raises(reconcile.AnotherSlice):
            reconcile_with_stripe(other, SweepClock(LATER))

    def test_what_a_night_did_not_finish_is_dropped(self, issued):
        reconcile_nightly(LATER, lambda: False)

        assert reconcile_nightly(LATER + DAY).done == 1
        assert Reconciliation.objects.get().began_at == LATER + DAY

    def test_stripe_unreachable_it_goes_on_later(self, issued, wire):
        wire.break_at(1, FaultKind.TIMEOUT)

        assert reconcile_nightly(LATER).unavailable
        wire.heal()
        assert reconcile_nightly(LATER + MINUTE).done == 1

    def test_pages_of_a_hundred(self, issued, at_stripe, wire):
        customer = at_stripe.v1.invoices.retrieve(issued.stripe_invoice_id).customer
        for number in range(201):
            metadata = {"candela_invoice": f"inv_{number}"}
            at_stripe.v1.invoices.create({"customer": customer, "currency": "usd", "metadata": metadata})

        run = compare()

        assert wire.calls.count("GET /v1/invoices") == 3
        assert Difference.objects.filter(kind="unknown_invoice").count() == 201
        assert run.looked_again == 201

    def test_a_list_whose_place_is_gone_is_read_again(self, issued, at_stripe):
        customer = at_stripe.v1.invoices.retrieve(issued.stripe_invoice_id).customer
        drafts = [at_stripe.v1.invoices.create({"customer": customer, "currency": "usd"}).id for _ in range(150)]
        run = reconcile.begin(since=None, at=LATER)
        slices = iter([True, False])
        reconcile_with_stripe(run, SweepClock(LATER), lambda: next(slices))
        for draft in drafts:
            at_stripe.v1.invoices.delete(draft)

        assert reconcile_with_stripe(run, SweepClock(LATER))
        assert Difference.objects.count() == 0

    def test_far_too_many_are_not_looked_at_one_by_one(self, issued, at_stripe, monkeypatch):
        monkeypatch.setattr(reconcile, "MOST_LOOKS", 2)
        customer = at_stripe.v1.invoices.retrieve(issued.stripe_invoice_id).customer
        for number in range(5):
            metadata = {"candela_invoice": f"inv_{number}"}
            at_stripe.v1.invoices.create({"customer": customer, "currency": "usd", "metadata": metadata})

        run = compare()

        assert (run.looked_again, run.unsettled, Difference.objects.count()) == (2, 3, 2)


class TestScope:
    def test_what_is_older_is_left_as_it_stands(self, issued, at_stripe):
        at_stripe.v1.invoices.pay(issued.stripe_invoice_id)
        compare()
        jobs.collect_invoices(AT)

        compare(AT + 60 * DAY, since=AT + 50 * DAY)
        assert Difference.objects.get().resolved_at is None
        compare(AT + 60 * DAY)
        assert Difference.objects.get().resolved_at == AT + 60 * DAY


class TestCommand:
    def run(self, *args):
        with time_machine.travel(LATER, tick=False):
            out = StringIO()
            try:
                call_command("reconcile", *args, stdout=out)
            except SystemExit as end:
                return end.code, out.getvalue()
            return 0, out.getvalue()

    def test_nothing_differs(self, paid):
        code, text = self.run()

        assert code == 0
        assert text == "Read 3 objects at Stripe, from the beginning until 2026-10-31 10:50 UTC.\nNothing differs.\n"

    def test_differences_are_a_table_and_an_exit_code(self, issued, at_stripe):
        at_stripe.v1.invoices.pay(issued.stripe_invoice_id)

        code, text = self.run()

        assert code == 1
        (row,) = [line for line in text.splitlines() if issued.public_id in line]
        assert row.split("  ") == [
            "paid at Stripe, not here", issued.public_id, issued.stripe_invoice_id, "issued, $29.00", "paid, $29.00"
        ]  # fmt: skip

    def test_as_json(self, issued, at_stripe):
        at_stripe.v1.invoices.pay(issued.stripe_invoice_id)

        code, text = self.run("--json")

        (one,) = json.loads(text)["differences"]
        assert (code, one["kind"], one["objectId"], one["theirs"]) == (
            1,
            "paid_there",
            issued.public_id,
            "paid, $29.00",
        )

    def test_since_a_day(self, issued, at_stripe, clock):
        at_stripe.v1.invoices.pay(issued.stripe_invoice_id)

        assert self.run("--since", "2026-10-31")[0] == 1
        with time_machine.travel(AT + 9 * DAY, tick=False):
            call_command("reconcile", "--since", "2026-11-05", stdout=StringIO())

    @pytest.mark.parametrize("day", ["yesterday", "2026-11-31", "2026-11-01", "9999-99-99", ""])
    def test_a_day_that_is_none_is_refused(self, issued, day):
        with pytest.raises(CommandError, match="--since"):
            self.run("--since", day)

    def test_stripe_unreachable_is_said_and_nothing_is_left_behind(self, issued, wire):
        wire.break_at(2, FaultKind.TIMEOUT)

        with pytest.raises(CommandError, match="Stripe cannot be reached, so nothing was compared") as refused:
            self.run()

        assert refused.value.returncode == 2
        assert (Reconciliation.objects.count(), SeenAtStripe.objects.count()) == (0, 0)
