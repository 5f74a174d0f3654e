"""The statements that find what a customer has: each feature's copy, its metrics, and how these are limited."""

from collections.abc import Sequence

# Who is answered for: a member with a seat at that instant has what its organization's primary customer has.
_ASKED = """
WITH asked AS (
    SELECT COALESCE(organization.id, addressed.id) AS payer_key,
        CASE WHEN organization.id IS NOT NULL THEN addressed.id END AS member_key
    FROM plans_customer addressed
    LEFT JOIN plans_seat seat ON seat.member_id = addressed.id
        AND COALESCE(seat.started_at <= %(at)s, true) AND COALESCE(seat.ended_at > %(at)s, true)
    LEFT JOIN plans_customer organization ON organization.customer_organization_id = seat.organization_id
        AND organization.org_role = 'primary' AND organization.deleted_at IS NULL
    WHERE addressed.{column} = %(customer)s AND addressed.deleted_at IS NULL
)
"""

_PAYERS = "WITH asked AS (SELECT payer_key, NULL::bigint AS member_key FROM unnest(%(payers)s::bigint[]) AS payer_key)"

# A copy that entitles: of a subscription that runs, and an override only while it is effective.
_ENTITLES = """
    subscription.ended_at IS NULL AND subscription.started_at <= %(at)s
    AND subscription.deleted_at IS NULL AND subscription.status IN ('active', 'past_due')
    AND COALESCE(copy.effective_from <= %(at)s, true) AND COALESCE(copy.effective_until > %(at)s, true)
"""

_ONE = "feature.slug = %(slug)s"
_NAMED = "feature.slug = ANY(%(slugs)s)"

# A feature without a copy comes along when a grant of its metric may give it.
_ALL = f"""(
    EXISTS (
        SELECT FROM plans_subscriptionfeature copy
        JOIN plans_subscription subscription ON subscription.id = copy.subscription_id
        WHERE copy.customer_id = asked.payer_key AND copy.feature_id = feature.id AND {_ENTITLES}
    )
    OR EXISTS (
        SELECT FROM plans_feature_metrics link
        JOIN credits_creditgrant credit
            ON credit.metric_id = link.metric_id AND credit.customer_id = asked.payer_key
        WHERE link.feature_id = feature.id AND credit.revoked_at IS NULL AND credit.starts_at <= %(at)s
            AND (credit.expires_at IS NULL OR credit.expires_at > %(at)s)
    )
)"""

# A feature is suspended while the only subscription that gives it is paused or unpaid.
#
# An override without a value of its own (JSON null) keeps the plan's. Whether a feature is capped is decided by what
# was sold, so an ended or revoked grant never lifts a limit: by credits that came with the subscription, or that were
# added later and have begun to grant; and until they would have ended by grants of credits that were taken off since.
FEATURE_COLUMNS = (
    "payer_key",
    "member_key",
    "id",
    "slug",
    "display_name",
    "value",
    "overage",
    "source",
    "keys",
    "public_ids",
    "quota",
    "suspended",
    "sold_units",
)
_FEATURES = f"""
SELECT asked.payer_key, asked.member_key, feature.id, feature.slug, feature.display_name, sold.value, sold.overage,
    sold.source, metrics.keys, metrics.public_ids, metrics.quota, sold.source IS NULL AND EXISTS (
        SELECT FROM plans_subscriptionfeature copy
        JOIN plans_subscription subscription ON subscription.id = copy.subscription_id
        WHERE copy.customer_id = asked.payer_key AND copy.feature_id = feature.id
            AND subscription.ended_at IS NULL AND subscription.deleted_at IS NULL
            AND subscription.status NOT IN ('active', 'past_due')
    ) AS suspended, metrics.sold_units
FROM asked
LEFT JOIN plans_feature feature ON feature.deleted_at IS NULL AND {{which}}
LEFT JOIN LATERAL (
    SELECT copy.overage, copy.source, subscription.id AS subscription_id, subscription.created_at,
        CASE WHEN copy.value <> 'null' THEN copy.value ELSE (
            SELECT plain.value FROM plans_subscriptionfeature plain
            WHERE plain.subscription_id = copy.subscription_id AND plain.feature_id = copy.feature_id
                AND plain.source = 'plan'
        ) END AS value
    FROM plans_subscriptionfeature copy
    JOIN plans_subscription subscription ON subscription.id = copy.subscription_id
    WHERE copy.customer_id = asked.payer_key AND copy.feature_id = feature.id AND {_ENTITLES}
    ORDER BY copy.source = 'override' DESC, subscription.id DESC
    LIMIT 1
) sold ON true
LEFT JOIN LATERAL (
    SELECT array_agg(metric.id ORDER BY metric.id) AS keys,
        array_agg(metric.public_id ORDER BY metric.id) AS public_ids,
        array_agg((
            SELECT item.feature_units FROM plans_subscriptionitem item
            WHERE item.subscription_id = sold.subscription_id AND item.metric_id = metric.id
        ) ORDER BY metric.id) AS sold_units,
        bool_or(EXISTS (
            SELECT FROM credits_subscriptioncredit credit
            JOIN credits_creditdefinition definition
                ON definition.id = credit.definition_id AND definition.metric_id = metric.id
            WHERE credit.subscription_id = sold.subscription_id AND (credit.created_at <= sold.created_at OR EXISTS (
                SELECT FROM credits_creditgrant given
                WHERE given.definition_id = definition.id AND given.subscription_id = sold.subscription_id
                    AND given.starts_at <= %(at)s
            ))
        ) OR EXISTS (
            SELECT FROM credits_creditgrant given
            WHERE given.customer_id = asked.payer_key AND given.metric_id = metric.id
                AND given.subscription_id = sold.subscription_id AND given.rolled_from_id IS NULL
                AND given.starts_at <= %(at)s AND (given.expires_at IS NULL OR given.expires_at > %(at)s)
                -- One that was stopped before it began is no quota.
                AND (given.revoked_at IS NULL OR given.revoked_at > given.starts_at)
        )) AS quota
    FROM plans_feature_metrics link JOIN plans_metric metric ON metric.id = link.metric_id
    WHERE link.feature_id = feature.id AND metric.deleted_at IS NULL
) metrics ON true
ORDER BY asked.payer_key, feature.slug
"""

# All features of customers addressed by their keys.
FEATURES_OF_PAYERS = _PAYERS + _FEATURES.format(which=_ALL)


def features_statement(*, external: bool, slugs: Sequence[str] | None) -> str:
    """Build the statement that finds features of one customer, addressed by our id or its external one: those with
    these slugs, or all that it has. Its parameter is `slug` for one, which PostgreSQL plans and finds quicker, and
    `slugs` for several. Without a row there is no such customer; a row without slug says only who is answered for."""
    asked = _ASKED.format(column="external_customer_id" if external else "public_id")
    if slugs is None:
        return asked + _FEATURES.format(which=_ALL)
    return asked + _FEATURES.format(which=_ONE if len(slugs) == 1 else _NAMED)
