"""The doors of what happens to an issued invoice: void, credit notes, retry."""

from django.utils import timezone
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing import gateway
from billing.api.invoice_answers import answer_with_invoice, find_invoice
from billing.credit_note_words import CreateCreditNote, VoidInvoice, whole_credit_note_body
from billing.exchange import Paid
from billing.models import CreditNote
from billing.services.collect import (
    AmountMismatch,
    CustomerIsParked,
    claim_invoice_to_retry,
    record_collect_refused,
    record_collect_unknown,
    record_declined,
    record_payment,
)
from billing.services.credit_notes import credit_invoice
from billing.services.park import park_customer
from billing.services.void import void_invoice
from billing.stripe_refusals import refusals_of_stripe
from plans.serializers.reading import read_exactly
from plans.services.merchant import find_merchant_id


class VoidInvoiceView(APIView):
    """POST /v1/invoices/{id}/void: `invoice`, and with `rebill` the `replacement` that was issued."""

    scope = "invoices"

    def post(self, request: Request, invoice_id: str) -> Response:
        body = read_exactly(VoidInvoice, request.data)
        invoice = find_invoice(invoice_id)
        replacement = void_invoice(invoice=invoice, reason=body["reason"], rebill=body["rebill"], at=timezone.now())
        return Response(
            {
                "invoice": answer_with_invoice(find_invoice(invoice_id)),
                "replacement": replacement and answer_with_invoice(find_invoice(replacement.public_id)),
            }
        )


class CreditNotesView(APIView):
    """`/v1/invoices/{id}/credit-notes`."""

    scope = "invoices"

    def get(self, request: Request, invoice_id: str) -> Response:
        """List an invoice's credit notes, the first one first."""
        notes = find_invoice(invoice_id).credit_notes.order_by("pk")
        return Response({"creditNotes": [credit_note_answer(note) for note in notes]})

    def post(self, request: Request, invoice_id: str) -> Response:
        """Take back a part of an invoice, or what is left of it."""
        body = read_exactly(CreateCreditNote, request.data)
        lines = body.get("lines")
        note = credit_invoice(
            invoice=find_invoice(invoice_id),
            lines=None if lines is None else [(line["lineId"], line["amountCents"]) for line in lines],
            amount_cents=body.get("amountCents"),
            reason=body["reason"],
            to=body["to"],
            at=timezone.now(),
        )
        return Response({"creditNote": credit_note_answer(note)}, status=status.HTTP_201_CREATED)


def credit_note_answer(note: CreditNote) -> dict:
    """Shape a credit note with its lines."""
    row = CreditNote.objects.select_related("customer", "invoice__subscription").get(pk=note.pk)
    return whole_credit_note_body(row, row.lines.select_related("line"), find_merchant_id())


class RetryInvoiceView(APIView):
    """POST /v1/invoices/{id}/retry: charge an issued invoice now. 202 where Stripe does not have it yet: then it is
    sent and charged within minutes."""

    scope = "invoices"
    calls_network = True

    def post(self, request: Request, invoice_id: str) -> Response:
        at = timezone.now()
        charge = claim_invoice_to_retry(invoice=find_invoice(invoice_id), at=at)
        if charge is None:
            return Response({"invoice": answer_with_invoice(find_invoice(invoice_id))}, status=status.HTTP_202_ACCEPTED)
        with refusals_of_stripe():
            try:
                answer = gateway.charge_invoice(charge)
            except gateway.StripeUnavailable as error:
                record_collect_unknown(charge=charge, error=str(error), at=at)
                raise
            except gateway.StripeRefused as error:
                record_collect_refused(charge=charge, error=str(error), at=at)
                raise
        if isinstance(answer, Paid):
            try:
                record_payment(invoice=charge.invoice, paid=answer, at=at, payment_method=charge.payment_method)
            except AmountMismatch as error:
                park_customer(customers=[error.customer], reason=str(error), at=at)
                raise CustomerIsParked(f"Another amount was paid at Stripe: {error}") from error
        else:
            record_declined(charge=charge, declined=answer, at=at)
        return Response({"invoice": answer_with_invoice(find_invoice(invoice_id))})
