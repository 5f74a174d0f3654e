"""Every request to Stripe in the whole suite is one that Stripe has: the sandbox's complaints fail the test.

A sandbox complains when a request has an unknown, missing or wrongly typed parameter, a word outside an enumeration, or
asks for something that the sandbox does not imitate. A test that sends such a request on purpose uses `wrong_requests`.
"""

import json
from collections.abc import Iterator

import pytest

from billing.sandbox.messages import Request, Response
from billing.sandbox.watching import watching


@pytest.fixture(scope="session")
def stripe_complaints() -> Iterator[list[str]]:
    """What the sandboxes of this process have complained about, and nobody has looked at yet."""
    heard: list[str] = []

    def listen(request: Request, response: Response) -> None:
        if response.is_complaint:
            heard.append(f"{request.method} {request.path}: {json.loads(response.body)['error']['message']}")

    with watching(listen):
        yield heard


@pytest.fixture(autouse=True)
def requests_to_stripe_are_right(stripe_complaints: list[str]) -> Iterator[None]:
    """Fail the test during which a sandbox complained about a request."""
    yield
    heard = stripe_complaints.copy()
    stripe_complaints.clear()
    assert not heard, "Stripe has no such requests: " + "; ".join(heard)


@pytest.fixture
def wrong_requests(requests_to_stripe_are_right: None, stripe_complaints: list[str]) -> Iterator[list[str]]:
    """Allow the test to send wrong requests. It must send one; the list says what the sandboxes complained about."""
    yield stripe_complaints
    heard = stripe_complaints.copy()
    stripe_complaints.clear()
    assert heard, "The test uses `wrong_requests`, but the sandbox took every request."
