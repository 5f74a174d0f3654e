"""Refunds: claimed by a sweep, made at Stripe and booked as they end; then Stripe's invoice is credited."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet

from billing.exchange import InvoiceToCredit, RefundAtStripe, RefundProgress, RefundToMake
from billing.models import Refund, RefundStatus
from billing.services.send import LEASE, may_be_forgotten, retry_delay

# Stripe tells how a refund ends by an event; this is how soon we ask when none comes.
ASK_AGAIN_AFTER = timedelta(days=1)


@transaction.atomic
def claim_refund(*, at: datetime, now: datetime) -> RefundToMake | None:
    """Claim the next refund to make or to ask about; None when there is none. See claim_invoice_to_send."""
    refund = _held(Refund.objects.to_ask_for().filter(refund_at__lte=at).order_by("refund_at", "pk"))
    if refund is None:
        return None
    refund.attempts += 1
    refund.refund_at = now + LEASE
    refund.save(update_fields=["attempts", "refund_at"])
    return RefundToMake(
        id=refund.public_id,
        stripe_id=refund.external_id or "",
        paid_by=refund.payment.external_id,
        amount_cents=refund.amount_cents,
        currency=refund.currency,
        retried=refund.attempts > 1 or may_be_forgotten(refund.created_at, now),
    )


@transaction.atomic
def claim_invoice_to_credit(*, at: datetime, now: datetime) -> InvoiceToCredit | None:
    """Claim the next invoice at Stripe that is to be credited by what was refunded of it; None when there is none."""
    refund = _held(Refund.objects.to_credit().filter(credit_at__lte=at).order_by("credit_at", "pk"))
    if refund is None:
        return None
    refund.attempts += 1
    refund.credit_at = now + LEASE
    refund.save(update_fields=["attempts", "credit_at"])
    note, payment = refund.credit_note, refund.payment
    assert note is not None
    assert refund.external_id is not None
    # What was paid may be another revision than the one that Stripe has now.
    paid = payment.external_id if payment.external_id.startswith("in_") else payment.invoice.stripe_invoice_id
    return InvoiceToCredit(
        credit_note=note.public_id,
        number=note.number,
        stripe_invoice_id=paid or "",
        refund=refund.public_id,
        stripe_refund=refund.external_id,
        amount_cents=refund.amount_cents,
        currency=refund.currency,
    )


def _held(refunds: QuerySet[Refund]) -> Refund | None:
    locked = refunds.select_for_update(no_key=True, skip_locked=True, of=("self",))
    return locked.select_related("payment__invoice", "credit_note").first()


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
    if status == RefundStatus.FAILED:
        row.credit_at = None
    row.save(update_fields=["external_id", "status", "error", "refund_at", "refunded_at", "credit_at"])


def record_refund_failure(*, refund: str, error: str, at: datetime) -> None:
    """Note why Stripe could not be asked for a refund, and when to try again."""
    row = Refund.objects.get(public_id=refund)
    Refund.objects.filter(pk=row.pk, status=RefundStatus.PENDING).update(
        error=error, refund_at=at + retry_delay(row.attempts)
    )


def record_credited(*, refund: str) -> None:
    """Note that Stripe's invoice is credited by a refund."""
    Refund.objects.filter(public_id=refund).update(credit_at=None, error="")


def record_credit_failure(*, refund: str, error: str, at: datetime) -> None:
    """Note why Stripe's invoice could not be credited, and when to try again."""
    row = Refund.objects.get(public_id=refund)
    Refund.objects.filter(pk=row.pk, credit_at__isnull=False).update(
        error=error, credit_at=at + retry_delay(row.attempts)
    )
