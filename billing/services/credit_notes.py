"""Credit notes: what is taken back of an issued invoice, each part to where it came from."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import F, Max, Sum, TextChoices

from billing.models import (
    CreditNote,
    CreditNoteLine,
    DunningOutcome,
    Invoice,
    InvoiceKind,
    InvoiceLine,
    InvoiceStatus,
    LineType,
    Payment,
    PaymentStatus,
    Refund,
    ReturnedCredit,
)
from billing.services.creditable import OpenCharge, open_charges, spread
from billing.services.disputes import refuse_disputed, why_nothing_goes_back
from billing.services.dunning import hold_subscription_of, settle_dunning
from billing.services.hold_invoice import hold_invoice, refuse_unless_issued, refuse_while_charged
from billing.services.stripe_voids import withdraw_from_stripe
from billing.stripe_amounts import charge_step, is_chargeable
from credits.models import UsageDifference
from credits.services.return_money import keep_money, return_money
from plans.refusals import InvalidInput, Refusal
from plans.words import money_text


class GoesTo(TextChoices):
    """Where paid money goes back to: the means of payment, or a credit for later invoices."""

    SOURCE = "source"
    CREDIT = "credit"


class CreditAboveInvoice(Refusal):
    """More would be credited than is left of the invoice, or of one of its lines."""

    code = "credit_exceeds_invoice"


class NothingToCredit(Refusal):
    """All of the invoice is credited already."""

    code = "nothing_to_credit"
    status = 409


class PurchaseNotPaid(Refusal):
    """A top-up pack that is not paid has given nothing yet, so its invoice is voided instead."""

    code = "purchase_not_paid"
    status = 409


@transaction.atomic
def credit_invoice(
    *,
    invoice: Invoice,
    reason: str,
    at: datetime,
    lines: Sequence[tuple[str, int]] | None = None,
    amount_cents: int | None = None,
    to: str = GoesTo.SOURCE,
) -> CreditNote:
    """Take back a part of an issued invoice, or what is left of all of it, and return the credit note.

    `lines` are public ids with amounts as they stand on the invoice: their tax comes on top, where the prices do not
    include it. `amount_cents` is what the customer owes less, or gets back, tax included; it is spread over all
    charges. What credits of money had paid returns to their grants. What is not paid yet is due no more; what was paid
    goes `to` its source, by a refund that waits to be made, or is kept as credit.

    Raises InvoiceNotFound, InvoiceIsDraft, InvoiceIsVoid, InvoiceIsCarried, ChargeUnderWay, PaymentDisputed,
    PurchaseNotPaid, CreditAboveInvoice, NothingToCredit and InvalidInput.
    """
    hold_subscription_of(invoice.public_id)
    held = hold_invoice(invoice)
    refuse_unless_issued(held)
    refuse_while_charged(held, at)
    if to == GoesTo.SOURCE:
        refuse_disputed(held)
    if held.kind == InvoiceKind.TOP_UP and held.status != InvoiceStatus.PAID:
        raise PurchaseNotPaid(f"Invoice {held.number} is for a pack that is not paid. Void it instead.")
    charges = open_charges(held)
    if not charges:
        raise NothingToCredit(f"Nothing of invoice {held.number} is left to be credited.")
    if lines is not None:
        parts = _parts_of_lines(held, charges, lines)
    elif amount_cents is not None:
        parts = _parts_of_amount(held, charges, amount_cents)
    else:
        parts = _whole(held, charges)
    _refuse_between_steps(held, parts, "amountCents" if lines is None else "lines")
    return issue_credit_note(invoice=held, parts=parts, reason=reason, to=to, at=at)


def _parts_of_lines(
    invoice: Invoice, charges: Sequence[OpenCharge], lines: Sequence[tuple[str, int]]
) -> list[OpenCharge]:
    by_id = {charge.line.public_id: charge for charge in charges}
    parts = []
    for place, (line_id, cents) in enumerate(lines):
        charge = by_id.pop(line_id, None)
        if charge is None:
            raise InvalidInput.at(
                f"lines[{place}].lineId", "must name a charge of this invoice that is not credited yet, once."
            )
        if cents <= 0:
            raise InvalidInput.at(f"lines[{place}].amountCents", "must be more than 0.")
        if cents > charge.amount_cents:
            raise _too_much(f"lines[{place}].amountCents", charge.amount_cents, invoice)
        parts.append(charge.part(cents))
    _refuse_above_total(invoice, parts, "lines")
    return parts


def _parts_of_amount(invoice: Invoice, charges: list[OpenCharge], amount_cents: int) -> list[OpenCharge]:
    if amount_cents <= 0:
        raise InvalidInput.at("amountCents", "must be more than 0.")
    left = invoice.total_cents - invoice.credited_cents
    most = min(left, sum(charge.owed_cents for charge in charges))
    if amount_cents > most:
        raise _too_much("amountCents", most, invoice)
    return spread(amount_cents, charges)


def _whole(invoice: Invoice, charges: list[OpenCharge]) -> list[OpenCharge]:
    """All that is left: of an invoice with negative lines that is less than its charges come to."""
    left = invoice.total_cents - invoice.credited_cents
    if sum(charge.owed_cents for charge in charges) <= left:
        return charges
    if not left:
        raise NothingToCredit(f"Nothing of invoice {invoice.number} is left to be credited.")
    return spread(left, charges)


def _refuse_above_total(invoice: Invoice, parts: Iterable[OpenCharge], path: str) -> None:
    left = invoice.total_cents - invoice.credited_cents
    if sum(part.owed_cents for part in parts) > left:
        raise _too_much(path, left, invoice)


def _refuse_between_steps(invoice: Invoice, parts: Iterable[OpenCharge], path: str) -> None:
    """Raise InvalidInput when what is left to be paid of an issued invoice could not be charged any more, since it is
    finer than the currency's step."""
    step = charge_step(invoice.currency)
    if invoice.status == InvoiceStatus.ISSUED and sum(part.owed_cents for part in parts) % step:
        raise InvalidInput.at(
            path,
            f"must come to a multiple of {money_text(step, invoice.currency)} together with the tax: "
            f"{invoice.currency} is charged in such steps, and this invoice is not paid yet.",
        )


def _too_much(path: str, most_cents: int, invoice: Invoice) -> CreditAboveInvoice:
    most = money_text(most_cents, invoice.currency)
    return CreditAboveInvoice(
        f"{path}: no more than {most} of invoice {invoice.number} can be credited there.",
        details=[{"path": path, "message": f"must be at most {most_cents}."}],
    )


def issue_credit_note(
    *,
    invoice: Invoice,
    parts: Sequence[OpenCharge],
    reason: str,
    at: datetime,
    to: str = GoesTo.SOURCE,
    differences: Mapping[int, UsageDifference] | None = None,
) -> CreditNote:
    """Number and write the credit note of parts of an invoice's charges, and move its money. `differences` are the late
    corrections that are the reason, by the keys of the lines. The caller holds the invoice; see hold_invoice."""
    owed_cents = sum(part.owed_cents for part in parts)
    note = _new_note(invoice, parts, reason, at)
    _place_money(note, invoice, owed_cents, to)
    note.save()
    CreditNoteLine.objects.bulk_create(
        CreditNoteLine(
            credit_note=note,
            position=position,
            line=part.line,
            difference=(differences or {}).get(part.line.pk),
            description=part.line.description,
            amount_cents=part.amount_cents,
            monetary_credit_cents=part.monetary_credit_cents,
            tax_cents=part.tax_cents,
        )
        for position, part in enumerate(parts, start=1)
    )
    Invoice.objects.filter(pk=invoice.pk).update(credited_cents=F("credited_cents") + owed_cents, updated_at=at)
    invoice.credited_cents += owed_cents
    _return_credits(note, at)
    _move_paid_money(note, at)
    if note.due_cents:
        _follow(invoice, at)
    return note


def _new_note(invoice: Invoice, parts: Sequence[OpenCharge], reason: str, at: datetime) -> CreditNote:
    last = CreditNote.objects.filter(customer=invoice.customer_id).aggregate(last=Max("sequence"))["last"] or 0
    tax_cents = sum(part.tax_cents for part in parts)
    total_cents = sum(part.owed_cents for part in parts)
    return CreditNote(
        customer_id=invoice.customer_id,
        invoice=invoice,
        sequence=last + 1,
        number=f"{invoice.customer.invoice_prefix}-CN-{last + 1:03}",
        currency=invoice.currency,
        reason=reason,
        subtotal_cents=total_cents - tax_cents,
        tax_cents=tax_cents,
        total_cents=total_cents,
        monetary_credit_cents=sum(part.monetary_credit_cents for part in parts),
        issued_at=at,
    )


def _place_money(note: CreditNote, invoice: Invoice, cents: int, to: str) -> None:
    """Say where the money goes: what is still open is due no more, and only what was paid can go back. What is finer
    than the step in which the currency is given back is kept as credit."""
    note.due_cents = min(cents, invoice.open_cents)
    paid_cents = cents - note.due_cents
    if to == GoesTo.SOURCE:
        note.source_cents = paid_cents - paid_cents % charge_step(invoice.currency)
    note.credit_cents = paid_cents - note.source_cents


def _return_credits(note: CreditNote, at: datetime) -> None:
    """Return what credits of money had paid to their grants: to the one that paid last first."""
    left = note.monetary_credit_cents
    for line in reversed(_paying_lines(note.invoice)):
        cents = min(left, -line.amount_cents - returned_of(line))
        if cents:
            return_credit(line, cents=cents, credit_note=note, at=at)
            left -= cents


def _paying_lines(invoice: Invoice) -> list[InvoiceLine]:
    paying = invoice.lines.filter(type=LineType.CREDIT, credit_transaction__isnull=False)
    return list(paying.select_related("grant", "invoice").order_by("position"))


def returned_of(line: InvoiceLine) -> int:
    """How much of what a credit of money took off an invoice has gone back to its grant."""
    return int(line.returned_credits.aggregate(cents=Sum("transaction__amount"))["cents"] or 0)


def return_credit(line: InvoiceLine, *, cents: int, credit_note: CreditNote | None, at: datetime) -> None:
    """Give a grant back what it had paid by a line. The caller holds the lock of the customer's money."""
    assert line.grant is not None
    document = f"invoice {line.invoice.number} is void" if credit_note is None else f"credit note {credit_note.number}"
    movement = return_money(grant=line.grant, cents=cents, at=at, notes=document)
    ReturnedCredit.objects.create(line=line, transaction=movement, credit_note=credit_note)


def _move_paid_money(note: CreditNote, at: datetime) -> None:
    if note.credit_cents:
        keep_money(
            customer=note.customer_id,
            cents=note.credit_cents,
            currency=note.currency,
            reference_code=f"credit_note:{note.public_id}",
            at=at,
        )
    if note.source_cents:
        Refund.objects.create(
            customer_id=note.customer_id,
            payment=Payment.objects.get(invoice=note.invoice, status=PaymentStatus.SUCCEEDED),
            credit_note=note,
            amount_cents=note.source_cents,
            currency=note.currency,
            refund_at=at,
            credit_at=at,
            error=why_nothing_goes_back(note.invoice),
            created_at=at,
        )


def _follow(invoice: Invoice, at: datetime) -> None:
    """Set the state of an unpaid invoice that less is due of now. Stripe gets it anew, or not at all."""
    if not invoice.open_cents:
        invoice.status, invoice.paid_at = InvoiceStatus.PAID, at
        settle_dunning(invoice=invoice, outcome=DunningOutcome.CREDITED, at=at)
    elif invoice.status == InvoiceStatus.ISSUED and not is_chargeable(invoice.open_cents, invoice.currency):
        invoice.status = InvoiceStatus.CARRIED
        settle_dunning(invoice=invoice, outcome=DunningOutcome.CARRIED, at=at)
    invoice.save(update_fields=["status", "paid_at", "updated_at"])
    withdraw_from_stripe(invoice, at=at)
