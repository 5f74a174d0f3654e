"""Holds: money authorized on a card first, captured or released later."""

import pytest
import stripe

from .conftest import client_of, event_types

HELD = {
    "amount": 2_900,
    "currency": "usd",
    "capture_method": "manual",
    "setup_future_usage": "off_session",
    "payment_method_types": ["card"],
}


@pytest.fixture
def hold(stripe_api, customer):
    """Return a function that makes a confirmed intent for 2,900 cents on a card given by its test token."""

    def make(token="pm_card_visa", **more):
        intent = stripe_api.v1.payment_intents.create({**HELD, "customer": customer.id, **more})
        return stripe_api.v1.payment_intents.confirm(intent.id, {"payment_method": token})

    return make


def charge_of(stripe_api, intent):
    return stripe_api.v1.charges.retrieve(stripe_api.v1.payment_intents.retrieve(intent.id).latest_charge)


def test_confirming_holds_the_amount_and_takes_nothing(stripe_api, hold):
    held = hold()

    assert (held.status, held.amount_capturable, held.amount_received) == ("requires_capture", 2_900, 0)
    charge = charge_of(stripe_api, held)
    assert (charge.status, charge.paid, charge.captured, charge.amount_captured) == ("succeeded", True, False, 0)
    assert charge.balance_transaction is None


def test_a_hold_keeps_the_card_for_later_and_says_what_can_be_captured(stripe_api, customer, hold):
    held = hold()

    assert stripe_api.v1.payment_methods.retrieve(held.payment_method).customer == customer.id
    assert event_types(stripe_api)[-4:] == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_method.attached",
        "payment_intent.amount_capturable_updated",
    ]


def test_captures_the_whole_hold(stripe_api, hold):
    captured = stripe_api.v1.payment_intents.capture(hold().id, {"metadata": {"subscription": "sub_1"}})

    assert (captured.status, captured.amount_received, captured.amount_capturable) == ("succeeded", 2_900, 0)
    assert captured.metadata["subscription"] == "sub_1"
    charge = charge_of(stripe_api, captured)
    assert (charge.captured, charge.amount_captured, charge.amount_refunded) == (True, 2_900, 0)
    assert stripe_api.v1.balance_transactions.retrieve(charge.balance_transaction).net == 2_900
    assert event_types(stripe_api)[-2:] == ["charge.captured", "payment_intent.succeeded"]


def test_captures_a_part_and_releases_the_rest(stripe_api, hold):
    captured = stripe_api.v1.payment_intents.capture(hold().id, {"amount_to_capture": 1_450})

    assert (captured.amount, captured.amount_received, captured.amount_capturable) == (2_900, 1_450, 0)
    charge = charge_of(stripe_api, captured)
    assert (charge.amount_captured, charge.amount_refunded, charge.refunded) == (1_450, 1_450, False)
    assert stripe_api.v1.balance_transactions.retrieve(charge.balance_transaction).amount == 1_450


@pytest.mark.parametrize(("amount", "code"), [(2_901, "amount_too_large"), (0, "parameter_invalid_integer")])
def test_captures_no_more_than_is_held_and_not_nothing(stripe_api, hold, amount, code):
    held = hold()

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        stripe_api.v1.payment_intents.capture(held.id, {"amount_to_capture": amount})

    assert (refusal.value.code, refusal.value.param) == (code, "amount_to_capture")
    assert stripe_api.v1.payment_intents.retrieve(held.id).status == "requires_capture"


def test_captures_once(stripe_api, hold):
    held = hold()
    stripe_api.v1.payment_intents.capture(held.id, {"amount_to_capture": 1_000})

    with pytest.raises(stripe.InvalidRequestError, match="already been captured") as refusal:
        stripe_api.v1.payment_intents.capture(held.id)

    assert refusal.value.code == "payment_intent_unexpected_state"
    assert refusal.value.error.payment_intent["id"] == held.id
    assert charge_of(stripe_api, held).amount_captured == 1_000


def test_captures_nothing_that_is_not_held(stripe_api):
    intent = stripe_api.v1.payment_intents.create(HELD)

    with pytest.raises(stripe.InvalidRequestError, match="status of requires_payment_method") as refusal:
        stripe_api.v1.payment_intents.capture(intent.id)
    assert refusal.value.code == "payment_intent_unexpected_state"


def test_releases_a_hold_that_is_canceled(stripe_api, hold):
    held = hold()

    canceled = stripe_api.v1.payment_intents.cancel(held.id, {"cancellation_reason": "abandoned"})

    assert (canceled.status, canceled.amount_capturable, canceled.amount_received) == ("canceled", 0, 0)
    charge = charge_of(stripe_api, held)
    assert (charge.captured, charge.refunded, charge.amount_refunded) == (False, True, 2_900)
    assert event_types(stripe_api)[-2:] == ["charge.refunded", "payment_intent.canceled"]
    with pytest.raises(stripe.InvalidRequestError, match="status of canceled"):
        stripe_api.v1.payment_intents.capture(held.id)


def test_refuses_to_confirm_what_is_held_already(stripe_api, hold):
    held = hold()

    with pytest.raises(stripe.InvalidRequestError, match="status of requires_capture") as refusal:
        stripe_api.v1.payment_intents.confirm(held.id, {"payment_method": "pm_card_visa"})

    assert refusal.value.code == "payment_intent_unexpected_state"
    assert len(stripe_api.v1.charges.list().data) == 1


def test_holds_after_the_cardholder_has_approved(stripe_api, sandbox, customer, hold):
    waiting = hold("pm_card_authenticationRequiredOnSetup")
    assert (waiting.status, waiting.amount_capturable) == ("requires_action", 0)

    sandbox.authenticate(waiting.id, approve=True)

    held = stripe_api.v1.payment_intents.retrieve(waiting.id, {"expand": ["payment_method", "latest_charge"]})
    assert (held.status, held.amount_capturable) == ("requires_capture", 2_900)
    assert (held.payment_method.customer, held.latest_charge.captured) == (customer.id, False)


def test_holds_nothing_when_the_cardholder_refuses(stripe_api, sandbox, hold):
    waiting = hold("pm_card_authenticationRequired")

    sandbox.authenticate(waiting.id, approve=False)

    after = stripe_api.v1.payment_intents.retrieve(waiting.id)
    assert (after.status, after.amount_capturable, after.latest_charge) == ("requires_payment_method", 0, None)


def test_a_declined_intent_takes_another_card(stripe_api, customer, hold):
    with pytest.raises(stripe.CardError) as refusal:
        hold("pm_card_visa_chargeDeclined")
    intent = refusal.value.error.payment_intent
    assert intent["status"] == "requires_payment_method"

    held = stripe_api.v1.payment_intents.confirm(intent["id"], {"payment_method": "pm_card_visa"})

    assert (held.status, held.last_payment_error) == ("requires_capture", None)


@pytest.mark.parametrize("method", ["automatic", "automatic_async"])
def test_takes_the_money_at_once_unless_capture_is_manual(stripe_api, hold, method):
    paid = hold(capture_method=method)

    assert (paid.status, paid.amount_received, paid.capture_method) == ("succeeded", 2_900, method)
    assert charge_of(stripe_api, paid).captured is True


def test_a_browser_holds_an_amount_on_a_card_that_it_describes(stripe_api, sandbox, customer):
    intent = stripe_api.v1.payment_intents.create({**HELD, "customer": customer.id})

    confirm_in_browser(sandbox, intent, "4242 4242 4242 4242")

    held = stripe_api.v1.payment_intents.retrieve(intent.id, {"expand": ["payment_method"]})
    assert (held.status, held.payment_method.card.last4) == ("requires_capture", "4242")
    assert (held.payment_method.billing_details.name, held.payment_method.customer) == ("Ada", customer.id)


def test_a_browser_saves_a_card_that_it_describes(stripe_api, sandbox, customer):
    intent = stripe_api.v1.setup_intents.create(
        {"customer": customer.id, "usage": "off_session", "payment_method_types": ["card"], "metadata": {"a": "b"}}
    )

    confirm_in_browser(sandbox, intent, "4242424242424242")

    saved = stripe_api.v1.setup_intents.retrieve(intent.id, {"expand": ["payment_method"]})
    assert (saved.status, saved.payment_method.customer) == ("succeeded", customer.id)


@pytest.mark.parametrize("number", ["4000000000000002", "4000000000009995"])
def test_a_declined_card_saves_nothing(stripe_api, sandbox, customer, number):
    intent = stripe_api.v1.setup_intents.create({"customer": customer.id})

    with pytest.raises(stripe.CardError) as refusal:
        confirm_in_browser(sandbox, intent, number)

    assert refusal.value.error.setup_intent["status"] == "requires_payment_method"
    assert stripe_api.v1.payment_methods.list({"customer": customer.id}).data == []


def test_a_server_may_not_send_card_numbers(stripe_api, wrong_requests):
    intent = stripe_api.v1.payment_intents.create(HELD)

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        confirm(stripe_api, intent, "4242424242424242")
    assert refusal.value.param.startswith("payment_method_data")


def test_refuses_by_name_a_payment_method_that_a_server_describes(stripe_api, wrong_requests):
    intent = stripe_api.v1.payment_intents.create(HELD)

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        stripe_api.v1.payment_intents.confirm(intent.id, {"payment_method_data": {"type": "klarna"}})
    assert (refusal.value.code, refusal.value.param) == ("sandbox_unsupported", "payment_method_data")


def test_a_browser_may_not_capture(stripe_api, sandbox, hold):
    with pytest.raises(stripe.AuthenticationError):
        client_of(sandbox, "pk_test_candela").v1.payment_intents.capture(hold().id)


def test_expands_the_card_and_the_charge_of_a_payment(stripe_api, hold):
    held = stripe_api.v1.payment_intents.retrieve(hold().id, {"expand": ["payment_method", "latest_charge"]})

    assert (held.payment_method.card.brand, held.latest_charge.amount) == ("visa", 2_900)


def test_a_way_back_is_a_web_address(stripe_api):
    intent = stripe_api.v1.payment_intents.create(HELD)

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        stripe_api.v1.payment_intents.confirm(
            intent.id, {"payment_method": "pm_card_authenticationRequired", "return_url": "javascript:alert(1)"}
        )
    assert (refusal.value.code, refusal.value.param) == ("url_invalid", "return_url")


def confirm(api, intent, number, **more):
    """Confirm with the card that its holder has typed."""
    kind = f"{intent.object}s"
    card = {"number": number, "exp_month": 12, "exp_year": 2040, "cvc": "123"}
    data = {"type": "card", "card": card, "billing_details": {"name": "Ada"}}
    return api.raw_request("post", f"/v1/{kind}/{intent.id}/confirm", payment_method_data=data, **more)


def confirm_in_browser(sandbox, intent, number):
    """Confirm as Stripe.js does: with a publishable key and the intent's secret."""
    return confirm(client_of(sandbox, "pk_test_candela"), intent, number, client_secret=intent.client_secret)
