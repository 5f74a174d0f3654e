"""How stored events are asked for and shown over the wire."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from rest_framework import serializers

from metering.models import EVENT_PREFIX, EventVoid, UsageEvent
from metering.parameters import instant_parameter, number_parameter, read_number, text_parameter
from metering.services.list_events import MOST_COUNTED, EventFilters, EventPage
from plans.ids import key_of, public_id_of
from plans.refusals import InvalidInput
from plans.serializers.fields import Text

USUAL_LIMIT = 50
LARGEST_LIMIT = 200
LONGEST_REASON = 500
MOST_VERSIONS = 1_000_000


class InvalidFilters(InvalidInput):
    """A list of events was asked for with a filter that cannot be read; `details` names it."""

    code = "invalid_filters"


class NewVoid(serializers.Serializer[EventVoid]):
    """The body of POST /v1/events/{id}/void."""

    reason = Text(max_length=LONGEST_REASON)


@dataclass(frozen=True, slots=True)
class EventQuery:
    """A page that was asked for: by `offset`, or by `before`, the key of the last event of the page before it."""

    filters: EventFilters
    limit: int
    offset: int
    before: int | None


def read_query(query: Mapping[str, str], zone: ZoneInfo) -> EventQuery:
    """Read the parameters of GET /v1/events. Raises InvalidFilters."""
    filters = read_filters(query, zone)
    try:
        limit = number_parameter(query, "limit", least=1, most=LARGEST_LIMIT, usual=USUAL_LIMIT)
        offset = number_parameter(query, "offset", least=0, most=MOST_COUNTED, usual=0)
        before = _read_cursor(query["cursor"]) if "cursor" in query else None
        if before is not None and offset:
            raise InvalidInput.at("offset", "cannot be used with cursor. Send one of the two.")
    except InvalidInput as refusal:
        raise InvalidFilters("Invalid filters", details=refusal.details) from None
    return EventQuery(filters, limit, offset, before)


def read_filters(query: Mapping[str, str], zone: ZoneInfo) -> EventFilters:
    """Read the filters of GET /v1/events and GET /v1/events/count. Raises InvalidFilters."""
    try:
        filters = EventFilters(
            event_name=text_parameter(query, "eventName"),
            customer_id=text_parameter(query, "customerId"),
            external_customer_id=text_parameter(query, "extCustomerId"),
            idempotency_key=text_parameter(query, "idempotencyKey"),
            metric_id=text_parameter(query, "metricId"),
            metric_version=_read_version(query),
            start_at=instant_parameter(query, "startTime", zone),
            end_at=instant_parameter(query, "endTime", zone),
        )
    except InvalidInput as refusal:
        raise InvalidFilters("Invalid filters", details=refusal.details) from None
    if filters.start_at is not None and filters.end_at is not None and filters.end_at <= filters.start_at:
        raise InvalidFilters(
            "endTime must be after startTime", details=[{"path": "endTime", "message": "must be after startTime."}]
        )
    return filters


def _read_version(query: Mapping[str, str]) -> int | None:
    if "metricVersion" not in query:
        return None
    if "metricId" not in query:
        raise InvalidInput.at("metricVersion", "goes with metricId. Send both.")
    return read_number(query["metricVersion"], "metricVersion", least=1, most=MOST_VERSIONS)


def _read_cursor(cursor: str) -> int:
    key = key_of(EVENT_PREFIX, cursor)
    if key is None:
        raise InvalidInput.at("cursor", "is not one that a list of events has given.")
    return key


def page_words(page: EventPage, query: EventQuery) -> dict[str, Any]:
    """Show a page. `totalIsAtLeast` says that there are more than `total`, which is counted no further."""
    pagination: dict[str, Any] = {
        "total": page.total,
        "limit": query.limit,
        "offset": query.offset,
        "hasMore": page.has_more,
        "nextCursor": page.events[-1].public_id if page.has_more else None,
    }
    if not page.total_is_exact:
        pagination["totalIsAtLeast"] = True
    return {"events": [stored_event_words(event) for event in page.events], "pagination": pagination}


def stored_event_words(event: UsageEvent) -> dict[str, Any]:
    """Show an event that `find_events` has read. Fields without a value are left out."""
    void: EventVoid | None = getattr(event, "void", None)
    words = {
        "id": public_id_of(EVENT_PREFIX, event.pk),
        "eventName": event.event_name,
        "customerId": event.customer and event.customer.public_id,
        "memberCustomerId": event.member and event.member.public_id,
        "extCustomerId": event.external_customer_id,
        "eventValue": event.value,
        "eventString": event.text_value,
        "eventTimestamp": event.occurred_at,
        "idempotencyKey": event.idempotency_key,
        "properties": msgspec.Raw(event.properties_text.encode()),  # type: ignore[attr-defined]  # annotated
        "createdAt": event.received_at,
        "voidedAt": void and void.voided_at,
        "voidReason": void and void.reason,
    }
    return {name: value for name, value in words.items() if value is not None}
