"""State on disk, and many callers at once."""

import threading

import pytest
import stripe

from billing.sandbox import Sandbox

from .conftest import client_of, open_invoice


def test_state_survives_a_restart(tmp_path):
    path = str(tmp_path / "sandbox.sqlite3")
    before = Sandbox(path)
    before.set_clock(1_900_000_000)
    stripe_api = client_of(before)
    customer = stripe_api.v1.customers.create({"name": "Ada"}, {"idempotency_key": "k1"})
    card = stripe_api.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    invoice = open_invoice(stripe_api, customer, 500)
    account = stripe_api.v1.accounts.retrieve_current().id
    before.close()

    after = Sandbox(path)
    stripe_api = client_of(after)
    assert stripe_api.v1.accounts.retrieve_current().id == account
    assert stripe_api.v1.customers.create({"name": "Ada"}, {"idempotency_key": "k1"}).id == customer.id
    assert stripe_api.v1.invoices.pay(invoice.id, {"payment_method": card.id}).status == "paid"
    assert after.clock.now() == 1_900_000_000
    after.close()


def test_pending_webhooks_survive_a_restart(tmp_path, receiver):
    path = str(tmp_path / "sandbox.sqlite3")
    before = Sandbox(path)
    client_of(before).v1.webhook_endpoints.create({"url": "http://x.test/", "enabled_events": ["*"]})
    client_of(before).v1.customers.create({})
    before.close()

    after = Sandbox(path, send=receiver)
    assert after.deliver_pending() == 1
    after.close()


def test_a_refused_request_leaves_nothing_behind(stripe_api, sandbox, customer):
    before = sandbox.state()["objects"]

    with pytest.raises(stripe.InvalidRequestError):
        stripe_api.v1.customers.create(
            {"payment_method": "pm_card_visa", "invoice_settings": {"default_payment_method": "pm_nobodys"}}
        )

    assert sandbox.state()["objects"] == before


def test_many_callers_with_one_key_make_one_customer(sandbox):
    ids = []

    def create() -> None:
        ids.append(client_of(sandbox).v1.customers.create({"name": "Ada"}, {"idempotency_key": "k1"}).id)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(ids) == 8
    assert len(set(ids)) == 1


def test_many_payers_charge_an_invoice_once(stripe_api, sandbox, customer, visa):
    invoice = open_invoice(stripe_api, customer, 500)
    refused = []

    def pay() -> None:
        try:
            client_of(sandbox).v1.invoices.pay(invoice.id, {"payment_method": visa.id})
        except stripe.InvalidRequestError as refusal:
            refused.append(refusal)

    threads = [threading.Thread(target=pay) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(refused) == 7
    assert len(stripe_api.v1.charges.list().data) == 1


def test_counts_what_there_is(sandbox, stripe_api, customer):
    state = sandbox.state()

    assert state["objects"] == {"account": 1, "customer": 1, "event": 1}
    assert state["clock"]["frozen"] is True
