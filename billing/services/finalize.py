from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain

from django.db import connection, transaction
from django.db.models import Exists, Max, Min, OuterRef, Q

from billing.composition import Billable, compose_in_turn, note_nets
from billing.lines import added_units_line
from billing.models import Invoice, InvoicedPeriod, InvoiceKind, InvoiceLine, InvoiceStatus
from billing.models.invoices import InvoiceQuerySet
from billing.rounding import with_rounding_line
from billing.services.carry import hold_carried, note_carried
from billing.services.late_usage import bill_differences, lock_usage
from billing.services.parties import name_parties
from billing.services.quantities import added_units_of, billed_quantities, note_billed
from billing.services.tax import tax_of_customers
from billing.storable_invoices import check_storable
from billing.stripe_amounts import is_chargeable
from billing.tax_lines import charge_tax, set_tax_fields
from credits.models import CreditGrant, SubscriptionCredit
from credits.services.late_usage import charged_periods
from credits.services.settle import settle_periods
from credits.services.spend_money import Purse, book_purses, lock_money, open_purses
from plans.bulk_rows import insert_rows, update_rows
from plans.models import AddedUnits, Customer, Metric, SubscriptionPeriod

CHUNK = 400
PAYMENT_TERM = timedelta(0)


def drafts_to_finalize(at: datetime, *, limit: int = CHUNK) -> list[int]:
    """Find drafts whose grace time is over and which are the next of their customers: of each the first one, and those
    that follow it without a gap.

    Settlement goes in order of period ends, so a draft waits while its customer has an earlier one, or an earlier
    boundary that is not closed yet; while a refill is not written that its usage may burn; and while the events of a
    metric that it bills are still being counted.
    """
    found = _first(at, limit)
    following = _following({customer: closes_at for customer, _, closes_at in found}, at) if found else {}
    drafts = list(chain.from_iterable([key, *following.get(customer, ())] for customer, key, _ in found))
    return drafts[:limit]


def _first(at: datetime, limit: int) -> list[tuple[int, int, datetime]]:
    """The first drafts of customers that are ready: customer, key and close. Due drafts are gone through a few at a
    time, since there may be very many of them."""
    earlier_draft = _unfinished().filter(customer=OuterRef("customer"), closes_at__lt=OuterRef("closes_at"))
    due, after = Invoice.objects.to_finalize(at).order_by("finalize_at", "pk"), Q()
    found: list[tuple[int, int, datetime]] = []
    while len(found) < limit and (page := list(due.filter(after).values_list("finalize_at", "pk")[:limit])):
        ready = _ready(at).filter(~Exists(earlier_draft), pk__in=[key for _, key in page])
        found += ready.order_by("finalize_at", "pk").values_list("customer", "pk", "closes_at")
        last, key = page[-1]
        after = Q(finalize_at__gt=last) | Q(finalize_at=last, pk__gt=key)
    return found[:limit]


def _unfinished() -> InvoiceQuerySet:
    """What `computed_drafts` are, known by what they lack: by their state the database would look at all drafts for
    each customer, since right after a close it takes them to be few."""
    return (
        Invoice.objects.filter(finalized_at=None).exclude(status=InvoiceStatus.SKIPPED).exclude(kind=InvoiceKind.MANUAL)
    )


def _ready(at: datetime) -> InvoiceQuerySet:
    """Drafts whose grace time is over, and which wait for nothing but, maybe, for an earlier one."""
    earlier_boundary = SubscriptionPeriod.objects.filter(
        customer=OuterRef("customer"), closed_at__isnull=True, bill_at__lt=OuterRef("closes_at")
    )
    unwritten_refill = SubscriptionCredit.objects.filter(
        subscription__customer=OuterRef("customer"), refilled_until__lt=OuterRef("closes_at")
    )
    still_counted = InvoicedPeriod.objects.filter(
        invoice=OuterRef("pk"), period__metric__in=Metric.objects.filter(current__built_at=None)
    )
    return Invoice.objects.to_finalize(at).filter(
        ~Exists(earlier_boundary), ~Exists(unwritten_refill), ~Exists(still_counted)
    )


def _following(first: Mapping[int, datetime], at: datetime) -> dict[int, list[int]]:
    """The drafts that follow the first ones of customers, by these, up to one that has to wait.

    Where a charged period that ended later than the first close is settled already, there are none: late usage of it
    would be looked for between two of them.
    """
    later = _unfinished().filter(customer__in=first).order_by("closes_at", "pk")
    drafts = [row for row in later.values_list("customer", "pk", "closes_at") if row[2] > first[row[0]]]
    if not drafts:
        return {}
    customers = {customer for customer, _, _ in drafts}
    ready = set(_ready(at).filter(pk__in=[key for _, key, _ in drafts]).values_list("pk", flat=True))
    settled = charged_periods().filter(customer__in=customers, late_usage_closed_at=None)
    latest = dict(settled.values_list("customer").annotate(Max("end_at")))
    stopped = {customer for customer, end_at in latest.items() if end_at >= first[customer]}
    following: dict[int, list[int]] = defaultdict(list)
    for customer, key, _ in drafts:
        if key not in ready:
            stopped.add(customer)
        if customer not in stopped:
            following[customer].append(key)
    return following


@transaction.atomic
def finalize(*, invoices: Iterable[int], at: datetime) -> int:
    """Finalize drafts that no other worker holds, and return how many. One before which its customer has another draft
    is left for later, unless that one is among them."""
    held = (
        Invoice.objects.filter(pk__in=invoices, status=InvoiceStatus.DRAFT)
        .select_for_update(no_key=True, skip_locked=True, of=("self",))
        .order_by("closes_at", "pk")
    )
    drafts = list(held)
    customers = {draft.customer_id for draft in drafts}
    _lock_customers(customers)
    others = _unfinished().filter(customer__in=customers).exclude(pk__in=[draft.pk for draft in drafts])
    earliest = dict(others.values_list("customer").annotate(Min("closes_at")))
    return finalize_invoices(
        [draft for draft in drafts if draft.closes_at <= earliest.get(draft.customer_id, draft.closes_at)], at=at
    )


def finalize_invoices(
    drafts: Sequence[Invoice], *, at: datetime, prorations: Mapping[int, Sequence[InvoiceLine]] | None = None
) -> int:
    """Settle and rate what each draft bills, write its lines, number it and freeze it; return how many. `prorations`
    are the credits that drafts have beside them, by the drafts' keys.

    The caller holds the drafts' locks. A draft on which no line has an amount becomes `skipped`: there is nothing to
    bill, but its periods are settled all the same.
    """
    if not drafts:
        return 0
    periods = billed_periods(drafts)
    gathered = [period for batch in periods.values() for period in batch]
    customers = {draft.customer_id for draft in drafts}
    _lock(drafts, customers)
    # What is found of earlier periods takes its units first: those may expire with the settlement.
    differences = bill_differences(drafts, at=at)
    usage = settle_periods(at=at, periods=gathered)
    grants = {grant for one in usage.values() for grant in one.by_grant}
    purses = open_purses(customers)
    added = added_units_of(drafts)
    billable = Billable(
        usage=usage,
        quantities=billed_quantities(gathered),
        grants=CreditGrant.objects.prefetch_related("definition").in_bulk(grants),
        differences=differences,
        purses=purses,
        carried=hold_carried(customers),
        beside=_beside(drafts, added, prorations or {}),
    )
    taxes = tax_of_customers(customers)
    stored: list[InvoiceLine] = []
    closed: list[Invoice] = []
    for draft, lines in compose_in_turn([(draft, periods[draft.pk]) for draft in drafts], billable, at=at):
        note_nets(periods[draft.pk], lines)
        charge_tax(draft, lines, taxes[draft.customer_id])
        lines = with_rounding_line(draft, lines)
        check_storable(draft, lines)
        close_draft(draft, lines, at)
        stored += lines
        closed.append(draft)
        if draft.status == InvoiceStatus.CARRIED and len(drafts) > len(customers):
            _carry(draft, closed, billable)
    note_billed(added.values(), at=at)
    expire_money(purses, drafts, at)
    store_invoices(drafts, gathered, stored, purses.values())
    note_carried(stored)
    return len(drafts)


def _carry(carried: Invoice, closed: Iterable[Invoice], billable: Billable) -> None:
    """Let a later draft of the same turn take one along that came to too little to be charged. Its line says of which
    number, so what was closed so far is numbered."""
    number_invoices([draft for draft in closed if draft.customer_id == carried.customer_id and _lacks_number(draft)])
    billable.carried.setdefault((carried.customer_id, carried.currency), []).append(carried)


def _lacks_number(draft: Invoice) -> bool:
    return draft.number is None and draft.status != InvoiceStatus.SKIPPED


def _beside(
    drafts: Iterable[Invoice],
    added: Mapping[int, Sequence[AddedUnits]],
    prorations: Mapping[int, Sequence[InvoiceLine]],
) -> dict[int, list[InvoiceLine]]:
    """The lines of drafts that no period makes: of units that were added, and of time that is not used."""
    return {
        draft.pk: [
            *(added_units_line(draft, one) for one in added.get(draft.pk, ())),
            *prorations.get(draft.pk, ()),
        ]
        for draft in drafts
    }


def _lock(drafts: Sequence[Invoice], customers: Collection[int]) -> None:
    """Take all locks in the order that whoever moves credits of several kinds keeps: customers, then their metrics,
    then their money."""
    _lock_customers(customers)
    lock_usage({draft.subscription_id for draft in drafts if draft.subscription_id is not None})
    lock_money(customers)


def _lock_customers(customers: Collection[int]) -> None:
    list(Customer.objects.filter(pk__in=customers).select_for_update(no_key=True).order_by("pk").values_list("pk"))


def expire_money(purses: Mapping[int, Purse], drafts: Sequence[Invoice], at: datetime) -> None:
    """Let the rest of monetary grants expire that ended before anything which the customer's bills to come look at."""
    latest = max(draft.closes_at for draft in drafts)
    ended = [customer for customer, purse in purses.items() if purse.expired(latest)]
    looked_at = _earliest_to_come(ended, drafts) if ended else {}
    for customer in ended:
        purses[customer].expire(purses[customer].expired(looked_at.get(customer, latest)), at=at)


def _earliest_to_come(customers: Sequence[int], done: Sequence[Invoice]) -> dict[int, datetime]:
    """The earliest instant of each customer at which a monetary grant had to be active to pay for a bill to come: the
    start of usage that is not settled, or a close."""
    periods = SubscriptionPeriod.objects.filter(customer__in=customers, subscription__ended_at__isnull=True)
    drafts = (
        Invoice.objects.computed_drafts().filter(customer__in=customers).exclude(pk__in=[draft.pk for draft in done])
    )
    found = [
        periods.filter(settled_at=None, metric__isnull=False, item__component__isnull=False).values_list(
            "customer", Min("start_at")
        ),
        periods.filter(closed_at=None).values_list("customer", Min("bill_at")),
        drafts.values_list("customer", Min("closes_at")),
    ]
    earliest: dict[int, datetime] = {}
    for customer, instant in chain.from_iterable(found):
        earliest[customer] = min(instant, earliest.get(customer, instant))
    return earliest


def store_invoices(
    drafts: Sequence[Invoice],
    periods: Iterable[SubscriptionPeriod],
    lines: Sequence[InvoiceLine],
    purses: Iterable[Purse],
) -> None:
    """Write the lines of stored drafts, number them and freeze them as they are sent, with seller and buyer; and write
    what the customers' money did."""
    update_rows([period for period in periods if period.settled_net_cents is not None], ["settled_net_cents"])
    book_purses(purses)
    number_invoices([draft for draft in drafts if _lacks_number(draft)])
    name_parties([draft for draft in drafts if draft.number is not None])
    # The lines come first: from the moment an invoice is issued, a trigger refuses any change of them.
    insert_rows(lines)
    update_rows(
        drafts,
        [
            *("status", "number", "finalized_at", "due_at", "paid_at", "subtotal_cents", "total_cents", "send_at"),
            *("seller", "buyer"),
            *set_tax_fields(drafts),
        ],
    )


def billed_periods(drafts: Sequence[Invoice]) -> dict[int, list[SubscriptionPeriod]]:
    """The periods that each draft bills, those that its close gathered, in the order of the price's components."""
    found: dict[int, list[SubscriptionPeriod]] = defaultdict(list)
    invoice_of = dict(
        InvoicedPeriod.objects.filter(invoice__in=[draft.pk for draft in drafts]).values_list("period", "invoice")
    )
    # Hundreds of periods have a few components, so these are read apart, once each.
    periods = (
        SubscriptionPeriod.objects.filter(pk__in=invoice_of)
        .select_related("item")
        .prefetch_related("item__component__price")
    )
    for period in sorted(periods, key=_place):
        found[invoice_of[period.pk]].append(period)
    return found


def _place(period: SubscriptionPeriod) -> tuple[bool, int, int, datetime]:
    component = period.item.component
    return (component is None, component.position if component else 0, period.item_id, period.start_at)


def close_draft(draft: Invoice, lines: Sequence[InvoiceLine], at: datetime) -> None:
    """Set the state that follows from a draft's amounts."""
    if not lines:
        draft.status = InvoiceStatus.SKIPPED
        return
    draft.finalized_at = at
    draft.due_at = at + PAYMENT_TERM
    if draft.total_cents == 0:
        draft.status = InvoiceStatus.PAID
        draft.paid_at = at
    elif is_chargeable(draft.total_cents, draft.currency):
        draft.status = InvoiceStatus.ISSUED
        draft.send_at = at
    else:
        draft.status = InvoiceStatus.CARRIED


def number_invoices(invoices: Sequence[Invoice]) -> None:
    """Give invoices the next numbers of their customers, without gaps: a number is taken only with its invoice."""
    added = Counter(invoice.customer_id for invoice in invoices)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE plans_customer SET last_invoice_number = last_invoice_number + added.invoices"
            " FROM unnest(%s::bigint[], %s::integer[]) AS added(customer_id, invoices)"
            " WHERE plans_customer.id = added.customer_id"
            " RETURNING plans_customer.id, invoice_prefix, last_invoice_number - added.invoices",
            [list(added), list(added.values())],
        )
        last = {customer: (prefix, number) for customer, prefix, number in cursor.fetchall()}
    for invoice in sorted(invoices, key=lambda invoice: (invoice.customer_id, invoice.closes_at, invoice.pk)):
        prefix, number = last[invoice.customer_id]
        last[invoice.customer_id] = (prefix, number + 1)
        invoice.number = f"{prefix}-{number + 1:03}"
