"""/v1/customers/subscription-status and /v1/customers/portal/overview, which the published client library calls."""

import asyncio
from datetime import timedelta

import httpx
import lumen
import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from billing.models import Invoice, Payment, PaymentMethod
from billing.services.subscribe import subscribe
from plans.models import Subscription
from tests.factories import CustomerFactory, FixedComponentFactory, PriceFactory, UsageComponentFactory

NOON = "2025-03-10T12:00:00.000Z"
STATUS = "/v1/customers/subscription-status"
OVERVIEW = "/v1/customers/portal/overview"


@pytest.fixture
def jane(db):
    return CustomerFactory(name="Jane", email="j@x.io", external_customer_id="user_1", invoice_prefix="JANE")


@pytest.fixture
def price(db):
    return PriceFactory(plan__name="Pro")


def test_tells_the_active_subscription(api, jane, price, now):
    subscription = subscribe(at=now, customer=jane, plan=price.plan, price=price)

    assert api.get(STATUS, {"externalCustomerId": "user_1"}).body == {
        "hasActiveSubscription": True,
        "customer": {"id": jane.public_id, "name": "Jane", "email": "j@x.io"},
        "subscription": {
            "id": subscription.public_id,
            "planId": price.plan.public_id,
            "planName": "Pro",
            "status": "active",
            "planDescription": None,
            "startTimestamp": NOON,
            "currency": "USD",
        },
    }


def test_tells_that_there_is_no_subscription(api, jane):
    assert api.get(STATUS, {"externalCustomerId": "user_1"}).body == {
        "hasActiveSubscription": False,
        "customer": {"id": jane.public_id, "name": "Jane", "email": "j@x.io"},
        "subscription": None,
    }


@pytest.mark.parametrize(("status", "active"), [("past_due", True), ("paused", False), ("unpaid", False)])
def test_a_subscription_that_gives_nothing_is_shown_but_not_active(api, jane, price, now, status, active):
    subscribe(at=now, customer=jane, plan=price.plan, price=price)
    Subscription.objects.update(status=status, paused_at=timezone.now() if status == "paused" else None)

    body = api.get(STATUS, {"externalCustomerId": "user_1"}).body

    assert (body["hasActiveSubscription"], body["subscription"]["status"]) == (active, status)


def test_a_subscription_that_has_not_begun_is_not_active(api, jane, price, now):
    subscribe(at=now, customer=jane, plan=price.plan, price=price, started_at=now + timedelta(days=2))

    assert api.get(STATUS, {"externalCustomerId": "user_1"}).body["hasActiveSubscription"] is False


def test_an_ended_subscription_is_none(api, jane, price, now):
    subscribe(at=now, customer=jane, plan=price.plan, price=price)
    Subscription.objects.update(status="canceled", ended_at=now)

    body = api.get(STATUS, {"externalCustomerId": "user_1"}).body

    assert (body["hasActiveSubscription"], body["subscription"]) == (False, None)


@pytest.mark.parametrize("path", [STATUS, OVERVIEW])
def test_answers_customer_not_found_for_an_unknown_external_id(api, jane, path):
    for identifier in ("nobody", jane.public_id):
        answer = api.get(path, {"externalCustomerId": identifier})
        assert answer.status == 404
        assert answer.body == {"error": "Customer not found", "code": "customer_not_found", "details": None}


@pytest.mark.parametrize("path", [STATUS, OVERVIEW])
def test_asks_for_the_external_id(api, path):
    assert api.get(path).status == 400


def test_shows_the_portal_of_a_customer_without_anything(api, jane):
    assert api.get(OVERVIEW, {"externalCustomerId": "user_1"}).body == {
        "portal": {
            "customer": {"id": jane.public_id, "name": "Jane", "email": "j@x.io"},
            "subscription": None,
            "paymentMethods": [],
            "invoices": [],
            "payments": [],
        }
    }


def test_shows_subscription_methods_invoices_and_payments(api, jane, now):
    price = PriceFactory(fee=None)
    FixedComponentFactory(price=price)
    UsageComponentFactory(price=price)
    subscription = subscribe(at=now, customer=jane, plan=price.plan, price=price)
    card = PaymentMethod.objects.create(
        customer=jane,
        card_brand="visa",
        card_last_four="4242",
        card_expiry_month=12,
        card_expiry_year=2030,
        external_id="pm_1",
        is_default=True,
        created_at=now,
    )
    issued = Invoice.objects.get()
    draft = Invoice.objects.create(
        customer=jane,
        subscription=subscription,
        kind="cycle",
        currency="USD",
        closes_at=now + timedelta(days=31),
        finalize_at=now + timedelta(days=31),
        created_at=now,
    )
    failed = Payment.objects.create(
        customer=jane,
        invoice=issued,
        payment_method=card,
        status="failed",
        amount_cents=2900,
        currency="USD",
        external_id="pi_1",
        attempt=1,
        error_message="Card declined",
        created_at=now,
    )

    portal = api.get(OVERVIEW, {"externalCustomerId": "user_1"}).body["portal"]

    assert portal["subscription"] == {
        "id": subscription.public_id,
        "stableSubscriptionId": subscription.stable_subscription_id,
        "status": "active",
        "planId": price.plan.public_id,
        "gracePeriodEndsAt": None,
        "paymentMethodId": card.public_id,
    }
    assert portal["paymentMethods"] == [
        {
            "id": card.public_id,
            "provider": "stripe",
            "paymentType": "card",
            "status": "active",
            "cardBrand": "visa",
            "cardLastFour": "4242",
            "cardExpiryMonth": 12,
            "cardExpiryYear": 2030,
            "linkedToSubscription": True,
        }
    ]
    common = {
        "currency": "USD",
        "paidDate": None,
        "pdfUrl": None,
        "documentType": "standard",
        "originalInvoiceId": None,
        "originalInvoiceNumber": None,
    }
    assert portal["invoices"] == [
        common
        | {
            "id": draft.public_id,
            "number": None,
            "status": "draft",
            "totalAmountCents": 0,
            "issueDate": None,
            "paymentStatus": None,
        },
        common
        | {
            "id": issued.public_id,
            "number": "JANE-001",
            "status": "issued",
            "totalAmountCents": 2900,
            "issueDate": NOON,
            "paymentStatus": "failed",
        },
    ]
    assert portal["payments"] == [
        {
            "id": failed.public_id,
            "amountCents": 2900,
            "currency": "USD",
            "status": "failed",
            "createdAt": NOON,
            "errorMessage": "Card declined",
            "invoiceId": issued.public_id,
        }
    ]


def test_hides_invoices_that_came_to_nothing_and_tells_a_late_success(api, jane, price, now):
    subscribe(at=now, customer=jane, plan=price.plan, price=price)
    invoice = Invoice.objects.get()
    common = {"customer": jane, "invoice": invoice, "amount_cents": 2900, "currency": "USD", "created_at": now}
    Payment.objects.create(status="succeeded", external_id="pi_2", **common)
    Payment.objects.create(status="failed", external_id="pi_1", attempt=1, **common)
    Invoice.objects.create(
        customer=jane,
        kind="cycle",
        status="skipped",
        currency="USD",
        closes_at=now,
        finalize_at=now,
        created_at=now,
    )

    invoices = api.get(OVERVIEW, {"externalCustomerId": "user_1"}).body["portal"]["invoices"]

    assert [(shown["id"], shown["paymentStatus"]) for shown in invoices] == [(invoice.public_id, "succeeded")]


@pytest.fixture
def through_the_library(api, monkeypatch):
    """Let the published library's requests end in this process."""

    async def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        reply = await sync_to_async(api.get, thread_sensitive=True)(path)
        return httpx.Response(reply.status, content=reply.response.content)

    original = httpx.AsyncClient.__init__
    monkeypatch.setattr(
        httpx.AsyncClient,
        "__init__",
        lambda self, *args, **kwargs: original(self, *args, **kwargs | {"transport": httpx.MockTransport(answer)}),
    )
    return {"api_key": api.key, "api_url": "http://testserver"}


@pytest.mark.django_db(transaction=True)
def test_the_published_library_reads_both(through_the_library, jane):
    status = asyncio.run(lumen.get_subscription_status("user_1", **through_the_library))
    overview = asyncio.run(lumen.get_customer_overview("user_1", **through_the_library))
    unknown = asyncio.run(lumen.get_subscription_status("nobody", **through_the_library))

    assert status["customer"]["id"] == jane.public_id
    assert overview["portal"]["customer"]["id"] == jane.public_id
    assert unknown == {"error": "Customer not found"}
