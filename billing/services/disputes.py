"""Disputes: recorded as Stripe tells of them, in any order, for the payment that they are about."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db.models import Q

from billing.exchange import PaidInvoice
from billing.models import (
    Checkout,
    Dispute,
    DisputeStatus,
    Invoice,
    Payment,
    PaymentStatus,
    Refund,
    RefundStatus,
    StripeInbox,
    StripeVoid,
)
from billing.models.disputes import FINAL
from billing.stripe_amounts import from_stripe
from plans.refusals import Refusal

DISPUTE_MOVED = (
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
)


class PaymentDisputed(Refusal):
    """The bank has taken back the payment, or holds it until it decides, so nothing of it can be refunded."""

    code = "payment_disputed"
    status = 409


def intent_to_look_up(event: StripeInbox) -> str:
    """Return the payment intent of a dispute whose invoice only Stripe can tell; empty where nothing is to be asked."""
    if event.type not in DISPUTE_MOVED:
        return ""
    dispute = event.payload["data"]["object"]
    intent = _text(dispute.get("payment_intent"))
    if not intent or Dispute.objects.filter(external_id=dispute["id"]).exists() or _invoice_of(intent) is not None:
        return ""
    return intent


def _invoice_of(intent: str) -> Invoice | None:
    """Find the invoice that an intent has paid, as far as it is known here."""
    payment = Payment.objects.filter(intent_id=intent, status=PaymentStatus.SUCCEEDED).select_related("invoice").first()
    if payment is not None:
        return payment.invoice
    checkout = Checkout.objects.filter(intent_id=intent, invoice__isnull=False).select_related("invoice").first()
    return checkout.invoice if checkout is not None else None


def _invoice_among(paid: Sequence[PaidInvoice]) -> Invoice | None:
    """Find the invoice of ours among those of Stripe; what we have noted counts before what metadata says."""
    ids = [one.stripe_id for one in paid]
    noted = Q(stripe_invoice_id__in=ids) | Q(payments__external_id__in=ids)
    voids = StripeVoid.objects.filter(stripe_invoice_id__in=ids).values("invoice")
    told = Q(public_id__in=[one.our_id for one in paid if one.our_id])
    for question in (noted, Q(pk__in=voids), told):
        invoice = Invoice.objects.filter(question).order_by("pk").first()
        if invoice is not None:
            return invoice
    return None


def record_dispute(*, event: Mapping[str, Any], paid: Sequence[PaidInvoice]) -> None:
    """Note what an event says about a dispute of a payment of ours. An older event than the last one changes nothing.

    `paid` is what Stripe said of the intent, where it was asked: see intent_to_look_up. Disputes about what others
    charge in the same account are none of ours. Call it in a transaction.
    """
    there = event["data"]["object"]
    told_at = datetime.fromtimestamp(event["created"], UTC)
    row = Dispute.objects.select_for_update(no_key=True).filter(external_id=there["id"]).first()
    if row is None:
        intent = _text(there.get("payment_intent"))
        invoice = (_invoice_of(intent) if intent else None) or _invoice_among(paid)
        if invoice is None:
            return
        row = Dispute(customer_id=invoice.customer_id, invoice=invoice, external_id=there["id"], intent_id=intent)
        row.payment = invoice.payments.filter(status=PaymentStatus.SUCCEEDED).first()
        _learn_intent(row.payment, intent, paid)
    elif (told_at, there["status"] in FINAL) < (row.told_at, row.closed_at is not None):
        return
    _tell(row, there, told_at)
    row.save()
    _tell_refunds(row.invoice)


def _learn_intent(payment: Payment | None, intent: str, paid: Sequence[PaidInvoice]) -> None:
    """Note by which intent a payment was taken, where Stripe has said so."""
    if payment is None or payment.intent_id is not None or payment.external_id not in {one.stripe_id for one in paid}:
        return
    Payment.objects.filter(pk=payment.pk).update(intent_id=intent)


def _text(value: Any) -> str:
    """Read an id of Stripe's, which an event gives as text; anything else is none."""
    return value if isinstance(value, str) else ""


def _tell(row: Dispute, there: Mapping[str, Any], told_at: datetime) -> None:
    is_final = there["status"] in FINAL
    row.charge_id = _text(there.get("charge"))
    row.amount_cents = from_stripe(there["amount"], there["currency"])
    row.currency = there["currency"].upper()
    row.reason = there.get("reason") or ""
    row.status = there["status"]
    row.is_refundable = there.get("is_charge_refundable") is True
    due_by = (there.get("evidence_details") or {}).get("due_by")
    row.evidence_due_at = datetime.fromtimestamp(due_by, UTC) if due_by else None
    row.opened_at = datetime.fromtimestamp(there["created"], UTC)
    row.closed_at = (row.closed_at or told_at) if is_final else None
    row.told_at = told_at


def attach_to_disputes(payment: Payment) -> None:
    """Say of disputes that were known before a payment was booked that it is the one."""
    Dispute.objects.filter(invoice=payment.invoice_id, payment=None).update(payment=payment)
    _tell_refunds(payment.invoice)


def _tell_refunds(invoice: Invoice) -> None:
    """Say at refunds that wait why they do; once nothing is in their way, the next sweep makes them."""
    why = why_nothing_goes_back(invoice)
    if why:
        waiting = Refund.objects.filter(payment__invoice=invoice, status=RefundStatus.PENDING, external_id=None)
        waiting.update(error=why)


def refuse_disputed(invoice: Invoice) -> None:
    """Raise PaymentDisputed where the payment of a held invoice cannot be given back because of a dispute."""
    why = why_nothing_goes_back(invoice)
    if why:
        raise PaymentDisputed(why)


def why_nothing_goes_back(invoice: Invoice) -> str:
    """Say which dispute keeps an invoice's payment from being given back, and what to do; empty where none does."""
    statuses = set(invoice.disputes.against_refunds().values_list("status", flat=True))
    if DisputeStatus.LOST in statuses:
        return (
            f"The payment of invoice {invoice.number} was charged back: its customer has the money already. Credit it "
            'for later invoices instead, with "to": "credit".'
        )
    if statuses:
        return (
            f"The payment of invoice {invoice.number} is disputed, so Stripe gives nothing of it back until the bank "
            "has decided. Answer the dispute at Stripe, or accept it there: then the customer gets the money by it."
        )
    return ""
