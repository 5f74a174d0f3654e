"""Withdrawing an issued invoice that nobody has paid, and issuing another one in its place."""

from datetime import datetime

from django.db import transaction

from billing.lines import late_usage_line
from billing.models import DunningOutcome, Invoice, InvoicedPeriod, InvoiceKind, InvoiceLine, InvoiceStatus, LineType
from billing.services.credit_notes import return_credit, returned_of
from billing.services.dunning import hold_subscription_of, settle_dunning
from billing.services.hold_invoice import hold_invoice, refuse_unless_issued, refuse_while_charged
from billing.services.issue import issue_charges
from billing.services.late_usage import lock_usage
from billing.services.stop_auto_top_up import stop_as_its_invoice_is_void
from billing.services.stripe_voids import withdraw_from_stripe
from billing.services.wind_down import bill_what_is_due, hold_subscription
from credits.models import UsageDifference
from credits.services.late_usage import charged_periods, find_differences
from credits.services.return_money import take_back_unspent
from plans.models import Customer, SubscriptionPeriod
from plans.refusals import Refusal

_REBILLED = (InvoiceKind.CYCLE, InvoiceKind.CHANGE, InvoiceKind.FINAL, InvoiceKind.SEATS, InvoiceKind.LATE)
# What a replacement works out anew.
_OF_MONEY = (LineType.REFUND, LineType.BROUGHT_FORWARD, LineType.ROUNDING)


class InvoiceIsPaid(Refusal):
    """The invoice is paid, so it cannot be withdrawn; a credit note gives money back."""

    code = "invoice_is_paid"
    status = 409


class CreditedElsewhere(Refusal):
    """Another document credits the invoice, which would credit nothing then."""

    code = "invoice_is_credited"
    status = 409


class NothingToBillAgain(Refusal):
    """What the invoice bills does not come from a subscription, so there is nothing to rate again."""

    code = "nothing_to_bill_again"
    status = 409


@transaction.atomic
def void_invoice(*, invoice: Invoice, reason: str, at: datetime, rebill: bool = False) -> Invoice | None:
    """Withdraw an issued invoice that nobody has paid. It keeps its number; what credits of money had paid returns to
    their grants, and what it had kept as credit is taken back as far as it is not spent.

    What counts as billed already does not change, unless it is to be billed again: then what is found of its periods
    today is booked, and an invoice in its place is issued at once and returned.

    The subscription's drafts are finalized first. Raises InvoiceNotFound, InvoiceIsDraft, InvoiceIsVoid, InvoiceIsPaid,
    InvoiceIsCarried, CreditedElsewhere, NothingToBillAgain, ChargeUnderWay and UsageIsStillCounted.
    """
    _refuse(invoice, at, rebill)
    hold_subscription_of(invoice.public_id)
    _finalize_drafts(invoice, at)
    held = hold_invoice(invoice)
    _refuse(held, at, rebill)
    if rebill:
        find_differences(periods=_billed_periods(held), at=at)
    _withdraw(held, reason, at)
    return _issue_again(held, at) if rebill else None


def _refuse(invoice: Invoice, at: datetime, rebill: bool) -> None:
    refuse_unless_issued(invoice)
    if invoice.status == InvoiceStatus.PAID and (invoice.total_cents or invoice.payments.exists()):
        raise InvoiceIsPaid(f"Invoice {invoice.number} is paid. Make a credit note to give money back.")
    refuse_while_charged(invoice, at)
    _refuse_credited(invoice)
    if rebill and invoice.kind not in _REBILLED:
        raise NothingToBillAgain(
            f"Invoice {invoice.number} does not bill a subscription. Void it without rebill, and write a new one."
        )


def _refuse_credited(invoice: Invoice) -> None:
    crediting = InvoiceLine.objects.filter(credited_line__invoice=invoice).exclude(invoice__status=InvoiceStatus.VOID)
    line = crediting.select_related("invoice").first()
    if line is not None:
        raise CreditedElsewhere(f"Invoice {line.invoice} credits a part of invoice {invoice.number}. Void it first.")
    note = invoice.credit_notes.first()
    if note is not None:
        raise CreditedElsewhere(
            f"Credit note {note} credits a part of invoice {invoice.number}. Credit what is left of it instead."
        )


def _finalize_drafts(invoice: Invoice, at: datetime) -> None:
    """Finalize the drafts of the invoice's subscription; take all locks, in the order of everybody who bills."""
    subscription = invoice.subscription
    if subscription is not None and subscription.ended_at is None:
        bill_what_is_due(hold_subscription(subscription), at=at)
        return
    Customer.objects.select_for_update(no_key=True).get(pk=invoice.customer_id)
    if subscription is not None:
        lock_usage({subscription.pk})


def _billed_periods(invoice: Invoice) -> list[SubscriptionPeriod]:
    """The charged periods that an invoice, or the one that it replaces, was made for."""
    return list(charged_periods().filter(invoiced__invoice=_first(invoice)).select_related("customer"))


def _first(invoice: Invoice) -> Invoice:
    while invoice.replaces is not None:
        invoice = invoice.replaces
    return invoice


def _withdraw(invoice: Invoice, reason: str, at: datetime) -> None:
    for line in invoice.lines.filter(credit_transaction__isnull=False).select_related("grant", "invoice"):
        if line.type == LineType.CREDIT:
            return_credit(line, cents=-line.amount_cents - returned_of(line), credit_note=None, at=at)
        elif line.grant is not None:
            take_back_unspent(grant=line.grant, at=at, notes=f"invoice {invoice.number} is void")
    Invoice.objects.filter(carried_into=invoice).update(carried_into=None, updated_at=at)
    invoice.status, invoice.voided_at, invoice.void_reason = InvoiceStatus.VOID, at, reason
    invoice.save(update_fields=["status", "voided_at", "void_reason", "updated_at"])
    settle_dunning(invoice=invoice, outcome=DunningOutcome.VOIDED, at=at)
    withdraw_from_stripe(invoice, at=at)
    stop_as_its_invoice_is_void(invoice=invoice, at=at)


def _issue_again(void: Invoice, at: datetime) -> Invoice:
    """Issue the replacement: what the void invoice charged, and what was found of its periods since. What it may be
    paid with is looked at anew."""
    replacement = Invoice.objects.create(
        customer=void.customer,
        subscription=void.subscription,
        kind=void.kind,
        replaces=void,
        currency=void.currency,
        closes_at=void.closes_at,
        finalize_at=at,
        period_start_at=void.period_start_at,
        period_end_at=void.period_end_at,
        created_at=at,
    )
    found = _to_bill(void, at)
    charges = [*_repeated(void, replacement), *(late_usage_line(replacement, one) for one in found)]
    gathered = InvoicedPeriod.objects.filter(invoice=_first(void)).select_related("period__item")
    return issue_charges(replacement, charges, periods=[one.period for one in gathered], at=at)


def _repeated(void: Invoice, replacement: Invoice) -> list[InvoiceLine]:
    """The charges of a void invoice once more, each with the line that it repeats."""
    lines = void.lines.exclude(type__in=_OF_MONEY).filter(credit_transaction=None)
    repeated = []
    for line in lines.select_related("component__price", "period__item", "metric", "grant__definition"):
        repeated.append(
            InvoiceLine(
                invoice=replacement,
                type=line.type,
                component=line.component,
                metric=line.metric,
                period=line.period,
                grant=line.grant,
                effective_at=line.effective_at,
                credited_line=line.credited_line,
                replaced_line=line,
                description=line.description,
                quantity=line.quantity,
                unit_amount_cents=line.unit_amount_cents,
                amount_cents=line.amount_cents,
                billing_period_start_at=line.billing_period_start_at,
                billing_period_end_at=line.billing_period_end_at,
                usage_period_start_at=line.usage_period_start_at,
                usage_period_end_at=line.usage_period_end_at,
            )
        )
    return repeated


def _to_bill(void: Invoice, at: datetime) -> list[UsageDifference]:
    """What was found of the periods of a void invoice and is billed by nothing yet; from now on it is."""
    waiting = list(
        UsageDifference.objects.filter(billed_at=None, period__in=[period.pk for period in _billed_periods(void)])
        .select_related("period__item__component__price")
        .order_by("period__start_at", "period_id", "number")
    )
    for difference in waiting:
        difference.billed_at = at
    UsageDifference.objects.bulk_update(waiting, ["billed_at"])
    return waiting
