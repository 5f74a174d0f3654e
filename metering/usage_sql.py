"""The statements that record and count events. Each is one round trip, so that facts and sums cannot part."""

# The rows of one call, with the customer that each is addressed to.
_SENT = """
WITH sent AS (
    SELECT row.*, COALESCE(by_id.id, by_external.id) AS customer_key
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS row(
        index integer, customer_id text, external_customer_id text, event_name text, value numeric, text_value text,
        occurred_at timestamptz, timestamp_given boolean, idempotency_key text, properties jsonb
    )
    LEFT JOIN plans_customer by_id
        ON by_id.public_id = row.customer_id AND by_id.deleted_at IS NULL
    LEFT JOIN plans_customer by_external
        ON row.customer_id IS NULL
        AND by_external.external_customer_id = row.external_customer_id AND by_external.deleted_at IS NULL
"""

# Rows arrive as one JSON parameter: binding typed arrays costs ten times the client time per row. Events are inserted
# in key order, so that concurrent batches which overlap wait for each other instead of deadlocking. `recorded` holds
# exactly the new rows, and only those are counted.
RECORD_EVENTS = (
    _SENT
    + """
), accepted AS (
    SELECT * FROM sent WHERE customer_key IS NOT NULL OR customer_id IS NULL
), recorded AS (
    INSERT INTO metering_usageevent (
        customer_id, external_customer_id, event_name, value, text_value, occurred_at, timestamp_given,
        idempotency_key, properties, received_at
    )
    SELECT customer_key, external_customer_id, event_name, value, text_value, occurred_at, timestamp_given,
        idempotency_key, COALESCE(properties, '{}'), %(at)s
    FROM accepted
    ORDER BY customer_key, CASE WHEN customer_key IS NULL THEN external_customer_id END, idempotency_key, index
    ON CONFLICT DO NOTHING
    RETURNING id, customer_id, external_customer_id, event_name, value, occurred_at, idempotency_key
), counted AS (
    INSERT INTO metering_usageday AS usage (customer_id, metric_id, day, events, total)
    SELECT recorded.customer_id, metric.id, (recorded.occurred_at AT TIME ZONE %(zone)s)::date, count(*),
        COALESCE(sum(recorded.value), 0)
    FROM recorded
    JOIN plans_metric metric ON metric.event_name = recorded.event_name AND metric.deleted_at IS NULL
    WHERE recorded.customer_id IS NOT NULL
    GROUP BY 1, 2, 3
    ORDER BY 1, 2, 3
    ON CONFLICT (customer_id, metric_id, day)
        DO UPDATE SET events = usage.events + excluded.events, total = usage.total + excluded.total
)
SELECT sent.index, sent.customer_key, recorded.id
FROM sent
LEFT JOIN recorded
    ON recorded.idempotency_key = sent.idempotency_key
    AND recorded.customer_id IS NOT DISTINCT FROM sent.customer_key
    AND (sent.customer_key IS NOT NULL OR recorded.external_customer_id = sent.external_customer_id)
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
    WHERE customer_id = sent.customer_key AND idempotency_key = sent.idempotency_key
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
ATTRIBUTE_EVENTS = """
WITH waiting AS (
    SELECT event.id, customer.id AS customer_key
    FROM metering_usageevent event
    JOIN plans_customer customer
        ON customer.external_customer_id = event.external_customer_id AND customer.deleted_at IS NULL
    WHERE event.customer_id IS NULL
        AND (%(customer)s::bigint IS NULL OR customer.id = %(customer)s::bigint)
        AND NOT EXISTS (
            SELECT FROM metering_usageevent taken
            WHERE taken.customer_id = customer.id AND taken.idempotency_key = event.idempotency_key
        )
    ORDER BY event.id
    LIMIT %(limit)s
    FOR NO KEY UPDATE OF event SKIP LOCKED
), attributed AS (
    UPDATE metering_usageevent event SET customer_id = waiting.customer_key
    FROM waiting WHERE event.id = waiting.id
    RETURNING event.customer_id, event.event_name, event.value, event.occurred_at
), counted AS (
    INSERT INTO metering_usageday AS usage (customer_id, metric_id, day, events, total)
    SELECT attributed.customer_id, metric.id, (attributed.occurred_at AT TIME ZONE %(zone)s)::date, count(*),
        COALESCE(sum(attributed.value), 0)
    FROM attributed
    JOIN plans_metric metric ON metric.event_name = attributed.event_name AND metric.deleted_at IS NULL
    GROUP BY 1, 2, 3
    ORDER BY 1, 2, 3
    ON CONFLICT (customer_id, metric_id, day)
        DO UPDATE SET events = usage.events + excluded.events, total = usage.total + excluded.total
)
SELECT count(*) FROM attributed
"""

COUNT_EXISTING_EVENTS = """
INSERT INTO metering_usageday (customer_id, metric_id, day, events, total)
SELECT event.customer_id, %(metric)s, (event.occurred_at AT TIME ZONE %(zone)s)::date, count(*),
    COALESCE(sum(event.value), 0)
FROM metering_usageevent event
WHERE event.event_name = %(event_name)s AND event.customer_id IS NOT NULL
GROUP BY 1, 2, 3
"""
