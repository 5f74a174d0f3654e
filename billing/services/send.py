from datetime import datetime, timedelta

from django.db import transaction

from billing.exchange import CustomerToSend, InvoiceToSend, LineToSend
from billing.models import SENDABLE, CreditNote, Dunning, Invoice, InvoiceLine, PaymentStatus, StripeVoid
from billing.tax import tax_text
from billing.tax_lines import TaxSum, tax_sums
from plans.models import Customer
from plans.money import exactly
from plans.words import money_text

# While one worker talks to Stripe no other takes the invoice; after a crash it is taken again when the lease is over.
LEASE = timedelta(minutes=10)
# Stripe documents no largest quantity; lines with more units go as an amount alone.
MOST_UNITS = 1_000_000
# Stripe answers a key again for a day after its first use, and no key is older than the row that it is made from.
KEYS_ARE_KEPT = timedelta(hours=23)
RETRY_AFTER = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=12),
)


def retry_delay(attempts: int) -> timedelta:
    """How long to wait after this many failed attempts, from one minute up to half a day."""
    return RETRY_AFTER[min(max(attempts, 1), len(RETRY_AFTER)) - 1]


def may_be_forgotten(created_at: datetime, now: datetime) -> bool:
    """Tell whether Stripe may have the object of a row made at `created_at` and not know its key any more: then it is
    looked up first. Our count of attempts does not tell it: a restored database has those of its back-up.
    """
    return now - created_at >= KEYS_ARE_KEPT


@transaction.atomic
def claim_invoice_to_send(*, at: datetime, now: datetime) -> InvoiceToSend | None:
    """Claim the next issued invoice that Stripe does not have; None when there is none.

    The lease counts from `now`, the instant of this claim, since `at` may be that of a sweep which began long ago.

    The intention is committed before anything is sent, so no transaction is open during the call.
    """
    invoice = (
        Invoice.objects.to_send(at)
        .select_for_update(no_key=True, skip_locked=True, of=("self",))
        .select_related("customer", "checkout")
        .order_by("send_at", "pk")
        .first()
    )
    if invoice is None:
        return None
    retried = invoice.send_attempts > 0 or may_be_forgotten(invoice.created_at, now)
    invoice.send_attempts += 1
    invoice.send_at = now + LEASE
    invoice.save(update_fields=["send_attempts", "send_at", "updated_at"])
    assert invoice.number is not None
    payment_intent = _paid_by(invoice)
    # What a checkout has taken is the whole total, and what of it was not owed any more goes back by a refund: taken
    # off here as well, Stripe would keep it as a balance and take it off the next invoice.
    credited = [] if payment_intent else list(invoice.credit_notes.filter(due_cents__gt=0).order_by("pk"))
    return InvoiceToSend(
        id=invoice.public_id,
        number=invoice.number,
        currency=invoice.currency,
        total_cents=invoice.total_cents - sum(note.due_cents for note in credited),
        customer=customer_to_send(invoice.customer),
        lines=(*_lines_to_send(invoice), *(_note_to_send(note) for note in credited)),
        retried=retried,
        payment_intent=payment_intent,
        revision=invoice.stripe_revision,
    )


def _note_to_send(note: CreditNote) -> LineToSend:
    """Take what Stripe is to know of a credit note: what need not be paid any more."""
    return LineToSend(id=note.public_id, description=f"Credit note {note.number}", amount_cents=-note.due_cents)


def _lines_to_send(invoice: Invoice) -> tuple[LineToSend, ...]:
    """The lines, and one for the tax at each rate: Stripe is to compute none. Tax that the prices include is told
    there, at 0."""
    lines = list(invoice.lines.all())
    taxes = (
        LineToSend(
            id=f"{invoice.public_id}-tax-{number}",
            description=_tax_words(invoice, tax),
            amount_cents=0 if invoice.prices_include_tax else tax.tax_cents,
        )
        for number, tax in enumerate(tax_sums(invoice, lines), start=1)
    )
    return (*(_line_to_send(line) for line in lines), *taxes)


def _tax_words(invoice: Invoice, tax: TaxSum) -> str:
    words = tax_text(tax.rate)
    return f"{words}: {money_text(tax.tax_cents, invoice.currency)} included" if invoice.prices_include_tax else words


@exactly
def _line_to_send(line: InvoiceLine) -> LineToSend:
    """Take what Stripe is to know of a line: its amount, and its units where they come to that without rounding."""
    each, units = line.unit_amount_cents, line.quantity
    is_exact = (
        each is not None and each * units == line.amount_cents and units == units.to_integral_value()
    ) and 1 < units <= MOST_UNITS
    return LineToSend(
        id=line.public_id,
        description=line.description,
        amount_cents=line.amount_cents,
        units=int(units) if is_exact else None,
        unit_amount_cents=each if is_exact else None,
    )


def _paid_by(invoice: Invoice) -> str:
    """Stripe's id of the payment intent with which a checkout has paid the invoice, empty where none has."""
    if not hasattr(invoice, "checkout") or invoice.checkout.intent_id is None:
        return ""
    paid = invoice.payments.filter(status=PaymentStatus.SUCCEEDED, external_id=invoice.checkout.intent_id)
    return invoice.checkout.intent_id if paid.exists() else ""


def customer_to_send(customer: Customer) -> CustomerToSend:
    """Take what Stripe is to know of a customer."""
    return CustomerToSend(
        id=customer.public_id, stripe_id=customer.psp_customer_id, name=customer.name, email=customer.email
    )


def record_stripe_customer(*, customer: str, stripe_id: str) -> None:
    """Keep the id that Stripe gave a customer, unless one is kept already."""
    Customer.objects.filter(public_id=customer, psp_customer_id__isnull=True).update(psp_customer_id=stripe_id)


@transaction.atomic
def record_sent(*, invoice: str, stripe_invoice_id: str, at: datetime, revision: int = 0) -> None:
    """Note that Stripe has a revision of an invoice; from now on it can be charged. Noting it again changes nothing.

    What was voided or credited while it was on its way is made void there.
    """
    row = Invoice.objects.select_for_update(no_key=True).get(public_id=invoice)
    if row.status not in SENDABLE or row.stripe_revision != revision:
        StripeVoid.objects.update_or_create(
            invoice=row,
            revision=revision,
            defaults={"stripe_invoice_id": stripe_invoice_id, "void_at": at, "voided_at": None},
        )
    elif row.stripe_sent_at is None:
        Invoice.objects.filter(pk=row.pk).update(
            stripe_invoice_id=stripe_invoice_id,
            stripe_sent_at=at,
            send_error="",
            collect_at=_charge_at(row, at),
        )


def _charge_at(invoice: Invoice, at: datetime) -> datetime | None:
    """When an invoice that Stripe has now is charged: at once, or where a charge of it was declined before, as that was
    planned."""
    dunning = Dunning.objects.filter(invoice=invoice).first()
    return at if dunning is None else dunning.next_retry_at


def record_send_failure(*, invoice: str, error: str, at: datetime, revision: int = 0) -> None:
    """Note why a revision of an invoice could not be sent, and when to try again. It waits; nothing else changes.

    Where the next revision takes its place, that one waits until this one is void at Stripe.
    """
    failed = Invoice.objects.get(public_id=invoice)
    Invoice.objects.filter(
        pk=failed.pk, status__in=SENDABLE, stripe_sent_at__isnull=True, stripe_revision=revision
    ).update(send_error=error, send_at=at + retry_delay(failed.send_attempts))
