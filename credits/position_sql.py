"""The statement that reads everything a balance follows from: grants, periods with their settled mark, and usage.

One statement, since two would let a settlement commit between them and count its units twice or not at all. It is asked
for pairs of customer and metric, and looks back to the earliest instant that still matters to a pair: the start of its
first unsettled period or of its first grant with something left.

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
), horizon AS (
    SELECT pair.customer_id, pair.metric_id, LEAST(
        (SELECT min(start_at) FROM plans_subscriptionperiod period
         WHERE period.customer_id = pair.customer_id AND period.metric_id = pair.metric_id AND settled_at IS NULL),
        (SELECT min(starts_at) FROM candidate
         WHERE candidate.customer_id = pair.customer_id AND candidate.metric_id = pair.metric_id
            AND ledger_remaining > 0)
    ) AS from_at
    FROM pair
), period AS (
    SELECT period.*, item.included_units
    FROM horizon
    JOIN plans_subscriptionperiod period USING (customer_id, metric_id)
    JOIN plans_subscriptionitem item ON item.id = period.item_id
    WHERE period.end_at > horizon.from_at
), grants AS (
    SELECT candidate.* FROM horizon JOIN candidate USING (customer_id, metric_id)
    WHERE candidate.ledger_remaining > 0 OR candidate.ends_at IS NULL OR candidate.ends_at > horizon.from_at
), cut AS (
    SELECT customer_id, metric_id, at, (at AT TIME ZONE %(zone)s)::date AS day
    FROM (
        SELECT customer_id, metric_id, unnest(ARRAY[start_at, end_at]) AS at FROM period
        UNION SELECT customer_id, metric_id, unnest(ARRAY[starts_at, ends_at]) FROM grants
    ) AS bound
    WHERE (at AT TIME ZONE %(zone)s)::date = ((at - interval '1 microsecond') AT TIME ZONE %(zone)s)::date
), cut_day AS (
    SELECT DISTINCT customer_id, metric_id, day FROM cut
), piece AS (
    SELECT usage.customer_id, usage.metric_id, usage.day, NULL::timestamptz AS start_at, usage.events, usage.total
    FROM horizon JOIN metering_usageday usage USING (customer_id, metric_id)
    WHERE usage.day >= (horizon.from_at AT TIME ZONE %(zone)s)::date
        AND NOT EXISTS (
            SELECT FROM cut_day WHERE cut_day.customer_id = usage.customer_id
                AND cut_day.metric_id = usage.metric_id AND cut_day.day = usage.day
        )
    UNION ALL
    SELECT customer_id, metric_id, day, start_at, count(*), COALESCE(sum(value), 0)
    FROM (
        SELECT cut_day.customer_id, cut_day.metric_id, cut_day.day, event.value, (
            SELECT max(cut.at) FROM cut WHERE cut.customer_id = cut_day.customer_id
                AND cut.metric_id = cut_day.metric_id AND cut.day = cut_day.day AND cut.at <= event.occurred_at
        ) AS start_at
        FROM cut_day
        JOIN plans_metric metric ON metric.id = cut_day.metric_id
        JOIN metering_usageevent event ON event.customer_id = cut_day.customer_id
            AND event.event_name = metric.event_name
            -- A little wider than the day, for the index; the day itself is exact.
            AND event.occurred_at >= cut_day.day::timestamp AT TIME ZONE %(zone)s - interval '3 hours'
            AND event.occurred_at < (cut_day.day + 1)::timestamp AT TIME ZONE %(zone)s + interval '3 hours'
            AND (event.occurred_at AT TIME ZONE %(zone)s)::date = cut_day.day
    ) AS cut_event
    GROUP BY 1, 2, 3, 4
)
SELECT pair.customer_id, pair.metric_id, metric.aggregation_type,
    (SELECT COALESCE(json_agg(json_build_array(
        id, start_at, end_at, settled_at IS NOT NULL, included_units::text) ORDER BY start_at), '[]')
     FROM period WHERE period.customer_id = pair.customer_id AND period.metric_id = pair.metric_id),
    (SELECT COALESCE(json_agg(json_build_array(
        id, ledger_remaining::text, priority, starts_at, ends_at, period_id) ORDER BY starts_at, id), '[]')
     FROM grants WHERE grants.customer_id = pair.customer_id AND grants.metric_id = pair.metric_id),
    (SELECT COALESCE(json_agg(json_build_array(day, start_at, events, total::text)), '[]')
     FROM piece WHERE piece.customer_id = pair.customer_id AND piece.metric_id = pair.metric_id)
FROM pair JOIN plans_metric metric ON metric.id = pair.metric_id
"""
