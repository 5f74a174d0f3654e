"""JSON in which no number passes through a float: what came in as 0.1 is stored, added and sent as exactly 0.1."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

import msgspec
from django.utils.functional import Promise

from plans.refusals import Refusal

MAX_DEPTH = 100
# Beyond every float and every column of ours; 1e999999999 would be a gigabyte when written without exponent.
MAX_DIGITS = 400

_ESCAPED_NUL = re.compile(rb"\\u0000")


class InvalidJSON(Refusal):
    """The body is not JSON, or holds something that neither a number nor a text of ours can hold."""

    code = "invalid_json"


def decode(raw: bytes) -> Any:
    """Read JSON text into dicts, lists, str, int, Decimal, bool and None. Of equal keys the last one wins.

    Raises InvalidJSON for anything that is not JSON in UTF-8 (NaN and Infinity are not), numbers of more than
    `MAX_DIGITS` digits, more than `MAX_DEPTH` levels of nesting, and texts with NUL or half of a surrogate pair.
    """
    try:
        value = _DECODER.decode(raw)
    except UnicodeDecodeError as error:
        raise InvalidJSON("The body is not valid UTF-8.") from error
    except RecursionError as error:
        raise InvalidJSON(f"The body is nested deeper than {MAX_DEPTH} levels.") from error
    except msgspec.ValidationError as error:
        raise InvalidJSON("The body holds a number with too many digits.") from error
    except msgspec.DecodeError as error:
        raise InvalidJSON(f"The body is not valid JSON: {str(error).removeprefix('JSON is malformed: ')}.") from error
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        _refuse_deep_nesting(value)
    if _ESCAPED_NUL.search(raw):
        _refuse_nul(value)
    return value


def decode_object(raw: bytes) -> dict[str, Any]:
    """Read the JSON object of a request's body; no body at all reads as an object without fields.

    Raises InvalidJSON as `decode` does, and for every JSON value that is not an object.
    """
    if not raw.strip():
        return {}
    value = decode(raw)
    if not isinstance(value, dict):
        raise InvalidJSON("The body must be a JSON object.")
    return value


def encode(value: Any) -> bytes:
    """Write JSON: decimals in plain digits, integral ones without a point; moments as UTC with milliseconds and `Z`.

    Takes what `decode` gives, and datetimes, dates, UUIDs, enums, lazy texts, tuples, sets and msgspec structs.
    Raises ValueError for numbers that are not finite and for moments without a time zone.
    """
    return _ENCODER.encode(_plain(value))


def number_text(number: Decimal) -> str:
    """Write a decimal in plain digits: `5`, `0.000001`, `-12.5`; never `5.00`, `1E+3` or `-0`."""
    if not number.is_finite():
        raise ValueError(f"{number} is not a JSON number")
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def moment_text(moment: datetime) -> str:
    """Write an aware moment like `2025-02-20T18:00:00.000Z`; microseconds are cut off, not rounded."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _decimal_of(text: str) -> Decimal:
    if len(text) > MAX_DIGITS:
        _refuse_number(text)
    try:
        number = Decimal(text)
    except InvalidOperation:
        _refuse_number(text)
    # The exponent is looked at as well because 0E-999999999 has no digits to speak of, but as many to write.
    if abs(number.adjusted()) > MAX_DIGITS or abs(int(number.as_tuple().exponent)) > MAX_DIGITS:
        _refuse_number(text)
    return number


def _refuse_number(text: str) -> NoReturn:
    raise InvalidJSON(f"The body holds a number with too many digits: {text[:20]}…")


def _refuse_deep_nesting(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return
    raise InvalidJSON(f"The body is nested deeper than {MAX_DEPTH} levels.")


def _refuse_nul(value: Any) -> None:
    nodes = [value]
    while nodes:
        node = nodes.pop()
        if type(node) is str:
            if "\x00" in node:
                raise InvalidJSON("The body holds the character NUL (\\u0000), which cannot be stored.")
        elif type(node) is dict:
            nodes += node.keys()
            nodes += node.values()
        elif type(node) is list:
            nodes += node


def _plain(value: Any) -> Any:
    """Replace what msgspec would write in another way than we do; leave the rest to it."""
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is dict:
        return {key: _plain(child) for key, child in value.items()}
    if kind is list:
        return [_plain(child) for child in value]
    if kind is Decimal:
        return msgspec.Raw(number_text(value).encode())
    if kind is datetime:
        return moment_text(value)
    return _plain_of_rarer_kind(value)


def _plain_of_rarer_kind(value: Any) -> Any:
    match value:
        case float():
            return _plain(Decimal(repr(value)))
        case Decimal():
            return msgspec.Raw(number_text(value).encode())
        case datetime():
            return moment_text(value)
        case dict():
            return {key: _plain(child) for key, child in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(child) for child in value]
        case Promise():
            return str(value)
        case str():
            return str.__str__(value)
        case int():
            return int(value)
        case msgspec.Struct():
            return _plain(msgspec.to_builtins(value, builtin_types=(Decimal, datetime)))
        case _:
            return value


_DECODER = msgspec.json.Decoder(float_hook=_decimal_of)
_ENCODER = msgspec.json.Encoder()
