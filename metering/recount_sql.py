"""The statements that count days of usage anew from their events: for a metric that is built, and for a void.

They run one after the other in one transaction. First the days get their rows and these are locked, only then the
events are read: whoever records an event of such a day either has committed before, and is seen, or waits for the lock
and adds itself afterwards.
"""

from metering.measure_sql import COUNTING_COLUMNS, DAY_COLUMNS, DAY_MEASURES, IS_COUNTED, IS_NOT_VOIDED

_DAYS = "unnest(%(customers)s::bigint[], %(days)s::date[]) AS wanted(customer_id, day)"
_OF_VERSION = (
    """usage.version_id = %(version)s AND (usage.customer_id, usage.day) IN (
    SELECT customer_id, day FROM """
    + _DAYS
    + ")"
)

# Makes the row of a day that has none, and locks it in either case: a row that was only looked for could be dropped by
# another recount in between.
LOCK_DAYS = f"""
INSERT INTO metering_usageday AS usage (customer_id, version_id, day, events, total)
SELECT DISTINCT customer_id, %(version)s, day, 0, 0 FROM {_DAYS} ORDER BY 1, 3
ON CONFLICT (customer_id, version_id, day) DO UPDATE SET events = usage.events
"""

_COUNTING = f"""
WITH counting AS MATERIALIZED (
    SELECT {COUNTING_COLUMNS}
    FROM (SELECT DISTINCT * FROM {_DAYS}) AS wanted
    JOIN plans_metricversion version ON version.id = %(version)s
    JOIN plans_metric metric ON metric.id = version.metric_id
    JOIN metering_usageevent event ON event.customer_id = wanted.customer_id
        AND event.event_name = version.event_name
        -- A little wider than the day, for the index; the day itself is exact.
        AND event.occurred_at >= wanted.day::timestamp AT TIME ZONE %(zone)s - interval '3 hours'
        AND event.occurred_at < (wanted.day + 1)::timestamp AT TIME ZONE %(zone)s + interval '3 hours'
        AND (event.occurred_at AT TIME ZONE %(zone)s)::date = wanted.day
    WHERE {IS_NOT_VOIDED} AND {IS_COUNTED}
)
"""

RECOUNT_DAYS = f"""
{_COUNTING}
UPDATE metering_usageday usage SET ({DAY_COLUMNS}) = (
    summed.events, summed.total, summed.minimum, summed.maximum, summed.last_value, summed.last_at,
    summed.last_event_id
)
FROM (
    SELECT wanted.customer_id, wanted.day, {DAY_MEASURES}
    FROM (SELECT DISTINCT * FROM {_DAYS}) AS wanted LEFT JOIN counting USING (customer_id, day)
    GROUP BY 1, 2
) AS summed
WHERE usage.version_id = %(version)s AND usage.customer_id = summed.customer_id AND usage.day = summed.day
"""

FORGET_VALUES = f"DELETE FROM metering_usagedayvalue usage WHERE {_OF_VERSION}"

TELL_VALUES_APART = f"""
{_COUNTING}
INSERT INTO metering_usagedayvalue (customer_id, version_id, day, value_hash)
SELECT DISTINCT customer_id, version_id, day, value_hash FROM counting WHERE value_hash IS NOT NULL ORDER BY 1, 3, 4
"""

# A day whose events all went has no row, like one that never had any.
DROP_EMPTY_DAYS = f"DELETE FROM metering_usageday usage WHERE {_OF_VERSION} AND usage.events = 0"

# The next events of a version that are to be counted, in the order of the index, as days with their number of events.
NEXT_DAYS = """
SELECT customer_id, day, count(*) FROM (
    SELECT customer_id, (occurred_at AT TIME ZONE %(zone)s)::date AS day
    FROM metering_usageevent
    WHERE event_name = %(event_name)s AND (customer_id, occurred_at) >= (%(customer)s, %(from)s::timestamptz)
    ORDER BY customer_id, occurred_at
    LIMIT %(limit)s
) AS next
GROUP BY 1, 2
ORDER BY 1, 2
"""
