"""How an event becomes a number of a metric, in SQL, for every statement that counts: one meaning in one place.

The fragments speak of the aliases `event` (a row with `value`, `text_value` and `properties`), `version` (of
plans_metricversion) and `metric` (of plans_metric).
"""

# The event has, for each property of the filter, one of its values. Values are plain (no lists, no objects), so that
# containment is equality, and 1 equals 1.0 but not "1".
PASSES_FILTER = """(
    version.property_filter = '{}' OR NOT EXISTS (
        SELECT FROM jsonb_each(version.property_filter) AS wanted
        WHERE NOT COALESCE(wanted.value @> jsonb_build_array(event.properties -> wanted.key), false)
    )
)"""

# The number that is summed, compared or averaged; NULL where the event has none. A property may hold it as a number or
# as its text, with up to 18 digits before the point; decimals beyond the sixth are cut off.
NUMBER = r"""(
    CASE WHEN version.value_property = '' THEN event.value
        WHEN event.properties ->> version.value_property ~ '^-?[0-9]{1,18}(\.[0-9]+)?$'
        THEN trunc((event.properties ->> version.value_property)::numeric, 6) END
)"""

# What is told apart by UNIQUE_COUNT, as SHA-256 of its text: 1 and 1.0 are the same, a value of null is none.
VALUE_HASH = """sha256(convert_to(
    CASE WHEN version.value_property = '' THEN COALESCE(event.text_value, trim_scale(event.value)::text)
        WHEN jsonb_typeof(event.properties -> version.value_property) = 'number'
        THEN trim_scale((event.properties ->> version.value_property)::numeric)::text
        ELSE event.properties ->> version.value_property END,
    'UTF8'))"""

# Whether the event has what the metric needs; one that has not is none of its events.
IS_COUNTED = f"""(
    {PASSES_FILTER} AND CASE metric.aggregation_type WHEN 'COUNT' THEN true
        WHEN 'UNIQUE_COUNT' THEN {VALUE_HASH} IS NOT NULL ELSE {NUMBER} IS NOT NULL END
)"""

IS_NOT_VOIDED = "NOT EXISTS (SELECT FROM metering_eventvoid void WHERE void.event_id = event.id)"

# A row per event and version that counts it, from events named `event` and the parameter `zone`.
COUNTING_COLUMNS = f"""event.customer_id, version.id AS version_id, metric.aggregation_type,
    (event.occurred_at AT TIME ZONE %(zone)s::text)::date AS day, event.id AS event_id, event.occurred_at,
    {NUMBER} AS number, CASE WHEN metric.aggregation_type = 'UNIQUE_COUNT' THEN {VALUE_HASH} END AS value_hash"""

# The measures of a day, over such rows: see UsageDay. The latest event is the greatest of (instant, id).
_LATEST = """(max(ARRAY[extract(epoch FROM occurred_at), event_id, number]) FILTER (WHERE aggregation_type = 'LAST'))"""
DAY_MEASURES = f"""count(event_id) AS events, COALESCE(sum(number), 0) AS total,
    min(number) FILTER (WHERE aggregation_type = 'MIN') AS minimum,
    max(number) FILTER (WHERE aggregation_type = 'MAX') AS maximum,
    {_LATEST}[3] AS last_value,
    max(occurred_at) FILTER (WHERE aggregation_type = 'LAST') AS last_at,
    {_LATEST}[2]::bigint AS last_event_id"""
DAY_COLUMNS = "events, total, minimum, maximum, last_value, last_at, last_event_id"
