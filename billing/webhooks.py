"""The door for Stripe's events: dj-stripe checks the signature, then the event is kept and worked off by a job."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from djstripe.models import WebhookEventTrigger
from djstripe.views import ProcessWebhookView

from billing.services.inbox import store_event

_process = ProcessWebhookView.as_view()


@csrf_exempt
def stripe_webhook(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """POST /stripe/webhook/{uuid}: take an event that Stripe signed; 400 for any other."""
    # With DEBUG dj-stripe would believe a secret that the sender names in this header.
    request.META.pop("HTTP_X_DJSTRIPE_WEBHOOK_SECRET", None)
    return _process(request, uuid=uuid)


def keep_event(trigger: WebhookEventTrigger, api_key: str | None = None, **_: Any) -> None:
    """Put a checked event into the inbox, and do nothing else: dj-stripe calls this inside a transaction."""
    store_event(event=trigger.json_body, at=timezone.now())
