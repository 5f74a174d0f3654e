"""The statement that finds what a customer was sold: each feature's copy, its metrics, and how these are limited."""

# A feature without a sold copy comes along when it was asked for by its slug, or when a grant of its metric may give
# it. Whether it is capped is decided by the plan alone, so an ended or revoked grant never lifts a limit.
READ_FEATURES = """
WITH asked AS (
    SELECT id FROM plans_customer
    WHERE deleted_at IS NULL
        AND CASE WHEN %(external)s THEN external_customer_id = %(customer)s ELSE public_id = %(customer)s END
)
SELECT asked.id AS customer_key, feature.slug, feature.display_name, sold.value,
    sold.overage, sold.source, metrics.keys, metrics.public_ids, metrics.quota
FROM asked
LEFT JOIN LATERAL (
    SELECT * FROM plans_feature candidate
    WHERE candidate.deleted_at IS NULL AND (
        candidate.slug = ANY(%(slugs)s)
        OR %(all)s AND (
            EXISTS (
                SELECT FROM plans_subscriptionfeature copy
                JOIN plans_subscription subscription ON subscription.id = copy.subscription_id
                WHERE copy.customer_id = asked.id AND copy.feature_id = candidate.id
                    AND subscription.ended_at IS NULL AND subscription.started_at <= %(at)s
                    AND subscription.deleted_at IS NULL AND subscription.status = ANY(%(statuses)s)
            )
            OR EXISTS (
                SELECT FROM plans_feature_metrics link
                JOIN credits_creditgrant credit
                    ON credit.metric_id = link.metric_id AND credit.customer_id = asked.id
                WHERE link.feature_id = candidate.id AND credit.revoked_at IS NULL AND credit.starts_at <= %(at)s
                    AND (credit.expires_at IS NULL OR credit.expires_at > %(at)s)
            )
        )
    )
) feature ON true
LEFT JOIN LATERAL (
    SELECT copy.value, copy.overage, copy.source, subscription.plan_id
    FROM plans_subscriptionfeature copy
    JOIN plans_subscription subscription ON subscription.id = copy.subscription_id
    WHERE copy.customer_id = asked.id AND copy.feature_id = feature.id
        AND subscription.ended_at IS NULL AND subscription.started_at <= %(at)s
        AND subscription.deleted_at IS NULL AND subscription.status = ANY(%(statuses)s)
    ORDER BY copy.source = 'override' DESC, subscription.id DESC
    LIMIT 1
) sold ON true
LEFT JOIN LATERAL (
    SELECT array_agg(metric.id ORDER BY metric.id) AS keys,
        array_agg(metric.public_id ORDER BY metric.id) AS public_ids,
        bool_or(EXISTS (
            SELECT FROM credits_creditdefinition definition
            WHERE definition.metric_id = metric.id AND definition.plan_id = sold.plan_id
                AND definition.application_type = 'usage' AND definition.deleted_at IS NULL
        )) AS quota
    FROM plans_feature_metrics link JOIN plans_metric metric ON metric.id = link.metric_id
    WHERE link.feature_id = feature.id AND metric.deleted_at IS NULL
) metrics ON true
ORDER BY feature.slug
"""
