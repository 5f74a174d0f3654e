"""Events: what happened, with the object as it was right then."""

from typing import Any

from stripe.params import EventListParams, EventRetrieveParams

from billing.sandbox.errors import API_VERSION
from billing.sandbox.ids import new_id
from billing.sandbox.listing import PAGING, filter_created, page
from billing.sandbox.routes import Call, Route
from billing.sandbox.store import JsonObject, Query
from billing.sandbox.webhooks import enqueue


def emit(call: Call, event_type: str, body: JsonObject, previous: JsonObject | None = None) -> JsonObject:
    """Record that something happened to the object, queue the webhooks, and return the event.

    `previous` has the former values of the fields that an update changed.
    """
    data: JsonObject = {"object": body}
    if previous is not None:
        data["previous_attributes"] = previous
    event = call.store.put(
        {
            "id": new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": call.now,
            "data": data,
            "livemode": False,
            "pending_webhooks": 0,
            "request": {"id": call.request_id, "idempotency_key": call.idempotency_key},
            "type": event_type,
        }
    )
    enqueue(call.store, event, call.faults.take_for_event(event_type), wire_now=call.wire_now)
    return event


def save_change(call: Call, event_type: str, before: JsonObject, changes: dict[str, Any]) -> JsonObject:
    """Store the object with the changes and emit the event with the former values; without a difference do nothing."""
    previous = {name: before.get(name) for name, value in changes.items() if before.get(name) != value}
    if not previous:
        return before
    after = call.store.put({**before, **changes})
    emit(call, event_type, after, previous)
    return after


def _retrieve(call: Call) -> JsonObject:
    return call.requested("event")


def _list(call: Call) -> JsonObject:
    query = Query("event")
    filter_created(call, query)
    wanted = call.value("types") or ([call.value("type")] if call.value("type") else [])
    if wanted:
        query.where(" OR ".join(["json_extract(body, '$.type') GLOB ?"] * len(wanted)).join("()"), *wanted)
    return page(call, query, url="/v1/events")


ROUTES = [
    Route("GET", "/v1/events/{id}", _retrieve, EventRetrieveParams),
    Route("GET", "/v1/events", _list, EventListParams, (*PAGING, "created", "type", "types")),
]
