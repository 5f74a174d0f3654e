"""The rounding of an invoice's total to what can be charged. No clock; nothing is stored here."""

from collections.abc import Sequence
from decimal import Decimal

from billing.models import Invoice, InvoiceLine, LineType
from billing.stripe_amounts import charge_step, least_charge
from plans.words import money_text


def with_rounding_line(invoice: Invoice, lines: Sequence[InvoiceLine]) -> list[InvoiceLine]:
    """Round the total of a taxed invoice, half away from zero, to the step in which its currency is charged: return its
    lines with one that says by how much. It bears no tax.

    A total below the least that can be charged stays exact: it is carried, or is nothing.
    """
    step = charge_step(invoice.currency)
    rest = invoice.total_cents % step
    if not rest or invoice.total_cents < least_charge(invoice.currency):
        return list(lines)
    cents = step - rest if 2 * rest >= step else -rest
    invoice.subtotal_cents += cents
    invoice.total_cents += cents
    return [*lines, _rounding_line(invoice, cents, step, position=len(lines) + 1)]


def _rounding_line(invoice: Invoice, cents: int, step: int, *, position: int) -> InvoiceLine:
    return InvoiceLine(
        invoice=invoice,
        position=position,
        type=LineType.ROUNDING,
        description=f"Rounding to {money_text(step, invoice.currency)}",
        quantity=Decimal(1),
        unit_amount_cents=Decimal(cents),
        amount_cents=cents,
        billing_period_start_at=invoice.period_start_at or invoice.closes_at,
        billing_period_end_at=invoice.period_end_at or invoice.closes_at,
    )
