from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from billing.models import Invoice, InvoiceKind
from credits.services.renew import grant_for_periods
from plans.models import Subscription, SubscriptionItem, SubscriptionPeriod
from plans.services.subscriptions import store_periods

CHUNK = 500


def due_subscriptions(at: datetime, *, limit: int = CHUNK) -> list[int]:
    """Find subscriptions with a period to close at `at`, of customers that are not parked, earliest first."""
    due = (
        SubscriptionPeriod.objects.due(at)
        .filter(customer__parked_at__isnull=True, subscription__ended_at__isnull=True)
        .order_by("bill_at")
        .values_list("subscription_id", flat=True)[: limit * 2]
    )
    return list(dict.fromkeys(due))[:limit]


@transaction.atomic
def close_periods(*, subscriptions: Iterable[int], at: datetime) -> int:
    """Close each subscription's earliest due boundary: open the draft, store the periods and grants that come next.

    Subscriptions that another worker holds are left to it. Returns how many were closed; a subscription that is
    several boundaries behind is due again right away.
    """
    locked = (
        Subscription.objects.filter(pk__in=subscriptions, ended_at__isnull=True)
        .select_related("price")
        .select_for_update(no_key=True, skip_locked=True, of=("self",))
        .order_by("pk")
    )
    return len(close_subscriptions(list(locked), at=at))


def close_subscriptions(subscriptions: Sequence[Subscription], *, at: datetime) -> list[Invoice]:
    """Close the earliest due boundary of subscriptions whose locks the caller holds; see close_periods."""
    by_key = {subscription.pk: subscription for subscription in subscriptions}
    due: dict[int, list[SubscriptionPeriod]] = defaultdict(list)
    for period in SubscriptionPeriod.objects.due(at).filter(subscription__in=by_key).order_by("bill_at", "item_id"):
        if not due[period.subscription_id] or due[period.subscription_id][0].bill_at == period.bill_at:
            due[period.subscription_id].append(period)
    invoices = Invoice.objects.bulk_create(
        [draft_of(by_key[key], periods, at) for key, periods in due.items()], batch_size=500
    )
    SubscriptionPeriod.objects.filter(pk__in=[period.pk for periods in due.values() for period in periods]).update(
        closed_at=at
    )
    items = SubscriptionItem.objects.filter(subscription__in=due).select_related("component")
    grant_for_periods(at=at, periods=store_periods(items=items, through=at))
    return invoices


def draft_of(subscription: Subscription, periods: Sequence[SubscriptionPeriod], at: datetime) -> Invoice:
    """Make the draft of one boundary; it is not stored yet. Usage waits out the grace time for late events, fees alone
    do not."""
    closes_at = periods[0].bill_at
    has_usage = any(period.metric_id is not None for period in periods)
    grace = timedelta(hours=settings.INVOICE_GRACE_HOURS if has_usage else 0)
    in_advance = [period for period in periods if period.bill_at == period.start_at]
    covering = in_advance or periods
    return Invoice(
        customer_id=subscription.customer_id,
        subscription=subscription,
        kind=InvoiceKind.CYCLE,
        currency=subscription.price.currency,
        closes_at=closes_at,
        finalize_at=closes_at + grace,
        period_start_at=min(period.start_at for period in covering),
        period_end_at=max(period.end_at for period in covering),
        created_at=at,
    )
