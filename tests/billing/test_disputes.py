"""Disputes are recorded for the payment that they are about, in any order, and nothing is given back against them."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from billing import gateway, jobs
from billing.books import check_books
from billing.jobs.reconcile_sweep import reconcile_with_stripe
from billing.jobs.swept import SweepClock
from billing.models import Difference, Dispute, Invoice, Payment, Refund, StripeInbox
from billing.sandbox import FaultKind
from billing.services import reconcile
from billing.services.credit_notes import credit_invoice
from billing.services.creditable import open_charges
from billing.services.disputes import PaymentDisputed
from billing.services.inbox import store_event
from billing.services.proration import issue_credit_note
from billing.services.subscribe import subscribe
from config.first_start import WEBHOOK_EVENTS
from tests.factories import CustomerFactory
from tests.pro_plan import make_pro_plan

AT = datetime(2026, 10, 31, 10, tzinfo=UTC)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def clock(stripe_sandbox):
    stripe_sandbox.clock.set(AT)
    return stripe_sandbox.clock


@pytest.fixture
def disputed(stripe_sandbox, give_card):
    """A paid invoice of 29.00 whose payment the customer disputes as fraudulent; nobody has told us of it yet."""
    customer = CustomerFactory(invoice_prefix="ADA")
    subscribe(at=AT, customer=customer, plan=make_pro_plan().plan)
    give_card(customer, "pm_card_createDispute")
    jobs.send_invoices(AT)
    jobs.collect_invoices(AT)
    return Invoice.objects.get()


@pytest.fixture(autouse=True)
def books_add_up():
    yield
    assert [offender for finding in check_books(at=AT + DAY) for offender in finding.offenders] == []


def events(at_stripe):
    """What Stripe tells of disputes, oldest first."""
    told = at_stripe.v1.events.list({"type": "charge.dispute.*", "limit": 100}).data
    return [json.loads(str(event)) for event in reversed(told)]


def hear(event, at=AT):
    store_event(event=event, at=at)
    return jobs.work_off_inbox(at)


def there(at_stripe):
    (dispute,) = at_stripe.v1.disputes.list().data
    return dispute


class TestRecorded:
    def test_for_the_payment_that_it_is_about(self, disputed, at_stripe):
        created = events(at_stripe)[0]
        assert hear(created).failed == 0

        dispute, payment = Dispute.objects.get(), Payment.objects.get()
        assert (dispute.invoice, dispute.payment, dispute.customer) == (disputed, payment, disputed.customer)
        assert (dispute.amount_cents, dispute.currency, dispute.reason) == (2_900, "USD", "fraudulent")
        assert (dispute.status, dispute.opened_at, dispute.closed_at) == ("needs_response", AT, None)
        # Nine days.
        assert dispute.evidence_due_at == AT + 9 * DAY
        assert dispute.charge_id == there(at_stripe).charge
        assert payment.intent_id == dispute.intent_id == there(at_stripe).payment_intent
        disputed.refresh_from_db()
        assert disputed.status == "paid"

    def test_by_a_webhook(self, disputed, at_stripe, stripe_sandbox):
        gateway.create_webhook_endpoint(
            url="http://127.0.0.1/stripe/webhook/11111111-2222-4333-8444-555555555555",
            uuid="11111111-2222-4333-8444-555555555555",
            events=WEBHOOK_EVENTS,
        )
        stripe_sandbox.close_dispute(there(at_stripe).id, won=False)
        stripe_sandbox.deliver_pending()

        jobs.work_off_inbox(datetime.now(UTC))

        assert Dispute.objects.get().status == "lost"

    def test_stripe_is_asked_once(self, disputed, at_stripe, wire):
        for event in events(at_stripe):
            store_event(event=event, at=AT)
        wire.heal()
        jobs.work_off_inbox(AT)

        assert wire.calls.count("GET /v1/invoice_payments") == 1

    @pytest.mark.parametrize("won", [True, False])
    @pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1), (0, 0, 3, 3), (2, 1, 2, 0)])
    def test_in_any_order_and_twice(self, disputed, at_stripe, stripe_sandbox, clock, order, won):
        clock.set(AT + DAY)
        at_stripe.v1.disputes.update(there(at_stripe).id, {"evidence": {"uncategorized_text": "It was she."}})
        clock.set(AT + 2 * DAY)
        stripe_sandbox.close_dispute(there(at_stripe).id, won=won)
        told = [event for event in events(at_stripe) if not event["type"].endswith("reinstated")]
        for number, place in enumerate(order):
            hear({**told[place], "id": f"evt_{number}"}, AT + 3 * DAY)

        dispute = Dispute.objects.get()
        if 3 in order:
            assert (dispute.status, dispute.closed_at) == ("won" if won else "lost", AT + 2 * DAY)
        else:
            assert (dispute.status, dispute.closed_at) == ("under_review", None)

    def test_before_the_payment_is_booked(self, stripe_sandbox, give_card, at_stripe):
        customer = CustomerFactory()
        subscribe(at=AT, customer=customer, plan=make_pro_plan().plan)
        give_card(customer, "pm_card_createDispute")
        jobs.send_invoices(AT)
        invoice = Invoice.objects.get()
        at_stripe.v1.invoices.pay(invoice.stripe_invoice_id)
        hear(events(at_stripe)[0])
        assert Dispute.objects.get().payment is None

        jobs.collect_invoices(AT)

        assert Dispute.objects.get().payment == Payment.objects.get()

    def test_of_what_somebody_else_charges_in_the_same_account_is_none_of_ours(self, disputed, at_stripe):
        customer = at_stripe.v1.customers.create({"name": "Somebody else's"}).id
        method = at_stripe.v1.payment_methods.attach("pm_card_createDispute", {"customer": customer}).id
        at_stripe.v1.payment_intents.create(
            {"amount": 500, "currency": "usd", "customer": customer, "payment_method": method, "confirm": True,
             "off_session": True}
        )  # fmt: skip
        for event in events(at_stripe):
            hear(event)

        assert [dispute.amount_cents for dispute in Dispute.objects.all()] == [2_900]
        assert not StripeInbox.objects.filter(processed_at=None).exists()

    def test_stripe_unreachable_the_event_waits(self, disputed, at_stripe, wire):
        created = events(at_stripe)[0]
        wire.break_at(0, FaultKind.TIMEOUT)

        assert hear(created).failed == 1
        wire.heal()
        assert jobs.work_off_inbox(AT + MINUTE).done == 1
        assert Dispute.objects.count() == 1

    @pytest.mark.parametrize(
        "nonsense",
        [{"payment_intent": None}, {"payment_intent": {"id": "pi"}}, {"payment_intent": "pi_nobodys"}],
    )
    def test_without_an_intent_that_is_ours_it_is_none_of_ours(self, disputed, at_stripe, nonsense):
        created = events(at_stripe)[0]
        created["data"]["object"] |= nonsense

        assert hear(created).failed == 0
        assert Dispute.objects.count() == 0


class TestRefunds:
    def test_by_an_operator_are_refused_while_it_is_open(self, disputed, at_stripe):
        hear(events(at_stripe)[0])

        with pytest.raises(PaymentDisputed, match="disputed, so Stripe gives nothing of it back"):
            credit_invoice(invoice=disputed, reason="Sorry", amount_cents=1_000, at=AT)
        assert Refund.objects.count() == 0

    def test_over_the_api_it_is_a_409(self, disputed, at_stripe, api):
        hear(events(at_stripe)[0])

        answer = api.post(f"/v1/invoices/{disputed.public_id}/credit-notes", {"reason": "Sorry", "amountCents": 1_000})

        assert (answer.status, answer.body["code"]) == (409, "payment_disputed")

    def test_a_credit_for_later_invoices_is_possible(self, disputed, at_stripe):
        hear(events(at_stripe)[0])

        assert credit_invoice(invoice=disputed, reason="Sorry", amount_cents=1_000, to="credit", at=AT).credit_cents

    def test_when_it_is_lost_the_customer_has_the_money_already(self, disputed, at_stripe, stripe_sandbox):
        stripe_sandbox.close_dispute(there(at_stripe).id, won=False)
        for event in events(at_stripe):
            hear(event)

        with pytest.raises(PaymentDisputed, match="was charged back"):
            credit_invoice(invoice=disputed, reason="Sorry", amount_cents=1_000, at=AT)

    def test_what_the_rules_give_back_waits_and_says_why(self, disputed, at_stripe, wire):
        hear(events(at_stripe)[0])
        wire.heal()
        give_back(disputed)

        assert jobs.make_refunds(AT + DAY).done == 0
        assert wire.calls == []
        assert "disputed" in Refund.objects.get().error

    def test_what_waits_already_is_told_why(self, disputed, at_stripe):
        give_back(disputed)
        hear(events(at_stripe)[0])

        assert jobs.make_refunds(AT + DAY).done == 0
        assert "disputed" in Refund.objects.get().error

    def test_an_inquiry_does_not_forbid_them(self, disputed, at_stripe):
        created = events(at_stripe)[0]
        created["data"]["object"] |= {"status": "warning_needs_response", "is_charge_refundable": True}
        hear(created)

        assert credit_invoice(invoice=disputed, reason="Sorry", amount_cents=1_000, at=AT).source_cents == 1_000

    def test_once_it_is_won_the_next_sweep_asks_again(self, disputed, at_stripe, stripe_sandbox, wire):
        hear(events(at_stripe)[0])
        give_back(disputed)
        stripe_sandbox.close_dispute(there(at_stripe).id, won=True)
        for event in events(at_stripe):
            hear(event)
        wire.heal()

        jobs.make_refunds(AT + DAY)

        assert "POST /v1/refunds" in wire.calls


def give_back(invoice):
    """Give a part back as a change or a cancel does, which no operator asks for."""
    invoice.refresh_from_db()
    part = open_charges(invoice)[0].part(1_000)
    issue_credit_note(invoice=invoice, parts=[part], reason="Unused days", at=AT)


class TestShown:
    @pytest.mark.parametrize(
        ("won", "status", "words"),
        [(None, "needs_response", "open"), (True, "won", "closed"), (False, "lost", "charged_back")],
    )
    def test_at_the_payment(self, disputed, at_stripe, stripe_sandbox, api, won, status, words):
        if won is not None:
            stripe_sandbox.close_dispute(there(at_stripe).id, won=won)
        for event in events(at_stripe):
            hear(event)

        payment = api.get(f"/v1/payments/{Payment.objects.get().public_id}").body["payment"]

        assert payment["disputeStatus"] == words
        (shown,) = payment["disputes"]
        assert (shown["status"], shown["amountCents"], shown["externalDisputeId"]) == (
            status, 2_900, there(at_stripe).id
        )  # fmt: skip

    def test_on_the_invoices_page_with_what_to_do(self, disputed, at_stripe, admin_client):
        hear(events(at_stripe)[0])
        dispute = Dispute.objects.get()

        for path in (f"invoice/{disputed.pk}/change/", f"dispute/{dispute.pk}/change/"):
            page = admin_client.get(f"/admin/billing/{path}").content.decode()
            assert "Answer it" in page
            assert dispute.external_id in page
        assert "is disputed" in admin_client.get("/admin/").content.decode()


class TestReconciled:
    def test_a_dispute_that_we_did_not_hear_of_is_a_difference_and_gone_once_we_did(self, disputed, at_stripe):
        for at in (AT + DAY, AT + 2 * DAY):
            reconcile_with_stripe(reconcile.begin(since=None, at=at), SweepClock(at))
            assert [one.kind for one in Difference.objects.filter(resolved_at=None)] == (
                ["dispute_differs"] if at == AT + DAY else []
            )
            hear(events(at_stripe)[0], AT + DAY)

    def test_the_admin_says_what_to_do_about_a_difference(self, disputed, admin_client):
        reconcile_with_stripe(reconcile.begin(since=None, at=AT + DAY), SweepClock(AT + DAY))

        page = admin_client.get(f"/admin/billing/difference/{Difference.objects.get().pk}/change/").content.decode()
        assert "An event did not arrive" in page
        assert "1 thing differs" in admin_client.get("/admin/").content.decode()
