"""What happens to a subscription after it was made: `/v1/subscriptions/{id}/change`, `/pause`, `/resume` and others."""

from typing import Any

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.services.cancel import undo_scheduled
from billing.services.change import Change, change_at_period_end, change_now, preview_change, starts_anew
from billing.services.pause import pause, resume
from billing.words import line_body
from plans.api.subscriptions import describe
from plans.models import Price
from plans.serializers.reading import read_exactly
from plans.serializers.subscriptions import ChangeOfPrice, scheduled_words
from plans.services.prices import find_price
from plans.services.subscriptions import find_running, find_subscription


class ChangeView(APIView):
    """`/v1/subscriptions/{id}/change`."""

    scope = "subscriptions"

    def post(self, request: Request, identifier: str) -> Response:
        """Change a subscription to another price, now or with the end of what is paid for."""
        at = timezone.now()
        terms = read_exactly(ChangeOfPrice, request.data)
        subscription, price = find_running(identifier), find_price(terms["priceId"])
        if terms["when"] == "period_end":
            scheduled = change_at_period_end(subscription=subscription, price=price, at=at)
            words = describe(subscription, at=at)
            return Response({"subscription": words, "scheduledChange": scheduled_words(scheduled), "invoice": None})
        change = change_now(subscription=subscription, price=price, at=at, proration=terms["proration"])
        return Response(
            {"subscription": describe(change.subscription, at=at), "scheduledChange": None} | _invoice_words(change)
        )


class ChangePreviewView(APIView):
    """`/v1/subscriptions/{id}/change/preview`."""

    scope = "subscriptions"

    def post(self, request: Request, identifier: str) -> Response:
        """Tell what a change would come to, now or with the end of what is paid for; nothing is written. The notes say
        which prices start anew."""
        terms = read_exactly(ChangeOfPrice, request.data)
        price = find_price(terms["priceId"])
        change = preview_change(
            subscription=find_running(identifier),
            price=price,
            at=timezone.now(),
            proration=terms["proration"],
            at_period_end=terms["when"] == "period_end",
        )
        words = _invoice_words(change)
        if words["invoice"] is not None:
            words["invoice"]["id"] = None
            words["invoice"]["lineItems"] = [line | {"id": None} for line in words["invoice"]["lineItems"]]
        return Response(words | {"effectiveAt": change.at, "notes": _notes(change, price)})


class ScheduledChangeView(APIView):
    """`/v1/subscriptions/{id}/scheduled-change`."""

    scope = "subscriptions"

    def delete(self, request: Request, identifier: str) -> Response:
        """Take back the change or the end that waits for the end of the period."""
        at = timezone.now()
        subscription = find_running(identifier)
        undo_scheduled(subscription=subscription, at=at)
        subscription.refresh_from_db()
        return Response({"subscription": describe(subscription, at=at)})


class PauseView(APIView):
    """`/v1/subscriptions/{id}/pause`."""

    scope = "subscriptions"

    def post(self, request: Request, identifier: str) -> Response:
        """Pause a subscription."""
        pause(subscription=find_subscription(identifier), at=timezone.now())
        return Response({"success": True, "status": "paused"})


class ResumeView(APIView):
    """`/v1/subscriptions/{id}/resume`."""

    scope = "subscriptions"

    def post(self, request: Request, identifier: str) -> Response:
        """Let a paused, past due or unpaid subscription run again."""
        resume(subscription=find_subscription(identifier), at=timezone.now())
        return Response({"success": True, "status": "active"})


def _invoice_words(change: Change) -> dict[str, Any]:
    invoice = change.invoice
    if invoice is None:
        return {"invoice": None}
    return {
        "invoice": {
            "id": invoice.public_id if change.lines else None,
            "currency": invoice.currency,
            "subtotalCents": invoice.subtotal_cents,
            "taxAmountCents": invoice.tax_cents,
            "totalAmountCents": invoice.total_cents,
            "lineItems": [line_body(line) for line in change.lines],
        }
    }


def _notes(change: Change, price: Price) -> list[str]:
    notes = [f"{component.title}: tiers, flat fees and packages start anew." for component in starts_anew(price)]
    if change.lines:
        notes.append("Usage until then is billed at the price before, later usage at the new one.")
    return notes
