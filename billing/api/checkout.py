"""The doors of the checkout: sessions for known customers, and what a browser calls to subscribe and pay."""

import logging
from collections.abc import Mapping
from typing import Any

from django.utils import timezone
from django.utils.http import urlencode
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing import checkouts, gateway
from billing.checkout_sessions import CheckoutSession, customer_session, sign_session
from billing.models import Checkout
from billing.services.buyers import Buyer, known_buyer, new_buyer
from billing.services.checkout import find_checkout
from billing.signed_links import absolute
from billing.words import NewCheckoutSession, PaymentInit, started_words, typed_profile
from plans.query import boolean_parameter
from plans.refusals import InvalidInput
from plans.serializers.reading import read
from plans.services.customers import find_customer
from plans.services.on_sale import find_price_to_agree

logger = logging.getLogger(__name__)


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
        return Response({"url": absolute(address), "session": token, "expiresAt": expires_at})


class PaymentInitView(APIView):
    """`/v1/public/payment-init`."""

    scope = "public"
    calls_network = True
    # A session gets the same intent again, of several checkouts one is subscribed, and the secret is not to be kept.
    own_idempotency = True

    def post(self, request: Request) -> Response:
        """Begin a checkout, and answer what the browser confirms with a card; without a card it is done at once."""
        at = timezone.now()
        body = read(PaymentInit, request.data)
        token = body.get("checkoutSession")
        session = customer_session(token, at=at) if token else CheckoutSession()
        price = checkouts.price_for(session, body["priceId"])
        if body.get("planId") not in (None, "", price.plan.public_id, price.plan.stable_plan_id):
            raise InvalidInput.at("planId", "is not the plan of this price.")
        buyer = _buyer(session, body)
        started = checkouts.start(buyer=buyer, price=price, at=at)
        words = started_words(started.checkout, started.intent, stripe_key=checkouts.publishable_key())
        if not buyer.is_proven and started.intent is None:
            # Whoever types the same would get it too, and with it the page that shows what was bought.
            del words["checkoutId"]
        return Response(words)


class PaymentStatusView(APIView):
    """`/v1/public/payment-status/{intentId}`; to know the id of an intent is to be allowed to ask."""

    scope = "none"
    calls_network = True

    def get(self, request: Request, intent_id: str) -> Response:
        """Tell how a checkout stands, taking it further where Stripe has news."""
        checkout = find_checkout(intent_id=intent_id)
        try:
            checkout, error = checkouts.go_on(checkout, at=timezone.now())
        except (gateway.StripeUnavailable, gateway.StripeRefused, gateway.CardDeclined) as failure:
            logger.warning("checkout %s could not go on: %s", checkout, failure)
            checkout, error = find_checkout(intent_id=intent_id), ""
        return _status_answer(checkout, error)


def _buyer(session: CheckoutSession, body: Mapping[str, Any]) -> Buyer:
    claimed = body.get("userId") or body.get("customerId")
    if session.customer:
        return known_buyer(customer_id=session.customer, claimed_external_id=claimed)
    typed = body.get("customer") or {}
    return new_buyer(
        name=body.get("customerName") or typed.get("name") or "",
        email=body.get("customerEmail") or typed.get("email") or "",
        external_customer_id=claimed,
        **typed_profile(dict(body)),
    )


def _status_answer(checkout: Checkout, error: str) -> Response:
    """Answer how a checkout stands in the contract's words."""
    if checkout.subscription is not None:
        return Response({"status": "succeeded", "subscriptionId": checkout.subscription.public_id})
    failure = checkout.error_message or error
    if failure:
        return Response({"status": "failed", "error": failure})
    return Response({"status": "pending", "message": "Waiting for the payment to be confirmed."}, status=202)
