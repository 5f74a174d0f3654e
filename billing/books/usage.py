"""What was used: days of usage and the events that they sum up."""

from datetime import datetime

from billing.books.statements import Outcome, compare
from metering.measure_sql import COUNTING_COLUMNS, DAY_MEASURES, IS_COUNTED, IS_NOT_VOIDED


def usage_days_equal_their_events(at: datetime) -> Outcome:
    """Compare each day of usage of a live metric, in each version that is built, with its events, both ways."""
    return compare(
        f"""
        WITH counting AS (
            SELECT {COUNTING_COLUMNS}
            FROM metering_usageevent event
            JOIN plans_metricversion version ON version.event_name = event.event_name AND version.built_at IS NOT NULL
            JOIN plans_metric metric ON metric.id = version.metric_id AND metric.deleted_at IS NULL
            WHERE event.customer_id IS NOT NULL AND {IS_NOT_VOIDED} AND {IS_COUNTED}
        ), summed AS (
            SELECT customer_id, version_id, day, count(DISTINCT value_hash) AS different, {DAY_MEASURES}
            FROM counting GROUP BY 1, 2, 3
        ), told_apart AS (
            SELECT customer_id, version_id, day, count(*) AS different FROM metering_usagedayvalue GROUP BY 1, 2, 3
        ), kept AS (
            SELECT usage.*, COALESCE(told_apart.different, 0) AS different
            FROM metering_usageday usage
            JOIN plans_metricversion version ON version.id = usage.version_id AND version.built_at IS NOT NULL
            JOIN plans_metric metric ON metric.id = version.metric_id AND metric.deleted_at IS NULL
            LEFT JOIN told_apart USING (customer_id, version_id, day)
        )
        SELECT format('customer %%s, version %%s, %%s: the events make (%%s), but the day holds (%%s)',
                customer_id, version_id, day,
                concat_ws(', ', summed.events, summed.total, summed.minimum, summed.maximum, summed.last_value,
                    summed.different),
                concat_ws(', ', kept.events, kept.total, kept.minimum, kept.maximum, kept.last_value, kept.different)),
            (summed.events, summed.total, summed.minimum, summed.maximum, summed.last_value, summed.last_at,
                summed.last_event_id, summed.different)
            IS DISTINCT FROM (kept.events, kept.total, kept.minimum, kept.maximum, kept.last_value, kept.last_at,
                kept.last_event_id, kept.different)
        FROM summed FULL JOIN kept USING (customer_id, version_id, day)
        ORDER BY customer_id, version_id, day
        """,
        at,
    )
