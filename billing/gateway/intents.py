"""Payment and setup intents: what a buyer's browser confirms with a card."""

import logging
from typing import Any

import stripe
from djstripe import models as mirrored

from billing.exchange import CHECKOUT_ID, Intent, IntentProgress, IntentToOpen
from billing.gateway.connection import StripeRefused, call, errors_in_our_words, mirror
from billing.gateway.customers import card_of
from billing.stripe_amounts import from_stripe, to_stripe

logger = logging.getLogger(__name__)


def open_intent(intent: IntentToOpen) -> Intent:
    """Open what a buyer's browser confirms with a card; opened again for the same checkout it is the same one.

    A payment intent only holds the amount. It is taken by `take_held`, once there is a subscription to pay for.
    """
    common: dict[str, Any] = {
        "customer": intent.stripe_customer,
        "payment_method_types": ["card"],
        "metadata": {CHECKOUT_ID: intent.checkout},
        **call(f"{intent.checkout}-intent"),
    }
    with errors_in_our_words():
        if not intent.due_cents:
            return _intent(stripe.SetupIntent.create(usage="off_session", **common))
        return _intent(
            stripe.PaymentIntent.create(
                amount=to_stripe(intent.due_cents, intent.currency),
                currency=intent.currency.lower(),
                capture_method="manual",
                setup_future_usage="off_session",
                **common,
            )
        )


def read_intent(intent_id: str) -> Intent:
    """Look at a payment or setup intent as it stands at Stripe; one that Stripe does not know counts as canceled."""
    with errors_in_our_words():
        try:
            if intent_id.startswith("seti_"):
                return _intent(stripe.SetupIntent.retrieve(intent_id, expand=["payment_method"], **call()))
            return _intent(stripe.PaymentIntent.retrieve(intent_id, expand=["payment_method"], **call()))
        except stripe.InvalidRequestError as error:
            if error.code != "resource_missing":
                raise
            logger.error("Stripe does not know %s: was the account changed?", intent_id)
            return Intent(id=intent_id, client_secret="", progress=IntentProgress.CANCELED)


def take_held(intent_id: str, *, checkout: str) -> Intent:
    """Take what a payment intent holds on a card. Raises StripeRefused when it holds nothing any more."""
    with errors_in_our_words():
        taken = stripe.PaymentIntent.capture(intent_id, expand=["payment_method"], **call(f"{checkout}-capture"))
    mirror(mirrored.PaymentIntent, taken)
    return _intent(taken)


def release_held(intent_id: str) -> Intent:
    """Give free what an intent holds on a card, so that nothing can be taken, and return how it stands then.

    What was taken before cannot be given free; the caller sees that it was.
    """
    intent = read_intent(intent_id)
    if intent.progress in (IntentProgress.TAKEN, IntentProgress.CANCELED):
        return intent
    with errors_in_our_words():
        if not intent_id.startswith("seti_"):
            return _intent(stripe.PaymentIntent.cancel(intent_id, expand=["payment_method"], **call()))
        if intent.progress is IntentProgress.WAITING:
            return _intent(stripe.SetupIntent.cancel(intent_id, **call()))
    return intent


_PROGRESS = {
    ("payment_intent", "requires_capture"): IntentProgress.READY,
    ("payment_intent", "succeeded"): IntentProgress.TAKEN,
    ("payment_intent", "canceled"): IntentProgress.CANCELED,
    ("setup_intent", "succeeded"): IntentProgress.READY,
    ("setup_intent", "canceled"): IntentProgress.CANCELED,
}


def _intent(intent: stripe.PaymentIntent | stripe.SetupIntent) -> Intent:
    if isinstance(intent, stripe.PaymentIntent):
        error, taken_cents = _failure_text(intent.last_payment_error), _taken_cents(intent)
    else:
        error, taken_cents = _failure_text(intent.last_setup_error), 0
    method = intent.payment_method
    return Intent(
        id=intent.id,
        client_secret=intent.client_secret or "",
        progress=_PROGRESS.get((intent.object, intent.status), IntentProgress.WAITING),
        taken_cents=taken_cents,
        card=card_of(method) if isinstance(method, stripe.PaymentMethod) else None,
        error=error,
    )


def _failure_text(error: Any) -> str:
    """Say why the latest attempt failed. Stripe writes for the holder of a card only where the bank declined it."""
    if error is None:
        return ""
    if error.type == "card_error":
        return error.message or "Your card was declined."
    if (error.code or "").endswith("authentication_failure"):
        return "Your bank did not confirm the payment. Try again, or use another card."
    return "The payment did not go through. Try again, or use another card."


def _taken_cents(intent: stripe.PaymentIntent) -> int:
    try:
        return from_stripe(intent.amount_received, intent.currency)
    except ValueError as error:
        raise StripeRefused(f"{intent.id} has received {error}") from error
