"""Customers."""

from typing import Any

from stripe.params import (
    CustomerCreateParams,
    CustomerDeleteParams,
    CustomerListParams,
    CustomerRetrieveParams,
    CustomerUpdateParams,
)

from billing.sandbox.errors import Refusal, missing_object
from billing.sandbox.ids import new_id, random_text
from billing.sandbox.listing import PAGING, list_object, lister
from billing.sandbox.objects import customer_balance
from billing.sandbox.objects.events import emit, save_change
from billing.sandbox.objects.metadata import merged
from billing.sandbox.objects.payment_methods import attach_to, detach, in_use
from billing.sandbox.routes import Call, Route
from billing.sandbox.store import JsonObject, Query, Store

PLAIN = ("name", "email", "description", "phone", "business_name", "individual_name")
WRITABLE = (
    *PLAIN,
    "address",
    "shipping",
    "metadata",
    "invoice_settings",
    "tax_exempt",
    "preferred_locales",
    "balance",
    "invoice_prefix",
    "next_invoice_sequence",
)
ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")


def require(call: Call) -> JsonObject:
    """Return the customer that the parameter `customer` names. Raises Refusal (400) without one."""
    customer = call.referenced("customer", "customer")
    if customer is None:
        raise Refusal("Missing required param: customer.", code="parameter_missing", param="customer")
    return customer


def of_invoice(call: Call, invoice: JsonObject) -> JsonObject:
    """Return the customer of an invoice. Raises Refusal (400) for one that has been deleted."""
    customer = call.store.find(invoice["customer"], "customer")
    if customer is None:
        raise missing_object("customer", invoice["customer"], param="customer")
    return customer


def full_address(given: Any) -> JsonObject | None:
    """Return an address with all of Stripe's keys, or None for none."""
    return {name: given.get(name) or None for name in ADDRESS} if given else None


def _blank(call: Call) -> JsonObject:
    return {
        "id": new_id("cus"),
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": call.now,
        "currency": None,
        "customer_account": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": random_text(8).upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }


def _changes(call: Call, customer: JsonObject) -> JsonObject:
    """Return the fields that the call's parameters change, with their new values."""
    changes: JsonObject = {name: call.value(name) for name in PLAIN if name in call.params}
    for name in ("preferred_locales", "balance", "next_invoice_sequence"):
        if name in call.params:
            changes[name] = call.value(name)
    if "invoice_prefix" in call.params:
        changes["invoice_prefix"] = call.value("invoice_prefix")
    if "tax_exempt" in call.params:
        changes["tax_exempt"] = call.value("tax_exempt") or "none"
    if "address" in call.params:
        changes["address"] = full_address(call.value("address"))
    if "shipping" in call.params:
        changes["shipping"] = _shipping(call.value("shipping"))
    if "metadata" in call.params:
        changes["metadata"] = merged(customer["metadata"], call.params["metadata"])
    if "invoice_settings" in call.params:
        changes["invoice_settings"] = _invoice_settings(call, customer)
    return changes


def _shipping(given: Any) -> JsonObject | None:
    if not given:
        return None
    parts = {"carrier": None, "name": given.get("name"), "phone": given.get("phone"), "tracking_number": None}
    return {"address": full_address(given.get("address")), **parts}


def _invoice_settings(call: Call, customer: JsonObject) -> JsonObject:
    given = {name: value or None for name, value in call.params["invoice_settings"].items()}
    method_id = given.get("default_payment_method")
    if method_id:
        in_use(call, method_id, customer["id"], param="invoice_settings[default_payment_method]")
    return {**customer["invoice_settings"], **given}


def _create(call: Call) -> JsonObject:
    customer = call.store.put(_blank(call))
    method = None
    if call.value("payment_method"):
        method = attach_to(call, call.value("payment_method"), customer["id"])
        _point_default_at(call, method["id"])
    customer = call.store.put({**customer, **_changes(call, customer)})
    _record_balance(call, customer, before=0, kind="initial")
    emit(call, "customer.created", customer)
    if method is not None:
        emit(call, "payment_method.attached", method)
    return customer


def _point_default_at(call: Call, method_id: str) -> None:
    """A test token becomes a new payment method; the default that names the token means that one."""
    settings = call.params.get("invoice_settings") or {}
    if settings.get("default_payment_method") == call.value("payment_method"):
        settings["default_payment_method"] = method_id


def _retrieve(call: Call) -> JsonObject:
    """Return the customer; of a deleted one there is left that it was."""
    if call.store.hidden(call.path["id"]).get("deleted"):
        return _deleted(call.path["id"])
    return call.requested("customer")


def _deleted(customer_id: str) -> JsonObject:
    return {"id": customer_id, "object": "customer", "deleted": True}


def _update(call: Call) -> JsonObject:
    customer = call.requested("customer")
    after = save_change(call, "customer.updated", customer, _changes(call, customer))
    _record_balance(call, after, before=customer["balance"], kind="adjustment")
    return after


def _record_balance(call: Call, customer: JsonObject, *, before: int, kind: str) -> None:
    moved = customer["balance"] - before
    if moved:
        customer_balance.record(call, customer, moved, kind, currency=customer["currency"] or "usd")


def _delete(call: Call) -> JsonObject:
    """Forget the customer with its drafts, waiting items and cards. Invoices that were issued stay, and stay unpaid."""
    customer = call.requested("customer")
    of_customer = "customer = ?", customer["id"]
    for method in call.store.select(Query("payment_method").where(*of_customer)):
        detach(call, method)
    drafts = call.store.select(Query("invoice").where(*of_customer).equals("status", "draft"))
    items = call.store.select(Query("invoiceitem").where(*of_customer))
    gone = {draft["id"] for draft in drafts}
    lines = [line for draft in gone for line in call.store.select(Query("line_item").where("invoice = ?", draft))]
    for row in (*drafts, *lines, *(item for item in items if item["invoice"] is None or item["invoice"] in gone)):
        call.store.delete(row["id"])
    call.store.delete(customer["id"])
    call.store.hide(customer["id"], {"deleted": True})
    emit(call, "customer.deleted", customer)
    return _deleted(customer["id"])


def _empty_list_at(path: str) -> Any:
    def make(store: Store, customer: JsonObject) -> JsonObject:
        return list_object([], url=f"/v1/customers/{customer['id']}/{path}")

    return make


INCLUDABLES = {("customer", name): _empty_list_at(name) for name in ("sources", "subscriptions", "tax_ids")}

ROUTES = [
    Route("POST", "/v1/customers", _create, CustomerCreateParams, (*WRITABLE, "payment_method")),
    Route(
        "GET",
        "/v1/customers",
        lister("customer", "/v1/customers", "email"),
        CustomerListParams,
        (*PAGING, "created", "email"),
    ),
    Route("GET", "/v1/customers/{id}", _retrieve, CustomerRetrieveParams),
    Route("POST", "/v1/customers/{id}", _update, CustomerUpdateParams, WRITABLE),
    Route("DELETE", "/v1/customers/{id}", _delete, CustomerDeleteParams),
]
