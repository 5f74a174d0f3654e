"""The doors of /v1/invoices."""

from collections.abc import Sequence

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.api.payments import with_names
from billing.models import Invoice, InvoiceLine, InvoiceStatus, Payment
from billing.services.upcoming import as_they_stand, draft_as_it_stands, upcoming_invoice
from billing.words import AskUpcoming, ListInvoices, invoice_body, whole_invoice_body
from plans.query import boolean_parameter
from plans.refusals import NotFound
from plans.serializers.reading import read
from plans.services.customers import find_customer
from plans.services.merchant import find_merchant_id


class InvoiceNotFound(NotFound):
    code = "invoice_not_found"


class InvoicesView(APIView):
    """GET /v1/invoices: newest first; the amounts of drafts are what they would be now."""

    scope = "invoices"

    def get(self, request: Request) -> Response:
        query = read(ListInvoices, request.query_params)
        invoices = Invoice.objects.shown()
        if "customerId" in query:
            external = boolean_parameter(request.query_params, "isExtCustId")
            invoices = invoices.filter(customer=find_customer(query["customerId"], external=external))
        if "status" in query:
            invoices = invoices.filter(status=query["status"])
        limit, offset = query["limit"], query["offset"]
        merchant = find_merchant_id()
        rows = invoices.select_related("customer", "subscription").order_by("-closes_at", "-pk")
        page = as_they_stand(invoices=rows[offset : offset + limit], at=timezone.now())
        return Response(
            {
                "invoices": [invoice_body(invoice, merchant) for invoice in page],
                "pagination": {"total": invoices.count(), "limit": limit, "offset": offset},
            }
        )


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
    """GET /v1/invoices/{id}: with lines and payments; those of a draft are what they would be now."""

    scope = "invoices"

    def get(self, request: Request, invoice_id: str) -> Response:
        invoice = (
            Invoice.objects.shown()
            .filter(public_id=invoice_id)
            .select_related("customer", "subscription__plan")
            .first()
        )
        if invoice is None:
            raise InvoiceNotFound("Invoice not found")
        lines: Sequence[InvoiceLine]
        if invoice.status == InvoiceStatus.DRAFT:
            tried = draft_as_it_stands(draft=invoice, at=timezone.now())
            invoice, lines = tried.invoice, tried.lines
        else:
            lines = list(invoice.lines.select_related("component", "metric", "grant", "pack"))
        payments = with_names(Payment.objects.filter(invoice=invoice))
        return Response({"invoice": whole_invoice_body(invoice, lines, list(payments), find_merchant_id())})
