"""The header `Idempotency-Key`: each request with it is worked on once, and its answer is kept for ever.

For a normal view the record and the view's work commit together, so a crash between them is harmless. A view that calls
the network cannot run in a transaction: there the key is claimed first, and an old claim may be taken over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, ClassVar

from django.db import OperationalError, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from psycopg.errors import LockNotAvailable

from config.models import ApiKey, IdempotencyRecord
from plans.exact_json import decode_object
from plans.refusals import Refusal

WAIT_SECONDS = 10
CLAIM_LASTS = timedelta(minutes=2)
LOOK_AGAIN_AFTER_SECONDS = 0.1
_REPEATABLE_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# Answers to requests whose work never began: the same request may well succeed later.
_NOT_KEPT = frozenset({401, 405, 406, 408, 413, 415, 425, 429})

Run = Callable[[], HttpResponse]


class InvalidIdempotencyKey(Refusal):
    """The header `Idempotency-Key` is empty, too long or not printable."""

    code = "invalid_idempotency_key"


class IdempotencyConflict(Refusal):
    """The idempotency key was used for another request."""

    code = "idempotency_conflict"
    status = 409


class IdempotencyInProgress(Refusal):
    """The first request with this idempotency key is still being worked on."""

    code = "idempotency_in_progress"
    status = 409
    headers: ClassVar[dict[str, str]] = {"Retry-After": "5"}


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What makes two requests with one idempotency key the same."""

    key: str
    method: str
    path: str
    body_hash: bytes


def wants_one_answer(request: HttpRequest, view: Any) -> bool:
    return (
        "HTTP_IDEMPOTENCY_KEY" in request.META
        and request.method in _REPEATABLE_METHODS
        and not getattr(view, "own_idempotency", False)
    )


def answer_once(request: HttpRequest, *, key: ApiKey, view: Any, run: Run) -> HttpResponse:
    """Answer the first request with this `Idempotency-Key` by `run`, and every repetition by the answer kept of it."""
    text = request.META["HTTP_IDEMPOTENCY_KEY"]
    if not (1 <= len(text) <= 255 and text.isascii() and text.isprintable()):
        raise InvalidIdempotencyKey("The header Idempotency-Key must have 1 to 255 printable ASCII characters.")
    if request.content_type == "application/json":
        # A body that cannot even be read must not take the key: it will come again, mended.
        decode_object(request.body)
    asked = _Asked(
        key=text,
        method=str(request.method),
        path=request.get_full_path(),
        body_hash=sha256(request.body).digest(),
    )
    if getattr(view, "calls_network", False):
        return _answer_once_around_network(key, asked, run)
    return _answer_once_in_transaction(key, asked, run)


def _answer_once_in_transaction(key: ApiKey, asked: _Asked, run: Run) -> HttpResponse:
    """Commit the work and the record of its answer together, so a crash at any moment leaves both or neither.

    A concurrent repetition waits in `_claim` until this transaction ends.
    """
    with transaction.atomic():
        record_id = _claim(key, asked, at=timezone.now())
        if record_id is None:
            return _repeated(_matching_record(key, asked))
        with transaction.atomic():
            response = run()
            if response.status_code >= 400:
                # A "no" leaves nothing behind, wherever in its work the view has said it.
                transaction.set_rollback(True)
        if _is_kept(response):
            IdempotencyRecord.objects.filter(pk=record_id).update(**_answer_columns(response))
        else:
            transaction.set_rollback(True)
    return response


def _answer_once_around_network(key: ApiKey, asked: _Asked, run: Run) -> HttpResponse:
    """Commit a claim, work without a transaction, and commit the answer; a claim of a crashed process runs out."""
    claimed_at = _claim_in_turn(key, asked)
    if isinstance(claimed_at, HttpResponse):
        return claimed_at
    response = run()
    ours = IdempotencyRecord.objects.filter(
        api_key=key, key=asked.key, claimed_at=claimed_at, state=IdempotencyRecord.State.IN_PROGRESS
    )
    if _is_kept(response):
        ours.update(**_answer_columns(response))
    else:
        ours.delete()
    return response


def _claim_in_turn(key: ApiKey, asked: _Asked) -> datetime | HttpResponse:
    """Claim the work and return the moment of the claim, or wait for whoever has it and return the answer kept."""
    give_up_at = time.monotonic() + WAIT_SECONDS
    while True:
        at = timezone.now()
        with transaction.atomic():
            if _claim(key, asked, at=at) is not None:
                return at
        record = _find_record(key, asked)
        # The record is gone again when the one before us got an answer that is not kept.
        if record is not None:
            if record.state == IdempotencyRecord.State.ANSWERED:
                return _repeated(record)
            if record.claimed_at <= at - CLAIM_LASTS and _take_over(record, at=at):
                return at
        if time.monotonic() >= give_up_at:
            raise _in_progress()
        time.sleep(LOOK_AGAIN_AFTER_SECONDS)


def _claim(key: ApiKey, asked: _Asked, *, at: datetime) -> int | None:
    """Insert the record and return its primary key; None where there is one. Needs a transaction.

    Waits while another transaction has inserted the same key and not ended. Raises IdempotencyInProgress after
    `WAIT_SECONDS`; the transaction is spoiled then.
    """
    with connection.cursor() as cursor:
        try:
            cursor.execute(f"SET LOCAL lock_timeout = {int(WAIT_SECONDS * 1000)}")
            cursor.execute(
                """
                INSERT INTO config_idempotencyrecord
                    (api_key_id, key, method, path, body_hash, state, response_headers, response_body,
                     created_at, claimed_at)
                VALUES (%s, %s, %s, %s, %s, 'in_progress', '{}', '', %s, %s)
                ON CONFLICT (api_key_id, key) DO NOTHING
                RETURNING id
                """,
                [key.pk, asked.key, asked.method, asked.path, asked.body_hash, at, at],
            )
            row = cursor.fetchone()
        except OperationalError as error:
            if isinstance(error.__cause__, LockNotAvailable):
                raise _in_progress() from error
            raise
        # The view's own locks wait as long as they always do.
        cursor.execute("SET LOCAL lock_timeout = DEFAULT")
    return row[0] if row else None


def _take_over(record: IdempotencyRecord, *, at: datetime) -> bool:
    return bool(
        IdempotencyRecord.objects.filter(
            pk=record.pk, claimed_at=record.claimed_at, state=IdempotencyRecord.State.IN_PROGRESS
        ).update(claimed_at=at)
    )


def _find_record(key: ApiKey, asked: _Asked) -> IdempotencyRecord | None:
    """Find the record of this idempotency key. Raises IdempotencyConflict where it was made for another request."""
    record = IdempotencyRecord.objects.filter(api_key=key, key=asked.key).first()
    if record is None:
        return None
    differing = [
        name
        for name, same in (
            ("method", record.method == asked.method),
            ("path", record.path == asked.path),
            ("body", bytes(record.body_hash) == asked.body_hash),
        )
        if not same
    ]
    if differing:
        raise IdempotencyConflict(
            f"This Idempotency-Key was used for a request with another {' and '.join(differing)}.",
            details={"differing": differing},
        )
    return record


def _matching_record(key: ApiKey, asked: _Asked) -> IdempotencyRecord:
    record = _find_record(key, asked)
    if record is None or record.state == IdempotencyRecord.State.IN_PROGRESS:
        raise _in_progress()
    return record


def _in_progress() -> IdempotencyInProgress:
    return IdempotencyInProgress("The first request with this Idempotency-Key is still being worked on. Try again.")


def _is_kept(response: HttpResponse) -> bool:
    return response.status_code < 500 and response.status_code not in _NOT_KEPT


def _answer_columns(response: HttpResponse) -> dict[str, Any]:
    return {
        "state": IdempotencyRecord.State.ANSWERED,
        "response_status": response.status_code,
        "response_headers": dict(response.items()),
        "response_body": getattr(response, "kept_body", response.content),
    }


def _repeated(record: IdempotencyRecord) -> HttpResponse:
    return HttpResponse(
        bytes(record.response_body),
        status=record.response_status,
        headers=record.response_headers | {"Idempotent-Replayed": "true"},
    )
