"""The rounding of an invoice's total to what can be charged. No clock; nothing is stored here."""

from collections.abc import Sequence
from decimal import Decimal

from billing.models import Invoice, InvoiceLine, LineType
from billing.stripe_amounts import charge_step, rounding_cents
from plans.words import money_text


def with_rounding_line(invoice: Invoice, lines: Sequence[InvoiceLine]) -> list[InvoiceLine]:
    """Round the total of a taxed invoice to the step in which its currency is charged: return its lines with one that
    says by how much. It bears no tax."""
    cents = rounding_cents(invoice.total_cents, invoice.currency)
    if not cents:
        return list(lines)
    invoice.subtotal_cents += cents
    invoice.total_cents += cents
    return [*lines, _rounding_line(invoice, cents, position=len(lines) + 1)]


def _rounding_line(invoice: Invoice, cents: int, *, position: int) -> InvoiceLine:
    return InvoiceLine(
        invoice=invoice,
        position=position,
        type=LineType.ROUNDING,
        description=f"Rounding to {money_text(charge_step(invoice.currency), invoice.currency)}",
        quantity=Decimal(1),
        unit_amount_cents=Decimal(cents),
        amount_cents=cents,
        billing_period_start_at=invoice.period_start_at or invoice.closes_at,
        billing_period_end_at=invoice.period_end_at or invoice.closes_at,
    )
