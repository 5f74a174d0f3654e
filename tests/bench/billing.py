"""Closing a month: usage rated, credits burned, invoices written, against a loop that does it one by one."""

import gc
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

from django.core.management import call_command
from django.db import connection

from billing.jobs import close, finalize_drafts
from plans.services.time_zone import billing_zone
from tests.bench.dataset import fill_usage_days
from tests.bench.figures import Ratio, Say, Section, Workload, ratio_of, take_turns
from tests.bench.installation import connected_to, create_database, execute, rows_of
from tests.bench.load import Tally
from tests.bench.reference.billing_loop import bill_one_by_one
from tests.bench.run import Run
from tests.bench.subscribers import EVENT_NAME, FEE_CENTS, QUOTA, UNIT_COST_CENTS, make_paying_subscribers

START = datetime(2026, 4, 1, tzinfo=UTC)
END = datetime(2026, 5, 1, tzinfo=UTC)
DAYS = (END - START).days
# When the grace time for late events is over.
AT = END + timedelta(hours=2)
SMALL, LARGE = 1_000, 10_000
# As many as the loop does in a round: it is slow, and each takes it as long as the other.
OF_LOOP = 200
TEMPLATE, SCRATCH = "candela_bench_month_{}", "candela_bench_month"
STATEMENTS = "statements of close and finalize for {:,} subscriptions: {:,}"


def measure_billing(run: Run) -> Section:
    """Measure close and finalize of a whole month of subscriptions with a fee, usage and a quota."""
    run.say("Billing a month.")
    section = Section("Billing a month")
    sizes = [SMALL] if run.large is None else [SMALL, LARGE]
    for size in sizes:
        _make_template(size, run.say)
    workloads = [
        Workload(_name(size), partial(_round, size, _bill_in_chunks, size), counted="subscriptions") for size in sizes
    ]
    workloads.append(Workload(_LOOP, partial(_round, SMALL, _bill_in_loop, OF_LOOP), counted="subscriptions"))
    try:
        section.measurements = take_turns(workloads, rounds=run.rounds, say=run.say)
        section.remarks.append(STATEMENTS.format(SMALL, _statements(SMALL)))
    finally:
        execute(f'DROP DATABASE IF EXISTS "{SCRATCH}" WITH (FORCE)')
        for size in sizes:
            execute(f'DROP DATABASE IF EXISTS "{TEMPLATE.format(size)}" WITH (FORCE)')
    for size, measurement in zip(sizes, section.measurements, strict=False):
        measurement.verified = f"each of {run.rounds} × {size:,} invoices has the amount that SQL computes"
    section.ratios = _ratios(section, sizes)
    return section


_LOOP = "one by one with the ORM"


def _name(size: int) -> str:
    return f"close and finalize, {size:,} subscriptions"


def _ratios(section: Section, sizes: list[int]) -> list[Ratio]:
    ratios = [
        Ratio(f"{_name(size)} / one by one", ratio_of(section.named(_name(size)), section.named(_LOOP)), 20)
        for size in sizes
    ]
    if LARGE in sizes:
        flat = ratio_of(section.named(_name(LARGE)), section.named(_name(SMALL)))
        ratios.append(Ratio(f"rate with {LARGE:,} / with {SMALL:,} subscriptions", flat, 0.8))
    return ratios


def _make_template(size: int, say: Say) -> None:
    """Make the database that each round is a copy of: a month has been used, and nothing of it is closed."""
    say(f"  {size:,} subscriptions and their usage are made.")
    database = TEMPLATE.format(size)
    create_database(database)
    with connected_to(database):
        billing_zone.cache_clear()
        call_command("migrate", verbosity=0)
        make_paying_subscribers(count=size, at=START)
        _insert_usage()
        fill_usage_days()
        execute("VACUUM (ANALYZE)")


def _insert_usage() -> None:
    """Record one event a day of each customer, of 300 to 399 units: from 9,000 to 11,970 in the month."""
    execute(
        """
        INSERT INTO metering_usageevent (
            customer_id, event_name, value, occurred_at, timestamp_given, idempotency_key, properties, received_at
        )
        SELECT customer.id, %(name)s, 300 + customer.id %% 100, moment, true, 'made-' || day, '{}', moment
        FROM plans_customer customer, generate_series(0, %(days)s - 1) AS day
        CROSS JOIN LATERAL (SELECT %(start)s + (day + 0.5) * interval '1 day' AS moment) AS at
        """,
        {"name": EVENT_NAME, "start": START, "days": DAYS},
    )


def _round(size: int, bill: Callable[[int], None], number: int) -> Tally:
    """Bill a copy of the template and take the time; what was billed is checked afterwards."""
    execute(f'DROP DATABASE IF EXISTS "{SCRATCH}" WITH (FORCE)')
    execute(f'CREATE DATABASE "{SCRATCH}" TEMPLATE "{TEMPLATE.format(size)}"')
    with connected_to(SCRATCH):
        connection.ensure_connection()
        gc.collect()
        began = time.perf_counter()
        bill(number)
        elapsed = time.perf_counter() - began
        _check(number)
    return Tally(calls=number, elapsed=elapsed, latencies=[elapsed / number] * number)


def _bill_in_chunks(number: int) -> None:
    for sweep in (close, finalize_drafts):
        swept = sweep(AT)
        assert (swept.done, swept.failed) == (number, 0), swept


def _bill_in_loop(number: int) -> None:
    bill_one_by_one(number, at=AT)


def _check(number: int) -> None:
    """Raise AssertionError unless so many invoices have the amounts that follow from usage, quota and price."""
    ((billed, wrong),) = rows_of(
        """
        SELECT count(*), count(*) FILTER (WHERE total_cents <> %(fee)s
            + GREATEST(300 * %(days)s + customer_id %% 100 * %(days)s - %(quota)s, 0) * %(cost)s)
        FROM billing_invoice WHERE closes_at = %(end)s AND status = 'issued'
        """,
        {"fee": FEE_CENTS, "days": DAYS, "quota": QUOTA, "cost": UNIT_COST_CENTS, "end": END},
    )
    assert (billed, wrong) == (number, 0), f"{billed} invoices instead of {number}, {wrong} of them wrong"


def _statements(size: int) -> int:
    """Count the statements of one run."""
    statements = 0

    def count(execute_it: Callable, *arguments: object) -> object:
        nonlocal statements
        statements += 1
        return execute_it(*arguments)

    with connection.execute_wrapper(count):
        _round(size, _bill_in_chunks, size)
    return statements
