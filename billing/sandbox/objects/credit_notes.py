"""Credit notes: what is taken off a finalized invoice, before it is paid and after."""

from typing import Any

from stripe.params import (
    CreditNoteCreateParams,
    CreditNoteListLinesParams,
    CreditNoteListParams,
    CreditNotePreviewLinesParams,
    CreditNotePreviewParams,
    CreditNoteRetrieveParams,
    CreditNoteUpdateParams,
    CreditNoteVoidCreditNoteParams,
)

from billing.sandbox.errors import Refusal, missing_object
from billing.sandbox.ids import new_id
from billing.sandbox.listing import PAGING, filter_created, filter_equal, list_object, page
from billing.sandbox.objects import credit_note_lines, credit_note_money, customer_balance
from billing.sandbox.objects.events import emit, save_change
from billing.sandbox.objects.metadata import merged
from billing.sandbox.routes import Call, Route
from billing.sandbox.store import JsonObject, Query

CREDITABLE = ("open", "paid")
LINES_SHOWN = 10


def _invoice(call: Call) -> JsonObject:
    """Return the invoice that is named. Raises Refusal (400) for one that cannot be credited."""
    invoice = call.referenced("invoice", "invoice")
    if invoice is None:
        raise missing_object("invoice", str(call.value("invoice")), param="invoice")
    if invoice["status"] not in CREDITABLE:
        message = f"You can only credit an open or paid invoice; this one is {invoice['status']}."
        raise Refusal(message, code="invoice_not_editable", param="invoice")
    return invoice


def _drafted(call: Call, invoice: JsonObject) -> tuple[JsonObject, list[JsonObject], credit_note_money.Split]:
    """Return the credit note that the call asks for, its lines and where its money goes; nothing is stored."""
    lines = credit_note_lines.read(call, invoice)
    split = credit_note_money.split(call, invoice, sum(line["amount"] for line in lines))
    note = {**_blank(call, invoice, split), **_texts(call)}
    note["lines"] = list_object(lines[:LINES_SHOWN], url=_url(note), has_more=len(lines) > LINES_SHOWN)
    return note, lines, split


def _url(note: JsonObject) -> str:
    return f"/v1/credit_notes/{note['id']}/lines"


def _texts(call: Call) -> dict[str, Any]:
    return {
        "effective_at": call.value("effective_at", call.now),
        "memo": call.value("memo"),
        "metadata": merged({}, call.params.get("metadata")),
        "reason": call.value("reason"),
    }


def _blank(call: Call, invoice: JsonObject, split: credit_note_money.Split) -> JsonObject:
    note_id, number = new_id("cn"), call.store.count(_of_invoice(invoice["id"])) + 1
    return {
        "id": note_id,
        "object": "credit_note",
        "amount": split.total,
        "amount_shipping": 0,
        "created": call.now,
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "customer_account": None,
        "customer_balance_transaction": None,
        "discount_amount": 0,
        "discount_amounts": [],
        "invoice": invoice["id"],
        "livemode": False,
        "number": f"{invoice['number']}-CN-{number:02d}",
        "out_of_band_amount": split.out_of_band or None,
        "pdf": f"{call.public_url}/#{note_id}",
        "post_payment_amount": split.after_payment,
        "pre_payment_amount": split.before_payment,
        "pretax_credit_amounts": [],
        "refunds": [{"amount_refunded": amount, "refund": refund, "type": "refund"} for refund, amount in split.linked],
        "shipping_cost": None,
        "status": "issued",
        "subtotal": split.total,
        "subtotal_excluding_tax": split.total,
        "total": split.total,
        "total_excluding_tax": split.total,
        "total_taxes": [],
        "type": split.kind,
        "voided_at": None,
    }


def _of_invoice(invoice_id: str) -> Query:
    return Query("credit_note").where("invoice = ?", invoice_id)


def _create(call: Call) -> JsonObject:
    invoice = _invoice(call)
    note, lines, split = _drafted(call, invoice)
    for line in lines:
        call.store.put(line)
    call.store.hide(note["id"], {"lines": [line["id"] for line in lines]})
    if split.refund:
        refund = credit_note_money.refund(call, invoice, split.refund)
        note["refunds"].append({"amount_refunded": split.refund, "refund": refund["id"], "type": "refund"})
    note["customer_balance_transaction"] = customer_balance.move(
        call,
        invoice["customer"],
        -split.credit,
        "credit_note",
        currency=invoice["currency"],
        invoice=invoice["id"],
        credit_note=note["id"],
    )
    call.store.put(note)
    emit(call, "credit_note.created", note)
    credit_note_money.apply(call, invoice, split)
    return note


def _preview(call: Call) -> JsonObject:
    return _drafted(call, _invoice(call))[0]


def _preview_lines(call: Call) -> JsonObject:
    note, lines, _ = _drafted(call, _invoice(call))
    return list_object(lines, url=_url(note))


def _requested(call: Call) -> JsonObject:
    return call.requested("credit_note", noun="credit note")


def _update(call: Call) -> JsonObject:
    note = _requested(call)
    changes: dict[str, Any] = {"memo": call.value("memo")} if "memo" in call.params else {}
    if "metadata" in call.params:
        changes["metadata"] = merged(note["metadata"], call.params["metadata"])
    return save_change(call, "credit_note.updated", note, changes)


def _void(call: Call) -> JsonObject:
    """Take the credit note back: the open invoice asks for its amount again."""
    note = _requested(call)
    if note["status"] == "void":
        raise Refusal("This credit note is already void.", param="id")
    invoice = call.store.find(note["invoice"], "invoice") or {}
    if invoice["status"] != "open" or note["post_payment_amount"]:
        message = "You can only void a credit note that took off what was not paid yet, while its invoice is open."
        raise Refusal(message, param="id")
    voided = call.store.put({**note, "status": "void", "voided_at": call.now})
    emit(call, "credit_note.voided", voided)
    credit_note_money.take_back(call, invoice, voided["pre_payment_amount"])
    return voided


def _list(call: Call) -> JsonObject:
    query = Query("credit_note")
    filter_created(call, query)
    filter_equal(call, query, "customer", "invoice")
    return page(call, query, url="/v1/credit_notes")


def _list_lines(call: Call) -> JsonObject:
    note = _requested(call)
    ids = call.store.hidden(note["id"])["lines"]
    query = Query("credit_note_line_item").where(f"id IN ({', '.join('?' * len(ids))})", *ids)
    return page(call, query, url=_url(note), oldest_first=True)


CREATING = (
    "amount",
    "credit_amount",
    "effective_at",
    "email_type",
    "invoice",
    "lines",
    "memo",
    "metadata",
    "out_of_band_amount",
    "reason",
    "refund_amount",
    "refunds",
)

ROUTES = [
    Route("POST", "/v1/credit_notes", _create, CreditNoteCreateParams, CREATING),
    Route("GET", "/v1/credit_notes", _list, CreditNoteListParams, (*PAGING, "created", "customer", "invoice")),
    Route("GET", "/v1/credit_notes/preview", _preview, CreditNotePreviewParams, CREATING),
    Route("GET", "/v1/credit_notes/preview/lines", _preview_lines, CreditNotePreviewLinesParams, CREATING),
    Route("GET", "/v1/credit_notes/{id}", _requested, CreditNoteRetrieveParams),
    Route("POST", "/v1/credit_notes/{id}", _update, CreditNoteUpdateParams, ("memo", "metadata")),
    Route("GET", "/v1/credit_notes/{id}/lines", _list_lines, CreditNoteListLinesParams, PAGING),
    Route("POST", "/v1/credit_notes/{id}/void", _void, CreditNoteVoidCreditNoteParams),
]
