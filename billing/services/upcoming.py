from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import prefetch_related_objects

from billing.composition import Billable, compose_in_turn
from billing.lines import added_units_line
from billing.models import Invoice, InvoiceLine, InvoiceStatus
from billing.rounding import with_rounding_line
from billing.services.carry import waiting_to_be_carried
from billing.services.close_periods import draft_of
from billing.services.finalize import billed_periods
from billing.services.late_usage import differences_so_far
from billing.services.quantities import added_units_of, billed_quantities
from billing.services.scheduled_changes import preview_scheduled_change
from billing.services.tax import AppliedTax, tax_of_customers
from billing.services.wind_down import CustomerIsParked, UsageIsStillCounted
from billing.storable_invoices import check_storable
from billing.tax_lines import charge_tax
from credits.models import CreditGrant
from credits.services.live_usage import live_usage
from credits.services.spend_money import open_purses
from plans.models import Customer, ScheduledChangeKind, Subscription, SubscriptionPeriod
from plans.refusals import InvalidInput, NotFound, Refusal
from plans.services.scheduled_changes import waiting_of
from plans.services.snapshot import one_snapshot
from plans.services.subscriptions import SubscriptionNotFound


class NothingUpcoming(NotFound):
    """No invoice comes by itself: there is no live subscription, or no boundary lies ahead of it."""

    code = "no_upcoming_invoice"


@dataclass(frozen=True, slots=True)
class TriedInvoice:
    """An invoice as it would be made of what is there now, with its lines. None of it is stored."""

    invoice: Invoice
    lines: Sequence[InvoiceLine]


def upcoming_invoice(*, customer: Customer, subscription: str | None = None, at: datetime) -> TriedInvoice:
    """Tell what would be billed if the customer's period closed now: the usage so far, less the credits that would pay,
    and the fees that fall due with that close. Drafts in their grace time take their credits first.

    What reservations keep back is not used. `subscription` is a public id; it may be left out where there is one only.
    Where a change to another price waits for that close, it is the invoice of that change, with the new price's fees.

    Raises NothingUpcoming, SubscriptionNotFound, AmountTooLarge, InvalidInput where the choice is left open, and where
    a change waits CustomerIsParked and UsageIsStillCounted.
    """
    chosen = _choose_subscription(customer, subscription)
    changed = _after_change(chosen, at)
    if changed is not None:
        return changed
    with one_snapshot():
        due = _next_due(chosen)
        if not due:
            raise NothingUpcoming(
                "Nothing is due any more: the components of this subscription have come to their end."
            )
        draft = draft_of(chosen, due, at)
        draft.public_id = None
        tried = _the(draft, _try([*_drafts_of(customer), (draft, due)], at))
    check_storable(tried.invoice, tried.lines)
    return tried


def _after_change(subscription: Subscription, at: datetime) -> TriedInvoice | None:
    """The invoice of a change that waits for the next close of a subscription; None where none does, or where it will
    be refused, so that the subscription goes on as it is."""
    waiting = waiting_of(subscription).filter(kind=ScheduledChangeKind.CHANGE).select_related("price__plan").first()
    if waiting is None or any(period.bill_at < waiting.effective_at for period in _next_due(subscription)):
        return None
    try:
        change = preview_scheduled_change(scheduled=waiting, at=at)
    except (CustomerIsParked, UsageIsStillCounted):
        raise
    except Refusal:
        return None
    return None if change.invoice is None else _taken_back(change.invoice, change.lines, subscription)


def _taken_back(invoice: Invoice, lines: Sequence[InvoiceLine], subscription: Subscription) -> TriedInvoice:
    """An invoice that was finalized and taken back, as the draft that it is not yet: of the version that there is."""
    invoice.subscription = subscription
    for name in ("pk", "public_id", "number", "finalized_at", "due_at", "paid_at", "send_at"):
        setattr(invoice, name, None)
    invoice.status = InvoiceStatus.DRAFT
    made = {line.grant_id for line in lines} - {None}
    made -= set(CreditGrant.objects.filter(pk__in=made).values_list("pk", flat=True))
    for line in lines:
        line.public_id = None
        if line.grant is not None and line.grant.pk in made:
            # What a rest would roll over into is not there yet; the grant that it is left of stands for it.
            line.grant = line.grant.rolled_from
    return TriedInvoice(invoice, lines)


def as_they_stand(*, invoices: Iterable[Invoice], at: datetime) -> list[Invoice]:
    """Give the drafts among invoices the amounts that they would have if they were finalized now, in the same order."""
    invoices = list(invoices)
    drafts = set(
        Invoice.objects.computed_drafts().filter(pk__in=[one.pk for one in invoices]).values_list("pk", flat=True)
    )
    if not drafts:
        return invoices
    with one_snapshot():
        tried = {one.invoice.pk: one.invoice for one in _try(_drafts_of(*_customers_of(invoices, drafts)), at)}
        # One that was finalized a moment ago has its amounts.
        final = Invoice.objects.select_related("customer", "subscription").in_bulk(drafts - tried.keys())
    return [(tried | final).get(invoice.pk, invoice) for invoice in invoices]


def _customers_of(invoices: Iterable[Invoice], drafts: Collection[int]) -> list[Customer]:
    return list({invoice.customer for invoice in invoices if invoice.pk in drafts})


def draft_as_it_stands(*, draft: Invoice, at: datetime) -> TriedInvoice:
    """Tell what a draft in its grace time would be if it were finalized now."""
    with one_snapshot():
        drafts = _drafts_of(draft.customer, until=draft)
        if not drafts or drafts[-1][0].pk != draft.pk:
            # It was finalized a moment ago, and has its lines.
            final = Invoice.objects.select_related("customer", "subscription__plan").get(pk=draft.pk)
            return TriedInvoice(final, list(final.lines.select_related("component", "metric", "grant", "pack")))
        return _the(drafts[-1][0], _try(drafts, at))


def _the(draft: Invoice, tried: Iterable[TriedInvoice]) -> TriedInvoice:
    return next(one for one in tried if one.invoice is draft)


def _choose_subscription(customer: Customer, identifier: str | None) -> Subscription:
    live = Subscription.objects.live().filter(customer=customer).select_related("customer", "price", "plan")
    if identifier is not None:
        chosen = live.filter(public_id=identifier).first() or live.filter(stable_subscription_id=identifier).first()
        if chosen is None:
            raise SubscriptionNotFound("This customer has no live subscription with this id.")
        return chosen
    subscriptions = list(live[:2])
    if not subscriptions:
        raise NothingUpcoming("This customer has no live subscription, so no invoice is upcoming.")
    if len(subscriptions) > 1:
        raise InvalidInput.at("subscriptionId", "is required, since this customer has several live subscriptions.")
    return subscriptions[0]


def _next_due(subscription: Subscription) -> list[SubscriptionPeriod]:
    """The periods that the next close will gather; none that would begin after a cancel that waits."""
    unclosed = (
        SubscriptionPeriod.objects.filter(subscription=subscription, closed_at__isnull=True)
        .select_related("item__component__price", "customer")
        .order_by("bill_at", "item__component__position", "item_id")
    )
    ends = (
        waiting_of(subscription).filter(kind=ScheduledChangeKind.CANCEL).values_list("effective_at", flat=True).first()
    )
    periods = [period for period in unclosed if ends is None or period.start_at < ends]
    return [period for period in periods if period.bill_at == periods[0].bill_at]


def _drafts_of(
    *customers: Customer, until: Invoice | None = None
) -> list[tuple[Invoice, Sequence[SubscriptionPeriod]]]:
    """The drafts of customers in the order in which they will be finalized, with what they bill."""
    drafts = list(
        Invoice.objects.computed_drafts()
        .filter(customer__in=customers)
        .select_related("customer", "subscription__plan", "subscription__price")
        .order_by("closes_at", "pk")
    )
    if until is not None:
        drafts = [draft for draft in drafts if (draft.closes_at, draft.pk) <= (until.closes_at, until.pk)]
    periods = billed_periods(drafts)
    return [(draft, periods[draft.pk]) for draft in drafts]


def _try(drafts: Sequence[tuple[Invoice, Sequence[SubscriptionPeriod]]], at: datetime) -> list[TriedInvoice]:
    """Compose all drafts of customers, in the order of their closes, of what is there now. As when they are finalized,
    what is found of earlier periods takes its units first."""
    periods = [period for _, batch in drafts for period in batch]
    late = differences_so_far([draft for draft, _ in drafts], at=at)
    usage, grants = live_usage(periods=periods, moved=late.moved, at=at)
    billable = Billable(
        usage=usage,
        quantities=billed_quantities(periods),
        grants=grants,
        differences=late.differences,
        purses=open_purses({draft.customer_id for draft, _ in drafts}),
        carried=waiting_to_be_carried({draft.customer_id for draft, _ in drafts}),
        beside=_added_units([draft for draft, _ in drafts]),
    )
    taxes = tax_of_customers({draft.customer_id for draft, _ in drafts})
    composed = compose_in_turn(drafts, billable, at=at)
    return [_tried(draft, lines, taxes[draft.customer_id]) for draft, lines in composed]


def _added_units(drafts: Sequence[Invoice]) -> dict[int, list[InvoiceLine]]:
    """The lines of units that were added and that no invoice has charged yet."""
    added = added_units_of(drafts)
    return {draft.pk: [added_units_line(draft, one) for one in added.get(draft.pk, ())] for draft in drafts}


def _tried(draft: Invoice, lines: Sequence[InvoiceLine], tax: AppliedTax) -> TriedInvoice:
    charge_tax(draft, lines, tax)
    lines = with_rounding_line(draft, lines)
    for line in lines:
        # Nobody can ask for what is not stored by an id: neither for the line nor for a grant that it would make.
        line.public_id = None
        if line.grant is not None and line.grant.pk is None:
            line.grant = None
    prefetch_related_objects(list(lines), "metric")
    return TriedInvoice(draft, lines)
