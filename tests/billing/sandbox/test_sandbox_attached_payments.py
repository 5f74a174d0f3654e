"""Payment intents attached to invoices: credited at once or later, in full or in part."""

import pytest
import stripe

from .conftest import NOON, draft_of, event_types, open_invoice

DIRECT = {
    "currency": "usd",
    "confirm": True,
    "payment_method": "pm_card_visa",
    "payment_method_types": ["card"],
}


@pytest.fixture
def paid_intent(stripe_api, customer):
    """Return a function that makes a payment of so many cents by the customer, outside any invoice."""
    return lambda amount, **more: stripe_api.v1.payment_intents.create(
        {**DIRECT, "customer": customer.id, "amount": amount, **more}
    )


def attach(stripe_api, invoice, intent, **options):
    return stripe_api.v1.invoices.attach_payment(invoice.id, {"payment_intent": intent.id}, options)


def payments_of(stripe_api, invoice):
    """Return the invoice's payments, oldest first: status, requested and paid amount, whether it is the default."""
    listed = stripe_api.v1.invoice_payments.list({"invoice": invoice.id}).data[::-1]
    return [(one.status, one.amount_requested, one.amount_paid, one.is_default) for one in listed]


def test_a_captured_hold_pays_the_invoice_that_it_is_attached_to(stripe_api, customer):
    held = stripe_api.v1.payment_intents.create(
        {**DIRECT, "customer": customer.id, "amount": 2_900, "capture_method": "manual"}
    )
    captured = stripe_api.v1.payment_intents.capture(held.id)
    invoice = open_invoice(stripe_api, customer, 2_900)

    paid = attach(stripe_api, invoice, captured)

    assert (paid.status, paid.amount_paid, paid.amount_remaining, paid.amount_overpaid) == ("paid", 2_900, 0, 0)
    assert (paid.status_transitions.paid_at, paid.attempt_count) == (NOON, 0)
    assert payments_of(stripe_api, invoice) == [("canceled", 2_900, None, True), ("paid", 2_900, 2_900, False)]
    assert len(stripe_api.v1.charges.list().data) == 1


def test_tells_of_an_attached_payment_as_of_any_other(stripe_api, customer, paid_intent):
    intent = paid_intent(500)
    invoice = open_invoice(stripe_api, customer, 500)

    attach(stripe_api, invoice, intent)

    assert event_types(stripe_api)[-4:] == [
        "invoice_payment.paid",
        "payment_intent.canceled",
        "invoice.paid",
        "invoice.payment_succeeded",
    ]


def test_a_part_leaves_the_invoice_open_for_the_rest(stripe_api, customer, visa, paid_intent):
    invoice = open_invoice(stripe_api, customer, 2_000)

    partly = attach(stripe_api, invoice, paid_intent(700))
    assert (partly.status, partly.amount_paid, partly.amount_remaining) == ("open", 700, 1_300)
    assert payments_of(stripe_api, invoice) == [("open", 1_300, None, True), ("paid", 700, 700, False)]

    paid = stripe_api.v1.invoices.pay(invoice.id, {"payment_method": visa.id})
    assert (paid.status, paid.amount_paid, paid.amount_remaining) == ("paid", 2_000, 0)
    assert [charge.amount for charge in stripe_api.v1.charges.list()] == [1_300, 700]


def test_two_parts_make_a_whole(stripe_api, customer, paid_intent):
    invoice = open_invoice(stripe_api, customer, 2_000)
    attach(stripe_api, invoice, paid_intent(700))

    paid = attach(stripe_api, invoice, paid_intent(1_300))

    assert (paid.status, paid.amount_paid) == ("paid", 2_000)


def test_what_is_left_of_a_partly_paid_invoice_can_be_paid_elsewhere(stripe_api, customer, paid_intent):
    invoice = open_invoice(stripe_api, customer, 2_000)
    attach(stripe_api, invoice, paid_intent(700))

    paid = stripe_api.v1.invoices.pay(invoice.id, {"paid_out_of_band": True})

    assert (paid.status, paid.amount_paid, paid.amount_paid_off_stripe) == ("paid", 2_000, 1_300)


def test_more_than_the_invoice_asks_for_goes_to_the_customers_credit(stripe_api, customer, paid_intent):
    invoice = open_invoice(stripe_api, customer, 2_000)

    paid = attach(stripe_api, invoice, paid_intent(2_500))

    assert (paid.status, paid.amount_paid, paid.amount_overpaid, paid.amount_remaining) == ("paid", 2_000, 500, 0)
    assert payments_of(stripe_api, invoice)[-1] == ("paid", 2_000, 2_000, False)
    assert stripe_api.v1.customers.retrieve(customer.id).balance == -500
    assert event_types(stripe_api)[-1] == "invoice.overpaid"


def test_only_what_was_captured_is_credited(stripe_api, customer, paid_intent):
    held = paid_intent(2_900, capture_method="manual")
    captured = stripe_api.v1.payment_intents.capture(held.id, {"amount_to_capture": 1_450})
    invoice = open_invoice(stripe_api, customer, 2_900)

    partly = attach(stripe_api, invoice, captured)

    assert (partly.status, partly.amount_paid, partly.amount_remaining) == ("open", 1_450, 1_450)


def test_an_intent_attached_while_it_is_open_pays_when_it_is_paid(stripe_api, customer):
    intent = stripe_api.v1.payment_intents.create(
        {"currency": "usd", "customer": customer.id, "amount": 500, "payment_method_types": ["card"]}
    )
    invoice = open_invoice(stripe_api, customer, 500)
    assert attach(stripe_api, invoice, intent).status == "open"

    stripe_api.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})

    after = stripe_api.v1.invoices.retrieve(invoice.id)
    assert (after.status, after.amount_paid) == ("paid", 500)


def test_a_hold_pays_the_invoice_only_once_it_is_captured(stripe_api, customer, paid_intent):
    intent = paid_intent(500, capture_method="manual", confirm=False)
    invoice = open_invoice(stripe_api, customer, 500)
    attach(stripe_api, invoice, intent)

    stripe_api.v1.payment_intents.confirm(intent.id)
    assert stripe_api.v1.invoices.retrieve(invoice.id).status == "open"
    stripe_api.v1.payment_intents.capture(intent.id)

    assert stripe_api.v1.invoices.retrieve(invoice.id).status == "paid"
    assert not {"invoice.payment_failed", "invoice.payment_action_required"} & set(event_types(stripe_api))


def test_a_payment_that_comes_after_the_invoice_is_paid_is_the_customers_credit(
    stripe_api, customer, visa, paid_intent
):
    held = paid_intent(500, capture_method="manual")
    invoice = open_invoice(stripe_api, customer, 500)
    attach(stripe_api, invoice, held)
    stripe_api.v1.invoices.pay(invoice.id, {"payment_method": visa.id})

    stripe_api.v1.payment_intents.capture(held.id)

    after = stripe_api.v1.invoices.retrieve(invoice.id)
    assert (after.status, after.amount_paid, after.amount_overpaid) == ("paid", 500, 500)
    assert stripe_api.v1.customers.retrieve(customer.id).balance == -500
    assert event_types(stripe_api).count("invoice.paid") == 1


def test_canceling_an_attached_intent_cancels_its_part(stripe_api, customer, paid_intent):
    held = paid_intent(500, capture_method="manual")
    invoice = open_invoice(stripe_api, customer, 500)
    attach(stripe_api, invoice, held)

    stripe_api.v1.payment_intents.cancel(held.id)

    assert payments_of(stripe_api, invoice) == [("open", 500, None, True), ("canceled", 500, None, False)]
    assert stripe_api.v1.invoices.void_invoice(invoice.id).status == "void"


def test_the_invoices_own_intent_cannot_be_canceled_by_itself(stripe_api, customer):
    invoice = open_invoice(stripe_api, customer, 500)
    payment = stripe_api.v1.invoice_payments.list({"invoice": invoice.id}).data[0]

    with pytest.raises(stripe.InvalidRequestError, match="Void the invoice"):
        stripe_api.v1.payment_intents.cancel(payment.payment.payment_intent)


@pytest.mark.parametrize("end", ["void_invoice", "mark_uncollectible"])
def test_an_invoice_with_an_open_attached_payment_cannot_be_given_up(stripe_api, customer, paid_intent, end):
    invoice = open_invoice(stripe_api, customer, 500)
    attach(stripe_api, invoice, paid_intent(500, capture_method="manual"))

    with pytest.raises(stripe.InvalidRequestError, match="is attached to it and open"):
        getattr(stripe_api.v1.invoices, end)(invoice.id)


def test_a_partly_paid_invoice_cannot_be_voided(stripe_api, customer, paid_intent):
    invoice = open_invoice(stripe_api, customer, 2_000)
    attach(stripe_api, invoice, paid_intent(700))

    with pytest.raises(stripe.InvalidRequestError, match="is attached to it and paid"):
        stripe_api.v1.invoices.void_invoice(invoice.id)


def test_credits_one_payment_once_and_repeats_the_answer_for_the_same_key(stripe_api, customer, paid_intent):
    intent = paid_intent(700)
    invoice = open_invoice(stripe_api, customer, 2_000)
    first = attach(stripe_api, invoice, intent, idempotency_key="k1")

    again = attach(stripe_api, invoice, intent, idempotency_key="k1")
    with pytest.raises(stripe.InvalidRequestError, match=f"already attached to the invoice {invoice.id}") as refusal:
        attach(stripe_api, invoice, intent, idempotency_key="k2")

    assert refusal.value.param == "payment_intent"
    assert first.amount_paid == again.amount_paid == 700
    assert stripe_api.v1.invoices.retrieve(invoice.id).amount_paid == 700


def test_one_payment_pays_one_invoice(stripe_api, customer, paid_intent):
    intent = paid_intent(700)
    first, second = open_invoice(stripe_api, customer, 700), open_invoice(stripe_api, customer, 700)
    attach(stripe_api, first, intent)

    with pytest.raises(stripe.InvalidRequestError, match="already attached"):
        attach(stripe_api, second, intent)
    assert stripe_api.v1.invoices.retrieve(second.id).status == "open"


def test_attaches_to_open_invoices_only(stripe_api, customer, visa, paid_intent):
    draft = draft_of(stripe_api, customer, 500)
    paid = stripe_api.v1.invoices.pay(open_invoice(stripe_api, customer, 500).id, {"payment_method": visa.id})
    void = stripe_api.v1.invoices.void_invoice(open_invoice(stripe_api, customer, 500).id)
    intent = paid_intent(500)

    for invoice in (draft, paid, void):
        with pytest.raises(stripe.InvalidRequestError, match=f"this one is {invoice.status}") as refusal:
            attach(stripe_api, invoice, intent)
        assert refusal.value.code == "invoice_not_editable"


@pytest.mark.parametrize("differing", ["customer", "currency"])
def test_attaches_nothing_of_another_customer_or_currency(stripe_api, customer, paid_intent, differing):
    stranger = stripe_api.v1.customers.create({})
    intent = paid_intent(500, **{"customer": {"customer": stranger.id}, "currency": {"currency": "eur"}}[differing])
    invoice = open_invoice(stripe_api, customer, 500)

    with pytest.raises(stripe.InvalidRequestError, match=f"The PaymentIntent's {differing}") as refusal:
        attach(stripe_api, invoice, intent)

    assert refusal.value.param == "payment_intent"
    assert stripe_api.v1.invoices.retrieve(invoice.id).amount_paid == 0


def test_attaches_no_canceled_intent(stripe_api, customer):
    intent = stripe_api.v1.payment_intents.create({"currency": "usd", "customer": customer.id, "amount": 500})
    stripe_api.v1.payment_intents.cancel(intent.id)

    with pytest.raises(stripe.InvalidRequestError, match="is canceled") as refusal:
        attach(stripe_api, open_invoice(stripe_api, customer, 500), intent)
    assert refusal.value.code == "payment_intent_unexpected_state"


@pytest.mark.parametrize(
    ("given", "code"), [({}, "parameter_missing"), ({"payment_intent": "pi_nobody"}, "resource_missing")]
)
def test_needs_a_payment_to_attach(stripe_api, customer, given, code):
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        stripe_api.v1.invoices.attach_payment(open_invoice(stripe_api, customer, 500).id, given)
    assert (refusal.value.code, refusal.value.param) == (code, "payment_intent")
