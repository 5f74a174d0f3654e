"""What a route is, and what its handler is given."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from billing.sandbox.errors import Complaint, missing_object, not_in_the_sandbox
from billing.sandbox.faults import FaultPlan
from billing.sandbox.store import JsonObject, Store


@dataclass
class Call:
    """One checked request on its way through a handler.

    `now` is the time of the sandbox and `wire_now` that of its webhooks, both in seconds since 1970-01-01 UTC.
    """

    store: Store
    faults: FaultPlan
    now: int
    account: str
    request_id: str | None
    idempotency_key: str | None = None
    params: JsonObject = field(default_factory=dict)
    path: dict[str, str] = field(default_factory=dict)
    from_browser: bool = False
    wire_now: int = 0
    public_url: str = ""

    def value(self, name: str, default: Any = None) -> Any:
        """Return a parameter; `default` when it is absent, None when it was sent empty to unset it."""
        value = self.params.get(name, default)
        return None if value == "" else value

    def requested(self, kind: str, *, noun: str | None = None, param: str = "id") -> JsonObject:
        """Return the object that the path names. Raises Refusal (404)."""
        found = self.store.find(self.path["id"], kind)
        if found is None:
            raise missing_object(noun or kind, self.path["id"], param=param, in_path=True)
        return found

    def referenced(self, name: str, kind: str, *, noun: str | None = None) -> JsonObject | None:
        """Return the object that the parameter `name` names, None without one. Raises Refusal (400)."""
        object_id = self.value(name)
        if object_id is None:
            return None
        found = self.store.find(object_id, kind)
        if found is None:
            raise missing_object(noun or kind, object_id, param=name)
        return found


Handler = Callable[[Call], JsonObject]


@dataclass(frozen=True)
class Route:
    """One method and path of Stripe's API.

    `params` is the library's type for the request. `supports` names the parameters which the sandbox imitates: one
    that is valid but not among them is refused by name, never ignored. A route with `browser=True` also takes a
    publishable key, and then the texts of `browser_params` and the objects of `browser_types`, by parameter.
    """

    method: str
    pattern: str
    handle: Handler
    params: type[Any]
    supports: tuple[str, ...] = ()
    browser: bool = False
    browser_params: tuple[str, ...] = ()
    browser_types: Mapping[str, type[Any]] = field(default_factory=dict)

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.pattern))

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """Return the variable parts of the path, or None when this is another route."""
        found = self._expression.fullmatch(path) if method == self.method else None
        return found.groupdict() if found else None

    def require_support(self, params: JsonObject, *, from_browser: bool) -> None:
        """Raise Complaint for a valid parameter that the sandbox does not imitate."""
        imitated = {"expand", *self.supports}
        if from_browser:
            imitated.update(self.browser_params, self.browser_types)
        for name in params:
            if name not in imitated:
                raise not_in_the_sandbox(name)


def unknown_url(method: str, path: str) -> Complaint:
    """Return the refusal for a path that no route has."""
    message = f"Unrecognized request URL ({method}: {path}). Candela's sandbox imitates only part of Stripe's API."
    return Complaint(message, status=404)
