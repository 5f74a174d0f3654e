from datetime import datetime

from django.db import transaction
from django.db.models import F, Q

from billing.exchange import Card, ChargeToMake, Declined, Paid
from billing.models import (
    Dunning,
    DunningOutcome,
    Invoice,
    InvoiceStatus,
    Payment,
    PaymentMethod,
    PaymentMethodStatus,
    PaymentStatus,
    Refund,
)
from billing.services.disputes import attach_to_disputes
from billing.services.dunning import hold_subscription_of, note_decline, note_refusal, settle_dunning
from billing.services.hold_invoice import hold_invoice, refuse_unless_issued, refuse_while_charged
from billing.services.send import LEASE, RETRY_AFTER, retry_delay
from billing.services.stop_auto_top_up import (
    go_on_after_payment,
    go_on_with_another_card,
    stop_as_its_charge_failed,
)
from billing.services.top_up import grant_what_was_paid
from plans.models import Customer
from plans.refusals import Refusal


class NothingToCollect(Refusal):
    """The invoice is paid, or written off."""

    code = "nothing_to_collect"
    status = 409


class NoPaymentMethod(Refusal):
    """The customer has given no payment method, so there is nothing to charge."""

    code = "no_payment_method"
    status = 409


class CustomerIsParked(Refusal):
    """The customer's books do not add up, so an operator has to look first."""

    code = "customer_parked"
    status = 409


class AmountMismatch(Exception):
    """Stripe was paid less than is open of the invoice, or more than its total. `customer` is the key of the invoice's
    customer."""

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
    return _claim(invoice, now)


@transaction.atomic
def claim_invoice_to_retry(*, invoice: Invoice, at: datetime) -> ChargeToMake | None:
    """Claim an issued invoice to be charged now, whatever was planned; None when Stripe does not have it yet: then it
    is sent and charged by the next sweeps.

    Raises InvoiceNotFound, InvoiceIsDraft, InvoiceIsVoid, InvoiceIsCarried, NothingToCollect, NoPaymentMethod,
    CustomerIsParked and ChargeUnderWay.
    """
    held = hold_invoice(invoice)
    refuse_unless_issued(held)
    if held.status != InvoiceStatus.ISSUED:
        raise NothingToCollect(f"Invoice {held.number} is {held.status}: nothing of it is to be charged.")
    if held.customer.parked_at is not None:
        raise CustomerIsParked(f"Nothing of this customer is charged while it is parked: {held.customer.parked_reason}")
    if not _has_payment_method(held.customer):
        raise NoPaymentMethod("This customer has no payment method. Add one; then the invoice is charged by itself.")
    refuse_while_charged(held, at)
    if held.stripe_sent_at is None:
        # One that somebody is sending right now, or will be soon, is left to that.
        later = Q(send_attempts=0) | Q(send_at__gt=at + LEASE)
        Invoice.objects.filter(later, pk=held.pk, send_at__isnull=False).update(send_at=at)
        Dunning.objects.owed().filter(invoice=held).update(next_retry_at=at)
        return None
    return _claim(held, at)


def _has_payment_method(customer: Customer) -> bool:
    return customer.payment_methods.filter(is_default=True, status=PaymentMethodStatus.ACTIVE).exists()


def _claim(invoice: Invoice, now: datetime) -> ChargeToMake:
    Invoice.objects.filter(pk=invoice.pk).update(collect_at=now + LEASE, charge_started_at=now)
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

    What was paid although it was not owed any more, since the invoice had become void or been credited meanwhile, goes
    back. `payment_method` is Stripe's id of the one that was charged, where that is known. Raises AmountMismatch when
    less was paid than is open, or more than the total.
    """
    hold_subscription_of(invoice)
    row = Invoice.objects.select_for_update(no_key=True).get(public_id=invoice)
    if row.payments.filter(status=PaymentStatus.SUCCEEDED).exists() or not (paid.amount_cents or row.open_cents):
        return False
    if not row.open_cents <= paid.amount_cents <= row.total_cents:
        raise AmountMismatch(
            f"invoice {row.number}: {paid.amount_cents} were paid, {row.open_cents} of {row.total_cents} are open",
            customer=row.customer_id,
        )
    payment = Payment.objects.create(
        customer_id=row.customer_id,
        invoice=row,
        payment_method=PaymentMethod.objects.filter(external_id=payment_method).first(),
        status=PaymentStatus.SUCCEEDED,
        amount_cents=paid.amount_cents,
        currency=row.currency,
        external_id=paid.reference,
        intent_id=paid.reference if paid.reference.startswith("pi_") else None,
        attempt=row.collect_attempts + 1,
        created_at=at,
    )
    if paid.amount_cents > row.open_cents:
        Refund.objects.create(
            customer_id=row.customer_id,
            payment=payment,
            amount_cents=paid.amount_cents - row.open_cents,
            currency=row.currency,
            refund_at=at,
            created_at=at,
        )
    attach_to_disputes(payment)
    Invoice.objects.filter(pk=row.pk).update(
        collect_at=None, charge_started_at=None, collect_attempts=F("collect_attempts") + 1, collect_error=""
    )
    if row.open_cents:
        Invoice.objects.filter(pk=row.pk).update(status=InvoiceStatus.PAID, paid_at=at)
        settle_dunning(invoice=row, outcome=DunningOutcome.PAID, at=at)
        grant_what_was_paid(invoice=row, at=at)
        go_on_after_payment(invoice=row, at=at)
    return True


@transaction.atomic
def record_declined(*, charge: ChargeToMake, declined: Declined, at: datetime) -> None:
    """Book a charge that failed for good; the answer counts once.

    The first one starts dunning, which plans when the invoice is charged again. Where the customer has given another
    payment method while this charge was under way, that is at once.
    """
    subscription = hold_subscription_of(charge.invoice)
    row = Invoice.objects.select_for_update(no_key=True).get(public_id=charge.invoice)
    if row.status != InvoiceStatus.ISSUED or row.collect_attempts >= charge.attempt:
        return
    payment = Payment.objects.create(
        customer_id=row.customer_id,
        invoice=row,
        payment_method=PaymentMethod.objects.filter(external_id=charge.payment_method).first(),
        status=PaymentStatus.FAILED,
        amount_cents=row.open_cents,
        currency=row.currency,
        external_id=declined.reference,
        attempt=charge.attempt,
        error_code=declined.code,
        error_message=declined.message,
        created_at=at,
    )
    if row.auto_top_up_id is None:
        again_at = note_decline(
            invoice=row,
            payment=payment,
            subscription=subscription,
            has_other_card=_has_another_method(row, charge),
            at=at,
        )
    else:
        # Nobody is dunned for what was bought by itself: its rule stops.
        again_at = at if _has_another_method(row, charge) else None
        if again_at is None:
            stop_as_its_charge_failed(invoice=row, reason=declined.message, at=at)
    Invoice.objects.filter(pk=row.pk).update(
        collect_attempts=charge.attempt, collect_at=again_at, charge_started_at=None, collect_error=""
    )


def record_collect_unknown(*, charge: ChargeToMake, error: str, at: datetime) -> None:
    """Note why a charge had no answer: it is repeated, as the same charge, after a pause. What is known of it
    by another worker meanwhile stays."""
    Invoice.objects.filter(
        public_id=charge.invoice, status=InvoiceStatus.ISSUED, collect_attempts=charge.attempt - 1
    ).update(collect_at=at + retry_delay(1), collect_error=error)


@transaction.atomic
def record_collect_refused(*, charge: ChargeToMake, error: str, at: datetime) -> None:
    """Note why Stripe refused a charge, for another reason than the card: it is tried again after the longest pause,
    while it is dunned with the next planned retry, or at once when there is another card.

    That is another charge: Stripe would answer the same one as before for a day, also once the reason is gone.
    """
    row = Invoice.objects.select_for_update(no_key=True).get(public_id=charge.invoice)
    if row.status == InvoiceStatus.ISSUED and row.collect_attempts < charge.attempt:
        has_other_card = _has_another_method(row, charge)
        again_at = note_refusal(invoice=row, has_other_card=has_other_card, otherwise=at + RETRY_AFTER[-1], at=at)
        Invoice.objects.filter(pk=row.pk).update(
            collect_attempts=charge.attempt, collect_at=again_at, charge_started_at=None, collect_error=error
        )


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
    Dunning.objects.owed().filter(customer=customer).update(next_retry_at=at)
    go_on_with_another_card(customer=customer, at=at)
    return method
