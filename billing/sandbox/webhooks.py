"""Webhooks out: events queued for endpoints, signed, sent, and sent again when the receiver fails."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from billing.sandbox.clock import Clock
from billing.sandbox.disguises import DISGUISES, Posting, disguised
from billing.sandbox.faults import FaultKind
from billing.sandbox.store import JsonObject, Query, Store

Send = Callable[[str, bytes, dict[str, str]], int]
"""Posts a body to a URL and returns the HTTP status; whatever it raises counts as a failed delivery."""

RETRY_AFTER_SECONDS = (10, 60, 600, 3_600)
_HOLDS: dict[FaultKind | None, int] = {FaultKind.WEBHOOK_REORDERED: 30, FaultKind.WEBHOOK_LATE: 2 * 86_400}
RECEIVER_TIMEOUT_SECONDS = 10
logger = logging.getLogger(__name__)

OPEN = "delivered_at IS NULL AND abandoned_at IS NULL"


def enqueue(store: Store, event: JsonObject, fault: FaultKind | None, *, wire_now: int) -> None:
    """Queue the event for every enabled endpoint that wants its type, and set its `pending_webhooks`.

    A fault changes what is queued: `webhook_lost` nothing, `webhook_duplicate` two of it, `webhook_reordered` holds
    it back until the endpoint has got a later event, or for half a minute, and `webhook_late` for two days. The others
    send something in its place before it: see `disguises`.
    """
    endpoints = [] if fault is FaultKind.WEBHOOK_LOST else _subscribers(store, event["type"])
    copies = 2 if fault is FaultKind.WEBHOOK_DUPLICATE else 1
    held = fault is FaultKind.WEBHOOK_REORDERED
    due_at = wire_now + _HOLDS.get(fault, 0)
    for endpoint in endpoints:
        if fault in DISGUISES:
            disguised = _queue(store, event, endpoint, due_at)
            store.hide(_delivery_id(disguised), {"disguise": fault})
        for _ in range(copies):
            _queue(store, event, endpoint, due_at, held=held)
    store.put({**event, "pending_webhooks": len(endpoints)})


def _queue(store: Store, event: JsonObject, endpoint: JsonObject, due_at: int, *, held: bool = False) -> int:
    rows = store.run(
        "INSERT INTO deliveries (event, endpoint, due_at, held) VALUES (?, ?, ?, ?) RETURNING id",
        (event["id"], endpoint["id"], due_at, held),
    )
    return int(rows[0]["id"])


def _subscribers(store: Store, event_type: str) -> list[JsonObject]:
    endpoints = store.select(Query("webhook_endpoint").equals("status", "enabled"), oldest_first=True)
    return [one for one in endpoints if {"*", event_type} & set(one["enabled_events"])]


@dataclass(frozen=True)
class Delivery:
    """One event on its way to one endpoint, with the number of attempts made so far."""

    id: int
    event: JsonObject
    endpoint: JsonObject | None
    attempts: int
    disguise: FaultKind | None = None


def _delivery_id(number: int) -> str:
    return f"delivery_{number}"


@dataclass(frozen=True)
class Sending:
    """How far one event has got on its way to one endpoint; `state` is in words."""

    event_id: str
    event_type: str
    url: str
    state: str
    attempts: int
    last_answer: str


def sendings(store: Store, *, limit: int) -> list[Sending]:
    """Return the latest webhooks, newest first."""
    rows = store.run("SELECT * FROM deliveries ORDER BY id DESC LIMIT ?", (limit,))
    made = []
    for row in rows:
        event, endpoint = store.find(row["event"]) or {}, store.find(row["endpoint"]) or {}
        state = "arrived" if row["delivered_at"] else "given up" if row["abandoned_at"] else "on its way"
        url, answer = endpoint.get("url", "an endpoint that is gone"), row["last_answer"] or ""
        made.append(Sending(row["event"], event.get("type", ""), url, state, row["attempts"], answer))
    return made


class Courier:
    """Delivers what is queued. `wire_clock` is the time that receivers live in: it dates signatures and retries."""

    def __init__(
        self,
        store: Store,
        send: Send,
        wire_clock: Clock,
        retry_after: tuple[int, ...] = RETRY_AFTER_SECONDS,
    ) -> None:
        self._store = store
        self._send = send
        self._wire_clock = wire_clock
        self._retry_after = retry_after
        self._one_round = threading.Lock()

    def deliver_pending(self) -> int:
        """Send everything that is due, also what the receivers cause meanwhile; return the number of attempts."""
        with self._one_round:
            attempts = 0
            while delivery := self._next():
                self._record(delivery, self._attempt(delivery))
                attempts += 1
            return attempts

    def _next(self) -> Delivery | None:
        rows = self._store.run(
            f"SELECT id, event, endpoint, attempts FROM deliveries AS this WHERE {OPEN} AND (due_at <= ? OR (held AND"
            " EXISTS (SELECT 1 FROM deliveries WHERE endpoint = this.endpoint AND id > this.id AND attempts > 0)))"
            " ORDER BY id LIMIT 1",
            (self._wire_clock.now(),),
        )
        if not rows:
            return None
        event = self._store.find(rows[0]["event"], "event") or {}
        endpoint = self._store.find(rows[0]["endpoint"], "webhook_endpoint")
        disguise = self._store.hidden(_delivery_id(rows[0]["id"])).get("disguise")
        kind = FaultKind(disguise) if disguise else None
        return Delivery(rows[0]["id"], event, endpoint, rows[0]["attempts"], kind)

    def _attempt(self, delivery: Delivery) -> str:
        """Send once and return what came of it: the HTTP status as text, or the name of the failure."""
        endpoint = delivery.endpoint
        if endpoint is None or endpoint["status"] != "enabled":
            return "endpoint gone"
        try:
            posting = disguised(
                Posting(delivery.event, self._store.hidden(endpoint["id"])["secret"], self._wire_clock.now()),
                delivery.disguise,
            )
            return str(self._send(endpoint["url"], posting.body.encode(), posting.headers()))
        except Exception as failure:  # a receiver may fail in any way, and none is the sandbox's failure
            return f"{type(failure).__name__}: {failure}"

    def _record(self, delivery: Delivery, answer: str) -> None:
        now, attempts = self._wire_clock.now(), delivery.attempts + 1
        with self._store.transaction():
            self._store.run(
                "UPDATE deliveries SET attempts = ?, last_answer = ?, held = 0 WHERE id = ?",
                (attempts, answer, delivery.id),
            )
            if answer.startswith("2"):
                self._store.run("UPDATE deliveries SET delivered_at = ? WHERE id = ?", (now, delivery.id))
                if delivery.disguise is None:
                    self._count_down(delivery.event["id"])
            elif delivery.endpoint is None or delivery.disguise or attempts > len(self._retry_after):
                self._store.run("UPDATE deliveries SET abandoned_at = ? WHERE id = ?", (now, delivery.id))
            else:
                due_at = now + self._retry_after[attempts - 1]
                self._store.run("UPDATE deliveries SET due_at = ? WHERE id = ?", (due_at, delivery.id))

    def _count_down(self, event_id: str) -> None:
        event = self._store.find(event_id, "event")
        if event is not None:
            self._store.put({**event, "pending_webhooks": max(event["pending_webhooks"] - 1, 0)})


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *args: object, **kwargs: object) -> None:
        """Follow nothing: to Stripe a redirect is a failed delivery."""


def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    """Post a webhook over HTTP and return the status. Raises OSError when there is no answer in ten seconds."""
    request = Request(url, data=body, headers=headers, method="POST")
    try:
        with build_opener(_NoRedirects(), ProxyHandler({})).open(request, timeout=RECEIVER_TIMEOUT_SECONDS) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


class Worker:
    """A thread that runs the courier whenever it is woken, and once a second for what became due."""

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="sandbox-webhooks", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def wake(self) -> None:
        """Look at the queue now."""
        self._wake.set()

    def stop(self) -> None:
        """End after the round that is under way; what is still queued stays queued."""
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout=RECEIVER_TIMEOUT_SECONDS + 1)

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                self._courier.deliver_pending()
            except Exception:
                logger.exception("A round of webhooks failed")
            self._wake.wait(timeout=1)
