"""When what is due: periods of items, one after the other, closed and settled in order."""

from datetime import datetime

from billing.books.statements import Outcome, compare


def periods_follow_each_other(at: datetime) -> Outcome:
    """Find periods of an item that do not start where the one before them ends, or whose number leaves a gap. The
    first one starts with its item. Numbers begin anew where the clock does: after a trial, and where somebody resumed
    after what he had paid for was over. Whoever resumes within it goes on with a part of the turn that runs then. Both
    leave a gap between what is billed in advance."""
    return compare(
        """
        SELECT format('item %%s: period %%s from %%s does not follow the one before it, which ends at %%s', item_id,
                number, start_at, COALESCE(last_end::text, 'nothing')),
            end_at <= start_at OR NOT CASE
                WHEN last_end IS NULL THEN start_at = item_started_at
                WHEN number = 0 AND start_at = clock_started_at
                    THEN start_at = last_end OR metric_id IS NULL AND start_at > last_end
                WHEN whole_start_at IS NOT NULL
                    THEN number >= last_number
                        AND (start_at = last_end OR metric_id IS NULL AND start_at > last_end)
                ELSE start_at = last_end AND (number = last_number + 1 OR number = last_number AND kind = 'pause') END
        FROM (
            SELECT period.*, item.clock_started_at, item.started_at AS item_started_at,
                lag(period.end_at) OVER by_time AS last_end, lag(period.number) OVER by_time AS last_number
            FROM plans_subscriptionperiod period JOIN plans_subscriptionitem item ON item.id = period.item_id
            WINDOW by_time AS (PARTITION BY item_id ORDER BY start_at, period.number)
        ) AS period
        ORDER BY item_id, start_at
        """,
        at,
    )


def live_items_have_a_period_ahead(at: datetime) -> Outcome:
    """Find live items without a stored period that starts later than `at`, where every due boundary is closed and the
    clock has no end."""
    return compare(
        """
        SELECT format('item %%s of subscription %%s: its newest period starts at %%s, and none lies ahead', item.id,
                item.subscription_id, COALESCE(max(period.start_at)::text, 'no time')),
            (max(period.start_at) > %(at)s) IS NOT TRUE
        FROM plans_subscriptionitem item
        JOIN plans_subscription subscription ON subscription.id = item.subscription_id
        LEFT JOIN plans_subscriptionperiod period ON period.item_id = item.id
        LEFT JOIN plans_pricecomponent component ON component.id = item.component_id
        WHERE item.ended_at IS NULL AND subscription.ended_at IS NULL AND subscription.deleted_at IS NULL
            AND subscription.paused_at IS NULL
            AND component.recurrence_count IS NULL AND COALESCE(component.recurrence_until, '') = ''
            AND NOT EXISTS (
                SELECT FROM plans_subscriptionperiod due WHERE due.subscription_id = item.subscription_id
                    AND due.closed_at IS NULL AND due.bill_at <= %(at)s
            )
        GROUP BY item.id
        ORDER BY item.id
        """,
        at,
    )


def closed_periods_are_settled(at: datetime) -> Outcome:
    """Find closed metered periods that have no invoice, or whose invoice is no draft any more and that are not
    settled; and settled periods that no close has gathered."""
    return compare(
        """
        SELECT format('period %%s closed %%s: its invoice %%s is %%s, and it is %%s', period.id,
                COALESCE(period.closed_at::text, 'never'), COALESCE(invoice.public_id, 'does not exist, which'),
                COALESCE(invoice.status, 'none'),
                CASE WHEN period.settled_at IS NULL THEN 'not settled' ELSE 'settled' END),
            invoice.id IS NULL
                OR period.closed_at IS NULL
                OR period.metric_id IS NOT NULL AND (invoice.status = 'draft') = (period.settled_at IS NOT NULL)
        FROM plans_subscriptionperiod period
        LEFT JOIN billing_invoicedperiod gathered ON gathered.period_id = period.id
        LEFT JOIN billing_invoice invoice ON invoice.id = gathered.invoice_id
        WHERE period.kind <> 'pause' AND (period.closed_at IS NOT NULL OR period.settled_at IS NOT NULL)
        ORDER BY period.id
        """,
        at,
    )


def periods_are_settled_in_order(at: datetime) -> Outcome:
    """Find settled periods with an unsettled one of the same customer and metric that ended earlier. A pause settles
    nothing: it counts as settled from its start on."""
    return compare(
        """
        SELECT format('period %%s is settled, but an earlier one of customer %%s and metric %%s is not', id,
                customer_id, metric_id),
            earliest_open < end_at
        FROM (
            SELECT *, min(end_at) FILTER (WHERE settled_at IS NULL)
                OVER (PARTITION BY customer_id, metric_id) AS earliest_open
            FROM plans_subscriptionperiod WHERE metric_id IS NOT NULL AND kind <> 'pause'
        ) AS period
        WHERE settled_at IS NOT NULL
        ORDER BY id
        """,
        at,
    )
