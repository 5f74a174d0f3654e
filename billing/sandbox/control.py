"""What `/_sandbox/…` does: the clock, the faults, what cardholders and banks decide. No part of Stripe's API."""

import json
from datetime import UTC, datetime
from typing import Any

from billing.sandbox.errors import Refusal
from billing.sandbox.sandbox import Sandbox
from billing.sandbox.store import JsonObject

PREFIX = "/_sandbox/"


def control(sandbox: Sandbox, method: str, path: str, body: str) -> JsonObject:
    """Answer one control request with JSON. Raises Refusal for one that makes no sense."""
    action = ACTIONS.get((method, path.removeprefix(PREFIX)))
    if action is None:
        raise Refusal(f"There is no {method} {path} in the sandbox.", status=404)
    try:
        result: JsonObject = action(sandbox, _read(body))
    except (ValueError, KeyError, TypeError) as mistake:
        raise Refusal(f"Cannot do that: {mistake}") from mistake
    return result


def _read(body: str) -> JsonObject:
    given = json.loads(body) if body else {}
    if not isinstance(given, dict):
        raise ValueError("the body must be a JSON object")
    return given


def _health(sandbox: Sandbox, given: JsonObject) -> JsonObject:
    return {"status": "ok", "what": "Candela's sandbox, not Stripe"}


def _state(sandbox: Sandbox, given: JsonObject) -> JsonObject:
    return sandbox.state()


def _set_clock(sandbox: Sandbox, given: JsonObject) -> JsonObject:
    """Stop the clock at the ISO 8601 moment `now` (with its offset from UTC), or let it run with null."""
    now = given["now"]
    sandbox.set_clock(None if now is None else datetime.fromisoformat(now))
    shown = datetime.fromtimestamp(sandbox.clock.now(), UTC).isoformat()
    return {"now": shown, "frozen": sandbox.clock.frozen_at is not None}


def _order_faults(sandbox: Sandbox, given: JsonObject) -> JsonObject:
    """Order one fault, such as `{"fault": "500", "method": "POST", "path": "/v1/invoices"}`, or a list, `faults`."""
    for order in given.get("faults", [given]):
        _order(sandbox, **order)
    return {"faults": sandbox.state()["faults"]}


def _order(sandbox: Sandbox, *, fault: str, **details: Any) -> None:
    sandbox.faults.add(str(fault), **details)


def _clear_faults(sandbox: Sandbox, given: JsonObject) -> JsonObject:
    sandbox.faults.clear()
    return {"faults": []}


def _authenticate(sandbox: Sandbox, given: JsonObject) -> JsonObject:
    """Answer for the cardholder of `intent`: `approve` true or false."""
    return sandbox.authenticate(given["intent"], approve=given["approve"] is True)


def _settle_refunds(sandbox: Sandbox, given: JsonObject) -> JsonObject:
    return {"refunds": sandbox.settle_refunds()}


def _close_dispute(sandbox: Sandbox, given: JsonObject) -> JsonObject:
    """Decide `dispute` for the bank: `won` true gives the money back."""
    return sandbox.close_dispute(given["dispute"], won=given["won"] is True)


ACTIONS = {
    ("GET", "health"): _health,
    ("GET", "state"): _state,
    ("POST", "clock"): _set_clock,
    ("POST", "faults"): _order_faults,
    ("DELETE", "faults"): _clear_faults,
    ("POST", "authenticate"): _authenticate,
    ("POST", "refunds"): _settle_refunds,
    ("POST", "disputes"): _close_dispute,
}
