import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection

from metering.events import NewEvent
from metering.usage_sql import COMPARE_EVENTS, RECORD_EVENTS
from plans.exact_json import number_text
from plans.services.time_zone import billing_zone


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


def record_events(*, events: Sequence[NewEvent], at: datetime) -> list[Outcome]:
    """Record the events that are new and count exactly those, in one statement; tell each one's outcome in order.

    An event addressed by an external id that nobody has is kept unattributed; one addressed by an unknown id of ours
    is not recorded.
    """
    rows = _as_json(events, at)
    with connection.cursor() as cursor:
        cursor.execute(RECORD_EVENTS, {"rows": rows, "at": at, "zone": billing_zone().key})
        answers = cursor.fetchall()
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


def _as_json(events: Sequence[NewEvent], at: datetime) -> str:
    """Write the rows as JSON text. Numbers and properties are spliced in as they are, so that none becomes a float."""
    received = f'"{at.isoformat()}"'
    parts = []
    for index, event in enumerate(events):
        value = "null" if event.value is None else number_text(event.value)
        occurred_at = received if event.occurred_at is None else f'"{event.occurred_at.isoformat()}"'
        parts.append(
            f'{{"index":{index},"customer_id":{_text(event.customer_id)},'
            f'"external_customer_id":{_text(event.external_customer_id)},"event_name":{_text(event.event_name)},'
            f'"value":{value},"text_value":{_text(event.text_value)},"occurred_at":{occurred_at},'
            f'"timestamp_given":{"false" if event.occurred_at is None else "true"},'
            f'"idempotency_key":{_text(event.idempotency_key)},"properties":{event.properties}}}'
        )
    return f"[{','.join(parts)}]"


def _text(value: str | None) -> str:
    return json.dumps(value, ensure_ascii=False)


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
