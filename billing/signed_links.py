"""Addresses of pages that open for whoever was given them: they stand in e-mails, so they do not expire."""

from django.conf import settings
from django.core.signing import BadSignature, Signer

from billing.models import Invoice
from plans.refusals import NotFound

_INVOICE = "candela.invoice-page"


class InvoiceLinkInvalid(NotFound):
    """The token of an invoice's page was not made here."""

    code = "invoice_link_invalid"


def invoice_page_path(invoice: Invoice) -> str:
    """Make the path of the customer's page of an invoice."""
    return f"/invoices/{_signer(_INVOICE).sign(invoice.public_id)}"


def read_invoice_token(token: str) -> str:
    """Return the public id of the invoice that a token opens. Raises InvoiceLinkInvalid for any other text."""
    try:
        return _signer(_INVOICE).unsign(token)
    except BadSignature:
        raise InvoiceLinkInvalid(
            "This address opens no invoice: it is incomplete or was not made here. Use the whole address, "
            "or ask for a new one."
        ) from None


def absolute(path: str) -> str:
    """Make the whole address of a path of ours, for e-mails and API answers."""
    return f"{settings.PUBLIC_URL.rstrip('/')}{path}"


def _signer(purpose: str) -> Signer:
    """One for each kind of page, so that a token of one kind opens no other."""
    return Signer(salt=purpose, sep=".")
