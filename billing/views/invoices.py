"""The customer's page of an invoice, at a signed address."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from billing.invoice_page import invoice_sheet
from billing.models import Invoice
from billing.services.explain import explain_lines
from billing.services.parties import parties_of
from billing.signed_links import read_invoice_token
from plans.refusals import NotFound
from plans.services.time_zone import billing_zone


class InvoiceGone(NotFound):
    """The address was made here, but there is no such invoice to show."""

    code = "invoice_not_found"


@require_safe
@cache_control(no_store=True)
def invoice_page(request: HttpRequest, token: str) -> HttpResponse:
    """Show the bill that the token was made for; 404 with a sentence where there is none to show."""
    try:
        invoice = _find_invoice(read_invoice_token(token))
    except NotFound as refusal:
        return render(request, "pages/not_found.html", {"sentence": refusal.message, "is_invoice": True}, status=404)
    sheet = invoice_sheet(
        invoice,
        parties=parties_of(invoice),
        explained=explain_lines(invoice=invoice, at=timezone.now()),
        payments=list(invoice.payments.select_related("payment_method").order_by("created_at", "pk")),
        zone=billing_zone(),
    )
    return render(request, "pages/invoice.html", {"sheet": sheet})


def _find_invoice(public_id: str) -> Invoice:
    invoices = Invoice.objects.shown().select_related("customer", "subscription__plan")
    invoice = invoices.filter(public_id=public_id).first()
    if invoice is None:
        raise InvoiceGone("This invoice does not exist any more. If you expected one, ask for a new address.")
    return invoice
