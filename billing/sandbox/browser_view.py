"""What a browser is shown of an intent: Stripe keeps the rest from publishable keys, so a page must not count on it."""

from typing import Any

from billing.sandbox.store import JsonObject

OF_EVERY_INTENT = frozenset(
    {
        "automatic_payment_methods",
        "cancellation_reason",
        "client_secret",
        "created",
        "description",
        "id",
        "livemode",
        "next_action",
        "object",
        "payment_method",
        "payment_method_configuration_details",
        "payment_method_types",
        "status",
    }
)
SHOWN = {
    "payment_intent": OF_EVERY_INTENT
    | {
        "amount",
        "amount_details",
        "canceled_at",
        "capture_method",
        "confirmation_method",
        "currency",
        "last_payment_error",
        "processing",
        "receipt_email",
        "setup_future_usage",
        "shipping",
        "source",
    },
    "setup_intent": OF_EVERY_INTENT | {"last_setup_error", "usage"},
}


def for_browser(body: JsonObject) -> JsonObject:
    """Return the answer without what a browser may not see, also inside an error."""
    shown = SHOWN.get(body.get("object", ""), body.keys())
    return {name: _inside(value) for name, value in body.items() if name in shown}


def _inside(value: Any) -> Any:
    return for_browser(value) if isinstance(value, dict) else value
