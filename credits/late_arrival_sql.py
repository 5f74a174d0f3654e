"""The statement that finds settled periods by what arrived, or was voided, too late for them.

It starts from late events and voids, which are few, and not from the periods, which are many. Events that arrived more
than a day after they happened have an index of their own.
"""

PERIODS_WITH_LATE_ARRIVALS = """
SELECT period.id
FROM (
    SELECT customer_id, event_name, occurred_at, received_at AS known_at
    FROM metering_usageevent WHERE received_at - occurred_at > interval '1 day'
    UNION ALL
    SELECT event.customer_id, event.event_name, event.occurred_at, void.voided_at
    FROM metering_eventvoid void JOIN metering_usageevent event ON event.id = void.event_id
) AS late
JOIN plans_metricversion version ON version.event_name = late.event_name
JOIN plans_subscriptionperiod period ON period.customer_id = late.customer_id AND period.metric_id = version.metric_id
    AND period.start_at <= late.occurred_at AND period.end_at > late.occurred_at
WHERE period.settled_net_cents IS NOT NULL AND period.late_usage_closed_at < late.known_at + %s::interval
"""
