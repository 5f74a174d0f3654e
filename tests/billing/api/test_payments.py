"""GET /v1/payments."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from billing import jobs
from billing.models import Invoice, Payment
from billing.services.subscribe import subscribe
from tests.factories import CustomerFactory
from tests.pro_plan import make_pro_plan

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
PAID = "2026-01-31T10:00:00.000Z"

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("stripe_sandbox")]


@pytest.fixture(autouse=True)
def now():
    with time_machine.travel(AT, tick=False):
        yield AT


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def paying(pro, give_card):
    """Subscribe a customer and let it pay, or fail to, its first invoice."""

    def make(token="pm_card_visa", **fields):
        customer = CustomerFactory(**fields)
        subscribe(at=AT, customer=customer, plan=pro.plan)
        give_card(customer, token)
        jobs.send_invoices(AT)
        jobs.collect_invoices(AT)
        return customer

    return make


def test_a_payment_has_the_contracts_shape(api, paying, pro):
    customer = paying(name="Ada", invoice_prefix="ADA")
    payment, invoice = Payment.objects.get(), Invoice.objects.get()

    assert api.get("/v1/payments", {"customerId": customer.public_id}).body == {
        "payments": [
            {
                "id": payment.public_id,
                "invoiceId": invoice.public_id,
                "customerId": customer.public_id,
                "paymentMethodId": payment.payment_method.public_id,
                "externalPaymentId": payment.external_id,
                "amountCents": 2_900,
                "currency": "USD",
                "status": "succeeded",
                "refundStatus": "none",
                "refundedAmountCents": 0,
                "disputeStatus": "none",
                "paymentProvider": "stripe",
                "customerInvoiceNumber": "ADA-001",
                "subscriptionId": invoice.subscription.public_id,
                "planId": pro.plan.public_id,
                "planName": pro.plan.name,
                "customerName": "Ada",
                "errorMessage": None,
                "createdAt": PAID,
                "updatedAt": PAID,
            }
        ]
    }


def test_a_failed_payment_says_why(api, paying):
    customer = paying("pm_card_chargeCustomerFail")

    (payment,) = api.get("/v1/payments", {"customerId": customer.public_id}).body["payments"]

    assert (payment["status"], payment["errorMessage"]) == ("failed", "Your card was declined.")


def test_of_one_customer_by_external_id(api, paying):
    paying(external_customer_id="user_1")
    paying(external_customer_id="user_2")

    payments = api.get("/v1/payments", {"customerId": "user_1", "isExtCustId": "true"}).body["payments"]

    assert len(payments) == 1


def test_without_a_customer_the_latest_ten_newest_first(api, paying):
    customer = paying()
    invoice = Invoice.objects.get()
    Payment.objects.bulk_create(
        Payment(
            customer=customer,
            invoice=invoice,
            status="failed",
            amount_cents=2_900,
            currency="USD",
            external_id=f"pi_{attempt}",
            attempt=attempt,
            created_at=AT + timedelta(days=attempt),
        )
        for attempt in range(2, 14)
    )

    latest = api.get("/v1/payments").body["payments"]
    all_of_one = api.get("/v1/payments", {"customerId": customer.public_id}).body["payments"]

    assert [payment["externalPaymentId"] for payment in latest] == [f"pi_{attempt}" for attempt in range(13, 3, -1)]
    assert len(all_of_one) == 13


def test_no_payments_at_all(api):
    assert api.get("/v1/payments").body == {"payments": []}


def test_an_unknown_customer_is_not_found(api):
    answer = api.get("/v1/payments", {"customerId": "cus_nobody"})

    assert (answer.status, answer.body["code"]) == (404, "customer_not_found")


def test_one_payment_says_who_paid_what_and_how(api, paying):
    customer = paying(name="Ada", email="ada@example.com", invoice_prefix="ADA")
    payment, invoice = Payment.objects.get(), Invoice.objects.get()

    answer = api.get(f"/v1/payments/{payment.public_id}")

    listed = api.get("/v1/payments").body["payments"][0]
    assert answer.body["payment"] == listed | {
        "customer": {"id": customer.public_id, "name": "Ada", "email": "ada@example.com"},
        "invoice": {
            "id": invoice.public_id,
            "customerInvoiceNumber": "ADA-001",
            "status": "paid",
            "totalAmountCents": 2_900,
            "currency": "USD",
        },
        "pspPaymentMethod": {
            "id": payment.payment_method.public_id,
            "type": "card",
            "cardLastFour": "4242",
            "cardBrand": "visa",
        },
        "refunds": [],
        "disputes": [],
    }


def test_an_unknown_payment_is_not_found(api):
    answer = api.get("/v1/payments/pay_1")

    assert (answer.status, answer.body["error"]) == (404, "Payment not found")
