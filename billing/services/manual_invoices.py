"""Invoices that an operator writes: drafts that wait for the operator, and are frozen when they are issued."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Max

from billing.models import Invoice, InvoiceKind, InvoiceLine, InvoiceStatus, LineType, TaxMethod
from billing.services.finalize import close_draft, store_invoices
from billing.services.hold_invoice import hold_invoice
from billing.stripe_amounts import charge_step, least_charge
from plans.models import Customer, Subscription
from plans.money import exactly, round_cents
from plans.price_language import LARGEST_AMOUNT_CENTS
from plans.refusals import InvalidInput, NotFound, Refusal
from plans.words import money_text

# The contract's types of lines that stand for themselves; what is credited is negative.
LINE_TYPES = (LineType.FIXED, LineType.PER_UNIT, LineType.USAGE, LineType.CREDIT)
_RATE_DECIMALS = Decimal("0.000001")


class InvoiceIsIssued(Refusal):
    """An issued invoice never changes; a credit note takes back what was wrong."""

    code = "invoice_is_issued"
    status = 409


class InvoiceIsComputed(Refusal):
    """The draft is worked out of a subscription when its time has come, so it cannot be edited."""

    code = "invoice_is_computed"
    status = 409


class LineNotFound(NotFound):
    """The invoice has no such line."""

    code = "invoice_line_not_found"


@dataclass(frozen=True, slots=True)
class WrittenLine:
    """A line as an operator writes it: units at so many minor units each, negative for a credit. With an `id` it takes
    the place of that line."""

    description: str
    quantity: Decimal
    unit_amount_cents: Decimal
    type: str = LineType.FIXED
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums that an operator names; those that are None follow from the lines."""

    subtotal_cents: int | None = None
    tax_cents: int | None = None
    total_cents: int | None = None


@transaction.atomic
def write_invoice(
    *,
    customer: Customer,
    currency: str,
    lines: Sequence[WrittenLine],
    at: datetime,
    issue: bool = False,
    subscription: Subscription | None = None,
    totals: Totals | None = None,
    **details: Any,
) -> Invoice:
    """Write an invoice of lines that an operator chose, as a draft or issued at once, and return it.

    `details` are further columns of it: due_at, issue_date, notes, tax_rate, tax_jurisdiction, tax_method and tax_name.
    Credits of money do not pay for it, and it brings nothing forward. Raises InvalidInput for sums that do not follow
    from the lines, a negative total, and an invoice without lines that is to be issued.
    """
    held = Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    invoice = Invoice.objects.create(
        customer=held,
        subscription=subscription,
        kind=InvoiceKind.MANUAL,
        currency=currency,
        closes_at=at,
        finalize_at=at,
        period_start_at=at,
        period_end_at=at,
        created_at=at,
        **details,
    )
    _write_lines(invoice, lines)
    return _finish(invoice, totals or Totals(), issue=issue, at=at)


@transaction.atomic
def update_invoice(
    *,
    invoice: Invoice,
    at: datetime,
    lines: Sequence[WrittenLine] = (),
    deleted_lines: Sequence[str] = (),
    issue: bool = False,
    totals: Totals | None = None,
    **details: Any,
) -> Invoice:
    """Change a draft that an operator wrote, and issue it with that where wanted; return it. Lines are added, or take
    the place of the one with their id.

    Raises InvoiceNotFound, InvoiceIsIssued, InvoiceIsComputed, LineNotFound, and what write_invoice raises.
    """
    held = hold_invoice(invoice)
    if held.status != InvoiceStatus.DRAFT:
        raise InvoiceIsIssued(f"Invoice {held.number} is issued and cannot change. Make a credit note, or void it.")
    if held.kind != InvoiceKind.MANUAL:
        raise InvoiceIsComputed("This draft is worked out by itself when its time has come. It cannot be edited.")
    for name, value in details.items():
        setattr(held, name, value)
    held.save(update_fields=[*details, "updated_at"])
    _delete_lines(held, deleted_lines)
    _write_lines(held, lines)
    return _finish(held, totals or Totals(tax_cents=held.tax_cents), issue=issue, at=at)


def _delete_lines(invoice: Invoice, deleted: Sequence[str]) -> None:
    for place, line_id in enumerate(deleted):
        if not invoice.lines.filter(public_id=line_id).delete()[0]:
            raise LineNotFound(f"deletedLineItemIds[{place}]: this invoice has no line {line_id}.")


def _write_lines(invoice: Invoice, lines: Sequence[WrittenLine]) -> None:
    position = invoice.lines.aggregate(last=Max("position"))["last"] or 0
    for place, written in enumerate(lines):
        line = InvoiceLine(invoice=invoice)
        if written.id is not None:
            there = invoice.lines.filter(public_id=written.id).first()
            if there is None:
                raise LineNotFound(f"lineItems[{place}].id: this invoice has no line {written.id}.")
            line = there
        else:
            position += 1
            line.position = position
        line.type = written.type
        line.description = written.description
        line.quantity = written.quantity
        line.unit_amount_cents = written.unit_amount_cents
        line.amount_cents = _amount(written, f"lineItems[{place}]")
        line.billing_period_start_at = invoice.closes_at
        line.billing_period_end_at = invoice.closes_at
        line.save()


@exactly
def _amount(written: WrittenLine, path: str) -> int:
    cents = round_cents(written.quantity * written.unit_amount_cents)
    if (written.type == LineType.CREDIT) != (cents < 0) and cents:
        raise InvalidInput.at(f"{path}.unitAmountCents", "must be negative on a credit, and only there.")
    if abs(cents) > LARGEST_AMOUNT_CENTS:
        raise InvalidInput.at(path, "comes to more than can be billed at once.")
    return cents


def _finish(invoice: Invoice, totals: Totals, *, issue: bool, at: datetime) -> Invoice:
    lines = list(invoice.lines.order_by("position"))
    _set_totals(invoice, lines, totals)
    _spread_tax(invoice, lines)
    InvoiceLine.objects.bulk_update(lines, ["taxable_cents", "tax_rate", "tax_cents"])
    invoice.save(update_fields=["subtotal_cents", "tax_cents", "total_cents", "tax_rate", "tax_method", "updated_at"])
    if issue:
        _issue(invoice, lines, at)
    return invoice


def _set_totals(invoice: Invoice, lines: Sequence[InvoiceLine], totals: Totals) -> None:
    """Take the sums from the lines, and refuse named ones that differ."""
    invoice.subtotal_cents = sum(line.amount_cents for line in lines)
    if totals.subtotal_cents is not None and totals.subtotal_cents != invoice.subtotal_cents:
        raise InvalidInput.at("subtotalCents", f"must be the sum of the lines, {invoice.subtotal_cents}.")
    invoice.tax_cents = totals.tax_cents or 0
    if invoice.tax_cents and invoice.tax_cents > max(invoice.subtotal_cents, 0):
        raise InvalidInput.at("taxAmountCents", "must not be more than the subtotal.")
    invoice.total_cents = invoice.subtotal_cents + invoice.tax_cents
    if totals.total_cents is not None and totals.total_cents != invoice.total_cents:
        raise InvalidInput.at("totalAmountCents", f"must be subtotalCents plus taxAmountCents, {invoice.total_cents}.")
    if invoice.total_cents < 0:
        total = money_text(invoice.total_cents, invoice.currency)
        raise InvalidInput.at("totalAmountCents", f"must not be negative; the lines come to {total}.")


@exactly
def _spread_tax(invoice: Invoice, lines: Sequence[InvoiceLine]) -> None:
    """Spread the tax that an operator named over the positive lines in proportion, the cents that are left to the
    largest remainders, so that a credit note can take it back line by line."""
    charged = [line for line in lines if line.amount_cents > 0]
    base = sum(line.amount_cents for line in charged)
    for line in lines:
        line.taxable_cents, line.tax_cents, line.tax_rate = line.amount_cents, 0, None
    if not invoice.tax_cents:
        return
    if invoice.tax_rate is None:
        invoice.tax_rate = (Decimal(invoice.tax_cents * 10**6 // invoice.subtotal_cents)) * _RATE_DECIMALS
    invoice.tax_method = invoice.tax_method or TaxMethod.MANUAL
    for line in charged:
        line.tax_cents, line.tax_rate = invoice.tax_cents * line.amount_cents // base, invoice.tax_rate
    charged.sort(key=lambda line: (-(invoice.tax_cents * line.amount_cents % base), line.position))
    for line in charged[: invoice.tax_cents - sum(line.tax_cents for line in charged)]:
        line.tax_cents += 1


def _issue(invoice: Invoice, lines: Sequence[InvoiceLine], at: datetime) -> None:
    if not lines:
        raise InvalidInput.at("lineItems", "must not be empty on an invoice that is issued.")
    _refuse_between_steps(invoice)
    due_at = invoice.due_at
    close_draft(invoice, lines, at)
    invoice.due_at = due_at or invoice.due_at
    store_invoices([invoice], [], [], [])


def _refuse_between_steps(invoice: Invoice) -> None:
    step = charge_step(invoice.currency)
    if invoice.total_cents % step and invoice.total_cents >= least_charge(invoice.currency):
        raise InvalidInput.at(
            "totalAmountCents",
            f"must be a multiple of {step}: {invoice.currency} is charged in steps of "
            f"{money_text(step, invoice.currency)}. The lines and the tax come to "
            f"{money_text(invoice.total_cents, invoice.currency)}.",
        )
