"""Seller and buyer of invoices, which stay on them as they were when they were issued."""

from collections.abc import Collection, Sequence

from billing.models import Invoice, TaxRegistration
from billing.parties import Seller, buyer_lines, seller_lines
from plans.models import Customer, Merchant


def find_seller() -> Seller:
    """Read who sends the bills."""
    return Seller(Merchant.objects.get(), list(TaxRegistration.objects.filter(is_active=True).order_by("pk")))


def name_parties(invoices: Collection[Invoice]) -> None:
    """Set who sends invoices and who pays them, as they are now; their tax is computed. Nothing is stored."""
    if not invoices:
        return
    seller = find_seller()
    customers = Customer.objects.in_bulk({invoice.customer_id for invoice in invoices})
    for invoice in invoices:
        invoice.seller = seller_lines(seller, tax_jurisdiction=invoice.tax_jurisdiction)
        invoice.buyer = buyer_lines(customers[invoice.customer_id])


def parties_of(invoice: Invoice) -> tuple[Sequence[str], Sequence[str]]:
    """Return the lines of the seller and of the buyer: those that an issued invoice keeps, for a draft those of now.
    The invoice's customer is to be fetched already."""
    seller, buyer = invoice.seller, invoice.buyer
    if seller is None:
        seller = seller_lines(find_seller(), tax_jurisdiction=invoice.tax_jurisdiction)
    return seller, buyer_lines(invoice.customer) if buyer is None else buyer
