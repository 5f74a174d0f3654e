"""Invoices: their shape, drafts, and reading them. What happens from finalizing on is in `invoice_states`."""

from typing import Any

from stripe.params import (
    InvoiceCreateParams,
    InvoiceDeleteParams,
    InvoiceListLinesParams,
    InvoiceListParams,
    InvoiceRetrieveParams,
    InvoiceUpdateParams,
)

from billing.sandbox.errors import Refusal, not_in_the_sandbox
from billing.sandbox.ids import new_id
from billing.sandbox.listing import PAGING, filter_created, filter_equal, list_object, page
from billing.sandbox.objects import customers, invoice_totals, money
from billing.sandbox.objects.events import emit, save_change
from billing.sandbox.objects.invoice_items import pending_items, put_on
from billing.sandbox.objects.metadata import merged
from billing.sandbox.objects.payment_methods import in_use
from billing.sandbox.routes import Call, Route
from billing.sandbox.store import JsonObject, Query

TEXTS = ("description", "footer", "number", "statement_descriptor", "custom_fields")
FROZEN = ("collection_method", "days_until_due", "due_date", "default_payment_method", "number")
SECONDS_A_DAY = 86_400


def requested(call: Call) -> JsonObject:
    """Return the invoice that the path names. Raises Refusal (404)."""
    return call.requested("invoice", param="invoice")


def refuse_auto_advance(call: Call) -> None:
    """Raise Refusal (400) for `auto_advance=true`: in the sandbox no invoice moves by itself."""
    if call.value("auto_advance"):
        raise not_in_the_sandbox("auto_advance=true")


def about_customer(customer: JsonObject) -> JsonObject:
    """Return the customer's details as the invoice repeats them, until it is finalized."""
    same = ("address", "email", "name", "phone", "shipping", "tax_exempt")
    return {f"customer_{name}": customer[name] for name in same}


def _blank(call: Call, customer: JsonObject) -> JsonObject:
    invoice_id = new_id("in")
    return {
        "id": invoice_id,
        "object": "invoice",
        "account_country": "US",
        "account_name": "Candela sandbox (not Stripe)",
        "account_tax_ids": None,
        "amount_due": 0,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_paid_off_stripe": 0,
        "amount_remaining": 0,
        "amount_shipping": 0,
        "application": None,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": False,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        "automatically_finalizes_at": None,
        "billing_reason": "manual",
        "collection_method": "charge_automatically",
        "created": call.now,
        "currency": customer["currency"] or "usd",
        "custom_fields": None,
        "customer": customer["id"],
        "customer_account": None,
        **about_customer(customer),
        "customer_tax_ids": [],
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "due_date": None,
        "effective_at": None,
        "ending_balance": None,
        "footer": None,
        "from_invoice": None,
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "issuer": {"type": "self"},
        "last_finalization_error": None,
        "latest_revision": None,
        "lines": {**list_object([], url=f"/v1/invoices/{invoice_id}/lines"), "total_count": 0},
        "livemode": False,
        "metadata": {},
        "next_payment_attempt": None,
        "number": None,
        "on_behalf_of": None,
        "parent": None,
        "payment_settings": {"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
        "period_end": call.now,
        "period_start": call.now,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "receipt_number": None,
        "rendering": None,
        "shipping_cost": None,
        "shipping_details": None,
        "starting_balance": 0,
        "statement_descriptor": None,
        "status": "draft",
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "subtotal": 0,
        "subtotal_excluding_tax": 0,
        "test_clock": None,
        "threshold_reason": None,
        "total": 0,
        "total_discount_amounts": [],
        "total_excluding_tax": 0,
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
        "webhooks_delivered_at": None,
    }


def _changes(call: Call, invoice: JsonObject) -> dict[str, Any]:
    """Return the fields that the call's parameters change, with their new values."""
    refuse_auto_advance(call)
    changes = {name: call.value(name) for name in TEXTS if name in call.params}
    if "metadata" in call.params:
        changes["metadata"] = merged(invoice["metadata"], call.params["metadata"])
    if call.value("default_payment_method"):
        method = in_use(call, call.value("default_payment_method"), invoice["customer"], param="default_payment_method")
        changes["default_payment_method"] = method["id"]
    if "payment_settings" in call.params:
        changes["payment_settings"] = {**invoice["payment_settings"], **call.params["payment_settings"]}
    return {**changes, **_collection(call, invoice)}


def _collection(call: Call, invoice: JsonObject) -> dict[str, Any]:
    """Return how and until when the invoice is to be paid. Raises Refusal (400) where both do not go together."""
    method = call.value("collection_method", invoice["collection_method"])
    days, due_date = call.value("days_until_due"), call.value("due_date")
    if method == "charge_automatically":
        if days is not None or due_date is not None:
            message = "You can only set a due date on invoices with collection_method `send_invoice`."
            raise Refusal(message, param="days_until_due" if days is not None else "due_date")
        return {"collection_method": method, "due_date": None}
    if days is not None:
        due_date = invoice["created"] + days * SECONDS_A_DAY
    due_date = due_date or invoice["due_date"]
    if due_date is None:
        message = "If invoice `collection_method` is `send_invoice`, you must specify `due_date` or `days_until_due`."
        raise Refusal(message, code="parameter_missing", param="days_until_due")
    return {"collection_method": method, "due_date": due_date}


def _create(call: Call) -> JsonObject:
    customer = customers.require(call)
    blank = _blank(call, customer)
    currency = money.currency_of(call.value("currency") or blank["currency"])
    invoice = call.store.put({**blank, **_changes(call, blank), "currency": currency})
    if call.value("pending_invoice_items_behavior") == "include":
        for item in pending_items(call, customer["id"], currency):
            put_on(call, item, invoice)
    invoice = call.store.put({**invoice, **invoice_totals.summed(call, invoice)})
    if customer["currency"] is None:
        call.store.put({**customer, "currency": currency})
    emit(call, "invoice.created", invoice)
    return invoice


def _update(call: Call) -> JsonObject:
    invoice = requested(call)
    if invoice["status"] != "draft" and any(name in call.params for name in FROZEN):
        invoice_totals.require_draft(invoice)
    return save_change(call, "invoice.updated", invoice, _changes(call, invoice))


def _delete(call: Call) -> JsonObject:
    invoice = requested(call)
    if invoice["status"] != "draft":
        raise Refusal("You can only delete draft invoices.", code="invoice_not_editable", param="invoice")
    for child in ("line_item", "invoiceitem"):
        for row in call.store.select(Query(child).where("invoice = ?", invoice["id"])):
            call.store.delete(row["id"])
    call.store.delete(invoice["id"])
    emit(call, "invoice.deleted", invoice)
    return {"id": invoice["id"], "object": "invoice", "deleted": True}


def _list(call: Call) -> JsonObject:
    query = Query("invoice")
    filter_created(call, query)
    filter_equal(call, query, "customer", "status", "collection_method")
    return page(call, query, url="/v1/invoices")


def _list_lines(call: Call) -> JsonObject:
    invoice = requested(call)
    url = f"/v1/invoices/{invoice['id']}/lines"
    return page(call, invoice_totals.lines_of(invoice["id"]), url=url, oldest_first=True)


UPDATING = (
    *TEXTS,
    "auto_advance",
    "collection_method",
    "days_until_due",
    "default_payment_method",
    "due_date",
    "metadata",
    "payment_settings",
)

ROUTES = [
    Route(
        "POST",
        "/v1/invoices",
        _create,
        InvoiceCreateParams,
        (*UPDATING, "customer", "currency", "pending_invoice_items_behavior"),
    ),
    Route(
        "GET",
        "/v1/invoices",
        _list,
        InvoiceListParams,
        (*PAGING, "created", "customer", "status", "collection_method"),
    ),
    Route("GET", "/v1/invoices/{id}", requested, InvoiceRetrieveParams),
    Route("POST", "/v1/invoices/{id}", _update, InvoiceUpdateParams, UPDATING),
    Route("DELETE", "/v1/invoices/{id}", _delete, InvoiceDeleteParams),
    Route("GET", "/v1/invoices/{id}/lines", _list_lines, InvoiceListLinesParams, PAGING),
]
