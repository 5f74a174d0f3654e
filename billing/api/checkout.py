"""The doors of the checkout: sessions for known customers, and what a browser calls to subscribe and pay."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.http import urlencode
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing import checkouts, gateway
from billing.api.refusals import PaymentProviderUnavailable, refusals_of_stripe
from billing.checkout_sessions import CheckoutSession, read_session, sign_session
from billing.models import Checkout, CheckoutStatus
from billing.services.buyers import Buyer, known_buyer, new_buyer
from billing.services.checkout import find_checkout, find_completed_checkout, open_checkout
from billing.words import NewCheckoutSession, PaymentInit, typed_profile
from plans.models import Price
from plans.query import boolean_parameter
from plans.refusals import InvalidInput, Refusal
from plans.serializers.reading import read
from plans.services.customers import find_customer
from plans.services.on_sale import find_price_on_sale, find_price_to_agree
from plans.services.subscriptions import AlreadySubscribed


class CheckoutSessionView(APIView):
    """`/v1/customers/{id}/checkout-session`."""

    scope = "customers"

    def post(self, request: Request, identifier: str) -> Response:
        """Sign a checkout address for a customer: to choose a plan, or for the price of `priceId`."""
        body = read(NewCheckoutSession, request.data)
        external = boolean_parameter(request.query_params, "isExtCustId")
        customer = find_customer(identifier, external=external)
        price_id = body.get("priceId") or ""
        if price_id:
            find_price_to_agree(price_id)
        session = CheckoutSession(customer=customer.public_id, price=price_id)
        token, expires_at = sign_session(session, at=timezone.now())
        if price_id:
            address = f"/checkout?{urlencode({'price': price_id, 'session': token})}"
        else:
            address = f"/pricing?{urlencode({'session': token})}"
        return Response({"url": f"{settings.PUBLIC_URL}{address}", "session": token, "expiresAt": expires_at})


class PaymentInitView(APIView):
    """`/v1/public/payment-init`."""

    scope = "public"
    calls_network = True
    # The same buyer gets the same checkout and intent, however often he asks; the secret is not to be kept.
    own_idempotency = True

    def post(self, request: Request) -> Response:
        """Begin a checkout, and answer what the browser confirms with a card; without a card it is done at once."""
        at = timezone.now()
        body = read(PaymentInit, request.data)
        token = body.get("checkoutSession")
        session = read_session(token, at=at) if token else CheckoutSession()
        price = price_for(session, body["priceId"])
        if body.get("planId") not in (None, "", price.plan.public_id, price.plan.stable_plan_id):
            raise InvalidInput.at("planId", "is not the plan of this price.")
        buyer = _buyer(session, body)
        return Response(_begin(buyer, price, at))


class PaymentStatusView(APIView):
    """`/v1/public/payment-status/{intentId}`; to know the id of an intent is to be allowed to ask."""

    scope = "none"
    calls_network = True

    def get(self, request: Request, intent_id: str) -> Response:
        """Tell how a checkout stands, taking it further where Stripe has news."""
        checkout = find_checkout(intent_id=intent_id)
        error = ""
        try:
            checkout, error = checkouts.go_on(checkout, at=timezone.now())
        except gateway.StripeUnavailable:
            checkout = find_checkout(intent_id=intent_id)
        except gateway.StripeRefused as refused:
            checkout = find_checkout(intent_id=intent_id)
            error = str(refused)
        return status_answer(checkout, error)


def price_for(session: CheckoutSession, price_id: str) -> Price:
    """Return the price that a buyer may subscribe at: one on sale, or the one that his session names."""
    if session.price and session.price == price_id:
        return find_price_to_agree(price_id)
    return find_price_on_sale(price_id)


def _buyer(session: CheckoutSession, body: Mapping[str, Any]) -> Buyer:
    claimed = body.get("userId") or body.get("customerId")
    if session.customer:
        return known_buyer(customer_id=session.customer, claimed_external_id=claimed)
    typed = body.get("customer") or {}
    return new_buyer(
        visitor=session.buyer if session.visitor else "",
        name=body.get("customerName") or typed.get("name") or "",
        email=body.get("customerEmail") or typed.get("email") or "",
        external_customer_id=claimed,
        **typed_profile(dict(body)),
    )


def _begin(buyer: Buyer, price: Price, at: datetime) -> dict[str, Any]:
    done = find_completed_checkout(buyer.key)
    if done is not None and done.price_id == price.pk:
        return _done_words(done)
    if done is not None:
        raise AlreadySubscribed(f"You are subscribed to {done.price.plan.name} already.")
    checkout = open_checkout(buyer=buyer, price=price, at=at)
    if checkout.intent_type and not checkouts.publishable_key():
        raise PaymentProviderUnavailable(
            "Cards cannot be taken: this installation has STRIPE_SECRET_KEY but not STRIPE_PUBLIC_KEY."
        )
    with refusals_of_stripe():
        intent = checkouts.begin(checkout, at=at)
    if intent is not None:
        return {
            "stripePublishableKey": checkouts.publishable_key(),
            "clientSecret": intent.client_secret,
            "intentId": intent.id,
            "intentType": checkout.intent_type,
            "checkoutId": checkout.public_id,
        }
    checkout = find_checkout(public_id=checkout.public_id)
    if checkout.status != CheckoutStatus.SUBSCRIBED:
        raise CheckoutEnded(checkout)
    return _done_words(checkout)


class CheckoutEnded(Refusal):
    """The checkout came to its end without a subscription."""

    code = "checkout_ended"
    status = 409

    def __init__(self, checkout: Checkout) -> None:
        super().__init__(checkout.error_message, details={"reason": checkout.error_code})


def _done_words(checkout: Checkout) -> dict[str, Any]:
    assert checkout.subscription is not None
    return {
        "message": "Subscription created",
        "subscription_id": checkout.subscription.public_id,
        "checkoutId": checkout.public_id,
    }


def status_answer(checkout: Checkout, error: str) -> Response:
    """Answer how a checkout stands in the contract's words."""
    if checkout.subscription is not None:
        return Response({"status": "succeeded", "subscriptionId": checkout.subscription.public_id})
    failure = checkout.error_message or error
    if failure:
        return Response({"status": "failed", "error": failure})
    return Response({"status": "pending", "message": "Waiting for the payment to be confirmed."}, status=202)
