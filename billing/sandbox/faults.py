"""Faults on order: the next matching requests or webhooks go wrong in a chosen way."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from billing.sandbox.errors import CardRefusal, Refusal


class FaultKind(StrEnum):
    """What can go wrong: with requests, and with webhooks."""

    DECLINED = "402"
    INSUFFICIENT_FUNDS = "402_insufficient_funds"
    EXPIRED_CARD = "402_expired_card"
    AUTHENTICATION_REQUIRED = "402_authentication_required"
    CONFLICT = "409"
    TOO_MANY_REQUESTS = "429"
    SERVER_ERROR = "500"
    SERVER_ERROR_KEPT = "500_kept"
    SERVER_ERROR_AFTER_COMMIT = "500_after_commit"
    TIMEOUT = "timeout"
    TIMEOUT_AFTER_COMMIT = "timeout_after_commit"
    WEBHOOK_DUPLICATE = "webhook_duplicate"
    WEBHOOK_REORDERED = "webhook_reordered"
    WEBHOOK_LOST = "webhook_lost"
    WEBHOOK_LATE = "webhook_late"
    WEBHOOK_STALE = "webhook_stale"
    WEBHOOK_FORGED = "webhook_forged"
    WEBHOOK_UNKNOWN = "webhook_unknown"

    @property
    def is_webhook(self) -> bool:
        """True when the fault befalls a delivery, not a request."""
        return self.value.startswith("webhook_")


@dataclass
class Fault:
    """One order: `times` more requests (or events) that match get this fault.

    A request matches by method (any when None) and path prefix, a webhook by the prefix of its event's type.
    """

    kind: FaultKind
    method: str | None = None
    path: str = "/v1/"
    event_type: str = ""
    times: int = 1

    def matches_request(self, method: str, path: str) -> bool:
        """Tell whether this request is to go wrong."""
        return not self.kind.is_webhook and self.method in (None, method) and path.startswith(self.path)

    def matches_event(self, event_type: str) -> bool:
        """Tell whether the webhook of this event is to go wrong."""
        return self.kind.is_webhook and event_type.startswith(self.event_type)


class FaultPlan:
    """The queue of orders, first come first served. It lives in memory: a restart forgets it."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(
        self,
        kind: FaultKind | str,
        *,
        method: str | None = None,
        path: str = "/v1/",
        event_type: str = "",
        times: int = 1,
    ) -> Fault:
        """Order a fault. Raises ValueError for an unknown kind or a count below one."""
        if times < 1:
            raise ValueError("A fault happens at least once.")
        fault = Fault(FaultKind(kind), method.upper() if method else None, path, event_type, times)
        with self._lock:
            self._faults.append(fault)
        return fault

    def cancel(self, fault: Fault) -> None:
        """Cancel what is left of one order."""
        with self._lock:
            self._faults = [one for one in self._faults if one is not fault]

    def clear(self) -> None:
        """Cancel all orders."""
        with self._lock:
            self._faults.clear()

    def pending(self) -> list[Fault]:
        """Return the orders that are still to come."""
        with self._lock:
            return list(self._faults)

    def take_for_request(self, method: str, path: str) -> FaultKind | None:
        """Return the fault for this request, if any, and use it up."""
        return self._take(lambda fault: fault.matches_request(method, path))

    def take_for_event(self, event_type: str) -> FaultKind | None:
        """Return the fault for this event's webhooks, if any, and use it up."""
        return self._take(lambda fault: fault.matches_event(event_type))

    def _take(self, matches: Callable[[Fault], bool]) -> FaultKind | None:
        with self._lock:
            fault = next((fault for fault in self._faults if matches(fault)), None)
            if fault is None:
                return None
            fault.times -= 1
            if fault.times == 0:
                self._faults.remove(fault)
            return fault.kind


_ANSWERS: dict[FaultKind, Callable[[], Refusal]] = {
    FaultKind.DECLINED: lambda: _card_refusal("card_declined", "generic_decline", "Your card was declined."),
    FaultKind.INSUFFICIENT_FUNDS: lambda: _card_refusal(
        "card_declined", "insufficient_funds", "Your card has insufficient funds."
    ),
    FaultKind.EXPIRED_CARD: lambda: _card_refusal("expired_card", None, "Your card has expired."),
    FaultKind.AUTHENTICATION_REQUIRED: lambda: _card_refusal(
        "authentication_required",
        "authentication_required",
        "Your card was declined. This transaction requires authentication.",
    ),
    FaultKind.CONFLICT: lambda: Refusal(
        "This object cannot be accessed right now because another API request is currently accessing it.",
        status=409,
        code="lock_timeout",
    ),
    FaultKind.TOO_MANY_REQUESTS: lambda: Refusal("Request rate limit exceeded.", status=429, code="rate_limit"),
} | dict.fromkeys(
    (FaultKind.SERVER_ERROR, FaultKind.SERVER_ERROR_KEPT, FaultKind.SERVER_ERROR_AFTER_COMMIT),
    lambda: Refusal("An unknown error occurred.", status=500, kind="api_error"),
)
# What Stripe has begun to execute is answered in the same way for as long as it knows the key, failures too.
_KEPT = {FaultKind.SERVER_ERROR_KEPT, FaultKind.SERVER_ERROR_AFTER_COMMIT}


def refusal_for(kind: FaultKind | None) -> Refusal | None:
    """Return the answer that this fault gives instead of the real one, or None when it is not an answer."""
    answer = _ANSWERS.get(kind) if kind else None
    return answer() if answer else None


def is_kept(kind: FaultKind | None) -> bool:
    """Tell whether the same idempotency key gets this fault's answer again, as it gets any other answer."""
    return kind in _KEPT or isinstance(refusal_for(kind), CardRefusal)


def _card_refusal(code: str, reason: str | None, message: str) -> CardRefusal:
    return CardRefusal(message, code=code, decline_code=reason)
