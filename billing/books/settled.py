"""What settled periods came to: units, and their price."""

from datetime import datetime

from billing.books.statements import SHARE_OF_WHOLE, Outcome, compare
from billing.late_usage_sql import BURNED_WHAT_IS_CREDITED


def settled_periods_burned_what_they_credited(at: datetime) -> Outcome:
    """Compare the credited units of each settled period with the units that its transactions burned, and included and
    credited units with what was used; each together with what was found later."""
    return compare(BURNED_WHAT_IS_CREDITED, at)


_CHARGED = f"""
    line AS (
        SELECT period_id, sum(amount_cents) AS cents,
            sum(CASE type WHEN 'usage' THEN quantity WHEN 'credit' THEN -quantity ELSE 0 END) AS units
        FROM billing_invoiceline
        WHERE type IN ('usage', 'credit', 'minimum', 'maximum') AND replaced_line_id IS NULL
        GROUP BY 1
    ), charged AS (
        SELECT period.id, settled_usage - settled_included - settled_credited AS units, component.unit_cost_cents,
            component.model, component.divide_by, round(component.minimum_cents * share.of_whole) AS minimum_cents,
            round(component.maximum_cents * share.of_whole) AS maximum_cents, invoice.status
        FROM plans_subscriptionperiod period
        JOIN plans_subscriptionitem item ON item.id = period.item_id
        JOIN plans_pricecomponent component ON component.id = item.component_id
        CROSS JOIN LATERAL (SELECT {SHARE_OF_WHOLE} AS of_whole) share
        LEFT JOIN billing_invoicedperiod gathered ON gathered.period_id = period.id
        LEFT JOIN billing_invoice invoice ON invoice.id = gathered.invoice_id
        WHERE period.settled_at IS NOT NULL AND period.metric_id IS NOT NULL AND period.kind = 'regular'
    )
"""


def settled_usage_is_included_credited_or_charged(at: datetime) -> Outcome:
    """Compare each settled, priced period with its lines in units: usage line − credit lines = used − included −
    credited. A skipped invoice has no lines."""
    return compare(
        f"""
        WITH {_CHARGED}
        SELECT format('period %%s: %%s units are neither included nor credited, but its lines charge %%s', charged.id,
                charged.units, COALESCE(line.units, 0)),
            charged.status IS NULL OR charged.status <> 'skipped' AND charged.units <> COALESCE(line.units, 0)
        FROM charged LEFT JOIN line ON line.period_id = charged.id
        ORDER BY charged.id
        """,
        at,
    )


def charged_units_cost_their_price(at: datetime) -> Outcome:
    """Compare the lines of each settled period of a component with a plain unit price in money: their sum is the price
    of the charged units, rounded once half away from zero, within minimum and maximum. A skipped invoice charges
    nothing."""
    return compare(
        f"""
        WITH {_CHARGED}
        SELECT format('period %%s: %%s units at %%s minor units each, but its lines charge %%s', charged.id,
                charged.units, charged.unit_cost_cents, COALESCE(line.cents, 0)),
            LEAST(GREATEST(round(charged.units * charged.unit_cost_cents), charged.minimum_cents),
                charged.maximum_cents) <> COALESCE(line.cents, 0)
        FROM charged LEFT JOIN line ON line.period_id = charged.id
        WHERE charged.model = 'per_unit' AND charged.divide_by IS NULL
        ORDER BY charged.id
        """,
        at,
    )


def settled_nets_equal_their_lines(at: datetime) -> Outcome:
    """Compare what each settled, priced period came to with the sum of its lines, whatever its model; see
    found_usage_is_billed_once for what was found later."""
    return compare(
        """
        WITH line AS (
            SELECT period_id, sum(amount_cents) AS cents FROM billing_invoiceline
            WHERE difference_id IS NULL AND metric_id IS NOT NULL AND replaced_line_id IS NULL GROUP BY 1
        )
        SELECT format('period %%s was settled at %%s minor units, but its lines come to %%s', period.id,
                COALESCE(settled_net_cents::text, 'no'), COALESCE(cents, 0)),
            CASE WHEN item.component_id IS NULL OR period.kind <> 'regular' THEN settled_net_cents IS NOT NULL
                ELSE settled_net_cents IS DISTINCT FROM COALESCE(cents, 0) END
        FROM plans_subscriptionperiod period
        JOIN plans_subscriptionitem item ON item.id = period.item_id
        LEFT JOIN line ON line.period_id = period.id
        WHERE period.settled_at IS NOT NULL AND period.metric_id IS NOT NULL
        ORDER BY period.id
        """,
        at,
    )
