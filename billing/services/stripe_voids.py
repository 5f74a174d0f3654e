"""Invoices at Stripe that nobody may pay any more: found by a sweep, and made void there."""

from datetime import datetime

from django.db import transaction
from django.db.models import F

from billing.exchange import InvoiceToVoid
from billing.models import Invoice, InvoiceStatus, StripeVoid
from billing.services.send import LEASE, retry_delay


def withdraw_from_stripe(invoice: Invoice, *, at: datetime) -> None:
    """Have what Stripe has, or may have, of a held invoice made void there. It is the next revision then, which Stripe
    does not have."""
    if invoice.stripe_invoice_id is None and not invoice.send_attempts:
        if invoice.status != InvoiceStatus.ISSUED:
            Invoice.objects.filter(pk=invoice.pk).update(send_at=None)
        return
    StripeVoid.objects.create(
        invoice=invoice,
        revision=invoice.stripe_revision,
        stripe_invoice_id=invoice.stripe_invoice_id or "",
        void_at=_known_at(invoice, at),
    )
    # What is to be paid goes to Stripe again once what is there cannot be paid any more.
    Invoice.objects.filter(pk=invoice.pk).update(
        stripe_revision=F("stripe_revision") + 1,
        stripe_invoice_id=None,
        stripe_sent_at=None,
        send_at=None,
        send_attempts=0,
        send_error="",
        collect_at=None,
        collect_error="",
    )


def _known_at(invoice: Invoice, at: datetime) -> datetime:
    """When it can be found out whether Stripe has a held invoice: not while somebody may be sending it. Who does and
    lives to say so makes it earlier."""
    if invoice.stripe_invoice_id or invoice.send_at is None:
        return at
    return min(max(invoice.send_at, at), at + LEASE)


@transaction.atomic
def claim_invoice_to_void(*, at: datetime, now: datetime) -> InvoiceToVoid | None:
    """Claim the next invoice that is to be void at Stripe; None when there is none. See claim_invoice_to_send."""
    waiting = (
        StripeVoid.objects.filter(voided_at=None, void_at__lte=at)
        .select_for_update(no_key=True, skip_locked=True, of=("self",))
        .select_related("invoice__customer")
        .order_by("void_at", "pk")
        .first()
    )
    if waiting is None:
        return None
    waiting.attempts += 1
    waiting.void_at = now + LEASE
    waiting.save(update_fields=["attempts", "void_at"])
    return InvoiceToVoid(
        id=waiting.invoice.public_id,
        revision=waiting.revision,
        stripe_invoice_id=waiting.stripe_invoice_id,
        stripe_customer=waiting.invoice.customer.psp_customer_id or "",
    )


@transaction.atomic
def record_voided(*, voided: InvoiceToVoid, at: datetime) -> None:
    """Note that nobody can pay a revision of an invoice any more; the next one, if there is to be one, is sent."""
    StripeVoid.objects.filter(invoice__public_id=voided.id, revision=voided.revision).update(voided_at=at, error="")
    Invoice.objects.filter(
        public_id=voided.id, status=InvoiceStatus.ISSUED, stripe_sent_at=None, stripe_revision=voided.revision + 1
    ).update(send_at=at)


def record_void_failure(*, voided: InvoiceToVoid, error: str, at: datetime) -> None:
    """Note why an invoice could not be made void at Stripe, and when to try again."""
    row = StripeVoid.objects.get(invoice__public_id=voided.id, revision=voided.revision)
    StripeVoid.objects.filter(pk=row.pk, voided_at=None).update(error=error, void_at=at + retry_delay(row.attempts))
