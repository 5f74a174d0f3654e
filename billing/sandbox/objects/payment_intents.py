"""Payment intents."""

from typing import Any

from stripe.params import (
    PaymentIntentCancelParams,
    PaymentIntentConfirmParams,
    PaymentIntentCreateParams,
    PaymentIntentListParams,
    PaymentIntentRetrieveParams,
    PaymentMethodCreateParams,
)

from billing.sandbox.errors import Refusal, missing_object
from billing.sandbox.ids import new_client_secret, new_id
from billing.sandbox.listing import PAGING, lister
from billing.sandbox.objects import invoice_payments, money, payment_methods, payments
from billing.sandbox.objects.events import emit
from billing.sandbox.objects.metadata import merged
from billing.sandbox.routes import Call, Route
from billing.sandbox.store import JsonObject

CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
CONFIRMING = ("payment_method", "off_session", "return_url", "receipt_email", "setup_future_usage", "use_stripe_sdk")


def new_intent(call: Call, *, amount: int, currency: str, customer: str | None, **fields: Any) -> JsonObject:
    """Store a payment intent for `amount` minor units that waits for a payment method, and emit its event."""
    intent_id = new_id("pi")
    intent = {
        "id": intent_id,
        "object": "payment_intent",
        "amount": amount,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic",
        "client_secret": new_client_secret(intent_id),
        "confirmation_method": "automatic",
        "created": call.now,
        "currency": currency,
        "customer": customer,
        "customer_account": None,
        "description": None,
        "excluded_payment_method_types": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {
            "card": {
                "installments": None,
                "mandate_options": None,
                "network": None,
                "request_three_d_secure": "automatic",
            }
        },
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
    }
    stored = call.store.put({**intent, **fields})
    emit(call, "payment_intent.created", stored)
    return stored


def require_secret(call: Call, intent: JsonObject) -> None:
    """Raise Refusal (404) when a browser, or anybody with a secret, does not know this intent's secret."""
    given = call.params.get("client_secret")
    if given != intent["client_secret"] and (call.from_browser or given is not None):
        raise missing_object(intent["object"], intent["id"], param="intent", in_path=True)


def _create(call: Call) -> JsonObject:
    amount, currency = call.params["amount"], money.currency_of(call.params["currency"])
    money.check_chargeable(amount, currency)
    customer = call.referenced("customer", "customer")
    if (call.value("off_session") or call.value("return_url")) and not call.value("confirm"):
        raise Refusal("This parameter can only be used when `confirm` is true.", param="off_session")
    method = _chosen_method(call, customer["id"] if customer else None)
    kept = ("description", "receipt_email", "setup_future_usage", "statement_descriptor", "statement_descriptor_suffix")
    intent = new_intent(
        call,
        amount=amount,
        currency=currency,
        customer=customer["id"] if customer else None,
        capture_method=call.value("capture_method", "automatic"),
        metadata=merged({}, call.params.get("metadata")),
        payment_method=method["id"] if method else None,
        status="requires_confirmation" if method else "requires_payment_method",
        **{name: call.value(name) for name in kept},
        **_method_choice(call),
    )
    return _confirm_intent(call, intent, method) if call.value("confirm") else intent


def _method_choice(call: Call) -> JsonObject:
    """Return which kinds of methods the intent takes: the listed ones, or all of the account's (here: cards)."""
    listed = call.value("payment_method_types")
    if listed:
        return {"payment_method_types": listed}
    automatic = call.value("automatic_payment_methods") or {"enabled": True}
    return {"automatic_payment_methods": {"allow_redirects": "always", **automatic}} if automatic["enabled"] else {}


def _chosen_method(call: Call, customer_id: str | None) -> JsonObject | None:
    if call.from_browser and call.value("payment_method_data"):
        return payment_methods.make(call, call.value("payment_method_data"))
    if not call.value("payment_method"):
        return None
    method = payment_methods.resolve(call, call.value("payment_method"))
    if method["customer"] not in (None, customer_id):
        message = (
            f"The PaymentMethod {method['id']} belongs to the Customer {method['customer']}. Please include the"
            " Customer in the `customer` parameter on the PaymentIntent."
        )
        raise Refusal(message, param="payment_method")
    return method


def _confirm_intent(call: Call, intent: JsonObject, method: JsonObject | None) -> JsonObject:
    if method is None:
        message = (
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the"
            " PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a"
            " payment method."
        )
        raise Refusal(message, code="payment_intent_unexpected_state", payment_intent=intent)
    off_session = bool(call.value("off_session"))
    _require_way_back(call, intent, off_session)
    intent, refusal = payments.attempt(call, intent, method, off_session=off_session)
    invoice_payments.follow(call, intent, failed=refusal is not None)
    if refusal:
        raise refusal
    return intent


def _require_way_back(call: Call, intent: JsonObject, off_session: bool) -> None:
    """A server that confirms on session must say where the customer returns to, unless redirects are excluded."""
    automatic = intent["automatic_payment_methods"] or {}
    if automatic.get("allow_redirects") != "always" or off_session or call.from_browser or call.value("return_url"):
        return
    message = (
        "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of these"
        " payment methods might redirect your customer off of your page, you must provide a `return_url`. If you don't"
        " want to accept redirect-based payment methods, set `automatic_payment_methods[enabled]` to `true` and"
        " `automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and Payment Intents."
    )
    raise Refusal(message, param="return_url")


def _retrieve(call: Call) -> JsonObject:
    intent = call.requested("payment_intent", param="intent")
    require_secret(call, intent)
    return intent


def _confirm(call: Call) -> JsonObject:
    intent = _retrieve(call)
    if intent["status"] not in CONFIRMABLE:
        message = f"You cannot confirm this PaymentIntent because it has a status of {intent['status']}."
        raise Refusal(message, code="payment_intent_unexpected_state", payment_intent=intent)
    kept = {name: call.value(name) for name in ("receipt_email", "setup_future_usage") if name in call.params}
    method = _chosen_method(call, intent["customer"])
    if method is None and intent["payment_method"]:
        method = payment_methods.resolve(call, intent["payment_method"])
    return _confirm_intent(call, {**intent, **kept}, method)


def _cancel(call: Call) -> JsonObject:
    intent = _retrieve(call)
    if intent["status"] in ("succeeded", "canceled"):
        message = f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}."
        raise Refusal(message, code="payment_intent_unexpected_state", payment_intent=intent)
    payment = invoice_payments.of_intent(call.store, intent["id"])
    if payment and payment["is_default"]:
        message = "You cannot cancel this PaymentIntent because it belongs to an invoice. Void the invoice instead."
        raise Refusal(message, code="payment_intent_unexpected_state", payment_intent=intent)
    if payment:
        invoice_payments.cancel_payment(call, payment)
    return payments.cancel(call, intent, call.value("cancellation_reason"))


CREATING = (
    "amount",
    "capture_method",
    "currency",
    "customer",
    "confirm",
    "description",
    "metadata",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "payment_method_types",
    "automatic_payment_methods",
    *CONFIRMING,
)

ROUTES = [
    Route("POST", "/v1/payment_intents", _create, PaymentIntentCreateParams, CREATING),
    Route(
        "GET",
        "/v1/payment_intents",
        lister("payment_intent", "/v1/payment_intents", "customer"),
        PaymentIntentListParams,
        (*PAGING, "created", "customer"),
    ),
    Route(
        "GET",
        "/v1/payment_intents/{id}",
        _retrieve,
        PaymentIntentRetrieveParams,
        ("client_secret",),
        browser=True,
        browser_params=("key", "is_stripe_sdk"),
    ),
    Route(
        "POST",
        "/v1/payment_intents/{id}/confirm",
        _confirm,
        PaymentIntentConfirmParams,
        CONFIRMING,
        browser=True,
        browser_params=("client_secret", "key", "expected_payment_method_type"),
        browser_types={"payment_method_data": PaymentMethodCreateParams},
    ),
    Route("POST", "/v1/payment_intents/{id}/cancel", _cancel, PaymentIntentCancelParams, ("cancellation_reason",)),
]
