"""Setup intents: a card saved for later, with its holder's consent."""

from stripe.params import (
    PaymentMethodCreateParams,
    SetupIntentCancelParams,
    SetupIntentConfirmParams,
    SetupIntentCreateParams,
    SetupIntentListParams,
    SetupIntentRetrieveParams,
)

from billing.sandbox.errors import CardRefusal, Refusal
from billing.sandbox.ids import new_client_secret, new_id
from billing.sandbox.listing import PAGING, lister
from billing.sandbox.objects.cards import Authentication
from billing.sandbox.objects.events import emit
from billing.sandbox.objects.metadata import merged
from billing.sandbox.objects.payment_intents import require_secret
from billing.sandbox.objects.payment_methods import attach_to, card_of, declined, make, resolve
from billing.sandbox.objects.payments import next_action
from billing.sandbox.routes import Call, Route
from billing.sandbox.store import JsonObject

CONFIRMING = ("payment_method", "return_url", "use_stripe_sdk")


def _blank(call: Call) -> JsonObject:
    intent_id = new_id("seti")
    return {
        "id": intent_id,
        "object": "setup_intent",
        "application": None,
        "automatic_payment_methods": None,
        "cancellation_reason": None,
        "client_secret": new_client_secret(intent_id),
        "created": call.now,
        "customer": None,
        "customer_account": None,
        "description": None,
        "excluded_payment_method_types": None,
        "flow_directions": None,
        "last_setup_error": None,
        "latest_attempt": None,
        "livemode": False,
        "mandate": None,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {
            "card": {"mandate_options": None, "network": None, "request_three_d_secure": "automatic"}
        },
        "payment_method_types": ["card"],
        "single_use_mandate": None,
        "status": "requires_payment_method",
        "usage": "off_session",
    }


def _create(call: Call) -> JsonObject:
    customer = call.referenced("customer", "customer")
    if call.value("return_url") and not call.value("confirm"):
        raise Refusal("This parameter can only be used when `confirm` is true.", param="return_url")
    method = resolve(call, call.value("payment_method")) if call.value("payment_method") else None
    fields = {
        "automatic_payment_methods": call.value("automatic_payment_methods"),
        "customer": customer["id"] if customer else None,
        "description": call.value("description"),
        "metadata": merged({}, call.params.get("metadata")),
        "payment_method": method["id"] if method else None,
        "payment_method_types": call.value("payment_method_types") or ["card"],
        "status": "requires_confirmation" if method else "requires_payment_method",
        "usage": call.value("usage", "off_session"),
    }
    intent = call.store.put({**_blank(call), **fields})
    emit(call, "setup_intent.created", intent)
    return _confirm_intent(call, intent) if call.value("confirm") else intent


def _confirm_intent(call: Call, intent: JsonObject) -> JsonObject:
    if intent["payment_method"] is None:
        message = "You cannot confirm this SetupIntent because it's missing a payment method."
        raise Refusal(message, code="setup_intent_unexpected_state", setup_intent=intent)
    method = resolve(call, intent["payment_method"])
    if card_of(call, method).authentication is not Authentication.NEVER:
        changed = {"status": "requires_action", "next_action": next_action(call, intent, call.value("return_url"))}
        waiting = call.store.put({**intent, **changed})
        emit(call, "setup_intent.requires_action", waiting)
        return waiting
    return set_up(call, intent)


def set_up(call: Call, intent: JsonObject) -> JsonObject:
    """Save the card, whose holder has authenticated where that was needed. Raises CardRefusal when the bank refuses."""
    method = resolve(call, intent["payment_method"])
    card = card_of(call, method)
    if card.decline and not card.attaches:
        refusal = declined(card.decline, payment_method=method)
        refusal.details["setup_intent"] = fail(call, intent, refusal.body()["error"])
        raise refusal
    if intent["customer"] and method["customer"] is None:
        emit(call, "payment_method.attached", attach_to(call, method["id"], intent["customer"]))
    call.store.hide(method["id"], {"set_up": True})
    done = call.store.put({**intent, "status": "succeeded", "next_action": None, "last_setup_error": None})
    emit(call, "setup_intent.succeeded", done)
    return done


def fail(call: Call, intent: JsonObject, error: JsonObject) -> JsonObject:
    """Record that the card could not be saved; the intent needs another one."""
    changed = {"last_setup_error": error, "next_action": None, "payment_method": None}
    failed = call.store.put({**intent, **changed, "status": "requires_payment_method"})
    emit(call, "setup_intent.setup_failed", failed)
    return failed


def fail_authentication(call: Call, intent: JsonObject) -> JsonObject:
    """Record that the cardholder failed to authenticate."""
    refusal = CardRefusal(
        "The latest attempt to set up the payment method has failed because authentication failed.",
        code="setup_intent_authentication_failure",
        payment_method=call.store.find(intent["payment_method"]),
    )
    return fail(call, intent, refusal.body()["error"])


def _retrieve(call: Call) -> JsonObject:
    intent = call.requested("setup_intent", param="intent")
    require_secret(call, intent)
    return intent


def _require_open(intent: JsonObject, verb: str) -> None:
    if intent["status"] in ("succeeded", "canceled"):
        message = f"You cannot {verb} this SetupIntent because it has a status of {intent['status']}."
        raise Refusal(message, code="setup_intent_unexpected_state", setup_intent=intent)


def _confirm(call: Call) -> JsonObject:
    intent = _retrieve(call)
    _require_open(intent, "confirm")
    if call.from_browser and call.value("payment_method_data"):
        intent = {**intent, "payment_method": make(call, call.value("payment_method_data"))["id"]}
    elif call.value("payment_method"):
        intent = {**intent, "payment_method": resolve(call, call.value("payment_method"))["id"]}
    return _confirm_intent(call, intent)


def _cancel(call: Call) -> JsonObject:
    intent = _retrieve(call)
    _require_open(intent, "cancel")
    reason = call.value("cancellation_reason")
    canceled = call.store.put({**intent, "status": "canceled", "cancellation_reason": reason, "next_action": None})
    emit(call, "setup_intent.canceled", canceled)
    return canceled


CREATING = (
    "customer",
    "confirm",
    "description",
    "metadata",
    "usage",
    "payment_method_types",
    "automatic_payment_methods",
    *CONFIRMING,
)

ROUTES = [
    Route("POST", "/v1/setup_intents", _create, SetupIntentCreateParams, CREATING),
    Route(
        "GET",
        "/v1/setup_intents",
        lister("setup_intent", "/v1/setup_intents", "customer", "payment_method"),
        SetupIntentListParams,
        (*PAGING, "created", "customer", "payment_method"),
    ),
    Route(
        "GET",
        "/v1/setup_intents/{id}",
        _retrieve,
        SetupIntentRetrieveParams,
        ("client_secret",),
        browser=True,
        browser_params=("key", "is_stripe_sdk"),
    ),
    Route(
        "POST",
        "/v1/setup_intents/{id}/confirm",
        _confirm,
        SetupIntentConfirmParams,
        CONFIRMING,
        browser=True,
        browser_params=("client_secret", "key", "expected_payment_method_type"),
        browser_types={"payment_method_data": PaymentMethodCreateParams},
    ),
    Route("POST", "/v1/setup_intents/{id}/cancel", _cancel, SetupIntentCancelParams, ("cancellation_reason",)),
]
