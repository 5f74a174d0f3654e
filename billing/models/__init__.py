from billing.models.auto_top_ups import AutoTopUp
from billing.models.checkouts import Checkout, CheckoutStatus, IntentType
from billing.models.credit_notes import CreditNote, CreditNoteLine, ReturnedCredit, StripeVoid
from billing.models.disputes import Dispute, DisputeStatus
from billing.models.dunning import (
    LONGEST_DAYS,
    MOST_RETRIES,
    Dunning,
    DunningConfig,
    DunningOutcome,
    DunningTerms,
    EndOfDunning,
)
from billing.models.invoices import (
    OPEN,
    SENDABLE,
    Invoice,
    InvoicedPeriod,
    InvoiceKind,
    InvoiceLine,
    InvoiceStatus,
    LineType,
)
from billing.models.mails import Mail, MailKind, MailState
from billing.models.payments import Payment, PaymentMethod, PaymentMethodStatus, PaymentStatus
from billing.models.reconciliation import (
    Difference,
    DifferenceKind,
    Reconciliation,
    ReconciliationStage,
    SeenAtStripe,
)
from billing.models.refunds import Refund, RefundStatus
from billing.models.stripe_inbox import StripeInbox
from billing.models.tax import TaxMethod, TaxNexus, TaxRate, TaxRegistration, TaxSettings

__all__ = [
    "LONGEST_DAYS",
    "MOST_RETRIES",
    "OPEN",
    "SENDABLE",
    "AutoTopUp",
    "Checkout",
    "CheckoutStatus",
    "CreditNote",
    "CreditNoteLine",
    "Difference",
    "DifferenceKind",
    "Dispute",
    "DisputeStatus",
    "Dunning",
    "DunningConfig",
    "DunningOutcome",
    "DunningTerms",
    "EndOfDunning",
    "IntentType",
    "Invoice",
    "InvoiceKind",
    "InvoiceLine",
    "InvoiceStatus",
    "InvoicedPeriod",
    "LineType",
    "Mail",
    "MailKind",
    "MailState",
    "Payment",
    "PaymentMethod",
    "PaymentMethodStatus",
    "PaymentStatus",
    "Reconciliation",
    "ReconciliationStage",
    "Refund",
    "RefundStatus",
    "ReturnedCredit",
    "SeenAtStripe",
    "StripeInbox",
    "StripeVoid",
    "TaxMethod",
    "TaxNexus",
    "TaxRate",
    "TaxRegistration",
    "TaxSettings",
]
