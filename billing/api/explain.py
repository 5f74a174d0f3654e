"""The door of /v1/invoices/{id}/lines/{lineId}/explain."""

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.explain_words import explanation_body
from billing.models import Invoice
from billing.services.explain import explain_line
from billing.services.hold_invoice import InvoiceNotFound
from plans.services.time_zone import billing_zone


class LineExplanationView(APIView):
    """GET /v1/invoices/{id}/lines/{lineId}/explain."""

    scope = "invoices"

    def get(self, request: Request, invoice_id: str, line_id: str) -> Response:
        """Tell how a line came about, and whether today's events give the same."""
        invoice = Invoice.objects.shown().filter(public_id=invoice_id).first()
        if invoice is None:
            raise InvoiceNotFound("Invoice not found")
        explanation = explain_line(invoice=invoice, line_id=line_id, at=timezone.now())
        return Response({"explanation": explanation_body(explanation, billing_zone())})
