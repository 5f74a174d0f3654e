from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import F, TextField
from django.db.models.functions import Cast

from metering.measure_sql import IS_COUNTED, IS_NOT_VOIDED
from metering.models import UsageEvent
from plans.models import Customer, MetricVersion, Seat

MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class EventFilters:
    """Which events are asked for; None leaves a filter out. `start_at` and `end_at` bound when they happened.

    A customer's events are those that count for it (with those of members of its organization) and those that were
    addressed to it (a member's own). `external_customer_id` also finds events that wait for a customer with that id.
    With `metric_id` they are the events that are in a metric's sums: those that its version (the current one, or number
    `metric_version`) counts and nobody voided, and a customer's are those that count for it.
    """

    event_name: str | None = None
    customer_id: str | None = None
    external_customer_id: str | None = None
    idempotency_key: str | None = None
    metric_id: str | None = None
    metric_version: int | None = None
    start_at: datetime | None = None
    end_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of events, newest received first. `total` is how many there are on all pages: exact up to 10,000, and
    10,000 where there are more (`total_is_exact` is then false)."""

    events: list[UsageEvent]
    total: int
    total_is_exact: bool
    has_more: bool


def list_events(*, filters: EventFilters, limit: int, offset: int = 0, before: int | None = None) -> EventPage:
    """Read a page of events, newest received first, after skipping `offset`, or from those with keys below `before`.

    What it costs hardly depends on how many events there are, since no more than 10,000 matching ones are counted and a
    name, a customer and a key each have an index. A window of time alone has none: the events are looked through.
    """
    matching, parameters = _matching(filters)
    parameters |= {"limit": limit + 1, "offset": offset, "before": before, "most": MOST_COUNTED}
    with connection.cursor() as cursor:
        cursor.execute(_FEW.format(matching=matching), parameters)
        total, keys = cursor.fetchone()
        if total > MOST_COUNTED:
            # So many match that the newest of them are soon found among the newest of all.
            cursor.execute(_MANY.format(matching=matching), parameters)
            keys = [key for (key,) in cursor.fetchall()]
    return EventPage(
        events=find_events(keys[:limit]),
        total=min(total, MOST_COUNTED),
        total_is_exact=total <= MOST_COUNTED,
        has_more=len(keys) > limit,
    )


def count_events(*, filters: EventFilters) -> int:
    """Count events, all of them: what it costs grows with their number."""
    matching, parameters = _matching(filters)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM metering_usageevent event WHERE {matching}", parameters)
        (count,) = cursor.fetchone()
    return count


def find_events(keys: list[int]) -> list[UsageEvent]:
    """Read events with their customers, members and voids, newest received first; `properties_text` holds their
    properties as JSON, with every number as it was sent."""
    return list(
        UsageEvent.objects.filter(pk__in=keys)
        .select_related("customer", "member", "void")
        .defer("properties")
        .annotate(properties_text=Cast("properties", TextField()))
        .order_by("-pk")
    )


# Up to one more than are counted; while that is enough, the page is among them.
_FEW = """
WITH found AS MATERIALIZED (
    SELECT event.id FROM metering_usageevent event WHERE {matching} LIMIT %(most)s + 1
)
SELECT (SELECT count(*) FROM found), ARRAY(
    SELECT id FROM found WHERE %(before)s::bigint IS NULL OR id < %(before)s
    ORDER BY id DESC OFFSET %(offset)s LIMIT %(limit)s
)
"""
_MANY = """
SELECT event.id FROM metering_usageevent event
WHERE {matching} AND (%(before)s::bigint IS NULL OR event.id < %(before)s)
ORDER BY event.id DESC OFFSET %(offset)s LIMIT %(limit)s
"""

# By all event names there are, each found by one step in the index: it begins with the name.
_COUNTS_FOR = """event.customer_id = %(customer)s AND event.event_name = ANY(ARRAY(
    WITH RECURSIVE name AS (
        (SELECT min(event_name) AS event_name FROM metering_usageevent)
        UNION ALL
        SELECT (SELECT min(event_name) FROM metering_usageevent WHERE event_name > name.event_name)
        FROM name WHERE name.event_name IS NOT NULL
    )
    SELECT event_name FROM name WHERE event_name IS NOT NULL
))"""
_COUNTS_FOR_BY_NAME = "event.customer_id = %(customer)s AND event.event_name = %(event_name)s"
_IS_ADDRESSED_TO = "COALESCE(event.member_id, event.customer_id) = %(customer)s"
_IS_IN_METRIC = f"""event.event_name = %(metric_event_name)s AND event.customer_id IS NOT NULL
AND {IS_NOT_VOIDED} AND EXISTS (
    SELECT FROM plans_metricversion version JOIN plans_metric metric ON metric.id = version.metric_id
    WHERE version.id = %(version)s AND {IS_COUNTED}
)"""
_IS_WAITING_FOR = "event.customer_id IS NULL AND event.external_customer_id = %(external_customer_id)s"
# Key by key of all customers, as the index has them; much less than to look at all events.
_HAS_KEY = """event.id IN (
    SELECT addressed.id FROM plans_customer addressee
    JOIN metering_usageevent addressed ON COALESCE(addressed.member_id, addressed.customer_id) = addressee.id
    WHERE addressed.idempotency_key = %(idempotency_key)s
    UNION ALL
    SELECT id FROM metering_usageevent WHERE customer_id IS NULL AND idempotency_key = %(idempotency_key)s
)"""


def _matching(filters: EventFilters) -> tuple[str, dict[str, Any]]:
    """Write the condition of `filters` on an `event`, and its parameters."""
    customer = _find_customer(filters)
    version = _find_version(filters)
    parameters: dict[str, Any] = {
        "event_name": filters.event_name,
        "external_customer_id": filters.external_customer_id,
        "idempotency_key": filters.idempotency_key,
        "start_at": filters.start_at,
        "end_at": filters.end_at,
        "customer": customer and customer.pk,
        "version": version and version.pk,
        "metric_event_name": version and version.event_name,
    }
    conditions = [
        condition
        for parameter, condition in (
            ("event_name", "event.event_name = %(event_name)s"),
            ("idempotency_key", _HAS_KEY),
            ("start_at", "event.occurred_at >= %(start_at)s"),
            ("end_at", "event.occurred_at < %(end_at)s"),
        )
        if parameters[parameter] is not None
    ]
    if filters.metric_id is not None:
        conditions.append(_IS_IN_METRIC if version is not None else "false")
    if filters.customer_id is not None or filters.external_customer_id is not None:
        conditions.append(_of_customer(filters, customer))
    return " AND ".join(conditions) or "true", parameters


def _find_customer(filters: EventFilters) -> Customer | None:
    """The customer that is meant, also a deleted one by its own id; None where there is none."""
    wanted: dict[str, Any] = {}
    if filters.customer_id is not None:
        wanted["public_id"] = filters.customer_id
    if filters.external_customer_id is not None:
        wanted |= {"external_customer_id": filters.external_customer_id, "deleted_at": None}
    return Customer.objects.filter(**wanted).first() if wanted else None


def _find_version(filters: EventFilters) -> MetricVersion | None:
    """The version of the metric that is meant, also of a deleted one; None where there is none."""
    if filters.metric_id is None:
        return None
    versions = MetricVersion.objects.filter(metric__public_id=filters.metric_id)
    if filters.metric_version is None:
        return versions.filter(metric__current=F("pk")).first()
    return versions.filter(number=filters.metric_version).first()


def _of_customer(filters: EventFilters, customer: Customer | None) -> str:
    if filters.metric_id is not None:
        return "event.customer_id = %(customer)s" if customer is not None else "false"
    ways = []
    if customer is not None:
        ways.append(_COUNTS_FOR if filters.event_name is None else _COUNTS_FOR_BY_NAME)
        # All others' events count for themselves; to look for more would cost the index on time its use.
        if Seat.objects.filter(member=customer).exists():
            ways.append(_IS_ADDRESSED_TO)
    if filters.customer_id is None:
        ways.append(_IS_WAITING_FOR)
    return f"({' OR '.join(f'({way})' for way in ways)})" if ways else "false"
