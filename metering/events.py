"""What an event is: the checks of one event's content, without clock and database."""

from datetime import datetime, timedelta
from decimal import Decimal

import msgspec

from plans.refusals import InvalidInput, Refusal

LONGEST_NAME = 255
MOST_PROPERTY_BYTES = 16 * 1024
VALUE_DIGITS = 18
VALUE_DECIMALS = 6
FURTHEST_AHEAD = timedelta(minutes=5)
EARLIEST_YEAR = 1970
_SMALLEST_STEP = Decimal(10) ** -VALUE_DECIMALS


class InvalidEvent(InvalidInput):
    """An event's content cannot be accepted."""

    code = "invalid_event"


class TimestampInFuture(Refusal):
    """An event claims to have happened more than five minutes from now."""

    code = "timestamp_in_future"


class NewEvent(msgspec.Struct, frozen=True):
    """An event to record. Exactly one of `value` and `text_value` is set; `properties` is JSON text of an object.

    `customer_id` is our public id. `occurred_at` is what the client said, or None.
    """

    event_name: str
    customer_id: str | None
    external_customer_id: str | None
    value: Decimal | None
    text_value: str | None
    occurred_at: datetime | None
    idempotency_key: str
    properties: str


def exact_value(number: Decimal) -> Decimal:
    """Return an event's value with its 6 decimals. Raises InvalidEvent for more than 18 digits before the point, for
    more decimals, and for what is no number."""
    # Judged by the place of its first digit: arithmetic on a number like 1e999999999 would overflow.
    if not number.is_finite() or (number and number.adjusted() >= VALUE_DIGITS):
        raise InvalidEvent.at("eventValue", f"must be a number of at most {VALUE_DIGITS} digits before the point.")
    rounded = number.quantize(_SMALLEST_STEP) if number else Decimal(0)
    if rounded != number:
        raise InvalidEvent.at("eventValue", f"must have at most {VALUE_DECIMALS} decimals.")
    return rounded


def check_timestamp(occurred_at: datetime, *, at: datetime) -> None:
    """Raise TimestampInFuture for an instant more than five minutes after `at`, InvalidEvent for one before 1970."""
    if occurred_at > at + FURTHEST_AHEAD:
        raise TimestampInFuture(
            "eventTimestamp is more than 5 minutes in the future. Send the instant at which the event happened.",
            details=[{"path": "eventTimestamp", "message": "is more than 5 minutes in the future."}],
        )
    if occurred_at.year < EARLIEST_YEAR:
        raise InvalidEvent.at("eventTimestamp", f"must not lie before {EARLIEST_YEAR}.")
