"""Payment intents and charges, by test card."""

import pytest
import stripe

from .conftest import client_of, event_types

DIRECT = {
    "currency": "usd",
    "confirm": True,
    "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
}


def numbered(stripe_api, number, **card):
    given = {"number": number, "exp_month": 12, "exp_year": 2040, "cvc": "123", **card}
    return stripe_api.v1.payment_methods.create({"type": "card", "card": given})


@pytest.mark.parametrize("token", ["pm_card_visa", "pm_card_mastercard"])
def test_charges_a_good_test_card_at_once(stripe_api, token):
    intent = stripe_api.v1.payment_intents.create({**DIRECT, "amount": 2_000, "payment_method": token})

    assert (intent.status, intent.amount_received) == ("succeeded", 2_000)
    charge = stripe_api.v1.charges.retrieve(intent.latest_charge, {"expand": ["balance_transaction"]})
    assert (charge.paid, charge.status) == (True, "succeeded")
    assert charge.balance_transaction.net == 2_000


@pytest.mark.parametrize(
    ("token", "code", "reason"),
    [
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", None),
        ("pm_card_chargeCustomerFail", "card_declined", "generic_decline"),
    ],
)
def test_declines_a_bad_test_card_with_its_reason(stripe_api, token, code, reason):
    with pytest.raises(stripe.CardError) as refusal:
        stripe_api.v1.payment_intents.create({**DIRECT, "amount": 2_000, "payment_method": token})

    error = refusal.value.json_body["error"]
    assert (error["code"], error.get("decline_code"), error["type"]) == (code, reason, "card_error")
    assert error["payment_intent"]["status"] == "requires_payment_method"
    assert event_types(stripe_api)[-2:] == ["charge.failed", "payment_intent.payment_failed"]


@pytest.mark.parametrize(
    ("number", "reason"), [("4000000000000002", "generic_decline"), ("4000000000009995", "insufficient_funds")]
)
def test_a_declining_number_cannot_be_attached_to_a_customer(stripe_api, customer, number, reason):
    card = numbered(stripe_api, number)

    with pytest.raises(stripe.CardError) as refusal:
        stripe_api.v1.payment_methods.attach(card.id, {"customer": customer.id})

    assert refusal.value.error.decline_code == reason
    assert stripe_api.v1.payment_methods.retrieve(card.id).customer is None


def test_number_0341_attaches_but_fails_on_charge(stripe_api, customer):
    card = numbered(stripe_api, "4000000000000341")
    stripe_api.v1.payment_methods.attach(card.id, {"customer": customer.id})

    with pytest.raises(stripe.CardError):
        stripe_api.v1.payment_intents.create(
            {**DIRECT, "amount": 2_000, "customer": customer.id, "payment_method": card.id, "off_session": True}
        )


def test_number_3155_is_declined_off_session_until_its_holder_has_set_it_up(stripe_api, sandbox, customer):
    card = numbered(stripe_api, "4000002500003155")
    stripe_api.v1.payment_methods.attach(card.id, {"customer": customer.id})
    charge = {**DIRECT, "amount": 900, "customer": customer.id, "payment_method": card.id, "off_session": True}

    with pytest.raises(stripe.CardError) as refusal:
        stripe_api.v1.payment_intents.create(charge)
    assert refusal.value.error.decline_code == "authentication_required"

    setup = stripe_api.v1.setup_intents.create({"customer": customer.id, "payment_method": card.id, "confirm": True})
    assert setup.status == "requires_action"
    sandbox.authenticate(setup.id, approve=True)
    assert stripe_api.v1.setup_intents.retrieve(setup.id).status == "succeeded"
    assert stripe_api.v1.payment_intents.create(charge).status == "succeeded"


def test_waits_for_the_cardholder_on_session(stripe_api, sandbox):
    waiting = stripe_api.v1.payment_intents.create(
        {**DIRECT, "amount": 900, "payment_method": "pm_card_authenticationRequired", "return_url": "http://127.0.0.1/"}
    )
    assert waiting.status == "requires_action"
    assert waiting.next_action.redirect_to_url.return_url == "http://127.0.0.1/"

    sandbox.authenticate(waiting.id, approve=True)

    assert stripe_api.v1.payment_intents.retrieve(waiting.id).status == "succeeded"


def test_a_cardholder_who_fails_to_authenticate_pays_nothing(stripe_api, sandbox):
    waiting = stripe_api.v1.payment_intents.create(
        {**DIRECT, "amount": 900, "payment_method": "pm_card_authenticationRequired"}
    )

    sandbox.authenticate(waiting.id, approve=False)

    after = stripe_api.v1.payment_intents.retrieve(waiting.id)
    assert (after.status, after.last_payment_error.code) == (
        "requires_payment_method",
        "payment_intent_authentication_failure",
    )


def test_confirms_in_a_second_step(stripe_api):
    intent = stripe_api.v1.payment_intents.create({"amount": 900, "currency": "eur", "payment_method_types": ["card"]})
    assert intent.status == "requires_payment_method"

    assert stripe_api.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"}).status == "succeeded"


def test_refuses_to_confirm_what_is_paid(stripe_api):
    intent = stripe_api.v1.payment_intents.create({**DIRECT, "amount": 900, "payment_method": "pm_card_visa"})

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        stripe_api.v1.payment_intents.confirm(intent.id)
    assert refusal.value.code == "payment_intent_unexpected_state"
    assert refusal.value.error.payment_intent["id"] == intent.id


def test_asks_for_a_return_url_when_redirects_are_possible(stripe_api):
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        stripe_api.v1.payment_intents.create(
            {"amount": 900, "currency": "usd", "confirm": True, "payment_method": "pm_card_visa"}
        )
    assert refusal.value.param == "return_url"


def test_cancels_an_open_intent_and_refuses_the_second_time(stripe_api):
    intent = stripe_api.v1.payment_intents.create({"amount": 900, "currency": "usd"})

    assert stripe_api.v1.payment_intents.cancel(intent.id, {"cancellation_reason": "abandoned"}).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError):
        stripe_api.v1.payment_intents.cancel(intent.id)


@pytest.mark.parametrize(("amount", "currency"), [(49, "usd"), (29, "gbp"), (49, "jpy")])
def test_refuses_an_amount_below_the_minimum_charge(stripe_api, amount, currency):
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        stripe_api.v1.payment_intents.create({"amount": amount, "currency": currency})
    assert (refusal.value.code, refusal.value.param) == ("amount_too_small", "amount")


def test_a_test_token_becomes_a_new_payment_method_each_time(stripe_api, customer):
    first = stripe_api.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    second = stripe_api.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})

    assert first.id != second.id
    assert first.card.fingerprint == second.card.fingerprint
    assert [one.id for one in stripe_api.v1.payment_methods.list({"customer": customer.id})] == [second.id, first.id]


def test_a_detached_payment_method_is_nobodys_default_and_cannot_come_back(stripe_api, customer, visa):
    stripe_api.v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": visa.id}})

    assert stripe_api.v1.payment_methods.detach(visa.id).customer is None

    assert stripe_api.v1.customers.retrieve(customer.id).invoice_settings.default_payment_method is None
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        stripe_api.v1.payment_methods.attach(visa.id, {"customer": customer.id})


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ({"number": "4242424242424241"}, "incorrect_number"),
        ({"number": "4111111111111111"}, "card_declined"),
        ({"exp_year": 2020}, "invalid_expiry_year"),
        ({"exp_month": 13}, "invalid_expiry_month"),
    ],
)
def test_takes_test_cards_only(stripe_api, card, code):
    with pytest.raises(stripe.CardError) as refusal:
        numbered(stripe_api, **{"number": "4242424242424242", **card})
    assert refusal.value.code == code


def test_keeps_card_numbers_to_their_last_four_digits(stripe_api):
    card = numbered(stripe_api, "4242 4242 4242 4242")

    assert (card.card.last4, card.card.brand) == ("4242", "visa")
    assert "4242424242424242" not in str(card)


def test_a_browser_confirms_with_the_intents_secret(stripe_api, sandbox):
    intent = stripe_api.v1.payment_intents.create({"amount": 900, "currency": "usd"})
    browser = client_of(sandbox, "pk_test_candela")
    path = f"/v1/payment_intents/{intent.id}/confirm"

    with pytest.raises(stripe.InvalidRequestError):
        browser.raw_request("post", path, payment_method="pm_card_visa", client_secret="guessed")
    browser.raw_request("post", path, payment_method="pm_card_visa", client_secret=intent.client_secret)

    assert stripe_api.v1.payment_intents.retrieve(intent.id).status == "succeeded"


def test_saves_a_card_with_a_setup_intent(stripe_api, customer):
    setup = stripe_api.v1.setup_intents.create({"customer": customer.id, "usage": "off_session"})
    assert setup.status == "requires_payment_method"

    done = stripe_api.v1.setup_intents.confirm(setup.id, {"payment_method": "pm_card_visa"})

    assert done.status == "succeeded"
    assert stripe_api.v1.payment_methods.retrieve(done.payment_method).customer == customer.id
    assert event_types(stripe_api)[-2:] == ["payment_method.attached", "setup_intent.succeeded"]


def test_a_refused_card_fails_its_setup(stripe_api, customer):
    with pytest.raises(stripe.CardError) as refusal:
        stripe_api.v1.setup_intents.create(
            {"customer": customer.id, "payment_method": "pm_card_chargeDeclined", "confirm": True}
        )

    assert refusal.value.error.setup_intent["status"] == "requires_payment_method"
    assert event_types(stripe_api)[-1] == "setup_intent.setup_failed"


def test_a_payment_may_save_its_card_for_later(stripe_api, sandbox, customer):
    card = numbered(stripe_api, "4000002500003155")
    charge = {**DIRECT, "amount": 900, "customer": customer.id, "payment_method": card.id}
    waiting = stripe_api.v1.payment_intents.create({**charge, "setup_future_usage": "off_session"})
    sandbox.authenticate(waiting.id, approve=True)

    assert stripe_api.v1.payment_methods.retrieve(card.id).customer == customer.id
    assert stripe_api.v1.payment_intents.create({**charge, "off_session": True}).status == "succeeded"
