from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from billing.exchange import INVOICE_ID, INVOICE_REVISION, REFUND_ID, Paid, PaidInvoice, RefundAtStripe
from billing.models import Invoice, Refund, StripeInbox
from billing.services.checkout import hasten_checkout
from billing.services.collect import record_payment
from billing.services.disputes import DISPUTE_MOVED, record_dispute
from billing.services.dunning import hold_subscription_of
from billing.services.refunds import record_refund
from billing.services.send import record_sent, retry_delay
from billing.stripe_amounts import from_stripe

LEASE = timedelta(minutes=10)
INVOICE_PAID = ("invoice.paid", "invoice.payment_succeeded")
# A card holds the first fees, is kept, or will never be.
INTENT_MOVED = (
    "payment_intent.amount_capturable_updated",
    "payment_intent.succeeded",
    "payment_intent.canceled",
    "setup_intent.succeeded",
    "setup_intent.canceled",
)
# A refund was made, or the bank did not take it.
REFUND_MOVED = ("refund.updated", "refund.failed")


def store_event(*, event: Mapping[str, Any], at: datetime) -> None:
    """Keep a Stripe event, whose signature was checked, to be worked off; one that arrived before is kept once."""
    StripeInbox.objects.bulk_create(
        [
            StripeInbox(
                stripe_event_id=event["id"], type=event["type"], payload=dict(event), received_at=at, process_at=at
            )
        ],
        ignore_conflicts=True,
    )


@transaction.atomic
def claim_event(*, at: datetime, now: datetime) -> StripeInbox | None:
    """Claim the next event to work off, for as long as the lease lasts; None when there is none."""
    event = (
        StripeInbox.objects.filter(processed_at__isnull=True, process_at__lte=at)
        .select_for_update(no_key=True, skip_locked=True)
        .order_by("process_at", "pk")
        .first()
    )
    if event is not None:
        event.attempts += 1
        event.process_at = now + LEASE
        event.save(update_fields=["attempts", "process_at"])
    return event


@transaction.atomic
def work_off(*, event: StripeInbox, at: datetime, paid: Sequence[PaidInvoice] = ()) -> None:
    """Do what an event asks for and mark it as done, in one transaction. Any order, twice or late does no harm.

    `paid` is what a disputed intent has paid, where Stripe had to be asked: see disputes.intent_to_look_up.
    """
    if event.type in INVOICE_PAID:
        _record_invoice_paid(event.payload["data"]["object"], at)
    elif event.type in INTENT_MOVED:
        hasten_checkout(intent=event.payload["data"]["object"]["id"], at=at)
    elif event.type in REFUND_MOVED:
        _record_refund(event.payload["data"]["object"], at)
    elif event.type in DISPUTE_MOVED:
        record_dispute(event=event.payload, paid=paid)
    StripeInbox.objects.filter(pk=event.pk).update(processed_at=at, error="")


def _record_invoice_paid(stripe_invoice: Mapping[str, Any], at: datetime) -> None:
    """Book the payment of one of our invoices; invoices that somebody made at Stripe by hand are none of ours."""
    metadata = stripe_invoice.get("metadata") or {}
    ours = metadata.get(INVOICE_ID)
    if ours and Invoice.objects.filter(public_id=ours).exists():
        hold_subscription_of(ours)
        # The news may come before our own note that Stripe has the invoice, or instead of it.
        revision = int(metadata.get(INVOICE_REVISION, "0"))
        record_sent(invoice=ours, stripe_invoice_id=stripe_invoice["id"], at=at, revision=revision)
        record_payment(
            invoice=ours,
            paid=Paid(
                reference=stripe_invoice["id"],
                amount_cents=from_stripe(stripe_invoice["amount_paid"], stripe_invoice["currency"]),
            ),
            at=at,
        )


def _record_refund(stripe_refund: Mapping[str, Any], at: datetime) -> None:
    """Note how one of our refunds stands; those that somebody made at Stripe by hand are none of ours."""
    ours = (stripe_refund.get("metadata") or {}).get(REFUND_ID)
    if ours and Refund.objects.filter(public_id=ours).exists():
        there = RefundAtStripe.told(
            stripe_id=stripe_refund["id"],
            status=stripe_refund["status"],
            failure_reason=stripe_refund.get("failure_reason") or "",
        )
        record_refund(refund=ours, there=there, at=at)


def record_inbox_failure(*, event: StripeInbox, error: str, at: datetime) -> None:
    """Note why an event could not be worked off, and when to try again."""
    StripeInbox.objects.filter(pk=event.pk).update(error=error, process_at=at + retry_delay(event.attempts))
