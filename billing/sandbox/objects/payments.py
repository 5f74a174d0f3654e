"""Attempts at a card: what happens to a payment intent when it is confirmed, and how it ends without payment."""

from urllib.parse import urlsplit

from billing.sandbox.errors import CardRefusal, Refusal
from billing.sandbox.objects import charges, disputes
from billing.sandbox.objects.cards import AUTHENTICATION_REQUIRED, Authentication, Decline, TestCard
from billing.sandbox.objects.events import emit
from billing.sandbox.objects.payment_methods import attach_to, card_of, declined
from billing.sandbox.routes import Call
from billing.sandbox.store import JsonObject

Outcome = tuple[JsonObject, CardRefusal | None]
"""The payment intent after the attempt, and the card error to raise once everything is recorded."""


def attempt(call: Call, intent: JsonObject, method: JsonObject, *, off_session: bool, pause: bool = False) -> Outcome:
    """Charge the intent's amount to the card, off session (the cardholder is away) or on; hold it if capture is manual.

    A card that wants authentication makes the intent wait for it (`requires_action`) on session. Off session it is a
    decline, unless `pause` says to wait all the same, as invoices do.
    """
    card = card_of(call, method)
    if _wants_authentication(call, card, method, off_session):
        if off_session and not pause:
            return _decline(call, intent, method, AUTHENTICATION_REQUIRED)
        return _wait_for_cardholder(call, intent, method), None
    return charge(call, intent, method)


def charge(call: Call, intent: JsonObject, method: JsonObject) -> Outcome:
    """Charge the card, whose holder has authenticated where that was needed."""
    decline = card_of(call, method).decline
    return _decline(call, intent, method, decline) if decline else (_approve(call, intent, method), None)


def fail_authentication(call: Call, intent: JsonObject) -> JsonObject:
    """Record that the cardholder failed to authenticate: the intent needs another payment method."""
    method = call.store.find(intent["payment_method"])
    error = {
        "code": "payment_intent_authentication_failure",
        "message": "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new"
        " PaymentMethod to attempt to fulfill this PaymentIntent again.",
        "payment_method": method,
        "type": "invalid_request_error",
    }
    return _fail(call, intent, error)


def _wants_authentication(call: Call, card: TestCard, method: JsonObject, off_session: bool) -> bool:
    if card.authentication is Authentication.UNLESS_SET_UP:
        return not (off_session and call.store.hidden(method["id"]).get("set_up"))
    if card.authentication is Authentication.ON_SESSION:
        return not off_session
    return card.authentication is Authentication.ALWAYS


def next_action(call: Call, intent: JsonObject, return_url: str | None) -> JsonObject:
    """Return how the cardholder gets to our stand-in for the bank's page: by redirect when there is a way back.

    Raises Refusal (400) for a way back that is no web address.
    """
    url = f"{call.public_url}/_sandbox/authenticate/{intent['id']}?client_secret={intent['client_secret']}"
    call.store.hide(intent["id"], {"return_url": return_url})
    if return_url:
        _check_way_back(return_url)
        return {"redirect_to_url": {"return_url": return_url, "url": url}, "type": "redirect_to_url"}
    return {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect", "stripe_js": url}}


def _check_way_back(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable():
        message = f"Invalid return_url: {url!r} is no address that starts with http:// or https://."
        raise Refusal(message, code="url_invalid", param="return_url")


def _wait_for_cardholder(call: Call, intent: JsonObject, method: JsonObject) -> JsonObject:
    action = next_action(call, intent, call.value("return_url"))
    changed = {"status": "requires_action", "next_action": action, "payment_method": method["id"]}
    waiting = call.store.put({**intent, **changed, "last_payment_error": None})
    emit(call, "payment_intent.requires_action", waiting)
    return waiting


def cancel(call: Call, intent: JsonObject, reason: str | None) -> JsonObject:
    """Cancel an intent that is not paid, release what it holds on the card, and emit its event."""
    if intent["status"] == "requires_capture":
        charges.release(call, intent["latest_charge"])
    changed = {
        "amount_capturable": 0,
        "canceled_at": call.now,
        "cancellation_reason": reason,
        "next_action": None,
        "status": "canceled",
    }
    canceled = call.store.put({**intent, **changed})
    emit(call, "payment_intent.canceled", canceled)
    return canceled


def _approve(call: Call, intent: JsonObject, method: JsonObject) -> JsonObject:
    made = charges.record(call, intent, method, None)
    if intent["setup_future_usage"] and intent["customer"]:
        _keep_for_later(call, method, intent["customer"])
    changed = {
        "last_payment_error": None,
        "latest_charge": made["id"],
        "next_action": None,
        "payment_method": method["id"],
    }
    if intent["capture_method"] == "manual":
        held = call.store.put(
            {**intent, **changed, "amount_capturable": intent["amount"], "status": "requires_capture"}
        )
        emit(call, "payment_intent.amount_capturable_updated", held)
        return held
    paid = call.store.put({**intent, **changed, "amount_received": intent["amount"], "status": "succeeded"})
    emit(call, "payment_intent.succeeded", paid)
    disputes.open_by_card(call, made["id"])
    return paid


def _keep_for_later(call: Call, method: JsonObject, customer_id: str) -> None:
    if method["customer"] is None:
        emit(call, "payment_method.attached", attach_to(call, method["id"], customer_id))
    call.store.hide(method["id"], {"set_up": True})


def _decline(call: Call, intent: JsonObject, method: JsonObject, decline: Decline) -> Outcome:
    made = charges.record(call, intent, method, decline)
    refusal = declined(decline, charge=made["id"], payment_method=method)
    failed = _fail(call, {**intent, "latest_charge": made["id"]}, refusal.body()["error"])
    refusal.details = {**refusal.details, "payment_intent": failed}
    return failed, refusal


def _fail(call: Call, intent: JsonObject, error: JsonObject) -> JsonObject:
    changed = {"last_payment_error": error, "next_action": None, "payment_method": None}
    failed = call.store.put({**intent, **changed, "status": "requires_payment_method"})
    emit(call, "payment_intent.payment_failed", failed)
    return failed
