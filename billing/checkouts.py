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
from billing.services.first_bill import needs_card
from billing.services.park import park_customer
from billing.services.send import record_stripe_customer
from billing.stripe_refusals import PaymentProviderUnavailable
from plans.models import Price
from plans.refusals import Refusal
from plans.services.on_sale import find_price_on_sale, find_price_to_agree

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

    Raises what open_checkout refuses, CheckoutEnded, and PaymentProviderUnavailable.
    """
    if needs_card(price):
        require_card_form()
    checkout = rules.open_checkout(buyer=buyer, price=price, at=at)
    intent = None
    if checkout.status == CheckoutStatus.OPEN:
        try:
            intent = begin(checkout, at=at)
        except gateway.StripeUnavailable as error:
            checkout = rules.find_checkout(public_id=checkout.public_id)
            # The answer that got lost may have been one to a later step.
            if checkout.status != CheckoutStatus.SUBSCRIBED:
                raise PaymentProviderUnavailable(
                    "The payment provider cannot be reached right now; please try again."
                ) from error
        except (gateway.StripeRefused, gateway.CardDeclined) as error:
            logger.error("Stripe refused checkout %s: %s", checkout, error)
            rules.refuse_checkout(checkout=checkout, error=str(error), at=at)
    if intent is not None:
        rules.retype(checkout=checkout, buyer=buyer)
        return Started(checkout=checkout, intent=intent)
    checkout = rules.find_checkout(public_id=checkout.public_id)
    if checkout.status != CheckoutStatus.SUBSCRIBED:
        message = checkout.error_message or rules.PAYMENT_REFUSED
        raise CheckoutEnded(message, details={"reason": checkout.error_code or "payment_refused"})
    return Started(checkout=checkout, intent=None)


def begin(checkout: Checkout, *, at: datetime) -> Intent | None:
    """Open at Stripe what the buyer's browser is to confirm, and return it; None where no card is needed, or none any
    more: then the checkout has been taken as far as it goes.

    Raises what the gateway raises.
    """
    if not checkout.intent_type:
        go_on(checkout, at=at)
        return None
    if checkout.intent_id is not None:
        intent = gateway.read_intent(checkout.intent_id)
    else:
        intent = _open_intent(checkout)
        checkout = rules.record_intent(
            checkout=checkout, stripe_customer=checkout.stripe_customer_id, intent=intent.id, at=at
        )
    if checkout.status == CheckoutStatus.OPEN and intent.progress is IntentProgress.WAITING:
        return intent
    go_on(checkout, at=at)
    return None


def _open_intent(checkout: Checkout) -> Intent:
    customer = CustomerToSend(
        id=checkout.customer_public_id,
        stripe_id=checkout.stripe_customer_id or None,
        name=checkout.name,
        email=checkout.email,
    )
    checkout.stripe_customer_id = gateway.ensure_customer(customer, is_new=checkout.customer_id is None)
    record_stripe_customer(customer=checkout.customer_public_id, stripe_id=checkout.stripe_customer_id)
    return gateway.open_intent(rules.intent_to_open(checkout))


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
    if checkout.intent_id is None:
        return rules.record_nothing_taken(checkout=checkout, at=at)
    if checkout.status != CheckoutStatus.SUBSCRIBED:
        _release(checkout)
        return rules.record_nothing_taken(checkout=checkout, at=at)
    intent = gateway.read_intent(checkout.intent_id)
    if checkout.due_cents:
        checkout = _take(checkout, intent, at)
    else:
        checkout = rules.record_nothing_taken(checkout=checkout, at=at)
    _tell_stripe_who(checkout, intent)
    return checkout


def _release(checkout: Checkout) -> None:
    """Give free what a checkout without a subscription holds, and forget its card."""
    assert checkout.intent_id is not None
    after = gateway.release_held(checkout.intent_id)
    if after.progress is IntentProgress.TAKEN:
        # Only somebody at Stripe's dashboard can have done that; we take nothing without a subscription.
        logger.error("%s was captured, but nothing was bought with it: refund it at Stripe", checkout.intent_id)
    elif after.card is not None:
        try:
            gateway.forget_card(after.card.stripe_id)
        except gateway.StripeRefused as error:
            logger.warning("the card of %s could not be detached: %s", checkout, error)


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
    if intent.progress is not IntentProgress.TAKEN:
        intent = gateway.release_held(checkout.intent_id)
    if intent.progress is not IntentProgress.TAKEN:
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
        return rules.record_wrong_amount(checkout=checkout, at=at, error=str(error))


def _tell_stripe_who(checkout: Checkout, intent: Intent) -> None:
    """Tell Stripe the customer's name, e-mail and card for invoices. Our own books do not depend on it."""
    assert checkout.subscription is not None
    customer = checkout.subscription.customer
    if intent.card is None:
        return
    try:
        gateway.update_customer(
            stripe_customer=checkout.stripe_customer_id,
            name=customer.name,
            email=customer.email,
            payment_method=intent.card.stripe_id,
        )
    except (gateway.StripeUnavailable, gateway.StripeRefused, gateway.CardDeclined) as error:
        logger.warning("Stripe did not take the details of customer %s: %s", customer.public_id, error)


def require_card_form() -> None:
    """Raise PaymentProviderUnavailable where no card form can be drawn."""
    if gateway.uses_sandbox() and gateway.sandbox_url() is None:
        raise PaymentProviderUnavailable("Cards cannot be taken right now; please try again later.")
    if not publishable_key():
        logger.error("STRIPE_SECRET_KEY is set, but not STRIPE_PUBLIC_KEY: no card can be taken at the checkout")
        raise PaymentProviderUnavailable("Cards cannot be taken: the seller has not set STRIPE_PUBLIC_KEY yet.")


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
