"""POST /v1/payment-methods and GET /v1/payment-methods/{id}."""

from datetime import UTC, datetime

import pytest
import time_machine

from billing import gateway, jobs
from billing.models import Invoice, PaymentMethod
from billing.sandbox import FaultKind
from billing.services.send import customer_to_send
from billing.services.subscribe import subscribe
from tests.factories import CustomerFactory
from tests.pro_plan import make_pro_plan

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
PATH = "/v1/payment-methods"

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("stripe_sandbox")]


@pytest.fixture(autouse=True)
def now():
    with time_machine.travel(AT, tick=False):
        yield AT


@pytest.fixture
def ada(db):
    return CustomerFactory(name="Ada", external_customer_id="user_1")


def body(customer, token="pm_card_visa", **fields):
    return {
        "customerId": customer.public_id,
        "provider": "stripe",
        "paymentType": "card",
        "status": "active",
        "externalPspPaymentMethodId": token,
    } | fields


def test_attaches_a_card_and_answers_the_bare_object(api, ada, at_stripe):
    answer = api.post(PATH, body(ada))

    method = PaymentMethod.objects.get()
    assert answer.status == 200
    assert answer.body == {
        "id": method.public_id,
        "customerId": ada.public_id,
        "provider": "stripe",
        "paymentType": "card",
        "status": "active",
        "isDefault": True,
        "cardBrand": "visa",
        "cardLastFour": "4242",
        "cardExpiryMonth": 12,
        "cardExpiryYear": at_stripe.v1.payment_methods.retrieve(method.external_id).card.exp_year,
        "externalPspPaymentMethodId": method.external_id,
        "createdAt": "2026-01-31T10:00:00.000Z",
    }
    ada.refresh_from_db()
    assert at_stripe.v1.payment_methods.retrieve(method.external_id).customer == ada.psp_customer_id


def test_by_external_id(api, ada):
    answer = api.post(f"{PATH}?isExtCustId=true", body(ada, customerId="user_1"))

    assert (answer.status, answer.body["customerId"]) == (200, ada.public_id)


def test_a_second_card_becomes_the_default(api, ada):
    first = api.post(PATH, body(ada)).body
    second = api.post(PATH, body(ada, "pm_card_mastercard")).body

    defaults = dict(PaymentMethod.objects.values_list("public_id", "is_default"))
    assert defaults == {first["id"]: False, second["id"]: True}


def test_the_same_card_again_is_kept_once(api, ada):
    first = api.post(PATH, body(ada)).body

    again = api.post(PATH, body(ada, first["externalPspPaymentMethodId"]))

    assert (again.status, again.body["id"]) == (200, first["id"])
    assert PaymentMethod.objects.count() == 1


def test_the_same_request_again_attaches_one_card(api, ada, at_stripe):
    answers = [api.post(PATH, body(ada), idempotency_key="once").body for _ in range(2)]

    assert answers[0] == answers[1]
    ada.refresh_from_db()
    assert len(at_stripe.v1.payment_methods.list({"customer": ada.psp_customer_id}).data) == 1


def test_an_invoice_that_waits_is_charged_by_the_next_sweep(api, ada):
    subscribe(at=AT, customer=ada, plan=make_pro_plan().plan)
    jobs.send_invoices(AT)

    api.post(PATH, body(ada))
    jobs.collect_invoices(AT)

    assert Invoice.objects.get().status == "paid"


@pytest.mark.parametrize(
    ("token", "code", "message"),
    [
        ("pm_card_visa_chargeDeclined", "generic_decline", "Your card was declined."),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds", "Your card has insufficient funds."),
    ],
)
def test_a_declined_card_is_refused_and_not_kept(api, ada, token, code, message):
    answer = api.post(PATH, body(ada, token))

    assert answer.status == 402
    assert answer.body == {"error": message, "code": "payment_method_refused", "details": {"code": code}}
    assert PaymentMethod.objects.count() == 0


def test_a_declined_card_leaves_the_old_one_the_default(api, ada):
    good = api.post(PATH, body(ada)).body

    api.post(PATH, body(ada, "pm_card_visa_chargeDeclined"))

    assert PaymentMethod.objects.get(is_default=True).public_id == good["id"]


def test_a_card_of_another_customer_is_refused(api, ada):
    theirs = api.post(PATH, body(CustomerFactory())).body

    answer = api.post(PATH, body(ada, theirs["externalPspPaymentMethodId"]))

    assert (answer.status, answer.body["code"]) == (402, "payment_method_refused")
    assert PaymentMethod.objects.get().customer.public_id == theirs["customerId"]


def test_an_unknown_payment_method_is_refused(api, ada):
    answer = api.post(PATH, body(ada, "pm_nothing"))

    assert (answer.status, answer.body["code"]) == (402, "payment_method_refused")
    assert "pm_nothing" in answer.body["error"]
    assert PaymentMethod.objects.count() == 0


@pytest.mark.parametrize("position", range(5))
@pytest.mark.parametrize("kind", [FaultKind.TIMEOUT, FaultKind.TIMEOUT_AFTER_COMMIT, FaultKind.SERVER_ERROR])
def test_without_an_answer_of_stripe_nothing_is_kept_and_it_can_be_sent_again(
    api, ada, at_stripe, wire, position, kind
):
    # Mirroring the first object asks once whose account it is.
    gateway.ensure_customer(customer_to_send(CustomerFactory()))
    # The look-up of the customer, its creation and name, the card, and which one is the default.
    asked = [
        "GET /v1/customers",
        "POST /v1/customers",
        "POST /v1/customers/…",
        "POST /v1/payment_methods/…/attach",
        "POST /v1/customers/…",
    ]
    wire.break_at(position, kind)

    answer = api.post(PATH, body(ada), idempotency_key="once")

    assert wire.calls == asked[: position + 1]
    assert (answer.status, answer.body["code"]) == (503, "payment_provider_unavailable")
    assert PaymentMethod.objects.count() == 0
    wire.heal()
    assert api.post(PATH, body(ada), idempotency_key="once").status == 200
    assert len(at_stripe.v1.customers.list().data) == 2


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"customerId": None}, "customerId"),
        ({"customerId": ""}, "customerId"),
        ({"externalPspPaymentMethodId": ""}, "externalPspPaymentMethodId"),
        ({"externalPspPaymentMethodId": None}, "externalPspPaymentMethodId"),
        ({"externalPspPaymentMethodId": 5 * ["x"]}, "externalPspPaymentMethodId"),
        ({"externalPspPaymentMethodId": "x" * 256}, "externalPspPaymentMethodId"),
        ({"provider": "dodo"}, "provider"),
        ({"status": "brilliant"}, "status"),
    ],
)
def test_refuses_a_body_that_makes_no_sense(api, ada, wire, change, path):
    answer = api.post(PATH, body(ada, **change))

    assert answer.status == 400
    assert path in answer.body["error"]
    assert wire.calls == []


def test_an_id_with_a_slash_reaches_no_other_address_of_stripe(api, ada, at_stripe, wire):
    answer = api.post(PATH, body(ada, "../customers/cus_1?x="))

    assert answer.status == 402
    # Naming the new customer, and nothing more.
    assert wire.calls.count("POST /v1/customers/…") == 1
    assert PaymentMethod.objects.count() == 0


def test_an_unknown_customer_is_not_found(api, wire):
    answer = api.post(PATH, {"customerId": "cus_nobody", "externalPspPaymentMethodId": "pm_card_visa"})

    assert (answer.status, answer.body["code"]) == (404, "customer_not_found")
    assert wire.calls == []


def test_one_is_a_list_of_one(api, ada):
    made = api.post(PATH, body(ada)).body

    assert api.get(f"{PATH}/{made['id']}").body == {"paymentMethod": [made]}


def test_an_unknown_one_is_not_found(api):
    answer = api.get(f"{PATH}/pm_nothing")

    assert (answer.status, answer.body["error"]) == (404, "Payment method not found")
