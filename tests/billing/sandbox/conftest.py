"""A sandbox in memory or behind a socket, the real stripe library in front of it, and a receiver of its webhooks."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPMessage
from urllib.parse import urlsplit

import pytest
import stripe

from billing.sandbox import Clock, Sandbox
from billing.sandbox.http_client import SandboxClient
from billing.sandbox.messages import Request, Response
from billing.sandbox.server import SandboxServer
from billing.sandbox.watching import watching

from .library_shapes import problems

SECRET_KEY = "sk_test_candela"
NOON = 1_790_000_000


@dataclass
class Receiver:
    """Takes webhooks like a customer's server: answers with the next of `answers`, then always 200."""

    answers: list[int | Exception] = field(default_factory=list)
    received: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list)

    def __call__(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        """Take one delivery."""
        self.received.append((url, body, headers))
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        return answer

    def types(self) -> list[str]:
        """Return the types of the events in the order of arrival."""
        return [stripe.Webhook.construct_event_without_verification(body).type for _, body, _ in self.received]


@pytest.fixture(autouse=True)
def answers_have_the_librarys_shapes() -> Iterator[None]:
    """Fail the test in which a sandbox answered something that the library's own classes do not have.

    Browsers, with their publishable keys, are shown a part of each object only.
    """
    found: list[str] = []

    def look(request: Request, response: Response) -> None:
        partly = "pk_test_" in (request.header("Authorization") or "")
        wrong = [one for one in problems(json.loads(response.body)) if not (partly and ": missing" in one)]
        found.extend(f"{request.method} {request.path}: {one}" for one in wrong)

    with watching(look):
        yield
    assert not found, "; ".join(found)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def clock() -> Clock:
    return Clock(frozen_at=NOON)


@pytest.fixture
def wire_clock() -> Clock:
    clock = Clock()
    clock.advance(0)
    return clock


@pytest.fixture
def sandbox(clock: Clock, wire_clock: Clock, receiver: Receiver) -> Iterator[Sandbox]:
    sandbox = Sandbox(clock=clock, wire_clock=wire_clock, send=receiver)
    yield sandbox
    sandbox.close()


@pytest.fixture
def stripe_api(sandbox: Sandbox) -> stripe.StripeClient:
    return client_of(sandbox)


@pytest.fixture
def customer(stripe_api: stripe.StripeClient) -> stripe.Customer:
    return stripe_api.v1.customers.create({"email": "ada@example.com", "name": "Ada"})


@pytest.fixture
def visa(stripe_api: stripe.StripeClient, customer: stripe.Customer) -> stripe.PaymentMethod:
    return stripe_api.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    sandbox = Sandbox()
    with SandboxServer(sandbox) as server:
        yield server
    sandbox.close()


@pytest.fixture
def remote(server: SandboxServer) -> stripe.StripeClient:
    return stripe.StripeClient(SECRET_KEY, base_addresses={"api": server.url}, max_network_retries=0)


def call(
    server: SandboxServer, method: str, path: str, body: str = "", headers: dict[str, str] | None = None
) -> tuple[int, HTTPMessage, str]:
    """Return status, headers and text of one plain HTTP request."""
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=10)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


def client_of(sandbox: Sandbox, key: str = SECRET_KEY) -> stripe.StripeClient:
    """Return the library's client for a sandbox; it never retries by itself."""
    return stripe.StripeClient(key, http_client=SandboxClient(sandbox), max_network_retries=0)


def event_types(stripe_api: stripe.StripeClient) -> list[str]:
    """Return the types of all events, oldest first."""
    return [event.type for event in stripe_api.v1.events.list({"limit": 100}).auto_paging_iter()][::-1]


def draft_of(stripe_api: stripe.StripeClient, customer: stripe.Customer, *amounts: int) -> stripe.Invoice:
    """Return a draft in US dollars with one item for each amount in cents."""
    draft = stripe_api.v1.invoices.create({"customer": customer.id, "currency": "usd"})
    for amount in amounts:
        stripe_api.v1.invoice_items.create({"customer": customer.id, "invoice": draft.id, "amount": amount})
    return stripe_api.v1.invoices.retrieve(draft.id)


def open_invoice(stripe_api: stripe.StripeClient, customer: stripe.Customer, *amounts: int) -> stripe.Invoice:
    """Return a finalized invoice in US dollars with one item for each amount in cents."""
    return stripe_api.v1.invoices.finalize_invoice(draft_of(stripe_api, customer, *amounts).id)
