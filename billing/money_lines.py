"""What monetary credits do to an invoice: they pay for its positive lines, or keep what it comes to below zero. No
clock; nothing is stored here."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from billing.lines import credit_words
from billing.models import Invoice, InvoiceLine, LineType
from credits.models import CreditTransaction
from credits.money_credits import Bill, Coverage, OpenLine
from credits.services.spend_money import Purse
from plans.models import SubscriptionPeriod

# What a period is charged with in the first place; usage credits and a maximum take from it.
_CHARGES = (LineType.FIXED, LineType.PER_UNIT, LineType.USAGE)
_TAKES_FROM_A_CHARGE = (LineType.CREDIT, LineType.MAXIMUM)
_KEPT = "Kept as credit for later invoices"


def with_money_lines(
    invoice: Invoice,
    lines: Sequence[InvoiceLine],
    purse: Purse,
    periods: Iterable[SubscriptionPeriod],
    at: datetime,
) -> list[InvoiceLine]:
    """Return an invoice's lines with those that monetary credits add, after which they come to 0 or more. `periods`
    are those that the invoice bills.

    What the credits pay is spread over `monetary_credit_cents` of the lines that they pay for. Money is not bought with
    money: purchases are no part of this.
    """
    due_cents = sum(line.amount_cents for line in lines)
    if due_cents < 0:
        return [*lines, _refund_line(invoice, -due_cents, purse, at)]
    if not purse.grants:
        return list(lines)
    bill = Bill(
        closes_at=invoice.closes_at,
        arrears_from=_arrears_start(periods),
        due_cents=due_cents,
        lines=_open_lines(invoice, lines),
    )
    movements, paid = purse.pay(bill, currency=invoice.currency, at=at)
    for key, cents in paid.items():
        lines[key].monetary_credit_cents = cents
    return [*lines, *(_money_credit_line(invoice, movement) for movement in movements)]


def _arrears_start(periods: Iterable[SubscriptionPeriod]) -> datetime | None:
    """When the earliest period began that an invoice charges in arrears; None without one."""
    return min(
        (
            period.start_at
            for period in periods
            if period.bill_at == period.end_at and period.item.component_id is not None
        ),
        default=None,
    )


def _open_lines(invoice: Invoice, lines: Sequence[InvoiceLine]) -> list[OpenLine]:
    """The positive lines with what is to be paid of them after usage credits and bounds, by their place."""
    taken: dict[int | None, int] = defaultdict(int)
    for line in lines:
        if line.type in _TAKES_FROM_A_CHARGE:
            taken[line.period_id] += line.amount_cents
    open_lines = []
    for key, line in enumerate(lines):
        cents = line.amount_cents + (taken[line.period_id] if line.type in _CHARGES else 0)
        if cents > 0:
            open_lines.append(OpenLine(key=key, open_cents=cents, origin=_origin(invoice, line)))
    return open_lines


def _origin(invoice: Invoice, line: InvoiceLine) -> Coverage:
    component = line.component
    if component is None:
        return Coverage(subscription=invoice.subscription_id)
    return Coverage(
        subscription=invoice.subscription_id if line.period is None else line.period.subscription_id,
        plan=component.price.plan_id,
        price=component.price_id,
        component_id=component.component_id,
    )


def _money_credit_line(invoice: Invoice, movement: CreditTransaction) -> InvoiceLine:
    return InvoiceLine(
        type=LineType.CREDIT,
        grant=movement.grant,
        credit_transaction=movement,
        description=credit_words(movement.grant),
        **_once(invoice, int(movement.amount)),
    )


def _refund_line(invoice: Invoice, cents: int, purse: Purse, at: datetime) -> InvoiceLine:
    movement = purse.keep(
        cents,
        currency=invoice.currency,
        starts_at=invoice.closes_at,
        reference_code=f"refund:{invoice.public_id}",
        at=at,
    )
    return InvoiceLine(
        type=LineType.REFUND,
        grant=movement.grant,
        credit_transaction=movement,
        description=_KEPT,
        **_once(invoice, cents),
    )


def _once(invoice: Invoice, cents: int) -> dict:
    return {
        "invoice": invoice,
        "quantity": Decimal(1),
        "unit_amount_cents": Decimal(cents),
        "amount_cents": cents,
        "billing_period_start_at": invoice.period_start_at,
        "billing_period_end_at": invoice.period_end_at,
    }
