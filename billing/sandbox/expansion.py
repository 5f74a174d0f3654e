"""`expand`: ids in an answer replaced by the objects they name."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from billing.sandbox.errors import Refusal
from billing.sandbox.store import JsonObject, Store

Includable = Callable[[Store, JsonObject], Any]
DEEPEST = 4


class Expander:
    """Expands paths such as `latest_charge` or `data.customer`.

    `includables` maps (kind, field) to a function that makes a field which Stripe shows only on demand.
    """

    def __init__(self, store: Store, includables: Mapping[tuple[str, str], Includable]) -> None:
        self._store = store
        self._includables = includables

    def expand(self, body: JsonObject, paths: Sequence[str]) -> JsonObject:
        """Return the body with every path expanded, in place. Raises Refusal (400) for what cannot be expanded."""
        for path in paths:
            steps = path.split(".")
            if len(steps) > DEEPEST:
                raise Refusal(f"You cannot expand more than {DEEPEST} levels of a property ({path}).", param="expand")
            self._expand(body, steps, path)
        return body

    def _expand(self, place: JsonObject, steps: list[str], path: str) -> None:
        step, rest = steps[0], steps[1:]
        if (place.get("object"), step) in self._includables and step not in place:
            place[step] = self._includables[place["object"], step](self._store, place)
        if step not in place:
            raise _cannot_expand(path)
        place[step] = self._resolve(place[step], path, is_last=not rest)
        for inner in self._parts(place[step]) if rest else ():
            self._expand(inner, rest, path)

    def _resolve(self, value: Any, path: str, *, is_last: bool) -> Any:
        if isinstance(value, list):
            return [self._resolve(member, path, is_last=False) for member in value]
        if isinstance(value, str):
            found = self._store.find(value)
            if found is None:
                raise _cannot_expand(path)
            return found
        if is_last and isinstance(value, int):
            raise _cannot_expand(path)
        return value

    def _parts(self, value: Any) -> list[JsonObject]:
        members = value if isinstance(value, list) else [value]
        return [member for member in members if isinstance(member, dict)]


def _cannot_expand(path: str) -> Refusal:
    return Refusal(f"This property cannot be expanded ({path}).", param="expand")
