"""Objects have the keys which the library's types, and dj-stripe's sync, count on."""

import copy
import json
from typing import Any

import pytest

from billing.sandbox import Sandbox

from .conftest import client_of, open_invoice
from .library_shapes import problems

LEFT_OUT = {
    "account": {"company", "groups", "individual"},
    "charge": {"level3", "refunds", "transfer"},
    "customer": {
        "business_name",
        "cash_balance",
        "individual_name",
        "invoice_credit_balance",
        "sources",
        "subscriptions",
        "tax",
        "tax_ids",
    },
    "event": {"account", "context"},
    "invoice": {"confirmation_secret", "payments"},
    "payment_intent": {
        "allowed_payment_method_types",
        "hooks",
        "managed_payments",
        "payment_details",
        "presentment_details",
    },
    "refund": {"description", "failure_balance_transaction", "failure_reason", "instructions_email", "pending_reason"},
    "setup_intent": {"allowed_payment_method_types", "attach_to_self", "managed_payments"},
    "webhook_endpoint": {"secret"},
}
"""Optional keys that Stripe leaves out too: shown on demand only, or for features that the account does not use."""


@pytest.fixture(scope="module")
def everything() -> dict[str, Any]:
    stripe_api = client_of(Sandbox())
    customer = stripe_api.v1.customers.create({"email": "ada@example.com"})
    visa = stripe_api.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    endpoint = stripe_api.v1.webhook_endpoints.create({"url": "http://x.test/", "enabled_events": ["*"]})
    item_owner = open_invoice(stripe_api, customer, 500)
    paid = stripe_api.v1.invoices.pay(item_owner.id, {"payment_method": visa.id})
    credit = {"invoice": paid.id, "amount": 200, "refund_amount": 150, "credit_amount": 50}
    note = stripe_api.v1.credit_notes.create(credit)
    disputed = {"amount": 500, "currency": "usd", "confirm": True, "payment_method_types": ["card"]}
    stripe_api.v1.payment_intents.create({**disputed, "payment_method": "pm_card_createDispute"})
    intent = stripe_api.v1.payment_intents.list().data[0]
    charge = stripe_api.v1.charges.retrieve(intent.latest_charge)
    setup = {"customer": customer.id, "payment_method": "pm_card_visa", "confirm": True}
    objects = [
        stripe_api.v1.accounts.retrieve_current(),
        stripe_api.v1.balance_transactions.retrieve(charge.balance_transaction),
        charge,
        note,
        note.lines.data[0],
        customer,
        stripe_api.v1.customers.balance_transactions.list(customer.id).data[0],
        stripe_api.v1.disputes.list().data[0],
        stripe_api.v1.events.list().data[0],
        paid,
        stripe_api.v1.invoice_items.list().data[0],
        paid.lines.data[0],
        stripe_api.v1.invoice_payments.list().data[0],
        intent,
        visa,
        stripe_api.v1.refunds.list().data[0],
        stripe_api.v1.setup_intents.create(setup),
        stripe_api.v1.webhook_endpoints.retrieve(endpoint.id),
    ]
    return {one.object: one for one in objects}


KINDS = [
    "account",
    "balance_transaction",
    "charge",
    "credit_note",
    "credit_note_line_item",
    "customer",
    "customer_balance_transaction",
    "dispute",
    "event",
    "invoice",
    "invoice_payment",
    "invoiceitem",
    "line_item",
    "payment_intent",
    "payment_method",
    "refund",
    "setup_intent",
    "webhook_endpoint",
]


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"payment_method"}))
def test_leaves_out_only_known_optional_keys(everything, kind):
    shape = type(everything[kind]).__annotations__.keys() - {"OBJECT_NAME", "deleted"}

    assert shape - everything[kind].to_dict().keys() == LEFT_OUT.get(kind, set())


@pytest.mark.parametrize("kind", KINDS)
def test_has_the_keys_and_types_of_the_librarys_class(everything, kind):
    assert problems(plain(everything[kind])) == []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("colour",), "red", "invoice.colour: unknown to Invoice"),
        (("status_transitions", "sent_at"), None, "status_transitions.sent_at: unknown to Invoice.StatusTransitions"),
        (("total",), ..., "invoice.total: missing, Invoice has it"),
        (("lines", "data", 0, "amount"), ..., "lines.data[0].amount: missing, InvoiceLineItem has it"),
        (("total",), "500", "invoice.total: '500' is no int"),
        (("total",), None, "invoice.total: None is no int"),
        (("total",), 5.0, "invoice.total: 5.0 is no int"),
        (("total",), True, "invoice.total: True is no int"),
        (("status",), "payed", "invoice.status: 'payed' is none of"),
        (("customer",), 5, "invoice.customer: 5 has another type"),
        (("customer",), {"object": "customer", "id": "cus_1"}, "invoice.customer.livemode: missing, Customer has it"),
        (("metadata",), {"k": 5}, "invoice.metadata.k: 5 is no str"),
        (("lines", "data"), {}, "lines.data: {} is no list"),
        (("lines", "page"), 1, "invoice.lines: a list has no page"),
        (("lines", "data", 0, "quantity_decimal"), "many", "quantity_decimal: 'many' has another type"),
        (("object",), "bill", "the library has no object 'bill'"),
    ],
)
def test_the_check_sees_what_the_library_would_not_expect(everything, path, value, said):
    spoiled = plain(copy.deepcopy(everything["invoice"]))
    place = spoiled
    for step in path[:-1]:
        place = place[step]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value

    assert any(said in one for one in problems(spoiled)), problems(spoiled)


def test_the_check_looks_into_events_lists_and_errors(everything):
    wrong = {**plain(everything["payment_intent"]), "amount": "ten"}
    event = plain(everything["event"])
    event["data"]["object"] = wrong
    listed = {"object": "list", "data": [wrong], "has_more": False, "url": "/v1/payment_intents"}
    refused = {"error": {"type": "card_error", "payment_intent": wrong, "colour": "red"}}

    assert any("event.data.object.amount: 'ten' is no int" in one for one in problems(event))
    assert any("data[0].amount: 'ten' is no int" in one for one in problems(listed))
    assert {one.partition(":")[0] for one in problems(refused)} == {"error.colour", "error.payment_intent.amount"}


@pytest.mark.parametrize("kind", KINDS)
def test_has_no_fractional_number(everything, kind):
    assert [value for value in leaves(everything[kind].to_dict()) if isinstance(value, float)] == []


def test_lists_embedded_in_objects_can_be_paged(everything):
    lines = everything["invoice"].lines

    assert (lines.object, lines.has_more, lines.url) == (
        "list",
        False,
        f"/v1/invoices/{everything['invoice'].id}/lines",
    )


def plain(stripe_object: Any) -> Any:
    """Return an object of the library as the JSON that it came as."""
    return json.loads(str(stripe_object))


def leaves(value: Any) -> list[Any]:
    """Return the plain values inside nested lists and mappings."""
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for part in value for leaf in leaves(part)] if isinstance(value, list) else [value]
