from collections.abc import Collection
from decimal import Decimal
from functools import cache

from metering.models import UsageEvent
from metering.services.read_usage import read_usage
from metering.windows import Window
from plans.models import Customer, Metric, SubscriptionPeriod
from plans.models.metrics import Aggregation


def find_negative_periods(*, events: Collection[int]) -> dict[int, list[str]]:
    """Find those of the events (by their keys) whose stored period has usage below zero, each with the public ids of
    the metrics: what is below zero is dropped when the period is rated, not carried to the next."""
    found: dict[int, list[str]] = {}
    sums_of, usage_in = cache(_sums_of), cache(_usage_in)
    corrections = UsageEvent.objects.filter(pk__in=events, value__lt=0, customer__isnull=False)
    for event in corrections.select_related("customer"):
        for metric in sums_of(event.event_name):
            period = SubscriptionPeriod.objects.filter(
                customer=event.customer_id, metric=metric, start_at__lte=event.occurred_at, end_at__gt=event.occurred_at
            ).first()
            if period is not None and usage_in(event.customer, metric, period) < 0:
                found.setdefault(event.pk, []).append(metric.public_id)
    return found


def _sums_of(event_name: str) -> list[Metric]:
    return list(
        Metric.objects.live().filter(
            aggregation_type=Aggregation.SUM, current__event_name=event_name, current__value_property=""
        )
    )


def _usage_in(customer: Customer, metric: Metric, period: SubscriptionPeriod) -> Decimal:
    usage = read_usage(customer=customer, metric=metric, window=Window(period.start_at, period.end_at))
    return usage or Decimal(0)
