"""GET /v1/invoices and /v1/invoices/{id}."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing import jobs
from billing.models import Invoice
from billing.services.close_periods import close_periods
from billing.services.subscribe import subscribe
from tests.factories import CustomerFactory
from tests.pro_plan import make_pro_plan, sweep, use

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
BILLED = datetime(2026, 2, 28, 1, tzinfo=UTC)
STARTED, FEBRUARY, MARCH = "2026-01-31T10:00:00.000Z", "2026-02-28T00:00:00.000Z", "2026-03-31T00:00:00.000Z"
FINALIZED = "2026-02-28T01:00:00.000Z"

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("stripe_sandbox")]


@pytest.fixture(autouse=True)
def now():
    with time_machine.travel(BILLED, tick=False):
        yield BILLED


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def ada(pro):
    """Two invoices: 29.00, and 154.00 for a month of 12,500 calls."""
    customer = CustomerFactory(name="Ada", email="ada@x.io", external_customer_id="user_1", invoice_prefix="ADA")
    subscribe(at=AT, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 12_500, AT + timedelta(days=2))
    sweep(BILLED)
    return customer


def numbers(answer):
    return [invoice["customerInvoiceNumber"] for invoice in answer.body["invoices"]]


class TestList:
    def test_is_newest_first_in_the_contracts_shape(self, api, ada):
        subscription = ada.subscriptions.get()
        merchant = api.get("/v1/invoices").body["invoices"][0]["merchantId"]

        answer = api.get("/v1/invoices")

        assert numbers(answer) == ["ADA-002", "ADA-001"]
        assert answer.body["pagination"] == {"total": 2, "limit": 20, "offset": 0}
        assert answer.body["invoices"][0] == {
            "id": Invoice.objects.get(number="ADA-002").public_id,
            "customerInvoiceNumber": "ADA-002",
            "merchantId": merchant,
            "customerId": ada.public_id,
            "subscriptionId": subscription.public_id,
            "kind": "cycle",
            "status": "issued",
            "subtotalCents": 15_400,
            "taxAmountCents": 0,
            "totalAmountCents": 15_400,
            "effectiveTaxRate": "0",
            "taxJurisdiction": None,
            "taxCalculationMethod": None,
            "pricesIncludeTax": False,
            "taxExemptionReason": None,
            "taxReasonCode": None,
            "currency": "USD",
            "issueDate": FINALIZED,
            "dueDate": FINALIZED,
            "paidDate": None,
            "billingPeriodStart": FEBRUARY,
            "billingPeriodEnd": MARCH,
            "stripeInvoiceId": None,
            "pdfUrl": None,
            "hasPdf": False,
            "taxLineItemDescriptions": [],
            "notes": None,
            "documentType": "standard",
            "originalInvoiceId": None,
            "cancellationOrCreditReason": None,
            "voidedAt": None,
            "replacesInvoiceId": None,
            "carriedToInvoiceId": None,
            "creditedAmountCents": 0,
            "openAmountCents": 15_400,
            "createdAt": FINALIZED,
            "updatedAt": FINALIZED,
            "customer": {"id": ada.public_id, "name": "Ada"},
        }

    def test_turns_pages(self, api, ada):
        first = api.get("/v1/invoices", {"limit": "1"})
        second = api.get("/v1/invoices", {"limit": "1", "offset": "1"})
        beyond = api.get("/v1/invoices", {"limit": "1", "offset": "2"})

        assert (numbers(first), numbers(second), numbers(beyond)) == (["ADA-002"], ["ADA-001"], [])
        assert second.body["pagination"] == {"total": 2, "limit": 1, "offset": 1}

    def test_of_one_customer_by_either_id(self, api, ada, pro):
        other = CustomerFactory(invoice_prefix="BEN")
        subscribe(at=AT, customer=other, plan=pro.plan)

        by_ours = api.get("/v1/invoices", {"customerId": ada.public_id})
        by_theirs = api.get("/v1/invoices", {"customerId": "user_1", "isExtCustId": "true"})

        assert numbers(by_ours) == numbers(by_theirs) == ["ADA-002", "ADA-001"]
        assert by_ours.body["pagination"]["total"] == 2
        assert len(numbers(api.get("/v1/invoices"))) == 3

    def test_of_one_status(self, api, ada, give_card):
        jobs.send_invoices(BILLED)
        give_card(ada, at=BILLED)
        Invoice.objects.filter(number="ADA-001").update(collect_at=None)
        jobs.collect_invoices(BILLED)

        assert numbers(api.get("/v1/invoices", {"status": "paid"})) == ["ADA-002"]
        assert numbers(api.get("/v1/invoices", {"status": "issued"})) == ["ADA-001"]
        assert numbers(api.get("/v1/invoices", {"status": "void"})) == []

    def test_shows_drafts_but_not_what_came_to_nothing(self, api):
        drafted, free = make_pro_plan(), make_pro_plan(base_cents=None)
        for pro in (drafted, free):
            subscribe(at=AT, customer=CustomerFactory(), plan=pro.plan)
        sweep(BILLED - timedelta(minutes=30))

        before = [invoice["status"] for invoice in api.get("/v1/invoices").body["invoices"]]
        sweep(BILLED)
        after = [invoice["status"] for invoice in api.get("/v1/invoices").body["invoices"]]

        assert sorted(before) == ["draft", "draft", "issued"]
        assert sorted(after) == ["issued", "issued"]

    def test_says_of_a_draft_what_its_own_page_says(self, api, pro):
        for units in (12_500, 10_001):
            customer = CustomerFactory()
            subscribe(at=AT, customer=customer, plan=pro.plan)
            use(customer, pro.metric, units, AT + timedelta(days=2))
        sweep(BILLED - timedelta(minutes=30))

        rows = api.get("/v1/invoices", {"status": "draft"}).body["invoices"]
        pages = [api.get(f"/v1/invoices/{row['id']}").body["invoice"] for row in rows]

        # 29.00 and 5 cents for each call beyond 10,000.
        assert [(row["subtotalCents"], row["totalAmountCents"]) for row in rows] == [(2_905, 2_905), (15_400, 15_400)]
        assert [page["totalAmountCents"] for page in pages] == [2_905, 15_400]
        # Nothing of it is stored.
        assert set(Invoice.objects.filter(status="draft").values_list("total_cents", flat=True)) == {0}

    def test_asks_no_more_for_more_drafts(self, api, pro, django_assert_max_num_queries):
        for _ in range(2):
            subscribe(at=AT, customer=CustomerFactory(), plan=pro.plan)
        sweep(BILLED - timedelta(minutes=30))
        api.get("/v1/invoices")
        with CaptureQueriesContext(connection) as few:
            api.get("/v1/invoices")
        for _ in range(4):
            subscribe(at=AT, customer=CustomerFactory(), plan=pro.plan)
        sweep(BILLED - timedelta(minutes=30))

        with django_assert_max_num_queries(len(few)):
            api.get("/v1/invoices")

    @pytest.mark.parametrize(
        ("query", "path"),
        [
            ({"limit": "0"}, "limit"),
            ({"limit": "201"}, "limit"),
            ({"limit": "x"}, "limit"),
            ({"offset": "-1"}, "offset"),
            ({"offset": "99999999999999999999"}, "offset"),
            ({"status": "skipped"}, "status"),
            ({"status": "nonsense"}, "status"),
            ({"customerId": "user_1", "isExtCustId": "yes"}, "isExtCustId"),
        ],
    )
    def test_refuses_a_query_that_makes_no_sense(self, api, ada, query, path):
        answer = api.get("/v1/invoices", query)

        assert answer.status == 400
        assert path in answer.body["error"]

    def test_an_unknown_customer_is_not_found(self, api, ada):
        answer = api.get("/v1/invoices", {"customerId": "cus_nobody"})

        assert (answer.status, answer.body["code"]) == (404, "customer_not_found")

    def test_asks_the_database_the_same_number_of_times_for_any_number(
        self, api, ada, pro, django_assert_max_num_queries
    ):
        for _ in range(10):
            subscribe(at=AT, customer=CustomerFactory(), plan=pro.plan)

        with django_assert_max_num_queries(7):
            assert len(numbers(api.get("/v1/invoices"))) == 12


class TestOne:
    def test_has_lines_and_payments(self, api, ada, pro, give_card):
        jobs.send_invoices(BILLED)
        give_card(ada, at=BILLED)
        jobs.collect_invoices(BILLED)
        invoice = Invoice.objects.get(number="ADA-002")
        fixed, usage, credit = invoice.lines.all()

        body = api.get(f"/v1/invoices/{invoice.public_id}").body["invoice"]

        assert body["customer"] == {"id": ada.public_id, "name": "Ada", "email": "ada@x.io"}
        assert body["subscription"] == {
            "id": invoice.subscription.public_id,
            "stableSubscriptionId": invoice.subscription.stable_subscription_id,
        }
        assert (body["status"], body["paidDate"]) == ("paid", FINALIZED)
        assert body["stripeInvoiceId"] == invoice.stripe_invoice_id
        assert body["adjustmentInvoices"] == []
        assert body["lineItems"] == [
            {
                "id": fixed.public_id,
                "type": "fixed",
                "componentId": fixed.component.component_id,
                "metricId": None,
                "creditGrantId": None,
                "packId": None,
                "description": "Base fee",
                "quantity": 1,
                "unitAmountCents": 2_900,
                "subtotalCents": 2_900,
                "monetaryCreditCents": 0,
                "taxMetadata": None,
                "billingPeriodStart": FEBRUARY,
                "billingPeriodEnd": MARCH,
                "usagePeriodStart": None,
                "usagePeriodEnd": None,
            },
            {
                "id": usage.public_id,
                "type": "usage",
                "componentId": usage.component.component_id,
                "metricId": pro.metric.public_id,
                "creditGrantId": None,
                "packId": None,
                "description": "Calls",
                "quantity": 12_500,
                "unitAmountCents": 5,
                "subtotalCents": 62_500,
                "monetaryCreditCents": 0,
                "taxMetadata": None,
                "billingPeriodStart": FEBRUARY,
                "billingPeriodEnd": MARCH,
                "usagePeriodStart": STARTED,
                "usagePeriodEnd": FEBRUARY,
            },
            {
                "id": credit.public_id,
                "type": "credit",
                "componentId": credit.component.component_id,
                "metricId": pro.metric.public_id,
                "creditGrantId": credit.grant.public_id,
                "packId": None,
                "description": "Included calls",
                "quantity": 10_000,
                "unitAmountCents": -5,
                "subtotalCents": -50_000,
                "monetaryCreditCents": 0,
                "taxMetadata": None,
                "billingPeriodStart": FEBRUARY,
                "billingPeriodEnd": MARCH,
                "usagePeriodStart": STARTED,
                "usagePeriodEnd": FEBRUARY,
            },
        ]
        (payment,) = body["payments"]
        assert (payment["status"], payment["amountCents"], payment["invoiceId"]) == ("succeeded", 15_400, body["id"])

    def test_the_lines_add_up_to_the_total(self, api, ada):
        for invoice in Invoice.objects.all():
            body = api.get(f"/v1/invoices/{invoice.public_id}").body["invoice"]

            assert sum(line["subtotalCents"] for line in body["lineItems"]) == body["totalAmountCents"]

    def test_one_without_usage_has_one_line_and_no_payment(self, api, ada):
        invoice = Invoice.objects.get(number="ADA-001")

        body = api.get(f"/v1/invoices/{invoice.public_id}").body["invoice"]

        assert [line["type"] for line in body["lineItems"]] == ["fixed"]
        assert body["payments"] == []
        assert (body["billingPeriodStart"], body["billingPeriodEnd"]) == (STARTED, FEBRUARY)

    def test_an_unknown_one_is_not_found(self, api):
        answer = api.get("/v1/invoices/inv_nothing")

        assert (answer.status, answer.body["error"], answer.body["code"]) == (
            404,
            "Invoice not found",
            "invoice_not_found",
        )

    def test_one_that_came_to_nothing_is_not_found(self, api):
        free = make_pro_plan(base_cents=None)
        subscribe(at=AT, customer=CustomerFactory(), plan=free.plan)
        sweep(BILLED)

        answer = api.get(f"/v1/invoices/{Invoice.objects.get().public_id}")

        assert answer.status == 404


class TestUpcoming:
    def test_has_the_shape_of_an_invoice_and_ids_of_nothing(self, api, pro, ada):
        use(ada, pro.metric, 10_002, BILLED)

        answer = api.get("/v1/invoices/upcoming", {"customerId": "user_1", "isExtCustId": "true"})

        assert answer.status == 200
        invoice = answer.body["invoice"]
        issued = api.get(f"/v1/invoices/{Invoice.objects.get(number='ADA-002').public_id}").body["invoice"]
        assert invoice.keys() == issued.keys()
        assert {key: invoice[key] for key in (
            "id", "customerInvoiceNumber", "status", "totalAmountCents", "billingPeriodStart", "issueDate", "createdAt",
            "updatedAt", "payments",
        )} == {
            "id": None, "customerInvoiceNumber": None, "status": "draft", "totalAmountCents": 2_910,
            "billingPeriodStart": MARCH, "issueDate": None, "createdAt": FINALIZED, "updatedAt": FINALIZED,
            "payments": [],
        }  # fmt: skip
        assert [(line["id"], line["type"], line["subtotalCents"]) for line in invoice["lineItems"]] == [
            (None, "fixed", 2_900), (None, "usage", 50_010), (None, "credit", -50_000),
        ]  # fmt: skip
        assert invoice["lineItems"][1]["metricId"] == pro.metric.public_id

    @pytest.mark.parametrize(
        ("query", "status", "code"),
        [
            ({}, 400, "invalid_request"),
            ({"customerId": "nobody"}, 404, "customer_not_found"),
            ({"customerId": "user_1", "isExtCustId": "yes"}, 400, "invalid_request"),
            ({"customerId": "user_1", "isExtCustId": "true", "subscriptionId": "x"}, 404, "subscription_not_found"),
        ],
    )
    def test_refusals(self, api, ada, query, status, code):
        answer = api.get("/v1/invoices/upcoming", query)

        assert (answer.status, answer.body["code"]) == (status, code)

    def test_a_customer_without_a_subscription_has_none(self, api):
        answer = api.get("/v1/invoices/upcoming", {"customerId": CustomerFactory().public_id})

        assert (answer.status, answer.body["code"]) == (404, "no_upcoming_invoice")


def test_a_draft_is_shown_as_it_stands(api, pro, ada):
    with time_machine.travel(datetime(2026, 3, 31, tzinfo=UTC), tick=False):
        use(ada, pro.metric, 10_002, BILLED)
        close_periods(subscriptions=[ada.subscriptions.get().pk], at=datetime(2026, 3, 31, tzinfo=UTC))
        draft = Invoice.objects.get(status="draft")

        invoice = api.get(f"/v1/invoices/{draft.public_id}").body["invoice"]

    assert (invoice["id"], invoice["status"], invoice["totalAmountCents"]) == (draft.public_id, "draft", 2_910)
    assert [line["subtotalCents"] for line in invoice["lineItems"]] == [2_900, 50_010, -50_000]
    draft.refresh_from_db()
    assert (draft.total_cents, draft.lines.count()) == (0, 0)
