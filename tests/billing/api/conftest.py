"""A visitor's browser: what it may call with the publishable key, and what it confirms at Stripe."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import stripe
from django.test import Client

from billing.sandbox import Sandbox
from billing.sandbox.http_client import SandboxClient
from config.keys import create_api_key
from plans.exact_json import encode
from plans.services.pricing_tables import add_plan_to_default_table
from tests.conftest import Answer
from tests.pro_plan import ProPlan, make_pro_plan

PUBLISHABLE = "pk_test_CandelaTests0123456789abc"


class Browser:
    """Subscribes with nothing but the publishable key, and pays with Stripe's test cards."""

    def __init__(self, key: str, sandbox: Sandbox) -> None:
        self.key = key
        self.client = Client(raise_request_exception=False)
        self.stripe = stripe.StripeClient(PUBLISHABLE, http_client=SandboxClient(sandbox))

    def init(self, price: Any, **body: Any) -> Answer:
        """POST payment-init for a price, as Ada unless the body says otherwise."""
        typed = {"customerName": "Ada", "customerEmail": "ada@example.com"} | body
        return self.post(
            "/v1/public/payment-init", {"lumenPublishableKey": self.key, "priceId": price.public_id} | typed
        )

    def post(self, path: str, body: Any) -> Answer:
        """POST JSON."""
        return Answer(self.client.post(path, encode(body), content_type="application/json"))

    def status(self, intent: str) -> Answer:
        """GET the payment status."""
        return Answer(self.client.get(f"/v1/public/payment-status/{intent}"))

    def pay(self, answer: Answer, card: str = "pm_card_visa") -> Any:
        """Confirm at Stripe what payment-init answered; a decline is returned, not raised."""
        kind = "payment_intents" if answer.body["intentType"] == "payment" else "setup_intents"
        words = {"payment_method": card, "client_secret": answer.body["clientSecret"]}
        try:
            return getattr(self.stripe.v1, kind).confirm(answer.body["intentId"], words)
        except stripe.CardError as declined:
            return declined


@pytest.fixture
def visitor(db: None, stripe_sandbox: Sandbox, settings: Any) -> Browser:
    """A visitor's browser."""
    settings.STRIPE_PUBLIC_KEY = PUBLISHABLE
    _, key = create_api_key(name="Page", key_type="publishable", at=datetime(2026, 1, 1, tzinfo=UTC))
    return Browser(key, stripe_sandbox)


@pytest.fixture
def offer() -> Callable[..., ProPlan]:
    """Make a plan and put it on the pricing table."""

    def make(**terms: Any) -> ProPlan:
        pro = make_pro_plan(**terms)
        add_plan_to_default_table(plan=pro.plan)
        return pro

    return make
