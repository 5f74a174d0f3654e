"""How Stripe is called: the key, time-outs and retries, errors in our own words, and dj-stripe's mirror."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import stripe
from django.conf import settings

logger = logging.getLogger(__name__)

# No secret: the sandbox takes any test key, and dj-stripe wants one of this length.
SANDBOX_KEY = "sk_test_CandelaSandboxTakesAnyKey"
SANDBOX_PUBLISHABLE_KEY = "pk_test_CandelaSandboxTakesAnyKey"
TIMEOUT_SECONDS = 20
NETWORK_RETRIES = 2
# How many objects of a list are asked for at once.
PAGE = 100


class StripeUnavailable(Exception):
    """Stripe did not give a definite answer: not reached, timed out, overloaded. The same call may be made again."""


class StripeRefused(Exception):
    """Stripe refused the call; made again unchanged, it would refuse it again."""


class CardDeclined(Exception):
    """The bank or Stripe refused a card. The message is meant for the person who holds it."""

    def __init__(self, message: str, *, code: str, reference: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reference = reference


def sandbox_url() -> str | None:
    """Return the address of the sandbox that runs with this data folder, or None."""
    try:
        return json.loads((settings.CANDELA_DATA / "sandbox.json").read_text())["url"]
    except (OSError, ValueError, KeyError):
        return None


def uses_sandbox() -> bool:
    """Tell whether the sandbox stands in for Stripe: no key is configured."""
    return not settings.STRIPE_SECRET_KEY


def dashboard_url(object_id: str) -> str:
    """Return where an operator finds an object at Stripe: in its dashboard, or on the sandbox's page."""
    if uses_sandbox():
        return f"{sandbox_url() or ''}/"
    mode = "" if "_live_" in settings.STRIPE_SECRET_KEY else "test/"
    return f"https://dashboard.stripe.com/{mode}search?query={object_id}"


@cache
def _http_client() -> stripe.HTTPClient:
    return stripe.new_default_http_client(timeout=TIMEOUT_SECONDS)


def api_key() -> str:
    """Point the library at Stripe or the sandbox, and return the key to call it with."""
    stripe.max_network_retries = NETWORK_RETRIES
    if stripe.default_http_client is None:
        stripe.default_http_client = _http_client()
    if not uses_sandbox():
        stripe.api_base = settings.STRIPE_API_ADDRESS
        return settings.STRIPE_SECRET_KEY
    url = sandbox_url()
    if url is None:
        raise StripeUnavailable("STRIPE_SECRET_KEY is not set and no sandbox is running; `manage.py up` starts one")
    if urlsplit(url).hostname != "127.0.0.1":
        raise StripeUnavailable(f"the sandbox must run on 127.0.0.1, not at {url}")
    stripe.api_base = url
    return SANDBOX_KEY


def call(idempotency_key: str | None = None) -> dict[str, Any]:
    options = {"api_key": api_key(), "stripe_version": settings.STRIPE_API_VERSION}
    return options | ({"idempotency_key": idempotency_key} if idempotency_key else {})


@contextmanager
def errors_in_our_words() -> Iterator[None]:
    try:
        yield
    except stripe.CardError as error:
        intent = _payment_intent_of(error)
        raise CardDeclined(
            error.user_message or str(error),
            code=_decline_code(error),
            reference=intent,
        ) from error
    except (stripe.APIConnectionError, stripe.RateLimitError) as error:
        raise StripeUnavailable(str(error)) from error
    except (stripe.AuthenticationError, stripe.PermissionError) as error:
        # Nothing is wrong with what was sent; once the key is mended, the same call succeeds.
        raise StripeUnavailable("Stripe does not accept the configured API key") from error
    except stripe.StripeError as error:
        if error.http_status is None or error.http_status >= 500 or error.http_status == 409:
            raise StripeUnavailable(str(error)) from error
        raise StripeRefused(error.user_message or str(error)) from error


def _decline_code(error: stripe.CardError) -> str:
    return (error.error and error.error.decline_code) or error.code or "card_error"


def _payment_intent_of(error: stripe.CardError) -> str:
    intent = error.error.payment_intent if error.error else None
    return intent.id if intent else ""


def our_id(stripe_object: Any, name: str) -> str:
    """Read an id of ours from the metadata of an object at Stripe; empty where there is none."""
    metadata = stripe_object.metadata
    return metadata[name] if metadata and name in metadata else ""


def mirror(model: Any, stripe_object: stripe.StripeObject) -> None:
    mirror_by(lambda key: model.sync_from_stripe_data(stripe_object, api_key=key), stripe_object["id"])


def mirror_by(sync: Callable[[str], Any], stripe_id: str) -> None:
    """Sync into dj-stripe's tables. They are a mirror to look into; a failure there must not stop the billing."""
    try:
        sync(api_key())
    except Exception:
        logger.exception("could not mirror %s into dj-stripe", stripe_id)
