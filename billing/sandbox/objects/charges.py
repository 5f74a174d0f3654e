"""Charges: one attempt at a card."""

from stripe.params import ChargeListParams, ChargeRetrieveParams

from billing.sandbox.ids import new_id
from billing.sandbox.listing import PAGING, lister
from billing.sandbox.objects import balance_transactions
from billing.sandbox.objects.cards import Decline
from billing.sandbox.objects.events import emit
from billing.sandbox.routes import Call, Route
from billing.sandbox.store import JsonObject


def record(call: Call, intent: JsonObject, method: JsonObject, decline: Decline | None) -> JsonObject:
    """Store the charge for the intent's amount and emit its event: failed with a decline, succeeded without.

    One that succeeds is captured at once, or only holds the amount when the intent is to be captured by hand.
    """
    charge_id = new_id("ch")
    captured = decline is None and intent["capture_method"] != "manual"
    transaction_id = _credit(call, intent, charge_id, intent["amount"]) if captured else None
    charge = call.store.put(
        {
            "id": charge_id,
            "object": "charge",
            "amount": intent["amount"],
            "amount_captured": intent["amount"] if captured else 0,
            "amount_refunded": 0,
            "application": None,
            "application_fee": None,
            "application_fee_amount": None,
            "authorization_code": None,
            "balance_transaction": transaction_id,
            "billing_details": method["billing_details"],
            "calculated_statement_descriptor": "CANDELA SANDBOX",
            "captured": captured,
            "created": call.now,
            "currency": intent["currency"],
            "customer": intent["customer"],
            "description": intent["description"],
            "disputed": False,
            "failure_balance_transaction": None,
            "failure_code": decline.code if decline else None,
            "failure_message": decline.message if decline else None,
            "fraud_details": {},
            "livemode": False,
            "metadata": intent["metadata"],
            "on_behalf_of": None,
            "outcome": _outcome(decline),
            "paid": decline is None,
            "payment_intent": intent["id"],
            "payment_method": method["id"],
            "payment_method_details": _method_details(intent, method),
            "presentment_details": None,
            "radar_options": {},
            "receipt_email": intent["receipt_email"],
            "receipt_number": None,
            "receipt_url": None,
            "refunded": False,
            "review": None,
            "shipping": intent["shipping"],
            "source": None,
            "source_transfer": None,
            "statement_descriptor": intent["statement_descriptor"],
            "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
            "status": "failed" if decline else "succeeded",
            "transfer_data": None,
            "transfer_group": None,
        }
    )
    emit(call, "charge.failed" if decline else "charge.succeeded", charge)
    return charge


def capture(call: Call, charge_id: str, amount: int) -> None:
    """Take `amount` minor units of what the charge holds, give the rest back to the card, and emit the event."""
    charge = call.store.find(charge_id, "charge") or {}
    changed = {
        "amount_captured": amount,
        "amount_refunded": charge["amount"] - amount,
        "balance_transaction": _credit(call, charge, charge_id, amount),
        "captured": True,
    }
    emit(call, "charge.captured", call.store.put({**charge, **changed}))


def release(call: Call, charge_id: str) -> None:
    """Give the whole of what the charge holds back to the card, and emit the event: to Stripe that is a refund."""
    charge = call.store.find(charge_id, "charge") or {}
    released = call.store.put({**charge, "amount_refunded": charge["amount"], "refunded": True})
    emit(call, "charge.refunded", released)


def _outcome(decline: Decline | None) -> JsonObject:
    reason = (decline.reason or decline.code) if decline else None
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "declined_by_network" if decline else "approved_by_network",
        "reason": reason,
        "risk_level": "normal",
        "risk_score": 10,
        "seller_message": "The bank did not approve this payment." if decline else "Payment complete.",
        "type": "issuer_declined" if decline else "authorized",
    }


def _method_details(intent: JsonObject, method: JsonObject) -> JsonObject:
    card = method["card"]
    same = ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4")
    unavailable = {"status": "unavailable"}
    details = {
        **{name: card[name] for name in same},
        "amount_authorized": intent["amount"],
        "authorization_code": None,
        "extended_authorization": {"status": "disabled"},
        "incremental_authorization": unavailable,
        "installments": None,
        "mandate": None,
        "multicapture": unavailable,
        "network": card["brand"],
        "network_token": {"used": False},
        "network_transaction_id": None,
        "overcapture": {"maximum_amount_capturable": intent["amount"], **unavailable},
        "regulated_status": "unregulated",
        "three_d_secure": None,
        "wallet": None,
    }
    return {"card": details, "type": "card"}


def _credit(call: Call, source: JsonObject, charge_id: str, amount: int) -> str:
    """Book minor units that a charge took, and return the balance transaction's id.

    `source` is the payment intent or charge whose currency and description it repeats.
    """
    same = {name: source[name] for name in ("currency", "description")}
    return str(balance_transactions.book(call, amount=amount, kind="charge", source={**same, "id": charge_id})["id"])


def _retrieve(call: Call) -> JsonObject:
    return call.requested("charge")


ROUTES = [
    Route("GET", "/v1/charges/{id}", _retrieve, ChargeRetrieveParams),
    Route(
        "GET",
        "/v1/charges",
        lister("charge", "/v1/charges", "customer", "payment_intent"),
        ChargeListParams,
        (*PAGING, "created", "customer", "payment_intent"),
    ),
]
