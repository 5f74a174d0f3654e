"""The tax of an invoice's lines. No clock; nothing is stored here."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from billing.models import Invoice, InvoiceLine, LineType
from billing.services.tax import AppliedTax
from billing.tax import Taxable, taxes_of

# What finalizing an invoice sets besides its sums.
TAX_FIELDS = (
    "tax_cents",
    "prices_include_tax",
    "tax_rate",
    "tax_rate_definition",
    "tax_name",
    "tax_jurisdiction",
    "tax_method",
    "tax_reason_code",
    "tax_exemption_reason",
)
# These make up one charge together, of which only the sum is due.
PARTS_OF_A_CHARGE = (
    LineType.FIXED,
    LineType.PER_UNIT,
    LineType.USAGE,
    LineType.CREDIT,
    LineType.MINIMUM,
    LineType.MAXIMUM,
)


@dataclass(frozen=True, slots=True)
class TaxSum:
    """What an invoice's lines come to at one rate: net, and the tax of it, in minor units."""

    rate: Decimal
    net_cents: int
    tax_cents: int


def charge_tax(invoice: Invoice, lines: Sequence[InvoiceLine], tax: AppliedTax) -> None:
    """Set the tax of an invoice's lines, and its own tax, subtotal and total; lines and credits of money must be there.

    Tax is computed of each charge after usage credits, bounds and credits of money, and stands on its first line. What
    credits a line of another invoice has the rate of that line. An invoice that keeps credit comes to 0, so it has no
    tax: the credit takes tax off the invoice that it pays.
    """
    heads = _note_taxable(lines)
    if not any(line.type == LineType.REFUND for line in lines):
        _tax_heads(heads, tax)
    _note_terms(invoice, tax)
    amount_cents = sum(line.amount_cents for line in lines)
    invoice.tax_cents = sum(line.tax_cents for line in lines)
    invoice.subtotal_cents = amount_cents - invoice.tax_cents if tax.is_included else amount_cents
    invoice.total_cents = invoice.subtotal_cents + invoice.tax_cents


def _note_taxable(lines: Iterable[InvoiceLine]) -> list[InvoiceLine]:
    """Set what tax is computed of, on the first line of each charge; return those lines."""
    charges: dict[object, list[InvoiceLine]] = defaultdict(list)
    for key, line in enumerate(lines):
        is_money = line.type == LineType.CREDIT and line.credit_transaction is not None
        if is_money or line.type == LineType.BROUGHT_FORWARD:
            # What a credit of money pays is taken off the lines that it pays for; an invoice that is brought forward
            # has its tax in it.
            continue
        is_part = line.period_id is not None and line.type in PARTS_OF_A_CHARGE
        charges[(line.period_id, line.effective_at) if is_part else key].append(line)
    for charge in charges.values():
        charge[0].taxable_cents = sum(line.amount_cents - line.monetary_credit_cents for line in charge)
    return [charge[0] for charge in charges.values()]


def _tax_heads(heads: Sequence[InvoiceLine], tax: AppliedTax) -> None:
    rates = [_rate_of(line, tax) for line in heads]
    taxes = taxes_of(
        [Taxable(line.taxable_cents, rate) for line, rate in zip(heads, rates, strict=True)], included=tax.is_included
    )
    for line, rate, cents in zip(heads, rates, taxes, strict=True):
        line.tax_rate, line.tax_cents = rate if tax.method else None, cents


def _rate_of(line: InvoiceLine, tax: AppliedTax) -> Decimal:
    if line.credited_line is None:
        return tax.rate
    return line.credited_line.tax_rate or Decimal(0)


def _note_terms(invoice: Invoice, tax: AppliedTax) -> None:
    invoice.prices_include_tax = tax.is_included
    if not tax.method:
        return
    invoice.tax_rate = tax.rate
    invoice.tax_rate_definition = tax.definition
    invoice.tax_name = tax.name
    invoice.tax_jurisdiction = tax.jurisdiction
    invoice.tax_method = tax.method
    invoice.tax_reason_code = tax.reason_code
    invoice.tax_exemption_reason = tax.exemption_reason


def set_tax_fields(invoices: Iterable[Invoice]) -> list[str]:
    """The tax fields that are set on any of these invoices: a seller without tax has none to store."""
    rows = list(invoices)
    unset = Invoice()
    return [name for name in TAX_FIELDS if any(getattr(row, name) != getattr(unset, name) for row in rows)]


def tax_sums(invoice: Invoice, lines: Iterable[InvoiceLine]) -> list[TaxSum]:
    """What an invoice's lines come to at each rate, the dearest first; without tax, none."""
    net: dict[Decimal, int] = defaultdict(int)
    tax: dict[Decimal, int] = defaultdict(int)
    for line in lines:
        if line.tax_rate:
            net[line.tax_rate] += line.taxable_cents - (line.tax_cents if invoice.prices_include_tax else 0)
            tax[line.tax_rate] += line.tax_cents
    return [TaxSum(rate, net[rate], tax[rate]) for rate in sorted(net, reverse=True) if net[rate] or tax[rate]]
