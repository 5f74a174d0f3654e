"""What is prepaid: grants and the transactions that move them."""

from datetime import datetime

from billing.books.statements import Outcome, compare


def grants_equal_their_transactions(at: datetime) -> Outcome:
    """Compare what each grant has left with the sum of its transactions, both with 0 and what was granted, and that
    with what its transactions gave and adjusted."""
    return compare(
        """
        WITH ledger AS (
            SELECT grant_id, sum(amount) AS rest, sum(amount) FILTER (WHERE kind = 'granted') AS granted,
                COALESCE(sum(amount) FILTER (WHERE kind = 'adjusted'), 0) AS adjusted
            FROM credits_credittransaction GROUP BY 1
        )
        SELECT format('grant %%s: %%s left of %%s, adjusted by %%s, but its transactions sum to %%s', credit.public_id,
                credit.ledger_remaining, credit.initial_amount, credit.adjusted_amount, COALESCE(rest, 0)),
            (credit.ledger_remaining, credit.initial_amount, credit.adjusted_amount)
                    IS DISTINCT FROM (rest, granted, adjusted)
                OR credit.ledger_remaining NOT BETWEEN 0 AND credit.initial_amount + credit.adjusted_amount
        FROM credits_creditgrant credit LEFT JOIN ledger ON ledger.grant_id = credit.id
        ORDER BY credit.id
        """,
        at,
    )


def transactions_belong_to_their_grants_customer(at: datetime) -> Outcome:
    """Find transactions whose customer is not that of their grant, or whose period or month is another customer's; and
    burned or expired units without exactly one of the two."""
    return compare(
        """
        SELECT format('transaction %%s of customer %%s moves grant %%s of customer %%s', movement.public_id,
                movement.customer_id, credit.public_id, credit.customer_id),
            movement.customer_id <> credit.customer_id
                OR period.id IS NOT NULL
                    AND (period.customer_id, period.metric_id)
                        IS DISTINCT FROM (credit.customer_id, credit.metric_id)
                OR month.id IS NOT NULL
                    AND (month.customer_id, month.metric_id) IS DISTINCT FROM (credit.customer_id, credit.metric_id)
                OR credit.metric_id IS NOT NULL AND movement.kind IN ('burned', 'expired')
                    AND num_nonnulls(movement.period_id, movement.month_id) <> 1
        FROM credits_credittransaction movement
        JOIN credits_creditgrant credit ON credit.id = movement.grant_id
        LEFT JOIN plans_subscriptionperiod period ON period.id = movement.period_id
        LEFT JOIN credits_calendarmonth month ON month.id = movement.month_id
        ORDER BY movement.id
        """,
        at,
    )
