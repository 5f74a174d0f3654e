"""Query parameters of events and usage, read strictly. Each refusal names its parameter."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from metering.windows import EARLIEST, LATEST
from plans.periods import local_midnight
from plans.refusals import InvalidInput

LONGEST_TEXT = 255
_LONGEST_INSTANT = 40
_LENGTH_OF_DATE = len("2026-01-31")
_INSTANT_WANTED = "must be an instant with its time zone, such as 2026-01-31T18:00:00Z, or a date such as 2026-01-31."


def text_parameter(query: Mapping[str, str], name: str) -> str | None:
    """Read a text of 1 to 255 characters; None where it is not sent. Raises InvalidInput."""
    text = query.get(name)
    if text is not None and not 1 <= len(text) <= LONGEST_TEXT:
        raise InvalidInput.at(name, f"must have 1 to {LONGEST_TEXT} characters. Leave it out to ask for all.")
    return text


def number_parameter(query: Mapping[str, str], name: str, *, least: int, most: int, usual: int) -> int:
    """Read a whole number from `least` to `most`; `usual` where it is not sent. Raises InvalidInput."""
    if name not in query:
        return usual
    return read_number(query[name], name, least=least, most=most)


def read_number(text: str, path: str, *, least: int, most: int) -> int:
    """Read a whole number from `least` to `most`. Raises InvalidInput at `path`."""
    # Only as many digits as it may have, so that no number is too long to be read.
    if text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most:
        return int(text)
    raise InvalidInput.at(path, f"must be a whole number from {least:,} to {most:,}.")


def instant_parameter(query: Mapping[str, str], name: str, zone: ZoneInfo) -> datetime | None:
    """Read an instant; None where it is not sent. Raises InvalidInput."""
    return read_instant(query[name], name, zone) if name in query else None


def read_instant(text: str, path: str, zone: ZoneInfo) -> datetime:
    """Read an instant in ISO 8601 with its offset, or a date, which means its midnight in `zone`. Raises InvalidInput
    at `path`, also for an instant before 1970 or after 9997."""
    if len(text) > _LONGEST_INSTANT:
        raise InvalidInput.at(path, _INSTANT_WANTED)
    try:
        if len(text) == _LENGTH_OF_DATE:
            instant = local_midnight(date.fromisoformat(text), zone)
        else:
            # A plus sign that was not escaped arrives as a blank.
            instant = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except (ValueError, OverflowError):
        raise InvalidInput.at(path, _INSTANT_WANTED) from None
    if instant.tzinfo is None:
        raise InvalidInput.at(path, _INSTANT_WANTED)
    if not EARLIEST.replace(tzinfo=None) <= instant.replace(tzinfo=None) <= LATEST.replace(tzinfo=None):
        raise InvalidInput.at(path, "must lie between 1970 and 9997.")
    return instant.astimezone(UTC)
