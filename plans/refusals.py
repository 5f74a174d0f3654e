"""The base of every "no" that a rule says to its caller."""

from typing import Any, ClassVar


class Refusal(Exception):
    """A rule refused the request; nothing was written.

    Subclasses stand beside the function that raises them and name one reason each: `code` is the machine word and
    `status` the HTTP status of the API's answer, `headers` its further headers. `details` may carry a JSON value, such
    as the path of a wrong field; `extra` adds further top-level keys to the answer's body where the contract has them.
    """

    code: ClassVar[str] = "refused"
    status: ClassVar[int] = 400
    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, message: str, *, details: Any = None, extra: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.extra = extra or {}


class NotFound(Refusal):
    """The addressed object does not exist, or is deleted."""

    code = "not_found"
    status = 404


class InvalidInput(Refusal):
    """A field's value cannot be accepted; `details` holds a list of `{path, message}`."""

    code = "invalid_request"

    @classmethod
    def at(cls, path: str, message: str) -> "InvalidInput":
        """Make a refusal of one field at `path`, written like `pricingData.components[0].amount_cents`."""
        return cls(f"{path}: {message}", details=[{"path": path, "message": message}])
