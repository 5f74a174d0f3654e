"""Payment methods: cards, made from test numbers and test tokens only."""

from typing import Any

from stripe.params import (
    CustomerListPaymentMethodsParams,
    CustomerRetrievePaymentMethodParams,
    PaymentMethodAttachParams,
    PaymentMethodCreateParams,
    PaymentMethodDetachParams,
    PaymentMethodListParams,
    PaymentMethodRetrieveParams,
    PaymentMethodUpdateParams,
)

from billing.sandbox.errors import CardRefusal, Refusal, missing_object, not_in_the_sandbox
from billing.sandbox.ids import new_id
from billing.sandbox.listing import PAGING, filter_equal, page
from billing.sandbox.objects.card_details import read, shown, year_of
from billing.sandbox.objects.cards import BY_NUMBER, BY_TOKEN, Decline, TestCard
from billing.sandbox.objects.events import emit, save_change
from billing.sandbox.objects.metadata import merged
from billing.sandbox.routes import Call, Route
from billing.sandbox.store import JsonObject, Query

ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")


def card_of(call: Call, method: JsonObject) -> TestCard:
    """Return the test card behind a payment method."""
    return BY_NUMBER[call.store.hidden(method["id"])["number"]]


def resolve(call: Call, method_id: str, *, param: str = "payment_method", in_path: bool = False) -> JsonObject:
    """Return the payment method with this id; a test token such as `pm_card_visa` makes a new one, as at Stripe.

    Raises Refusal for an unknown id.
    """
    if method_id in BY_TOKEN and method_id.startswith("pm_card_"):
        return _store(call, BY_TOKEN[method_id], {"exp_month": 12, "exp_year": year_of(call.now) + 3}, {})
    found = call.store.find(method_id, "payment_method")
    if found is None:
        raise missing_object("PaymentMethod", method_id, param=param, in_path=in_path)
    return found


def in_use(call: Call, method_id: str, customer_id: str, *, param: str = "payment_method") -> JsonObject:
    """Return a payment method that is attached to the customer. Raises Refusal (400) for any other."""
    method = resolve(call, method_id, param=param)
    if method["customer"] != customer_id:
        message = (
            f"The customer does not have a payment method with the ID {method['id']}. The payment method must be"
            " attached to the customer."
        )
        raise Refusal(message, code="resource_missing", param=param)
    return method


def attach_to(call: Call, method_id: str, customer_id: str, *, in_path: bool = False) -> JsonObject:
    """Attach a payment method (or a test token's new one) to the customer and return it, without an event.

    Raises CardRefusal when the bank refuses the card, Refusal (400) when it belongs to another customer.
    """
    method = resolve(call, method_id, in_path=in_path)
    if method["customer"] not in (None, customer_id):
        raise Refusal("This payment method has already been attached to a customer.", param="payment_method")
    if call.store.hidden(method["id"]).get("detached"):
        message = (
            "This PaymentMethod was previously used without being attached to a Customer or was detached from a"
            " Customer, and may not be used again."
        )
        raise Refusal(message, param="payment_method")
    card = card_of(call, method)
    if card.decline and not card.attaches:
        raise declined(card.decline)
    return call.store.put({**method, "customer": customer_id})


def declined(decline: Decline, **details: Any) -> CardRefusal:
    """Return the card error for a decline."""
    return CardRefusal(decline.message, code=decline.code, decline_code=decline.reason, **details)


def make(call: Call, data: JsonObject) -> JsonObject:
    """Store and return the payment method that `data` describes, as the parameters of its creation do.

    Raises Refusal for one that is no card, and CardRefusal (402) for a card that is no test card.
    """
    kind = data.get("type") or "card"
    if kind != "card":
        raise not_in_the_sandbox(f"type={kind}")
    if not data.get("card"):
        raise Refusal("Missing required param: card.", code="parameter_missing", param="card")
    return _store(call, *read(data["card"], year_of(call.now)), data)


def _store(call: Call, card: TestCard, given: JsonObject, data: JsonObject) -> JsonObject:
    method: JsonObject = {
        "id": new_id("pm"),
        "object": "payment_method",
        "allow_redisplay": data.get("allow_redisplay") or "unspecified",
        "billing_details": _billing_details(data.get("billing_details")),
        "card": shown(card, given),
        "created": call.now,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": merged({}, data.get("metadata")),
        "type": "card",
    }
    call.store.hide(method["id"], {"number": card.number})
    return call.store.put(method)


def _billing_details(given: Any) -> JsonObject:
    given = given or {}
    address = given.get("address") or {}
    plain = {name: given.get(name) or None for name in ("email", "name", "phone", "tax_id")}
    return {"address": {name: address.get(name) or None for name in ADDRESS}, **plain}


def _create(call: Call) -> JsonObject:
    return make(call, call.params)


def _retrieve(call: Call) -> JsonObject:
    return resolve(call, call.path["id"], in_path=True)


def _update(call: Call) -> JsonObject:
    method = _retrieve(call)
    changes: JsonObject = {}
    if "metadata" in call.params:
        changes["metadata"] = merged(method["metadata"], call.params["metadata"])
    if "billing_details" in call.params:
        changes["billing_details"] = _billing_details({**method["billing_details"], **call.params["billing_details"]})
    return save_change(call, "payment_method.updated", method, changes)


def _attach(call: Call) -> JsonObject:
    customer = call.referenced("customer", "customer")
    if customer is None:
        raise Refusal("Missing required param: customer.", code="parameter_missing", param="customer")
    method = attach_to(call, call.path["id"], customer["id"], in_path=True)
    emit(call, "payment_method.attached", method)
    return method


def _detach(call: Call) -> JsonObject:
    method = _retrieve(call)
    if method["customer"] is None:
        message = "The payment method you provided is not attached to a customer so detachment is impossible."
        raise Refusal(message, param="payment_method")
    return detach(call, method)


def detach(call: Call, method: JsonObject) -> JsonObject:
    """Take the payment method from its customer for good, emit the event, and return it."""
    _forget_default(call, method)
    call.store.hide(method["id"], {"detached": True})
    detached = call.store.put({**method, "customer": None})
    emit(call, "payment_method.detached", detached, {"customer": method["customer"]})
    return detached


def _forget_default(call: Call, method: JsonObject) -> None:
    customer = call.store.find(method["customer"], "customer")
    if customer and customer["invoice_settings"]["default_payment_method"] == method["id"]:
        settings = {**customer["invoice_settings"], "default_payment_method": None}
        save_change(call, "customer.updated", customer, {"invoice_settings": settings})


def _list(call: Call) -> JsonObject:
    query = Query("payment_method").where("customer IS NOT NULL")
    filter_equal(call, query, "customer", "type", "allow_redisplay")
    return page(call, query, url="/v1/payment_methods")


def _list_of_customer(call: Call) -> JsonObject:
    customer = call.requested("customer", param="customer")
    query = Query("payment_method").where("customer = ?", customer["id"])
    filter_equal(call, query, "type", "allow_redisplay")
    return page(call, query, url=f"/v1/customers/{customer['id']}/payment_methods")


def _retrieve_of_customer(call: Call) -> JsonObject:
    method = call.store.find(call.path["method"], "payment_method")
    if method is None or method["customer"] != call.path["id"]:
        raise missing_object("PaymentMethod", call.path["method"], param="payment_method", in_path=True)
    return method


OF_CUSTOMER = (*PAGING, "type", "allow_redisplay")

ROUTES = [
    Route(
        "POST",
        "/v1/payment_methods",
        _create,
        PaymentMethodCreateParams,
        ("type", "card", "billing_details", "metadata", "allow_redisplay"),
        browser=True,
        browser_params=("key", "payment_user_agent", "guid", "muid", "sid", "time_on_page", "referrer"),
    ),
    Route("GET", "/v1/payment_methods", _list, PaymentMethodListParams, (*OF_CUSTOMER, "customer")),
    Route("GET", "/v1/payment_methods/{id}", _retrieve, PaymentMethodRetrieveParams),
    Route("POST", "/v1/payment_methods/{id}", _update, PaymentMethodUpdateParams, ("metadata", "billing_details")),
    Route("POST", "/v1/payment_methods/{id}/attach", _attach, PaymentMethodAttachParams, ("customer",)),
    Route("POST", "/v1/payment_methods/{id}/detach", _detach, PaymentMethodDetachParams),
    Route(
        "GET", "/v1/customers/{id}/payment_methods", _list_of_customer, CustomerListPaymentMethodsParams, OF_CUSTOMER
    ),
    Route(
        "GET",
        "/v1/customers/{id}/payment_methods/{method}",
        _retrieve_of_customer,
        CustomerRetrievePaymentMethodParams,
    ),
]
