from datetime import datetime

from django.db import transaction
from django.db.models import F

from billing.exchange import Card, ChargeToMake, Declined, Paid
from billing.models import Invoice, InvoiceStatus, Payment, PaymentMethod, PaymentMethodStatus, PaymentStatus
from billing.services.send import LEASE, RETRY_AFTER, retry_delay
from billing.services.top_up import grant_what_was_paid
from plans.models import Customer


class AmountMismatch(Exception):
    """Stripe was paid another amount than the invoice's total. `customer` is the key of the invoice's customer."""

    def __init__(self, message: str, *, customer: int) -> None:
        super().__init__(message)
        self.customer = customer


@transaction.atomic
def claim_invoice_to_collect(*, at: datetime, now: datetime) -> ChargeToMake | None:
    """Claim the next invoice that can be charged: at Stripe, due, its customer with a default payment method.

    The number of the attempt moves on only with a definite answer, so that a call whose answer was lost is repeated
    as the same charge.
    """
    invoice = (
        Invoice.objects.to_collect(at)
        .filter(
            customer__payment_methods__is_default=True,
            customer__payment_methods__status=PaymentMethodStatus.ACTIVE,
        )
        .select_for_update(no_key=True, skip_locked=True, of=("self",))
        .select_related("customer")
        .order_by("collect_at", "pk")
        .first()
    )
    if invoice is None:
        return None
    Invoice.objects.filter(pk=invoice.pk).update(collect_at=now + LEASE)
    assert invoice.stripe_invoice_id is not None
    return ChargeToMake(
        invoice=invoice.public_id,
        stripe_invoice_id=invoice.stripe_invoice_id,
        payment_method=invoice.customer.payment_methods.get(is_default=True).external_id,
        attempt=invoice.collect_attempts + 1,
    )


@transaction.atomic
def record_payment(*, invoice: str, paid: Paid, at: datetime, payment_method: str = "") -> bool:
    """Book an invoice as paid and tell whether that was new; our own call and the webhook both bring the news. What was
    bought with it is granted in the same transaction.

    `payment_method` is Stripe's id of the one that was charged, where that is known. Raises AmountMismatch when another
    amount was paid.
    """
    row = Invoice.objects.select_for_update(no_key=True).get(public_id=invoice)
    if row.status == InvoiceStatus.PAID:
        return False
    if paid.amount_cents != row.total_cents:
        raise AmountMismatch(
            f"invoice {row.number}: {paid.amount_cents} were paid, its total is {row.total_cents}",
            customer=row.customer_id,
        )
    Payment.objects.create(
        customer_id=row.customer_id,
        invoice=row,
        payment_method=PaymentMethod.objects.filter(external_id=payment_method).first(),
        status=PaymentStatus.SUCCEEDED,
        amount_cents=paid.amount_cents,
        currency=row.currency,
        external_id=paid.reference,
        attempt=row.collect_attempts + 1,
        created_at=at,
    )
    Invoice.objects.filter(pk=row.pk).update(
        status=InvoiceStatus.PAID, paid_at=at, collect_at=None, collect_attempts=F("collect_attempts") + 1
    )
    grant_what_was_paid(invoice=row, at=at)
    return True


@transaction.atomic
def record_declined(*, charge: ChargeToMake, declined: Declined, at: datetime) -> None:
    """Book a charge that failed for good; the answer counts once.

    The invoice waits for another payment method, unless the customer has given one while this charge was under way.
    """
    row = Invoice.objects.select_for_update(no_key=True).get(public_id=charge.invoice)
    if row.status != InvoiceStatus.ISSUED or row.collect_attempts >= charge.attempt:
        return
    Payment.objects.create(
        customer_id=row.customer_id,
        invoice=row,
        payment_method=PaymentMethod.objects.filter(external_id=charge.payment_method).first(),
        status=PaymentStatus.FAILED,
        amount_cents=row.total_cents,
        currency=row.currency,
        external_id=declined.reference,
        attempt=charge.attempt,
        error_code=declined.code,
        error_message=declined.message,
        created_at=at,
    )
    again_at = at if _has_another_method(row, charge) else None
    Invoice.objects.filter(pk=row.pk).update(collect_attempts=charge.attempt, collect_at=again_at)


def record_collect_unknown(*, invoice: str, at: datetime) -> None:
    """Note that a charge had no answer: it is repeated, as the same charge, after a pause."""
    Invoice.objects.filter(public_id=invoice, status=InvoiceStatus.ISSUED).update(collect_at=at + retry_delay(1))


@transaction.atomic
def record_collect_refused(*, charge: ChargeToMake, at: datetime) -> None:
    """Note that Stripe refused a charge for another reason than the card: it is tried again after the longest pause,
    or at once when there is another card."""
    row = Invoice.objects.select_for_update(no_key=True).get(public_id=charge.invoice)
    if row.status == InvoiceStatus.ISSUED:
        again_at = at if _has_another_method(row, charge) else at + RETRY_AFTER[-1]
        Invoice.objects.filter(pk=row.pk).update(collect_at=again_at)


def _has_another_method(invoice: Invoice, charge: ChargeToMake) -> bool:
    """Tell whether the customer has given another payment method than the one that was charged."""
    default = PaymentMethod.objects.filter(customer=invoice.customer_id, is_default=True)
    return default.exclude(external_id=charge.payment_method).exists()


@transaction.atomic
def record_payment_method(*, customer: Customer, card: Card, at: datetime) -> PaymentMethod:
    """Keep a payment method that Stripe has attached to a customer and make it the default.

    Invoices that wait for payment are charged by the next sweep. Recording it again changes nothing else.
    """
    Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    PaymentMethod.objects.filter(customer=customer, is_default=True).exclude(external_id=card.stripe_id).update(
        is_default=False
    )
    shown = {
        "customer": customer,
        "payment_type": card.payment_type,
        "status": PaymentMethodStatus.ACTIVE,
        "card_brand": card.brand,
        "card_last_four": card.last_four,
        "card_expiry_month": card.expiry_month,
        "card_expiry_year": card.expiry_year,
        "is_default": True,
    }
    method, _ = PaymentMethod.objects.update_or_create(
        external_id=card.stripe_id, defaults=shown, create_defaults=shown | {"created_at": at}
    )
    Invoice.objects.filter(customer=customer, status=InvoiceStatus.ISSUED, stripe_sent_at__isnull=False).update(
        collect_at=at
    )
    return method
