"""The statement that reads everything a balance follows from: grants, periods with their settled mark, and usage.

One statement, since two would let a settlement commit between them and count its units twice or not at all. It is asked
for pairs of customer and metric, and looks back to the earliest instant that still matters to a pair: the start of its
first unsettled period or of its first grant with something left. A grant that began within settled periods matters from
the end of those on, since periods of an item leave no gaps. Where there is no stored period it matters from the start
of that gap on (see `credits.months`), but not before the end of what is settled of gaps. With `since` it looks back to
that instant at least.

Usage is counted by the version of the metric that its period goes by: a version counts from the start of the period in
which it became the current one. It comes from whole days of the roll-up. A day in which a period or a grant starts or
ends otherwise than at its first instant is cut there, and its pieces are summed from the events themselves. A piece
without a start begins with its day; which instant that is, is left to `plans.periods`, since PostgreSQL takes the
second of two midnights where clocks are set back to it. Different values cannot be added up over days: they are told
apart per period.
"""

from metering.measure_sql import DAY_MEASURES, IS_COUNTED, IS_NOT_VOIDED, NUMBER, VALUE_HASH

# What LAST carries into the first period that matters.
_CARRIED = f"""    UNION ALL
    SELECT version.customer_id, version.metric_id, NULL, latest.occurred_at, 1, 0, NULL, NULL, latest.number
    FROM version
    JOIN horizon USING (customer_id, metric_id)
    CROSS JOIN LATERAL (
        SELECT event.occurred_at, {NUMBER} AS number
        FROM metering_usageevent event JOIN plans_metric metric ON metric.id = version.metric_id
        WHERE event.customer_id = version.customer_id AND event.event_name = version.event_name
            AND event.occurred_at < horizon.from_at AND {IS_NOT_VOIDED} AND {IS_COUNTED}
        ORDER BY event.occurred_at DESC, event.id DESC LIMIT 1
    ) AS latest
    WHERE version.aggregation_type = 'LAST'
        AND version.from_at <= horizon.from_at AND version.to_at > horizon.from_at
"""

# The different values of each period, for UNIQUE_COUNT.
_DIFFERENT = """, seen AS (
    SELECT version.customer_id, version.metric_id, value.day, NULL::timestamptz AS occurred_at, value.value_hash
    FROM version
    JOIN horizon USING (customer_id, metric_id)
    JOIN metering_usagedayvalue value ON value.customer_id = version.customer_id AND value.version_id = version.id
        AND value.day >= (GREATEST(horizon.from_at, version.from_at) AT TIME ZONE %(zone)s::text)::date
        AND value.day < (version.to_at AT TIME ZONE %(zone)s::text)::date
    LEFT JOIN cut ON cut.customer_id = version.customer_id AND cut.metric_id = version.metric_id AND cut.day = value.day
    WHERE cut.day IS NULL AND version.aggregation_type = 'UNIQUE_COUNT'
    UNION ALL
    SELECT customer_id, metric_id, day, occurred_at, value_hash FROM cut_event WHERE value_hash IS NOT NULL
), different AS (
    SELECT seen.customer_id, seen.metric_id, period.id AS period_id, min(seen.day) AS day,
        min(seen.occurred_at) AS occurred_at, count(DISTINCT value_hash) AS number
    FROM seen
    -- The bounds of a period that fall on days which are not cut are their first instants.
    LEFT JOIN period ON period.customer_id = seen.customer_id AND period.metric_id = seen.metric_id
        AND CASE WHEN seen.occurred_at IS NULL
            THEN seen.day >= (period.start_at AT TIME ZONE %(zone)s::text)::date
                AND seen.day < (period.end_at AT TIME ZONE %(zone)s::text)::date
            ELSE seen.occurred_at >= period.start_at AND seen.occurred_at < period.end_at END
    -- Without a period, those of one gap: of a month, up to the period that comes next.
    LEFT JOIN LATERAL (
        SELECT min(start_at) AS at FROM period later
        WHERE later.customer_id = seen.customer_id AND later.metric_id = seen.metric_id
            AND CASE WHEN seen.occurred_at IS NULL
                THEN (later.start_at AT TIME ZONE %(zone)s::text)::date > seen.day
                ELSE later.start_at > seen.occurred_at END
    ) AS next ON period.id IS NULL
    GROUP BY 1, 2, 3, CASE WHEN period.id IS NULL THEN date_trunc('month', seen.day) END, next.at)"""


# The first instant of a local month. Of two midnights PostgreSQL has taken the second.
_MONTH_START = """midnight.at - CASE
            WHEN date_trunc('day', (midnight.at - interval '1 hour') AT TIME ZONE %(zone)s::text)
                = date_trunc('day', midnight.at AT TIME ZONE %(zone)s::text)
            THEN interval '1 hour' ELSE interval '0' END"""


def _statement(*, carried: str, different: str, listed_different: str) -> str:
    return f"""
WITH pair AS (
    SELECT DISTINCT * FROM unnest(%(customers)s::bigint[], %(metrics)s::bigint[], %(since)s::timestamptz[])
        AS pair(customer_id, metric_id, since)
), candidate AS (
    SELECT credit.*, LEAST(credit.expires_at, credit.revoked_at) AS ends_at
    FROM pair JOIN credits_creditgrant credit USING (customer_id, metric_id)
), unsettled_from AS (
    SELECT customer_id, metric_id, min(period.start_at) AS from_at
    FROM pair JOIN plans_subscriptionperiod period USING (customer_id, metric_id)
    WHERE period.settled_at IS NULL
    GROUP BY 1, 2
), month AS (
    SELECT pair.customer_id, pair.metric_id, latest.settled_until
    FROM pair
    CROSS JOIN LATERAL (
        SELECT CASE WHEN settled_at IS NULL THEN start_at ELSE end_at END AS settled_until
        FROM credits_calendarmonth month
        WHERE month.customer_id = pair.customer_id AND month.metric_id = pair.metric_id
        ORDER BY start_at DESC, number DESC LIMIT 1
    ) AS latest
), spendable AS MATERIALIZED ( -- Else each mention of from_at would look for it again.
    SELECT customer_id, metric_id, COALESCE(
        (
            SELECT max(later.end_at)
            FROM plans_subscriptionperiod first
            JOIN plans_subscriptionperiod later ON later.item_id = first.item_id AND later.settled_at IS NOT NULL
            WHERE first.customer_id = candidate.customer_id AND first.metric_id = candidate.metric_id
                AND first.settled_at IS NOT NULL
                AND first.start_at <= candidate.starts_at AND first.end_at > candidate.starts_at
        ),
        starts_at
    ) AS from_at
    FROM candidate
    WHERE ledger_remaining > 0
), spendable_from AS (
    SELECT customer_id, metric_id, GREATEST(min(COALESCE(gap.start_at, from_at)), min(settled_until)) AS from_at
    FROM spendable
    LEFT JOIN month USING (customer_id, metric_id)
    LEFT JOIN LATERAL (
        SELECT GREATEST({_MONTH_START}, (
            SELECT max(end_at) FROM plans_subscriptionperiod earlier
            WHERE earlier.customer_id = spendable.customer_id AND earlier.metric_id = spendable.metric_id
                AND earlier.end_at <= spendable.from_at
        )) AS start_at
        FROM (
            SELECT date_trunc('month', spendable.from_at AT TIME ZONE %(zone)s::text) AT TIME ZONE %(zone)s::text AS at
        ) AS midnight
        -- What lies in a settled period of another item is looked at like a gap: that reads more, but nothing else.
        WHERE NOT EXISTS (
            SELECT FROM plans_subscriptionperiod containing
            WHERE containing.customer_id = spendable.customer_id AND containing.metric_id = spendable.metric_id
                AND containing.settled_at IS NULL
                AND containing.start_at <= spendable.from_at AND containing.end_at > spendable.from_at
        )
    ) AS gap ON true
    GROUP BY 1, 2
), horizon AS (
    SELECT customer_id, metric_id, LEAST(unsettled_from.from_at, spendable_from.from_at, pair.since) AS from_at
    FROM pair
    LEFT JOIN unsettled_from USING (customer_id, metric_id)
    LEFT JOIN spendable_from USING (customer_id, metric_id)
), period AS (
    SELECT period.id, period.customer_id, period.metric_id, period.start_at, period.end_at, period.settled_at,
        COALESCE(period.included_units, item.included_units) AS included_units,
        COALESCE(period.feature_units, item.feature_units) AS feature_units,
        period.whole_start_at, period.whole_end_at
    FROM horizon
    JOIN plans_subscriptionperiod period USING (customer_id, metric_id)
    JOIN plans_subscriptionitem item ON item.id = period.item_id
    WHERE period.end_at > horizon.from_at
), grants AS (
    SELECT candidate.*, horizon.from_at
    FROM horizon JOIN candidate USING (customer_id, metric_id)
    WHERE candidate.ledger_remaining > 0 OR candidate.ends_at IS NULL OR candidate.ends_at > horizon.from_at
), version AS (
    SELECT pair.customer_id, pair.metric_id, metric.aggregation_type, version.id, version.event_name,
        version.property_filter, version.value_property, began.at AS from_at,
        lead(began.at, 1, 'infinity') OVER (PARTITION BY pair.customer_id, pair.metric_id ORDER BY version.number)
            AS to_at
    FROM pair
    JOIN plans_metric metric ON metric.id = pair.metric_id
    JOIN plans_metricversion version ON version.metric_id = pair.metric_id AND version.effective_at IS NOT NULL
    CROSS JOIN LATERAL (
        SELECT CASE WHEN version.number = 1 THEN '-infinity' ELSE COALESCE(
            (
                SELECT min(start_at) FROM plans_subscriptionperiod containing
                WHERE containing.customer_id = pair.customer_id AND containing.metric_id = pair.metric_id
                    AND containing.start_at < version.effective_at AND containing.end_at > version.effective_at
            ),
            version.effective_at
        ) END AS at
    ) AS began
), cut AS (
    SELECT bound.customer_id, bound.metric_id, (at AT TIME ZONE %(zone)s::text)::date AS day,
        array_agg(at ORDER BY at) AS instants
    FROM (
        SELECT customer_id, metric_id, unnest(ARRAY[start_at, end_at]) AS at FROM period
        UNION SELECT customer_id, metric_id, unnest(ARRAY[GREATEST(starts_at, from_at), ends_at]) FROM grants
        UNION SELECT customer_id, metric_id, from_at FROM version WHERE from_at > '-infinity'
        UNION SELECT customer_id, metric_id, from_at FROM horizon
    ) AS bound
    WHERE (at AT TIME ZONE %(zone)s::text)::date
        = ((at - interval '1 microsecond') AT TIME ZONE %(zone)s::text)::date
    GROUP BY 1, 2, 3
), cut_event AS (
    SELECT cut.customer_id, cut.metric_id, cut.day, last_cut.at AS start_at, metric.aggregation_type,
        event.id AS event_id, event.occurred_at, {NUMBER} AS number,
        CASE WHEN metric.aggregation_type = 'UNIQUE_COUNT' THEN {VALUE_HASH} END AS value_hash
    FROM cut
    JOIN horizon USING (customer_id, metric_id)
    JOIN plans_metric metric ON metric.id = cut.metric_id
    JOIN version USING (customer_id, metric_id)
    JOIN metering_usageevent event ON event.customer_id = cut.customer_id
        AND event.event_name = version.event_name
        -- A little wider than the day, for the index; the day itself is exact.
        AND event.occurred_at >= cut.day::timestamp AT TIME ZONE %(zone)s::text - interval '3 hours'
        AND event.occurred_at < (cut.day + 1)::timestamp AT TIME ZONE %(zone)s::text + interval '3 hours'
        AND (event.occurred_at AT TIME ZONE %(zone)s::text)::date = cut.day
        AND event.occurred_at >= GREATEST(horizon.from_at, version.from_at) AND event.occurred_at < version.to_at
    CROSS JOIN LATERAL (
        SELECT max(instant) AS at FROM unnest(cut.instants) AS instant WHERE instant <= event.occurred_at
    ) AS last_cut
    WHERE {IS_NOT_VOIDED} AND {IS_COUNTED}
), piece AS (
    SELECT version.customer_id, version.metric_id, usage.day, NULL::timestamptz AS start_at, usage.events, usage.total,
        usage.minimum, usage.maximum, usage.last_value
    FROM version
    JOIN horizon USING (customer_id, metric_id)
    JOIN metering_usageday usage ON usage.customer_id = version.customer_id AND usage.version_id = version.id
        AND usage.day >= (GREATEST(horizon.from_at, version.from_at) AT TIME ZONE %(zone)s::text)::date
        AND usage.day < (version.to_at AT TIME ZONE %(zone)s::text)::date
    LEFT JOIN cut ON cut.customer_id = version.customer_id AND cut.metric_id = version.metric_id AND cut.day = usage.day
    WHERE cut.day IS NULL
    UNION ALL
    SELECT customer_id, metric_id, day, start_at, events, total, minimum, maximum, last_value
    FROM (
        SELECT customer_id, metric_id, day, start_at, {DAY_MEASURES} FROM cut_event GROUP BY 1, 2, 3, 4
    ) AS measured
{carried}){different}, periods AS (
    SELECT customer_id, metric_id, json_agg(json_build_array(
        id, start_at, end_at, settled_at IS NOT NULL, included_units::text, feature_units::text,
        whole_start_at, whole_end_at)
        ORDER BY start_at) AS listed
    FROM period GROUP BY 1, 2
), spendables AS (
    SELECT customer_id, metric_id, json_agg(json_build_array(
        id, ledger_remaining::text, priority, starts_at, ends_at, period_id, definition_id, rolled_from_id,
        -- A period's grant ends with it, so its rest rolls over, unless somebody ended the grant before.
        CASE WHEN rolls_over AND period_id IS NOT NULL AND (revoked_at IS NULL OR revoked_at > expires_at)
            THEN json_build_array(rollover_cap::text, rollover_days) END,
        refill_number) ORDER BY starts_at, id) AS listed
    FROM grants GROUP BY 1, 2
), pieces AS (
    SELECT customer_id, metric_id, json_agg(json_build_array(day, start_at, events, CASE metric.aggregation_type
        WHEN 'COUNT' THEN events WHEN 'MIN' THEN minimum WHEN 'MAX' THEN maximum WHEN 'LAST' THEN last_value
        ELSE total END::text)) AS listed
    FROM piece JOIN plans_metric metric ON metric.id = piece.metric_id GROUP BY 1, 2
), reservations AS (
    SELECT customer_id, metric_id, json_agg(json_build_array(reserved_at, units::text)) AS listed
    FROM pair JOIN credits_reservation held USING (customer_id, metric_id)
    WHERE held.committed_at IS NULL AND held.released_at IS NULL
        AND held.expires_at > %(at)s AND held.reserved_at <= %(at)s
    GROUP BY 1, 2
)
-- Put one below the other and grouped, not joined: what is joined by two columns is taken to be few, and gone through
-- again for each pair.
SELECT customer_id, metric_id, max(aggregation_type), concat(
    '[', COALESCE(string_agg(listed::text, '') FILTER (WHERE part = 1), 'null'),
    ',', COALESCE(string_agg(listed::text, '') FILTER (WHERE part = 2), 'null'),
    ',', COALESCE(string_agg(listed::text, '') FILTER (WHERE part = 3), 'null'),
    ',', COALESCE(string_agg(listed::text, '') FILTER (WHERE part = 4), 'null'),
    ',', COALESCE(string_agg(listed::text, '') FILTER (WHERE part = 5), 'null'),
    ',', COALESCE(string_agg(listed::text, '') FILTER (WHERE part = 6), 'null'), ']')
FROM (
    SELECT pair.customer_id, pair.metric_id, metric.aggregation_type, 0 AS part, NULL::json AS listed
    FROM pair JOIN plans_metric metric ON metric.id = pair.metric_id
    UNION ALL SELECT customer_id, metric_id, NULL, 1, listed FROM periods
    UNION ALL SELECT customer_id, metric_id, NULL, 2, listed FROM spendables
    UNION ALL SELECT customer_id, metric_id, NULL, 3, listed FROM pieces
    UNION ALL SELECT customer_id, metric_id, NULL, 4, listed FROM reservations
{listed_different}    UNION ALL SELECT customer_id, metric_id, NULL, 6, to_json(settled_until) FROM month
) AS listing
GROUP BY 1, 2
"""


# Most metrics are additive and need neither.
READ_ADDITIVE_POSITIONS = _statement(carried="", different="", listed_different="")
READ_POSITIONS = _statement(
    carried=_CARRIED,
    different=_DIFFERENT,
    listed_different="""    UNION ALL SELECT customer_id, metric_id, NULL, 5, json_agg(
        json_build_array(period_id, day, occurred_at, number)) FROM different GROUP BY 1, 2
""",
)
