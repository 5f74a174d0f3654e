"""`Idempotency-Key`: the first answer for a key is the answer for good (for 24 hours)."""

import hashlib
import json
from dataclasses import dataclass

from billing.sandbox.errors import Refusal
from billing.sandbox.messages import Response
from billing.sandbox.store import JsonObject, Store

KEPT_FOR_SECONDS = 86_400
LONGEST_KEY = 255


@dataclass(frozen=True)
class Attempt:
    """One POST with a key: what is compared when the key comes again."""

    account: str
    key: str
    path: str
    fingerprint: str

    @classmethod
    def of(cls, *, account: str, key: str, path: str, params: JsonObject) -> "Attempt":
        """Return the attempt for these parameters. Raises Refusal (400) for a key that is too long."""
        if len(key) > LONGEST_KEY:
            raise Refusal(f"Idempotency keys have at most {LONGEST_KEY} characters.", kind="idempotency_error")
        canonical = json.dumps(params, sort_keys=True)
        return cls(account, key, path, hashlib.sha256(canonical.encode()).hexdigest())


def first_answer(store: Store, attempt: Attempt, *, now: int) -> Response | None:
    """Return the stored answer for the key, or None when it is new or older than 24 hours.

    Raises Refusal (400, idempotency_error) when the key came first with other parameters or for another path.
    """
    store.run("DELETE FROM answers WHERE created_at <= ?", (now - KEPT_FOR_SECONDS,))
    rows = store.run("SELECT * FROM answers WHERE account = ? AND key = ?", (attempt.account, attempt.key))
    if not rows:
        return None
    answer = rows[0]
    if answer["path"] != attempt.path:
        raise _misused(attempt.key, f"for the same endpoint they were first used for ('{answer['path']}')")
    if answer["fingerprint"] != attempt.fingerprint:
        raise _misused(attempt.key, "with the same parameters they were first used with")
    headers = {"Idempotent-Replayed": "true", "Original-Request": answer["request_id"]}
    return Response(answer["status"], answer["body"], headers)


def keep_answer(store: Store, attempt: Attempt, response: Response, *, request_id: str, now: int) -> None:
    """Store the answer for the key, in the transaction of the request's own changes."""
    row = (attempt.account, attempt.key, attempt.path, attempt.fingerprint, request_id, now)
    store.run(
        "INSERT INTO answers (account, key, path, fingerprint, request_id, created_at, status, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*row, response.status, response.body),
    )


def _misused(key: str, rule: str) -> Refusal:
    message = (
        f"Keys for idempotent requests can only be used {rule}. Try using a key other than '{key}' if you meant to"
        " execute a different request."
    )
    return Refusal(message, kind="idempotency_error")
