"""The doors of /v1/invoices."""

from datetime import datetime
from typing import Any

from django.db.models import F, Value
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.api.invoice_answers import answer_with_invoice, find_invoice
from billing.api.invoice_changes import credit_note_answer
from billing.credit_note_words import credit_note_body
from billing.manual_invoice_words import (
    UpdateInvoice,
    WriteInvoice,
    named_totals,
    refuse_another_owner,
    written_details,
    written_lines,
)
from billing.models import CreditNote, Invoice
from billing.services.manual_invoices import update_invoice, write_invoice
from billing.services.upcoming import as_they_stand, upcoming_invoice
from billing.words import AskUpcoming, ListInvoices, invoice_body, whole_invoice_body
from plans.models import Customer, Subscription
from plans.query import boolean_parameter
from plans.refusals import InvalidInput
from plans.serializers.reading import read, read_exactly
from plans.services.customers import find_customer
from plans.services.merchant import find_merchant_id

# Credit notes are always issued, whatever has become of their invoices.
_STATUS_OF_NOTES = "issued"


class InvoicesView(APIView):
    """`/v1/invoices`."""

    scope = "invoices"

    def get(self, request: Request) -> Response:
        """List invoices and credit notes, newest first."""
        query = read(ListInvoices, request.query_params)
        invoices, notes = Invoice.objects.shown(), CreditNote.objects.all()
        if "customerId" in query:
            external = boolean_parameter(request.query_params, "isExtCustId")
            customer = find_customer(query["customerId"], external=external)
            invoices, notes = invoices.filter(customer=customer), notes.filter(customer=customer)
        if "status" in query:
            invoices = invoices.filter(status=query["status"])
            notes = notes if query["status"] == _STATUS_OF_NOTES else notes.none()
        limit, offset = query["limit"], query["offset"]
        rows = invoices.annotate(stands_at=F("closes_at"), is_note=Value(False)).values_list(
            "stands_at", "is_note", "pk"
        )
        all_rows = rows.union(
            notes.annotate(stands_at=F("issued_at"), is_note=Value(True)).values_list("stands_at", "is_note", "pk"),
            all=True,
        )
        page = list(all_rows.order_by("-stands_at", "-is_note", "-pk")[offset : offset + limit])
        return Response(
            {
                "invoices": _bodies(page),
                "pagination": {"total": invoices.count() + notes.count(), "limit": limit, "offset": offset},
            }
        )

    def post(self, request: Request) -> Response:
        """Write an invoice by hand, as a draft or issued at once; the answer is the invoice itself."""
        body = read_exactly(WriteInvoice, request.data)
        external = boolean_parameter(request.query_params, "isExtCustId")
        customer = find_customer(body["customerId"], external=external)
        invoice = write_invoice(
            customer=customer,
            currency=body["currency"],
            subscription=_find_subscription(customer, body.get("subscriptionId")),
            lines=written_lines(body),
            totals=named_totals(body),
            issue=body["status"] == "issued",
            at=timezone.now(),
            **written_details(body),
        )
        return Response(answer_with_invoice(find_invoice(invoice.public_id)))


def _bodies(page: list[tuple[datetime, bool, int]]) -> list[dict[str, Any]]:
    merchant = find_merchant_id()
    kept = Invoice.objects.select_related("customer", "subscription", "replaces", "carried_into").filter(
        pk__in=[key for _, is_note, key in page if not is_note]
    )
    invoices = {invoice.pk: invoice for invoice in as_they_stand(invoices=kept, at=timezone.now())}
    notes = CreditNote.objects.select_related("customer", "invoice__subscription").in_bulk(
        [key for _, is_note, key in page if is_note]
    )
    return [
        credit_note_body(notes[key], merchant) if is_note else invoice_body(invoices[key], merchant)
        for _, is_note, key in page
    ]


def _find_subscription(customer: Customer, public_id: str | None) -> Subscription | None:
    if not public_id:
        return None
    subscription = Subscription.objects.filter(customer=customer, public_id=public_id).first()
    if subscription is None:
        raise InvalidInput.at("subscriptionId", "must be a subscription of this customer.")
    return subscription


class UpcomingInvoiceView(APIView):
    """GET /v1/invoices/upcoming: what would be billed if the period closed now."""

    scope = "invoices"

    def get(self, request: Request) -> Response:
        query = read(AskUpcoming, request.query_params)
        external = boolean_parameter(request.query_params, "isExtCustId")
        customer = find_customer(query["customerId"], external=external)
        tried = upcoming_invoice(customer=customer, subscription=query.get("subscriptionId"), at=timezone.now())
        return Response({"invoice": whole_invoice_body(tried.invoice, tried.lines, [], find_merchant_id())})


class InvoiceView(APIView):
    """`/v1/invoices/{id}`."""

    scope = "invoices"

    def get(self, request: Request, invoice_id: str) -> Response:
        """Show an invoice with lines and payments, those of a draft as they would be now; or a credit note."""
        note = CreditNote.objects.filter(public_id=invoice_id).first()
        if note is not None:
            return Response({"invoice": credit_note_answer(note)})
        return Response({"invoice": answer_with_invoice(find_invoice(invoice_id))})

    def post(self, request: Request, invoice_id: str) -> Response:
        """Change a draft that was written by hand, and issue it where wanted."""
        invoice = find_invoice(invoice_id)
        body = read_exactly(UpdateInvoice, request.data)
        refuse_another_owner(body, invoice)
        update_invoice(
            invoice=invoice,
            lines=written_lines(body),
            deleted_lines=body.get("deletedLineItemIds", ()),
            totals=named_totals(body, tax_cents=invoice.tax_cents),
            issue=body.get("status") == "issued",
            at=timezone.now(),
            **written_details(body),
        )
        return Response(answer_with_invoice(find_invoice(invoice_id)))
