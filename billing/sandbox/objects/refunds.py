"""Refunds: money of a captured charge goes back to its card, in parts or whole, never more than is left of it."""

from typing import Any

from stripe.params import (
    ChargeListRefundsParams,
    RefundCreateParams,
    RefundListParams,
    RefundRetrieveParams,
    RefundUpdateParams,
)

from billing.sandbox.errors import Refusal
from billing.sandbox.ids import new_id
from billing.sandbox.listing import PAGING, embedded, lister, page
from billing.sandbox.objects import balance_transactions
from billing.sandbox.objects.cards import BY_NUMBER, RefundFate
from billing.sandbox.objects.events import emit, save_change
from billing.sandbox.objects.metadata import merged
from billing.sandbox.objects.money import check_step
from billing.sandbox.routes import Call, Route
from billing.sandbox.store import JsonObject, Query, Store


def left_of(charge: JsonObject) -> int:
    """Return how many minor units of a charge could still go back to its card."""
    return int(charge["amount"] - charge["amount_refunded"]) if charge["captured"] and charge["paid"] else 0


def make(call: Call, charge: JsonObject, amount: int, **fields: Any) -> JsonObject:
    """Send `amount` minor units of a charge back and return the refund, as the charge's card lets it begin.

    Raises Refusal (400) for a charge that cannot be refunded, or not by that much.
    """
    _require_refundable(charge, amount)
    fate = _fate(call, charge)
    refund = call.store.put({**_blank(call, charge, amount), **fields, "status": fate.begins})
    transaction = balance_transactions.book(call, amount=-amount, kind="refund", source=refund)
    refund = call.store.put({**refund, "balance_transaction": transaction["id"]})
    if fate is not RefundFate.SUCCEEDS:
        call.store.hide(refund["id"], {"fate": fate.value})
    emit(call, "refund.created", refund)
    _move_charge(call, charge["id"], amount, "charge.refunded")
    return refund


def _blank(call: Call, charge: JsonObject, amount: int) -> JsonObject:
    details = {"reference": None, "reference_status": "pending", "reference_type": "acquirer_reference_number"}
    return {
        "id": new_id("re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": call.now,
        "currency": charge["currency"],
        "customer": charge["customer"],
        "customer_account": None,
        "destination_details": {"card": {**details, "type": "refund"}, "type": "card"},
        "metadata": {},
        "next_action": None,
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "presentment_details": None,
        "reason": None,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }


def _require_refundable(charge: JsonObject, amount: int) -> None:
    if not charge["paid"]:
        message = f"Charge {charge['id']} failed: there is nothing to refund."
        raise Refusal(message, code="charge_not_refundable", param="charge")
    if not charge["captured"]:
        message = f"Charge {charge['id']} only holds its amount. Cancel its PaymentIntent instead of refunding it."
        raise Refusal(message, code="charge_not_refundable", param="charge")
    if charge["disputed"]:
        message = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        raise Refusal(message, code="charge_disputed", param="charge")
    left = left_of(charge)
    if left == 0:
        raise Refusal(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    if amount < 1:
        message = "This value must be greater than or equal to 1."
        raise Refusal(message, code="parameter_invalid_integer", param="amount")
    check_step(amount, charge["currency"])
    if amount > left:
        message = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left}), in minor units."
        raise Refusal(message, code="amount_too_large", param="amount")


def _fate(call: Call, charge: JsonObject) -> RefundFate:
    return BY_NUMBER[call.store.hidden(charge["payment_method"])["number"]].refund


def _move_charge(call: Call, charge_id: str, amount: int, event_type: str) -> None:
    """Add minor units to what the charge has refunded (or take them off) and emit the event."""
    charge = call.store.find(charge_id, "charge") or {}
    refunded = charge["amount_refunded"] + amount
    changed = {"amount_refunded": refunded, "refunded": refunded == charge["amount"]}
    emit(call, event_type, call.store.put({**charge, **changed}))


def settle_all(call: Call) -> list[JsonObject]:
    """Let the banks finish every refund whose card says that it ends later; return them as they are then."""
    refunds = call.store.select(Query("refund"), oldest_first=True)
    return [_settle(call, refund) for refund in refunds if waits(call.store, refund)]


def waits(store: Store, refund: JsonObject) -> bool:
    """Tell whether the refund's bank has not had its last word."""
    return "fate" in store.hidden(refund["id"])


def _settle(call: Call, refund: JsonObject) -> JsonObject:
    fate = RefundFate(call.store.hidden(refund["id"])["fate"])
    call.store.forget(refund["id"], "fate")
    return _fail(call, refund) if fate is RefundFate.FAILS_LATER else _succeed(call, refund)


def _succeed(call: Call, refund: JsonObject) -> JsonObject:
    done = call.store.put({**refund, "status": "succeeded"})
    for event_type in ("refund.updated", "charge.refund.updated"):
        emit(call, event_type, done, {"status": refund["status"]})
    return done


def _fail(call: Call, refund: JsonObject) -> JsonObject:
    """Give the money back to the account's balance: the charge counts as not refunded by that much."""
    amount = refund["amount"]
    transaction = balance_transactions.book(call, amount=amount, kind="refund_failure", source=refund)
    changed = {
        "failure_balance_transaction": transaction["id"],
        "failure_reason": "unknown",
        "status": "failed",
    }
    failed = call.store.put({**refund, **changed})
    _move_charge(call, refund["charge"], -amount, "charge.updated")
    emit(call, "refund.failed", failed)
    for event_type in ("refund.updated", "charge.refund.updated"):
        emit(call, event_type, failed, {"status": refund["status"]})
    return failed


def _create(call: Call) -> JsonObject:
    charge = _charge(call)
    return make(
        call,
        charge,
        call.value("amount", left_of(charge)),
        metadata=merged({}, call.params.get("metadata")),
        reason=call.value("reason"),
    )


def _charge(call: Call) -> JsonObject:
    """Return the charge that is named, or the latest one of the named intent. Raises Refusal (400) without one."""
    charge = call.referenced("charge", "charge")
    intent = call.referenced("payment_intent", "payment_intent")
    if charge is None and intent is None:
        message = "One of the following params should be provided for this request: payment_intent or charge."
        raise Refusal(message, code="parameter_missing", param="payment_intent")
    if intent is None:
        return charge or {}
    if charge is not None and charge["payment_intent"] != intent["id"]:
        message = f"The charge {charge['id']} belongs to another PaymentIntent than {intent['id']}."
        raise Refusal(message, param="charge")
    found = charge or call.store.find(intent["latest_charge"] or "", "charge")
    if found is None:
        message = f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
        raise Refusal(message, param="payment_intent")
    return found


def _retrieve(call: Call) -> JsonObject:
    return call.requested("refund", param="refund")


def _update(call: Call) -> JsonObject:
    refund = _retrieve(call)
    if "metadata" not in call.params:
        return refund
    changes = {"metadata": merged(refund["metadata"], call.params["metadata"])}
    return save_change(call, "refund.updated", refund, changes)


def _of_charge(charge_id: str) -> Query:
    return Query("refund").equals("charge", charge_id)


def _list_of_charge(call: Call) -> JsonObject:
    charge = call.requested("charge", param="charge")
    return page(call, _of_charge(charge["id"]), url=f"/v1/charges/{charge['id']}/refunds")


def _embedded(store: Store, charge: JsonObject) -> JsonObject:
    return embedded(store, _of_charge(charge["id"]), url=f"/v1/charges/{charge['id']}/refunds")


INCLUDABLES = {("charge", "refunds"): _embedded}

ROUTES = [
    Route(
        "POST", "/v1/refunds", _create, RefundCreateParams, ("amount", "charge", "metadata", "payment_intent", "reason")
    ),
    Route(
        "GET",
        "/v1/refunds",
        lister("refund", "/v1/refunds", "charge", "payment_intent"),
        RefundListParams,
        (*PAGING, "created", "charge", "payment_intent"),
    ),
    Route("GET", "/v1/refunds/{id}", _retrieve, RefundRetrieveParams),
    Route("POST", "/v1/refunds/{id}", _update, RefundUpdateParams, ("metadata",)),
    Route("GET", "/v1/charges/{id}/refunds", _list_of_charge, ChargeListRefundsParams, PAGING),
]
