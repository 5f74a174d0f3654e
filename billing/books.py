"""The books: each invariant as one statement that returns the rows which break it, with a readable sentence.

`check_books` runs them all. They are set-based, read only, and one statement each, so a writer that commits meanwhile
cannot make a row look broken that is not.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from billing.late_usage_sql import BURNED_WHAT_IS_CREDITED, FOUND_IS_BILLED_ONCE, FOUND_UNITS_COST_THEIR_PRICE
from billing.money_sql import (
    BURNED_MONEY_IS_ON_AN_INVOICE,
    INVOICE_SPREADS_WHAT_CREDITS_PAY,
    KEPT_MONEY_IS_GRANTED,
    SETTLED_NET_IS_THE_SUM_OF_ITS_LINES,
)
from metering.measure_sql import COUNTING_COLUMNS, DAY_MEASURES, IS_COUNTED, IS_NOT_VOIDED
from plans.services.time_zone import billing_zone


@dataclass(frozen=True, slots=True)
class Finding:
    """What the check of one invariant gave: how many rows were looked at, and a sentence per row that breaks it."""

    invariant: str
    rows_checked: int
    offenders: list[str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one invariant's statements gave."""

    rows_checked: int
    offenders: list[str]


Invariant = Callable[[datetime], Outcome]


def usage_days_equal_their_events(at: datetime) -> Outcome:
    """Compare each day of usage of a live metric, in each version that is built, with its events, both ways."""
    return _compare(
        f"""
        WITH counting AS (
            SELECT {COUNTING_COLUMNS}
            FROM metering_usageevent event
            JOIN plans_metricversion version ON version.event_name = event.event_name AND version.built_at IS NOT NULL
            JOIN plans_metric metric ON metric.id = version.metric_id AND metric.deleted_at IS NULL
            WHERE event.customer_id IS NOT NULL AND {IS_NOT_VOIDED} AND {IS_COUNTED}
        ), summed AS (
            SELECT customer_id, version_id, day, count(DISTINCT value_hash) AS different, {DAY_MEASURES}
            FROM counting GROUP BY 1, 2, 3
        ), told_apart AS (
            SELECT customer_id, version_id, day, count(*) AS different FROM metering_usagedayvalue GROUP BY 1, 2, 3
        ), kept AS (
            SELECT usage.*, COALESCE(told_apart.different, 0) AS different
            FROM metering_usageday usage
            JOIN plans_metricversion version ON version.id = usage.version_id AND version.built_at IS NOT NULL
            JOIN plans_metric metric ON metric.id = version.metric_id AND metric.deleted_at IS NULL
            LEFT JOIN told_apart USING (customer_id, version_id, day)
        )
        SELECT format('customer %%s, version %%s, %%s: the events make (%%s), but the day holds (%%s)',
                customer_id, version_id, day,
                concat_ws(', ', summed.events, summed.total, summed.minimum, summed.maximum, summed.last_value,
                    summed.different),
                concat_ws(', ', kept.events, kept.total, kept.minimum, kept.maximum, kept.last_value, kept.different)),
            (summed.events, summed.total, summed.minimum, summed.maximum, summed.last_value, summed.last_at,
                summed.last_event_id, summed.different)
            IS DISTINCT FROM (kept.events, kept.total, kept.minimum, kept.maximum, kept.last_value, kept.last_at,
                kept.last_event_id, kept.different)
        FROM summed FULL JOIN kept USING (customer_id, version_id, day)
        ORDER BY customer_id, version_id, day
        """,
        at,
    )


def grants_equal_their_transactions(at: datetime) -> Outcome:
    """Compare what each grant has left with the sum of its transactions, both with 0 and what was granted, and that
    with what its transactions gave and adjusted."""
    return _compare(
        """
        WITH ledger AS (
            SELECT grant_id, sum(amount) AS rest, sum(amount) FILTER (WHERE kind = 'granted') AS granted,
                COALESCE(sum(amount) FILTER (WHERE kind = 'adjusted'), 0) AS adjusted
            FROM credits_credittransaction GROUP BY 1
        )
        SELECT format('grant %%s: %%s left of %%s, adjusted by %%s, but its transactions sum to %%s', credit.public_id,
                credit.ledger_remaining, credit.initial_amount, credit.adjusted_amount, COALESCE(rest, 0)),
            (credit.ledger_remaining, credit.initial_amount, credit.adjusted_amount)
                    IS DISTINCT FROM (rest, granted, adjusted)
                OR credit.ledger_remaining NOT BETWEEN 0 AND credit.initial_amount + credit.adjusted_amount
        FROM credits_creditgrant credit LEFT JOIN ledger ON ledger.grant_id = credit.id
        ORDER BY credit.id
        """,
        at,
    )


def transactions_belong_to_their_grants_customer(at: datetime) -> Outcome:
    """Find transactions whose customer is not that of their grant, or whose period is another customer's."""
    return _compare(
        """
        SELECT format('transaction %%s of customer %%s moves grant %%s of customer %%s', movement.public_id,
                movement.customer_id, credit.public_id, credit.customer_id),
            movement.customer_id <> credit.customer_id
                OR period.id IS NOT NULL
                    AND (period.customer_id, period.metric_id)
                        IS DISTINCT FROM (credit.customer_id, credit.metric_id)
        FROM credits_credittransaction movement
        JOIN credits_creditgrant credit ON credit.id = movement.grant_id
        LEFT JOIN plans_subscriptionperiod period ON period.id = movement.period_id
        ORDER BY movement.id
        """,
        at,
    )


def settled_periods_burned_what_they_credited(at: datetime) -> Outcome:
    """Compare the credited units of each settled period with the units that its transactions burned, and included and
    credited units with what was used; each together with what was found later."""
    return _compare(BURNED_WHAT_IS_CREDITED, at)


def found_units_cost_their_price(at: datetime) -> Outcome:
    """Compare what periods came to, together with what was found of them later, with the price of their charged units
    where that is plain; and find gaps in the numbers of the differences."""
    return _compare(FOUND_UNITS_COST_THEIR_PRICE, at)


def found_usage_is_billed_once(at: datetime) -> Outcome:
    """Compare each difference that was found of a settled period with the line that bills it, if it is billed. One that
    comes to nothing may have no line."""
    return _compare(FOUND_IS_BILLED_ONCE, at)


_CHARGED = """
    line AS (
        SELECT period_id, sum(amount_cents) AS cents,
            sum(CASE type WHEN 'usage' THEN quantity WHEN 'credit' THEN -quantity ELSE 0 END) AS units
        FROM billing_invoiceline WHERE type IN ('usage', 'credit', 'minimum', 'maximum') GROUP BY 1
    ), charged AS (
        SELECT period.id, settled_usage - settled_included - settled_credited AS units, component.unit_cost_cents,
            component.model, component.divide_by, component.minimum_cents, component.maximum_cents, invoice.status
        FROM plans_subscriptionperiod period
        JOIN plans_subscriptionitem item ON item.id = period.item_id
        JOIN plans_pricecomponent component ON component.id = item.component_id
        LEFT JOIN billing_invoice invoice ON invoice.subscription_id = period.subscription_id
            AND invoice.closes_at = period.bill_at AND invoice.kind = 'cycle'
        WHERE period.settled_at IS NOT NULL AND period.metric_id IS NOT NULL
    )
"""


def settled_usage_is_included_credited_or_charged(at: datetime) -> Outcome:
    """Compare each settled, priced period with its lines in units: usage line − credit lines = used − included −
    credited. A skipped invoice has no lines."""
    return _compare(
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
    return _compare(
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
    return _compare(SETTLED_NET_IS_THE_SUM_OF_ITS_LINES, at)


def burned_money_is_on_an_invoice(at: datetime) -> Outcome:
    """Compare what monetary credits burned with the lines that take it off an invoice, both ways."""
    return _compare(BURNED_MONEY_IS_ON_AN_INVOICE, at)


def money_is_spread_over_lines(at: datetime) -> Outcome:
    """Compare what monetary credits take off each invoice with what its lines say is paid of them."""
    return _compare(INVOICE_SPREADS_WHAT_CREDITS_PAY, at)


def kept_money_is_granted(at: datetime) -> Outcome:
    """Compare what invoices came to below zero with the grants that keep it, both ways."""
    return _compare(KEPT_MONEY_IS_GRANTED, at)


def closed_periods_are_settled(at: datetime) -> Outcome:
    """Find closed metered periods that have no invoice, or whose invoice is no draft any more and that are not
    settled; and settled periods that no close has gathered."""
    return _compare(
        """
        SELECT format('period %%s closed %%s: its invoice %%s is %%s, and it is %%s', period.id,
                COALESCE(period.closed_at::text, 'never'), COALESCE(invoice.public_id, 'does not exist, which'),
                COALESCE(invoice.status, 'none'),
                CASE WHEN period.settled_at IS NULL THEN 'not settled' ELSE 'settled' END),
            invoice.id IS NULL
                OR period.closed_at IS NULL
                OR period.metric_id IS NOT NULL AND (invoice.status = 'draft') = (period.settled_at IS NOT NULL)
        FROM plans_subscriptionperiod period
        LEFT JOIN billing_invoice invoice ON invoice.subscription_id = period.subscription_id
            AND invoice.closes_at = period.bill_at AND invoice.kind = 'cycle'
        WHERE period.closed_at IS NOT NULL OR period.settled_at IS NOT NULL
        ORDER BY period.id
        """,
        at,
    )


def periods_are_settled_in_order(at: datetime) -> Outcome:
    """Find settled periods with an unsettled one of the same customer and metric that ended earlier."""
    return _compare(
        """
        SELECT format('period %%s is settled, but an earlier one of customer %%s and metric %%s is not', id,
                customer_id, metric_id),
            earliest_open < end_at
        FROM (
            SELECT *, min(end_at) FILTER (WHERE settled_at IS NULL)
                OVER (PARTITION BY customer_id, metric_id) AS earliest_open
            FROM plans_subscriptionperiod WHERE metric_id IS NOT NULL
        ) AS period
        WHERE settled_at IS NOT NULL
        ORDER BY id
        """,
        at,
    )


def invoices_equal_their_lines(at: datetime) -> Outcome:
    """Compare each invoice's subtotal with the sum of its lines, and its total with subtotal and tax."""
    return _compare(
        """
        WITH line AS (SELECT invoice_id, sum(amount_cents) AS cents FROM billing_invoiceline GROUP BY 1)
        SELECT format('invoice %%s: lines of %%s, subtotal %%s, tax %%s, total %%s',
                COALESCE(number, public_id), COALESCE(cents, 0), subtotal_cents, tax_cents, total_cents),
            subtotal_cents <> COALESCE(cents, 0) OR total_cents <> subtotal_cents + tax_cents OR total_cents < 0
        FROM billing_invoice LEFT JOIN line ON line.invoice_id = billing_invoice.id
        ORDER BY billing_invoice.id
        """,
        at,
    )


def only_issued_invoices_have_lines(at: datetime) -> Outcome:
    """Find drafts and skipped invoices with lines, and issued invoices without any."""
    return _compare(
        """
        SELECT format('invoice %%s is %%s and has %%s lines', COALESCE(number, public_id), status, lines),
            (status IN ('draft', 'skipped')) = (lines > 0)
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
    """Find closes of a subscription with several invoices of one kind."""
    return _compare(
        """
        SELECT format('subscription %%s has %%s %%s invoices for the close at %%s', subscription_id, count(*), kind,
                closes_at),
            count(*) > 1
        FROM billing_invoice WHERE subscription_id IS NOT NULL
        GROUP BY subscription_id, kind, closes_at
        ORDER BY subscription_id, closes_at
        """,
        at,
    )


def periods_follow_each_other(at: datetime) -> Outcome:
    """Find periods of an item that do not start where the one before them ends, or whose number leaves a gap."""
    return _compare(
        """
        SELECT format('item %%s: period %%s from %%s does not follow the one before it, which ends at %%s', item_id,
                number, start_at, COALESCE(last_end::text, 'nothing')),
            (start_at, number) IS DISTINCT FROM (COALESCE(last_end, clock_started_at), COALESCE(last_number + 1, 0))
                OR end_at <= start_at
        FROM (
            SELECT period.*, item.clock_started_at,
                lag(period.end_at) OVER by_time AS last_end, lag(period.number) OVER by_time AS last_number
            FROM plans_subscriptionperiod period JOIN plans_subscriptionitem item ON item.id = period.item_id
            WINDOW by_time AS (PARTITION BY item_id ORDER BY start_at, period.number)
        ) AS period
        ORDER BY item_id, start_at
        """,
        at,
    )


def live_items_have_a_period_ahead(at: datetime) -> Outcome:
    """Find live items without a stored period that starts later than `at`, where every due boundary is closed and the
    clock has no end."""
    return _compare(
        """
        SELECT format('item %%s of subscription %%s: its newest period starts at %%s, and none lies ahead', item.id,
                item.subscription_id, COALESCE(max(period.start_at)::text, 'no time')),
            (max(period.start_at) > %(at)s) IS NOT TRUE
        FROM plans_subscriptionitem item
        JOIN plans_subscription subscription ON subscription.id = item.subscription_id
        LEFT JOIN plans_subscriptionperiod period ON period.item_id = item.id
        LEFT JOIN plans_pricecomponent component ON component.id = item.component_id
        WHERE item.ended_at IS NULL AND subscription.ended_at IS NULL AND subscription.deleted_at IS NULL
            AND component.recurrence_count IS NULL AND COALESCE(component.recurrence_until, '') = ''
            AND NOT EXISTS (
                SELECT FROM plans_subscriptionperiod due WHERE due.subscription_id = item.subscription_id
                    AND due.closed_at IS NULL AND due.bill_at <= %(at)s
            )
        GROUP BY item.id
        ORDER BY item.id
        """,
        at,
    )


def invoice_numbers_have_no_gaps(at: datetime) -> Outcome:
    """Compare each customer's invoice numbers with 1 to its last one."""
    return _compare(
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


def paid_invoices_have_their_payment(at: datetime) -> Outcome:
    """Find paid invoices without exactly one successful payment of their total (a total of 0 needs none), and
    payments of invoices that are not paid."""
    return _compare(
        """
        WITH payment AS (
            SELECT invoice_id, count(*) AS payments, sum(amount_cents) AS cents,
                bool_and(payment.currency = invoice.currency AND payment.customer_id = invoice.customer_id) AS fits
            FROM billing_payment payment JOIN billing_invoice invoice ON invoice.id = payment.invoice_id
            WHERE payment.status = 'succeeded' GROUP BY 1
        )
        SELECT format('invoice %%s of %%s is %%s with %%s successful payments of %%s',
                COALESCE(number, invoice.public_id), total_cents, status, COALESCE(payments, 0), COALESCE(cents, 0)),
            CASE WHEN status = 'paid'
                THEN NOT (total_cents = 0 AND payments IS NULL
                    OR COALESCE(payments, 0) = 1 AND cents = total_cents AND fits)
                ELSE status NOT IN ('void', 'uncollectible')
            END
        FROM billing_invoice invoice LEFT JOIN payment ON payment.invoice_id = invoice.id
        WHERE status = 'paid' OR payment.invoice_id IS NOT NULL
        ORDER BY invoice.id
        """,
        at,
    )


def bought_packs_are_granted_when_paid(at: datetime) -> Outcome:
    """Find packs on a paid invoice without the grant of what they hold, and packs that are granted but not paid."""
    return _compare(
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
    return _compare(
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


INVARIANTS: Mapping[str, Invariant] = {
    "a day of usage is the sum of its events": usage_days_equal_their_events,
    "a grant is the sum of its transactions": grants_equal_their_transactions,
    "a transaction moves a grant of its own customer": transactions_belong_to_their_grants_customer,
    "a settled period burned what it credited": settled_periods_burned_what_they_credited,
    "settled usage is included, credited or charged": settled_usage_is_included_credited_or_charged,
    "charged units cost their price": charged_units_cost_their_price,
    "a settled period came to the sum of its lines": settled_nets_equal_their_lines,
    "units found later cost their price": found_units_cost_their_price,
    "usage found later is billed once": found_usage_is_billed_once,
    "a closed period is settled with its invoice": closed_periods_are_settled,
    "periods are settled in order": periods_are_settled_in_order,
    "an invoice is the sum of its lines": invoices_equal_their_lines,
    "only issued invoices have lines": only_issued_invoices_have_lines,
    "a close has one invoice": one_invoice_per_close,
    "periods of an item follow each other": periods_follow_each_other,
    "a live item has a period ahead": live_items_have_a_period_ahead,
    "invoice numbers have no gaps": invoice_numbers_have_no_gaps,
    "a paid invoice has its payment": paid_invoices_have_their_payment,
    "burned money is on an invoice": burned_money_is_on_an_invoice,
    "what credits of money pay is spread over lines": money_is_spread_over_lines,
    "what an invoice keeps is granted": kept_money_is_granted,
    "a bought pack is granted when it is paid": bought_packs_are_granted_when_paid,
    "a checkout comes to its end": checkouts_come_to_their_end,
}


def check_books(*, at: datetime) -> list[Finding]:
    """Check every invariant as of `at` and return what each check gave, in the order of the registry."""
    findings = []
    for name, invariant in INVARIANTS.items():
        outcome = invariant(at)
        findings.append(Finding(name, outcome.rows_checked, outcome.offenders))
    return findings


def _compare(statement: str, at: datetime) -> Outcome:
    """Run a statement that gives `(sentence, is broken)` per row; only broken rows and the count leave the database."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT count(*), COALESCE(json_agg(sentence ORDER BY row_number) FILTER (WHERE broken), '[]')
            FROM (SELECT *, row_number() OVER () FROM ({statement}) AS compared(sentence, broken)) AS numbered
            """,
            {"zone": billing_zone().key, "at": at},
        )
        rows_checked, offenders = cursor.fetchone()
    return Outcome(rows_checked, offenders)
