"""Refunds at Stripe, and the credit notes of its invoices that say why."""

import stripe
from djstripe import models as mirrored

from billing.exchange import REFUND_ID, InvoiceToCredit, RefundAtStripe, RefundToMake
from billing.gateway.connection import PAGE, StripeRefused, call, errors_in_our_words, mirror, our_id
from billing.stripe_amounts import to_stripe

CREDIT_NOTE_ID = "candela_credit_note"


def make_refund(refund: RefundToMake) -> RefundAtStripe:
    """Give money back to where it came from, or learn how that stands. Raises StripeRefused when nothing was paid
    there."""
    with errors_in_our_words():
        if refund.stripe_id:
            return _as_it_stands(stripe.Refund.retrieve(refund.stripe_id, **call()))
        intent = _payment_intent_of(refund.paid_by)
        there = _find_refund(refund, intent) if refund.retried else None
        if there is None:
            there = stripe.Refund.create(
                payment_intent=intent,
                amount=to_stripe(refund.amount_cents, refund.currency),
                metadata={REFUND_ID: refund.id},
                **call(f"{refund.id}-create"),
            )
    mirror(mirrored.Refund, there)
    return _as_it_stands(there)


def _payment_intent_of(paid_by: str) -> str:
    """Find what took the money: Stripe's invoices name the payment intents that paid them."""
    if not paid_by.startswith("in_"):
        return paid_by
    invoice = stripe.Invoice.retrieve(paid_by, expand=["payments"], **call())
    paid = [one for one in invoice.payments.data if one.status == "paid"] if invoice.payments else []
    intents = [one.payment.payment_intent for one in paid if one.payment.payment_intent]
    if len(intents) != 1:
        raise StripeRefused(f"Stripe's invoice {paid_by} was paid by {len(intents)} payment intents, not by one.")
    (intent,) = intents
    return intent if isinstance(intent, str) else intent.id


def _find_refund(refund: RefundToMake, intent: str) -> stripe.Refund | None:
    """Look a refund of ours up at Stripe, by our id in its metadata."""
    candidates = stripe.Refund.list(payment_intent=intent, limit=PAGE, **call())
    return next((one for one in candidates.auto_paging_iter() if our_id(one, REFUND_ID) == refund.id), None)


def credit_invoice(invoice: InvoiceToCredit) -> None:
    """Credit an invoice at Stripe by what was refunded of it, unless that is done. Raises StripeRefused where Stripe
    has less left of it."""
    amount = to_stripe(invoice.amount_cents, invoice.currency)
    with errors_in_our_words():
        notes = stripe.CreditNote.list(invoice=invoice.stripe_invoice_id, limit=PAGE, **call())
        if any(our_id(note, CREDIT_NOTE_ID) == invoice.credit_note for note in notes.auto_paging_iter()):
            return
        # dj-stripe has no table for credit notes.
        stripe.CreditNote.create(
            invoice=invoice.stripe_invoice_id,
            amount=amount,
            refunds=[{"refund": invoice.stripe_refund, "amount_refunded": amount}],
            memo=f"Credit note {invoice.number}",
            metadata={CREDIT_NOTE_ID: invoice.credit_note},
            **call(f"{invoice.credit_note}-create"),
        )


def _as_it_stands(refund: stripe.Refund) -> RefundAtStripe:
    # Stripe sends a reason only where there is one.
    why = getattr(refund, "failure_reason", None) or ""
    return RefundAtStripe.told(stripe_id=refund.id, status=refund.status or "pending", failure_reason=why)
