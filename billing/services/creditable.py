"""What can still be taken back of an issued invoice, charge by charge: a charge is a line with the credits and bounds
that belong to it, less what other invoices and earlier credit notes have credited of it."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Sum

from billing.models import CreditNoteLine, Invoice, InvoiceLine, InvoiceStatus, LineType
from billing.tax_lines import PARTS_OF_A_CHARGE
from plans.money import round_share


@dataclass(frozen=True, slots=True)
class OpenCharge:
    """What is left of a charge, in minor units: its amount, how much of that credits of money had paid, and the tax of
    the rest. `line` is its first line. With `included` the tax is part of the amount."""

    line: InvoiceLine
    amount_cents: int
    monetary_credit_cents: int
    tax_cents: int
    included: bool

    @property
    def owed_cents(self) -> int:
        """What the customer owes, or has paid, for it."""
        return self.amount_cents - self.monetary_credit_cents + (0 if self.included else self.tax_cents)

    def part(self, amount_cents: int) -> "OpenCharge":
        """Take a part of it, with its share of what credits of money had paid and of the tax."""
        return self._part(
            amount_cents,
            self.monetary_credit_cents * amount_cents // self.amount_cents,
            round_share(self.tax_cents, amount_cents, self.amount_cents),
        )

    def part_owed(self, owed_cents: int) -> "OpenCharge":
        """Take the part of it of which so much is owed."""
        if owed_cents == self.owed_cents:
            return self
        credited = self.monetary_credit_cents * owed_cents // self.owed_cents
        tax = min(round_share(self.tax_cents, owed_cents, self.owed_cents), owed_cents - 1)
        amount = owed_cents + credited - (0 if self.included else tax)
        return self._part(min(amount, self.amount_cents), credited, tax)

    def _part(self, amount_cents: int, monetary_credit_cents: int, tax_cents: int) -> "OpenCharge":
        return OpenCharge(self.line, amount_cents, monetary_credit_cents, tax_cents, self.included)


def open_charges(invoice: Invoice) -> list[OpenCharge]:
    """Find what is left of the charges of an invoice; what is credited already, or is a credit itself, is left out."""
    charges: dict[object, list[InvoiceLine]] = defaultdict(list)
    for line in invoice.lines.order_by("position"):
        if line.credit_transaction_id is None:
            is_part = line.period_id is not None and line.type in PARTS_OF_A_CHARGE
            charges[(line.period_id, line.effective_at) if is_part else line.pk].append(line)
    heads = [lines[0] for lines in charges.values()]
    noted, prorated = _noted(heads), _prorated(heads)
    left = [
        _left(lines, noted.get(lines[0].pk, (0, 0, 0)), prorated.get(lines[0].pk, 0), invoice)
        for lines in charges.values()
    ]
    return [charge for charge in left if charge is not None]


def _left(
    lines: list[InvoiceLine], noted: tuple[int, int, int], prorated_cents: int, invoice: Invoice
) -> OpenCharge | None:
    charged = sum(line.amount_cents for line in lines)
    if charged <= 0 or lines[0].type == LineType.PRORATION:
        return None
    paid_by_credit = sum(line.monetary_credit_cents for line in lines)
    tax = sum(line.tax_cents for line in lines)
    kept = max(charged - prorated_cents, 0)
    amount = kept - noted[0]
    if amount <= 0:
        return None
    return OpenCharge(
        line=lines[0],
        amount_cents=amount,
        monetary_credit_cents=min(max(paid_by_credit * kept // charged - noted[1], 0), amount),
        tax_cents=max(round_share(tax, kept, charged) - noted[2], 0),
        included=invoice.prices_include_tax,
    )


def _noted(heads: Iterable[InvoiceLine]) -> dict[int, tuple[int, int, int]]:
    """What credit notes took back of lines: the amount, what credits of money had paid of it, and the tax."""
    rows = CreditNoteLine.objects.filter(line__in=[line.pk for line in heads]).values_list("line_id")
    summed = rows.annotate(Sum("amount_cents"), Sum("monetary_credit_cents"), Sum("tax_cents"))
    return {line: (amount, credited, tax) for line, amount, credited, tax in summed}


def _prorated(heads: Iterable[InvoiceLine]) -> dict[int, int]:
    """What later invoices credited of lines, since it was not used."""
    rows = InvoiceLine.objects.filter(credited_line__in=[line.pk for line in heads]).exclude(
        invoice__status__in=[InvoiceStatus.DRAFT, InvoiceStatus.VOID]
    )
    return {line: -cents for line, cents in rows.values_list("credited_line_id").annotate(Sum("amount_cents"))}


def spread(owed_cents: int, charges: list[OpenCharge]) -> list[OpenCharge]:
    """Spread an amount over charges in proportion to what is owed for them, rounded down; the cents that are left go to
    the largest remainders."""
    total = sum(charge.owed_cents for charge in charges)
    shares = [owed_cents * charge.owed_cents // total for charge in charges]
    remainders = [owed_cents * charge.owed_cents % total for charge in charges]
    largest = sorted(range(len(charges)), key=lambda key: (-remainders[key], key))
    for key in largest[: owed_cents - sum(shares)]:
        shares[key] += 1
    return [charge.part_owed(share) for charge, share in zip(charges, shares, strict=True) if share]
