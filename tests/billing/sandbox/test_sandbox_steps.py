"""Amounts that Stripe cannot charge or give back, since they are finer than the currency's step."""

import pytest
import stripe

DIRECT = {"confirm": True, "payment_method_types": ["card"], "payment_method": "pm_card_visa"}


def pay(stripe_api, amount, currency):
    return stripe_api.v1.payment_intents.create({**DIRECT, "amount": amount, "currency": currency})


@pytest.mark.parametrize(
    ("amount", "currency", "step"),
    [(1_234, "kwd", 10), (5_001, "bhd", 10), (15, "jod", 10), (15, "omr", 10), (15, "tnd", 10), (550, "isk", 100),
     (1, "ugx", 100)],
)  # fmt: skip
def test_a_charge_between_two_steps_is_refused(stripe_api, amount, currency, step):
    with pytest.raises(stripe.InvalidRequestError, match=f"evenly divisible by {step}") as refusal:
        pay(stripe_api, amount, currency)

    assert refusal.value.param == "amount"


@pytest.mark.parametrize(
    ("amount", "currency"), [(1_230, "kwd"), (500, "isk"), (500, "ugx"), (501, "jpy"), (17_501, "huf"), (101, "twd")]
)
def test_a_charge_in_steps_is_made(stripe_api, amount, currency):
    assert pay(stripe_api, amount, currency).amount_received == amount


@pytest.mark.parametrize(("charged", "currency", "back"), [(1_230, "kwd", 123), (500, "isk", 150)])
def test_a_refund_between_two_steps_is_refused(stripe_api, charged, currency, back):
    intent = pay(stripe_api, charged, currency)

    with pytest.raises(stripe.InvalidRequestError, match="evenly divisible"):
        stripe_api.v1.refunds.create({"payment_intent": intent.id, "amount": back})


def test_an_invoice_between_two_steps_is_not_finalized(stripe_api):
    customer = stripe_api.v1.customers.create({"name": "Ada"})
    invoice = stripe_api.v1.invoices.create(
        {"customer": customer.id, "currency": "kwd", "pending_invoice_items_behavior": "exclude"}
    )
    stripe_api.v1.invoice_items.create(
        {"customer": customer.id, "invoice": invoice.id, "amount": 1_234, "currency": "kwd"}
    )

    with pytest.raises(stripe.InvalidRequestError, match="evenly divisible by 10"):
        stripe_api.v1.invoices.finalize_invoice(invoice.id)

    assert stripe_api.v1.invoices.retrieve(invoice.id).status == "draft"
