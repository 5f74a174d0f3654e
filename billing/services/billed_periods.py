"""Reading what subscriptions were billed for in a stretch of time: their clocks, fees and settled usage."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Sum

from credits.models import UsageDifference
from plans.models import PriceComponent, SubscriptionItem
from plans.periods import Clock


class BilledItem(NamedTuple):
    """A clock of a subscription, with what it includes in each period; fees have no metric."""

    pk: int
    customer_id: int
    metric_id: int | None
    clock_started_at: datetime
    included_units: Decimal
    feature_units: Decimal
    component_id: int | None
    clock: Clock


class Stretch(NamedTuple):
    """A stretch of time, and how many whole periods of an item it is made of."""

    start_at: datetime
    end_at: datetime
    number: int


class UsagePeriod(NamedTuple):
    """What a period of usage was settled with."""

    item_id: int
    pk: int
    usage: Decimal
    included: Decimal
    credited: Decimal
    events: int | None
    net_cents: int | None


class PartialFee(NamedTuple):
    """A fee of which only a part of the period lies in the stretch."""

    start_at: datetime
    end_at: datetime
    cents: int


class Difference(NamedTuple):
    """All that was found of a period after its settlement."""

    usage: Decimal = Decimal(0)
    included: Decimal = Decimal(0)
    credited: Decimal = Decimal(0)
    events: int | None = None
    net_cents: int = 0


# Of usage, periods that are settled; of fees, those whose invoice is no draft any more.
_IS_BILLED = """(
    period.settled_at IS NOT NULL
    OR period.metric_id IS NULL AND period.closed_at IS NOT NULL AND NOT EXISTS (
        SELECT FROM billing_invoicedperiod gathered JOIN billing_invoice draft ON draft.id = gathered.invoice_id
        WHERE gathered.period_id = period.id AND draft.status = 'draft'
    )
)"""

_ENDED = f"""
SELECT item_id, min(start_at), max(end_at), count(*) FROM plans_subscriptionperiod period
WHERE item_id = ANY(%(items)s) AND end_at > %(from_at)s AND end_at <= %(until)s AND {_IS_BILLED}
GROUP BY 1
"""

_STRETCHES = """unnest(%(subscriptions)s::bigint[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
    AS stretch(subscription_id, start_at, end_at)
JOIN plans_subscriptionperiod period ON period.subscription_id = stretch.subscription_id"""

_USAGE = f"""
SELECT period.item_id, period.id, settled_usage, settled_included, settled_credited, settled_events, settled_net_cents
FROM {_STRETCHES} AND period.metric_id IS NOT NULL AND period.settled_at IS NOT NULL
    AND period.end_at > stretch.start_at AND period.end_at <= stretch.end_at
"""

_FEES_OF = f"""
FROM {_STRETCHES} AND period.metric_id IS NULL AND {_IS_BILLED}
    AND period.end_at > stretch.start_at AND period.start_at < stretch.end_at
JOIN billing_invoiceline line ON line.period_id = period.id
"""
_LIES_WITHIN = "period.start_at >= stretch.start_at AND period.end_at <= stretch.end_at"
_WHOLE_FEES = (
    f"SELECT period.subscription_id, sum(line.amount_cents)::bigint {_FEES_OF} WHERE {_LIES_WITHIN} GROUP BY 1"
)
_PARTIAL_FEES = f"""
SELECT period.subscription_id, period.start_at, period.end_at, sum(line.amount_cents)::bigint {_FEES_OF}
WHERE NOT ({_LIES_WITHIN}) GROUP BY period.id
"""


def read_items(subscriptions: Sequence[int]) -> dict[int, list[BilledItem]]:
    """Read the items of subscriptions, by these."""
    items: dict[int, list[BilledItem]] = defaultdict(list)
    rows = SubscriptionItem.objects.filter(subscription__in=subscriptions).order_by("pk").values_list(*_ITEM)
    clocks = _clocks_of({component for *_, component in rows if component is not None})
    for pk, customer, metric, started_at, included, given, subscription, frequency, interval, component in rows:
        clock = Clock(frequency, interval) if component is None else clocks[component]
        items[subscription].append(BilledItem(pk, customer, metric, started_at, included, given, component, clock))
    return items


_ITEM = (
    "pk", "customer_id", "metric_id", "clock_started_at", "included_units", "feature_units",
    "subscription_id", "frequency", "interval", "component_id",
)  # fmt: skip


def _clocks_of(components: Collection[int]) -> dict[int, Clock]:
    return {key: component.clock for key, component in PriceComponent.objects.in_bulk(components).items()}


def read_ended(items: Collection[int], *, from_at: datetime, until: datetime) -> dict[int, Stretch]:
    """Read the time that those billed periods of each item cover which ended in `(from_at, until]`."""
    rows = _rows(_ENDED, {"items": list(items), "from_at": from_at, "until": until})
    return {item: Stretch(*stretch) for item, *stretch in rows}


def read_usage_periods(stretches: Mapping[int, Stretch]) -> dict[int, list[UsagePeriod]]:
    """Read the settled periods of usage that ended in each subscription's stretch, by their items."""
    periods: dict[int, list[UsagePeriod]] = defaultdict(list)
    for row in _rows(_USAGE, _parameters(stretches)):
        periods[row[0]].append(UsagePeriod(*row))
    return periods


def read_fees(stretches: Mapping[int, Stretch]) -> tuple[dict[int, int], dict[int, list[PartialFee]]]:
    """Read what was billed for fees by subscription: for periods within its stretch all together, and each of those
    that reach beyond it."""
    parameters = _parameters(stretches)
    partial: dict[int, list[PartialFee]] = defaultdict(list)
    for subscription, *fee in _rows(_PARTIAL_FEES, parameters):
        partial[subscription].append(PartialFee(*fee))
    return dict(_rows(_WHOLE_FEES, parameters)), partial


def read_differences(subscriptions: Sequence[int], *, from_at: datetime) -> dict[int, Difference]:
    """Sum up what was found later of each period that ended after `from_at`."""
    rows = (
        UsageDifference.objects.filter(period__subscription__in=subscriptions, period__end_at__gt=from_at)
        .values_list("period_id")
        .annotate(Sum("usage"), Sum("included"), Sum("credited"), Sum("events"), Sum("net_cents"))
    )
    return {period: Difference(*sums) for period, *sums in rows}


def _parameters(stretches: Mapping[int, Stretch]) -> dict[str, Any]:
    return {
        "subscriptions": list(stretches),
        "starts": [stretch.start_at for stretch in stretches.values()],
        "ends": [stretch.end_at for stretch in stretches.values()],
    }


def _rows(statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()
