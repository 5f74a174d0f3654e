"""The steps of a checkout that join our rules with Stripe: hold, subscribe, take.

A card is never charged for nothing: the first fees are only held on it while the buyer confirms, the subscription is
written, and then the held amount is taken as the payment of its first invoice. Where the rules refuse, the hold is
released instead. Each step may run again, late, or twice at the same time.
"""

import logging
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from billing import gateway
from billing.checkout_sessions import CheckoutSession
from billing.exchange import CustomerToSend, Intent, IntentProgress
from billing.models import Checkout, CheckoutStatus
from billing.services import checkout as rules
from billing.services.buyers import Buyer
from billing.services.collect import AmountMismatch
from billing.services.park import park_customer
from billing.services.send import record_stripe_customer
from billing.stripe_refusals import PaymentProviderUnavailable, refusals_of_stripe
from plans.models import Price
from plans.refusals import Refusal
from plans.services.on_sale import find_price_on_sale, find_price_to_agree
from plans.services.subscriptions import AlreadySubscribed

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Started:
    """A checkout that was begun: with an `intent` for the buyer's browser to confirm, or with a subscription."""

    checkout: Checkout
    intent: Intent | None


class CheckoutEnded(Refusal):
    """The checkout came to its end without a subscription."""

    code = "checkout_ended"
    status = 409


def price_for(session: CheckoutSession, price_id: str) -> Price:
    """Return the price that a buyer may subscribe at: one on sale, or the one that his session names."""
    if session.price and session.price == price_id:
        return find_price_to_agree(price_id)
    return find_price_on_sale(price_id)


def start(*, buyer: Buyer, price: Price, at: datetime) -> Started:
    """Begin a buyer's checkout, or find the one that is open or led to his subscription.

    Raises AlreadySubscribed, CheckoutEnded, and what refusals_of_stripe raises.
    """
    done = rules.find_completed_checkout(buyer.key)
    if done is not None and done.price_id == price.pk:
        return Started(checkout=done, intent=None)
    if done is not None:
        raise AlreadySubscribed(f"You are subscribed to {done.price.plan.name} already.")
    checkout = rules.open_checkout(buyer=buyer, price=price, at=at)
    if checkout.intent_type and not publishable_key():
        raise PaymentProviderUnavailable(
            "Cards cannot be taken: this installation has STRIPE_SECRET_KEY but not STRIPE_PUBLIC_KEY."
        )
    with refusals_of_stripe():
        intent = begin(checkout, at=at)
    if intent is None:
        checkout = rules.find_checkout(public_id=checkout.public_id)
        if checkout.status != CheckoutStatus.SUBSCRIBED:
            raise CheckoutEnded(checkout.error_message, details={"reason": checkout.error_code})
    return Started(checkout=checkout, intent=intent)


def begin(checkout: Checkout, *, at: datetime) -> Intent | None:
    """Open at Stripe what the buyer's browser is to confirm, and return it; None where no card is needed, or none any
    more: then the checkout has been taken to its end.

    Raises what the gateway raises.
    """
    if not checkout.intent_type:
        go_on(checkout, at=at)
        return None
    if checkout.intent_id is None:
        stripe_customer = gateway.ensure_customer(
            CustomerToSend(
                id=checkout.customer_public_id,
                stripe_id=checkout.stripe_customer_id or None,
                name=checkout.name,
                email=checkout.email,
            )
        )
        record_stripe_customer(customer=checkout.customer_public_id, stripe_id=stripe_customer)
        checkout.stripe_customer_id = stripe_customer
        intent = gateway.open_intent(rules.intent_to_open(checkout))
        rules.record_intent(checkout=checkout, stripe_customer=stripe_customer, intent=intent.id)
        return intent
    intent = gateway.read_intent(checkout.intent_id)
    if intent.progress is IntentProgress.WAITING:
        return intent
    go_on(checkout, at=at)
    return None


def go_on(checkout: Checkout, *, at: datetime) -> tuple[Checkout, str]:
    """Take a checkout as far as it goes by itself, and return it with Stripe's sentence about the card, if any.

    Raises what the gateway raises; then the next sweep goes on.
    """
    error = ""
    if checkout.status == CheckoutStatus.OPEN:
        checkout, error = _finish_open(checkout, at)
    if checkout.status != CheckoutStatus.OPEN and checkout.settled_at is None:
        checkout = _settle(checkout, at)
    return checkout, error


def _finish_open(checkout: Checkout, at: datetime) -> tuple[Checkout, str]:
    if not checkout.intent_type:
        return rules.subscribe_by_checkout(checkout=checkout, card=None, at=at), ""
    intent = gateway.read_intent(checkout.intent_id) if checkout.intent_id else None
    if intent is not None and intent.progress in (IntentProgress.READY, IntentProgress.TAKEN):
        return rules.subscribe_by_checkout(checkout=checkout, card=intent.card, at=at), ""
    is_over = intent is not None and intent.progress is not IntentProgress.WAITING
    if is_over or at >= checkout.expires_at:
        return rules.expire_checkout(checkout=checkout, at=at), ""
    return checkout, intent.error if intent else ""


def _settle(checkout: Checkout, at: datetime) -> Checkout:
    """Bring Stripe's side in line with how the checkout ended: take what is held, or release it."""
    if checkout.status != CheckoutStatus.SUBSCRIBED:
        if checkout.intent_id:
            gateway.release_held(checkout.intent_id)
        return rules.record_nothing_taken(checkout=checkout, at=at)
    if not checkout.intent_id:
        return rules.record_nothing_taken(checkout=checkout, at=at)
    intent = gateway.read_intent(checkout.intent_id)
    _tell_stripe_who(checkout, intent)
    if not checkout.due_cents:
        return rules.record_nothing_taken(checkout=checkout, at=at)
    return _take(checkout, intent, at)


def _tell_stripe_who(checkout: Checkout, intent: Intent) -> None:
    assert checkout.subscription is not None
    customer = checkout.subscription.customer
    if intent.card is not None:
        gateway.update_customer(
            stripe_customer=checkout.stripe_customer_id,
            name=customer.name,
            email=customer.email,
            payment_method=intent.card.stripe_id,
        )


def _take(checkout: Checkout, intent: Intent, at: datetime) -> Checkout:
    """Take what is held as the payment of the first invoice; without a hold that fits, the invoice is charged to the
    card like any other."""
    assert checkout.intent_id is not None
    fits = checkout.invoice is not None and checkout.invoice.total_cents == checkout.due_cents
    if intent.progress is IntentProgress.READY and fits:
        try:
            intent = gateway.take_held(checkout.intent_id, checkout=checkout.public_id)
        except (gateway.StripeRefused, gateway.CardDeclined) as error:
            logger.warning("%s could not be captured: %s", checkout.intent_id, error)
            intent = gateway.read_intent(checkout.intent_id)
    if intent.progress is not IntentProgress.TAKEN:
        gateway.release_held(checkout.intent_id)
        return rules.record_nothing_taken(checkout=checkout, at=at)
    try:
        return rules.record_taken(
            checkout=checkout,
            at=at,
            amount_cents=intent.taken_cents,
            payment_method=intent.card.stripe_id if intent.card else "",
        )
    except AmountMismatch as error:
        park_customer(customers=[error.customer], reason=str(error), at=at)
        raise


def publishable_key() -> str:
    """Return the key with which a browser talks to Stripe, or to the sandbox. Empty where none is configured."""
    return gateway.SANDBOX_PUBLISHABLE_KEY if gateway.uses_sandbox() else settings.STRIPE_PUBLIC_KEY


def stripe_script() -> str:
    """Return the address of the script that draws the card form: Stripe's, or the sandbox's stand-in for it.

    Stripe names its scripts after the releases of its API.
    """
    if gateway.uses_sandbox():
        return f"{gateway.sandbox_url()}/stripe.js"
    return f"https://js.stripe.com/{settings.STRIPE_API_VERSION.rpartition('.')[2]}/stripe.js"


def stripe_sources() -> dict[str, list[str]]:
    """Return what a content security policy has to allow for the card form."""
    if gateway.uses_sandbox():
        sandbox = gateway.sandbox_url() or ""
        return {"script-src": [sandbox], "connect-src": [sandbox]}
    return {
        "script-src": ["https://js.stripe.com", "https://*.js.stripe.com"],
        "frame-src": ["https://js.stripe.com", "https://*.js.stripe.com", "https://hooks.stripe.com"],
        "connect-src": ["https://api.stripe.com"],
        "img-src": ["https://*.stripe.com"],
    }
