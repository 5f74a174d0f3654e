"""Invoice items: amounts of either sign that wait for an invoice or lie on a draft, each with its invoice line."""

from stripe.params import (
    InvoiceItemCreateParams,
    InvoiceItemDeleteParams,
    InvoiceItemListParams,
    InvoiceItemRetrieveParams,
)

from billing.sandbox.errors import Refusal
from billing.sandbox.ids import new_id
from billing.sandbox.listing import PAGING, filter_created, filter_equal, page
from billing.sandbox.objects import customers, invoice_totals, money
from billing.sandbox.objects.events import emit
from billing.sandbox.objects.metadata import merged
from billing.sandbox.routes import Call, Route
from billing.sandbox.store import JsonObject, Query

MOST_ITEMS_ON_AN_INVOICE = 250


def pending_items(call: Call, customer_id: str, currency: str) -> list[JsonObject]:
    """Return the customer's items in this currency that are on no invoice yet, newest first."""
    query = Query("invoiceitem").where("customer = ? AND invoice IS NULL", customer_id).equals("currency", currency)
    return call.store.select(query)


def put_on(call: Call, item: JsonObject, invoice: JsonObject) -> JsonObject:
    """Move the item onto the draft, as a line of it. Raises Refusal (400) beyond 250 items."""
    query = Query("line_item").where("invoice = ?", invoice["id"])
    if call.store.count(query) >= MOST_ITEMS_ON_AN_INVOICE:
        raise Refusal(f"An invoice has at most {MOST_ITEMS_ON_AN_INVOICE} items.", param="invoice")
    item = call.store.put({**item, "invoice": invoice["id"]})
    line = call.store.put(_line(item))
    call.store.hide(item["id"], {"line": line["id"]})
    return item


def _line(item: JsonObject) -> JsonObject:
    details = {"invoice_item": item["id"], "proration": False, "proration_details": None, "subscription": None}
    same = ("amount", "currency", "description", "discountable", "invoice", "metadata", "period", "pricing", "quantity")
    return {
        "id": new_id("il"),
        "object": "line_item",
        **{name: item[name] for name in same},
        "discount_amounts": [],
        "discounts": [],
        "livemode": False,
        "parent": {
            "invoice_item_details": details,
            "subscription_item_details": None,
            "type": "invoice_item_details",
        },
        "pretax_credit_amounts": [],
        "quantity_decimal": str(item["quantity"]),
        "subscription": None,
        "subtotal": item["amount"],
        "taxes": [],
    }


def _create(call: Call) -> JsonObject:
    customer = customers.require(call)
    invoice = call.referenced("invoice", "invoice")
    currency = _currency(call, customer, invoice)
    item = call.store.put(_item(call, customer, currency))
    if invoice is not None:
        invoice_totals.require_draft(invoice)
        if invoice["customer"] != customer["id"]:
            raise Refusal("The invoice belongs to another customer.", param="invoice")
        item = put_on(call, item, invoice)
    if customer["currency"] is None:
        call.store.put({**customer, "currency": currency})
    emit(call, "invoiceitem.created", item)
    if invoice is not None:
        invoice_totals.refresh(call, invoice)
    return item


def _currency(call: Call, customer: JsonObject, invoice: JsonObject | None) -> str:
    """Return the item's currency. Raises Refusal (400) when it differs from the invoice's."""
    default = invoice["currency"] if invoice else customer["currency"] or "usd"
    currency = money.currency_of(call.value("currency") or default)
    if invoice is not None and currency != invoice["currency"]:
        message = f"The currency of the invoice item ({currency}) differs from the invoice's ({invoice['currency']})."
        raise Refusal(message, param="currency")
    return currency


def _item(call: Call, customer: JsonObject, currency: str) -> JsonObject:
    quantity, unit_amount = _quantity(call), call.value("unit_amount_decimal")
    amount = call.value("amount")
    if (amount is None) == (unit_amount is None):
        raise Refusal("You must pass exactly one of `amount` and `unit_amount_decimal`.", param="amount")
    total = amount if amount is not None else money.multiply(unit_amount, quantity)
    unit_amount_decimal = unit_amount if unit_amount is not None else str(amount)
    return {
        "id": new_id("ii"),
        "object": "invoiceitem",
        "amount": total,
        "currency": currency,
        "customer": customer["id"],
        "customer_account": None,
        "date": call.now,
        "description": call.value("description"),
        "discountable": call.value("discountable", total >= 0),
        "discounts": [],
        "frozen_fields": None,
        "invoice": None,
        "livemode": False,
        "metadata": merged({}, call.params.get("metadata")),
        "net_amount": total,
        "parent": None,
        "period": _period(call),
        "pricing": {"price_details": None, "type": "price_details", "unit_amount_decimal": unit_amount_decimal},
        "proration": False,
        "proration_details": None,
        "quantity": quantity,
        "quantity_decimal": str(quantity),
        "tax_rates": [],
        "test_clock": None,
    }


def _quantity(call: Call) -> int:
    quantity: int = call.value("quantity", 1)
    if quantity < 0:
        raise Refusal("This value must be greater than or equal to 0.", param="quantity")
    if call.value("amount") is not None and quantity != 1:
        raise Refusal("You may not pass `quantity` with `amount`; use `unit_amount_decimal`.", param="quantity")
    return quantity


def _period(call: Call) -> JsonObject:
    period: JsonObject = call.value("period") or {"end": call.now, "start": call.now}
    if period["end"] < period["start"]:
        raise Refusal("The period's end must be on or after its start.", param="period[end]")
    return period


def _retrieve(call: Call) -> JsonObject:
    return call.requested("invoiceitem", noun="invoiceitem", param="invoiceitem")


def _list(call: Call) -> JsonObject:
    query = Query("invoiceitem")
    filter_created(call, query)
    filter_equal(call, query, "customer", "invoice")
    if call.value("pending") is not None:
        query.where("invoice IS NULL" if call.value("pending") else "invoice IS NOT NULL")
    return page(call, query, url="/v1/invoiceitems")


def _delete(call: Call) -> JsonObject:
    item = _retrieve(call)
    invoice = call.store.find(item["invoice"]) if item["invoice"] else None
    if invoice is not None:
        invoice_totals.require_draft(invoice)
        call.store.delete(call.store.hidden(item["id"])["line"])
    call.store.delete(item["id"])
    emit(call, "invoiceitem.deleted", item)
    if invoice is not None:
        invoice_totals.refresh(call, invoice)
    return {"id": item["id"], "object": "invoiceitem", "deleted": True}


CREATING = (
    "customer",
    "invoice",
    "amount",
    "currency",
    "description",
    "metadata",
    "period",
    "quantity",
    "unit_amount_decimal",
    "discountable",
)

ROUTES = [
    Route("POST", "/v1/invoiceitems", _create, InvoiceItemCreateParams, CREATING),
    Route(
        "GET",
        "/v1/invoiceitems",
        _list,
        InvoiceItemListParams,
        (*PAGING, "created", "customer", "invoice", "pending"),
    ),
    Route("GET", "/v1/invoiceitems/{id}", _retrieve, InvoiceItemRetrieveParams),
    Route("DELETE", "/v1/invoiceitems/{id}", _delete, InvoiceItemDeleteParams),
]
