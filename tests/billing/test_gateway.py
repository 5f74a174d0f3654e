"""What the gateway does at Stripe, seen there, and what it makes of Stripe's answers."""

from dataclasses import replace

import pytest
import stripe
from djstripe import models as mirrored

from billing import gateway
from billing.exchange import ChargeToMake, CustomerToSend, Declined, InvoiceToSend, LineToSend, Paid
from billing.gateway.connection import mirror_by
from billing.sandbox import FaultKind

ADA = CustomerToSend(id="cus_ada", stripe_id=None, name="Ada", email="ada@example.com")
DAY_SECONDS = 86_400
LINES = (
    LineToSend(id="inv_item_1", description="Base fee", amount_cents=2_900),
    LineToSend(id="inv_item_2", description="Calls", amount_cents=62_500),
    LineToSend(id="inv_item_3", description="Included calls", amount_cents=-50_000),
)
SENDING = [
    "POST /v1/invoices",
    "POST /v1/invoiceitems",
    "POST /v1/invoiceitems",
    "POST /v1/invoiceitems",
    "GET /v1/invoices/…",
    "POST /v1/invoices/…/finalize",
]
TIMEOUTS = [FaultKind.TIMEOUT, FaultKind.TIMEOUT_AFTER_COMMIT]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("stripe_sandbox")]


def invoice(*, total=15_400, lines=LINES, retried=False, customer=ADA):
    return InvoiceToSend(
        id="inv_1",
        number="ADA-001",
        currency="USD",
        total_cents=total,
        customer=customer,
        lines=lines,
        retried=retried,
    )


def charge(stripe_invoice, method, *, attempt=1):
    return ChargeToMake(invoice="inv_1", stripe_invoice_id=stripe_invoice, payment_method=method, attempt=attempt)


def lines_at(at_stripe, stripe_invoice):
    lines = at_stripe.v1.invoices.line_items.list(stripe_invoice, {"limit": 100})
    return sorted((line.description, line.amount) for line in lines.auto_paging_iter())


def succeeded_payments(at_stripe):
    return [intent for intent in at_stripe.v1.payment_intents.list({"limit": 100}).data if intent.status == "succeeded"]


@pytest.fixture
def ada():
    """Ada's id at Stripe."""
    return gateway.ensure_customer(ADA)


@pytest.fixture
def visa(ada):
    """A good card of Ada's."""
    return gateway.attach_payment_method(stripe_customer=ada, payment_method="pm_card_visa").stripe_id


@pytest.fixture
def sent(ada):
    """Ada's invoice at Stripe, waiting to be paid."""
    return gateway.send_invoice(invoice(), stripe_customer=ada)


def test_the_next_revision_of_an_invoice_is_charged_by_a_key_of_its_own(ada, sent):
    declined = gateway.attach_payment_method(stripe_customer=ada, payment_method="pm_card_chargeCustomerFail")
    following = gateway.send_invoice(replace(invoice(), revision=1), stripe_customer=ada)

    answers = [gateway.charge_invoice(charge(one, declined.stripe_id)) for one in (sent, following)]

    assert [(type(answer), answer.code) for answer in answers] == [(Declined, "generic_decline")] * 2


def test_what_stands_at_stripe_with_another_total_is_not_taken_for_ours(ada, sent):
    with pytest.raises(gateway.StripeRefused, match=r"is 15400, ours is 9900; it is open there, and left as it is"):
        gateway.send_invoice(invoice(total=9_900, lines=LINES[:1], retried=True), stripe_customer=ada)


class TestCustomers:
    def test_creates_a_customer_with_our_id(self, at_stripe):
        stripe_id = gateway.ensure_customer(ADA)

        (found,) = at_stripe.v1.customers.list().data
        assert (found.id, found.name, found.email) == (stripe_id, "Ada", "ada@example.com")
        assert found.metadata["candela_customer"] == "cus_ada"

    def test_asked_twice_creates_one(self, at_stripe):
        assert gateway.ensure_customer(ADA) == gateway.ensure_customer(ADA)

        assert len(at_stripe.v1.customers.list().data) == 1

    def test_finds_the_customer_when_stripe_has_forgotten_the_key(self, at_stripe, stripe_sandbox):
        first = gateway.ensure_customer(ADA)
        stripe_sandbox.clock.advance(DAY_SECONDS)

        assert gateway.ensure_customer(ADA) == first
        assert len(at_stripe.v1.customers.list().data) == 1

    def test_does_not_take_another_customer_with_the_same_email(self, at_stripe):
        by_hand = at_stripe.v1.customers.create({"name": "Ada by hand", "email": "ada@example.com"})
        other = gateway.ensure_customer(CustomerToSend(id="cus_2", stripe_id=None, name="A", email="ada@example.com"))

        assert gateway.ensure_customer(ADA) not in (by_hand.id, other)

    def test_finds_the_customer_behind_a_hundred_with_the_same_email(self, at_stripe, stripe_sandbox):
        first = gateway.ensure_customer(ADA)
        stripe_sandbox.clock.advance(DAY_SECONDS)
        for _ in range(100):
            at_stripe.v1.customers.create({"email": "ada@example.com"})

        assert gateway.ensure_customer(ADA) == first

    def test_a_known_customer_is_not_asked_for(self, wire):
        known = CustomerToSend(id="cus_ada", stripe_id="cus_known", name="Ada", email="")

        assert gateway.ensure_customer(known) == "cus_known"
        assert wire.calls == []

    def test_a_customer_without_email_is_created_once(self, at_stripe):
        nameless = CustomerToSend(id="cus_3", stripe_id=None, name="Nobody", email="")

        assert gateway.ensure_customer(nameless) == gateway.ensure_customer(nameless)
        assert at_stripe.v1.customers.list().data[0].email is None

    def test_is_mirrored(self, ada):
        copy = mirrored.Customer.objects.get(id=ada)

        assert copy.stripe_data["metadata"]["candela_customer"] == "cus_ada"


class TestCards:
    def test_attaches_a_card_and_makes_it_the_default(self, ada, at_stripe):
        card = gateway.attach_payment_method(stripe_customer=ada, payment_method="pm_card_visa")

        assert (card.payment_type, card.brand, card.last_four, card.expiry_month) == ("card", "visa", "4242", 12)
        assert at_stripe.v1.payment_methods.retrieve(card.stripe_id).customer == ada
        assert at_stripe.v1.customers.retrieve(ada).invoice_settings.default_payment_method == card.stripe_id

    def test_a_second_card_takes_over(self, ada, visa, at_stripe):
        second = gateway.attach_payment_method(stripe_customer=ada, payment_method="pm_card_mastercard")

        assert at_stripe.v1.customers.retrieve(ada).invoice_settings.default_payment_method == second.stripe_id

    @pytest.mark.parametrize(
        ("token", "code", "message"),
        [
            ("pm_card_visa_chargeDeclined", "generic_decline", "Your card was declined."),
            (
                "pm_card_visa_chargeDeclinedInsufficientFunds",
                "insufficient_funds",
                "Your card has insufficient funds.",
            ),
            ("pm_card_chargeDeclinedExpiredCard", "expired_card", "Your card has expired."),
        ],
    )
    def test_tells_why_a_card_is_declined(self, ada, token, code, message):
        with pytest.raises(gateway.CardDeclined) as caught:
            gateway.attach_payment_method(stripe_customer=ada, payment_method=token)

        assert (caught.value.code, caught.value.message) == (code, message)

    def test_an_unknown_card_is_refused(self, ada):
        with pytest.raises(gateway.StripeRefused, match="pm_nothing"):
            gateway.attach_payment_method(stripe_customer=ada, payment_method="pm_nothing")


class TestSending:
    def test_sends_lines_of_either_sign_finalized_and_unpaid(self, ada, at_stripe, wire):
        wire.heal()

        stripe_id = gateway.send_invoice(invoice(), stripe_customer=ada)

        found = at_stripe.v1.invoices.retrieve(stripe_id)
        assert (found.status, found.total, found.amount_due, found.currency) == ("open", 15_400, 15_400, "usd")
        assert (found.auto_advance, found.collection_method) == (False, "charge_automatically")
        assert (found.description, found.metadata["candela_invoice"]) == ("ADA-001", "inv_1")
        assert lines_at(at_stripe, stripe_id) == [("Base fee", 2_900), ("Calls", 62_500), ("Included calls", -50_000)]
        assert wire.calls[: len(SENDING)] == SENDING

    def test_leaves_pending_items_of_others_alone(self, ada, at_stripe):
        at_stripe.v1.invoice_items.create({"customer": ada, "amount": 777, "currency": "usd"})

        stripe_id = gateway.send_invoice(invoice(), stripe_customer=ada)

        assert at_stripe.v1.invoices.retrieve(stripe_id).total == 15_400

    @pytest.mark.parametrize("kind", TIMEOUTS)
    @pytest.mark.parametrize("position", range(len(SENDING)))
    def test_sent_again_after_a_time_out_it_is_there_once(self, ada, at_stripe, wire, position, kind):
        wire.break_at(position, kind)
        with pytest.raises(gateway.StripeUnavailable):
            gateway.send_invoice(invoice(), stripe_customer=ada)
        wire.heal()

        stripe_id = gateway.send_invoice(invoice(retried=True), stripe_customer=ada)

        (found,) = at_stripe.v1.invoices.list().data
        assert (found.id, found.status, found.total) == (stripe_id, "open", 15_400)
        assert lines_at(at_stripe, stripe_id) == [("Base fee", 2_900), ("Calls", 62_500), ("Included calls", -50_000)]

    @pytest.mark.parametrize("kind", TIMEOUTS)
    @pytest.mark.parametrize("position", range(len(SENDING)))
    def test_sent_again_after_stripe_forgot_the_keys_it_is_there_once(
        self, ada, at_stripe, stripe_sandbox, wire, position, kind
    ):
        wire.break_at(position, kind)
        with pytest.raises(gateway.StripeUnavailable):
            gateway.send_invoice(invoice(), stripe_customer=ada)
        wire.heal()
        stripe_sandbox.clock.advance(DAY_SECONDS)

        stripe_id = gateway.send_invoice(invoice(retried=True), stripe_customer=ada)

        (found,) = at_stripe.v1.invoices.list().data
        assert (found.id, found.status, found.total) == (stripe_id, "open", 15_400)
        assert lines_at(at_stripe, stripe_id) == [("Base fee", 2_900), ("Calls", 62_500), ("Included calls", -50_000)]

    @pytest.mark.parametrize("kind", TIMEOUTS)
    def test_a_retry_that_fails_as_well_can_be_retried(self, ada, at_stripe, wire, kind):
        # First the second line fails; then, after the look-ups of invoice and lines, whatever line comes next.
        for retried, position in ((False, 2), (True, 2), (True, 3)):
            wire.break_at(position, kind)
            with pytest.raises(gateway.StripeUnavailable):
                gateway.send_invoice(invoice(retried=retried), stripe_customer=ada)
        wire.heal()

        stripe_id = gateway.send_invoice(invoice(retried=True), stripe_customer=ada)

        (found,) = at_stripe.v1.invoices.list().data
        assert (found.id, found.total, len(lines_at(at_stripe, stripe_id))) == (stripe_id, 15_400, 3)

    def test_a_total_that_differs_is_refused_and_not_finalized(self, ada, at_stripe):
        with pytest.raises(gateway.StripeRefused, match=r"is 15400, ours is 15401; it is not finalized"):
            gateway.send_invoice(invoice(total=15_401), stripe_customer=ada)

        (found,) = at_stripe.v1.invoices.list().data
        assert found.status == "draft"

    def test_is_mirrored(self, sent):
        copy = mirrored.Invoice.objects.get(id=sent)

        assert (copy.stripe_data["status"], copy.stripe_data["total"]) == ("open", 15_400)

    def test_more_lines_than_a_page_are_all_there_once(self, ada, at_stripe, wire):
        many = tuple(LineToSend(id=f"inv_item_{n}", description=f"Line {n}", amount_cents=100) for n in range(105))
        wire.break_at(105, FaultKind.TIMEOUT)
        with pytest.raises(gateway.StripeUnavailable):
            gateway.send_invoice(invoice(total=10_500, lines=many), stripe_customer=ada)
        wire.heal()

        stripe_id = gateway.send_invoice(invoice(total=10_500, lines=many, retried=True), stripe_customer=ada)

        assert at_stripe.v1.invoices.retrieve(stripe_id).total == 10_500
        assert wire.calls.count("POST /v1/invoiceitems") == 1


class TestCharging:
    def test_charges_the_card(self, sent, visa, at_stripe):
        answer = gateway.charge_invoice(charge(sent, visa))

        assert answer == Paid(reference=sent, amount_cents=15_400)
        assert at_stripe.v1.invoices.retrieve(sent).status == "paid"
        (payment,) = succeeded_payments(at_stripe)
        assert (payment.amount, payment.payment_method) == (15_400, visa)

    def test_the_payment_is_mirrored(self, sent, visa):
        gateway.charge_invoice(charge(sent, visa))

        assert mirrored.Invoice.objects.get(id=sent).stripe_data["status"] == "paid"

    def test_the_same_attempt_again_charges_once(self, sent, visa, at_stripe):
        first = gateway.charge_invoice(charge(sent, visa))

        assert gateway.charge_invoice(charge(sent, visa)) == first
        assert len(succeeded_payments(at_stripe)) == 1

    @pytest.mark.parametrize("kind", TIMEOUTS)
    @pytest.mark.parametrize("position", [0, 1])
    def test_a_lost_answer_is_asked_for_again_and_charges_once(self, sent, visa, at_stripe, wire, position, kind):
        wire.break_at(position, kind)
        with pytest.raises(gateway.StripeUnavailable):
            gateway.charge_invoice(charge(sent, visa))
        wire.heal()

        assert gateway.charge_invoice(charge(sent, visa)) == Paid(reference=sent, amount_cents=15_400)
        assert len(succeeded_payments(at_stripe)) == 1

    def test_learns_of_an_invoice_that_was_paid_without_us(self, sent, visa, at_stripe, wire):
        at_stripe.v1.invoices.pay(sent)
        wire.heal()

        assert gateway.charge_invoice(charge(sent, visa)) == Paid(reference=sent, amount_cents=15_400)
        assert "POST /v1/invoices/…/pay" not in wire.calls

    def test_a_card_that_fails_is_declined_with_its_code(self, ada, sent, at_stripe):
        bad = gateway.attach_payment_method(stripe_customer=ada, payment_method="pm_card_chargeCustomerFail")

        answer = gateway.charge_invoice(charge(sent, bad.stripe_id))

        assert isinstance(answer, Declined)
        assert (answer.code, answer.message) == ("generic_decline", "Your card was declined.")
        assert at_stripe.v1.payment_intents.retrieve(answer.reference).amount == 15_400
        assert at_stripe.v1.invoices.retrieve(sent).status == "open"

    def test_the_same_declined_attempt_again_is_declined_without_a_second_try(self, ada, sent, at_stripe):
        bad = gateway.attach_payment_method(stripe_customer=ada, payment_method="pm_card_chargeCustomerFail")
        first = gateway.charge_invoice(charge(sent, bad.stripe_id))

        assert gateway.charge_invoice(charge(sent, bad.stripe_id)) == first
        assert len(at_stripe.v1.charges.list().data) == 1

    def test_a_new_card_pays_after_the_answer_of_a_declined_one_was_lost(self, ada, sent, at_stripe, wire):
        bad = gateway.attach_payment_method(stripe_customer=ada, payment_method="pm_card_chargeCustomerFail")
        wire.break_at(1, FaultKind.TIMEOUT_AFTER_COMMIT)
        with pytest.raises(gateway.StripeUnavailable):
            gateway.charge_invoice(charge(sent, bad.stripe_id))
        wire.heal()
        good = gateway.attach_payment_method(stripe_customer=ada, payment_method="pm_card_visa")

        assert gateway.charge_invoice(charge(sent, good.stripe_id)) == Paid(reference=sent, amount_cents=15_400)

    def test_a_card_that_needs_its_holder_is_declined(self, ada, sent):
        asks = gateway.attach_payment_method(stripe_customer=ada, payment_method="pm_card_authenticationRequired")

        answer = gateway.charge_invoice(charge(sent, asks.stripe_id))

        assert isinstance(answer, Declined)
        assert answer.code == "invoice_payment_intent_requires_action"


class TestTrouble:
    @pytest.mark.parametrize(
        "kind", [FaultKind.SERVER_ERROR, FaultKind.TOO_MANY_REQUESTS, FaultKind.CONFLICT, FaultKind.TIMEOUT]
    )
    def test_no_definite_answer_means_unavailable(self, wire, kind):
        wire.break_at(0, kind)

        with pytest.raises(gateway.StripeUnavailable):
            gateway.ensure_customer(ADA)

    def test_without_key_and_sandbox_stripe_is_unavailable(self, settings, tmp_path, wire):
        settings.STRIPE_SECRET_KEY = ""
        settings.CANDELA_DATA = tmp_path

        with pytest.raises(gateway.StripeUnavailable, match="no sandbox is running"):
            gateway.ensure_customer(ADA)

        assert wire.calls == []

    def test_a_sandbox_elsewhere_is_not_talked_to(self, settings, tmp_path, wire):
        settings.STRIPE_SECRET_KEY = ""
        settings.CANDELA_DATA = tmp_path
        (tmp_path / "sandbox.json").write_text('{"url": "https://stripe.example"}')

        with pytest.raises(gateway.StripeUnavailable, match=r"must run on 127\.0\.0\.1"):
            gateway.ensure_customer(ADA)

        assert wire.calls == []

    def test_a_failing_mirror_does_not_stop_the_billing(self, wire):
        def refuse(*args: object, **kwargs: object) -> None:
            raise stripe.APIConnectionError("no")

        mirror_by(refuse, "cus_1")
