import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection, transaction

from metering.models import UsageEvent
from metering.services.build_metrics import build_at_once
from plans.json_values import NumberKeepingEncoder
from plans.models import Metric, MetricVersion, PlanFeature, PriceComponent, SubscriptionItem, SubscriptionPeriod
from plans.models.metrics import COUNTING, Aggregation, ValueType
from plans.refusals import InvalidInput, NotFound, Refusal
from plans.services.metric_versions import lock_for_switch

LONGEST_PROPERTY = 255
LONGEST_WANTED_TEXT = 1000
MOST_PROPERTIES = 20
MOST_WANTED = 100
MOST_DIGITS = 15
# Counted at once, while recording waits; more is left to the job.
EVENTS_COUNTED_AT_ONCE = 2_000


class MetricNotFound(NotFound):
    code = "metric_not_found"


class MetricIsBeingBuilt(Refusal):
    """What a metric counts cannot be changed while its last change is being counted."""

    code = "metric_is_being_built"
    status = 409


class MetricInUse(Refusal):
    """A metric that somebody is billed or limited by cannot be deleted."""

    code = "metric_in_use"
    status = 409


def find_metric(identifier: str) -> Metric:
    """Return the live metric with this id. Raises MetricNotFound."""
    metric = Metric.objects.live().filter(public_id=identifier).first()
    if metric is None:
        raise MetricNotFound("Metric not found")
    return metric


@transaction.atomic
def create_metric(
    *,
    at: datetime,
    name: str,
    event_name: str,
    aggregation_type: str,
    value_type: str = ValueType.NUMERIC,
    description: str = "",
    property_filter: Mapping[str, Any] | None = None,
    value_property: str = "",
) -> Metric:
    """Create a metric and count the events of its name that are there already: a few at once, many by a job.

    `property_filter` maps properties to the value, or the list of values, that an event must have; `value_property`
    names the property that is aggregated instead of the event's value. Raises InvalidInput.
    """
    _check_aggregation(aggregation_type, value_type, value_property)
    metric = Metric(
        name=name,
        aggregation_type=aggregation_type,
        value_type=value_type,
        description=description,
        created_at=at,
    )
    wanted = check_filter(property_filter or {})
    _keep_events_from_being_recorded()
    metric.save()
    metric.current = MetricVersion.objects.create(
        metric=metric,
        event_name=event_name,
        property_filter=wanted,
        value_property=value_property,
        created_at=at,
        effective_at=at,
    )
    metric.save(update_fields=["current"])
    build_at_once(version=metric.current, at=at, most=EVENTS_COUNTED_AT_ONCE)
    return metric


@transaction.atomic
def update_metric(
    *,
    metric: Metric,
    at: datetime,
    name: str | None = None,
    description: str | None = None,
    event_name: str | None = None,
    property_filter: Mapping[str, Any] | None = None,
    value_property: str | None = None,
) -> Metric:
    """Change a metric; what is None stays. Another event name, filter or property makes a new version, which becomes
    the current one when the events that are there are counted, and then counts for periods that are not over.

    Raises InvalidInput, or MetricIsBeingBuilt while the last change is being counted.
    """
    metric = Metric.objects.live().select_for_update(no_key=True, of=("self",)).get(pk=metric.pk)
    assert metric.current is not None
    metric.name = metric.name if name is None else name
    metric.description = metric.description if description is None else description
    metric.save(update_fields=["name", "description", "updated_at"])
    now = metric.current
    terms: dict[str, Any] = {
        "event_name": now.event_name if event_name is None else event_name,
        "property_filter": now.property_filter if property_filter is None else check_filter(property_filter),
        "value_property": now.value_property if value_property is None else value_property,
    }
    _check_aggregation(metric.aggregation_type, metric.value_type, terms["value_property"])
    if any(_as_text(getattr(now, field)) != _as_text(wanted) for field, wanted in terms.items()):
        _add_version(metric, at, terms)
        metric.refresh_from_db()
    return metric


def _as_text(term: Any) -> str:
    """A term as it is stored: Python takes 1 and true for equal, and 0.1 for another number than its Decimal."""
    return json.dumps(term, sort_keys=True, cls=NumberKeepingEncoder)


def _add_version(metric: Metric, at: datetime, terms: dict[str, Any]) -> None:
    latest = metric.versions.order_by("-number").first()
    assert latest is not None
    if latest.effective_at is None or latest.built_at is None:
        raise MetricIsBeingBuilt(
            f"What this metric counts was changed a moment ago, and its events are still being counted "
            f"({latest.percent_built} %). Try again when that is done."
        )
    # First this lock: those who settle hold it, and wait for others who record.
    lock_for_switch()
    _keep_events_from_being_recorded()
    version = MetricVersion.objects.create(metric=metric, number=latest.number + 1, created_at=at, **terms)
    build_at_once(version=version, at=at, most=EVENTS_COUNTED_AT_ONCE)


@transaction.atomic
def delete_metric(*, metric: Metric, at: datetime) -> None:
    """Delete a metric that nobody needs: it counts no longer, and features no longer join it. Raises MetricInUse."""
    metric = Metric.objects.select_for_update(of=("self",)).get(pk=metric.pk)
    uses = [
        word
        for word, is_used in (
            ("a price", PriceComponent.objects.filter(metric=metric, price__deleted_at=None).exists()),
            ("a subscription", SubscriptionItem.objects.filter(metric=metric, ended_at=None).exists()),
            ("a period to settle", SubscriptionPeriod.objects.filter(metric=metric, settled_at=None).exists()),
            ("a plan's feature", PlanFeature.objects.filter(feature__metrics=metric, plan__deleted_at=None).exists()),
        )
        if is_used
    ]
    if uses:
        raise MetricInUse(f"This metric is used by {' and '.join(uses)}. Take it out there first.")
    metric.features.clear()
    metric.deleted_at = at
    metric.save(update_fields=["deleted_at", "updated_at"])


def check_filter(property_filter: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return a filter with a list of values for each property. Raises InvalidInput at the property that is wrong."""
    if len(property_filter) > MOST_PROPERTIES:
        raise InvalidInput.at("filter", f"must name at most {MOST_PROPERTIES} properties.")
    return {name: _wanted_values(name, values) for name, values in property_filter.items()}


def _wanted_values(name: str, values: Any) -> list[Any]:
    path = f"filter.{name[:50]}"
    if not 1 <= len(name) <= LONGEST_PROPERTY:
        raise InvalidInput.at(path, f"must be the name of a property, of 1 to {LONGEST_PROPERTY} characters.")
    listed = list(values) if isinstance(values, list) else [values]
    if not 1 <= len(listed) <= MOST_WANTED:
        raise InvalidInput.at(path, f"must be a value or a list of 1 to {MOST_WANTED} values.")
    for value in listed:
        if not isinstance(value, str | bool | int | Decimal):
            raise InvalidInput.at(path, "must hold texts, numbers or true and false.")
        if isinstance(value, str) and len(value) > LONGEST_WANTED_TEXT:
            raise InvalidInput.at(path, f"must hold texts of at most {LONGEST_WANTED_TEXT} characters.")
        if not isinstance(value, str) and len(f"{abs(Decimal(value)):f}".replace(".", "")) > MOST_DIGITS:
            raise InvalidInput.at(path, f"must hold numbers of at most {MOST_DIGITS} digits.")
    return listed


def _check_aggregation(aggregation_type: str, value_type: str, value_property: str) -> None:
    if value_type != ValueType.NUMERIC and aggregation_type not in COUNTING:
        raise InvalidInput.at("valueType", f"must be NUMERIC with aggregationType {aggregation_type}.")
    if value_property and aggregation_type == Aggregation.COUNT:
        raise InvalidInput.at(
            "valueProperty", "must be left out with aggregationType COUNT, which counts events and not their values."
        )
    if len(value_property) > LONGEST_PROPERTY:
        raise InvalidInput.at("valueProperty", f"must have at most {LONGEST_PROPERTY} characters.")


def _keep_events_from_being_recorded() -> None:
    """Wait for statements that record events, and keep new ones waiting until the transaction ends.

    A statement that began before a version was visible does not count for it, and would be missed by whoever counts
    what is there.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {UsageEvent._meta.db_table} IN SHARE MODE")
