"""Every route, and every field made on demand: a new kind of object is added to `KINDS`."""

from collections.abc import Mapping

from billing.sandbox.expansion import Includable
from billing.sandbox.objects import (
    accounts,
    attached_payments,
    balance_transactions,
    captures,
    charges,
    credit_notes,
    customer_balance,
    customers,
    disputes,
    events,
    invoice_items,
    invoice_payments,
    invoice_states,
    invoices,
    payment_intents,
    payment_methods,
    refunds,
    setup_intents,
    webhook_endpoints,
)
from billing.sandbox.routes import Route, unknown_url

KINDS = (
    accounts,
    attached_payments,
    balance_transactions,
    captures,
    charges,
    credit_notes,
    customer_balance,
    customers,
    disputes,
    events,
    invoice_items,
    invoice_payments,
    invoice_states,
    invoices,
    payment_intents,
    payment_methods,
    refunds,
    setup_intents,
    webhook_endpoints,
)

ROUTES: tuple[Route, ...] = tuple(route for kind in KINDS for route in kind.ROUTES)

INCLUDABLES: Mapping[tuple[str, str], Includable] = {
    **customers.INCLUDABLES,
    **invoice_payments.INCLUDABLES,
    **refunds.INCLUDABLES,
}


def find_route(method: str, path: str) -> tuple[Route, dict[str, str]]:
    """Return the route for the request and the variable parts of its path. Raises Complaint (404) without one."""
    for route in ROUTES:
        parts = route.match(method, path)
        if parts is not None:
            return route, parts
    raise unknown_url(method, path)
