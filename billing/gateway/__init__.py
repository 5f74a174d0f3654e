"""The one place that writes to Stripe. No function here is called inside a transaction.

Each write carries an idempotency key derived from our row, so a lost answer is asked for again instead of doing the
work twice; each object carries our id in its metadata, so that it is found when Stripe has forgotten the key (a day
later). What comes back is mirrored into dj-stripe's tables.
"""

from billing.gateway.connection import (
    NETWORK_RETRIES,
    SANDBOX_KEY,
    SANDBOX_PUBLISHABLE_KEY,
    CardDeclined,
    StripeRefused,
    StripeUnavailable,
    dashboard_url,
    sandbox_url,
    uses_sandbox,
)
from billing.gateway.customers import attach_payment_method, ensure_customer, forget_card, update_customer
from billing.gateway.disputes import invoices_paid_by
from billing.gateway.intents import open_intent, read_intent, release_held, take_held
from billing.gateway.invoices import charge_invoice, send_invoice, void_invoice
from billing.gateway.listing import PageAtStripe, look_again, read_page
from billing.gateway.refunds import credit_invoice, make_refund
from billing.gateway.webhooks import (
    create_webhook_endpoint,
    find_webhook_endpoints,
    keep_webhook_secret,
    knows_webhook_endpoint,
    mirror_event,
    read_account,
    remove_webhook_endpoint,
    update_webhook_events,
)

__all__ = [
    "NETWORK_RETRIES",
    "SANDBOX_KEY",
    "SANDBOX_PUBLISHABLE_KEY",
    "CardDeclined",
    "PageAtStripe",
    "StripeRefused",
    "StripeUnavailable",
    "attach_payment_method",
    "charge_invoice",
    "create_webhook_endpoint",
    "credit_invoice",
    "dashboard_url",
    "ensure_customer",
    "find_webhook_endpoints",
    "forget_card",
    "invoices_paid_by",
    "keep_webhook_secret",
    "knows_webhook_endpoint",
    "look_again",
    "make_refund",
    "mirror_event",
    "open_intent",
    "read_account",
    "read_intent",
    "read_page",
    "release_held",
    "remove_webhook_endpoint",
    "sandbox_url",
    "send_invoice",
    "take_held",
    "update_customer",
    "update_webhook_events",
    "uses_sandbox",
    "void_invoice",
]
