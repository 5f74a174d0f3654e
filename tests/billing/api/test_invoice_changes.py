"""POST /v1/invoices, /v1/invoices/{id}, …/void, …/credit-notes and …/retry."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from billing import jobs
from billing.books import check_books
from billing.models import CreditNote, Invoice
from billing.services.subscribe import subscribe
from tests.factories import CustomerFactory
from tests.pro_plan import make_pro_plan, sweep, use

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
BILLED = datetime(2026, 2, 28, 1, tzinfo=UTC)
DAY = timedelta(days=1)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("stripe_sandbox")]


@pytest.fixture(autouse=True)
def now():
    with time_machine.travel(BILLED + DAY, tick=False):
        yield


@pytest.fixture(autouse=True)
def books_add_up():
    yield
    assert [offender for finding in check_books(at=BILLED + DAY) for offender in finding.offenders] == []


@pytest.fixture
def ada():
    return CustomerFactory(invoice_prefix="ADA", name="Ada")


@pytest.fixture
def bill(ada):
    """154.00, unpaid."""
    pro = make_pro_plan()
    subscribe(at=AT, customer=ada, plan=pro.plan)
    use(ada, pro.metric, 12_500, AT + DAY)
    sweep(BILLED)
    return Invoice.objects.get(number="ADA-002")


def setup_fee(**changes):
    return {"description": "Setup", "quantity": 2, "unitAmountCents": "2500.5", "type": "fixed"} | changes


def write(api, ada, **body):
    return api.post(
        "/v1/invoices",
        {"customerId": ada.public_id, "status": "draft", "currency": "USD", "lineItems": [setup_fee()]} | body,
    )


class TestWriting:
    def test_a_draft_waits_for_its_operator(self, api, ada):
        answer = write(api, ada)

        sweep(BILLED + 400 * DAY)

        assert (answer.status, answer.body["status"], answer.body["customerInvoiceNumber"]) == (200, "draft", None)
        assert (answer.body["kind"], answer.body["totalAmountCents"]) == ("manual", 5_001)
        assert Invoice.objects.get().status == "draft"

    def test_an_issued_one_has_a_number_and_its_tax(self, api, ada):
        answer = write(
            api, ada, status="issued", subtotalCents=5001, taxAmountCents=950, totalAmountCents=5951, notes="Thanks",
            dueDate="2026-04-01T00:00:00Z", manualTaxDescription="VAT",
        )  # fmt: skip

        body = answer.body
        assert (body["customerInvoiceNumber"], body["status"], body["totalAmountCents"]) == ("ADA-001", "issued", 5951)
        assert (body["dueDate"], body["notes"]) == ("2026-04-01T00:00:00.000Z", "Thanks")
        jobs.send_invoices(BILLED + DAY)
        assert Invoice.objects.get().stripe_sent_at is not None

    def test_a_draft_is_changed_and_issued(self, api, ada):
        draft = write(api, ada, lineItems=[setup_fee(), setup_fee(description="Training")]).body
        first, second = (line["id"] for line in draft["lineItems"])

        answer = api.post(
            f"/v1/invoices/{draft['id']}",
            {
                "deletedLineItemIds": [first],
                "lineItems": [
                    setup_fee(id=second, unitAmountCents=100),
                    setup_fee(description="Thanks", quantity=1, unitAmountCents=-50, type="credit"),
                ],
                "status": "issued",
            },
        )

        assert (answer.body["status"], answer.body["customerInvoiceNumber"]) == ("issued", "ADA-001")
        assert [line["subtotalCents"] for line in answer.body["lineItems"]] == [200, -50]
        assert answer.body["totalAmountCents"] == 150

    @pytest.mark.parametrize(
        ("changes", "path"),
        [
            ({"subtotalCents": 5_000}, "subtotalCents"),
            ({"totalAmountCents": 5_000}, "totalAmountCents"),
            ({"subtotalCents": 5_001, "taxAmountCents": 9, "totalAmountCents": 5_001}, "totalAmountCents"),
            ({"lineItems": [setup_fee(unitAmountCents=-1, type="credit")]}, "totalAmountCents"),
            ({"lineItems": [setup_fee(unitAmountCents=-1)]}, "lineItems[0].unitAmountCents"),
            ({"lineItems": [], "status": "issued"}, "lineItems"),
            ({"lineItems": [setup_fee(quantity=0)]}, "lineItems[0].quantity"),
            ({"currency": "XXQ"}, "currency"),
            ({"status": "paid"}, "status"),
            ({"subscriptionId": "sub_x"}, "subscriptionId"),
        ],
    )
    def test_what_does_not_add_up_is_refused_by_name(self, api, ada, changes, path):
        answer = write(api, ada, **changes)

        assert answer.status == 400
        assert answer.body["details"][0]["path"] == path
        assert not Invoice.objects.exists()

    def test_an_issued_invoice_is_never_edited(self, api, bill):
        answer = api.post(f"/v1/invoices/{bill.public_id}", {"notes": "x"})

        assert (answer.status, answer.body["code"]) == (409, "invoice_is_issued")

    def test_unknown_lines_and_invoices(self, api, ada):
        draft = write(api, ada).body["id"]

        assert api.post(f"/v1/invoices/{draft}", {"deletedLineItemIds": ["inv_item_x"]}).status == 404
        assert api.post("/v1/invoices/inv_x", {"notes": "x"}).status == 404

    def test_no_credit_note_without_lines_of_its_own(self, api, ada):
        answer = api.post(f"/v1/invoices/{write(api, ada).body['id']}/credit-notes", {"reason": "x"})

        assert (answer.status, answer.body["code"]) == (409, "invoice_is_draft")


class TestCreditNotes:
    def test_stand_among_the_invoices(self, api, bill):
        fee = bill.lines.get(type="fixed")

        answer = api.post(
            f"/v1/invoices/{bill.public_id}/credit-notes",
            {"lines": [{"lineId": fee.public_id, "amountCents": 900}], "reason": "Goodwill"},
        )

        note = CreditNote.objects.get()
        assert answer.status == 201
        shown = api.get(f"/v1/invoices/{note.public_id}").body["invoice"]
        assert shown == answer.body["creditNote"]
        assert (shown["documentType"], shown["originalInvoiceId"], shown["totalAmountCents"]) == (
            "credit_note", bill.public_id, -900,
        )  # fmt: skip
        listed = api.get("/v1/invoices", {"limit": 2}).body
        assert [one["customerInvoiceNumber"] for one in listed["invoices"]] == ["ADA-CN-001", "ADA-002"]
        assert listed["pagination"]["total"] == 3
        whole = api.get(f"/v1/invoices/{bill.public_id}").body["invoice"]
        assert whole["openAmountCents"] == 14_500
        assert whole["adjustmentInvoices"] == [
            {
                "id": note.public_id,
                "customerInvoiceNumber": "ADA-CN-001",
                "documentType": "credit_note",
                "totalAmountCents": -900,
                "currency": "USD",
                "issueDate": "2026-03-01T01:00:00.000Z",
                "hasPdf": False,
            }
        ]

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"reason": "x", "amountCents": -1},
            {"reason": "x", "amountCents": 1, "lines": [{"lineId": "a", "amountCents": 1}]},
            {"reason": "x", "lines": []},
            {"reason": "x", "to": "moon"},
            {"reason": "x", "amountCents": 15_401},
        ],
    )
    def test_what_cannot_be_credited_is_refused_and_writes_nothing(self, api, bill, body):
        assert api.post(f"/v1/invoices/{bill.public_id}/credit-notes", body).status == 400
        assert not CreditNote.objects.exists()

    def test_stripe_charges_what_is_left(self, api, bill, ada, give_card, at_stripe):
        jobs.send_invoices(BILLED)
        bill.refresh_from_db()
        before = bill.stripe_invoice_id
        api.post(f"/v1/invoices/{bill.public_id}/credit-notes", {"amountCents": 5_400, "reason": "x"})
        give_card(ada)

        for sweep_of_stripe in (jobs.void_invoices, jobs.send_invoices, jobs.collect_invoices):
            sweep_of_stripe(BILLED + 2 * DAY)

        bill.refresh_from_db()
        assert (bill.status, bill.payments.get().amount_cents) == ("paid", 10_000)
        assert at_stripe.v1.invoices.retrieve(before).status == "void"
        assert at_stripe.v1.invoices.retrieve(bill.stripe_invoice_id).amount_paid == 10_000


class TestVoid:
    def test_makes_it_void_at_stripe(self, api, bill, at_stripe):
        jobs.send_invoices(BILLED)
        bill.refresh_from_db()

        answer = api.post(f"/v1/invoices/{bill.public_id}/void", {"reason": "Wrong"})
        jobs.void_invoices(BILLED + DAY)

        assert (answer.status, answer.body["invoice"]["status"], answer.body["replacement"]) == (200, "void", None)
        assert answer.body["invoice"]["cancellationOrCreditReason"] == "Wrong"
        assert at_stripe.v1.invoices.retrieve(bill.stripe_invoice_id).status == "void"

    def test_with_rebill_answers_the_replacement(self, api, bill):
        answer = api.post(f"/v1/invoices/{bill.public_id}/void", {"reason": "Wrong", "rebill": True})

        assert answer.body["replacement"]["replacesInvoiceId"] == bill.public_id
        assert answer.body["replacement"]["totalAmountCents"] == 15_400

    def test_twice_is_refused_by_name(self, api, bill):
        api.post(f"/v1/invoices/{bill.public_id}/void", {"reason": "Wrong"})

        answer = api.post(f"/v1/invoices/{bill.public_id}/void", {"reason": "Wrong"})

        assert (answer.status, answer.body["code"]) == (409, "invoice_is_void")

    def test_needs_a_reason(self, api, bill):
        assert api.post(f"/v1/invoices/{bill.public_id}/void", {}).status == 400


class TestRetry:
    def test_charges_at_once(self, api, bill, ada, give_card):
        jobs.send_invoices(BILLED)
        give_card(ada)

        answer = api.post(f"/v1/invoices/{bill.public_id}/retry", {})

        assert (answer.status, answer.body["invoice"]["status"]) == (200, "paid")

    def test_shows_a_decline(self, api, bill, ada, give_card):
        jobs.send_invoices(BILLED)
        give_card(ada, "pm_card_chargeCustomerFail")

        answer = api.post(f"/v1/invoices/{bill.public_id}/retry", {})

        assert answer.body["invoice"]["status"] == "issued"
        assert [payment["status"] for payment in answer.body["invoice"]["payments"]] == ["failed"]

    def test_another_amount_that_was_paid_at_stripe_parks_the_customer(self, api, bill, ada, give_card, at_stripe):
        jobs.send_invoices(BILLED)
        give_card(ada)
        bill.refresh_from_db()
        at_stripe.v1.credit_notes.create({"invoice": bill.stripe_invoice_id, "amount": 400})
        at_stripe.v1.invoices.pay(bill.stripe_invoice_id)

        answer = api.post(f"/v1/invoices/{bill.public_id}/retry", {})

        ada.refresh_from_db()
        assert (answer.status, answer.body["code"]) == (409, "customer_parked")
        assert "15000 were paid, 15400 of 15400 are open" in ada.parked_reason

    def test_waits_for_the_sweep_where_stripe_does_not_have_it(self, api, bill, ada, give_card):
        give_card(ada)

        assert api.post(f"/v1/invoices/{bill.public_id}/retry", {}).status == 202

    def test_without_a_card_or_of_a_void_invoice_is_refused_by_name(self, api, bill):
        answer = api.post(f"/v1/invoices/{bill.public_id}/retry", {})
        assert (answer.status, answer.body["code"]) == (409, "no_payment_method")
        api.post(f"/v1/invoices/{bill.public_id}/void", {"reason": "x"})

        answer = api.post(f"/v1/invoices/{bill.public_id}/retry", {})

        assert (answer.status, answer.body["code"]) == (409, "invoice_is_void")
