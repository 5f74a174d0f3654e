from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import chain

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, Min, OuterRef

from billing.models import Invoice, InvoicedPeriod, InvoiceKind
from credits.services.per_seat import follow_closed_units, grant_for_added_units
from credits.services.renew import grant_for_periods, items_of_subscriptions
from plans.bulk_rows import insert_rows, new_row
from plans.models import PeriodKind, ScheduledChange, Subscription, SubscriptionPeriod
from plans.services.item_periods import store_periods
from plans.services.units import store_quantities

CHUNK = 500


def due_subscriptions(at: datetime, *, limit: int = CHUNK) -> list[int]:
    """Find subscriptions with a period to close at `at`, of customers that are not parked, earliest first. One that has
    a change or its end behind it waits for that, which closes what lies before: nothing begins after it."""
    due = (
        SubscriptionPeriod.objects.due(at)
        .filter(~_ends_by(at), customer__parked_at__isnull=True, subscription__ended_at__isnull=True)
        .order_by("bill_at")
        .values_list("subscription_id", flat=True)[: limit * 2]
    )
    return list(dict.fromkeys(due))[:limit]


def _ends_by(instant: datetime | OuterRef) -> Exists:
    """Of a period: its subscription changes or ends by itself at an instant, or before."""
    return Exists(
        ScheduledChange.objects.filter(
            subscription=OuterRef("subscription"),
            applied_at=None,
            withdrawn_at=None,
            effective_at__lte=instant,
        )
    )


@transaction.atomic
def close_periods(*, subscriptions: Iterable[int], at: datetime) -> int:
    """Close each subscription's earliest due boundary: open the draft, store the periods and grants that come next.

    Subscriptions that another worker holds are left to it. Returns how many were closed; a subscription that is
    several boundaries behind is due again right away.
    """
    locked = (
        Subscription.objects.filter(pk__in=subscriptions, ended_at__isnull=True)
        .prefetch_related("price")
        .select_for_update(no_key=True, skip_locked=True)
        .order_by("pk")
    )
    return len(close_subscriptions(list(locked), at=at))


def close_subscriptions(
    subscriptions: Sequence[Subscription], *, at: datetime, before: datetime | None = None
) -> list[Invoice]:
    """Close the earliest due boundary of subscriptions whose locks the caller holds, with `before` only one that lies
    before that instant; see close_periods."""
    by_key = {subscription.pk: subscription for subscription in subscriptions}
    due: dict[int, list[SubscriptionPeriod]] = defaultdict(list)
    open_periods = SubscriptionPeriod.objects.due(at).filter(~_ends_by(OuterRef("bill_at")), subscription__in=by_key)
    if before is not None:
        open_periods = open_periods.filter(bill_at__lt=before)
    # Read apart: of a subscription that is far behind all periods are due.
    earliest = dict(open_periods.values_list("subscription").annotate(Min("bill_at")))
    for period in open_periods.filter(bill_at__in=set(earliest.values())).order_by("bill_at", "item_id"):
        if period.bill_at == earliest[period.subscription_id]:
            due[period.subscription_id].append(period)
    invoices = open_drafts([(draft_of(by_key[key], periods, at), periods) for key, periods in due.items()], at=at)
    items = items_of_subscriptions(due)
    following = store_periods(items=chain.from_iterable(items.values()), through=at)
    grant_for_periods(at=at, periods=following, items=items)
    return invoices


def open_drafts(drafts: Sequence[tuple[Invoice, Sequence[SubscriptionPeriod]]], *, at: datetime) -> list[Invoice]:
    """Store drafts with the periods that they bill, which are closed with that; return the drafts."""
    invoices = insert_rows(draft for draft, _ in drafts)
    gathered = [
        new_row(InvoicedPeriod, invoice_id=invoice.pk, period_id=period.pk)
        for invoice, (_, periods) in zip(invoices, drafts, strict=True)
        for period in periods
    ]
    insert_rows(gathered)
    closed = [one.period_id for one in gathered]
    SubscriptionPeriod.objects.filter(pk__in=closed).update(closed_at=at)
    added = store_quantities(closed, at=at)
    follow_closed_units(closed, at=at)
    grant_for_added_units(added, at=at)
    return invoices


def draft_of(
    subscription: Subscription,
    periods: Sequence[SubscriptionPeriod],
    at: datetime,
    *,
    kind: InvoiceKind = InvoiceKind.CYCLE,
    closes_at: datetime | None = None,
) -> Invoice:
    """Make the draft of one boundary, or of another instant at which periods end early; it is not stored yet. Usage
    waits out the grace time for late events, fees alone do not."""
    closes_at = closes_at or periods[0].bill_at
    has_usage = any(period.metric_id is not None and period.kind == PeriodKind.REGULAR for period in periods)
    grace = timedelta(hours=settings.INVOICE_GRACE_HOURS if has_usage else 0)
    in_advance = [period for period in periods if period.bill_at == period.start_at]
    covering = in_advance or periods
    return new_row(
        Invoice,
        customer_id=subscription.customer_id,
        subscription=subscription,
        kind=kind,
        currency=subscription.price.currency,
        closes_at=closes_at,
        finalize_at=closes_at + grace,
        period_start_at=min((period.start_at for period in covering), default=closes_at),
        period_end_at=max((period.end_at for period in covering), default=closes_at),
        created_at=at,
    )
