from collections.abc import Collection

from django.db import connection

from metering.measure_sql import IS_COUNTED, IS_NOT_VOIDED, NUMBER
from plans.models import SubscriptionPeriod

# A period goes by one version of its metric: the latest that became the current one before the period's end.
_COUNT = f"""
SELECT period.id, count(*)
FROM plans_subscriptionperiod period
JOIN plans_metric metric ON metric.id = period.metric_id
CROSS JOIN LATERAL (
    SELECT * FROM plans_metricversion
    WHERE metric_id = period.metric_id AND effective_at IS NOT NULL AND (number = 1 OR effective_at < period.end_at)
    ORDER BY number DESC LIMIT 1
) AS version
JOIN metering_usageevent event ON event.customer_id = period.customer_id AND event.event_name = version.event_name
    AND event.occurred_at >= period.start_at AND event.occurred_at < period.end_at
WHERE period.id = ANY(%s) AND {IS_NOT_VOIDED} AND {IS_COUNTED} AND {NUMBER} > 0
GROUP BY 1
"""


def count_positive_events(periods: Collection[SubscriptionPeriod]) -> dict[int, int]:
    """Return how many events of positive value count for the metric of each period in `[start, end)`, by the period's
    key; voided ones do not count. It takes one statement, and none for no period."""
    if not periods:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, [[period.pk for period in periods]])
        return {period.pk: 0 for period in periods} | dict(cursor.fetchall())
