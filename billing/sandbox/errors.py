"""Refusals in the shape of Stripe's error bodies."""

from typing import Any

API_VERSION = "2026-08-26.dahlia"
"""The only API version whose shapes the sandbox speaks."""


class Refusal(Exception):
    """A request that Stripe would answer with an error; everything the request changed is undone."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.code = code
        self.param = param
        self.details = details

    def body(self) -> dict[str, Any]:
        """Return the JSON body, `{"error": {...}}`, without the keys that are not set."""
        error = {"type": self.kind, "code": self.code, "param": self.param, "message": self.message, **self.details}
        if self.code:
            error["doc_url"] = f"https://docs.stripe.com/error-codes/{self.code.replace('_', '-')}"
        return {"error": {key: value for key, value in error.items() if value is not None}}


class Complaint(Refusal):
    """A request that has no business here: its parameters are none of the API's, or none that the sandbox imitates.

    Other refusals are answers to a well-formed request; this one is the bug of whoever sent it.
    """


class CardRefusal(Refusal):
    """A payment that the card's bank refused (402); the attempt and its events stay recorded."""

    def __init__(self, message: str, *, code: str, **details: Any) -> None:
        super().__init__(message, status=402, kind="card_error", code=code, **details)


class ConnectionDropped(Exception):
    """The caller gets no answer at all, as when a connection breaks or times out."""


def missing_object(noun: str, object_id: str, *, param: str, in_path: bool = False) -> Refusal:
    """Return the refusal for an id that names nothing: 404 when it is in the path, 400 when it is a parameter."""
    message = f"No such {noun}: '{object_id}'"
    return Refusal(message, status=404 if in_path else 400, code="resource_missing", param=param)


def not_in_the_sandbox(name: str) -> Complaint:
    """Return the refusal for a valid Stripe parameter (or value) which this sandbox does not imitate."""
    return Complaint(
        f"Candela's sandbox does not imitate `{name}`. Stripe knows it; test it with a Stripe test key.",
        code="sandbox_unsupported",
        param=name,
    )
