"""Payments attached to an invoice: payment intents that were made without it and pay it, or a part of it."""

from stripe.params import InvoiceAttachPaymentParams

from billing.sandbox.errors import Refusal
from billing.sandbox.objects import invoice_payments
from billing.sandbox.objects.invoices import requested
from billing.sandbox.routes import Call, Route
from billing.sandbox.store import JsonObject


def _attach(call: Call) -> JsonObject:
    """Attach the intent to an open invoice: one that has succeeded is credited at once, another when it succeeds."""
    invoice = requested(call)
    if invoice["status"] != "open":
        message = f"You can only attach payments to an open invoice; this one is {invoice['status']}."
        raise Refusal(message, code="invoice_not_editable", param="invoice")
    intent = call.referenced("payment_intent", "payment_intent")
    if intent is None:
        raise Refusal("Missing required param: payment_intent.", code="parameter_missing", param="payment_intent")
    _require_free(call, intent)
    _require_match(invoice, intent)
    payment = invoice_payments.open_payment(call, invoice, intent, is_default=False)
    if intent["status"] == "succeeded":
        return invoice_payments.credit(call, invoice, payment, intent["amount_received"])
    return invoice


def _require_free(call: Call, intent: JsonObject) -> None:
    """Stripe's reference is silent about a second attachment; the sandbox never credits one payment twice."""
    before = invoice_payments.of_intent(call.store, intent["id"])
    if before is not None:
        message = f"The PaymentIntent {intent['id']} is already attached to the invoice {before['invoice']}."
        raise Refusal(message, param="payment_intent")
    if intent["status"] == "canceled":
        message = f"The PaymentIntent {intent['id']} is canceled and cannot pay an invoice."
        raise Refusal(message, code="payment_intent_unexpected_state", payment_intent=intent)


def _require_match(invoice: JsonObject, intent: JsonObject) -> None:
    for name in ("customer", "currency"):
        if intent[name] != invoice[name]:
            message = (
                f"The PaymentIntent's {name} ({intent[name]}) must be the invoice's ({invoice[name]}) to be attached."
            )
            raise Refusal(message, param="payment_intent")


ROUTES = [
    Route(
        "POST",
        "/v1/invoices/{id}/attach_payment",
        _attach,
        InvoiceAttachPaymentParams,
        ("payment_intent",),
    ),
]
