"""What tests of the life of a subscription share: its plans, its lines, and the sweeps that the jobs run."""

from billing.jobs import BOOK_SWEEPS
from billing.models import Invoice
from plans.models import Subscription


def lines_of(invoice):
    """Type and amount of each line of an invoice, in order."""
    return [(line.type, line.amount_cents) for line in invoice.lines.order_by("position")]


def in_advance(invoice):
    """What an invoice charges and credits for days: in advance, and of what was billed before."""
    return [(kind, cents) for kind, cents in lines_of(invoice) if kind in ("fixed", "per_unit", "proration")]


def run_sweeps(at):
    """Run the sweeps of the books until nothing is due."""
    while sum(sweep(at).done for sweep in BOOK_SWEEPS.values()):
        pass


def live(customer):
    """The customer's one live subscription."""
    return Subscription.objects.live().get(customer=customer)


def invoices(customer):
    """When each shown invoice closed, and its total, in order of the closes."""
    shown = Invoice.objects.shown().filter(customer=customer).order_by("closes_at", "pk")
    return [(invoice.kind, invoice.closes_at, invoice.total_cents) for invoice in shown]
