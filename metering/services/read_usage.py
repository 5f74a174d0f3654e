from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection

from metering.window_sql import OF_CUSTOMER, OF_MEMBER, window_by_day, window_by_property
from metering.windows import Cut, Window, cut_at_midnights
from plans.models import Customer, Metric, MetricVersion, SubscriptionPeriod
from plans.models.customers import OrgRole
from plans.models.metrics import Aggregation
from plans.money import mean_quantity
from plans.periods import local_day, local_midnight
from plans.services.time_zone import billing_zone

MOST_DAYS = 400
MOST_GROUPS = 1000
USUAL_DAYS = 30


@dataclass(frozen=True, slots=True)
class Measures:
    """What events of a metric amount to, in each way of making them one number."""

    events: int
    total: Decimal
    minimum: Decimal | None
    maximum: Decimal | None
    last: Decimal | None
    different: int

    def value(self, aggregation: str) -> Decimal | None:
        """The number of a metric with this aggregation; None where it takes an event to have one and there is none."""
        return _VALUES[Aggregation(aggregation)](self)

    def mean(self) -> Decimal | None:
        """The sum by the number of events, rounded half away from zero to the six decimals of quantities."""
        return mean_quantity(self.total, self.events) if self.events else None


_VALUES: dict[Aggregation, Callable[[Measures], Decimal | None]] = {
    Aggregation.COUNT: lambda measures: Decimal(measures.events),
    Aggregation.SUM: lambda measures: measures.total,
    Aggregation.MAX: lambda measures: measures.maximum,
    Aggregation.MIN: lambda measures: measures.minimum,
    Aggregation.AVG: Measures.mean,
    Aggregation.UNIQUE_COUNT: lambda measures: Decimal(measures.different),
    Aggregation.LAST: lambda measures: measures.last,
}
_NO_EVENTS = Measures(events=0, total=Decimal(0), minimum=None, maximum=None, last=None, different=0)


@dataclass(frozen=True, slots=True)
class UsageOfDay:
    """The metric's number of one day of the billing zone, or of that part of it which lies in the window."""

    day: date
    value: Decimal | None
    events: int


@dataclass(frozen=True, slots=True)
class UsageByDay:
    """The metric's number of a window, and of each of its days, also of those without events."""

    total: Decimal | None
    days: list[UsageOfDay]


@dataclass(frozen=True, slots=True)
class UsageOfGroup:
    """The metric's number of the events that have one text (or none) in a property, or of `groups` such groups."""

    text: str | None
    groups: int
    value: Decimal | None
    events: int


@dataclass(frozen=True, slots=True)
class UsageByProperty:
    """The metric's number of a window, and of each group of its events: the 1,000 with most events, and `other`, all
    further ones as if they were one group, or None where there are none."""

    total: Decimal | None
    groups: list[UsageOfGroup]
    other: UsageOfGroup | None


def read_usage_by_day(*, customer: Customer, metric: Metric, window: Window) -> UsageByDay:
    """Read a customer's usage of a metric in a window, which is exact to the instant, and of each local day of it.

    The number of the window is that of all its events: the greatest of them, or how many different ones, and not a sum
    of its days. A customer's usage is what counts for it, with what members of its organization do; that of a member
    is what the member did itself. Voided events never count. While the metric is being built, sums are incomplete.
    """
    read = _measures_of_member if _is_member(customer) else _counted_measures
    return _by_day(metric.aggregation_type, window, read(customer, _current(metric), window))


def read_counted_by_day(*, customer: Customer, version: MetricVersion, window: Window) -> UsageByDay:
    """Read what counts for a customer in a window by a version of a metric, as its periods are settled by, and of each
    local day of it; also of a member, whose events in an organization count there."""
    return _by_day(version.metric.aggregation_type, window, _counted_measures(customer, version, window))


def _by_day(aggregation: str, window: Window, rows: dict[date | None, Measures]) -> UsageByDay:
    zone = billing_zone()
    # Where clocks are set back over midnight, a day can come back that the window's first instant is past.
    days = sorted({*window.days(zone), *(day for day in rows if day is not None)})
    return UsageByDay(
        total=rows[None].value(aggregation),
        days=[
            UsageOfDay(day, measures.value(aggregation), measures.events)
            for day, measures in ((day, rows.get(day, _NO_EVENTS)) for day in days)
        ],
    )


def read_usage(*, customer: Customer, metric: Metric, window: Window) -> Decimal | None:
    """Read a customer's usage of a metric in a window as one number, as `read_usage_by_day` does."""
    read = _measures_of_member if _is_member(customer) else _counted_measures
    return read(customer, _current(metric), window)[None].value(metric.aggregation_type)


def read_usage_by_property(
    *, customer: Customer, metric: Metric, window: Window, property_name: str, most: int = MOST_GROUPS
) -> UsageByProperty:
    """Read a customer's usage of a metric in a window by the values of a property, from the events themselves.

    Values are told apart as texts: 1 and "1" are one group, and events without the property (or with null) another.
    """
    statement = window_by_property(OF_MEMBER if _is_member(customer) else OF_CUSTOMER)
    parameters = _parameters(customer, _current(metric), [window]) | {"property": property_name, "most": most}
    groups: list[UsageOfGroup] = []
    other, total = None, None
    for is_whole, key, count, *measures in _rows(statement, parameters):
        value = Measures(*measures).value(metric.aggregation_type)
        if is_whole:
            total = value
        elif key is None:
            other = UsageOfGroup(None, count, value, measures[0])
        else:
            groups.append(UsageOfGroup(key[1:] if key else None, 1, value, measures[0]))
    return UsageByProperty(total, groups, other)


def usual_window(*, customer: Customer, metric: Metric, at: datetime) -> Window:
    """The window that is meant where none is said: the customer's current period for the metric, else the last 30
    local days up to now. Of a period that is longer than 400 days it is what has passed of it, 400 days at most."""
    period = (
        SubscriptionPeriod.objects.filter(customer=customer, metric=metric, start_at__lte=at, end_at__gt=at)
        .order_by("-start_at")
        .first()
    )
    if period is None:
        zone = billing_zone()
        return Window(local_midnight(local_day(at, zone) - timedelta(days=USUAL_DAYS - 1), zone), at)
    longest = timedelta(days=MOST_DAYS - 1)
    if period.end_at - period.start_at > longest:
        return Window(max(period.start_at, at - longest), at)
    return Window(period.start_at, period.end_at)


def _counted_measures(customer: Customer, version: MetricVersion, window: Window) -> dict[date | None, Measures]:
    """Read the measures of each day with events, and of the window at the key None."""
    return _measures(OF_CUSTOMER, customer, version, cut_at_midnights(window, billing_zone()))


def _measures_of_member(customer: Customer, version: MetricVersion, window: Window) -> dict[date | None, Measures]:
    """Read the same of what a member did itself."""
    return _measures(OF_MEMBER, customer, version, Cut(date.min, date.min, [window]))


def _measures(whose: str, customer: Customer, version: MetricVersion, cut: Cut) -> dict[date | None, Measures]:
    parameters = _parameters(customer, version, cut.pieces)
    parameters |= {"first_day": cut.first_day, "end_day": cut.end_day}
    return {day: Measures(*measures) for day, *measures in _rows(window_by_day(whose), parameters)}


def _is_member(customer: Customer) -> bool:
    return customer.org_role == OrgRole.MEMBER


def _current(metric: Metric) -> MetricVersion:
    assert isinstance(metric.current, MetricVersion)
    return metric.current


def _parameters(customer: Customer, version: MetricVersion, pieces: list[Window]) -> dict[str, Any]:
    return {
        "customer": customer.pk,
        "version": version.pk,
        "zone": billing_zone().key,
        "starts": [piece.start_at for piece in pieces],
        "ends": [piece.end_at for piece in pieces],
    }


def _rows(statement: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    # Planned anew for each window: one plan for all of them reads every event of a customer with many.
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()
