"""The statements that read a customer's usage of a metric in a window of time, exact to the instant.

Whole days come from the sums that are kept per day, pieces of days from the events themselves, both in one statement,
so that no event is counted twice or not at all while others are recorded. What a member of an organization used is not
summed up per day, so it always comes from events.
"""

from metering.measure_sql import COUNTING_COLUMNS, DAY_MEASURES, IS_COUNTED, IS_NOT_VOIDED

# Whose events they are: those that count for a customer, or those that were addressed to a member.
OF_CUSTOMER = "event.customer_id = %(customer)s::bigint"
OF_MEMBER = "COALESCE(event.member_id, event.customer_id) = %(customer)s::bigint"

# The text of a property tells groups apart; the sign before it keeps an empty text apart from none.
_GROUP_KEY = "COALESCE('=' || (event.properties ->> %(property)s::text), '') AS group_key"


def _counting(whose: str, further_column: str = "") -> str:
    """The events of the pieces, each as what the metric makes of it."""
    return f"""
WITH counting AS MATERIALIZED (
    SELECT {COUNTING_COLUMNS}{", " if further_column else ""}{further_column}
    FROM unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS piece(start_at, end_at)
    CROSS JOIN plans_metricversion version
    JOIN plans_metric metric ON metric.id = version.metric_id
    JOIN metering_usageevent event ON event.event_name = version.event_name AND {whose}
        AND event.occurred_at >= piece.start_at AND event.occurred_at < piece.end_at
    WHERE version.id = %(version)s::bigint AND {IS_NOT_VOIDED} AND {IS_COUNTED}
)"""


def window_by_day(whose: str) -> str:
    """Measures of each local day that has events, and of the whole window (day NULL)."""
    return f"""{_counting(whose)}, piece AS (
    SELECT day, events, total, minimum, maximum, last_value, last_at, last_event_id
    FROM metering_usageday
    WHERE customer_id = %(customer)s AND version_id = %(version)s AND day >= %(first_day)s AND day < %(end_day)s
    UNION ALL
    SELECT day, {DAY_MEASURES} FROM counting GROUP BY day
), measured AS (
    SELECT day, COALESCE(sum(events), 0)::bigint AS events, COALESCE(sum(total), 0) AS total, min(minimum) AS minimum,
        max(maximum) AS maximum,
        (max(ARRAY[extract(epoch FROM last_at), last_event_id, last_value]) FILTER (WHERE last_at IS NOT NULL))[3]
            AS last_value
    FROM piece GROUP BY GROUPING SETS ((day), ())
), seen AS (
    SELECT day, value_hash FROM metering_usagedayvalue
    WHERE customer_id = %(customer)s AND version_id = %(version)s AND day >= %(first_day)s AND day < %(end_day)s
    UNION ALL
    SELECT day, value_hash FROM counting WHERE value_hash IS NOT NULL
), told_apart AS (
    SELECT day, count(DISTINCT value_hash) AS different FROM seen GROUP BY GROUPING SETS ((day), ())
)
SELECT measured.day, events, total, minimum, maximum, last_value, COALESCE(different, 0)
FROM measured LEFT JOIN told_apart ON told_apart.day IS NOT DISTINCT FROM measured.day
ORDER BY measured.day NULLS LAST
"""


def window_by_property(whose: str) -> str:
    """Measures of each group of events with one value of a property, those with most events first; then of all the
    others together, where there are more groups than `most`, and at last of the whole window."""
    return f"""{_counting(whose, _GROUP_KEY)}, listed AS (
    SELECT group_key FROM counting GROUP BY 1 ORDER BY count(*) DESC, group_key LIMIT %(most)s::bigint
), measured AS (
    SELECT GROUPING(listed.group_key) AS is_whole, listed.group_key, count(DISTINCT counting.group_key) AS groups,
        count(DISTINCT value_hash) AS different, {DAY_MEASURES}
    FROM counting LEFT JOIN listed USING (group_key)
    GROUP BY GROUPING SETS ((listed.group_key), ())
)
SELECT is_whole = 1, group_key, groups, events, total, minimum, maximum, last_value, different
FROM measured
ORDER BY is_whole, group_key IS NULL, events DESC, group_key
"""
