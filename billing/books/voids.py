"""Invoices that were withdrawn, and those that a later one took along."""

from datetime import datetime

from billing.books.statements import Outcome, compare


def voided_money_went_back(at: datetime) -> Outcome:
    """Compare what credits of money paid of each void invoice with what returned to them; no invoice that stands has
    returned any without a credit note. What a void invoice kept as credit can be spent no more."""
    return compare(
        """
        SELECT format('invoice %%s is %%s: grant %%s paid %%s of it, and %%s returned', COALESCE(invoice.number, ''),
                invoice.status, line.grant_id, -line.amount_cents, returned.cents),
            CASE WHEN line.type = 'refund' THEN invoice.status = 'void' AND credit.ledger_remaining > 0
                ELSE returned.alone <> CASE invoice.status WHEN 'void' THEN -line.amount_cents ELSE 0 END
                    OR returned.cents > -line.amount_cents END
        FROM billing_invoiceline line
        JOIN billing_invoice invoice ON invoice.id = line.invoice_id
        JOIN credits_creditgrant credit ON credit.id = line.grant_id
        CROSS JOIN LATERAL (
            SELECT COALESCE(sum(movement.amount), 0) AS cents,
                COALESCE(sum(movement.amount) FILTER (WHERE credit_note_id IS NULL), 0) AS alone
            FROM billing_returnedcredit returned
            JOIN credits_credittransaction movement ON movement.id = returned.transaction_id
            WHERE returned.line_id = line.id
        ) AS returned
        WHERE line.credit_transaction_id IS NOT NULL
        ORDER BY line.id
        """,
        at,
    )


def replacements_repeat_what_is_void(at: datetime) -> Outcome:
    """Compare each invoice that replaces another one with it: that one is void, and all its charges are repeated once,
    with the same amounts."""
    return compare(
        """
        SELECT format('invoice %%s replaces invoice %%s, which is %%s: %%s charges of %%s, %%s of them repeated as %%s',
                invoice.number, void.number, void.status, charges.number, charges.cents, repeated.number,
                repeated.cents),
            void.status <> 'void' OR void.customer_id <> invoice.customer_id OR void.currency <> invoice.currency
                OR (charges.number, charges.cents) IS DISTINCT FROM (repeated.number, repeated.cents)
        FROM billing_invoice invoice
        JOIN billing_invoice void ON void.id = invoice.replaces_id
        CROSS JOIN LATERAL (
            SELECT count(*) AS number, COALESCE(sum(amount_cents), 0) AS cents FROM billing_invoiceline
            WHERE invoice_id = void.id AND credit_transaction_id IS NULL AND type NOT IN ('brought_forward', 'rounding')
        ) AS charges
        CROSS JOIN LATERAL (
            SELECT count(*) AS number, COALESCE(sum(line.amount_cents), 0) AS cents FROM billing_invoiceline line
            JOIN billing_invoiceline before ON before.id = line.replaced_line_id AND before.invoice_id = void.id
                AND before.amount_cents = line.amount_cents
            WHERE line.invoice_id = invoice.id
        ) AS repeated
        ORDER BY invoice.id
        """,
        at,
    )


def carried_balances_are_taken_along_once(at: datetime) -> Outcome:
    """Compare what is open of each carried invoice with the line that brings it forward: there is one on the invoice
    that took it along, and none on any other that stands. An invoice that is not carried is brought forward nowhere."""
    return compare(
        """
        SELECT format('invoice %%s is %%s with %%s open: %%s lines that stand bring %%s forward', invoice.number,
                invoice.status, invoice.total_cents - invoice.credited_cents, forward.lines, forward.cents),
            forward.lines <> (invoice.carried_into_id IS NOT NULL)::integer
                OR forward.lines = 1 AND (forward.cents, forward.invoice, forward.customer)
                    IS DISTINCT FROM (invoice.total_cents - invoice.credited_cents, invoice.carried_into_id,
                        invoice.customer_id)
        FROM billing_invoice invoice
        CROSS JOIN LATERAL (
            SELECT count(*) AS lines, sum(line.amount_cents)::bigint AS cents, max(later.id) AS invoice,
                max(later.customer_id) AS customer
            FROM billing_invoiceline line JOIN billing_invoice later ON later.id = line.invoice_id
            WHERE line.carried_invoice_id = invoice.id AND later.status <> 'void' AND later.currency = invoice.currency
        ) AS forward
        WHERE invoice.status = 'carried' OR forward.lines > 0
        ORDER BY invoice.id
        """,
        at,
    )
