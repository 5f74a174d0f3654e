"""What tax comes to."""

from datetime import datetime

from billing.books.statements import Outcome, compare


def tax_is_that_of_its_lines(at: datetime) -> Outcome:
    """Compare each invoice's tax with that of its lines, what those were taxed on with what they come to, and each
    line's tax with its rate, rounded once. On invoices that somebody wrote by hand the tax may be his own."""
    return compare(
        """
        WITH line AS (
            SELECT line.*, invoice.kind AS invoice_kind, invoice.prices_include_tax, invoice.tax_cents AS invoice_tax,
                CASE WHEN sum(line.taxable_cents) OVER (PARTITION BY line.invoice_id, line.tax_rate) = 0 THEN 0
                    WHEN invoice.prices_include_tax
                        THEN round(line.taxable_cents * line.tax_rate / (1 + line.tax_rate))
                    ELSE round(line.taxable_cents * line.tax_rate) END AS expected
            FROM billing_invoiceline line JOIN billing_invoice invoice ON invoice.id = line.invoice_id
        ), summed AS (
            SELECT invoice_id, sum(tax_cents) AS tax, sum(taxable_cents) AS taxable,
                -- Credits of money are taken off the lines that they pay for; what is brought forward was taxed, and
                -- the rounding of a total is not.
                sum(amount_cents - monetary_credit_cents) FILTER (WHERE type NOT IN ('brought_forward', 'rounding')
                    AND NOT (type = 'credit' AND credit_transaction_id IS NOT NULL)) AS amount,
                count(*) FILTER (WHERE invoice_kind <> 'manual' AND NOT CASE
                    WHEN tax_rate IS NULL THEN tax_cents = 0
                    -- Where the tax would be negative, that of what is given back is cut.
                    WHEN invoice_tax = 0 AND taxable_cents < 0 THEN tax_cents BETWEEN expected AND 0
                    ELSE tax_cents = expected END) AS wrong
            FROM line GROUP BY 1
        )
        SELECT format('invoice %%s has tax of %%s; its lines have %%s, on %%s of %%s, %%s of them not by their rate',
                COALESCE(number, public_id), tax_cents, COALESCE(tax, 0), COALESCE(taxable, 0), COALESCE(amount, 0),
                COALESCE(wrong, 0)),
            tax_cents <> COALESCE(tax, 0) OR wrong > 0 OR tax_method <> '' AND taxable <> amount
        FROM billing_invoice invoice LEFT JOIN summed ON summed.invoice_id = invoice.id
        ORDER BY invoice.id
        """,
        at,
    )
