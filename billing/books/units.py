"""Units in advance, such as seats: what was needed is paid for, and nothing twice."""

from datetime import datetime

from billing.books.statements import Outcome, compare


def added_units_are_billed_once(at: datetime) -> Outcome:
    """Compare the units that were added within periods with the lines that charge them. Only what costs something by a
    plain price must have a line: units of a trial have none, nor need those that cost nothing."""
    return compare(
        """
        WITH line AS (
            SELECT period_id, effective_at, quantity AS units
            FROM billing_invoiceline WHERE type = 'per_unit' AND effective_at IS NOT NULL
        ), added AS (
            SELECT added.period_id, added.effective_at, to_quantity - from_quantity AS units, billed_at,
                period.kind = 'regular' AND component.model = 'per_unit' AND component.amount_cents >= 366
                    AND component.included_units = 0 AND component.divide_by IS NULL
                    AND component.minimum_cents IS NULL AND component.maximum_cents IS NULL AS costs
            FROM plans_addedunits added
            JOIN plans_subscriptionperiod period ON period.id = added.period_id
            JOIN plans_subscriptionitem item ON item.id = period.item_id
            JOIN plans_pricecomponent component ON component.id = item.component_id
        )
        SELECT format('period %%s: %%s units were added at %%s, but %%s are on an invoice', period_id, COALESCE(
                added.units, 0), effective_at, COALESCE(line.units, 0)),
            CASE WHEN line.units IS NULL THEN billed_at IS NOT NULL AND costs
                ELSE billed_at IS NULL OR added.units IS DISTINCT FROM line.units END
        FROM added FULL JOIN line USING (period_id, effective_at)
        ORDER BY period_id, effective_at
        """,
        at,
    )


def added_units_follow_each_other(at: datetime) -> Outcome:
    """Find periods in whose units there is a gap: between those at the start and the ones that were added, or between
    two of these."""
    return compare(
        """
        SELECT format('period %%s: units from %%s on were added, after %%s', period_id, from_quantity, before),
            before IS NOT NULL AND from_quantity <> before
        FROM (
            SELECT added.period_id, added.from_quantity, COALESCE(
                lag(added.to_quantity) OVER (PARTITION BY added.period_id ORDER BY added.from_quantity),
                period.quantity
            ) AS before
            FROM plans_addedunits added JOIN plans_subscriptionperiod period ON period.id = added.period_id
        ) AS units
        ORDER BY period_id, from_quantity
        """,
        at,
    )
