from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from billing.models import Invoice
from credits.late_usage import Movement
from credits.models import UsageDifference
from credits.services.late_usage import LateUsage, charged_periods, find_differences, look_again, look_in_turn
from credits.services.positions import lock_balances
from plans.models import Customer, Subscription, SubscriptionItem, SubscriptionPeriod
from plans.models.subscriptions import SubscriptionPeriodQuerySet
from plans.services.metric_versions import hold_versions

CHUNK = 200
_SHOWN = ("subscription", "metric", "item__component__price")


def window() -> timedelta:
    """How long after a period's end its late usage is billed by itself."""
    return timedelta(days=settings.LATE_USAGE_DAYS)


def bill_differences(drafts: Iterable[Invoice], *, at: datetime) -> dict[int, list[UsageDifference]]:
    """Find what the earlier periods of each draft's subscription differ by, and return, by the subscriptions' keys,
    what no invoice has taken along yet; from then on it counts as billed.

    Looked at are periods that ended before the draft's close, but not longer before it than late usage is billed by
    itself. The caller holds the drafts' locks, has settled what they bill, and makes lines of the differences.
    """
    closings, billed_with = _with_versions_before(_closings(drafts))
    if not closings:
        return {}
    find_differences(periods=_periods_before(closings), at=at)
    unbilled = list(_unbilled(closings).select_for_update(of=("self",), no_key=True))
    for difference in unbilled:
        difference.billed_at = at
    UsageDifference.objects.bulk_update(unbilled, ["billed_at"], batch_size=500)
    return _by_subscription(unbilled, billed_with)


@dataclass(frozen=True, slots=True)
class LateSoFar:
    """What drafts would bill of earlier periods, by the subscriptions' keys, and how the ledger would follow what was
    found only now."""

    differences: dict[int, list[UsageDifference]]
    moved: tuple[Movement, ...]


def differences_so_far(drafts: Iterable[Invoice], *, at: datetime) -> LateSoFar:
    """Return what bill_differences would, and write nothing: what is found now is not stored."""
    # A window that is open now may be over when the period closes, but what it found stays to be billed.
    closings, billed_with = _with_versions_before(
        {subscription: min(closes_at, at) for subscription, closes_at in _closings(drafts).items()}
    )
    if not closings:
        return LateSoFar({}, ())
    found = look_in_turn(_periods_before(closings), at=at)
    differences = [*_unbilled(closings), *(late.as_difference(at) for late in found)]
    return LateSoFar(
        differences=_by_subscription(sorted(differences, key=_place), billed_with),
        moved=tuple(movement for late in found for movement in late.moved),
    )


def _place(difference: UsageDifference) -> tuple[datetime, int, int]:
    """Where a difference stands among those of a bill: as the rows are ordered."""
    return (difference.period.start_at, difference.period_id, difference.number)


def _closings(drafts: Iterable[Invoice]) -> dict[int, datetime]:
    """When each subscription is billed next."""
    closings: dict[int, datetime] = {}
    for draft in drafts:
        if draft.subscription_id is not None:
            closings[draft.subscription_id] = min(draft.closes_at, closings.get(draft.subscription_id, draft.closes_at))
    return closings


def _with_versions_before(closings: Mapping[int, datetime]) -> tuple[dict[int, datetime], dict[int, int]]:
    """Add the versions that a change ended: what is found of them is billed with the version that followed. Return with
    it by which subscription each one is billed."""
    following = Subscription.objects.filter(pk__in=closings, version_number__gt=1).values_list("stable_subscription_id")
    versions: dict[str, list[int]] = defaultdict(list)
    for stable, key in Subscription.objects.filter(stable_subscription_id__in=following).values_list(
        "stable_subscription_id", "pk"
    ):
        versions[stable].append(key)
    billed_with = {key: key for key in closings}
    for keys in versions.values():
        current = max(key for key in keys if key in closings)
        billed_with |= {key: billed_with.get(key, current) for key in keys if key < current}
    return {key: closings[by] for key, by in billed_with.items()}, billed_with


def _unbilled(subscriptions: Iterable[int]) -> QuerySet[UsageDifference]:
    return (
        UsageDifference.objects.filter(billed_at=None, period__subscription__in=list(subscriptions))
        .select_related("period__item__component__price")
        .order_by("period__start_at", "period_id", "number")
    )


def _by_subscription(
    differences: Iterable[UsageDifference], billed_with: Mapping[int, int]
) -> dict[int, list[UsageDifference]]:
    by_subscription: dict[int, list[UsageDifference]] = defaultdict(list)
    for difference in differences:
        by_subscription[billed_with[difference.period.subscription_id]].append(difference)
    return dict(by_subscription)


def _periods_before(closings: Mapping[int, datetime]) -> list[SubscriptionPeriod]:
    open_periods = charged_periods().filter(
        subscription__in=closings,
        late_usage_closed_at=None,
        end_at__lt=max(closings.values()),
        end_at__gte=min(closings.values()) - window(),
    )
    return [
        period
        for period in open_periods
        if period.end_at < closings[period.subscription_id] <= period.end_at + window()
    ]


def open_windows() -> SubscriptionPeriodQuerySet:
    """Charged periods whose late usage is still billed by itself, of customers that are not parked."""
    return charged_periods().filter(late_usage_closed_at=None, customer__parked_at=None)


def windows_to_close(at: datetime, *, limit: int = CHUNK) -> list[int]:
    """Find periods whose time for late usage is over, earliest first."""
    over = open_windows().filter(settled_at__isnull=False, end_at__lte=at - window())
    return list(over.order_by("end_at", "pk").values_list("pk", flat=True)[:limit])


@transaction.atomic
def close_windows(*, periods: Iterable[int], at: datetime) -> int:
    """Find what periods that no other worker holds differ by for the last time, and return how many they were.

    What was found waits for the next invoice of its subscription. What arrives from now on waits for an operator.
    """
    held = list(
        charged_periods()
        .filter(pk__in=periods, late_usage_closed_at=None)
        .select_for_update(of=("self",), no_key=True, skip_locked=True)
        .order_by("pk")
    )
    lock_usage({period.subscription_id for period in held})
    find_differences(periods=held, at=at)
    SubscriptionPeriod.objects.filter(pk__in=[period.pk for period in held]).update(late_usage_closed_at=at)
    return len(held)


def lock_usage(subscriptions: Collection[int]) -> None:
    """Keep metrics' versions as they are, and take the locks of all metrics of subscriptions, those of versions before
    included, at once, so that of two who need several of them neither can wait for the other."""
    hold_versions()
    stable = Subscription.objects.filter(pk__in=subscriptions).values("stable_subscription_id")
    items = SubscriptionItem.objects.filter(subscription__stable_subscription_id__in=stable, metric__isnull=False)
    lock_balances(list(items.values_list("customer_id", "metric_id").distinct()))


@transaction.atomic
def bill_with_next_invoice(*, periods: Iterable[SubscriptionPeriod], at: datetime) -> list[UsageDifference]:
    """Find what periods differ by whose time for late usage is over, for their subscriptions' next invoices to bill."""
    held = list(
        charged_periods()
        .filter(pk__in=[period.pk for period in periods], late_usage_closed_at__isnull=False)
        .select_for_update(of=("self",), no_key=True)
        .order_by("pk")
    )
    lock_usage({period.subscription_id for period in held})
    differences = find_differences(periods=held, at=at)
    SubscriptionPeriod.objects.filter(pk__in=[period.pk for period in held]).update(late_usage_closed_at=at)
    return differences


def late_usage_of(customer: Customer, *, at: datetime) -> tuple[list[UsageDifference], list[LateUsage]]:
    """Return what was found of a customer's settled periods, and what would be found now: by itself while the time for
    it lasts, by an operator afterwards. Writes nothing."""
    kept = (
        UsageDifference.objects.filter(customer=customer)
        .select_related("invoice_line__invoice", *(f"period__{path}" for path in _SHOWN))
        .order_by("-period__start_at", "-period_id", "-number")
    )
    periods = charged_periods().filter(customer=customer).select_related(*_SHOWN).order_by("-start_at", "-pk")
    return list(kept), list(look_again(list(periods), at=at).values())
