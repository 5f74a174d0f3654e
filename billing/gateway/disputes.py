"""What a dispute is about: Stripe names the payment intent, and not the invoice that it paid."""

import stripe

from billing.exchange import INVOICE_ID, PaidInvoice
from billing.gateway.connection import PAGE, call, errors_in_our_words, our_id


def invoices_paid_by(intent: str) -> list[PaidInvoice]:
    """Return the invoices at Stripe that a payment intent has paid: none where it was for something else."""
    with errors_in_our_words():
        payments = stripe.InvoicePayment.list(
            payment={"type": "payment_intent", "payment_intent": intent}, expand=["data.invoice"], limit=PAGE, **call()
        )
        invoices = [one.invoice for one in payments.auto_paging_iter() if isinstance(one.invoice, stripe.Invoice)]
    return [PaidInvoice(stripe_id=one.id, our_id=our_id(one, INVOICE_ID)) for one in invoices]
