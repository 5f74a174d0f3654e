"""A request and its answer, whichever face they came through."""

import json
from dataclasses import dataclass, field

from billing.sandbox.store import JsonObject


@dataclass(frozen=True)
class Request:
    """What a caller sent. `headers` have lower-case names, `query` and `body` are form text."""

    method: str
    path: str
    query: str = ""
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def header(self, name: str) -> str | None:
        """Return a header by its name in any case, or None."""
        return self.headers.get(name.lower())


@dataclass(frozen=True)
class Response:
    """What the caller gets: an HTTP status, JSON text, headers.

    `is_complaint`: the caller has a bug, for the request is none that Stripe has or the sandbox knows.
    """

    status: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)
    is_complaint: bool = False


def as_json(body: JsonObject) -> str:
    """Return the body as text."""
    return json.dumps(body, ensure_ascii=False)
