"""The sandbox itself: takes a request, gives Stripe's answer, remembers."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from billing.sandbox import idempotency
from billing.sandbox.browser_view import for_browser
from billing.sandbox.clock import Clock
from billing.sandbox.errors import API_VERSION, CardRefusal, Complaint, ConnectionDropped, Refusal
from billing.sandbox.expansion import Expander
from billing.sandbox.faults import FaultKind, FaultPlan, is_kept, refusal_for
from billing.sandbox.forms import decode
from billing.sandbox.ids import new_id
from billing.sandbox.keys import Caller, identify, secret_key_required
from billing.sandbox.messages import Request, Response, as_json
from billing.sandbox.objects import authentication, disputes, refunds
from billing.sandbox.objects.accounts import acting_account, the_account
from billing.sandbox.params import check
from billing.sandbox.registry import INCLUDABLES, find_route
from billing.sandbox.routes import Call, Route
from billing.sandbox.store import JsonObject, Store
from billing.sandbox.watching import show
from billing.sandbox.webhooks import OPEN, RETRY_AFTER_SECONDS, Courier, Send, post

Happened = TypeVar("Happened")


class Sandbox:
    """Candela's stand-in for Stripe; honest about what it is, and no part of a real payment.

    `path` is the file with its state (":memory:" forgets). `clock` tells the time of everything it records;
    `wire_clock` the time of webhooks: their signatures and retries. `send` posts webhooks.
    """

    def __init__(
        self,
        path: str = ":memory:",
        *,
        clock: Clock | None = None,
        wire_clock: Clock | None = None,
        send: Send = post,
        retry_after: tuple[int, ...] = RETRY_AFTER_SECONDS,
        public_url: str = "http://127.0.0.1",
    ) -> None:
        self.store = Store(path)
        self.faults = FaultPlan()
        self.clock = clock or _clock_of(self.store)
        self.wire_clock = wire_clock or Clock()
        self.public_url = public_url
        self.after_request: Callable[[], None] | None = None
        self._courier = Courier(self.store, send, self.wire_clock, retry_after)
        self._expander = Expander(self.store, INCLUDABLES)
        self._account = the_account(self.store, now=self.clock.now())

    @property
    def courier(self) -> Courier:
        """Who delivers the webhooks."""
        return self._courier

    def close(self) -> None:
        """Close the state's file."""
        self.store.close()

    def handle(self, request: Request) -> Response:
        """Answer one API request, errors included. Raises ConnectionDropped when a fault leaves it unanswered."""
        request_id = new_id("req")
        try:
            response = self._answer(request, request_id)
        except Refusal as refusal:
            response = _refused(refusal)
        finally:
            if self.after_request:
                self.after_request()
        show(request, response)
        headers = {
            "Content-Type": "application/json",
            "Request-Id": request_id,
            "Stripe-Version": API_VERSION,
            **response.headers,
        }
        key = request.header("Idempotency-Key")
        if key:
            headers["Idempotency-Key"] = key
        return Response(response.status, response.body, headers)

    def deliver_pending(self) -> int:
        """Deliver the webhooks that are due and return the number of attempts; failures are kept for a retry."""
        return self._courier.deliver_pending()

    def set_clock(self, moment: datetime | int | None) -> None:
        """Stop the clock at a moment, also over restarts, or let it run with None. Raises ValueError as `Clock.set`."""
        self.clock.set(moment)
        frozen_at = self.clock.frozen_at
        self.store.set_setting("clock", None if frozen_at is None else str(frozen_at))

    def authenticate(self, intent_id: str, *, approve: bool) -> JsonObject:
        """Answer the bank's question for the cardholder; return the intent. Raises Refusal when nobody asked."""
        return self._from_outside(lambda call: authentication.answer(call, intent_id, approve=approve))

    def settle_refunds(self) -> list[JsonObject]:
        """Let the banks finish the refunds whose test card says that they end later; return them as they are then."""
        return self._from_outside(refunds.settle_all)

    def close_dispute(self, dispute_id: str, *, won: bool) -> JsonObject:
        """Let the bank decide a dispute for the merchant (won) or the cardholder. Raises Refusal (404, 400)."""
        return self._from_outside(lambda call: disputes.close(call, disputes.require(call, dispute_id), won=won))

    def _from_outside(self, happens: Callable[[Call], Happened]) -> Happened:
        """Let something happen that no request of the caller's causes, and have its webhooks delivered."""
        with self.store.transaction():
            result = happens(self._call(None))
        if self.after_request:
            self.after_request()
        return result

    def state(self) -> JsonObject:
        """Return counts of what there is, the clock, and the faults still to come."""
        rows = self.store.run(
            f"SELECT count(*) FILTER (WHERE {OPEN}), count(delivered_at), count(abandoned_at) FROM deliveries"
        )
        faults = [{"fault": fault.kind.value, "times": fault.times} for fault in self.faults.pending()]
        return {
            "objects": self.store.counts(),
            "webhooks": dict(zip(("pending", "delivered", "abandoned"), rows[0], strict=True)),
            "clock": {"now": self.clock.now(), "frozen": self.clock.frozen_at is not None},
            "faults": faults,
        }

    def _answer(self, request: Request, request_id: str) -> Response:
        caller = identify(request)
        _check_version(request.header("Stripe-Version"))
        account = acting_account(self._account, request.header("Stripe-Account"))
        fault = self.faults.take_for_request(request.method, request.path)
        if fault is FaultKind.TIMEOUT:
            raise ConnectionDropped
        refusal = refusal_for(fault)
        if refusal and not is_kept(fault):
            raise refusal
        call = self._call(request_id, account=account, caller=caller)
        response = self._process(request, call, fault)
        if fault is FaultKind.TIMEOUT_AFTER_COMMIT:
            raise ConnectionDropped
        return response

    def _process(self, request: Request, call: Call, fault: FaultKind | None) -> Response:
        """Execute the request once per idempotency key, with the fault that befalls it."""
        route, call.path = find_route(request.method, request.path)
        if call.from_browser and not route.browser:
            raise secret_key_required()
        given = decode(request.body if request.method == "POST" else request.query)
        attempt = _attempt(request, call, given)
        with self.store.transaction():
            first = idempotency.first_answer(self.store, attempt, now=call.now) if attempt else None
            if first:
                return first
            call.params = _checked(given, route, from_browser=call.from_browser)
            route.require_support(call.params, from_browser=call.from_browser)
            response = self._execute_or_fail(route, call, fault)
            if attempt:
                request_id = call.request_id or ""
                idempotency.keep_answer(self.store, attempt, response, request_id=request_id, now=call.now)
            return response

    def _execute_or_fail(self, route: Route, call: Call, fault: FaultKind | None) -> Response:
        """A fault's answer takes the place of the execution, or only of what it would have answered."""
        refusal = refusal_for(fault)
        if refusal is None:
            return self._execute(route, call)
        if fault is FaultKind.SERVER_ERROR_AFTER_COMMIT:
            self._execute(route, call)
        return _refused(refusal)

    def _execute(self, route: Route, call: Call) -> Response:
        """Run the handler. A refusal undoes its changes, except a card's decline: that attempt stays on record."""
        try:
            with self.store.transaction():
                try:
                    body = self._expander.expand(route.handle(call), call.value("expand") or [])
                except CardRefusal as declined:
                    return _answered(declined.status, declined.body(), call)
        except Refusal as refusal:
            return replace(_answered(refusal.status, refusal.body(), call), is_complaint=_complains(refusal))
        return _answered(200, body, call)

    def _call(self, request_id: str | None, *, account: str = "", caller: Caller | None = None) -> Call:
        return Call(
            store=self.store,
            faults=self.faults,
            now=self.clock.now(),
            wire_now=self.wire_clock.now(),
            account=account or self._account["id"],
            request_id=request_id,
            from_browser=caller is not None and caller.is_browser,
            public_url=self.public_url,
        )


def _attempt(request: Request, call: Call, given: JsonObject) -> idempotency.Attempt | None:
    key = request.header("Idempotency-Key")
    if request.method != "POST" or not key:
        return None
    call.idempotency_key = key
    return idempotency.Attempt.of(account=call.account, key=key, path=request.path, params=given)


def _checked(given: JsonObject, route: Route, *, from_browser: bool) -> JsonObject:
    if not from_browser:
        return check(given, route.params)
    return check(given, route.params, also=route.browser_params, nested=route.browser_types)


def _check_version(version: str | None) -> None:
    if version not in (None, API_VERSION):
        raise Refusal(f"Invalid Stripe API version: {version}. The sandbox speaks {API_VERSION} only.")


def _answered(status: int, body: JsonObject, call: Call) -> Response:
    return Response(status, as_json(for_browser(body) if call.from_browser else body))


def _refused(refusal: Refusal) -> Response:
    return Response(refusal.status, as_json(refusal.body()), is_complaint=_complains(refusal))


def _complains(refusal: Refusal) -> bool:
    return isinstance(refusal, Complaint)


def _clock_of(store: Store) -> Clock:
    frozen_at = store.setting("clock")
    return Clock(None if frozen_at is None else int(frozen_at))
