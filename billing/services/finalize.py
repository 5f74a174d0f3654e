from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain

from django.db import connection, transaction
from django.db.models import Exists, F, Min, OuterRef

from billing.composition import Billable, compose_in_turn, note_nets
from billing.models import Invoice, InvoiceLine, InvoiceStatus
from billing.services.late_usage import bill_differences, lock_usage
from billing.services.quantities import billed_quantities
from billing.stripe_amounts import is_chargeable
from credits.models import CreditGrant, SubscriptionCredit
from credits.services.settle import settle_periods
from credits.services.spend_money import Purse, book_purses, lock_money, open_purses
from plans.models import Customer, SubscriptionPeriod

CHUNK = 200
PAYMENT_TERM = timedelta(0)


def drafts_to_finalize(at: datetime, *, limit: int = CHUNK) -> list[int]:
    """Find drafts whose grace time is over and which are the next of their customer.

    Settlement goes in order of period ends, so a draft waits while its customer has an earlier one, or an earlier
    boundary that is not closed yet; while a refill is not written that its usage may burn; and while the events of a
    metric that it bills are still being counted.
    """
    earlier_draft = Invoice.objects.filter(
        customer=OuterRef("customer"), status=InvoiceStatus.DRAFT, closes_at__lt=OuterRef("closes_at")
    )
    earlier_boundary = SubscriptionPeriod.objects.filter(
        customer=OuterRef("customer"), closed_at__isnull=True, bill_at__lt=OuterRef("closes_at")
    )
    unwritten_refill = SubscriptionCredit.objects.filter(
        subscription__customer=OuterRef("customer"), refilled_until__lt=OuterRef("closes_at")
    )
    still_counted = SubscriptionPeriod.objects.filter(
        subscription=OuterRef("subscription"),
        bill_at=OuterRef("closes_at"),
        metric__isnull=False,
        metric__current__built_at=None,
    )
    return list(
        Invoice.objects.to_finalize(at)
        .filter(~Exists(earlier_draft), ~Exists(earlier_boundary), ~Exists(unwritten_refill), ~Exists(still_counted))
        .order_by("finalize_at", "pk")
        .values_list("pk", flat=True)[:limit]
    )


@transaction.atomic
def finalize(*, invoices: Iterable[int], at: datetime) -> int:
    """Finalize drafts that no other worker holds, and return how many."""
    drafts = (
        Invoice.objects.filter(pk__in=invoices, status=InvoiceStatus.DRAFT)
        .select_for_update(no_key=True, skip_locked=True, of=("self",))
        .order_by("closes_at", "pk")
    )
    return finalize_invoices(list(drafts), at=at)


def finalize_invoices(drafts: Sequence[Invoice], *, at: datetime) -> int:
    """Settle and rate what each draft bills, write its lines, number it and freeze it; return how many.

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
    composed = compose_in_turn(
        [(draft, periods[draft.pk]) for draft in drafts],
        Billable(
            usage=usage,
            quantities=billed_quantities(gathered),
            grants=CreditGrant.objects.select_related("definition").in_bulk(grants),
            differences=differences,
            purses=purses,
        ),
        at=at,
    )
    for draft, lines in composed:
        note_nets(periods[draft.pk], lines)
        _close_draft(draft, lines, at)
    _expire_money(purses, drafts, at)
    _store(drafts, gathered, [line for _, lines in composed for line in lines], purses.values())
    return len(drafts)


def _lock(drafts: Sequence[Invoice], customers: Collection[int]) -> None:
    """Take all locks in the order that whoever moves credits of several kinds keeps: customers, then their metrics,
    then their money."""
    list(Customer.objects.filter(pk__in=customers).select_for_update(no_key=True).order_by("pk").values_list("pk"))
    lock_usage({draft.subscription_id for draft in drafts if draft.subscription_id is not None})
    lock_money(customers)


def _expire_money(purses: Mapping[int, Purse], drafts: Sequence[Invoice], at: datetime) -> None:
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
    drafts = Invoice.objects.filter(customer__in=customers, status=InvoiceStatus.DRAFT).exclude(
        pk__in=[draft.pk for draft in done]
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


def _store(
    drafts: Sequence[Invoice],
    periods: Iterable[SubscriptionPeriod],
    lines: Sequence[InvoiceLine],
    purses: Iterable[Purse],
) -> None:
    SubscriptionPeriod.objects.bulk_update(
        [period for period in periods if period.settled_net_cents is not None], ["settled_net_cents"], batch_size=500
    )
    book_purses(purses)
    number_invoices([draft for draft in drafts if draft.status != InvoiceStatus.SKIPPED])
    # The lines come first: from the moment an invoice is issued, a trigger refuses any change of them.
    InvoiceLine.objects.bulk_create(lines, batch_size=1000)
    Invoice.objects.bulk_update(
        drafts,
        ["status", "number", "finalized_at", "due_at", "paid_at", "subtotal_cents", "total_cents", "send_at"],
        batch_size=500,
    )


def billed_periods(drafts: Sequence[Invoice]) -> dict[int, list[SubscriptionPeriod]]:
    """The periods that each draft bills, those that its close gathered, in the order of the price's components."""
    by_close = {(draft.subscription_id, draft.closes_at): draft.pk for draft in drafts}
    found: dict[int, list[SubscriptionPeriod]] = defaultdict(list)
    periods = (
        SubscriptionPeriod.objects.filter(
            subscription__in={draft.subscription_id for draft in drafts},
            bill_at__in={draft.closes_at for draft in drafts},
            closed_at__isnull=False,
        )
        .select_related("item__component__price", "customer")
        .order_by(F("item__component__position").asc(nulls_last=True), "item_id")
    )
    for period in periods:
        key = by_close.get((period.subscription_id, period.bill_at))
        if key is not None:
            found[key].append(period)
    return found


def _close_draft(draft: Invoice, lines: Sequence[InvoiceLine], at: datetime) -> None:
    """Set a draft's amounts and the state that follows from them."""
    if not lines:
        draft.status = InvoiceStatus.SKIPPED
        return
    draft.subtotal_cents = draft.total_cents = sum(line.amount_cents for line in lines)
    draft.finalized_at = at
    draft.due_at = at + PAYMENT_TERM
    if draft.total_cents == 0:
        draft.status = InvoiceStatus.PAID
        draft.paid_at = at
    else:
        draft.status = InvoiceStatus.ISSUED
        draft.send_at = at if is_chargeable(draft.total_cents, draft.currency) else None


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
