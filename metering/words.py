"""How events come and go over the wire. Read by msgspec: a serializer object per event costs ten times as much."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NoReturn
from uuid import uuid4

import msgspec

from metering.events import (
    LONGEST_NAME,
    MOST_PROPERTY_BYTES,
    InvalidEvent,
    NewEvent,
    check_timestamp,
    exact_value,
)
from metering.models import EVENT_PREFIX
from metering.services.record_events import Outcome
from plans.exact_json import InvalidJSON, decode_object
from plans.ids import public_id_of
from plans.refusals import InvalidInput

LONGEST_TEXT = 10_000
MOST_IN_BATCH = 1000
_ONE = Decimal(1)
_ADDRESS_AND_VALUE = "Provide customerId or extCustomerId and exactly one of eventValue or eventString."


class EventBody(msgspec.Struct, rename="camel"):
    """One event as a client sends it. Unknown fields are ignored."""

    event_name: str
    customer_id: str | None = None
    ext_customer_id: str | None = None
    event_value: msgspec.Raw = msgspec.Raw(b"null")
    event_string: str | None = None
    event_timestamp: datetime | None = None
    idempotency_key: str | None = None
    properties: msgspec.Raw = msgspec.Raw(b"{}")


class BatchBody(msgspec.Struct):
    """The envelope of a batch; its entries are read one by one, so that one wrong entry rejects only itself."""

    events: list[msgspec.Raw]


class SoundBatch(msgspec.Struct):
    """A batch all of whose entries have fields of the right kinds."""

    events: list[EventBody]


class InvalidBatch(InvalidInput):
    """The envelope of a batch cannot be read; nothing was stored."""

    code = "invalid_batch"


_event_decoder = msgspec.json.Decoder(EventBody)
_batch_decoder = msgspec.json.Decoder(BatchBody)
_sound_batch_decoder = msgspec.json.Decoder(SoundBatch)
_NUL = b"\\u0000"
_NUMBER = re.compile(rb'("?)-?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,10})?\1')
_WHERE = re.compile(r"(.*) - at `\$\.(\w+).*`")


def read_event(raw: bytes | msgspec.Raw, *, at: datetime) -> NewEvent:
    """Read one event. Raises InvalidEvent or TimestampInFuture."""
    try:
        body = _event_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _refuse_unreadable(error)
    if _NUL in bytes(raw):
        _refuse_nul(body)
    return check_event(body, at=at)


def check_event(body: EventBody, *, at: datetime) -> NewEvent:
    """Check the fields of an event. Raises InvalidEvent or TimestampInFuture."""
    value = _read_value(bytes(body.event_value))
    if not (body.customer_id or body.ext_customer_id) or (value is not None and body.event_string is not None):
        raise InvalidEvent("Invalid event payload", details=_ADDRESS_AND_VALUE)
    _check_texts(body)
    if value is None and body.event_string is None:
        value = _ONE
    occurred_at = body.event_timestamp
    if occurred_at is not None:
        if occurred_at.tzinfo is None:
            raise InvalidEvent.at("eventTimestamp", "must name its time zone, such as 2026-01-31T18:00:00Z.")
        check_timestamp(occurred_at, at=at)
        occurred_at = occurred_at.astimezone(UTC)
    return NewEvent(
        event_name=body.event_name,
        customer_id=body.customer_id or None,
        external_customer_id=body.ext_customer_id or None,
        value=value,
        text_value=body.event_string,
        occurred_at=occurred_at,
        idempotency_key=body.idempotency_key or str(uuid4()),
        properties=_read_properties(body.properties),
    )


def _read_value(raw: bytes) -> Decimal | None:
    """Read a number, or the text of one; not all that Python takes for a number is one in JSON."""
    if raw == b"null":
        return None
    if not _NUMBER.fullmatch(raw):
        raise InvalidEvent.at("eventValue", "must be a number, or a text that holds one.")
    return exact_value(Decimal(raw.strip(b'"').decode()))


def _check_texts(body: EventBody) -> None:
    if body.event_name == "" or body.idempotency_key == "":
        raise InvalidEvent.at("idempotencyKey" if body.event_name else "eventName", "must not be empty.")
    # Looked at one by one only where one of them is too long: this runs for every event.
    if (
        len(body.event_name) > LONGEST_NAME
        or len(body.customer_id or "") > LONGEST_NAME
        or len(body.ext_customer_id or "") > LONGEST_NAME
        or len(body.idempotency_key or "") > LONGEST_NAME
        or len(body.event_string or "") > LONGEST_TEXT
    ):
        _refuse_long_text(body)


def _refuse_long_text(body: EventBody) -> NoReturn:
    texts = (
        ("eventName", body.event_name, LONGEST_NAME),
        ("customerId", body.customer_id, LONGEST_NAME),
        ("extCustomerId", body.ext_customer_id, LONGEST_NAME),
        ("idempotencyKey", body.idempotency_key, LONGEST_NAME),
        ("eventString", body.event_string, LONGEST_TEXT),
    )
    field, longest = next((field, longest) for field, text, longest in texts if text and len(text) > longest)
    raise InvalidEvent.at(field, f"must have at most {longest} characters.")


def _refuse_unreadable(error: Exception) -> NoReturn:
    where = _WHERE.fullmatch(str(error))
    if where is not None:
        raise InvalidEvent.at(where[2], f"cannot be read: {where[1]}.") from None
    raise InvalidEvent("Invalid event payload", details=str(error)) from None


def _refuse_nul(body: EventBody) -> None:
    texts = {
        "eventName": body.event_name,
        "customerId": body.customer_id,
        "extCustomerId": body.ext_customer_id,
        "idempotencyKey": body.idempotency_key,
        "eventString": body.event_string,
    }
    for field, text in texts.items():
        if text is not None and "\x00" in text:
            raise InvalidEvent.at(field, "must not hold the character NUL (\\u0000), which cannot be stored.")


def _read_properties(raw: msgspec.Raw) -> str:
    text = bytes(raw)
    if text in (b"{}", b"null"):
        return "{}"
    if len(text) > MOST_PROPERTY_BYTES:
        raise InvalidEvent.at("properties", f"must have at most {MOST_PROPERTY_BYTES} bytes.")
    if not text.startswith(b"{"):
        raise InvalidEvent.at("properties", "must be an object.")
    try:
        decode_object(text)
    except InvalidJSON as error:
        raise InvalidEvent.at("properties", error.message) from None
    return text.decode()


def read_batch(raw: bytes) -> Sequence[msgspec.Raw | EventBody]:
    """Read the envelope of a batch of 1 to 1,000 events: as bodies to check when all of them can be read in one go,
    else as they came, to be read one by one. Raises InvalidBatch."""
    entries: list[Any]
    try:
        try:
            entries = _batch_decoder.decode(raw).events if _NUL in raw else _sound_batch_decoder.decode(raw).events
        except msgspec.ValidationError:
            entries = _batch_decoder.decode(raw).events
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidBatch("Invalid batch payload", details=str(error)) from None
    if not 1 <= len(entries) <= MOST_IN_BATCH:
        raise InvalidBatch("Send between 1 and 1000 events", details={"count": len(entries)})
    return entries


def read_entry(entry: msgspec.Raw | EventBody, *, at: datetime) -> NewEvent:
    """Read one entry of a batch. Raises InvalidEvent or TimestampInFuture."""
    return check_event(entry, at=at) if isinstance(entry, EventBody) else read_event(entry, at=at)


def event_body(event: NewEvent, outcome: Outcome, *, at: datetime) -> dict[str, Any]:
    """Echo an event as it is stored: the first one where `event` repeats it. Fields without a value are left out."""
    assert outcome.event_id is not None
    first = outcome.first
    stored: dict[str, Any] = first or {
        "event_name": event.event_name,
        "value": event.value,
        "text_value": event.text_value,
        "occurred_at": event.occurred_at or at,
        "idempotency_key": event.idempotency_key,
        "properties": event.properties,
        "received_at": at,
    }
    body = {
        "id": public_id_of(EVENT_PREFIX, outcome.event_id),
        "eventName": stored["event_name"],
        "customerId": event.customer_id,
        "extCustomerId": event.external_customer_id,
        "eventValue": stored["value"],
        "eventString": stored["text_value"],
        "eventTimestamp": stored["occurred_at"],
        "idempotencyKey": stored["idempotency_key"],
        "properties": msgspec.Raw(stored["properties"].encode()),
        "createdAt": stored["received_at"],
    }
    return {name: value for name, value in body.items() if value is not None}
