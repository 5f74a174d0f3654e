from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from django.db import connection

from metering.events import NewEvent
from metering.usage_sql import COMPARE_EVENTS, RECORD_EVENTS
from plans.gathering import Gathering
from plans.prepared import run_prepared
from plans.refusals import Refusal
from plans.services.customers import CustomerNotFound
from plans.services.time_zone import billing_zone


class EventConflict(Refusal):
    """An event with this idempotency key and another content is recorded already."""

    code = "idempotency_conflict"
    status = 409


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one event.

    `event_id` is the key of the event that stands under its idempotency key: the new one, or the first one when
    `deduplicated`; None when `unknown_customer`. `conflicts` names the fields in which a repetition differs from the
    first, and then nothing was recorded. `first` holds the first event's columns for a repetition.
    """

    event_id: int | None
    deduplicated: bool = False
    unknown_customer: bool = False
    conflicts: list[str] = field(default_factory=list)
    first: dict[str, Any] | None = None


# An event, and when it came.
Sent = tuple[NewEvent, datetime]


def record_events(*, events: Sequence[NewEvent], at: datetime) -> list[Outcome]:
    """Record the events that are new and count exactly those, in one statement; tell each one's outcome in order.

    An event addressed by an external id that nobody has is kept unattributed; one addressed by an unknown id of ours
    is not recorded.
    """
    return _record([(event, at) for event in events])


def _record(sent: Sequence[Sent]) -> list[Outcome]:
    if not sent:
        return []
    events = [event for event, _ in sent]
    rows, at = _as_json(sent), max(at for _, at in sent)
    answers = run_prepared(RECORD_EVENTS, {"rows": rows, "at": at, "zone": billing_zone().key})
    outcomes: list[Outcome | None] = [None] * len(events)
    seen: set[int] = set()
    repeated = []
    for index, customer_key, event_id in answers:
        if customer_key is None and events[index].customer_id is not None:
            outcomes[index] = Outcome(event_id=None, unknown_customer=True)
        elif event_id is not None and event_id not in seen:
            seen.add(event_id)
            outcomes[index] = Outcome(event_id=event_id)
        else:
            repeated.append(index)
    if repeated:
        outcomes = _compare(rows, repeated, outcomes)
    # A repetition whose first event cannot be found was addressed to a customer that was deleted meanwhile.
    return [outcome or Outcome(event_id=None, unknown_customer=True) for outcome in outcomes]


def record_event(*, event: NewEvent, at: datetime) -> Outcome:
    """Record one event, together with those that come while another statement records, in one commit."""
    if connection.in_atomic_block:
        # The commit is the caller's.
        return record_events(events=[event], at=at)[0]
    return _single_events.ask(_ANY, (event, at))


def _record_together(_: str, first: Sent, take: Callable[[], Sequence[Sent]]) -> list[Outcome]:
    return _record(take())


_ANY = "any customer's"
# As many as a batch may have is more than ever wait at once.
_single_events: Gathering[str, Sent, Outcome] = Gathering(_record_together, most=1_000)


def refusal_of(event: NewEvent, outcome: Outcome) -> Refusal | None:
    """Say why an event was not recorded, if it was not."""
    if outcome.unknown_customer:
        return CustomerNotFound("Customer not found or access denied")
    if outcome.conflicts:
        return EventConflict(
            f"idempotencyKey {event.idempotency_key} was used for an event with other content: "
            f"{', '.join(outcome.conflicts)} differ. Send a new key for a new event.",
            details={"fields": outcome.conflicts},
        )
    return None


class _Row(msgspec.Struct):
    """An event as the statement takes it. Numbers go as text and properties as they came, so that none is a float."""

    index: int
    customer_id: str | None
    external_customer_id: str | None
    event_name: str
    value: Decimal | None
    text_value: str | None
    occurred_at: datetime
    timestamp_given: bool
    idempotency_key: str
    properties: msgspec.Raw


_encoder = msgspec.json.Encoder(decimal_format="string")


def _as_json(sent: Sequence[Sent]) -> str:
    rows = [
        _Row(
            index,
            event.customer_id,
            event.external_customer_id,
            event.event_name,
            event.value,
            event.text_value,
            event.occurred_at or at,
            event.occurred_at is not None,
            event.idempotency_key,
            msgspec.Raw(event.properties),
        )
        for index, (event, at) in enumerate(sent)
    ]
    return _encoder.encode(rows).decode()


def _compare(rows: str, indexes: list[int], outcomes: list[Outcome | None]) -> list[Outcome | None]:
    """Find the first event behind each repetition, and the fields in which it differs."""
    with connection.cursor() as cursor:
        cursor.execute(COMPARE_EVENTS, {"rows": rows, "indexes": indexes})
        columns = [column.name for column in cursor.description]
        for answer in cursor.fetchall():
            first = dict(zip(columns, answer, strict=True))
            index, conflicts = first.pop("index"), first.pop("conflicts")
            outcomes[index] = Outcome(event_id=first["id"], deduplicated=True, conflicts=conflicts, first=first)
    return outcomes
