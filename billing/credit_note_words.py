"""How credit notes, voids and what follows from them go over the wire."""

from collections.abc import Iterable
from typing import Any

from rest_framework import serializers

from billing.models import CreditNote, CreditNoteLine
from billing.services.credit_notes import GoesTo
from plans.price_language import LARGEST_AMOUNT_CENTS
from plans.serializers.fields import Choice, Switch, Text, WholeNumber

MOST_LINES = 1000


class VoidInvoice(serializers.Serializer):
    """The body of POST /v1/invoices/{id}/void."""

    reason = Text(max_length=2000)
    rebill = Switch(required=False, default=False)


class CreditedLine(serializers.Serializer):
    """A line of a credit note to be made, in minor units as they stand on the invoice."""

    lineId = Text(max_length=80)
    amountCents = WholeNumber(min_value=1, max_value=LARGEST_AMOUNT_CENTS)


class CreateCreditNote(serializers.Serializer):
    """The body of POST /v1/invoices/{id}/credit-notes. Without lines and amount all that is left is credited."""

    lines = serializers.ListField(
        child=CreditedLine(), min_length=1, max_length=MOST_LINES, required=False, allow_null=True
    )
    amountCents = WholeNumber(min_value=1, max_value=LARGEST_AMOUNT_CENTS, required=False, allow_null=True)
    reason = Text(max_length=2000)
    to = Choice(choices=GoesTo.choices, required=False, default=GoesTo.SOURCE)

    def validate(self, body: dict[str, Any]) -> dict[str, Any]:
        if body.get("lines") is not None and body.get("amountCents") is not None:
            raise serializers.ValidationError({"amountCents": "must not be sent together with lines."})
        return body


def adjustment_body(note: CreditNote) -> dict[str, Any]:
    """Shape a credit note as the contract's invoice lists it; what is credited is negative."""
    return {
        "id": note.public_id,
        "customerInvoiceNumber": note.number,
        "documentType": "credit_note",
        "totalAmountCents": -note.total_cents,
        "currency": note.currency,
        "issueDate": note.issued_at,
        "hasPdf": False,
    }


def credit_note_body(note: CreditNote, merchant_id: str) -> dict[str, Any]:
    """Shape a credit note as a row of the list of invoices. Amounts are negative. Its invoice, customer and
    subscription must be loaded."""
    invoice = note.invoice
    return {
        "id": note.public_id,
        "customerInvoiceNumber": note.number,
        "merchantId": merchant_id,
        "customerId": note.customer.public_id,
        "subscriptionId": invoice.subscription and invoice.subscription.public_id,
        "kind": "credit_note",
        "status": "issued",
        "subtotalCents": -note.subtotal_cents,
        "taxAmountCents": -note.tax_cents,
        "totalAmountCents": -note.total_cents,
        "monetaryCreditCents": -note.monetary_credit_cents,
        "creditedDueCents": -note.due_cents,
        "creditedToSourceCents": -note.source_cents,
        "creditedToCreditCents": -note.credit_cents,
        "currency": note.currency,
        "issueDate": note.issued_at,
        "dueDate": None,
        "paidDate": None,
        "billingPeriodStart": invoice.period_start_at,
        "billingPeriodEnd": invoice.period_end_at,
        "stripeInvoiceId": None,
        "pdfUrl": None,
        "hasPdf": False,
        "notes": None,
        "documentType": "credit_note",
        "originalInvoiceId": invoice.public_id,
        "cancellationOrCreditReason": note.reason,
        "createdAt": note.issued_at,
        "updatedAt": note.issued_at,
        "customer": {"id": note.customer.public_id, "name": note.customer.name},
    }


def whole_credit_note_body(note: CreditNote, lines: Iterable[CreditNoteLine], merchant_id: str) -> dict[str, Any]:
    """Shape a credit note with its lines."""
    return credit_note_body(note, merchant_id) | {
        "lineItems": [
            {
                "id": line.public_id,
                "type": "credit",
                "originalLineId": line.line.public_id,
                "description": line.description,
                "quantity": 1,
                "unitAmountCents": -line.amount_cents,
                "subtotalCents": -line.amount_cents,
                "monetaryCreditCents": -line.monetary_credit_cents,
                "taxAmountCents": -line.tax_cents,
                "billingPeriodStart": line.line.billing_period_start_at,
                "billingPeriodEnd": line.line.billing_period_end_at,
            }
            for line in lines
        ],
        "payments": [],
        "adjustmentInvoices": [],
    }
