"""Stripe's events: the endpoint they are sent to, and dj-stripe's copies of them."""

from datetime import UTC, datetime
from typing import Any

import stripe
from django.conf import settings
from djstripe import models as mirrored

from billing.exchange import AccountAtStripe, EndpointAtStripe
from billing.gateway.connection import PAGE, api_key, call, errors_in_our_words, mirror, mirror_by


def mirror_event(event: dict[str, Any]) -> None:
    """Bring dj-stripe's copy of an event and of the object it is about up to date."""
    mirror_by(lambda key: mirrored.Event.process(event, api_key=key), event["id"])


def create_webhook_endpoint(*, url: str, uuid: str, events: list[str]) -> None:
    """Create the endpoint that Stripe sends its events to, and keep it with its secret where dj-stripe looks for it."""
    with errors_in_our_words():
        endpoint = stripe.WebhookEndpoint.create(
            url=url,
            enabled_events=events,  # type: ignore[arg-type]  # the library lists the words one by one
            api_version=settings.STRIPE_API_VERSION,  # type: ignore[arg-type]  # likewise
            metadata={"djstripe_uuid": uuid},
            **call(f"webhook-{uuid}"),
        )
    mirrored.WebhookEndpoint.sync_from_stripe_data(endpoint, api_key=api_key())
    mirrored.WebhookEndpoint.objects.filter(id=endpoint.id).update(secret=endpoint.secret)


def update_webhook_events(endpoint_id: str, events: list[str]) -> None:
    """Let Stripe send an endpoint these events from now on, also where somebody had switched it off."""
    with errors_in_our_words():
        endpoint = stripe.WebhookEndpoint.modify(
            endpoint_id,
            enabled_events=events,  # type: ignore[arg-type]  # the library lists the words one by one
            disabled=False,
            **call(),
        )
    mirror(mirrored.WebhookEndpoint, endpoint)


def read_account() -> AccountAtStripe:
    """Ask Stripe whose account the key is of."""
    with errors_in_our_words():
        account = stripe.Account.retrieve(**call())
    profile, shown = getattr(account, "business_profile", None), getattr(account, "settings", None)
    return AccountAtStripe(
        id=account.id,
        name=(profile and profile.name) or (shown and shown.dashboard.display_name) or "",
        country=account.country or "",
        currency=(account.default_currency or "").upper(),
        can_charge=bool(account.charges_enabled),
    )


def find_webhook_endpoints(prefix: str) -> list[EndpointAtStripe]:
    """Return the endpoints at Stripe whose addresses begin with `prefix`, the newest first."""
    with errors_in_our_words():
        listed = list(stripe.WebhookEndpoint.list(limit=PAGE, **call()).auto_paging_iter())
    kept = mirrored.WebhookEndpoint.objects.exclude(secret="")
    # One whose secret was typed in has a row that knows its address, but not Stripe's id.
    addresses = set(kept.filter(url__startswith=prefix).values_list("url", flat=True))
    found = [
        EndpointAtStripe(
            stripe_id=one.id,
            url=one.url,
            events=frozenset(one.enabled_events),
            api_version=one.api_version or "",
            is_enabled=one.status == "enabled",
            made_at=datetime.fromtimestamp(one.created, UTC),
            is_kept=one.url in addresses,
        )
        for one in listed
        if one.url.startswith(prefix)
    ]
    return sorted(found, key=lambda one: (one.made_at, one.is_kept), reverse=True)


def remove_webhook_endpoint(endpoint: EndpointAtStripe) -> None:
    """Delete an endpoint at Stripe and forget its secret, so that nothing signed with it is taken any more."""
    with errors_in_our_words():
        stripe.WebhookEndpoint.delete(endpoint.stripe_id, **call())
    mirrored.WebhookEndpoint.objects.filter(url=endpoint.url).delete()


def keep_webhook_secret(*, url: str, uuid: str, secret: str) -> None:
    """Keep the signing secret of an endpoint that somebody made in Stripe's dashboard, so that its events are taken."""
    mirrored.WebhookEndpoint.objects.update_or_create(
        djstripe_uuid=uuid,
        defaults={
            "id": f"we_configured_{uuid}",
            "url": url,
            "secret": secret,
            "enabled_events": ["*"],
            "status": "enabled",
            "livemode": settings.STRIPE_LIVE_MODE,
            "api_version": settings.STRIPE_API_VERSION,
        },
    )


def knows_webhook_endpoint(address: str) -> bool:
    """Tell whether an endpoint that begins with this address is kept with its secret, so that its events are taken."""
    endpoints = mirrored.WebhookEndpoint.objects.filter(url__startswith=address)
    return endpoints.exclude(secret="").exclude(status="disabled").exists()
