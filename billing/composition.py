"""All lines of a draft together. The real close and the upcoming invoice both compose theirs here. No clock; nothing
is stored here."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings

from billing.lines import BilledPeriod, brought_forward_line, late_usage_line, lines_of
from billing.models import Invoice, InvoiceLine, LineType
from billing.money_lines import with_money_lines
from credits.models import CreditGrant, UsageDifference
from credits.services.settle import SettledUsage
from credits.services.spend_money import Purse
from plans.models import SubscriptionPeriod
from plans.services.parts import is_charged


@dataclass(frozen=True, slots=True)
class Billable:
    """What lines are made of: usage and advance quantities by the keys of their periods, the grants that usage burned
    by theirs, what was found of earlier periods by the key of the subscription, and the purses by that of the customer.

    The first draft of a subscription that is composed takes its differences, and the first one of a customer that bills
    something what is `carried` in its currency. `beside` are lines of drafts that no period makes, such as credits of
    unused time, by the drafts' keys.
    """

    usage: Mapping[int, SettledUsage]
    quantities: Mapping[int, int]
    grants: Mapping[int, CreditGrant]
    differences: dict[int, list[UsageDifference]]
    purses: Mapping[int, Purse]
    carried: dict[tuple[int, str], list[Invoice]] = field(default_factory=dict)
    beside: Mapping[int, Sequence[InvoiceLine]] = field(default_factory=dict)


def compose_in_turn(
    drafts: Iterable[tuple[Invoice, Sequence[SubscriptionPeriod]]], billable: Billable, *, at: datetime
) -> Iterator[tuple[Invoice, list[InvoiceLine]]]:
    """Make the lines of drafts, each with the periods that it bills, in the order of their closes; those that are not
    stored yet come after others. Each takes from its customer's purse what it pays. What is done with one draft before
    the next is asked for, such as to carry it, counts for that next one."""
    ordered = sorted(drafts, key=lambda one: (one[0].closes_at, one[0].pk is None, one[0].pk or 0))
    for draft, periods in ordered:
        yield draft, _compose(draft, periods, billable, at)


def _compose(
    draft: Invoice, periods: Sequence[SubscriptionPeriod], billable: Billable, at: datetime
) -> list[InvoiceLine]:
    """There are no lines when no charge has an amount: then there is nothing to bill, unless the operator wants
    invoices of nothing."""
    charges = [
        line
        for period in periods
        for line in lines_of(
            draft,
            BilledPeriod(period, usage=billable.usage.get(period.pk), quantity=billable.quantities.get(period.pk)),
            billable.grants,
        )
    ]
    charges += billable.beside.get(draft.pk, ())
    found = billable.differences.pop(draft.subscription_id, ()) if draft.subscription_id is not None else ()
    charges += [late_usage_line(draft, difference) for difference in found]
    if not charges or not (settings.INVOICE_ZERO_TOTALS or any(line.amount_cents for line in charges)):
        return []
    waiting = billable.carried.pop((draft.customer_id, draft.currency), ())
    charges += [brought_forward_line(draft, invoice) for invoice in waiting]
    lines = with_money_lines(draft, charges, billable.purses[draft.customer_id], periods, at)
    for position, line in enumerate(lines, start=1):
        line.position = position
    return lines


def note_nets(periods: Iterable[SubscriptionPeriod], lines: Iterable[InvoiceLine]) -> None:
    """Set what the usage of priced periods came to: the sum of their lines, 0 where they made none. A trial has no
    price."""
    nets: dict[int, int] = {}
    for line in lines:
        if line.period_id is not None and line.difference is None and line.type != LineType.PRORATION:
            nets[line.period_id] = nets.get(line.period_id, 0) + line.amount_cents
    for period in periods:
        if period.metric_id is not None and period.item.component_id is not None and is_charged(period):
            period.settled_net_cents = nets.get(period.pk, 0)
