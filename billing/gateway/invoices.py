"""Invoices at Stripe: sent line by line, charged, made void."""

from typing import Any

import stripe
from djstripe import models as mirrored

from billing.exchange import (
    INVOICE_ID,
    INVOICE_REVISION,
    ChargeToMake,
    Declined,
    InvoiceToSend,
    InvoiceToVoid,
    LineToSend,
    Paid,
)
from billing.gateway.connection import PAGE, CardDeclined, StripeRefused, call, errors_in_our_words, mirror, our_id
from billing.stripe_amounts import from_stripe, to_stripe
from plans.money import plain_number

LINE_ID = "candela_line"


def send_invoice(invoice: InvoiceToSend, *, stripe_customer: str) -> str:
    """Bring an issued invoice to Stripe, finalized, and return its id there.

    It is unpaid, or paid by what `invoice.payment_intent` has taken already.
    Repeated after a crash or a lost answer it goes on where it stopped. Raises StripeRefused when Stripe's total
    differs from ours; then nothing is finalized, and nothing that is there already is taken for it.
    """
    with errors_in_our_words():
        key = _revision_key(invoice)
        sent = _find_invoice(invoice, stripe_customer) if invoice.retried else None
        if sent is None:
            sent = stripe.Invoice.create(
                customer=stripe_customer,
                currency=invoice.currency.lower(),
                auto_advance=False,
                collection_method="charge_automatically",
                pending_invoice_items_behavior="exclude",
                description=invoice.number,
                metadata={
                    INVOICE_ID: invoice.id,
                    INVOICE_REVISION: str(invoice.revision),
                    "candela_number": invoice.number,
                },
                **call(f"{key}-create"),
            )
        is_draft = sent.status == "draft"
        if is_draft:
            _send_lines(invoice, sent.id, stripe_customer)
            sent = stripe.Invoice.retrieve(sent.id, **call())
        total = to_stripe(invoice.total_cents, invoice.currency)
        if sent.total != total:
            raise StripeRefused(
                f"Stripe's total of {sent.id} is {sent.total}, ours is {total}; "
                + ("it is not finalized." if is_draft else f"it is {sent.status} there, and left as it is.")
            )
        if is_draft:
            sent = stripe.Invoice.finalize_invoice(sent.id, auto_advance=False, **call(f"{key}-finalize"))
        if invoice.payment_intent and sent.status == "open":
            sent = stripe.Invoice.attach_payment(
                sent.id, payment_intent=invoice.payment_intent, **call(f"{key}-attach")
            )
    mirror(mirrored.Invoice, sent)
    return sent.id


def _revision_key(invoice: InvoiceToSend | InvoiceToVoid) -> str:
    return f"{invoice.id}-r{invoice.revision}" if invoice.revision else invoice.id


def _find_invoice(invoice: InvoiceToSend | InvoiceToVoid, stripe_customer: str) -> stripe.Invoice | None:
    """Look a revision of an invoice of ours up at Stripe, by our id in its metadata."""
    candidates = stripe.Invoice.list(customer=stripe_customer, limit=PAGE, **call())
    for candidate in candidates.auto_paging_iter():
        revision = our_id(candidate, INVOICE_REVISION) or "0"
        if (our_id(candidate, INVOICE_ID), revision) == (invoice.id, str(invoice.revision)):
            return candidate
    return None


def void_invoice(invoice: InvoiceToVoid) -> Paid | None:
    """Make sure that nobody can pay a revision of an invoice at Stripe, whether it got there or not. Return what was
    paid where somebody was faster."""
    with errors_in_our_words():
        if invoice.stripe_invoice_id:
            there: stripe.Invoice | None = stripe.Invoice.retrieve(invoice.stripe_invoice_id, **call())
        else:
            there = _find_invoice(invoice, invoice.stripe_customer) if invoice.stripe_customer else None
        if there is None:
            return None
        if there.status == "paid":
            return _paid(there)
        if there.status == "draft":
            stripe.Invoice.delete(there.id, **call())
            return None
        if there.status != "void":
            there = stripe.Invoice.void_invoice(there.id, **call(f"{_revision_key(invoice)}-void"))
    mirror(mirrored.Invoice, there)
    return None


def _send_lines(invoice: InvoiceToSend, stripe_invoice: str, stripe_customer: str) -> None:
    there: set[str] = set()
    if invoice.retried:
        items = stripe.InvoiceItem.list(invoice=stripe_invoice, limit=PAGE, **call())
        there = {our_id(item, LINE_ID) for item in items.auto_paging_iter()}
    for line in invoice.lines:
        if line.id not in there:
            stripe.InvoiceItem.create(
                customer=stripe_customer,
                invoice=stripe_invoice,
                currency=invoice.currency.lower(),
                description=line.description,
                metadata={LINE_ID: line.id},
                **_amount(line, invoice.currency),
                **call(f"{line.id}-r{invoice.revision}" if invoice.revision else line.id),
            )


def _amount(line: LineToSend, currency: str) -> dict[str, Any]:
    """What a line comes to: units at so much each where that is exact, so that Stripe's pages show them."""
    if line.units is None or line.unit_amount_cents is None:
        return {"amount": to_stripe(line.amount_cents, currency)}
    # As text: the library would write a small Decimal with an exponent.
    each = plain_number(line.unit_amount_cents * to_stripe(1, currency))
    return {"quantity": line.units, "unit_amount_decimal": each}


def charge_invoice(charge: ChargeToMake) -> Paid | Declined:
    """Charge an invoice at Stripe off session, or learn that it is paid already. Raises StripeUnavailable when Stripe
    gave no definite answer: then the same charge is to be made again."""
    try:
        with errors_in_our_words():
            before = stripe.Invoice.retrieve(charge.stripe_invoice_id, **call())
            if before.status == "paid":
                return _paid(before)
            paid = stripe.Invoice.pay(
                charge.stripe_invoice_id,
                payment_method=charge.payment_method,
                off_session=True,
                # With the card and Stripe's invoice: after a lost decline the same attempt may come with a new card, or
                # with the invoice that took the place of one in part credited, which is another charge.
                **call(f"{charge.stripe_invoice_id}-pay-{charge.attempt}-{charge.payment_method}"),
            )
    except CardDeclined as declined:
        return Declined(reference=declined.reference, code=declined.code, message=declined.message)
    if paid.status != "paid":
        return Declined(
            reference=paid.id, code="not_paid", message="The payment was not completed; the customer has to confirm it."
        )
    mirror(mirrored.Invoice, paid)
    return _paid(paid)


def _paid(invoice: stripe.Invoice) -> Paid:
    try:
        return Paid(reference=invoice.id, amount_cents=from_stripe(invoice.amount_paid, invoice.currency))
    except ValueError as error:
        raise StripeRefused(f"Stripe was paid {error}") from error
