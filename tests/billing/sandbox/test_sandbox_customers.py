"""Customers that go, and the balance of those who stay."""

import pytest
import stripe

from .conftest import draft_of, event_types, open_invoice


def test_a_deleted_customer_is_known_to_have_been_there(stripe_api, customer):
    gone = stripe_api.v1.customers.delete(customer.id)

    assert (gone.id, gone.deleted) == (customer.id, True)
    assert stripe_api.v1.customers.retrieve(customer.id).deleted is True
    assert stripe_api.v1.customers.list().data == []
    assert event_types(stripe_api)[-1] == "customer.deleted"
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        stripe_api.v1.customers.update(customer.id, {"name": "Ada"})


def test_its_cards_and_drafts_go_and_its_invoices_stay(stripe_api, customer, visa):
    issued, paid = open_invoice(stripe_api, customer, 500), open_invoice(stripe_api, customer, 500)
    stripe_api.v1.invoices.pay(paid.id, {"payment_method": visa.id})
    draft = draft_of(stripe_api, customer, 700)
    stripe_api.v1.invoice_items.create({"customer": customer.id, "amount": 100, "currency": "usd"})

    stripe_api.v1.customers.delete(customer.id)

    assert stripe_api.v1.payment_methods.retrieve(visa.id).customer is None
    assert {one.id for one in stripe_api.v1.invoices.list()} == {issued.id, paid.id}
    assert {one.invoice for one in stripe_api.v1.invoice_items.list()} == {issued.id, paid.id}
    with pytest.raises(stripe.InvalidRequestError, match="No such invoice"):
        stripe_api.v1.invoices.retrieve(draft.id)
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        stripe_api.v1.invoices.pay(issued.id, {"payment_method": visa.id})


def test_tells_what_moved_the_balance(stripe_api):
    customer = stripe_api.v1.customers.create({"balance": -300})
    stripe_api.v1.customers.update(customer.id, {"balance": -200})
    open_invoice(stripe_api, customer, 150)

    moved = stripe_api.v1.customers.balance_transactions.list(customer.id).data[::-1]

    assert [(one.type, one.amount, one.ending_balance) for one in moved] == [
        ("initial", -300, -300),
        ("adjustment", 100, -200),
        ("applied_to_invoice", 150, -50),
    ]


def test_an_amount_too_small_to_charge_moves_to_the_balance(stripe_api, customer):
    invoice = open_invoice(stripe_api, customer, 30)

    moved = stripe_api.v1.customers.balance_transactions.list(customer.id, {"invoice": invoice.id}).data
    assert [(one.type, one.amount) for one in moved] == [("invoice_too_small", 30)]


def test_another_customers_balance_transaction_is_not_found(stripe_api):
    ada, bob = (stripe_api.v1.customers.create({"balance": 100}) for _ in range(2))
    theirs = stripe_api.v1.customers.balance_transactions.list(bob.id).data[0]

    with pytest.raises(stripe.InvalidRequestError, match="No such customer balance transaction"):
        stripe_api.v1.customers.balance_transactions.retrieve(ada.id, theirs.id)
