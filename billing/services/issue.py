"""An invoice that is issued as soon as it is made, without a draft that waits."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from billing.lines import brought_forward_line
from billing.models import Invoice, InvoiceLine
from billing.money_lines import with_money_lines
from billing.rounding import with_rounding_line
from billing.services.carry import hold_carried, note_carried
from billing.services.finalize import close_draft, expire_money, store_invoices
from billing.services.tax import tax_of_customer
from billing.storable_invoices import check_storable
from billing.tax_lines import charge_tax
from credits.services.spend_money import open_purses
from plans.models import SubscriptionPeriod


def issue_charges(
    draft: Invoice, charges: Sequence[InvoiceLine], *, periods: Iterable[SubscriptionPeriod] = (), at: datetime
) -> Invoice:
    """Issue a stored draft with charges: balances that it brings forward, credits of money and tax are added. `periods`
    are those that it bills. The caller holds the customer and the customer's money."""
    customer = draft.customer_id
    purse = open_purses([customer])[customer]
    waiting = hold_carried([customer]).get((customer, draft.currency), [])
    forward = [brought_forward_line(draft, carried) for carried in waiting]
    lines = with_money_lines(draft, [*charges, *forward], purse, periods, at)
    for position, line in enumerate(lines, start=1):
        line.position = position
    charge_tax(draft, lines, tax_of_customer(draft.customer))
    lines = with_rounding_line(draft, lines)
    check_storable(draft, lines)
    close_draft(draft, lines, at)
    expire_money({customer: purse}, [draft], at)
    store_invoices([draft], [], lines, [purse])
    note_carried(lines)
    return draft
