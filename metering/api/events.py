"""The doors of /v1/events. Those that record are plain views: each event passes there once."""

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from metering.event_words import NewVoid, page_words, read_filters, read_query, stored_event_words
from metering.events import NewEvent
from metering.models import EVENT_PREFIX
from metering.services.list_events import count_events, find_events, list_events
from metering.services.negative_periods import find_negative_periods
from metering.services.record_events import Outcome, record_event, record_events, refusal_of
from metering.services.void_event import EventNotFound, void_event
from metering.words import event_body, read_batch, read_entry, read_event
from plans.access import needs
from plans.exact_json import encode
from plans.ids import key_of
from plans.refusals import Refusal
from plans.serializers.reading import read
from plans.services.time_zone import billing_zone


# An event carries its own idempotency key, and its body is read here, once.
@needs(scope="events", own_idempotency=True, raw_body=True)
@require_http_methods(["GET", "POST"])
def events(request: HttpRequest) -> HttpResponse:
    """`/v1/events`."""
    return _record(request) if request.method == "POST" else _list(request)


def _list(request: HttpRequest) -> HttpResponse:
    """GET /v1/events: a page of those that match all filters, newest received first."""
    query = read_query(request.GET, billing_zone())
    page = list_events(filters=query.filters, limit=query.limit, offset=query.offset, before=query.before)
    return HttpResponse(encode(page_words(page, query)), content_type="application/json")


def _record(request: HttpRequest) -> HttpResponse:
    """POST /v1/events: record one event. 202, also for a repetition."""
    at = timezone.now()
    event = read_event(request.body, at=at)
    outcome = record_event(event=event, at=at)
    refusal = refusal_of(event, outcome)
    if refusal is not None:
        raise refusal
    body = {
        "message": "Event accepted",
        "event": event_body(event, outcome, at=at),
        "deduplicated": outcome.deduplicated,
    }
    if warnings := _warnings([(0, event, outcome)]):
        body["warnings"] = [{"code": warning["code"], "message": warning["message"]} for warning in warnings]
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
            readable.append((index, read_entry(entry, at=at)))
        except Refusal as refusal:
            errors.append(_entry_error(index, refusal))
    accepted: list[tuple[int, NewEvent, Outcome]] = []
    outcomes = record_events(events=[event for _, event in readable], at=at) if readable else []
    for (index, event), outcome in zip(readable, outcomes, strict=True):
        refused = refusal_of(event, outcome)
        if refused is None:
            accepted.append((index, event, outcome))
        else:
            errors.append(_entry_error(index, refused))
    errors.sort(key=lambda error: error["index"])
    body: dict[str, Any] = {"accepted": len(accepted), "rejected": len(errors), "errors": errors}
    if warnings := _warnings(accepted):
        body["warnings"] = warnings
    return HttpResponse(encode(body), status=202, content_type="application/json")


class EventCountView(APIView):
    """`/v1/events/count`."""

    scope = "events"

    def get(self, request: Request) -> Response:
        """Count the events that match all filters, exactly."""
        return Response({"count": count_events(filters=read_filters(request.query_params, billing_zone()))})


class EventVoidView(APIView):
    """`/v1/events/{id}/void`."""

    scope = "events"

    def post(self, request: Request, identifier: str) -> Response:
        """Say that an event does not count. Said again, the first word stays, and is answered with 200 too."""
        body = read(NewVoid, request.data)
        key = key_of(EVENT_PREFIX, identifier)
        if key is None:
            raise EventNotFound("Event not found")
        by = str(request._request.api_key)  # type: ignore[attr-defined]  # an attribute of ours
        void_event(event_id=key, reason=body["reason"], by=by, at=timezone.now())
        (event,) = find_events([key])
        return Response({"event": stored_event_words(event)})


def _warnings(accepted: Sequence[tuple[int, NewEvent, Outcome]]) -> list[dict[str, Any]]:
    """Warn of corrections that take their period below zero: the customer is not paid for usage it did not have."""
    corrections = {
        outcome.event_id: index
        for index, event, outcome in accepted
        if event.value is not None and event.value < 0 and outcome.event_id is not None
    }
    if not corrections:
        return []
    return [
        {
            "index": corrections[event],
            "code": "period_negative",
            "message": f"The usage of this event's period is now below zero in {', '.join(metrics)}. It counts as 0, "
            "and the rest is not carried to the next period.",
        }
        for event, metrics in sorted(find_negative_periods(events=list(corrections)).items())
    ]


def _entry_error(index: int, refusal: Refusal) -> dict[str, Any]:
    error: dict[str, Any] = {"index": index, "error": refusal.message, "code": refusal.code}
    return error | ({"details": refusal.details} if refusal.details is not None else {})
