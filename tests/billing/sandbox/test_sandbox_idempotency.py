"""One key, one effect, one answer."""

import pytest
import stripe

from .conftest import open_invoice


def once(key):
    return {"idempotency_key": key}


def test_replays_the_first_answer_for_the_same_idempotency_key(stripe_api):
    first = stripe_api.v1.customers.create({"name": "Ada"}, once("k1"))
    second = stripe_api.v1.customers.create({"name": "Ada"}, once("k1"))

    assert second.last_response.body == first.last_response.body
    assert second.last_response.headers["Idempotent-Replayed"] == "true"
    assert second.last_response.headers["Original-Request"] == first.last_response.request_id
    assert "Idempotent-Replayed" not in first.last_response.headers
    assert len(stripe_api.v1.customers.list().data) == 1


def test_refuses_the_same_key_with_other_parameters(stripe_api):
    stripe_api.v1.customers.create({"name": "Ada"}, once("k1"))

    with pytest.raises(stripe.IdempotencyError) as refusal:
        stripe_api.v1.customers.create({"name": "Bob"}, once("k1"))
    assert refusal.value.http_status == 400
    assert refusal.value.error.type == "idempotency_error"


def test_refuses_the_same_key_on_another_path(stripe_api, customer):
    stripe_api.v1.customers.create({"name": "Ada"}, once("k1"))

    with pytest.raises(stripe.IdempotencyError, match="same endpoint"):
        stripe_api.v1.customers.update(customer.id, {"name": "Ada"}, once("k1"))


def test_replays_a_card_error(stripe_api, customer):
    card = stripe_api.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer.id})
    invoice = open_invoice(stripe_api, customer, 500)
    bodies = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as refusal:
            stripe_api.v1.invoices.pay(invoice.id, {"payment_method": card.id}, once("k1"))
        bodies.append(refusal.value.http_body)

    assert bodies[0] == bodies[1]
    assert stripe_api.v1.invoices.retrieve(invoice.id).attempt_count == 1


def test_does_not_keep_an_answer_to_wrong_parameters(stripe_api, wrong_requests):
    with pytest.raises(stripe.InvalidRequestError):
        stripe_api.raw_request("post", "/v1/customers", emial="x", idempotency_key="k1")

    assert stripe_api.v1.customers.create({"name": "Ada"}, once("k1")).name == "Ada"


def test_does_not_keep_a_server_error_from_before_the_work(stripe_api, sandbox):
    sandbox.faults.add("500", method="POST", path="/v1/customers")
    with pytest.raises(stripe.APIError) as refusal:
        stripe_api.v1.customers.create({"name": "Ada"}, once("k1"))
    assert refusal.value.http_status == 500

    made = stripe_api.v1.customers.create({"name": "Ada"}, once("k1"))

    assert "Idempotent-Replayed" not in made.last_response.headers


def test_forgets_a_key_after_a_day(stripe_api, clock):
    stripe_api.v1.customers.create({"name": "Ada"}, once("k1"))
    clock.advance(86_400)

    assert stripe_api.v1.customers.create({"name": "Bob"}, once("k1")).name == "Bob"


def test_names_the_key_in_the_event(stripe_api):
    stripe_api.v1.customers.create({}, once("k1"))

    assert stripe_api.v1.events.list().data[0]["request"].idempotency_key == "k1"
