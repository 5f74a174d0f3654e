"""How consuming and reserving come and go over the wire."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import msgspec

from credits.models import Reservation
from entitlements.services.consume import Consumed, Consumption
from entitlements.services.reserve import LONGEST_HOLD, Committed, Reserved
from entitlements.words import entitlement_body
from metering.events import (
    EARLIEST_YEAR,
    FURTHEST_AHEAD,
    LONGEST_NAME,
    MOST_PROPERTY_BYTES,
    InvalidEvent,
    TimestampInFuture,
    exact_value,
)
from metering.words import event_body
from plans.exact_json import encode
from plans.refusals import InvalidInput

_NUMBER_TEXT = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")
_DEFAULT_SECONDS = 60
_OVERAGES = ("allow", "block")


def read_consumption(body: dict[str, Any], *, at: datetime) -> Consumption:
    """Read the body of a consume. Raises InvalidInput with the path of a wrong field, and TimestampInFuture."""
    key = read_key(body)
    return Consumption(
        units=read_units(body) or Decimal(1),
        idempotency_key=key or str(uuid4()),
        key_given=key is not None,
        properties=read_properties(body),
        occurred_at=_read_timestamp(body, at),
        past_limit=read_past_limit(body),
    )


def read_units(body: dict[str, Any]) -> Decimal | None:
    """Read `value`, the units: a number or its text, above 0; None where there is none."""
    found = body.get("value")
    if found is None:
        return None
    if isinstance(found, str) and _NUMBER_TEXT.fullmatch(found):
        found = Decimal(found)
    if isinstance(found, bool) or not isinstance(found, int | Decimal):
        raise InvalidInput.at("value", "must be a number above 0.")
    try:
        units = exact_value(Decimal(found))
    except InvalidEvent as error:
        raise InvalidInput.at("value", error.details[0]["message"]) from None
    if units <= 0:
        raise InvalidInput.at("value", "must be above 0.")
    return units


def read_needed_units(body: dict[str, Any]) -> Decimal:
    """Read `value` where it must be given."""
    units = read_units(body)
    if units is None:
        raise InvalidInput.at("value", "must be a number above 0.")
    return units


def read_key(body: dict[str, Any]) -> str | None:
    """Read `idempotencyKey`."""
    key = body.get("idempotencyKey")
    if key is not None and (not isinstance(key, str) or not 1 <= len(key) <= LONGEST_NAME):
        raise InvalidInput.at("idempotencyKey", f"must be a text of 1 to {LONGEST_NAME} characters.")
    return key


def read_properties(body: dict[str, Any]) -> str:
    """Read `properties` as JSON text of an object."""
    properties = body.get("properties")
    if properties is None:
        return "{}"
    if not isinstance(properties, dict):
        raise InvalidInput.at("properties", "must be an object.")
    text = encode(properties)
    if len(text) > MOST_PROPERTY_BYTES:
        raise InvalidInput.at("properties", f"must have at most {MOST_PROPERTY_BYTES} bytes.")
    return text.decode()


def read_past_limit(body: dict[str, Any]) -> bool:
    """Read `overage`. "block" asks for units within the limit only; "allow" is the default and gives no more than the
    feature was sold with."""
    overage = body.get("overage")
    if overage is not None and overage not in _OVERAGES:
        raise InvalidInput.at("overage", 'must be "allow" or "block".')
    return overage != "block"


def read_hold(body: dict[str, Any]) -> timedelta:
    """Read `ttlSeconds`, how long units are kept back: 1 to 3,600 whole seconds, by default 60."""
    seconds = body.get("ttlSeconds")
    if seconds is None:
        seconds = _DEFAULT_SECONDS
    longest = int(LONGEST_HOLD.total_seconds())
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 1 <= seconds <= longest:
        raise InvalidInput.at("ttlSeconds", f"must be a whole number from 1 to {longest}.")
    return timedelta(seconds=seconds)


def _read_timestamp(body: dict[str, Any], at: datetime) -> datetime | None:
    text = body.get("timestamp")
    if text is None:
        return None
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidInput.at("timestamp", "must be an instant with its time zone, such as 2026-01-31T18:00:00Z.")
    if moment > at + FURTHEST_AHEAD:
        message = "is more than 5 minutes in the future."
        raise TimestampInFuture(f"timestamp {message}", details=[{"path": "timestamp", "message": message}])
    if moment.year < EARLIEST_YEAR:
        raise InvalidInput.at("timestamp", f"must not lie before {EARLIEST_YEAR}.")
    return moment.astimezone(UTC)


def consumed_body(consumed: Consumed) -> dict[str, Any]:
    """Say whether units were consumed, by which event, and what the check answers now."""
    entitlement = entitlement_body(consumed.decision)
    if consumed.event is None or consumed.outcome is None:
        return {"allowed": False, "entitlement": entitlement}
    return {
        "allowed": True,
        "event": event_body(consumed.event, consumed.outcome, at=consumed.at),
        "deduplicated": consumed.outcome.deduplicated,
        "entitlement": entitlement,
    }


def reserved_body(reserved: Reserved, at: datetime) -> dict[str, Any]:
    """Say whether units are kept back, by which reservation, and what the check answers now."""
    entitlement = entitlement_body(reserved.decision)
    if reserved.reservation is None:
        return {"allowed": False, "reservation": None, "entitlement": entitlement}
    return {
        "allowed": True,
        "reservation": reservation_body(reserved.reservation, at),
        "deduplicated": reserved.deduplicated,
        "entitlement": entitlement,
    }


def committed_body(committed: Committed) -> dict[str, Any]:
    """Shape what a commit recorded."""
    return {
        "reservation": reservation_body(committed.reservation, committed.at),
        "event": event_body(committed.event, committed.outcome, at=committed.at),
        "overQuota": committed.is_over_quota,
        "deduplicated": committed.outcome.deduplicated,
        "entitlement": entitlement_body(committed.decision),
    }


def reservation_body(reservation: Reservation, at: datetime) -> dict[str, Any]:
    """Shape a reservation as it stands at an instant."""
    return {
        "id": reservation.public_id,
        "customerId": reservation.addressee.public_id,
        "featureSlug": reservation.feature.slug,
        "value": reservation.units,
        "status": reservation.state(at),
        "reservedAt": reservation.reserved_at,
        "expiresAt": reservation.expires_at,
        "committedValue": reservation.committed_units,
        "idempotencyKey": reservation.idempotency_key,
    }
