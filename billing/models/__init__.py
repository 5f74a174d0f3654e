from billing.models.invoices import Invoice, InvoiceKind, InvoiceLine, InvoiceStatus, LineType
from billing.models.payments import Payment, PaymentMethod, PaymentMethodStatus, PaymentStatus
from billing.models.stripe_inbox import StripeInbox

__all__ = [
    "Invoice",
    "InvoiceKind",
    "InvoiceLine",
    "InvoiceStatus",
    "LineType",
    "Payment",
    "PaymentMethod",
    "PaymentMethodStatus",
    "PaymentStatus",
    "StripeInbox",
]
