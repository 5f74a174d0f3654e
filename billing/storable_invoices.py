"""Whether what an invoice comes to can be stored. Whoever issues one asks before anything of it is written."""

from collections.abc import Sequence
from datetime import datetime

from billing.models import Invoice, InvoiceLine
from plans.services.storable_amounts import check_amount


def check_storable(invoice: Invoice, lines: Sequence[InvoiceLine]) -> None:
    """Raise AmountTooLarge where a line of a composed and taxed invoice, or its total, is beyond what columns hold; the
    sentence names the component and the days."""
    for line in lines:
        start_at, end_at = _stretch_of(line)
        for cents in (line.amount_cents, line.tax_cents):
            check_amount(cents, title=_title_of(line), start_at=start_at, end_at=end_at)
    for cents in (invoice.subtotal_cents, invoice.total_cents):
        check_amount(cents, title="The invoice", start_at=invoice.period_start_at, end_at=invoice.period_end_at)


def _title_of(line: InvoiceLine) -> str:
    return line.description if line.component is None else line.component.title


def _stretch_of(line: InvoiceLine) -> tuple[datetime | None, datetime | None]:
    if line.usage_period_start_at is not None:
        return line.usage_period_start_at, line.usage_period_end_at
    return line.billing_period_start_at, line.billing_period_end_at
