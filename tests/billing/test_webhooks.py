"""Stripe's events: taken at the door when they are signed, kept, and worked off in any order."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import time_machine
from django.test import Client
from djstripe import models as mirrored
from stripe import WebhookSignature

from billing import gateway, jobs
from billing.models import Invoice, Payment, StripeInbox
from billing.services.park import unpark_customer
from billing.services.subscribe import subscribe
from tests.factories import CustomerFactory
from tests.pro_plan import make_pro_plan

NOW = datetime(2026, 1, 31, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
AFTER_THE_LEASE = timedelta(minutes=11)
UUID_OF_OURS = UUID("11111111-2222-4333-8444-555555555555")
DOOR = f"/stripe/webhook/{UUID_OF_OURS}"

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("stripe_sandbox")]


@pytest.fixture(autouse=True)
def now():
    """The door reads the clock; it stands still."""
    with time_machine.travel(NOW, tick=False):
        yield NOW


@pytest.fixture
def endpoint():
    """The endpoint at Stripe that sends everything here."""
    gateway.create_webhook_endpoint(url=f"http://127.0.0.1{DOOR}", uuid=str(UUID_OF_OURS), events=["*"])
    return mirrored.WebhookEndpoint.objects.get()


@pytest.fixture
def issued(give_card):
    """An invoice of 29.00 that Stripe has and that nobody has paid."""
    pro, customer = make_pro_plan(), CustomerFactory()
    subscribe(at=NOW, customer=customer, plan=pro.plan)
    give_card(customer)
    jobs.send_invoices(NOW)
    return Invoice.objects.get()


def event(stripe_invoice=None, *, type_="invoice.paid", id_="evt_1"):
    return {
        "id": id_,
        "object": "event",
        "api_version": "2026-08-26.dahlia",
        "created": 1_790_000_000,
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": type_,
        "data": {"object": {"id": "in_1", "object": "invoice"} | (stripe_invoice or {})},
    }


def paid_event(invoice, *, id_="evt_1", amount=2_900, type_="invoice.paid"):
    stripe_invoice = {
        "id": invoice.stripe_invoice_id,
        "metadata": {"candela_invoice": invoice.public_id},
        "amount_paid": amount,
        "currency": "usd",
    }
    return event(stripe_invoice, id_=id_, type_=type_)


def post(body, secret, *, door=DOOR, **headers):
    """Post an event, signed with a secret as Stripe does it."""
    text = json.dumps(body)
    signed = {"Stripe-Signature": WebhookSignature.generate_signature_header(text, secret)}
    return Client().post(door, text, content_type="application/json", headers=signed | headers).status_code


class TestTheDoor:
    def test_a_signed_event_is_kept_to_be_worked_off(self, endpoint):
        body = event()

        assert post(body, endpoint.secret) == 200

        kept = StripeInbox.objects.get()
        assert (kept.stripe_event_id, kept.type, kept.payload) == ("evt_1", "invoice.paid", body)
        assert (kept.received_at, kept.process_at, kept.processed_at) == (NOW, NOW, None)

    def test_twice_is_kept_once(self, endpoint):
        assert [post(event(), endpoint.secret), post(event(), endpoint.secret)] == [200, 200]

        assert StripeInbox.objects.count() == 1

    def test_what_the_sandbox_sends_is_taken(self, endpoint, at_stripe, stripe_sandbox):
        at_stripe.v1.customers.create({"name": "Somebody"})

        stripe_sandbox.deliver_pending()

        assert list(StripeInbox.objects.values_list("type", flat=True)) == ["customer.created"]
        assert stripe_sandbox.state()["webhooks"] == {"pending": 0, "delivered": 1, "abandoned": 0}

    def test_a_wrong_signature_is_refused(self, endpoint):
        assert post(event(), "whsec_of_somebody_else") == 400

        assert StripeInbox.objects.count() == 0

    def test_an_old_signature_is_refused(self, endpoint):
        text = json.dumps(event())
        signature = WebhookSignature.generate_signature_header(
            text, endpoint.secret, timestamp=int(NOW.timestamp()) - 3_600
        )

        answer = Client().post(DOOR, text, content_type="application/json", headers={"Stripe-Signature": signature})

        assert answer.status_code == 400
        assert StripeInbox.objects.count() == 0

    def test_no_signature_is_refused(self, endpoint):
        assert Client().post(DOOR, json.dumps(event()), content_type="application/json").status_code == 400

        assert StripeInbox.objects.count() == 0

    @pytest.mark.parametrize("debug", [True, False])
    def test_the_sender_cannot_name_the_secret_itself(self, endpoint, settings, debug):
        settings.DEBUG = debug

        status = post(event(), "whsec_forged", **{"X-djstripe-webhook-secret": "whsec_forged"})

        assert status == 400
        assert StripeInbox.objects.count() == 0

    def test_an_unknown_endpoint_is_not_there(self, endpoint):
        other = "/stripe/webhook/99999999-2222-4333-8444-555555555555"

        assert post(event(), endpoint.secret, door=other) == 404
        assert StripeInbox.objects.count() == 0


class TestWorkingOff:
    def test_an_invoice_paid_at_stripe_is_paid_here(self, endpoint, issued, at_stripe, stripe_sandbox):
        at_stripe.v1.invoices.pay(issued.stripe_invoice_id)
        stripe_sandbox.deliver_pending()

        swept = jobs.work_off_inbox(NOW)

        issued.refresh_from_db()
        payment = Payment.objects.get()
        assert (swept.failed, StripeInbox.objects.filter(processed_at=None).count()) == (0, 0)
        assert (issued.status, issued.paid_at, issued.collect_at) == ("paid", NOW, None)
        assert (payment.status, payment.amount_cents, payment.external_id) == (
            "succeeded",
            2_900,
            issued.stripe_invoice_id,
        )

    def test_the_event_is_mirrored(self, endpoint, issued, at_stripe, stripe_sandbox):
        at_stripe.v1.invoices.pay(issued.stripe_invoice_id)
        stripe_sandbox.deliver_pending()

        jobs.work_off_inbox(NOW)

        assert mirrored.Event.objects.filter(type="invoice.paid").count() == 1
        assert mirrored.Invoice.objects.get(id=issued.stripe_invoice_id).stripe_data["status"] == "paid"

    def test_the_event_first_and_our_own_answer_later_pay_once(self, endpoint, issued, at_stripe):
        at_stripe.v1.invoices.pay(issued.stripe_invoice_id)
        post(paid_event(issued), endpoint.secret)

        jobs.work_off_inbox(NOW)
        jobs.collect_invoices(NOW)

        assert Payment.objects.count() == 1

    def test_our_own_answer_first_and_the_event_later_pay_once(self, endpoint, issued):
        jobs.collect_invoices(NOW)
        post(paid_event(issued), endpoint.secret)

        swept = jobs.work_off_inbox(NOW + timedelta(days=30))

        assert (swept.done, swept.failed) == (1, 0)
        assert Payment.objects.get().created_at == NOW

    def test_two_events_about_one_payment_pay_once_in_either_order(self, endpoint, issued):
        post(paid_event(issued, id_="evt_2", type_="invoice.payment_succeeded"), endpoint.secret)
        post(paid_event(issued, id_="evt_1"), endpoint.secret)

        jobs.work_off_inbox(NOW)

        assert Payment.objects.count() == 1
        assert StripeInbox.objects.filter(processed_at=NOW).count() == 2

    def test_an_event_that_was_worked_off_is_not_worked_off_again(self, endpoint, issued):
        post(paid_event(issued), endpoint.secret)
        jobs.work_off_inbox(NOW)
        post(paid_event(issued), endpoint.secret)

        assert jobs.work_off_inbox(NOW + timedelta(days=1)).done == 0

    def test_news_of_an_invoice_that_we_did_not_know_to_be_sent(self, endpoint, give_card, at_stripe, wire):
        pro, customer = make_pro_plan(), CustomerFactory()
        subscribe(at=NOW, customer=customer, plan=pro.plan)
        give_card(customer)
        wire.kill_at(3, "after")
        with pytest.raises(wire.Killed):
            jobs.send_invoices(NOW)
        wire.heal()
        (at_theirs,) = at_stripe.v1.invoices.list().data
        at_stripe.v1.invoices.pay(at_theirs.id)
        invoice = Invoice.objects.get()
        invoice.stripe_invoice_id = at_theirs.id
        post(paid_event(invoice), endpoint.secret)

        jobs.work_off_inbox(NOW)
        jobs.send_invoices(NOW + AFTER_THE_LEASE)

        invoice.refresh_from_db()
        assert (invoice.status, invoice.stripe_invoice_id) == ("paid", at_theirs.id)
        assert len(at_stripe.v1.invoices.list().data) == 1

    @pytest.mark.parametrize("metadata", [{}, None, {"candela_invoice": "inv_of_another_installation"}])
    def test_invoices_of_others_are_none_of_ours(self, endpoint, issued, metadata):
        post(event({"metadata": metadata, "amount_paid": 2_900, "currency": "usd"}), endpoint.secret)

        swept = jobs.work_off_inbox(NOW)

        assert (swept.done, swept.failed, Payment.objects.count()) == (1, 0, 0)
        assert StripeInbox.objects.get().processed_at == NOW

    def test_an_event_that_fails_is_kept_and_tried_again(self, endpoint, issued):
        post(paid_event(issued, amount=100), endpoint.secret)

        first = jobs.work_off_inbox(NOW)
        waiting = StripeInbox.objects.get()
        too_early = jobs.work_off_inbox(NOW + MINUTE / 2)
        # A payment of another amount parks the customer until somebody has looked.
        unpark_customer(customer=issued.customer)
        jobs.collect_invoices(NOW)
        later = jobs.work_off_inbox(NOW + MINUTE)

        assert (first.done, first.failed) == (0, 1)
        assert (waiting.processed_at, waiting.attempts, waiting.process_at) == (None, 1, NOW + MINUTE)
        assert waiting.error == f"AmountMismatch: invoice {issued.number}: 100 were paid, 2900 of 2900 are open"
        assert (too_early.done, too_early.failed) == (0, 0)
        assert (later.done, later.failed) == (1, 0)
        assert (StripeInbox.objects.get().processed_at, StripeInbox.objects.get().error) == (NOW + MINUTE, "")
        assert Payment.objects.get().amount_cents == 2_900

    def test_one_failing_event_does_not_hold_up_the_others(self, endpoint, issued):
        post(paid_event(issued, id_="evt_1", amount=100), endpoint.secret)
        post(paid_event(issued, id_="evt_2"), endpoint.secret)

        swept = jobs.work_off_inbox(NOW)

        issued.refresh_from_db()
        assert (swept.done, swept.failed, issued.status) == (1, 1, "paid")
