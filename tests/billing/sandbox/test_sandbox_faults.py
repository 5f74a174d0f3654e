"""Faults on order."""

import pytest
import stripe

from billing.sandbox import FaultKind
from billing.sandbox.http_client import SandboxClient

from .conftest import SECRET_KEY


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("402", stripe.CardError),
        ("409", stripe.APIError),
        ("429", stripe.RateLimitError),
        ("500", stripe.APIError),
        ("timeout", stripe.APIConnectionError),
    ],
)
def test_the_next_matching_request_fails_and_does_nothing(stripe_api, sandbox, fault, error):
    sandbox.faults.add(fault, method="POST", path="/v1/customers")

    assert stripe_api.v1.customers.list().data == []
    with pytest.raises(error):
        stripe_api.v1.customers.create({})
    assert stripe_api.v1.customers.list().data == []
    assert stripe_api.v1.customers.create({}).id.startswith("cus_")


def test_a_fault_happens_as_often_as_ordered(stripe_api, sandbox):
    sandbox.faults.add(FaultKind.TOO_MANY_REQUESTS, times=2)

    for _ in range(2):
        with pytest.raises(stripe.RateLimitError):
            stripe_api.v1.customers.list()
    assert stripe_api.v1.customers.list().data == []


def test_a_time_out_after_commit_and_a_retry_with_the_same_key_make_one_invoice(stripe_api, sandbox, customer):
    order = {"customer": customer.id, "metadata": {"invoice": "inv_1"}}
    sandbox.faults.add("timeout_after_commit", method="POST", path="/v1/invoices")
    with pytest.raises(stripe.APIConnectionError):
        stripe_api.v1.invoices.create(order, {"idempotency_key": "k1"})

    retried = stripe_api.v1.invoices.create(order, {"idempotency_key": "k1"})

    assert retried.last_response.headers["Idempotent-Replayed"] == "true"
    assert [one.id for one in stripe_api.v1.invoices.list()] == [retried.id]


def test_the_librarys_own_retries_survive_a_time_out_without_a_double(sandbox):
    patient = stripe.StripeClient(SECRET_KEY, http_client=SandboxClient(sandbox), max_network_retries=2)
    sandbox.faults.add("timeout_after_commit", method="POST")
    sandbox.faults.add("500", method="POST")

    made = patient.v1.customers.create({"name": "Ada"})

    assert [one.id for one in patient.v1.customers.list()] == [made.id]


def test_refuses_a_fault_that_it_does_not_know(sandbox):
    with pytest.raises(ValueError, match="teapot"):
        sandbox.faults.add("teapot")


def test_cancels_what_was_ordered(stripe_api, sandbox):
    sandbox.faults.add("500")
    sandbox.faults.clear()

    assert stripe_api.v1.customers.list().data == []


@pytest.mark.parametrize(
    ("fault", "code", "reason"),
    [
        ("402", "card_declined", "generic_decline"),
        ("402_insufficient_funds", "card_declined", "insufficient_funds"),
        ("402_expired_card", "expired_card", None),
        ("402_authentication_required", "authentication_required", "authentication_required"),
    ],
)
def test_a_card_is_refused_for_the_ordered_reason(stripe_api, sandbox, fault, code, reason):
    sandbox.faults.add(fault, method="POST")

    with pytest.raises(stripe.CardError) as refusal:
        stripe_api.v1.customers.create({})

    assert (refusal.value.code, refusal.value.error.decline_code) == (code, reason)


@pytest.mark.parametrize(("fault", "made"), [("500_kept", 0), ("500_after_commit", 1)])
def test_a_failure_that_is_kept_is_the_answer_for_its_key_for_a_day(stripe_api, sandbox, clock, fault, made):
    sandbox.faults.add(fault, method="POST")

    for _ in range(2):
        with pytest.raises(stripe.APIError):
            stripe_api.v1.customers.create({}, {"idempotency_key": "k1"})
        assert len(stripe_api.v1.customers.list().data) == made
    clock.advance(86_400)
    stripe_api.v1.customers.create({}, {"idempotency_key": "k1"})

    assert len(stripe_api.v1.customers.list().data) == made + 1
