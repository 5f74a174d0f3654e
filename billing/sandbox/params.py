"""Requests are checked against stripe-python's generated `stripe.params` types.

What passes here is a call that the library's types allow, so unknown, missing and wrongly typed parameters cannot
hide in a test. Enumerations which the library types as `Literal[...] | str` are closed here, as they are at Stripe.
"""

import re
from collections.abc import Collection, Mapping
from decimal import Decimal, InvalidOperation
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from stripe import RequestOptions
from typing_extensions import get_type_hints, is_typeddict

from billing.sandbox.errors import Complaint

Shape = type[Any]

OPTION_TYPES = {"Mapping": Mapping, "StripeContext": str}
"""Names in the annotations of the library's call options, which are no parameters and are dropped."""

_HINTS: dict[Shape, dict[str, Any]] = {}


def check(
    given: Mapping[str, Any], shape: Shape, *, also: Collection[str] = (), nested: Mapping[str, Shape] | None = None
) -> dict[str, Any]:
    """Return the decoded parameters with their types (int, bool, list, dict, str; decimals stay text).

    `also` names text parameters that a browser may send beside the type's own, `nested` objects that it sends in a
    shape of their own. Raises Complaint (400) for a parameter that is unknown, missing, empty where that means nothing,
    wrongly typed, or outside its enumeration.
    """
    extra: dict[str, Any] = {name: str(given[name]) for name in also if name in given and name not in _hints(shape)}
    for name, inner in (nested or {}).items():
        if name in given:
            extra[name] = _object(given[name], inner, name)
    return {**_object({k: v for k, v in given.items() if k not in extra}, shape, ""), **extra}


def _hints(shape: Shape) -> dict[str, Any]:
    """Return the types of the API's parameters, without the options of the library's own calls."""
    if shape not in _HINTS:
        hints = get_type_hints(shape, localns=OPTION_TYPES)
        _HINTS[shape] = {name: hint for name, hint in hints.items() if name not in RequestOptions.__annotations__}
    return _HINTS[shape]


def _object(given: Any, shape: Shape, name: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise Complaint("Invalid object", param=name)
    hints = _hints(shape)
    unknown = [_inside(name, key) for key in given if key not in hints]
    if unknown:
        plural = "s" if len(unknown) > 1 else ""
        message = f"Received unknown parameter{plural}: {', '.join(unknown)}"
        raise Complaint(message, code="parameter_unknown", param=unknown[0])
    for key in hints:
        if key in shape.__required_keys__ and key not in given:
            missing = _inside(name, key)
            raise Complaint(f"Missing required param: {missing}.", code="parameter_missing", param=missing)
    return {key: _value(value, hints[key], _inside(name, key)) for key, value in given.items()}


def _inside(parent: str, key: str) -> str:
    return f"{parent}[{key}]" if parent else key


def _value(given: Any, hint: Any, name: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return _one_of(given, get_args(hint), name)
    if origin is Literal:
        return _word(given, get_args(hint), name)
    if origin is list:
        return _array(given, get_args(hint)[0], name)
    if origin is dict:
        return {key: _value(value, get_args(hint)[1], _inside(name, key)) for key, value in _mapping(given, name)}
    if is_typeddict(hint):
        return _object(given, hint, name)
    return _scalar(given, hint, name)


def _one_of(given: Any, members: tuple[Any, ...], name: str) -> Any:
    words = [word for member in members if get_origin(member) is Literal for word in get_args(member)]
    if isinstance(given, str) and given in words:
        return given
    enumeration = [word for word in words if word]
    for member in members:
        if _may_hold(member, given) and not (member is str and enumeration):
            return _value(given, member, name)
    raise _not_among(given, enumeration, name) if enumeration else _wrong_kind(given, name)


def _may_hold(member: Any, given: Any) -> bool:
    """Tell whether a nested value meets a nested type, and text a plain one."""
    origin = get_origin(member)
    if isinstance(given, dict):
        return origin in (list, dict) or is_typeddict(member)
    return member in (str, int, bool, Decimal, float) and (member is str or _reads_as(given, member))


def _reads_as(text: str, kind: type[Any]) -> bool:
    try:
        _scalar(text, kind, "")
    except Complaint:
        return False
    return True


def _word(given: Any, words: tuple[str, ...], name: str) -> str:
    if isinstance(given, str) and given in words:
        return given
    raise _not_among(given, list(words), name)


def _not_among(given: Any, words: list[str], name: str) -> Complaint:
    choices = f"{', '.join(words[:-1])}, or {words[-1]}" if len(words) > 1 else words[0]
    return Complaint(f"Invalid {name}: must be one of {choices}", param=name)


def _wrong_kind(given: Any, name: str) -> Complaint:
    return Complaint("Invalid object" if isinstance(given, str) else "Invalid string: a nested value", param=name)


def _array(given: Any, member: Any, name: str) -> list[Any]:
    if not isinstance(given, dict) or not all(key.isdigit() for key in given):
        raise Complaint("Invalid array", param=name)
    ordered = sorted(given.items(), key=lambda entry: int(entry[0]))
    return [_value(value, member, _inside(name, key)) for key, value in ordered]


def _mapping(given: Any, name: str) -> list[tuple[str, Any]]:
    if not isinstance(given, dict):
        raise Complaint("Invalid object", param=name)
    return list(given.items())


def _scalar(given: Any, kind: Any, name: str) -> Any:
    if not isinstance(given, str):
        raise _wrong_kind(given, name)
    if kind is int:
        return _integer(given, name)
    if kind is bool:
        return _boolean(given, name)
    if kind in (Decimal, float):
        return _decimal(given, name)
    if given == "" and "metadata[" not in name:
        raise _empty(name)
    return given


def _integer(text: str, name: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,18}", text):
        raise Complaint(f"Invalid integer: {text}", code="parameter_invalid_integer", param=name)
    return int(text)


def _boolean(text: str, name: str) -> bool:
    if text not in ("true", "false"):
        raise Complaint(f"Invalid boolean: {text}", param=name)
    return text == "true"


def _decimal(text: str, name: str) -> str:
    try:
        finite = Decimal(text).is_finite()
    except InvalidOperation:
        finite = False
    if not finite:
        raise Complaint(f"Invalid decimal: {text}", param=name)
    return text


def _empty(name: str) -> Complaint:
    message = (
        f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a parameter; however"
        f" '{name}' cannot be unset. You should remove '{name}' from your request or supply a non-empty value."
    )
    return Complaint(message, code="parameter_invalid_empty", param=name)
