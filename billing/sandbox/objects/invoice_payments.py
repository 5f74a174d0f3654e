"""What ties an invoice to its payment intent, and what becomes of the invoice when that is paid or fails."""

from stripe.params import InvoicePaymentListParams, InvoicePaymentRetrieveParams

from billing.sandbox.ids import new_id
from billing.sandbox.listing import PAGING, embedded, filter_created, filter_equal, page
from billing.sandbox.objects.events import emit
from billing.sandbox.routes import Call, Route
from billing.sandbox.store import JsonObject, Query, Store


def open_payment(call: Call, invoice: JsonObject, intent: JsonObject) -> JsonObject:
    """Store the invoice payment that waits for the intent to be paid."""
    return call.store.put(
        {
            "id": new_id("inpay"),
            "object": "invoice_payment",
            "amount_paid": None,
            "amount_requested": intent["amount"],
            "created": call.now,
            "currency": invoice["currency"],
            "invoice": invoice["id"],
            "is_default": True,
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


def intent_of(store: Store, invoice_id: str) -> JsonObject | None:
    """Return the payment intent that collects this invoice, or None."""
    payments = store.select(Query("invoice_payment").where("invoice = ?", invoice_id), limit=1)
    return store.find(payments[0]["payment"]["payment_intent"]) if payments else None


def cancel_payment(call: Call, invoice_id: str) -> None:
    """Cancel the open payment of an invoice that is not to be collected any more."""
    query = Query("invoice_payment").where("invoice = ?", invoice_id).equals("status", "open")
    for payment in call.store.select(query):
        transitions = {**payment["status_transitions"], "canceled_at": call.now}
        call.store.put({**payment, "status": "canceled", "status_transitions": transitions})


def follow(call: Call, intent: JsonObject, *, failed: bool) -> JsonObject | None:
    """Make the invoice follow its payment intent after an attempt and return it; None when the intent has none."""
    payment = of_intent(call.store, intent["id"])
    invoice = call.store.find(payment["invoice"], "invoice") if payment else None
    if payment is None or invoice is None:
        return None
    invoice = {**invoice, "attempted": True, "attempt_count": invoice["attempt_count"] + 1}
    if intent["status"] == "succeeded":
        _settle_payment(call, payment, intent)
        return mark_paid(call, invoice, amount_paid=intent["amount_received"])
    invoice = call.store.put(invoice)
    if not failed:
        emit(call, "invoice.payment_action_required", invoice)
    emit(call, "invoice.payment_failed", invoice)
    return invoice


def mark_paid(call: Call, invoice: JsonObject, *, amount_paid: int) -> JsonObject:
    """Store the invoice as paid, with the minor units that came in, and emit its events."""
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
    return paid


def _settle_payment(call: Call, payment: JsonObject, intent: JsonObject) -> None:
    transitions = {**payment["status_transitions"], "paid_at": call.now}
    settled = {"amount_paid": intent["amount_received"], "status": "paid", "status_transitions": transitions}
    emit(call, "invoice_payment.paid", call.store.put({**payment, **settled}))


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
