"""What credits of money pay, and what invoices keep for the next ones."""

from datetime import datetime

from billing.books.statements import Outcome, compare


def burned_money_is_on_an_invoice(at: datetime) -> Outcome:
    """Compare what monetary credits burned with the lines that take it off an invoice of the same customer, in the same
    currency, both ways."""
    return compare(
        """
        SELECT format('transaction %%s burns %%s minor units of %%s, but a line of invoice %%s takes off %%s',
                COALESCE(burned.public_id, 'none'), COALESCE(burned.amount, 0),
                COALESCE(burned.currency, 'no currency'), COALESCE(line.number, line.invoice, 'none'),
                COALESCE(line.amount_cents, 0)),
            (burned.amount, burned.currency, burned.customer_id, burned.grant_id)
                IS DISTINCT FROM (line.amount_cents, line.currency, line.customer_id, line.grant_id)
        FROM (
            SELECT movement.id, movement.public_id, movement.amount, movement.customer_id, movement.grant_id,
                credit.currency
            FROM credits_credittransaction movement JOIN credits_creditgrant credit ON credit.id = movement.grant_id
            WHERE movement.kind = 'burned' AND credit.metric_id IS NULL
        ) AS burned
        FULL JOIN (
            SELECT line.credit_transaction_id, line.amount_cents, line.grant_id, invoice.customer_id, invoice.currency,
                invoice.number, invoice.public_id AS invoice
            FROM billing_invoiceline line JOIN billing_invoice invoice ON invoice.id = line.invoice_id
            WHERE line.type = 'credit' AND line.period_id IS NULL AND invoice.kind <> 'manual'
        ) AS line ON line.credit_transaction_id = burned.id
        ORDER BY burned.id
        """,
        at,
    )


def money_is_spread_over_lines(at: datetime) -> Outcome:
    """Compare what monetary credits take off each invoice with what its lines say is paid of them."""
    return compare(
        """
        SELECT format('invoice %%s: credits of money take off %%s, but its lines are paid %%s of that',
                COALESCE(invoice.number, invoice.public_id), COALESCE(-taken, 0), paid),
            COALESCE(-taken, 0) <> paid
        FROM (
            SELECT invoice_id,
                sum(amount_cents) FILTER (WHERE type = 'credit' AND credit_transaction_id IS NOT NULL) AS taken,
                sum(monetary_credit_cents) AS paid
            FROM billing_invoiceline GROUP BY 1
        ) AS line JOIN billing_invoice invoice ON invoice.id = line.invoice_id
        WHERE taken IS NOT NULL OR paid <> 0
        ORDER BY invoice.id
        """,
        at,
    )


def kept_money_is_granted(at: datetime) -> Outcome:
    """Compare what invoices came to below zero with the grants of that amount that keep it, both ways; such an invoice
    is at zero."""
    return compare(
        """
        SELECT format('invoice %%s of %%s keeps %%s, but %%s %%s are granted for it', COALESCE(line.number, 'none'),
                COALESCE(line.total_cents, 0), COALESCE(line.amount_cents, 0), COALESCE(credit.initial_amount, 0),
                COALESCE(credit.currency, '')),
            (line.amount_cents, line.currency, line.customer_id, line.reference, line.total_cents)
                IS DISTINCT FROM (credit.initial_amount, credit.currency, credit.customer_id, credit.reference_code, 0)
        FROM (
            SELECT line.grant_id, line.amount_cents, invoice.customer_id, invoice.currency, invoice.number,
                invoice.total_cents, 'refund:' || invoice.public_id AS reference
            FROM billing_invoiceline line JOIN billing_invoice invoice ON invoice.id = line.invoice_id
            WHERE line.type = 'refund'
        ) AS line
        FULL JOIN (
            SELECT * FROM credits_creditgrant
            WHERE reference_code LIKE 'refund:%%' AND metric_id IS NULL AND source = 'refund'
        ) AS credit ON credit.id = line.grant_id
        ORDER BY credit.id
        """,
        at,
    )
