"""What was settled by calendar month, without a stored period."""

from datetime import datetime

from billing.books.statements import Outcome, compare


def settled_months_burned_what_they_credited(at: datetime) -> Outcome:
    """Compare the credited units of each settled month with the units that its transactions burned, and with what was
    used; each together with what was found later, which is numbered without gaps. Units that come back are taken off
    what was burned, but for those that had expired: these come back together with a burn of them."""
    return compare(
        """
        WITH moved AS (
            SELECT month_id, -sum(amount) AS burned FROM credits_credittransaction movement
            WHERE month_id IS NOT NULL AND (kind = 'burned' OR kind = 'returned' AND NOT EXISTS (
                SELECT FROM credits_credittransaction again WHERE again.month_id = movement.month_id
                    AND again.grant_id = movement.grant_id AND again.kind = 'burned'
            ))
            GROUP BY 1
        ), total AS (
            SELECT customer_id, metric_id, start_at, sum(usage) AS usage, sum(credited) AS credited,
                COALESCE(sum(burned), 0) AS burned, count(DISTINCT end_at) AS ends,
                count(*) = max(number) + 1 AS is_numbered
            FROM credits_calendarmonth month LEFT JOIN moved ON moved.month_id = month.id
            WHERE settled_at IS NOT NULL OR month_id IS NOT NULL
            GROUP BY 1, 2, 3
        )
        SELECT format('customer %%s, metric %%s, month from %%s: %%s units used, %%s credited, but %%s burned, in %%s',
                customer_id, metric_id, start_at, COALESCE(usage::text, 'unknown'),
                COALESCE(credited::text, 'unknown'), burned,
                CASE WHEN is_numbered THEN 'rows that follow each other' ELSE 'rows with gaps' END),
            (credited = burned AND credited BETWEEN 0 AND usage AND is_numbered AND ends = 1) IS NOT TRUE
        FROM total
        ORDER BY customer_id, metric_id, start_at
        """,
        at,
    )


def months_are_settled_in_order(at: datetime) -> Outcome:
    """Find settled months, and those that are settled next, that begin before the one before them ends, and settled
    ones although a stored period that ended before is not settled."""
    return compare(
        """
        SELECT format('customer %%s, metric %%s: the month from %%s to %%s %%s', customer_id, metric_id, start_at,
                end_at, CASE WHEN start_at < last_end THEN 'begins before the one before it ends'
                    ELSE 'is settled, but a stored period that ended before it is not' END),
            COALESCE(start_at < last_end, false) OR settled_at IS NOT NULL AND EXISTS (
                SELECT FROM plans_subscriptionperiod period
                WHERE period.customer_id = month.customer_id AND period.metric_id = month.metric_id
                    AND period.settled_at IS NULL AND period.end_at <= month.start_at
            )
        FROM (
            SELECT *, max(end_at) FILTER (WHERE settled_at IS NOT NULL) OVER (
                PARTITION BY customer_id, metric_id ORDER BY start_at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS last_end
            FROM credits_calendarmonth WHERE number = 0
        ) AS month
        ORDER BY customer_id, metric_id, start_at
        """,
        at,
    )
