"""What was paid, and what is given for it."""

from datetime import datetime

from billing.books.statements import Outcome, compare


def paid_invoices_have_their_payment(at: datetime) -> Outcome:
    """Find paid invoices without exactly one successful payment of their total, less what was credited before (0 needs
    none). What was paid beyond that, or for an invoice that is not to be paid, is given back."""
    return compare(
        """
        WITH payment AS (
            SELECT invoice_id, count(*) AS payments, sum(amount_cents) AS cents,
                bool_and(payment.currency = invoice.currency AND payment.customer_id = invoice.customer_id) AS fits
            FROM billing_payment payment JOIN billing_invoice invoice ON invoice.id = payment.invoice_id
            WHERE payment.status = 'succeeded' GROUP BY 1
        ), credited AS (
            SELECT invoice_id, sum(due_cents) AS cents FROM billing_creditnote GROUP BY 1
        ), given_back AS (
            SELECT payment.invoice_id, sum(refund.amount_cents) AS cents
            FROM billing_refund refund JOIN billing_payment payment ON payment.id = refund.payment_id
            WHERE refund.credit_note_id IS NULL GROUP BY 1
        )
        SELECT format('invoice %%s of %%s is %%s with %%s successful payments of %%s',
                COALESCE(number, invoice.public_id), total_cents, status, COALESCE(payments, 0),
                COALESCE(payment.cents, 0)),
            COALESCE(payments, 0) > 1 OR fits IS FALSE
                OR CASE WHEN status = 'paid' THEN total_cents - COALESCE(credited.cents, 0) ELSE 0 END
                    <> COALESCE(payment.cents, 0) - COALESCE(given_back.cents, 0)
        FROM billing_invoice invoice
        LEFT JOIN payment ON payment.invoice_id = invoice.id
        LEFT JOIN credited ON credited.invoice_id = invoice.id
        LEFT JOIN given_back ON given_back.invoice_id = invoice.id
        WHERE status = 'paid' OR payment.invoice_id IS NOT NULL
        ORDER BY invoice.id
        """,
        at,
    )


def charged_back_payments_go_back_once(at: datetime) -> Outcome:
    """Compare what was refunded of a payment after its dispute began with what a lost dispute has left of it."""
    return compare(
        """
        SELECT format('payment %%s of %%s: %%s were charged back, and %%s refunded after the dispute began',
                payment.public_id, payment.amount_cents, lost.cents, refunded.cents),
            lost.cents + refunded.cents > payment.amount_cents AND refunded.cents > 0
        FROM (
            SELECT payment_id, sum(amount_cents) AS cents, min(opened_at) AS opened_at
            FROM billing_dispute WHERE status = 'lost' GROUP BY 1
        ) AS lost
        JOIN billing_payment payment ON payment.id = lost.payment_id
        CROSS JOIN LATERAL (
            SELECT COALESCE(sum(amount_cents), 0) AS cents FROM billing_refund
            WHERE payment_id = payment.id AND external_id IS NOT NULL AND status <> 'failed'
                AND created_at > lost.opened_at
        ) AS refunded
        ORDER BY payment.id
        """,
        at,
    )


def bought_packs_are_granted_when_paid(at: datetime) -> Outcome:
    """Find packs on a paid invoice without the grant of what they hold, and packs that are granted but not paid."""
    return compare(
        """
        SELECT format('line %%s of invoice %%s, which is %%s: %%s packs of %%s, granted %%s', line.public_id,
                COALESCE(invoice.number, invoice.public_id), status, line.quantity, pack.amount,
                COALESCE(credit.initial_amount::text, 'nothing')),
            CASE WHEN status = 'paid'
                THEN (credit.source, credit.definition_id, credit.initial_amount)
                    IS DISTINCT FROM ('topup', pack.definition_id, pack.amount * line.quantity)
                ELSE credit.id IS NOT NULL
            END
        FROM billing_invoiceline line
        JOIN billing_invoice invoice ON invoice.id = line.invoice_id
        JOIN credits_topuppack pack ON pack.id = line.pack_id
        LEFT JOIN credits_creditgrant credit ON credit.customer_id = invoice.customer_id
            AND credit.reference_code = 'top_up:' || line.public_id
        ORDER BY line.id
        """,
        at,
    )


def checkouts_come_to_their_end(at: datetime) -> Outcome:
    """Find checkouts that no sweep will ever look at again although something is left to do, those that are not done
    after eight days (Stripe keeps a hold for seven), and those after which the first invoice is neither paid nor on
    its way."""
    return compare(
        """
        SELECT format('checkout %%s is %%s, with %%s', checkout.public_id, checkout.status,
                CASE WHEN settled_at IS NOT NULL THEN 'a first invoice that nobody sends'
                    WHEN step_at IS NULL THEN 'no next step'
                    ELSE 'a hold that was neither taken nor released' END),
            CASE WHEN settled_at IS NULL THEN step_at IS NULL OR checkout.created_at < %(at)s - interval '8 days'
                ELSE due_cents > 0 AND invoice.status = 'issued' AND invoice.send_at IS NULL
                    AND invoice.stripe_sent_at IS NULL AND customer.parked_at IS NULL
            END IS TRUE
        FROM billing_checkout checkout
        LEFT JOIN billing_invoice invoice ON invoice.id = checkout.invoice_id
        LEFT JOIN plans_customer customer ON customer.id = invoice.customer_id
        ORDER BY checkout.id
        """,
        at,
    )


def automatic_purchases_follow_their_rule(at: datetime) -> Outcome:
    """Find automatic purchases of another customer or pack than those of their automatic top-up, and those whose
    numbers leave a gap."""
    return compare(
        """
        SELECT format('invoice %%s: purchase %%s of automatic top-up %%s, which has %%s', invoice.number,
                invoice.auto_top_up_number, rule.public_id, invoice.purchases),
            invoice.customer_id <> rule.customer_id OR invoice.auto_top_up_number > invoice.purchases
                OR NOT EXISTS (
                    SELECT FROM billing_invoiceline line WHERE line.invoice_id = invoice.id
                        AND line.type = 'top_up' AND line.pack_id = rule.pack_id
                )
        FROM (
            SELECT *, count(*) OVER (PARTITION BY auto_top_up_id) AS purchases
            FROM billing_invoice WHERE auto_top_up_id IS NOT NULL
        ) AS invoice
        JOIN billing_autotopup rule ON rule.id = invoice.auto_top_up_id
        ORDER BY invoice.id
        """,
        at,
    )
