"""/v1/customers: create, get, list."""

from decimal import Decimal

import pytest

from billing.models import Invoice, Payment
from metering.events import NewEvent
from metering.models import UsageDay
from metering.services.record_events import record_events
from plans.models import Customer, Merchant
from tests.factories import START, CustomerFactory, MetricFactory

NOON = "2025-03-10T12:00:00.000Z"


def pay(customer, cents, *, currency="USD", status="succeeded", attempt=0):
    invoice = Invoice.objects.create(
        customer=customer, kind="cycle", currency=currency, closes_at=START, finalize_at=START, created_at=START
    )
    return Payment.objects.create(
        customer=customer,
        invoice=invoice,
        status=status,
        amount_cents=cents,
        currency=currency,
        external_id="pi_1",
        attempt=attempt,
        created_at=START,
    )


def test_creates_a_customer_with_defaults(api):
    answer = api.post("/v1/customers", {"name": " Jane ", "email": "j@x.io", "externalCustomerId": "user_1"})

    customer = Customer.objects.get()
    assert answer.status == 200
    assert answer.body == {
        "customer": {
            "id": customer.public_id,
            "merchantId": Merchant.objects.get().public_id,
            "name": "Jane",
            "email": "j@x.io",
            "phoneNumber": None,
            "externalCustomerId": "user_1",
            "pspCustomerId": None,
            "billingAddressLine1": None,
            "billingAddressLine2": None,
            "billingCity": None,
            "billingStateProvince": None,
            "billingPostalCode": None,
            "billingCountry": None,
            "businessName": None,
            "taxId": None,
            "taxExempt": False,
            "taxExemptionReason": None,
            "taxExemptionCertificate": None,
            "taxRateDefinitionId": None,
            "taxCalculationMethod": None,
            "invoicePrefix": customer.invoice_prefix,
            "preferredLanguage": "en",
            "timezone": "UTC",
            "preferredCurrency": "USD",
            "metadata": {},
            "customerOrganizationId": None,
            "orgRole": None,
            "createdAt": NOON,
            "updatedAt": NOON,
            "deletedAt": None,
        }
    }


def test_keeps_every_field_that_was_sent(api):
    sent = {
        "name": "Acme",
        "email": "a@acme.example",
        "phoneNumber": "+49 30 1",
        "externalCustomerId": "acme",
        "pspCustomerId": "cus_stripe",
        "billingAddressLine1": "Street 1",
        "billingAddressLine2": "Floor 2",
        "billingCity": "Berlin",
        "billingStateProvince": "BE",
        "billingPostalCode": "10115",
        "billingCountry": "DE",
        "businessName": "Acme GmbH",
        "taxId": "DE123",
        "taxExempt": True,
        "taxExemptionReason": "export",
        "invoicePrefix": "ACME",
        "preferredLanguage": "de-AT",
        "timezone": "Europe/Berlin",
        "preferredCurrency": "EUR",
        "metadata": {"seats": 3, "nested": {"share": Decimal("0.1")}},
        "customerOrganizationId": "org_1",
        "orgRole": "primary",
    }

    created = api.post("/v1/customers", sent).body["customer"]

    assert {name: created[name] for name in sent} == sent
    assert api.get(f"/v1/customers/{created['id']}").body == {"customer": created}


def test_reads_codes_in_any_case_and_takes_null_for_absent(api):
    created = api.post(
        "/v1/customers",
        {"name": "A", "email": "a@x.io", "billingCountry": "de", "preferredCurrency": "eur", "timezone": None},
    ).body["customer"]

    assert (created["billingCountry"], created["preferredCurrency"], created["timezone"]) == ("DE", "EUR", "UTC")


def test_ignores_unknown_fields(api):
    assert api.post("/v1/customers", {"name": "A", "email": "a@x.io", "somethingElse": 1}).status == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", None),
        ("name", ""),
        ("name", 5),
        ("name", ["A"]),
        ("name", "x" * 201),
        ("email", "not an address"),
        ("email", 1),
        ("phoneNumber", "1" * 41),
        ("externalCustomerId", 12),
        ("billingCountry", "XX"),
        ("billingCountry", "EU"),
        ("billingCountry", "Germany"),
        ("preferredCurrency", "ABC"),
        ("preferredLanguage", "klingonish"),
        ("timezone", "Mars/Olympus"),
        ("taxExempt", "true"),
        ("taxExempt", 1),
        ("metadata", []),
        ("metadata", "{}"),
        ("metadata", {"x": "y" * 17_000}),
        ("orgRole", "boss"),
        ("invoicePrefix", "P" * 21),
        ("dangerouslyAllowCustomerWithoutEmail", "yes"),
    ],
)
def test_refuses_a_field_of_the_wrong_kind_and_writes_nothing(api, field, value):
    answer = api.post("/v1/customers", {"name": "A", "email": "a@x.io"} | {field: value})

    assert answer.status == 400
    assert answer.body["code"] == "invalid_request"
    assert answer.body["details"][0]["path"] == field
    assert not Customer.objects.exists()


def test_refuses_a_customer_without_name(api):
    answer = api.post("/v1/customers", {"email": "a@x.io"})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "name")


def test_refuses_a_missing_email_unless_it_is_wished(api):
    assert api.post("/v1/customers", {"name": "A"}).body["details"][0]["path"] == "email"
    assert not Customer.objects.exists()

    created = api.post("/v1/customers", {"name": "A", "dangerouslyAllowCustomerWithoutEmail": True})

    assert (created.status, created.body["customer"]["email"]) == (200, None)


def test_refuses_an_email_in_use_unless_it_is_wished(api):
    CustomerFactory(email="j@x.io")

    refused = api.post("/v1/customers", {"name": "B", "email": "J@x.io"})

    assert (refused.status, refused.body["code"]) == (409, "duplicate_customer")
    assert refused.body["error"].startswith("Another customer ")
    assert Customer.objects.count() == 1
    wished = {"name": "B", "email": "J@x.io", "dangerouslyAllowSameEmailForDifferentCustomers": True}
    assert api.post("/v1/customers", wished).status == 200


@pytest.mark.parametrize("field", ["externalCustomerId", "invoicePrefix", "pspCustomerId"])
def test_refuses_an_identifier_in_use(api, field):
    api.post("/v1/customers", {"name": "A", "email": "a@x.io", field: "taken"})

    answer = api.post("/v1/customers", {"name": "B", "email": "b@x.io", field: "taken"})

    assert (answer.status, answer.body["code"]) == (409, "duplicate_customer")
    assert Customer.objects.count() == 1


def test_gives_a_new_customer_the_events_that_waited_for_it(api):
    metric = MetricFactory(event_name="calls")
    event = NewEvent(
        event_name="calls",
        customer_id=None,
        external_customer_id="early",
        value=Decimal(3),
        text_value=None,
        occurred_at=START,
        idempotency_key="1",
        properties="{}",
    )
    record_events(events=[event], at=START)

    api.post("/v1/customers", {"name": "A", "email": "a@x.io", "externalCustomerId": "early"})

    assert UsageDay.objects.get(version__metric=metric).total == 3


def test_shows_a_customer_by_external_id(api):
    customer = CustomerFactory(external_customer_id="user one")

    answer = api.get("/v1/customers/user%20one", {"isExtCustId": "true"})

    assert answer.body["customer"]["id"] == customer.public_id
    assert api.get("/v1/customers/user%20one").status == 404


def test_answers_404_for_an_unknown_or_deleted_customer(api, now):
    deleted = CustomerFactory(deleted_at=now)

    for identifier in ("cus_unknown", deleted.public_id):
        answer = api.get(f"/v1/customers/{identifier}")
        assert answer.status == 404
        assert answer.body == {
            "error": "Customer not found or access denied",
            "code": "customer_not_found",
            "details": None,
        }


def test_refuses_a_query_boolean_that_is_neither_true_nor_false(api):
    answer = api.get(f"/v1/customers/{CustomerFactory().public_id}", {"isExtCustId": "1"})

    assert (answer.status, answer.body["error"]) == (400, 'isExtCustId: must be "true" or "false".')


def test_lists_the_newest_first_without_deleted_ones_and_members(api, now):
    older = CustomerFactory()
    newer = CustomerFactory(created_at=now)
    CustomerFactory(deleted_at=now)
    CustomerFactory(org_role="member")
    primary = CustomerFactory(org_role="primary")

    body = api.get("/v1/customers").body

    assert list(body) == ["customers"]
    assert [customer["id"] for customer in body["customers"]] == [newer.public_id, primary.public_id, older.public_id]


def test_adds_what_customers_have_paid(api):
    payer, other = CustomerFactory(), CustomerFactory(preferred_currency="EUR")
    pay(payer, 2900)
    pay(payer, 100)
    pay(payer, 5000, status="failed", attempt=1)
    pay(payer, 7777, currency="EUR")

    listed = api.get("/v1/customers", {"includePaymentData": "true"}).body["customers"]

    paid = {row["id"]: (row["totalPaymentsCents"], row["paymentCount"], row["currency"]) for row in listed}
    assert paid == {payer.public_id: (3000, 2, "USD"), other.public_id: (0, 0, "EUR")}
    assert "paymentCount" not in api.get("/v1/customers").body["customers"][0]


def test_lists_with_a_constant_number_of_queries(api, django_assert_num_queries):
    for _ in range(3):
        pay(CustomerFactory(), 100)

    # The key, the customers, the merchant, the sums.
    with django_assert_num_queries(4):
        api.get("/v1/customers", {"includePaymentData": "true"})


def test_a_key_without_the_scope_may_not_read(api, db):
    from config.keys import create_api_key

    _, api.key = create_api_key(name="Events", key_type="secret", scopes=["events:write"], at=START)

    assert api.get("/v1/customers").status == 403
