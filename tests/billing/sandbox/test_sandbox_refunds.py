"""Refunds: of a part or the whole, never more than is left, and those that end later."""

import pytest
import stripe

from .conftest import event_types

DIRECT = {"currency": "usd", "confirm": True, "payment_method_types": ["card"]}


@pytest.fixture
def paid(stripe_api):
    """Return a function that charges a test card, Visa's unless said, and returns the payment intent."""
    return lambda amount=1_000, token="pm_card_visa", **more: stripe_api.v1.payment_intents.create(
        {**DIRECT, "amount": amount, "payment_method": token, **more}
    )


def charge_of(stripe_api, intent):
    return stripe_api.v1.charges.retrieve(intent.latest_charge)


def test_refunds_a_part_and_then_what_is_left(stripe_api, paid):
    intent = paid(1_000)

    part = stripe_api.v1.refunds.create({"payment_intent": intent.id, "amount": 300})
    assert (part.status, part.amount, part.charge) == ("succeeded", 300, intent.latest_charge)
    assert (charge_of(stripe_api, intent).amount_refunded, charge_of(stripe_api, intent).refunded) == (300, False)

    rest = stripe_api.v1.refunds.create({"charge": intent.latest_charge, "reason": "requested_by_customer"})
    assert (rest.amount, rest.reason) == (700, "requested_by_customer")
    assert (charge_of(stripe_api, intent).amount_refunded, charge_of(stripe_api, intent).refunded) == (1_000, True)


def test_never_refunds_more_than_is_left(stripe_api, paid):
    intent = paid(1_000)
    stripe_api.v1.refunds.create({"payment_intent": intent.id, "amount": 600})

    with pytest.raises(stripe.InvalidRequestError, match=r"\(401\) is greater than unrefunded .* \(400\)") as refusal:
        stripe_api.v1.refunds.create({"payment_intent": intent.id, "amount": 401})
    assert refusal.value.param == "amount"

    stripe_api.v1.refunds.create({"payment_intent": intent.id, "amount": 400})
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        stripe_api.v1.refunds.create({"payment_intent": intent.id, "amount": 1})
    assert refusal.value.code == "charge_already_refunded"


@pytest.mark.parametrize("amount", [0, -5])
def test_refuses_to_refund_nothing(stripe_api, paid, amount):
    with pytest.raises(stripe.InvalidRequestError, match="greater than or equal to 1"):
        stripe_api.v1.refunds.create({"payment_intent": paid().id, "amount": amount})


def test_refunds_only_what_a_partial_capture_took(stripe_api, paid):
    intent = paid(1_000, capture_method="manual")
    stripe_api.v1.payment_intents.capture(intent.id, {"amount_to_capture": 600})

    with pytest.raises(stripe.InvalidRequestError, match=r"\(600\)"):
        stripe_api.v1.refunds.create({"payment_intent": intent.id, "amount": 601})
    assert stripe_api.v1.refunds.create({"payment_intent": intent.id}).amount == 600


def test_refuses_to_refund_what_is_only_held(stripe_api, paid):
    intent = paid(1_000, capture_method="manual")

    with pytest.raises(stripe.InvalidRequestError, match="Cancel its PaymentIntent"):
        stripe_api.v1.refunds.create({"payment_intent": intent.id})


def test_refuses_to_refund_what_was_never_paid(stripe_api):
    waiting = stripe_api.v1.payment_intents.create({"amount": 900, "currency": "usd"})
    with pytest.raises(stripe.CardError) as declined:
        stripe_api.v1.payment_intents.create({**DIRECT, "amount": 900, "payment_method": "pm_card_chargeDeclined"})
    failed = declined.value.json_body["error"]["payment_intent"]["id"]

    with pytest.raises(stripe.InvalidRequestError, match="does not have a successful charge"):
        stripe_api.v1.refunds.create({"payment_intent": waiting.id})
    with pytest.raises(stripe.InvalidRequestError, match="there is nothing to refund"):
        stripe_api.v1.refunds.create({"payment_intent": failed})
    with pytest.raises(stripe.InvalidRequestError, match="payment_intent or charge"):
        stripe_api.v1.refunds.create({})


def test_refuses_a_charge_that_is_not_the_intents(stripe_api, paid):
    with pytest.raises(stripe.InvalidRequestError, match="belongs to another PaymentIntent"):
        stripe_api.v1.refunds.create({"payment_intent": paid().id, "charge": paid().latest_charge})


def test_one_key_makes_one_refund(stripe_api, paid):
    intent = paid(1_000)
    order = {"payment_intent": intent.id, "amount": 300}

    first, again = (stripe_api.v1.refunds.create(order, {"idempotency_key": "refund-1"}) for _ in range(2))

    assert first.id == again.id
    assert charge_of(stripe_api, intent).amount_refunded == 300


def test_tells_of_a_refund_in_events_and_on_the_balance(stripe_api, paid):
    refund = stripe_api.v1.refunds.create({"payment_intent": paid(1_000).id, "amount": 300})

    assert event_types(stripe_api)[-2:] == ["refund.created", "charge.refunded"]
    moved = stripe_api.v1.balance_transactions.retrieve(refund.balance_transaction)
    assert (moved.amount, moved.net, moved.type, moved.source) == (-300, -300, "refund", refund.id)
    assert sum(one.amount for one in stripe_api.v1.balance_transactions.list()) == 700


def test_a_refund_of_card_5126_succeeds_and_fails_later(stripe_api, sandbox, paid):
    intent = paid(1_000, "pm_card_refundFail")
    refund = stripe_api.v1.refunds.create({"payment_intent": intent.id, "amount": 400})
    assert (refund.status, charge_of(stripe_api, intent).amount_refunded) == ("succeeded", 400)

    assert [one["id"] for one in sandbox.settle_refunds()] == [refund.id]

    failed = stripe_api.v1.refunds.retrieve(refund.id)
    assert (failed.status, failed.failure_reason) == ("failed", "unknown")
    assert charge_of(stripe_api, intent).amount_refunded == 0
    assert event_types(stripe_api)[-4:] == [
        "charge.updated",
        "refund.failed",
        "refund.updated",
        "charge.refund.updated",
    ]
    assert sum(one.amount for one in stripe_api.v1.balance_transactions.list()) == 1_000


def test_a_refund_of_card_7726_is_pending_and_succeeds_later(stripe_api, sandbox, paid):
    intent = paid(1_000, "pm_card_pendingRefund")
    refund = stripe_api.v1.refunds.create({"payment_intent": intent.id})
    assert refund.status == "pending"

    sandbox.settle_refunds()

    assert stripe_api.v1.refunds.retrieve(refund.id).status == "succeeded"
    assert event_types(stripe_api)[-2:] == ["refund.updated", "charge.refund.updated"]
    assert charge_of(stripe_api, intent).refunded is True


def test_the_bank_has_its_last_word_once(stripe_api, sandbox, paid):
    stripe_api.v1.refunds.create({"payment_intent": paid(token="pm_card_refundFail").id})

    assert (len(sandbox.settle_refunds()), len(sandbox.settle_refunds())) == (1, 0)


def test_lists_refunds_by_charge_and_intent(stripe_api, paid):
    first, second = paid(), paid()
    parts = [stripe_api.v1.refunds.create({"charge": first.latest_charge, "amount": amount}).id for amount in (1, 2)]
    stripe_api.v1.refunds.create({"charge": second.latest_charge})

    by_charge = stripe_api.v1.refunds.list({"charge": first.latest_charge})
    by_intent = stripe_api.v1.refunds.list({"payment_intent": first.id})
    under_it = stripe_api.raw_request("get", f"/v1/charges/{first.latest_charge}/refunds")
    expanded = stripe_api.v1.charges.retrieve(first.latest_charge, {"expand": ["refunds"]})

    assert [one.id for one in by_charge] == [one.id for one in by_intent] == parts[::-1]
    assert [one.id for one in expanded.refunds.data] == parts
    assert [one["id"] for one in stripe_api.deserialize(under_it, api_mode="V1").data] == parts[::-1]


def test_keeps_metadata_of_a_refund(stripe_api, paid):
    refund = stripe_api.v1.refunds.create({"payment_intent": paid().id, "metadata": {"credit_note": "cn_1"}})

    stripe_api.v1.refunds.update(refund.id, {"metadata": {"seen": "yes"}})

    assert stripe_api.v1.refunds.retrieve(refund.id).metadata.to_dict() == {"credit_note": "cn_1", "seen": "yes"}


def test_an_unknown_refund_is_not_found(stripe_api):
    with pytest.raises(stripe.InvalidRequestError, match="No such refund"):
        stripe_api.v1.refunds.retrieve("re_nobody")
