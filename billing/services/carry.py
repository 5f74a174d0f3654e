"""Balances below the least that can be charged: the next invoice of the customer in that currency takes them along."""

from collections import defaultdict
from collections.abc import Collection, Iterable

from billing.models import Invoice, InvoiceLine, InvoiceStatus
from billing.models.invoices import InvoiceQuerySet

Carried = dict[tuple[int, str], list[Invoice]]


def waiting_to_be_carried(customers: Collection[int]) -> Carried:
    """Find what waits to be taken along, by customer and currency, in the order of the closes."""
    return _by_customer(Invoice.objects.to_carry().filter(customer__in=customers))


def hold_carried(customers: Collection[int]) -> Carried:
    """Hold what waits to be taken along. What somebody else moves just now is left for a later invoice. The caller
    holds the customers."""
    waiting = Invoice.objects.to_carry().filter(customer__in=customers)
    return _by_customer(waiting.select_for_update(no_key=True, skip_locked=True, of=("self",)))


def _by_customer(invoices: InvoiceQuerySet) -> Carried:
    waiting: Carried = defaultdict(list)
    for invoice in invoices.order_by("closes_at", "pk"):
        waiting[invoice.customer_id, invoice.currency].append(invoice)
    return dict(waiting)


def note_carried(lines: Iterable[InvoiceLine]) -> None:
    """Note on carried invoices which one has taken them along; the lines are stored."""
    carried = []
    for line in lines:
        if line.carried_invoice is not None:
            assert line.carried_invoice.status == InvoiceStatus.CARRIED
            line.carried_invoice.carried_into = line.invoice
            carried.append(line.carried_invoice)
    Invoice.objects.bulk_update(carried, ["carried_into"])
