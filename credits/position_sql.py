"""The statement that reads everything a balance follows from: grants, periods with their settled mark, and usage.

One statement, since two would let a settlement commit between them and count its units twice or not at all. It is asked
for pairs of customer and metric, and looks back to the earliest instant that still matters to a pair: the start of its
first unsettled period or of its first grant with something left. A grant that began within settled periods matters from
the end of those on, since periods of an item leave no gaps.

Usage comes from whole days of the roll-up. A day in which a period or a grant starts or ends otherwise than at its
first instant is cut there, and its pieces are summed from the events themselves. A piece without a start begins with
its day; which instant that is, is left to `plans.periods`, since PostgreSQL takes the second of two midnights where
clocks are set back to it.
"""

READ_POSITIONS = """
WITH pair AS (
    SELECT DISTINCT * FROM unnest(%(customers)s::bigint[], %(metrics)s::bigint[]) AS pair(customer_id, metric_id)
), candidate AS (
    SELECT credit.*, LEAST(credit.expires_at, credit.revoked_at) AS ends_at
    FROM pair JOIN credits_creditgrant credit USING (customer_id, metric_id)
), unsettled_from AS (
    SELECT customer_id, metric_id, min(period.start_at) AS from_at
    FROM pair JOIN plans_subscriptionperiod period USING (customer_id, metric_id)
    WHERE period.settled_at IS NULL
    GROUP BY 1, 2
), spendable_from AS (
    SELECT customer_id, metric_id, min(COALESCE(
        (
            SELECT max(later.end_at)
            FROM plans_subscriptionperiod first
            JOIN plans_subscriptionperiod later ON later.item_id = first.item_id AND later.settled_at IS NOT NULL
            WHERE first.customer_id = candidate.customer_id AND first.metric_id = candidate.metric_id
                AND first.settled_at IS NOT NULL
                AND first.start_at <= candidate.starts_at AND first.end_at > candidate.starts_at
        ),
        starts_at
    )) AS from_at
    FROM candidate
    WHERE ledger_remaining > 0
    GROUP BY 1, 2
), horizon AS (
    SELECT customer_id, metric_id, LEAST(unsettled_from.from_at, spendable_from.from_at) AS from_at
    FROM pair
    LEFT JOIN unsettled_from USING (customer_id, metric_id)
    LEFT JOIN spendable_from USING (customer_id, metric_id)
), period AS (
    SELECT period.*, item.included_units
    FROM horizon
    JOIN plans_subscriptionperiod period USING (customer_id, metric_id)
    JOIN plans_subscriptionitem item ON item.id = period.item_id
    WHERE period.end_at > horizon.from_at
), grants AS (
    SELECT candidate.*, horizon.from_at
    FROM horizon JOIN candidate USING (customer_id, metric_id)
    WHERE candidate.ledger_remaining > 0 OR candidate.ends_at IS NULL OR candidate.ends_at > horizon.from_at
), cut AS (
    SELECT bound.customer_id, bound.metric_id, (at AT TIME ZONE %(zone)s)::date AS day,
        array_agg(at ORDER BY at) AS instants
    FROM (
        SELECT customer_id, metric_id, unnest(ARRAY[start_at, end_at]) AS at FROM period
        UNION SELECT customer_id, metric_id, unnest(ARRAY[GREATEST(starts_at, from_at), ends_at]) FROM grants
    ) AS bound
    WHERE (at AT TIME ZONE %(zone)s)::date = ((at - interval '1 microsecond') AT TIME ZONE %(zone)s)::date
    GROUP BY 1, 2, 3
), piece AS (
    SELECT usage.customer_id, usage.metric_id, usage.day, NULL::timestamptz AS start_at, usage.events, usage.total
    FROM horizon JOIN metering_usageday usage USING (customer_id, metric_id)
    LEFT JOIN cut USING (customer_id, metric_id, day)
    WHERE usage.day >= (horizon.from_at AT TIME ZONE %(zone)s)::date AND cut.day IS NULL
    UNION ALL
    SELECT cut.customer_id, cut.metric_id, cut.day, last_cut.at, count(*), COALESCE(sum(event.value), 0)
    FROM cut
    JOIN horizon USING (customer_id, metric_id)
    JOIN plans_metric metric ON metric.id = cut.metric_id
    JOIN metering_usageevent event ON event.customer_id = cut.customer_id
        AND event.event_name = metric.event_name
        -- A little wider than the day, for the index; the day itself is exact.
        AND event.occurred_at >= cut.day::timestamp AT TIME ZONE %(zone)s - interval '3 hours'
        AND event.occurred_at < (cut.day + 1)::timestamp AT TIME ZONE %(zone)s + interval '3 hours'
        AND (event.occurred_at AT TIME ZONE %(zone)s)::date = cut.day
        AND event.occurred_at >= horizon.from_at
    CROSS JOIN LATERAL (
        SELECT max(instant) AS at FROM unnest(cut.instants) AS instant WHERE instant <= event.occurred_at
    ) AS last_cut
    GROUP BY 1, 2, 3, 4
), periods AS (
    SELECT customer_id, metric_id, json_agg(json_build_array(
        id, start_at, end_at, settled_at IS NOT NULL, included_units::text) ORDER BY start_at) AS listed
    FROM period GROUP BY 1, 2
), spendables AS (
    SELECT customer_id, metric_id, json_agg(json_build_array(
        id, ledger_remaining::text, priority, starts_at, ends_at, period_id) ORDER BY starts_at, id) AS listed
    FROM grants GROUP BY 1, 2
), pieces AS (
    SELECT customer_id, metric_id, json_agg(json_build_array(day, start_at, events, total::text)) AS listed
    FROM piece GROUP BY 1, 2
)
SELECT pair.customer_id, pair.metric_id, metric.aggregation_type, COALESCE(periods.listed, '[]'),
    COALESCE(spendables.listed, '[]'), COALESCE(pieces.listed, '[]')
FROM pair
JOIN plans_metric metric ON metric.id = pair.metric_id
LEFT JOIN periods USING (customer_id, metric_id)
LEFT JOIN spendables USING (customer_id, metric_id)
LEFT JOIN pieces USING (customer_id, metric_id)
"""
