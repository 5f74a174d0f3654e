"""The gateway against Stripe itself, with a test key: `STRIPE_SECRET_KEY=sk_test_… pytest -m stripe_test_mode`.

It proves on the real thing what the other tests prove on the sandbox: a customer, a card, an invoice with lines of
either sign, its payment. It leaves a customer and an invoice in the test account.
"""

import os
from uuid import uuid4

import pytest
import stripe

from billing import gateway
from billing.exchange import ChargeToMake, CustomerToSend, Declined, InvoiceToSend, LineToSend, Paid

KEY = os.environ.get("STRIPE_SECRET_KEY", "")

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.stripe_test_mode,
    pytest.mark.skipif(
        not KEY.startswith("sk_test_"), reason="STRIPE_SECRET_KEY is no key of Stripe's test mode (sk_test_…)."
    ),
]


@pytest.fixture(autouse=True)
def stripe_itself(settings, monkeypatch):
    """Talk to Stripe with the key of the environment."""
    settings.STRIPE_SECRET_KEY = KEY
    monkeypatch.setattr(stripe, "default_http_client", None)
    monkeypatch.setattr(stripe, "api_base", stripe.api_base)
    monkeypatch.setattr(stripe, "max_network_retries", stripe.max_network_retries)


@pytest.fixture
def at_stripe():
    return stripe.StripeClient(KEY)


@pytest.fixture
def customer():
    """A customer of an id that this account has not seen."""
    name = f"cus_test_{uuid4().hex}"
    return CustomerToSend(id=name, stripe_id=None, name="Candela test", email=f"{name}@example.com")


def invoice_of(customer, *, total=15_400, retried=False):
    number = customer.id.removeprefix("cus_test_")
    return InvoiceToSend(
        id=f"inv_test_{number}",
        number=f"TEST-{number[:8]}",
        currency="USD",
        total_cents=total,
        customer=customer,
        lines=(
            LineToSend(id=f"item_1_{number}", description="Base fee", amount_cents=2_900),
            LineToSend(id=f"item_2_{number}", description="Calls", amount_cents=62_500),
            LineToSend(id=f"item_3_{number}", description="Included calls", amount_cents=-50_000),
        ),
        retried=retried,
    )


def charge_of(invoice, stripe_invoice, method, *, attempt=1):
    return ChargeToMake(invoice=invoice.id, stripe_invoice_id=stripe_invoice, payment_method=method, attempt=attempt)


def test_from_a_customer_to_a_paid_invoice(customer, at_stripe):
    stripe_customer = gateway.ensure_customer(customer)
    card = gateway.attach_payment_method(stripe_customer=stripe_customer, payment_method="pm_card_visa")
    invoice = invoice_of(customer)

    stripe_invoice = gateway.send_invoice(invoice, stripe_customer=stripe_customer)
    sent = at_stripe.v1.invoices.retrieve(stripe_invoice)
    again = gateway.send_invoice(invoice_of(customer, retried=True), stripe_customer=stripe_customer)
    paid = gateway.charge_invoice(charge_of(invoice, stripe_invoice, card.stripe_id))
    paid_again = gateway.charge_invoice(charge_of(invoice, stripe_invoice, card.stripe_id))

    assert (card.brand, card.last_four) == ("visa", "4242")
    assert (sent.status, sent.total, sent.amount_due) == ("open", 15_400, 15_400)
    assert again == stripe_invoice
    assert paid == paid_again == Paid(reference=stripe_invoice, amount_cents=15_400)
    assert len(at_stripe.v1.invoices.list({"customer": stripe_customer}).data) == 1
    assert [charge.amount for charge in at_stripe.v1.charges.list({"customer": stripe_customer}).data] == [15_400]


def test_the_customer_is_created_once(customer):
    assert gateway.ensure_customer(customer) == gateway.ensure_customer(customer)


def test_a_declined_card_cannot_be_attached(customer):
    stripe_customer = gateway.ensure_customer(customer)

    with pytest.raises(gateway.CardDeclined) as caught:
        gateway.attach_payment_method(stripe_customer=stripe_customer, payment_method="pm_card_visa_chargeDeclined")

    assert caught.value.code == "generic_decline"


def test_a_card_that_fails_later_is_declined_and_a_new_one_pays(customer):
    stripe_customer = gateway.ensure_customer(customer)
    invoice = invoice_of(customer)
    stripe_invoice = gateway.send_invoice(invoice, stripe_customer=stripe_customer)
    bad = gateway.attach_payment_method(stripe_customer=stripe_customer, payment_method="pm_card_chargeCustomerFail")

    declined = gateway.charge_invoice(charge_of(invoice, stripe_invoice, bad.stripe_id))
    good = gateway.attach_payment_method(stripe_customer=stripe_customer, payment_method="pm_card_visa")
    paid = gateway.charge_invoice(charge_of(invoice, stripe_invoice, good.stripe_id, attempt=2))

    assert isinstance(declined, Declined)
    assert declined.code == "generic_decline"
    assert paid == Paid(reference=stripe_invoice, amount_cents=15_400)


def test_a_total_that_differs_is_not_finalized(customer, at_stripe):
    stripe_customer = gateway.ensure_customer(customer)

    with pytest.raises(gateway.StripeRefused, match="Stripe's total is 15400, ours is 15401"):
        gateway.send_invoice(invoice_of(customer, total=15_401), stripe_customer=stripe_customer)

    (found,) = at_stripe.v1.invoices.list({"customer": stripe_customer}).data
    assert found.status == "draft"
