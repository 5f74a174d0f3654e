"""The doors of /v1/invoices."""

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.api.payments import with_names
from billing.models import Invoice, Payment
from billing.words import ListInvoices, invoice_body, whole_invoice_body
from plans.query import boolean_parameter
from plans.refusals import NotFound
from plans.serializers.reading import read
from plans.services.customers import find_customer
from plans.services.merchant import find_merchant_id


class InvoiceNotFound(NotFound):
    code = "invoice_not_found"


class InvoicesView(APIView):
    """GET /v1/invoices: newest first."""

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
        return Response(
            {
                "invoices": [invoice_body(invoice, merchant) for invoice in rows[offset : offset + limit]],
                "pagination": {"total": invoices.count(), "limit": limit, "offset": offset},
            }
        )


class InvoiceView(APIView):
    """GET /v1/invoices/{id}: with lines and payments."""

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
        lines = invoice.lines.select_related("component", "metric", "grant")
        payments = with_names(Payment.objects.filter(invoice=invoice))
        return Response({"invoice": whole_invoice_body(invoice, list(lines), list(payments), find_merchant_id())})
