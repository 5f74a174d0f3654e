"""Capture: money that a payment intent holds on a card is taken."""

from stripe.params import PaymentIntentCaptureParams

from billing.sandbox.errors import Refusal
from billing.sandbox.objects import charges, disputes, invoice_payments
from billing.sandbox.objects.events import emit
from billing.sandbox.objects.metadata import merged
from billing.sandbox.objects.money import check_step
from billing.sandbox.routes import Call, Route
from billing.sandbox.store import JsonObject


def _capture(call: Call) -> JsonObject:
    """Take the whole hold or `amount_to_capture` of it; the rest goes back to the card, for good."""
    intent = call.requested("payment_intent", param="intent")
    _require_hold(intent)
    amount = _amount(call, intent)
    charges.capture(call, intent["latest_charge"], amount)
    changed = {
        "amount_capturable": 0,
        "amount_received": amount,
        "metadata": merged(intent["metadata"], call.params.get("metadata")),
        "status": "succeeded",
    }
    captured = call.store.put({**intent, **changed})
    emit(call, "payment_intent.succeeded", captured)
    invoice_payments.follow(call, captured, failed=False)
    disputes.open_by_card(call, captured["latest_charge"])
    return captured


def _require_hold(intent: JsonObject) -> None:
    if intent["status"] == "requires_capture":
        return
    why = f"because it has a status of {intent['status']}. Only one that requires_capture can be"
    if intent["status"] == "succeeded":
        why = "because it has already been captured"
    message = f"This PaymentIntent could not be captured {why}."
    raise Refusal(message, code="payment_intent_unexpected_state", payment_intent=intent)


def _amount(call: Call, intent: JsonObject) -> int:
    held = intent["amount_capturable"]
    amount = int(call.value("amount_to_capture", held))
    if amount < 1:
        message = "This value must be greater than or equal to 1. To take nothing, cancel the PaymentIntent."
        raise Refusal(message, code="parameter_invalid_integer", param="amount_to_capture")
    check_step(amount, intent["currency"], param="amount_to_capture")
    if amount > held:
        message = f"You cannot capture {amount}: the PaymentIntent holds {held} in the minor unit of its currency."
        raise Refusal(message, code="amount_too_large", param="amount_to_capture")
    return amount


ROUTES = [
    Route(
        "POST",
        "/v1/payment_intents/{id}/capture",
        _capture,
        PaymentIntentCaptureParams,
        ("amount_to_capture", "metadata"),
    ),
]
