"""The statements that record and count events. Each is one round trip, so that facts and sums cannot part."""

from metering.measure_sql import COUNTING_COLUMNS, DAY_COLUMNS, DAY_MEASURES, IS_COUNTED, IS_NOT_VOIDED

# The rows of one call, with the customer that each is addressed to. Looked up row by row: for a join the planner, which
# cannot know how few rows come, would read the whole table of customers for a single event.
_SENT = """
WITH sent AS (
    SELECT row.*, CASE WHEN row.customer_id IS NOT NULL
        THEN (SELECT id FROM plans_customer WHERE public_id = row.customer_id AND deleted_at IS NULL)
        ELSE (
            SELECT id FROM plans_customer
            WHERE external_customer_id = row.external_customer_id AND deleted_at IS NULL
        ) END AS addressed_key
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS row(
        index integer, customer_id text, external_customer_id text, event_name text, value numeric, text_value text,
        occurred_at timestamptz, timestamp_given boolean, idempotency_key text, properties jsonb
    )
"""

# The organization's primary customer, when the addressed one had a seat there as the event happened: it counts for it.
_ORGANIZATION = """(
        SELECT organization.id
        FROM plans_seat seat
        JOIN plans_customer organization ON organization.customer_organization_id = seat.organization_id
        WHERE seat.member_id = addressed_key
            AND COALESCE(seat.started_at <= occurred_at, true) AND COALESCE(seat.ended_at > occurred_at, true)
            AND organization.org_role = 'primary' AND organization.deleted_at IS NULL
    ) AS organization_key"""
_WHOSE = """COALESCE(organization_key, addressed_key) AS customer_key,
        CASE WHEN organization_key IS NOT NULL THEN addressed_key END AS member_key"""

_IS_LATER = """(excluded.last_at IS NOT NULL AND COALESCE(
            (excluded.last_at, excluded.last_event_id) > (usage.last_at, usage.last_event_id), true))"""

# The rows of `recorded` come into the sums of their days in one order, and different values only after their day's row
# is locked: statements that count wait for each other and cannot lock each other out.
_COUNTED = f"""
), counting AS (
    SELECT {COUNTING_COLUMNS}
    FROM recorded event
    JOIN plans_metricversion version ON version.event_name = event.event_name
    JOIN plans_metric metric ON metric.id = version.metric_id AND metric.deleted_at IS NULL
    WHERE event.customer_id IS NOT NULL AND {IS_COUNTED}
), counted AS (
    INSERT INTO metering_usageday AS usage (customer_id, version_id, day, {DAY_COLUMNS})
    SELECT customer_id, version_id, day, {DAY_MEASURES}
    FROM counting GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (customer_id, version_id, day) DO UPDATE SET
        events = usage.events + excluded.events,
        total = usage.total + excluded.total,
        minimum = LEAST(usage.minimum, excluded.minimum),
        maximum = GREATEST(usage.maximum, excluded.maximum),
        last_value = CASE WHEN {_IS_LATER} THEN excluded.last_value ELSE usage.last_value END,
        last_at = CASE WHEN {_IS_LATER} THEN excluded.last_at ELSE usage.last_at END,
        last_event_id = CASE WHEN {_IS_LATER} THEN excluded.last_event_id ELSE usage.last_event_id END
    RETURNING customer_id, version_id, day
), told_apart AS (
    INSERT INTO metering_usagedayvalue (customer_id, version_id, day, value_hash)
    SELECT DISTINCT customer_id, version_id, day, value_hash
    FROM counted JOIN counting USING (customer_id, version_id, day)
    WHERE value_hash IS NOT NULL ORDER BY 1, 2, 3, 4
    ON CONFLICT DO NOTHING
)
"""

# Rows arrive as one JSON parameter: binding typed arrays costs ten times the client time per row. Events are inserted
# in key order, so that concurrent batches which overlap wait for each other instead of deadlocking. `recorded` holds
# exactly the new rows, and only those are counted.
RECORD_EVENTS = (
    _SENT
    + f"""
), placed AS (
    SELECT seated.*, {_WHOSE} FROM (SELECT sent.*, {_ORGANIZATION} FROM sent) AS seated
    WHERE addressed_key IS NOT NULL OR customer_id IS NULL
), recorded AS (
    INSERT INTO metering_usageevent (
        customer_id, member_id, external_customer_id, event_name, value, text_value, occurred_at, timestamp_given,
        idempotency_key, properties, received_at
    )
    SELECT customer_key, member_key, external_customer_id, event_name, value, text_value, occurred_at, timestamp_given,
        idempotency_key, COALESCE(properties, '{{}}'), %(at)s
    FROM placed
    ORDER BY addressed_key, CASE WHEN addressed_key IS NULL THEN external_customer_id END, idempotency_key, index
    ON CONFLICT DO NOTHING
    RETURNING id, customer_id, member_id, external_customer_id, event_name, value, text_value, properties, occurred_at,
        idempotency_key
{_COUNTED}
SELECT sent.index, sent.addressed_key, recorded.id
FROM sent
LEFT JOIN recorded
    ON recorded.idempotency_key = sent.idempotency_key
    AND COALESCE(recorded.member_id, recorded.customer_id) IS NOT DISTINCT FROM sent.addressed_key
    AND (sent.addressed_key IS NOT NULL OR recorded.external_customer_id = sent.external_customer_id)
ORDER BY sent.index
"""
)

# The first event behind each repetition. Contents are compared where they are stored, so that 1 and 1.0 are equal and
# numbers in properties stay exact. The timestamp counts only when the client sent one.
COMPARE_EVENTS = (
    _SENT
    + """
    WHERE row.index = ANY(%(indexes)s)
)
SELECT DISTINCT ON (sent.index) sent.index, event.id, event.external_customer_id, event.event_name, event.value,
    event.text_value, event.occurred_at, event.idempotency_key, event.properties::text AS properties,
    event.received_at,
    array_remove(ARRAY[
        CASE WHEN event.event_name <> sent.event_name THEN 'eventName' END,
        CASE WHEN event.value IS DISTINCT FROM sent.value THEN 'eventValue' END,
        CASE WHEN event.text_value IS DISTINCT FROM sent.text_value THEN 'eventString' END,
        CASE WHEN event.properties <> COALESCE(sent.properties, '{}') THEN 'properties' END,
        CASE WHEN event.timestamp_given AND sent.timestamp_given AND event.occurred_at <> sent.occurred_at
                OR event.timestamp_given <> sent.timestamp_given
            THEN 'eventTimestamp' END
    ], NULL) AS conflicts
FROM sent
-- Two index look-ups a row; with OR in one condition the whole table would be read.
CROSS JOIN LATERAL (
    SELECT * FROM metering_usageevent
    WHERE COALESCE(member_id, customer_id) = sent.addressed_key AND idempotency_key = sent.idempotency_key
    UNION ALL
    SELECT * FROM metering_usageevent
    WHERE customer_id IS NULL AND external_customer_id = sent.external_customer_id
        AND idempotency_key = sent.idempotency_key
) AS event
ORDER BY sent.index, event.customer_id NULLS LAST
"""
)

# Unattributed events whose external id has a customer by now. One whose key that customer has used already stays as
# it is: it is a repetition of an event that is counted.
CLAIM_UNATTRIBUTED = """
SELECT event.id
FROM metering_usageevent event
JOIN plans_customer customer
    ON customer.external_customer_id = event.external_customer_id AND customer.deleted_at IS NULL
WHERE event.customer_id IS NULL
    AND (%(customer)s::bigint IS NULL OR customer.id = %(customer)s::bigint)
    AND NOT EXISTS (
        SELECT FROM metering_usageevent taken
        WHERE COALESCE(taken.member_id, taken.customer_id) = customer.id
            AND taken.idempotency_key = event.idempotency_key
    )
ORDER BY event.id
LIMIT %(limit)s
FOR NO KEY UPDATE OF event SKIP LOCKED
"""

# The claimed ones, in a statement of its own: it sees every void that was committed before the claim. A voided event
# gets its customer and counts for nothing.
ATTRIBUTE_EVENTS = f"""
WITH waiting AS (
    SELECT event.id, event.occurred_at, customer.id AS addressed_key
    FROM metering_usageevent event
    JOIN plans_customer customer
        ON customer.external_customer_id = event.external_customer_id AND customer.deleted_at IS NULL
    WHERE event.id = ANY(%(events)s)
), placed AS (
    SELECT id, {_WHOSE} FROM (SELECT waiting.*, {_ORGANIZATION} FROM waiting) AS seated
), attributed AS (
    UPDATE metering_usageevent event SET customer_id = placed.customer_key, member_id = placed.member_key
    FROM placed WHERE event.id = placed.id
    RETURNING event.*
), recorded AS (
    SELECT * FROM attributed event WHERE {IS_NOT_VOIDED}
{_COUNTED}
SELECT count(*) FROM attributed
"""
