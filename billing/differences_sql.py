"""What a reconciliation compares: one statement over all that it has seen at Stripe, and all that is here."""

# Each row is something that seems to differ: see `Found` of billing.services.reconcile. What moved on our side after
# `until`, is being charged, or waits in the inbox is under way, and no difference yet.
DIFFERENCES = """
WITH seen AS (
    SELECT * FROM billing_seenatstripe WHERE reconciliation_id = %(run)s
), told AS (
    SELECT DISTINCT named.stripe_id
    FROM billing_stripeinbox CROSS JOIN LATERAL (VALUES
        (payload #>> '{data,object,id}'),
        (payload #>> '{data,object,payment_intent}')
    ) AS named(stripe_id)
    WHERE processed_at IS NULL AND error = '' AND named.stripe_id IS NOT NULL
), credited AS (
    SELECT invoice_id, sum(due_cents) AS cents, max(issued_at) AS issued_at FROM billing_creditnote GROUP BY 1
), invoice_there AS (
    SELECT seen.stripe_id, seen.our_id, seen.status, seen.amount_cents, seen.paid_cents, seen.currency, seen.made_at,
        seen.is_fresh, invoice.id AS invoice_id, invoice.public_id, invoice.status AS our_status,
        invoice.total_cents - CASE WHEN checkout.id IS NULL THEN COALESCE(credited.cents, 0) ELSE 0 END AS our_cents,
        invoice.currency AS our_currency,
        (seen.stripe_id = invoice.stripe_invoice_id) IS TRUE AS is_current,
        invoice.stripe_invoice_id IS NULL AND seen.revision = invoice.stripe_revision::text AS is_on_its_way,
        void.id IS NOT NULL AS is_withdrawn,
        (void.voided_at IS NOT NULL OR void.error <> '') IS TRUE AS is_to_be_void,
        payment.id AS payment_id, payment.amount_cents AS our_paid_cents, payment.external_id AS paid_by,
        (GREATEST(invoice.stripe_sent_at, invoice.paid_at, invoice.voided_at, invoice.charge_started_at,
            payment.created_at, credited.issued_at, void.voided_at) > %(until)s
            OR invoice.charge_started_at IS NOT NULL AND invoice.collect_at > %(at)s
            OR invoice.stripe_sent_at IS NULL AND invoice.send_attempts > 0 AND invoice.send_at > %(at)s
            OR seen.stripe_id IN (SELECT stripe_id FROM told)) IS TRUE AS is_under_way
    FROM seen
    LEFT JOIN billing_invoice invoice ON invoice.public_id = seen.our_id
    LEFT JOIN credited ON credited.invoice_id = invoice.id
    LEFT JOIN billing_payment payment ON payment.invoice_id = invoice.id AND payment.status = 'succeeded'
    -- One that a checkout has paid is sent with the total that it took, whatever had been credited before.
    LEFT JOIN billing_checkout checkout ON checkout.invoice_id = invoice.id AND checkout.intent_id = payment.external_id
    LEFT JOIN LATERAL (
        SELECT * FROM billing_stripevoid void
        WHERE void.invoice_id = invoice.id AND (void.stripe_invoice_id = seen.stripe_id
            OR void.stripe_invoice_id = '' AND void.revision::text = seen.revision)
        LIMIT 1
    ) AS void ON true
    WHERE seen.type = 'invoice' AND seen.status <> 'gone'
), of_invoices AS (
    SELECT found.kind, 'invoice' AS object_type, COALESCE(public_id, '') AS object_id, stripe_id,
        COALESCE(our_status, '') AS our_status,
        CASE WHEN invoice_id IS NULL THEN NULL
            WHEN found.kind = 'paid_here' THEN our_paid_cents
            WHEN found.kind = 'amount_differs' AND (our_cents, our_currency) IS NOT DISTINCT FROM
                (amount_cents, currency) THEN our_paid_cents
            ELSE our_cents END AS our_cents,
        COALESCE(our_currency, '') AS our_currency,
        status AS their_status,
        CASE WHEN found.kind = 'paid_there' OR found.kind = 'amount_differs' AND
            (our_cents, our_currency) IS NOT DISTINCT FROM (amount_cents, currency)
            THEN paid_cents ELSE amount_cents END AS their_cents,
        currency AS their_currency, made_at, is_fresh
    FROM invoice_there CROSS JOIN LATERAL (VALUES
        ('unknown_invoice', status <> 'void' AND (invoice_id IS NULL
            OR status <> 'paid' AND NOT (is_current OR is_withdrawn OR is_on_its_way))),
        ('paid_there', invoice_id IS NOT NULL AND status = 'paid' AND paid_cents IS DISTINCT FROM 0
            AND payment_id IS NULL),
        ('paid_here', payment_id IS NOT NULL AND status <> 'paid' AND (is_current OR paid_by = stripe_id)),
        ('amount_differs', is_current AND (our_cents, our_currency) IS DISTINCT FROM (amount_cents, currency)
            OR paid_by = stripe_id AND status = 'paid' AND our_paid_cents IS DISTINCT FROM paid_cents),
        ('status_differs', is_current AND payment_id IS NULL AND CASE our_status
                WHEN 'issued' THEN status NOT IN ('open', 'paid')
                WHEN 'paid' THEN status <> 'paid'
                WHEN 'void' THEN status NOT IN ('void', 'paid')
                WHEN 'carried' THEN status NOT IN ('void', 'paid')
                ELSE status NOT IN ('open', 'paid', 'uncollectible') END
            OR is_withdrawn AND is_to_be_void AND status NOT IN ('void', 'paid'))
    ) AS found(kind, is_so)
    WHERE found.is_so AND NOT is_under_way
), of_intents AS (
    SELECT found.kind, CASE WHEN checkout.id IS NULL THEN 'intent' ELSE 'checkout' END,
        COALESCE(checkout.public_id, ''), seen.stripe_id, COALESCE(checkout.status, ''),
        COALESCE(payment.amount_cents, checkout.due_cents), COALESCE(payment.currency, price.currency, ''),
        seen.status, CASE WHEN seen.status = 'succeeded' THEN seen.paid_cents ELSE seen.amount_cents END, seen.currency,
        seen.made_at, seen.is_fresh
    FROM seen
    LEFT JOIN billing_checkout checkout ON checkout.intent_id = seen.stripe_id
    LEFT JOIN plans_price price ON price.id = checkout.price_id
    LEFT JOIN billing_payment payment ON payment.status = 'succeeded' AND payment.intent_id = seen.stripe_id
    CROSS JOIN LATERAL (VALUES
        ('unknown_payment', checkout.id IS NULL AND payment.id IS NULL
            AND seen.status IN ('succeeded', 'requires_capture')),
        ('paid_there', checkout.settled_at <= %(until)s AND seen.status = 'succeeded' AND payment.id IS NULL),
        ('paid_here', payment.id IS NOT NULL AND seen.status <> 'succeeded'),
        ('amount_differs', seen.status = 'succeeded' AND payment.id IS NOT NULL
            AND (payment.amount_cents, payment.currency) IS DISTINCT FROM (seen.paid_cents, seen.currency)),
        ('status_differs', checkout.settled_at <= %(until)s AND seen.status = 'requires_capture')
    ) AS found(kind, is_so)
    WHERE seen.type = 'intent' AND seen.status <> 'gone' AND found.is_so
        AND (payment.created_at > %(until)s) IS NOT TRUE AND seen.stripe_id NOT IN (SELECT stripe_id FROM told)
), charged AS (
    SELECT invoice, intent, max(cents) AS cents, min(made_at) AS made_at, bool_and(is_fresh) AS is_fresh
    FROM (
        SELECT belongs_to AS invoice, COALESCE(NULLIF(intent_id, ''), stripe_id) AS intent, amount_cents AS cents,
            made_at, is_fresh
        FROM seen WHERE type = 'payment' AND belongs_to <> '' AND status = 'paid'
        UNION ALL
        SELECT invoice.public_id, seen.stripe_id, seen.paid_cents, seen.made_at, seen.is_fresh
        FROM seen
        JOIN billing_checkout checkout ON checkout.intent_id = seen.stripe_id
        JOIN billing_invoice invoice ON invoice.id = checkout.invoice_id
        WHERE seen.type = 'intent' AND seen.status = 'succeeded'
    ) AS one
    WHERE cents > 0
    GROUP BY 1, 2
), given_back AS (
    -- Without our own refunds: those give back what is owed no more, so that what was paid twice stays paid twice.
    SELECT intent_id, sum(amount_cents) AS cents FROM seen
    WHERE type = 'refund' AND status IN ('succeeded', 'pending') AND intent_id <> ''
        AND NOT EXISTS (SELECT FROM billing_refund refund WHERE refund.public_id = seen.our_id)
    GROUP BY 1
), of_charges AS (
    SELECT 'paid_twice', 'invoice', charged.invoice, '', invoice.status, invoice.total_cents, invoice.currency,
        count(*) || ' payments', sum(charged.cents)::bigint, invoice.currency, min(charged.made_at), true
    FROM charged
    JOIN billing_invoice invoice ON invoice.public_id = charged.invoice
    LEFT JOIN given_back ON given_back.intent_id = charged.intent
    GROUP BY charged.invoice, invoice.id
    HAVING count(*) > 1 AND sum(charged.cents - COALESCE(given_back.cents, 0)) > invoice.total_cents
), of_refunds AS (
    SELECT found.kind, 'refund', COALESCE(refund.public_id, ''), seen.stripe_id, COALESCE(refund.status, ''),
        refund.amount_cents, COALESCE(refund.currency, ''), seen.status, seen.amount_cents, seen.currency, seen.made_at,
        seen.is_fresh
    FROM seen
    LEFT JOIN billing_refund refund ON refund.public_id = seen.our_id
    CROSS JOIN LATERAL (VALUES
        ('refund_there', seen.status NOT IN ('failed', 'canceled') AND (seen.our_id <> '' OR seen.belongs_to <> '')
            AND (refund.id IS NULL OR refund.external_id <> seen.stripe_id)),
        ('refund_differs', refund.external_id = seen.stripe_id
            AND ((refund.amount_cents, refund.currency) IS DISTINCT FROM (seen.amount_cents, seen.currency)
                OR refund.status = 'succeeded' AND seen.status <> 'succeeded'
                OR refund.status = 'failed' AND seen.status NOT IN ('failed', 'canceled')))
    ) AS found(kind, is_so)
    WHERE seen.type = 'refund' AND seen.status <> 'gone' AND found.is_so
        AND (GREATEST(refund.created_at, refund.refunded_at) > %(until)s) IS NOT TRUE
        AND seen.stripe_id NOT IN (SELECT stripe_id FROM told)
), of_disputes AS (
    SELECT 'dispute_differs', 'dispute', COALESCE(dispute.public_id, ''), seen.stripe_id, COALESCE(dispute.status, ''),
        dispute.amount_cents, COALESCE(dispute.currency, ''), seen.status, seen.amount_cents, seen.currency,
        seen.made_at, seen.is_fresh
    FROM seen LEFT JOIN billing_dispute dispute ON dispute.external_id = seen.stripe_id
    WHERE seen.type = 'dispute' AND seen.status <> 'gone' AND dispute.status IS DISTINCT FROM seen.status
        AND (dispute.told_at > %(until)s) IS NOT TRUE AND seen.stripe_id NOT IN (SELECT stripe_id FROM told)
), here AS (
    SELECT 'missing_there' AS kind, 'invoice' AS type, invoice.public_id, invoice.stripe_invoice_id AS stripe_id,
        invoice.status, invoice.total_cents, invoice.currency, invoice.stripe_sent_at AS made_at
    FROM billing_invoice invoice WHERE invoice.stripe_invoice_id IS NOT NULL
    UNION ALL
    SELECT 'missing_there', CASE WHEN payment.external_id LIKE 'in\\_%%' THEN 'invoice' ELSE 'intent' END,
        payment.public_id, payment.external_id, 'paid', payment.amount_cents, payment.currency, payment.created_at
    FROM billing_payment payment JOIN billing_invoice invoice ON invoice.id = payment.invoice_id
    WHERE payment.status = 'succeeded' AND invoice.stripe_invoice_id IS DISTINCT FROM payment.external_id
    UNION ALL
    SELECT 'refund_here', 'refund', public_id, external_id, status, amount_cents, currency, created_at
    FROM billing_refund WHERE external_id IS NOT NULL
), of_what_is_missing AS (
    SELECT here.kind, here.type, here.public_id, here.stripe_id, here.status, here.total_cents, here.currency,
        'not there', NULL::bigint, '', here.made_at, seen.id IS NOT NULL
    FROM here LEFT JOIN seen ON seen.type = here.type AND seen.stripe_id = here.stripe_id
    WHERE here.made_at <= %(until)s AND here.made_at >= COALESCE(%(since)s, '-infinity'::timestamptz)
        AND (seen.id IS NULL OR seen.status = 'gone')
), everything AS (
    SELECT * FROM of_invoices
    UNION ALL SELECT * FROM of_intents
    UNION ALL SELECT * FROM of_charges
    UNION ALL SELECT * FROM of_refunds
    UNION ALL SELECT * FROM of_disputes
    UNION ALL SELECT * FROM of_what_is_missing
)
"""
