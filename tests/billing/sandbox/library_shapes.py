"""What the sandbox answers, held against the annotations of the stripe library's own resource classes."""

import ast
import inspect
import sys
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib import import_module
from types import UnionType
from typing import Any, ClassVar, ForwardRef, Literal, Union, get_args, get_origin

from stripe import ErrorObject, ListObject, StripeObject
from stripe._object_classes import OBJECT_CLASSES
from stripe._stripe_object import UntypedStripeObject

LIST_KEYS = {"object", "data", "has_more", "url", "total_count"}
"""`total_count` is in Stripe's answers, but not in the library's class."""


PLAIN = (type(None), str, int, bool, float, Decimal)


def problems(body: Any, path: str = "") -> list[str]:
    """Return what is wrong with an answer: keys that the library does not know or misses, and values of other types.

    Every object in it that names its kind is checked, however deep it lies.
    """
    return list(_problems(body, path))


def _problems(body: Any, path: str) -> Iterator[str]:
    if isinstance(body, list):
        for place, member in enumerate(body):
            yield from _problems(member, f"{path}[{place}]")
    elif isinstance(body, dict) and isinstance(body.get("object"), str):
        yield from _named_object(body, path)
    elif isinstance(body, dict) and set(body) == {"error"}:
        yield from _object(body["error"], ErrorObject, f"{path}error")
    elif isinstance(body, dict):
        for name, value in body.items():
            yield from _problems(value, _at(path, name))


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _named_object(body: dict[str, Any], path: str) -> Iterator[str]:
    kind = body["object"]
    if kind == "list":
        yield from _list(body, path)
    elif kind in OBJECT_CLASSES:
        module, name = OBJECT_CLASSES[kind]
        yield from _object(body, getattr(import_module(module), name), path or kind)
    else:
        yield f"{path}: the library has no object {kind!r}"


def _list(body: dict[str, Any], path: str, member: Any = Any, shape: type = ListObject) -> Iterator[str]:
    unknown = sorted(body.keys() - LIST_KEYS)
    if unknown:
        yield f"{path}: a list has no {', '.join(unknown)}"
    for name, hint in {"has_more": bool, "url": str, "data": list[member]}.items():
        if name not in body:
            yield f"{_at(path, name)}: missing"
        else:
            yield from _value(body[name], hint, _at(path, name), shape)


def _object(body: Any, shape: type, path: str) -> Iterator[str]:
    if not isinstance(body, dict):
        yield f"{path}: {body!r} is no {shape.__qualname__}"
        return
    hints = _hints(shape)
    for name in sorted(body.keys() - hints.keys()):
        yield f"{_at(path, name)}: unknown to {shape.__qualname__}"
    if body.get("deleted") is not True:
        for name in sorted(name for name, hint in hints.items() if name not in body and not _may_be_absent(hint)):
            yield f"{_at(path, name)}: missing, {shape.__qualname__} has it"
    for name, value in body.items():
        if name in hints:
            yield from _value(value, hints[name], _at(path, name), shape)


@cache
def _hints(shape: type) -> dict[str, Any]:
    """Return the annotations of a class of the library; `shape` also resolves the names in them."""
    hints = {name: hint for name, hint in shape.__annotations__.items() if get_origin(hint) is not ClassVar}
    return {name: hint for name, hint in hints.items() if not name.startswith("_")}


def _may_be_absent(hint: Any) -> bool:
    return type(None) in get_args(hint)


def _value(value: Any, hint: Any, path: str, shape: type) -> Iterator[str]:
    hint = _resolved(hint, shape)
    origin = get_origin(hint)
    if hint is Any or origin is UntypedStripeObject:
        yield from _untyped(value, hint, path, shape)
    elif origin in (Union, UnionType):
        yield from _one_of(value, [_resolved(member, shape) for member in get_args(hint)], path, shape)
    elif origin is Literal:
        if value not in get_args(hint):
            yield f"{path}: {value!r} is none of {', '.join(map(repr, get_args(hint)))}"
    elif origin is list:
        yield from _members(value, get_args(hint)[0], path, shape)
    elif origin is ListObject:
        yield from _list(value, path, get_args(hint)[0], shape) if isinstance(value, dict) else [f"{path}: no list"]
    elif isinstance(hint, type) and issubclass(hint, StripeObject):
        yield from _object(value, hint, path)
    elif not _is_a(value, hint):
        yield f"{path}: {value!r} is no {getattr(hint, '__name__', hint)}"


def _untyped(value: Any, hint: Any, path: str, shape: type) -> Iterator[str]:
    member = get_args(hint)[0] if get_args(hint) else Any
    if hint is Any or member is Any:
        yield from _problems(value, path)
        return
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is no object"
        return
    for name, inner in value.items():
        yield from _value(inner, member, _at(path, name), shape)


def _members(value: Any, member: Any, path: str, shape: type) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path}: {value!r} is no list"
        return
    for place, inner in enumerate(value):
        yield from _value(inner, member, f"{path}[{place}]", shape)


def _one_of(value: Any, members: list[Any], path: str, shape: type) -> Iterator[str]:
    """Check a value of one of several types. A word is one of those that the library names, where it names some."""
    words = [word for member in members if get_origin(member) is Literal for word in get_args(member)]
    if isinstance(value, str) and words:
        if value not in words:
            yield f"{path}: {value!r} is none of {', '.join(map(repr, words))}"
        return
    found = [list(_value(value, member, path, shape)) for member in members]
    if not all(found):
        return
    if not isinstance(value, dict):
        yield f"{path}: {value!r} has another type"
        return
    nested = [one for member, one in zip(members, found, strict=True) if member not in PLAIN]
    # What is nearest to fitting says most.
    yield from min(nested, key=len, default=[f"{path}: an object where none can be"])


def _is_a(value: Any, kind: Any) -> bool:
    if kind is Decimal:
        return isinstance(value, str) and _is_decimal(value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _is_decimal(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except InvalidOperation:
        return False


def _resolved(hint: Any, shape: type) -> Any:
    if isinstance(hint, ForwardRef):
        hint = hint.__forward_arg__
    return _evaluated(hint, shape.__module__) if isinstance(hint, str) else hint


@cache
def _evaluated(hint: str, module: str) -> Any:
    return eval(hint, _names(module))


@cache
def _names(module: str) -> dict[str, Any]:
    """Return the names of a module, and those that it imports for type checkers only."""
    names = dict(vars(sys.modules[module]))
    for node in ast.walk(ast.parse(inspect.getsource(sys.modules[module]))):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            for statement in node.body:
                if isinstance(statement, ast.ImportFrom) and statement.module:
                    imported = import_module(statement.module)
                    names |= {one.asname or one.name: getattr(imported, one.name) for one in statement.names}
    return names
