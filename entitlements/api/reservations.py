"""The doors of reservations. They carry their own idempotency key, or can be repeated as they are."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from entitlements import consume_words as words
from entitlements.services import reserve as services
from plans.access import needs
from plans.exact_json import decode_object, encode
from plans.query import boolean_parameter


@needs(scope="entitlements:write", own_idempotency=True)
@require_POST
def reserve(request: HttpRequest, customer_id: str, slug: str) -> HttpResponse:
    """POST /v1/entitlements/{customerId}/feature/{slug}/reserve: keep units back. 200 also for a no."""
    at = timezone.now()
    body = decode_object(request.body)
    reserved = services.reserve(
        customer=customer_id,
        slug=slug,
        external=boolean_parameter(request.GET, "isExtCustId"),
        units=words.read_needed_units(body),
        hold=words.read_hold(body),
        idempotency_key=words.read_key(body),
        past_limit=words.read_past_limit(body),
        at=at,
    )
    return _answer(words.reserved_body(reserved, at))


@needs(scope="entitlements:read")
@require_GET
def reservation(request: HttpRequest, reservation_id: str) -> HttpResponse:
    """GET /v1/reservations/{id}."""
    found = services.find_reservation(reservation_id)
    return _answer({"reservation": words.reservation_body(found, timezone.now())})


@needs(scope="entitlements:write", own_idempotency=True)
@require_POST
def commit(request: HttpRequest, reservation_id: str) -> HttpResponse:
    """POST /v1/reservations/{id}/commit: record what was really used."""
    body = decode_object(request.body)
    committed = services.commit_reservation(
        identifier=reservation_id,
        units=words.read_units(body),
        properties=words.read_properties(body),
        at=timezone.now(),
    )
    return _answer(words.committed_body(committed))


@needs(scope="entitlements:write", own_idempotency=True)
@require_POST
def release(request: HttpRequest, reservation_id: str) -> HttpResponse:
    """POST /v1/reservations/{id}/release: give the units back."""
    at = timezone.now()
    released = services.release_reservation(identifier=reservation_id, at=at)
    return _answer({"reservation": words.reservation_body(released, at)})


def _answer(body: dict[str, Any]) -> HttpResponse:
    return HttpResponse(encode(body), content_type="application/json")
