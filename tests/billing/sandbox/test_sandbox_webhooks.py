"""Webhooks: signed, retried, and going wrong on order."""

import json

import pytest
import stripe
import time_machine

from .conftest import event_types

URL = "http://127.0.0.1:9/hook"


@pytest.fixture
def endpoint(stripe_api):
    return stripe_api.v1.webhook_endpoints.create({"url": URL, "enabled_events": ["*"]})


def test_signs_what_it_delivers(stripe_api, sandbox, receiver, endpoint):
    customer = stripe_api.v1.customers.create({"name": "Zoë"})

    assert sandbox.deliver_pending() == 1

    url, body, headers = receiver.received[0]
    event = stripe.Webhook.construct_event(body, headers["Stripe-Signature"], endpoint.secret)
    assert (url, event.type, event.data.object["id"]) == (URL, "customer.created", customer.id)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body + b" ", headers["Stripe-Signature"], endpoint.secret)


def test_delivers_the_event_as_the_api_shows_it(stripe_api, sandbox, receiver, endpoint):
    stripe_api.v1.customers.create({})
    sandbox.deliver_pending()

    delivered = stripe.Webhook.construct_event_without_verification(receiver.received[0][1])
    retrieved = stripe_api.v1.events.retrieve(delivered.id)

    assert retrieved.data == delivered.data
    assert (delivered.pending_webhooks, retrieved.pending_webhooks) == (1, 0)


def test_shows_the_signing_secret_once(stripe_api, endpoint):
    assert endpoint.secret.startswith("whsec_")
    assert "secret" not in stripe_api.v1.webhook_endpoints.retrieve(endpoint.id)
    assert "secret" not in stripe_api.v1.webhook_endpoints.list().data[0]


def test_delivers_only_the_types_an_endpoint_wants(stripe_api, sandbox, receiver):
    stripe_api.v1.webhook_endpoints.create({"url": URL, "enabled_events": ["payment_method.attached"]})
    customer = stripe_api.v1.customers.create({})
    stripe_api.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})

    sandbox.deliver_pending()

    assert receiver.types() == ["payment_method.attached"]


def test_delivers_nothing_to_a_disabled_or_deleted_endpoint(stripe_api, sandbox, receiver, endpoint):
    other = stripe_api.v1.webhook_endpoints.create({"url": URL, "enabled_events": ["*"]})
    stripe_api.v1.webhook_endpoints.update(endpoint.id, {"disabled": True})
    stripe_api.v1.customers.create({})
    stripe_api.v1.webhook_endpoints.delete(other.id)

    sandbox.deliver_pending()

    assert receiver.received == []
    assert sandbox.state()["webhooks"] == {"pending": 0, "delivered": 0, "abandoned": 1}


@pytest.mark.parametrize("failure", [500, 301, ConnectionError("refused")])
def test_a_failing_receiver_gets_it_again_after_a_while(stripe_api, sandbox, receiver, wire_clock, endpoint, failure):
    receiver.answers = [failure]
    stripe_api.v1.customers.create({})

    assert sandbox.deliver_pending() == 1
    assert sandbox.deliver_pending() == 0
    wire_clock.advance(10)
    assert sandbox.deliver_pending() == 1
    assert receiver.types() == ["customer.created"] * 2
    assert stripe_api.v1.events.list().data[0].pending_webhooks == 0


def test_gives_up_after_five_attempts(stripe_api, sandbox, receiver, wire_clock, endpoint):
    receiver.answers = [500] * 9
    stripe_api.v1.customers.create({})

    for _ in range(9):
        sandbox.deliver_pending()
        wire_clock.advance(3_600)

    assert len(receiver.received) == 5
    assert sandbox.state()["webhooks"] == {"pending": 0, "delivered": 0, "abandoned": 1}


def test_a_failing_receiver_never_fails_the_request(stripe_api, sandbox, receiver, endpoint):
    receiver.answers = [RuntimeError("bug in the receiver")]

    assert stripe_api.v1.customers.create({}).id.startswith("cus_")
    sandbox.deliver_pending()
    assert event_types(stripe_api) == ["customer.created"]


def test_a_receiver_may_call_the_api_and_cause_more_webhooks(stripe_api, sandbox, receiver, endpoint):
    def answer(url, body, headers):
        if receiver(url, body, headers) and receiver.types() == ["customer.created"]:
            stripe_api.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
        return 200

    customer = stripe_api.v1.customers.create({})
    sandbox.courier._send = answer

    assert sandbox.deliver_pending() == 2
    assert receiver.types() == ["customer.created", "payment_method.attached"]


def test_delivers_a_webhook_twice_on_order(stripe_api, sandbox, receiver, endpoint):
    sandbox.faults.add("webhook_duplicate", event_type="customer.")
    stripe_api.v1.customers.create({})
    sandbox.deliver_pending()

    first, second = (body for _, body, _ in receiver.received)
    assert stripe.Webhook.construct_event_without_verification(first).id in second.decode()


def test_loses_a_webhook_on_order_but_not_its_event(stripe_api, sandbox, receiver, endpoint):
    sandbox.faults.add("webhook_lost")
    stripe_api.v1.customers.create({})

    assert sandbox.deliver_pending() == 0
    assert event_types(stripe_api) == ["customer.created"]


def test_delivers_a_webhook_after_its_successor_on_order(stripe_api, sandbox, receiver, endpoint):
    sandbox.faults.add("webhook_reordered", event_type="customer.created")
    customer = stripe_api.v1.customers.create({})
    assert sandbox.deliver_pending() == 0

    stripe_api.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    sandbox.deliver_pending()

    assert receiver.types() == ["payment_method.attached", "customer.created"]


def test_holds_a_reordered_webhook_for_half_a_minute_at_most(stripe_api, sandbox, receiver, wire_clock, endpoint):
    sandbox.faults.add("webhook_reordered")
    stripe_api.v1.customers.create({})
    wire_clock.advance(30)

    assert sandbox.deliver_pending() == 1


def test_delivers_a_late_webhook_after_two_days(stripe_api, sandbox, receiver, wire_clock, endpoint):
    sandbox.faults.add("webhook_late")
    stripe_api.v1.customers.create({})
    assert sandbox.deliver_pending() == 0

    wire_clock.advance(2 * 86_400)

    assert sandbox.deliver_pending() == 1


@pytest.mark.parametrize("fault", ["webhook_stale", "webhook_forged"])
def test_what_is_replayed_or_forged_fails_the_check_of_its_signature(
    stripe_api, sandbox, receiver, wire_clock, endpoint, fault
):
    sandbox.faults.add(fault)
    stripe_api.v1.customers.create({})
    receiver.answers = [400, 200]

    assert sandbox.deliver_pending() == 2

    (_, wrong, signed_wrong), (_, right, signed_right) = receiver.received
    with pytest.raises(stripe.SignatureVerificationError):
        check_signature(wrong, signed_wrong, endpoint, wire_clock)
    check_signature(right, signed_right, endpoint, wire_clock)
    wire_clock.advance(3_600)
    assert sandbox.deliver_pending() == 0
    assert stripe_api.v1.events.list().data[0].pending_webhooks == 0


def check_signature(body, headers, endpoint, wire_clock):
    with time_machine.travel(wire_clock.now(), tick=False):
        stripe.Webhook.construct_event(body, headers["Stripe-Signature"], endpoint.secret)


def test_tells_of_an_object_that_does_not_exist_on_order(stripe_api, sandbox, receiver, endpoint):
    sandbox.faults.add("webhook_unknown")
    customer = stripe_api.v1.customers.create({"metadata": {"candela_customer": "cus_ada"}})

    sandbox.deliver_pending()

    unknown, right = (json.loads(body) for _, body, _ in receiver.received)
    assert unknown["id"] != right["id"]
    assert unknown["data"]["object"]["metadata"] == {"candela_customer": "unknown"}
    assert right["data"]["object"]["id"] == customer.id
    with pytest.raises(stripe.InvalidRequestError, match="No such"):
        stripe_api.v1.customers.retrieve(unknown["data"]["object"]["id"])


def test_refuses_an_endpoint_that_is_no_web_address(stripe_api):
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        stripe_api.v1.webhook_endpoints.create({"url": "file:///etc/passwd", "enabled_events": ["*"]})
    assert refusal.value.code == "url_invalid"
