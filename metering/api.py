"""The doors of /v1/events. Plain views: each event passes here once."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_POST

from metering.events import NewEvent
from metering.services.record_events import Outcome, record_events
from metering.words import event_body, read_batch, read_event
from plans.access import needs
from plans.exact_json import encode
from plans.refusals import Refusal
from plans.services.customers import CustomerNotFound


class IdempotencyConflict(Refusal):
    """An event with this idempotency key and another content is recorded already."""

    code = "idempotency_conflict"
    status = 409


# An event carries its own idempotency key, and its body is read here, once.
@needs(scope="events:write", own_idempotency=True, raw_body=True)
@require_POST
def events(request: HttpRequest) -> HttpResponse:
    """POST /v1/events: record one event. 202, also for a repetition."""
    at = timezone.now()
    event = read_event(request.body, at=at)
    (outcome,) = record_events(events=[event], at=at)
    refusal = _refusal_of(event, outcome)
    if refusal is not None:
        raise refusal
    body = {
        "message": "Event accepted",
        "event": event_body(event, outcome, at=at),
        "deduplicated": outcome.deduplicated,
    }
    return HttpResponse(encode(body), status=202, content_type="application/json")


@needs(scope="events:write", own_idempotency=True, raw_body=True)
@require_POST
def batch(request: HttpRequest) -> HttpResponse:
    """POST /v1/events/batch: record up to 1,000 events, each judged alone. 202 once the envelope can be read."""
    at = timezone.now()
    errors: list[dict[str, Any]] = []
    readable: list[tuple[int, NewEvent]] = []
    for index, entry in enumerate(read_batch(request.body)):
        try:
            readable.append((index, read_event(entry, at=at)))
        except Refusal as refusal:
            errors.append(_entry_error(index, refusal))
    accepted = 0
    outcomes = record_events(events=[event for _, event in readable], at=at) if readable else []
    for (index, event), outcome in zip(readable, outcomes, strict=True):
        refused = _refusal_of(event, outcome)
        if refused is None:
            accepted += 1
        else:
            errors.append(_entry_error(index, refused))
    errors.sort(key=lambda error: error["index"])
    body = {"accepted": accepted, "rejected": len(errors), "errors": errors}
    return HttpResponse(encode(body), status=202, content_type="application/json")


def _refusal_of(event: NewEvent, outcome: Outcome) -> Refusal | None:
    if outcome.unknown_customer:
        return CustomerNotFound("Customer not found or access denied")
    if outcome.conflicts:
        return IdempotencyConflict(
            f"idempotencyKey {event.idempotency_key} was used for an event with other content: "
            f"{', '.join(outcome.conflicts)} differ. Send a new key for a new event.",
            details={"fields": outcome.conflicts},
        )
    return None


def _entry_error(index: int, refusal: Refusal) -> dict[str, Any]:
    error: dict[str, Any] = {"index": index, "error": refusal.message, "code": refusal.code}
    return error | ({"details": refusal.details} if refusal.details is not None else {})
