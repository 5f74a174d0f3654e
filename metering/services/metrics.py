from datetime import datetime

from django.db import connection, transaction

from metering.models import UsageEvent
from metering.usage_sql import COUNT_EXISTING_EVENTS
from plans.models import Metric
from plans.refusals import NotFound
from plans.services.time_zone import billing_zone


class MetricNotFound(NotFound):
    code = "metric_not_found"


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
    value_type: str,
    description: str = "",
) -> Metric:
    """Create a metric and count the events of its name that are there already.

    Events cannot be recorded while they are counted: a statement that began before the metric was visible would
    otherwise add events that neither of the two counts.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {UsageEvent._meta.db_table} IN SHARE MODE")
        metric = Metric.objects.create(
            name=name,
            event_name=event_name,
            aggregation_type=aggregation_type,
            value_type=value_type,
            description=description,
            created_at=at,
        )
        cursor.execute(
            COUNT_EXISTING_EVENTS,
            {"metric": metric.pk, "event_name": event_name, "zone": billing_zone().key},
        )
    return metric
