"""The sandbox behind the stripe library, in this process: what billing does to Stripe is seen by looking there."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
import stripe
from django.db import connection
from django.test import Client

from billing import gateway
from billing.jobs import BOOK_SWEEPS, MAIL_SWEEPS, STRIPE_SWEEPS
from billing.models import PaymentMethod
from billing.sandbox import Clock, FaultKind, Sandbox
from billing.sandbox.http_client import Answer, SandboxClient
from billing.services.collect import record_payment_method
from billing.services.send import customer_to_send, record_stripe_customer
from plans.models import Customer
from tests.factories import START

SECRET_KEY = "sk_test_CandelaTests0123456789abc"
NOON = 1_790_000_000
STRIPE_ID = re.compile(r"/(cus|in|ii|pm|we|evt|pi|ch|seti)_\w+")


class Killed(BaseException):
    """The process is gone, as by SIGKILL: nothing that catches exceptions catches this."""


class Wire(SandboxClient):
    """The way to the sandbox. It lists the calls that were made, and can go wrong at one of a sequence.

    A call is what the library is asked to do, such as `POST /v1/invoices/…/finalize`, its own retries included.
    """

    Killed: ClassVar[type[BaseException]] = Killed

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(sandbox)
        self.calls: list[str] = []
        self.calls_outside_transactions: list[str] = []
        self._fault: tuple[int, FaultKind] | None = None
        self._death: tuple[int, str] | None = None
        self._meanwhile: tuple[int, Callable[[], object]] | None = None

    def break_at(self, position: int, kind: FaultKind) -> None:
        """Let the call at this position, from 0 and counted from now on, go wrong for good."""
        self.heal()
        self._fault = (position, kind)

    def kill_at(self, position: int, moment: str) -> None:
        """Kill the caller `before` the call at this position reaches Stripe, or `after` it did."""
        self.heal()
        self._death = (position, moment)

    def meanwhile_at(self, position: int, act: Callable[[], object]) -> None:
        """Let something happen before the call at this position, beside a fault or a death that was ordered already."""
        self._meanwhile = position, act

    def heal(self) -> None:
        """Work again, and count calls anew."""
        self.calls.clear()
        self._fault = self._death = self._meanwhile = None

    def request_with_retries(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        post_data: Any = None,
        max_network_retries: int | None = None,
        *,
        _usage: list[str] | None = None,
    ) -> Answer:
        """Make a call, or let it go wrong."""
        path = urlsplit(url).path
        position = len(self.calls)
        self.calls.append(f"{method.upper()} {STRIPE_ID.sub('/…', path)}")
        if not connection.in_atomic_block:
            self.calls_outside_transactions.append(self.calls[-1])
        if self._meanwhile and self._meanwhile[0] == position:
            (_, act), self._meanwhile = self._meanwhile, None
            act()
        if self._death == (position, "before"):
            raise Killed
        ordered = self._fault and self._fault[0] == position and self._fault[1]
        fault = self.sandbox.faults.add(ordered, times=1 + gateway.NETWORK_RETRIES) if ordered else None
        try:
            answer = super().request_with_retries(method, url, headers, post_data, max_network_retries, _usage=_usage)
        finally:
            if fault:
                self.sandbox.faults.cancel(fault)
        if self._death == (position, "after"):
            raise Killed
        return answer


def post_to_django(url: str, body: bytes, headers: dict[str, str]) -> int:
    """Deliver a webhook of the sandbox to our own door."""
    signature = headers["Stripe-Signature"]
    answer = Client().post(
        urlsplit(url).path, body, content_type="application/json", headers={"Stripe-Signature": signature}
    )
    return answer.status_code


@pytest.fixture
def stripe_sandbox(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox in memory that the stripe library talks to. Its clock stands still; its webhooks come to our door."""
    sandbox = Sandbox(clock=Clock(frozen_at=NOON), send=post_to_django)
    settings.STRIPE_SECRET_KEY = SECRET_KEY
    monkeypatch.setattr(stripe, "default_http_client", Wire(sandbox))
    # The gateway sets these two for the whole process.
    monkeypatch.setattr(stripe, "api_base", stripe.api_base)
    monkeypatch.setattr(stripe, "max_network_retries", stripe.max_network_retries)
    yield sandbox
    sandbox.close()


@pytest.fixture
def wire(stripe_sandbox: Sandbox) -> Wire:
    """The way to the sandbox."""
    assert isinstance(stripe.default_http_client, Wire)
    return stripe.default_http_client


@pytest.fixture
def at_stripe(stripe_sandbox: Sandbox) -> stripe.StripeClient:
    """A look at Stripe from outside, which no fault befalls and no list of calls shows."""
    return stripe.StripeClient(SECRET_KEY, http_client=SandboxClient(stripe_sandbox))


@pytest.fixture
def give_card(stripe_sandbox: Sandbox) -> Callable[..., PaymentMethod]:
    """Attach a test card to a customer at Stripe and with us, as its default."""

    def give(customer: Customer, token: str = "pm_card_visa", *, at: datetime = START) -> PaymentMethod:
        stripe_id = gateway.ensure_customer(customer_to_send(customer))
        record_stripe_customer(customer=customer.public_id, stripe_id=stripe_id)
        customer.refresh_from_db()
        card = gateway.attach_payment_method(stripe_customer=stripe_id, payment_method=token)
        return record_payment_method(customer=customer, card=card, at=at)

    return give


@pytest.fixture
def run_sweeps() -> Callable[[datetime], None]:
    """Run every sweep as of an instant, until there is nothing left to close or finalize."""

    def run(at: datetime) -> None:
        while sum(sweep(at).done for sweep in BOOK_SWEEPS.values()):
            pass
        for sweep in (STRIPE_SWEEPS | MAIL_SWEEPS).values():
            sweep(at)

    return run
