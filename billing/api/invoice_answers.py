"""Finding invoices for the doors, and answering with one."""

from collections.abc import Sequence
from typing import Any

from django.utils import timezone

from billing.api.payments import with_names
from billing.models import Invoice, InvoiceKind, InvoiceLine, InvoiceStatus, Payment
from billing.services.hold_invoice import InvoiceNotFound
from billing.services.upcoming import draft_as_it_stands
from billing.words import whole_invoice_body
from plans.services.merchant import find_merchant_id


def find_invoice(public_id: str) -> Invoice:
    """Find an invoice that a customer may see, with its customer and plan. Raises InvoiceNotFound."""
    shown = Invoice.objects.shown().select_related("customer", "subscription__plan", "replaces", "carried_into")
    invoice = shown.filter(public_id=public_id).first()
    if invoice is None:
        raise InvoiceNotFound("Invoice not found")
    return invoice


def answer_with_invoice(invoice: Invoice) -> dict[str, Any]:
    """Shape an invoice with its lines and payments; those of a draft are what they would be now."""
    lines: Sequence[InvoiceLine]
    if invoice.status == InvoiceStatus.DRAFT and invoice.kind != InvoiceKind.MANUAL:
        tried = draft_as_it_stands(draft=invoice, at=timezone.now())
        invoice, lines = tried.invoice, tried.lines
    else:
        lines = list(invoice.lines.select_related("component", "metric", "grant"))
    payments = with_names(Payment.objects.filter(invoice=invoice))
    return whole_invoice_body(invoice, lines, list(payments), find_merchant_id())
