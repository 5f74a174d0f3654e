"""What a Stripe account needs before it collects for us: keys that fit each other, and one webhook endpoint."""

import ipaddress
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlsplit
from uuid import uuid4

from django.conf import settings

from billing import gateway
from billing.exchange import AccountAtStripe, EndpointAtStripe
from config.first_start import WEBHOOK_EVENTS

SECRET = re.compile(r"(sk|rk)_(test|live)_.+")
PUBLISHABLE = re.compile(r"pk_(test|live)_.+")
# Stripe goes on sending to an old endpoint what it could not deliver; after a day the new one has taken over.
OVERLAP = timedelta(days=1)


@dataclass
class Setup:
    """How the account stands: `wrong` is what has to be put right, `done` what was, `notes` what is good to know."""

    account: AccountAtStripe | None = None
    wrong: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def wrong_settings() -> list[str]:
    """Say in words which settings do not fit each other; never what they hold."""
    secret, public = SECRET.fullmatch(settings.STRIPE_SECRET_KEY), PUBLISHABLE.fullmatch(settings.STRIPE_PUBLIC_KEY)
    if not settings.STRIPE_SECRET_KEY:
        return ["STRIPE_SECRET_KEY is not set, so the sandbox stands in for Stripe, and `up` connects that by itself."]
    if secret is None:
        return ["STRIPE_SECRET_KEY is no secret key: it begins with sk_test_, sk_live_, rk_test_ or rk_live_."]
    mode = secret[2]
    wrong = []
    if not settings.STRIPE_PUBLIC_KEY:
        wrong.append("STRIPE_PUBLIC_KEY is not set, so no card can be taken at the checkout.")
    elif public is None:
        wrong.append("STRIPE_PUBLIC_KEY is no publishable key: it begins with pk_test_ or pk_live_.")
    elif public[1] != mode:
        wrong.append(f"STRIPE_SECRET_KEY is a {mode} key, but STRIPE_PUBLIC_KEY is a {public[1]} key.")
    if (mode == "live") != settings.STRIPE_LIVE_MODE:
        wrong.append(f"STRIPE_SECRET_KEY is a {mode} key, so STRIPE_LIVE_MODE must be {str(mode == 'live').lower()}.")
    if mode == "live":
        wrong += _wrong_address(settings.PUBLIC_URL)
    return wrong


def _wrong_address(url: str) -> list[str]:
    parts = urlsplit(url)
    wrong = []
    if parts.scheme != "https":
        wrong.append(f"PUBLIC_URL is {url}: a live account needs an address with https://.")
    if _is_local(parts.hostname or ""):
        wrong.append(f"PUBLIC_URL is {url}, which Stripe cannot reach: set the address that the outside sees.")
    return wrong


def _is_local(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host in ("", "localhost") or host.endswith((".localhost", ".local", ".internal"))


def look(*, at: datetime) -> Setup:
    """Say how the account stands, and change nothing. Raises what the gateway raises."""
    return _setup(at=at, mends=False, rotates=False)


def set_up(*, at: datetime, rotates: bool = False) -> Setup:
    """Put right what is wrong with the webhook endpoint; run again, it finds nothing to do. Raises what the gateway
    raises.

    With `rotates` there is a new endpoint with a new secret, and the old one goes on for a day: then the next set-up
    removes it. Events that both of them send are taken once.
    """
    return _setup(at=at, mends=True, rotates=rotates)


def _setup(*, at: datetime, mends: bool, rotates: bool) -> Setup:
    setup = Setup(wrong=wrong_settings())
    if not SECRET.fullmatch(settings.STRIPE_SECRET_KEY) or (mends and setup.wrong):
        return setup
    setup.account = gateway.read_account()
    if not setup.account.can_charge:
        setup.wrong.append("Stripe does not let this account charge yet: finish what its dashboard asks for.")
    if settings.STRIPE_SECRET_KEY.startswith("rk_"):
        setup.notes.append(
            "The key is a restricted one. It has to be allowed to write customers, payment methods, payment and setup "
            "intents, invoices, credit notes, refunds and webhook endpoints, and to read charges, disputes and events."
        )
    found = gateway.find_webhook_endpoints(_prefix())
    if not mends:
        setup.wrong += _wrong_endpoints(found, at)
        return setup
    kept = _mend(setup, found, rotates)
    _remove_others(setup, [one for one in found if one is not kept], kept, at)
    return setup


def _prefix() -> str:
    return f"{settings.PUBLIC_URL.rstrip('/')}/stripe/webhook/"


def _wrong_endpoints(found: list[EndpointAtStripe], at: datetime) -> list[str]:
    if not found:
        return [f"Stripe has no webhook endpoint for {settings.PUBLIC_URL}."]
    current = _current(found)
    if current is None:
        return [f"{one.url}: {_why_useless(one)}" for one in found]
    wrong = []
    if not current.is_enabled:
        wrong.append(f"{current.url} is switched off at Stripe.")
    if missing := set(WEBHOOK_EVENTS) - current.events:
        wrong.append(f"{current.url} does not send {', '.join(sorted(missing))}.")
    if needless := current.events - set(WEBHOOK_EVENTS):
        wrong.append(f"{current.url} sends what nobody listens to: {', '.join(sorted(needless))}.")
    if current.made_at <= at - OVERLAP:
        wrong += [f"{one.url} is an old endpoint, and not needed any more." for one in found if one is not current]
    return wrong


def _current(found: list[EndpointAtStripe]) -> EndpointAtStripe | None:
    """The newest endpoint whose events can be taken; neither its version nor a lost secret can be put right."""
    return next((one for one in found if not _why_useless(one)), None)


def _why_useless(endpoint: EndpointAtStripe) -> str:
    if not endpoint.is_kept:
        return "its signing secret is not known here, so its events are refused."
    if endpoint.api_version != settings.STRIPE_API_VERSION:
        version = endpoint.api_version or "the account's own"
        return f"its events are of API version {version}, but {settings.STRIPE_API_VERSION} is needed."
    return ""


def _mend(setup: Setup, found: list[EndpointAtStripe], rotates: bool) -> EndpointAtStripe | None:
    """Bring the endpoint to what it should be, or make one; returns the one that stays, None where it was just made."""
    current = _current(found)
    if rotates or current is None:
        uuid = str(uuid4())
        gateway.create_webhook_endpoint(url=f"{_prefix()}{uuid}", uuid=uuid, events=WEBHOOK_EVENTS)
        setup.done.append(f"Made the webhook endpoint {_prefix()}{uuid}.")
        return None
    if current.events != set(WEBHOOK_EVENTS) or not current.is_enabled:
        gateway.update_webhook_events(current.stripe_id, WEBHOOK_EVENTS)
        setup.done.append(f"{current.url} now sends the {len(WEBHOOK_EVENTS)} kinds of events that are listened to.")
    return current


def _remove_others(setup: Setup, others: list[EndpointAtStripe], kept: EndpointAtStripe | None, at: datetime) -> None:
    """Remove endpoints that are of no use, at once where nothing they send is taken, else when the new one is a day
    old."""
    for one in others:
        if one.is_kept and (kept is None or kept.made_at > at - OVERLAP):
            setup.notes.append(f"{one.url} goes on for a day; run stripe_setup once more after that, which removes it.")
        else:
            gateway.remove_webhook_endpoint(one)
            setup.done.append(f"Removed the webhook endpoint {one.url}.")
