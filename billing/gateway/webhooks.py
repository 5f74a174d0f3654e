"""Stripe's events: the endpoint they are sent to, and dj-stripe's copies of them."""

from typing import Any

import stripe
from django.conf import settings
from djstripe import models as mirrored

from billing.gateway.connection import api_key, call, errors_in_our_words, mirror, mirror_by


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
    """Let Stripe send an endpoint these events from now on."""
    with errors_in_our_words():
        endpoint = stripe.WebhookEndpoint.modify(
            endpoint_id,
            enabled_events=events,  # type: ignore[arg-type]  # the library lists the words one by one
            **call(),
        )
    mirror(mirrored.WebhookEndpoint, endpoint)


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
