"""An invoice that is to be voided, credited or charged again, held so that nobody else moves it meanwhile."""

from datetime import datetime

from billing.models import Invoice, InvoiceStatus
from billing.services.send import LEASE
from credits.services.spend_money import lock_money
from plans.models import Customer
from plans.refusals import NotFound, Refusal


class InvoiceNotFound(NotFound):
    code = "invoice_not_found"


class InvoiceIsDraft(Refusal):
    """The invoice is a draft, so nothing is owed for it yet."""

    code = "invoice_is_draft"
    status = 409


class InvoiceIsVoid(Refusal):
    """The invoice is void: nothing is owed for it."""

    code = "invoice_is_void"
    status = 409


class InvoiceIsCarried(Refusal):
    """What was open of the invoice is on a later one."""

    code = "invoice_is_carried"
    status = 409


class ChargeUnderWay(Refusal):
    """The invoice is being charged at this moment, so it is not known whether it is paid."""

    code = "charge_under_way"
    status = 409
    headers = {"Retry-After": "60"}


def hold_invoice(invoice: Invoice) -> Invoice:
    """Lock an invoice, its customer and the customer's money, in the order of everybody who bills, and return it as it
    is now. Raises InvoiceNotFound."""
    customer = Customer.objects.select_for_update(no_key=True).get(pk=invoice.customer_id)
    lock_money([customer.pk])
    held = Invoice.objects.shown().select_for_update(no_key=True).filter(pk=invoice.pk).first()
    if held is None:
        raise InvoiceNotFound("Invoice not found")
    held.customer = customer
    return held


def refuse_unless_issued(invoice: Invoice) -> None:
    """Raise why a held invoice is no bill by itself: InvoiceIsDraft, InvoiceIsVoid, InvoiceIsCarried."""
    if invoice.status == InvoiceStatus.DRAFT:
        raise InvoiceIsDraft("This invoice is a draft: nothing is owed for it yet.")
    if invoice.status == InvoiceStatus.VOID:
        raise InvoiceIsVoid(f"Invoice {invoice.number} is void already.")
    if invoice.carried_into is not None:
        raise InvoiceIsCarried(
            f"The balance of invoice {invoice.number} was brought forward to invoice {invoice.carried_into.number}. "
            "Void or credit that one."
        )


def refuse_while_charged(invoice: Invoice, at: datetime) -> None:
    """Raise ChargeUnderWay while the answer to a charge of a held invoice is awaited."""
    if invoice.charge_started_at is not None and invoice.charge_started_at > at - LEASE:
        raise ChargeUnderWay(
            f"Invoice {invoice.number} is being charged, or the answer to its charge is not there yet. Try again in a "
            "minute."
        )
