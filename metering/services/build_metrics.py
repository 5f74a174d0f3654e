"""Counting the events that were there before a version of a metric: by a job, in slices, while events arrive."""

from datetime import UTC, date, datetime, timedelta

from django.db import connection, transaction
from django.db.models import Max

from metering.models import UsageEvent
from metering.recount_sql import NEXT_DAYS
from metering.services.recount_days import CustomerDay, recount_days
from plans.models import Metric, MetricVersion, SubscriptionPeriod
from plans.periods import local_midnight
from plans.services.metric_versions import lock_for_switch
from plans.services.time_zone import billing_zone

EVENTS_PER_SLICE = 20_000
_BEFORE_EVERYTHING = datetime(1, 1, 2, tzinfo=UTC)


def build_next_slice(*, at: datetime) -> bool:
    """Count one slice of a version that is not built yet, or make one that is built the current one; tell whether there
    was one to work on.

    Each is a transaction of its own, which says how far it has come: the work may be killed, may run twice, and two
    workers take different versions.
    """
    return _switch_next(at) or _count_next_slice(at)


def build_at_once(*, version: MetricVersion, at: datetime, most: int) -> None:
    """Count the events of a new version if they are fewer than `most`; else leave them to the job.

    The caller keeps events from being recorded meanwhile, and for a version that is to become the current one holds the
    lock of the switch.
    """
    counts = _next_days(version, most)
    if sum(counts.values()) < most:
        _count(version, counts)
        version.built_at = at
        version.save(update_fields=["built_customer_id", "built_until", "events_built", "built_at"])
        if version.effective_at is None:
            _make_current(version, at)


def _switch_next(at: datetime) -> bool:
    waiting = MetricVersion.objects.filter(built_at__isnull=False, effective_at__isnull=True)
    version = waiting.filter(metric__deleted_at=None).order_by("pk").first()
    if version is None:
        return False
    with transaction.atomic():
        # In the order of whoever changes a metric; and before any row of usage, which those who settle wait for.
        Metric.objects.select_for_update(no_key=True, of=("self",)).get(pk=version.metric_id)
        lock_for_switch()
        version.refresh_from_db()
        if version.effective_at is None:
            _make_current(version, at)
    return True


@transaction.atomic
def _count_next_slice(at: datetime) -> bool:
    version = (
        MetricVersion.objects.select_for_update(skip_locked=True, no_key=True)
        .filter(built_at__isnull=True, metric__deleted_at=None)
        .order_by("pk")
        .first()
    )
    if version is None:
        return False
    if not version.events_to_build:
        version.events_to_build = _events_there(version)
    counts = _next_days(version, EVENTS_PER_SLICE)
    _count(version, counts)
    if sum(counts.values()) < EVENTS_PER_SLICE:
        version.built_at = at
    version.save(update_fields=["events_to_build", "built_customer_id", "built_until", "events_built", "built_at"])
    return True


def _events_there(version: MetricVersion) -> int:
    """The number of events with its name, to tell the progress by."""
    return UsageEvent.objects.filter(event_name=version.event_name, customer__isnull=False).count()


def _count(version: MetricVersion, counts: dict[CustomerDay, int]) -> None:
    """Count whole days, and note how far that has come."""
    if counts:
        recount_days(version=version, days=counts)
        version.built_customer_id, last_day = max(counts)
        version.built_until = local_midnight(last_day + timedelta(days=1), billing_zone())
        version.events_built += sum(counts.values())


def _next_days(version: MetricVersion, limit: int) -> dict[CustomerDay, int]:
    with connection.cursor() as cursor:
        cursor.execute(
            NEXT_DAYS,
            {
                "event_name": version.event_name,
                "customer": version.built_customer_id,
                "from": version.built_until or _BEFORE_EVERYTHING,
                "zone": billing_zone().key,
                "limit": limit,
            },
        )
        rows: list[tuple[int, date, int]] = cursor.fetchall()
    return {(customer, day): events for customer, day, events in rows}


def _make_current(version: MetricVersion, at: datetime) -> None:
    """Let periods that are not over be counted by this version from now on. The caller holds the lock of the switch.

    Nobody settles meanwhile, and no period that is settled already ends after the instant: what was settled by the old
    version stays so.
    """
    settled = SubscriptionPeriod.objects.filter(metric=version.metric_id, settled_at__isnull=False)
    last_end: datetime | None = settled.aggregate(last=Max("end_at"))["last"]
    version.effective_at = max(at, last_end or at)
    version.save(update_fields=["effective_at"])
    Metric.objects.filter(pk=version.metric_id).update(current=version, updated_at=at)
