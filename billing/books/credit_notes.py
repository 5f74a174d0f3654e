"""What was taken back of issued invoices, and where the money went."""

from datetime import datetime

from billing.books.statements import Outcome, compare


def credit_notes_equal_their_lines(at: datetime) -> Outcome:
    """Compare the sums of each credit note with those of its lines, whose tax is on top unless the invoice's prices
    include it."""
    return compare(
        """
        WITH line AS (
            SELECT credit_note_id, sum(amount_cents) AS cents, sum(monetary_credit_cents) AS credited,
                sum(tax_cents) AS tax
            FROM billing_creditnoteline GROUP BY 1
        )
        SELECT format('credit note %%s of %%s with tax of %%s and %%s by credits: its lines come to %%s, %%s and %%s',
                note.number, note.total_cents, note.tax_cents, note.monetary_credit_cents, line.cents, line.tax,
                line.credited),
            (note.total_cents, note.tax_cents, note.monetary_credit_cents) IS DISTINCT FROM (
                line.cents - line.credited + CASE WHEN invoice.prices_include_tax THEN 0 ELSE line.tax END,
                line.tax,
                line.credited
            )
        FROM billing_creditnote note
        JOIN billing_invoice invoice ON invoice.id = note.invoice_id
        LEFT JOIN line ON line.credit_note_id = note.id
        ORDER BY note.id
        """,
        at,
    )


def credit_notes_fit_their_invoices(at: datetime) -> Outcome:
    """Compare the credit notes of each invoice with what it says is credited, and with its total; they are its
    customer's, in its currency and of its own lines. No line is credited more tax, or more of what credits of money had
    paid, than its charge has."""
    return compare(
        """
        WITH note AS (
            SELECT invoice_id, sum(total_cents) AS cents FROM billing_creditnote GROUP BY 1
        ), of_charge AS (
            SELECT line.invoice_id, bool_or(credited.tax > charge.tax OR credited.paid > charge.paid) AS too_much
            FROM (
                SELECT line_id, sum(tax_cents) AS tax, sum(monetary_credit_cents) AS paid
                FROM billing_creditnoteline GROUP BY 1
            ) AS credited
            JOIN billing_invoiceline line ON line.id = credited.line_id
            CROSS JOIN LATERAL (
                SELECT sum(tax_cents) AS tax, sum(monetary_credit_cents) AS paid FROM billing_invoiceline part
                WHERE part.id = line.id OR part.invoice_id = line.invoice_id AND part.period_id = line.period_id
                    AND part.effective_at IS NOT DISTINCT FROM line.effective_at
            ) AS charge
            GROUP BY 1
        ), stray AS (
            SELECT note.invoice_id FROM billing_creditnote note
            JOIN billing_invoice invoice ON invoice.id = note.invoice_id
            LEFT JOIN billing_creditnoteline credited ON credited.credit_note_id = note.id
            LEFT JOIN billing_invoiceline line ON line.id = credited.line_id
            WHERE (note.customer_id, note.currency, line.invoice_id)
                IS DISTINCT FROM (invoice.customer_id, invoice.currency, invoice.id)
        )
        SELECT format('invoice %%s of %%s says that %%s are credited, its credit notes come to %%s',
                COALESCE(number, public_id), total_cents, credited_cents, COALESCE(cents, 0)),
            credited_cents <> COALESCE(cents, 0) OR credited_cents > total_cents OR COALESCE(too_much, false)
                OR EXISTS (SELECT FROM stray WHERE stray.invoice_id = billing_invoice.id)
        FROM billing_invoice
        LEFT JOIN note ON note.invoice_id = billing_invoice.id
        LEFT JOIN of_charge ON of_charge.invoice_id = billing_invoice.id
        WHERE credited_cents <> 0 OR note.invoice_id IS NOT NULL
        ORDER BY billing_invoice.id
        """,
        at,
    )


def credit_note_numbers_have_no_gaps(at: datetime) -> Outcome:
    """Compare each customer's credit notes with the numbers 1 to the last."""
    return compare(
        """
        SELECT format('customer %%s has %%s credit notes, numbered %%s to %%s', customer_id, count(*), min(sequence),
                max(sequence)),
            (min(sequence), max(sequence), count(DISTINCT sequence)) IS DISTINCT FROM (1, count(*), count(*))
                OR bool_or(substring(number FROM '[0-9]+$')::integer <> sequence)
        FROM billing_creditnote GROUP BY customer_id ORDER BY customer_id
        """,
        at,
    )


def credited_money_went_back(at: datetime) -> Outcome:
    """Compare each credit note with what returned to grants of money, with the refund, and with the grant that it
    made."""
    return compare(
        """
        SELECT format('credit note %%s returns %%s to credits, %%s to the source and %%s as credit, but moved %%s, %%s '
                'and %%s', note.number, note.monetary_credit_cents, note.source_cents, note.credit_cents,
                returned.cents, COALESCE(refund.amount_cents, 0), COALESCE(kept.initial_amount, 0)),
            (note.monetary_credit_cents, note.source_cents, note.credit_cents)
                IS DISTINCT FROM (returned.cents, COALESCE(refund.amount_cents, 0), COALESCE(kept.initial_amount, 0))
        FROM billing_creditnote note
        CROSS JOIN LATERAL (
            SELECT COALESCE(sum(movement.amount), 0) AS cents
            FROM billing_returnedcredit returned
            JOIN credits_credittransaction movement ON movement.id = returned.transaction_id
            JOIN billing_invoiceline line ON line.id = returned.line_id
            WHERE returned.credit_note_id = note.id AND line.invoice_id = note.invoice_id
                AND movement.grant_id = line.grant_id AND movement.kind = 'returned'
        ) AS returned
        LEFT JOIN billing_refund refund ON refund.credit_note_id = note.id
        LEFT JOIN credits_creditgrant kept ON kept.customer_id = note.customer_id AND kept.currency = note.currency
            AND kept.reference_code = 'credit_note:' || note.public_id
        ORDER BY note.id
        """,
        at,
    )


def refunds_fit_their_payments(at: datetime) -> Outcome:
    """Compare what goes back of each payment, as a refund or as credit, with what was paid."""
    return compare(
        """
        SELECT format('payment %%s of %%s: %%s go back to its source, and %%s were kept as credit', payment.public_id,
                payment.amount_cents, refunded.cents, kept.cents),
            refunded.cents + kept.cents > payment.amount_cents OR payment.status <> 'succeeded' OR NOT refunded.fits
        FROM billing_payment payment
        CROSS JOIN LATERAL (
            SELECT COALESCE(sum(amount_cents), 0) AS cents,
                COALESCE(bool_and(currency = payment.currency AND customer_id = payment.customer_id), true) AS fits
            FROM billing_refund WHERE payment_id = payment.id
        ) AS refunded
        CROSS JOIN LATERAL (
            SELECT COALESCE(sum(credit_cents), 0) AS cents FROM billing_creditnote
            WHERE invoice_id = payment.invoice_id
        ) AS kept
        WHERE payment.status = 'succeeded' OR refunded.cents > 0
        ORDER BY payment.id
        """,
        at,
    )
