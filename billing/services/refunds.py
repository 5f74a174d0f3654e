"""Refunds: claimed by a sweep, made at Stripe, and booked when Stripe has done them."""

from datetime import datetime, timedelta

from django.db import transaction

from billing.exchange import RefundAtStripe, RefundProgress, RefundToMake
from billing.models import Refund, RefundStatus
from billing.services.send import LEASE, retry_delay

# Stripe tells how a refund ends by an event; this is how soon we ask when none comes.
ASK_AGAIN_AFTER = timedelta(days=1)


@transaction.atomic
def claim_refund(*, at: datetime, now: datetime) -> RefundToMake | None:
    """Claim the next refund to make or to ask about; None when there is none. See claim_invoice_to_send.

    One with a credit note waits until Stripe has the invoice, which is credited there, too.
    """
    refund = (
        Refund.objects.waiting()
        .filter(refund_at__lte=at)
        .select_for_update(no_key=True, skip_locked=True, of=("self",))
        .select_related("payment__invoice", "credit_note")
        .order_by("refund_at", "pk")
        .first()
    )
    if refund is None:
        return None
    refund.attempts += 1
    refund.refund_at = now + LEASE
    refund.save(update_fields=["attempts", "refund_at"])
    invoice, note = refund.payment.invoice, refund.credit_note
    return RefundToMake(
        id=refund.public_id,
        stripe_id=refund.external_id or "",
        paid_by=refund.payment.external_id,
        amount_cents=refund.amount_cents,
        currency=refund.currency,
        retried=refund.attempts > 1,
        credit_note="" if note is None else note.public_id,
        credit_note_number="" if note is None else note.number,
        stripe_invoice_id="" if note is None else invoice.stripe_invoice_id or "",
    )


_STATUS = {
    RefundProgress.MADE: RefundStatus.SUCCEEDED,
    RefundProgress.FAILED: RefundStatus.FAILED,
    RefundProgress.WAITING: RefundStatus.PENDING,
}


@transaction.atomic
def record_refund(*, refund: str, there: RefundAtStripe, at: datetime) -> None:
    """Note how a refund stands at Stripe; our own call and the event both bring the news. Even one that was made may
    fail days later, when the bank sends the money back; what has failed stays so."""
    row = Refund.objects.select_for_update(no_key=True).get(public_id=refund)
    status = _STATUS[there.progress]
    if row.status == RefundStatus.FAILED or (row.status, status) == (RefundStatus.SUCCEEDED, RefundStatus.PENDING):
        return
    row.external_id = there.stripe_id
    row.status = status
    row.error = there.reason
    row.refund_at = at + ASK_AGAIN_AFTER if status == RefundStatus.PENDING else None
    row.refunded_at = (row.refunded_at or at) if status == RefundStatus.SUCCEEDED else None
    row.save(update_fields=["external_id", "status", "error", "refund_at", "refunded_at"])


def record_refund_failure(*, refund: str, error: str, at: datetime) -> None:
    """Note why Stripe could not be asked for a refund, and when to try again."""
    row = Refund.objects.get(public_id=refund)
    Refund.objects.filter(pk=row.pk, status=RefundStatus.PENDING).update(
        error=error, refund_at=at + retry_delay(row.attempts)
    )
