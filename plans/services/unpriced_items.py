from datetime import datetime

from django.db import connection

from plans.models import Feature, Subscription

# A metric follows the shortest clock of its subscription from the current period on, one without an end where there
# is one, and its periods are those of an item which has that clock already. Where a sweep is late, the last period that
# is stored is the one to go on from. A metric which another subscription of the customer meters is counted there.
_METER = """
WITH metered AS (
    INSERT INTO plans_subscriptionitem (
        subscription_id, customer_id, metric_id, frequency, interval, clock_started_at, started_at, included_units,
        feature_units, quantity
    )
    SELECT subscription.id, subscription.customer_id, metric.id, clock.frequency, clock.interval,
        clock.clock_started_at, clock.started_at, 0, 0, 1
    FROM plans_subscriptionfeature copy
    JOIN plans_subscription subscription ON subscription.id = copy.subscription_id
    JOIN plans_feature_metrics link ON link.feature_id = copy.feature_id
    JOIN plans_metric metric ON metric.id = link.metric_id AND metric.deleted_at IS NULL
    CROSS JOIN LATERAL (
        SELECT item.frequency, item.interval, item.clock_started_at, COALESCE(
            (SELECT min(start_at) FROM plans_subscriptionperiod ahead
                WHERE ahead.item_id = item.id AND ahead.kind <> 'pause' AND ahead.end_at > %(at)s),
            (SELECT max(start_at) FROM plans_subscriptionperiod last WHERE last.item_id = item.id),
            item.started_at) AS started_at
        FROM plans_subscriptionitem item
        LEFT JOIN plans_pricecomponent component ON component.id = item.component_id
        WHERE item.subscription_id = subscription.id AND item.ended_at IS NULL
        ORDER BY component.recurrence_count IS NOT NULL OR COALESCE(component.recurrence_until, '') <> '',
            item.interval * CASE item.frequency
                WHEN 'DAILY' THEN 1 WHEN 'WEEKLY' THEN 7 WHEN 'MONTHLY' THEN 30 ELSE 365 END,
            item.id
        LIMIT 1
    ) clock
    WHERE copy.feature_id = %(feature)s AND subscription.ended_at IS NULL AND subscription.deleted_at IS NULL
        AND (%(subscription)s::bigint IS NULL OR subscription.id = %(subscription)s::bigint)
    ORDER BY subscription.customer_id, metric.id
    ON CONFLICT DO NOTHING
    RETURNING *
)
INSERT INTO plans_subscriptionperiod (
    item_id, subscription_id, customer_id, metric_id, kind, number, start_at, end_at, whole_start_at, whole_end_at,
    bill_at
)
SELECT metered.id, metered.subscription_id, metered.customer_id, metered.metric_id, pattern.kind, pattern.number,
    pattern.start_at, pattern.end_at, pattern.whole_start_at, pattern.whole_end_at, pattern.end_at
FROM metered
CROSS JOIN LATERAL (
    SELECT item.id FROM plans_subscriptionitem item
    LEFT JOIN plans_pricecomponent component ON component.id = item.component_id
    WHERE item.subscription_id = metered.subscription_id AND item.ended_at IS NULL
        AND item.frequency = metered.frequency AND item.interval = metered.interval
        AND item.clock_started_at = metered.clock_started_at
    ORDER BY component.recurrence_count IS NOT NULL OR COALESCE(component.recurrence_until, '') <> '', item.id
    LIMIT 1
) like_it
JOIN plans_subscriptionperiod pattern ON pattern.item_id = like_it.id
WHERE pattern.kind <> 'pause' AND (pattern.end_at > %(at)s OR pattern.start_at = (
    SELECT max(last.start_at) FROM plans_subscriptionperiod last WHERE last.item_id = like_it.id))
"""


def meter_feature(*, feature: Feature, at: datetime, subscription: Subscription | None = None) -> None:
    """Have the metrics of a feature counted by the periods of the live subscriptions that give it, or of one of them.

    What a plan meters has its items from the start; this is for metrics that come later, by an override or because the
    feature was changed. Such an item has no price and includes no units: it gives the check a period to count in, and
    never a line on an invoice.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _METER,
            {"feature": feature.pk, "subscription": None if subscription is None else subscription.pk, "at": at},
        )
