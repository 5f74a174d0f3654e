"""What the books say of usage that was found after its period was settled."""

# What each period burned by now. Units that come back are taken off, but for those that had expired: these come back
# together with a burn of them.
BURNED = """
    burned AS (
        SELECT period_id, -sum(amount) AS units FROM credits_credittransaction movement
        WHERE kind = 'burned' OR kind = 'returned' AND NOT EXISTS (
            SELECT FROM credits_credittransaction again WHERE again.difference_id = movement.difference_id
                AND again.grant_id = movement.grant_id AND again.kind = 'burned'
        )
        GROUP BY 1
    )
"""

# What was found of each period by now.
FOUND = """
    found AS (
        SELECT period_id, sum(usage) AS usage, sum(included) AS included, sum(credited) AS credited,
            sum(net_cents) AS net_cents, count(*) AS differences, max(number) AS last_number
        FROM credits_usagedifference GROUP BY 1
    )
"""

BURNED_WHAT_IS_CREDITED = f"""
    WITH {BURNED}, {FOUND}, total AS (
        SELECT period.id, settled_usage + COALESCE(found.usage, 0) AS usage,
            settled_included + COALESCE(found.included, 0) AS included,
            settled_credited + COALESCE(found.credited, 0) AS credited, COALESCE(burned.units, 0) AS burned
        FROM plans_subscriptionperiod period
        LEFT JOIN burned ON burned.period_id = period.id
        LEFT JOIN found ON found.period_id = period.id
        WHERE period.settled_at IS NOT NULL AND period.metric_id IS NOT NULL OR burned.period_id IS NOT NULL
            OR found.period_id IS NOT NULL
    )
    SELECT format('period %%s: %%s units used, %%s included, %%s credited, but %%s burned', id,
            COALESCE(usage::text, 'unknown'), COALESCE(included::text, 'unknown'),
            COALESCE(credited::text, 'unknown'), burned),
        (credited = burned AND credited >= 0 AND included >= 0 AND included + credited <= usage) IS NOT TRUE
    FROM total
    ORDER BY id
"""

FOUND_UNITS_COST_THEIR_PRICE = f"""
    WITH {FOUND}, total AS (
        SELECT period.id, component.unit_cost_cents, settled_net_cents + found.net_cents AS cents, found.differences,
            found.last_number, settled_usage - settled_included - settled_credited
                + found.usage - found.included - found.credited AS units,
            component.model = 'per_unit' AND component.divide_by IS NULL AND component.minimum_cents IS NULL
                AND component.maximum_cents IS NULL AND component.unit_cost_cents IS NOT NULL AS is_plain
        FROM found
        JOIN plans_subscriptionperiod period ON period.id = found.period_id
        JOIN plans_subscriptionitem item ON item.id = period.item_id
        LEFT JOIN plans_pricecomponent component ON component.id = item.component_id
    )
    SELECT format('period %%s: it came to %%s with its %%s differences, the last of which is number %%s, for %%s units '
            'at %%s minor units each', id, COALESCE(cents::text, 'no amount'), differences, last_number, units,
            COALESCE(unit_cost_cents::text, 'no plain price of')),
        cents IS NULL OR differences <> last_number OR is_plain AND cents <> round(units * unit_cost_cents)
    FROM total
    ORDER BY id
"""

FOUND_IS_BILLED_ONCE = """
    SELECT format('difference %%s of period %%s comes to %%s and is %%s, but its line has %%s', difference.number,
            difference.period_id, net_cents, CASE WHEN billed_at IS NULL THEN 'not billed' ELSE 'billed' END,
            COALESCE(line.amount_cents::text, 'no amount: there is none')),
        CASE WHEN billed_at IS NULL THEN COALESCE(line.id, credited.id, kept.id) IS NOT NULL
            ELSE net_cents <> COALESCE(line.amount_cents, 0) - COALESCE(credited.amount_cents, 0)
                    - COALESCE(kept.initial_amount, 0)
                OR line.id IS NOT NULL AND (line.period_id, billed.stable_subscription_id)
                    IS DISTINCT FROM (difference.period_id, sold.stable_subscription_id) END
    FROM credits_usagedifference difference
    JOIN plans_subscriptionperiod period ON period.id = difference.period_id
    -- A version that a change ended is billed with the one that followed.
    JOIN plans_subscription sold ON sold.id = period.subscription_id
    LEFT JOIN billing_invoiceline line ON line.difference_id = difference.id
    LEFT JOIN billing_invoice invoice ON invoice.id = line.invoice_id
    LEFT JOIN plans_subscription billed ON billed.id = invoice.subscription_id
    LEFT JOIN billing_creditnoteline credited ON credited.difference_id = difference.id
    LEFT JOIN credits_creditgrant kept ON kept.customer_id = difference.customer_id
        AND kept.reference_code = 'difference:' || difference.id
    ORDER BY difference.id
"""
