from billing.models.checkouts import Checkout, CheckoutStatus, IntentType
from billing.models.invoices import SENDABLE, Invoice, InvoiceKind, InvoiceLine, InvoiceStatus, LineType
from billing.models.payments import Payment, PaymentMethod, PaymentMethodStatus, PaymentStatus
from billing.models.stripe_inbox import StripeInbox

__all__ = [
    "SENDABLE",
    "Checkout",
    "CheckoutStatus",
    "IntentType",
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
