"""What ties an invoice to its payment intents, and what becomes of the invoice when one is paid or fails."""

from stripe.params import InvoicePaymentListParams, InvoicePaymentRetrieveParams

from billing.sandbox.ids import new_id
from billing.sandbox.listing import PAGING, embedded, filter_created, filter_equal, page
from billing.sandbox.objects import customer_balance, payments
from billing.sandbox.objects.events import emit, save_change
from billing.sandbox.routes import Call, Route
from billing.sandbox.store import JsonObject, Query, Store


def open_payment(call: Call, invoice: JsonObject, intent: JsonObject, *, is_default: bool) -> JsonObject:
    """Store the invoice payment that waits for the intent to be paid; the default one is the invoice's own."""
    return call.store.put(
        {
            "id": new_id("inpay"),
            "object": "invoice_payment",
            "amount_paid": None,
            "amount_requested": min(intent["amount"], invoice["amount_remaining"]),
            "created": call.now,
            "currency": invoice["currency"],
            "invoice": invoice["id"],
            "is_default": is_default,
            "livemode": False,
            "payment": {"payment_intent": intent["id"], "type": "payment_intent"},
            "status": "open",
            "status_transitions": {"canceled_at": None, "paid_at": None},
        }
    )


def of_intent(store: Store, intent_id: str) -> JsonObject | None:
    """Return the invoice payment that this payment intent is for, or None."""
    query = Query("invoice_payment").where("json_extract(body, '$.payment.payment_intent') = ?", intent_id)
    found = store.select(query, limit=1)
    return found[0] if found else None


def attached(store: Store, invoice_id: str, *statuses: str) -> list[JsonObject]:
    """Return the payments in one of the statuses that somebody attached to the invoice, newest first."""
    payments = store.select(Query("invoice_payment").where("invoice = ?", invoice_id).equals("is_default", False))
    return [payment for payment in payments if payment["status"] in statuses]


def _default_of(store: Store, invoice_id: str) -> JsonObject | None:
    found = store.select(Query("invoice_payment").where("invoice = ?", invoice_id).equals("is_default", True), limit=1)
    return found[0] if found else None


def intent_of(store: Store, invoice_id: str) -> JsonObject | None:
    """Return the invoice's own payment intent, which collects what remains to be paid, or None."""
    payment = _default_of(store, invoice_id)
    return store.find(payment["payment"]["payment_intent"]) if payment else None


def cancel_payment(call: Call, payment: JsonObject) -> None:
    """Store the invoice payment as canceled; its intent is the caller's to cancel."""
    transitions = {**payment["status_transitions"], "canceled_at": call.now}
    call.store.put({**payment, "status": "canceled", "status_transitions": transitions})


def stop_collecting(call: Call, invoice_id: str, reason: str) -> None:
    """Cancel the invoice's own payment and its intent, where they are still open."""
    payment = _default_of(call.store, invoice_id)
    intent = intent_of(call.store, invoice_id)
    if payment and intent and payment["status"] == "open":
        payments.cancel(call, intent, reason)
        cancel_payment(call, payment)


def follow(call: Call, intent: JsonObject, *, failed: bool) -> JsonObject | None:
    """Make the invoice follow its payment intent after an attempt and return it; None when the intent has none."""
    payment = of_intent(call.store, intent["id"])
    invoice = call.store.find(payment["invoice"], "invoice") if payment else None
    if payment is None or invoice is None:
        return None
    if payment["is_default"]:
        invoice = call.store.put({**invoice, "attempted": True, "attempt_count": invoice["attempt_count"] + 1})
    if intent["status"] == "succeeded":
        return credit(call, invoice, payment, intent["amount_received"])
    if intent["status"] == "requires_capture":
        return invoice
    if not failed:
        emit(call, "invoice.payment_action_required", invoice)
    emit(call, "invoice.payment_failed", invoice)
    return invoice


def credit(call: Call, invoice: JsonObject, payment: JsonObject, received: int) -> JsonObject:
    """Credit the minor units that a payment brought, and return the invoice: paid once nothing remains.

    What is more than remains becomes a credit on the customer's balance.
    """
    credited = min(received, invoice["amount_remaining"])
    _settle(call, payment, credited)
    amount_paid = invoice["amount_paid"] + credited
    changes = {"amount_paid": amount_paid, "amount_remaining": invoice["amount_due"] - amount_paid}
    if credited < received:
        customer_balance.move(
            call,
            invoice["customer"],
            credited - received,
            "invoice_overpaid",
            currency=invoice["currency"],
            invoice=invoice["id"],
        )
        changes["amount_overpaid"] = invoice["amount_overpaid"] + received - credited
    if invoice["status"] == "paid" or changes["amount_remaining"]:
        after = save_change(call, "invoice.updated", invoice, changes)
        ask_for_the_rest(call, after)
        return after
    if not payment["is_default"]:
        stop_collecting(call, invoice["id"], "automatic")
    return mark_paid(call, {**invoice, **changes}, amount_paid=amount_paid)


def mark_paid(call: Call, invoice: JsonObject, *, amount_paid: int) -> JsonObject:
    """Store the invoice as paid, with the minor units that came in for it, and emit its events."""
    paid = call.store.put(
        {
            **invoice,
            "amount_paid": amount_paid,
            "amount_remaining": invoice["amount_due"] - amount_paid,
            "attempted": True,
            "auto_advance": False,
            "status": "paid",
            "status_transitions": {**invoice["status_transitions"], "paid_at": call.now},
        }
    )
    emit(call, "invoice.paid", paid)
    emit(call, "invoice.payment_succeeded", paid)
    if paid["amount_overpaid"]:
        emit(call, "invoice.overpaid", paid)
    return paid


def _settle(call: Call, payment: JsonObject, credited: int) -> None:
    transitions = {**payment["status_transitions"], "paid_at": call.now}
    settled = {"amount_paid": credited, "status": "paid", "status_transitions": transitions}
    emit(call, "invoice_payment.paid", call.store.put({**payment, **settled}))


def ask_for_the_rest(call: Call, invoice: JsonObject) -> None:
    """Keep the invoice's own payment at what remains after a part was paid otherwise."""
    payment, intent = _default_of(call.store, invoice["id"]), intent_of(call.store, invoice["id"])
    if payment and intent and payment["status"] == "open":
        call.store.put({**payment, "amount_requested": invoice["amount_remaining"]})
        call.store.put({**intent, "amount": invoice["amount_remaining"]})


def _list(call: Call) -> JsonObject:
    query = Query("invoice_payment")
    filter_created(call, query)
    filter_equal(call, query, "invoice", "status")
    payment = call.value("payment") or {}
    if payment.get("payment_intent"):
        query.where("json_extract(body, '$.payment.payment_intent') = ?", payment["payment_intent"])
    return page(call, query, url="/v1/invoice_payments")


def _retrieve(call: Call) -> JsonObject:
    return call.requested("invoice_payment", noun="invoice payment")


def _of_invoice(store: Store, invoice: JsonObject) -> JsonObject:
    query = Query("invoice_payment").where("invoice = ?", invoice["id"])
    return embedded(store, query, url=f"/v1/invoice_payments?invoice={invoice['id']}")


def _confirmation_secret(store: Store, invoice: JsonObject) -> JsonObject | None:
    intent = intent_of(store, invoice["id"])
    return {"client_secret": intent["client_secret"], "type": "payment_intent"} if intent else None


INCLUDABLES = {("invoice", "payments"): _of_invoice, ("invoice", "confirmation_secret"): _confirmation_secret}

ROUTES = [
    Route(
        "GET",
        "/v1/invoice_payments",
        _list,
        InvoicePaymentListParams,
        (*PAGING, "created", "invoice", "status", "payment"),
    ),
    Route("GET", "/v1/invoice_payments/{id}", _retrieve, InvoicePaymentRetrieveParams),
]
