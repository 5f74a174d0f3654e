"""The cardholder's answer to the bank's question (3-D Secure), given through our own stand-in for its page."""

from billing.sandbox.errors import CardRefusal, Refusal, missing_object
from billing.sandbox.objects import invoice_payments, payments, setup_intents
from billing.sandbox.routes import Call
from billing.sandbox.store import JsonObject


def answer(call: Call, intent_id: str, *, approve: bool) -> JsonObject:
    """Let the cardholder approve or refuse, and return the payment or setup intent as it is afterwards.

    Raises Refusal (404) for an unknown intent and (400) for one that does not wait for its cardholder.
    """
    intent = call.store.find(intent_id)
    if intent is None or intent["object"] not in ("payment_intent", "setup_intent"):
        raise missing_object("intent", intent_id, param="intent", in_path=True)
    if intent["status"] != "requires_action":
        message = f"This intent does not wait for its cardholder; its status is {intent['status']}."
        raise Refusal(message, param="intent")
    if intent["object"] == "setup_intent":
        return _answer_setup(call, intent, approve)
    return _answer_payment(call, intent, approve)


def _answer_setup(call: Call, intent: JsonObject, approve: bool) -> JsonObject:
    if not approve:
        return setup_intents.fail_authentication(call, intent)
    try:
        return setup_intents.set_up(call, intent)
    except CardRefusal:
        return call.store.find(intent["id"]) or intent


def _answer_payment(call: Call, intent: JsonObject, approve: bool) -> JsonObject:
    method = call.store.find(intent["payment_method"], "payment_method")
    if not approve or method is None:
        after = payments.fail_authentication(call, intent)
        invoice_payments.follow(call, after, failed=True)
        return after
    after, refusal = payments.charge(call, intent, method)
    invoice_payments.follow(call, after, failed=refusal is not None)
    return after
