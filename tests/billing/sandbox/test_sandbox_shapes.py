"""Objects have the keys which the library's types, and dj-stripe's sync, count on."""

from typing import Any, get_args

import pytest

from billing.sandbox import Sandbox

from .conftest import client_of, open_invoice

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
    intent = stripe_api.v1.payment_intents.list().data[0]
    charge = stripe_api.v1.charges.retrieve(intent.latest_charge)
    setup = {"customer": customer.id, "payment_method": "pm_card_visa", "confirm": True}
    objects = [
        stripe_api.v1.accounts.retrieve_current(),
        stripe_api.v1.balance_transactions.retrieve(charge.balance_transaction),
        charge,
        customer,
        stripe_api.v1.events.list().data[0],
        paid,
        stripe_api.v1.invoice_items.list().data[0],
        paid.lines.data[0],
        stripe_api.v1.invoice_payments.list().data[0],
        intent,
        visa,
        stripe_api.v1.setup_intents.create(setup),
        stripe_api.v1.webhook_endpoints.retrieve(endpoint.id),
    ]
    return {one.object: one for one in objects}


KINDS = [
    "account",
    "balance_transaction",
    "charge",
    "customer",
    "event",
    "invoice",
    "invoice_payment",
    "invoiceitem",
    "line_item",
    "payment_intent",
    "payment_method",
    "setup_intent",
    "webhook_endpoint",
]


@pytest.mark.parametrize("kind", KINDS)
def test_has_every_key_that_the_library_types_as_present(everything, kind):
    assert missing_keys(everything[kind].to_dict(), type(everything[kind])) == []


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"payment_method"}))
def test_leaves_out_only_known_optional_keys(everything, kind):
    shape = type(everything[kind]).__annotations__.keys() - {"OBJECT_NAME", "deleted"}

    assert shape - everything[kind].to_dict().keys() == LEFT_OUT.get(kind, set())


@pytest.mark.parametrize("kind", KINDS)
def test_has_no_key_that_the_library_does_not_know(everything, kind):
    assert everything[kind].to_dict().keys() <= type(everything[kind]).__annotations__.keys()


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


def missing_keys(body: dict[str, Any], shape: type, path: str = "") -> list[str]:
    """Return the required keys of the library's class that the body lacks, also those of its nested objects."""
    missing = []
    for name, hint in shape.__annotations__.items():
        if name not in body:
            if name != "OBJECT_NAME" and type(None) not in get_args(hint):
                missing.append(path + name)
            continue
        for part in (hint, *get_args(hint)):
            if isinstance(part, type) and "." in part.__qualname__ and isinstance(body[name], dict):
                missing += missing_keys(body[name], part, f"{path}{name}.")
    return missing


def leaves(value: Any) -> list[Any]:
    """Return the plain values inside nested lists and mappings."""
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for part in value for leaf in leaves(part)] if isinstance(value, list) else [value]
