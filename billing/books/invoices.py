"""What is owed: invoices, their lines and their numbers."""

from datetime import datetime

from billing.books.statements import Outcome, compare


def invoices_equal_their_lines(at: datetime) -> Outcome:
    """Compare each invoice's subtotal with the sum of its lines, less the tax that these include, and its total with
    subtotal and tax."""
    return compare(
        """
        WITH line AS (SELECT invoice_id, sum(amount_cents) AS cents FROM billing_invoiceline GROUP BY 1)
        SELECT format('invoice %%s: lines of %%s, subtotal %%s, tax %%s, total %%s',
                COALESCE(number, public_id), COALESCE(cents, 0), subtotal_cents, tax_cents, total_cents),
            subtotal_cents <> COALESCE(cents, 0) - CASE WHEN prices_include_tax THEN tax_cents ELSE 0 END
                OR total_cents <> subtotal_cents + tax_cents OR total_cents < 0
        FROM billing_invoice LEFT JOIN line ON line.invoice_id = billing_invoice.id
        ORDER BY billing_invoice.id
        """,
        at,
    )


def only_issued_invoices_have_lines(at: datetime) -> Outcome:
    """Find drafts and skipped invoices with lines, and issued invoices without any; a draft that an operator writes may
    have some."""
    return compare(
        """
        SELECT format('invoice %%s is %%s and has %%s lines', COALESCE(number, public_id), status, lines),
            (status IN ('draft', 'skipped')) = (lines > 0) AND NOT (status = 'draft' AND kind = 'manual')
        FROM (
            SELECT billing_invoice.*, (
                SELECT count(*) FROM billing_invoiceline WHERE invoice_id = billing_invoice.id
            ) AS lines
            FROM billing_invoice
        ) AS invoice
        ORDER BY id
        """,
        at,
    )


def one_invoice_per_close(at: datetime) -> Outcome:
    """Find closes of a subscription with several invoices of one kind, besides those that replace a void one."""
    return compare(
        """
        SELECT format('subscription %%s has %%s %%s invoices for the close at %%s', subscription_id, count(*), kind,
                closes_at),
            count(*) > 1
        FROM billing_invoice WHERE subscription_id IS NOT NULL AND replaces_id IS NULL AND kind <> 'manual'
        GROUP BY subscription_id, kind, closes_at
        ORDER BY subscription_id, closes_at
        """,
        at,
    )


def invoice_numbers_have_no_gaps(at: datetime) -> Outcome:
    """Compare each customer's invoice numbers with 1 to its last one."""
    return compare(
        """
        WITH numbered AS (
            SELECT customer_id, substring(number FROM '[0-9]+$')::integer AS number FROM billing_invoice
            WHERE number IS NOT NULL
        ), counted AS (
            SELECT customer_id, count(*) AS invoices, count(DISTINCT number) AS numbers, min(number) AS first,
                max(number) AS last
            FROM numbered GROUP BY 1
        )
        SELECT format('customer %%s was given %%s invoice numbers, but has %%s invoices numbered %%s to %%s',
                customer.public_id, last_invoice_number, COALESCE(invoices, 0), first, last),
            (COALESCE(invoices, 0), COALESCE(numbers, 0), COALESCE(last, 0), COALESCE(first, 1))
                IS DISTINCT FROM (last_invoice_number, last_invoice_number, last_invoice_number, 1)
        FROM plans_customer customer LEFT JOIN counted ON counted.customer_id = customer.id
        WHERE last_invoice_number > 0 OR invoices > 0
        ORDER BY customer.id
        """,
        at,
    )
