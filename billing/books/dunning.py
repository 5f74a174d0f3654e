"""What is done about declined charges."""

from datetime import datetime

from billing.books.statements import Outcome, compare


def past_due_subscriptions_are_dunned(at: datetime) -> Outcome:
    """Find running subscriptions that are past due without an invoice that is dunned, or not past due with one, and
    those whose grace ends at another instant than the first of that."""
    return compare(
        """
        WITH running AS (
            SELECT billed.stable_subscription_id, min(dunning.end_at) AS ends_at
            FROM billing_dunning dunning
            JOIN billing_invoice invoice ON invoice.id = dunning.invoice_id
            JOIN plans_subscription billed ON billed.id = invoice.subscription_id
            WHERE dunning.ended_at IS NULL GROUP BY 1
        )
        SELECT format('subscription %%s is %%s until %%s, and its dunning ends %%s', public_id, status,
                COALESCE(grace_period_ends_at::text, 'no time'), COALESCE(ends_at::text, 'never, there is none')),
            (status = 'past_due') <> (ends_at IS NOT NULL) OR grace_period_ends_at IS DISTINCT FROM ends_at
        FROM plans_subscription LEFT JOIN running USING (stable_subscription_id)
        WHERE ended_at IS NULL AND deleted_at IS NULL AND status IN ('active', 'past_due')
        ORDER BY id
        """,
        at,
    )


def dunned_invoices_are_owed(at: datetime) -> Outcome:
    """Find dunning of invoices that are not to be paid any more, and dunning that counts as settled although they
    are."""
    return compare(
        """
        SELECT format('%%s of invoice %%s, which is %%s, is %%s', dunning.public_id, invoice.number, invoice.status,
                COALESCE('settled ' || dunning.settled_at, 'not settled')),
            (invoice.status IN ('issued', 'unpaid', 'uncollectible')) <> (dunning.settled_at IS NULL)
        FROM billing_dunning dunning JOIN billing_invoice invoice ON invoice.id = dunning.invoice_id
        ORDER BY dunning.id
        """,
        at,
    )


def dunning_counts_declined_charges(at: datetime) -> Outcome:
    """Find dunning that did not start with a declined charge of its invoice, or that counts more of them than there
    were since."""
    return compare(
        """
        SELECT format('%%s of invoice %%s started %%s and counts %%s declined charges of %%s', dunning.public_id,
                invoice.number, dunning.started_at, dunning.attempts, count(payment.id)),
            dunning.customer_id <> invoice.customer_id OR dunning.attempts > count(payment.id)
                OR min(payment.created_at) IS DISTINCT FROM dunning.started_at
        FROM billing_dunning dunning
        JOIN billing_invoice invoice ON invoice.id = dunning.invoice_id
        LEFT JOIN billing_payment payment ON payment.invoice_id = invoice.id AND payment.status = 'failed'
            AND payment.created_at >= dunning.started_at
        GROUP BY dunning.id, invoice.id
        ORDER BY dunning.id
        """,
        at,
    )


def dunned_customers_are_told(at: datetime) -> Outcome:
    """Find dunning without the mail that tells of its start, and such that stopped a subscription and whose end nobody
    was told."""
    return compare(
        """
        SELECT format('%%s of %%s has no mail that tells of its %%s', dunning.public_id, customer.public_id,
                CASE WHEN started.id IS NULL THEN 'start' ELSE 'end' END),
            started.id IS NULL
                OR ended.id IS NULL AND dunning.outcome IN ('paused', 'marked_unpaid', 'canceled', 'not_paid')
                    AND NOT EXISTS (
                        SELECT FROM billing_dunning other
                        JOIN billing_mail mail ON mail.key = other.public_id || ':dunning_ended'
                        WHERE other.customer_id = dunning.customer_id AND other.ended_at = dunning.ended_at
                    )
        FROM billing_dunning dunning
        JOIN plans_customer customer ON customer.id = dunning.customer_id
        LEFT JOIN billing_mail started ON started.key = dunning.public_id || ':charge_failed'
        LEFT JOIN billing_mail ended ON ended.key = dunning.public_id || ':dunning_ended'
        ORDER BY dunning.id
        """,
        at,
    )
