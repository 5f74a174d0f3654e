"""Disputes: a cardholder takes a payment back, and the bank decides."""

import pytest
import stripe

from .conftest import event_types, open_invoice

DISPUTING = {
    "amount": 1_000,
    "currency": "usd",
    "confirm": True,
    "payment_method": "pm_card_createDispute",
    "payment_method_types": ["card"],
}


@pytest.fixture
def dispute(stripe_api):
    stripe_api.v1.payment_intents.create(DISPUTING)
    return stripe_api.v1.disputes.list().data[0]


def balance(stripe_api):
    return sum(one.amount for one in stripe_api.v1.balance_transactions.list())


def test_card_0259_pays_and_is_disputed(stripe_api, dispute):
    charge = stripe_api.v1.charges.retrieve(dispute.charge)

    assert (dispute.amount, dispute.reason, dispute.status) == (1_000, "fraudulent", "needs_response")
    assert (charge.paid, charge.disputed) == (True, True)
    assert balance(stripe_api) == 0
    assert event_types(stripe_api)[-3:] == [
        "payment_intent.succeeded",
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
    ]


def test_other_cards_are_not_disputed(stripe_api):
    stripe_api.v1.payment_intents.create({**DISPUTING, "payment_method": "pm_card_visa"})

    assert stripe_api.v1.disputes.list().data == []


def test_a_held_amount_is_disputed_once_it_is_taken(stripe_api):
    held = stripe_api.v1.payment_intents.create({**DISPUTING, "capture_method": "manual"})
    assert stripe_api.v1.disputes.list().data == []

    stripe_api.v1.payment_intents.capture(held.id, {"amount_to_capture": 400})

    assert [one.amount for one in stripe_api.v1.disputes.list({"payment_intent": held.id})] == [400]


def test_a_disputed_invoice_stays_paid(stripe_api, customer):
    card = stripe_api.v1.payment_methods.attach("pm_card_createDisputeProductNotReceived", {"customer": customer.id})
    invoice = open_invoice(stripe_api, customer, 900)

    stripe_api.v1.invoices.pay(invoice.id, {"payment_method": card.id})

    assert stripe_api.v1.invoices.retrieve(invoice.id).status == "paid"
    assert stripe_api.v1.disputes.list().data[0].reason == "product_not_received"


@pytest.mark.parametrize(("won", "status", "rest"), [(True, "won", 1_000), (False, "lost", 0)])
def test_the_bank_decides_once(stripe_api, sandbox, dispute, won, status, rest):
    sandbox.close_dispute(dispute.id, won=won)

    assert stripe_api.v1.disputes.retrieve(dispute.id).status == status
    assert balance(stripe_api) == rest
    assert event_types(stripe_api)[-1] == "charge.dispute.closed"
    assert ("charge.dispute.funds_reinstated" in event_types(stripe_api)) is won
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        stripe_api.v1.disputes.close(dispute.id)


def test_closing_a_dispute_accepts_it(stripe_api, dispute):
    assert stripe_api.v1.disputes.close(dispute.id).status == "lost"


@pytest.mark.parametrize(
    ("text", "status"), [("winning_evidence", "won"), ("losing_evidence", "lost"), ("a receipt", "under_review")]
)
def test_the_evidence_decides_by_its_text(stripe_api, dispute, text, status):
    answered = stripe_api.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": text}})

    assert (answered.status, answered.evidence_details.submission_count) == (status, 1)


def test_staged_evidence_is_not_handed_in(stripe_api, dispute):
    staged = stripe_api.v1.disputes.update(
        dispute.id, {"evidence": {"uncategorized_text": "winning_evidence"}, "submit": False, "metadata": {"k": "v"}}
    )

    assert (staged.status, staged.evidence_details.submission_count) == ("needs_response", 0)
    assert (staged.evidence_details.has_evidence, staged.metadata["k"]) == (True, "v")
    assert stripe_api.v1.disputes.update(dispute.id, {"submit": True}).status == "won"


def test_a_disputed_charge_cannot_be_refunded(stripe_api, dispute):
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        stripe_api.v1.refunds.create({"charge": dispute.charge})

    assert refusal.value.code == "charge_disputed"


def test_an_unknown_dispute_is_not_found(stripe_api):
    with pytest.raises(stripe.InvalidRequestError, match="No such dispute"):
        stripe_api.v1.disputes.retrieve("du_nobody")
