"""Closing a month: usage rated, credits burned, invoices written, against a loop that does it one by one."""

import gc
import json
import multiprocessing
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from multiprocessing.connection import Connection
from statistics import median

import psutil
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from billing.jobs import close, finalize_drafts
from plans.services.time_zone import billing_zone
from tests.bench.dataset import fill_usage_days
from tests.bench.figures import Ratio, Say, Section, Workload, ratio_of, take_turns
from tests.bench.installation import connected_to, create_database, database_exists, execute, rows_of
from tests.bench.load import Tally
from tests.bench.reference.billing_loop import bill_one_by_one
from tests.bench.subscribers import EVENT_NAME, FEE_CENTS, QUOTA, UNIT_COST_CENTS, make_paying_subscribers

START = datetime(2026, 4, 1, tzinfo=UTC)
END = datetime(2026, 5, 1, tzinfo=UTC)
DAYS = (END - START).days
# When the grace time for late events is over.
AT = END + timedelta(hours=2)
SMALL, LARGE = 1_000, 10_000
# As many as the loop does in a round: it is slow, and each takes it as long as the other.
OF_LOOP = 200
DATABASE = "candela_bench_month"
SCRATCH, UNFINISHED = f"{DATABASE}_copy", f"{DATABASE}_unfinished"
STATEMENTS = "Statements of close and finalize for {:,} subscriptions: {:,}."
MEGABYTE = 2**20


def measure_billing(*, sizes: list[int], rounds: int, say: Say) -> Section:
    """Measure close and finalize of a whole month of so many subscriptions with a fee, usage and a quota."""
    say("Billing a month.")
    section = Section("Billing a month")
    for size in sizes:
        _make_template(size, say)
    memory: dict[int, list[float]] = defaultdict(list)
    workloads = [
        Workload(_name(size), partial(_round, size, _bill_in_chunks, size, memory[size]), counted="subscriptions")
        for size in sizes
    ]
    of_loop = partial(_round, sizes[0], _bill_in_loop, min(OF_LOOP, sizes[0]), [])
    try:
        section.measurements = take_turns(
            [*workloads, Workload(_LOOP, of_loop, counted="subscriptions")], rounds=rounds, say=say
        )
        section.remarks.append(STATEMENTS.format(sizes[0], _statements(sizes[0])))
    finally:
        execute(f'DROP DATABASE IF EXISTS "{SCRATCH}" WITH (FORCE)')
    for size, measurement in zip(sizes, section.measurements, strict=False):
        measurement.verified = f"each of {rounds} × {size:,} invoices has the amount that SQL computes"
        section.remarks.append(f"Memory that {size:,} took: {median(memory[size]):.0f} MB.")
    section.ratios = _ratios(section, sizes, {size: median(taken) for size, taken in memory.items()})
    return section


_LOOP = "one by one with the ORM"


def _name(size: int) -> str:
    return f"close and finalize, {size:,} subscriptions"


def _ratios(section: Section, sizes: list[int], memory: dict[int, float]) -> list[Ratio]:
    ratios = [
        Ratio(f"{_name(size)} / one by one", ratio_of(section.named(_name(size)), section.named(_LOOP)), 20)
        for size in sizes
    ]
    small = sizes[0]
    for size in sizes[1:]:
        flat = ratio_of(section.named(_name(size)), section.named(_name(small)))
        ratios.append(Ratio(f"rate with {size:,} / with {small:,} subscriptions", flat, 0.8))
        ratios.append(
            Ratio(f"memory with {size:,} / with {small:,} subscriptions", memory[size] / memory[small], 1.5, True)
        )
    return ratios


def _template(size: int) -> str:
    """Name the database that each round is a copy of by all that its content follows from."""
    migrations = sorted(map(str, MigrationLoader(None).disk_migrations))
    content = [size, START.isoformat(), DAYS, str(QUOTA), UNIT_COST_CENTS, FEE_CENTS, migrations]
    return f"{DATABASE}_{size}_{sha256(json.dumps(content).encode()).hexdigest()[:12]}"


def _make_template(size: int, say: Say) -> None:
    """Make that database unless an earlier run has: a month has been used, and nothing of it is closed."""
    if database_exists(_template(size)):
        return
    say(f"  {size:,} subscriptions and their usage are made; they are kept for the next run.")
    for (older,) in rows_of("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [f"{DATABASE}_{size}_"]):
        execute(f'DROP DATABASE "{older}" WITH (FORCE)')
    create_database(UNFINISHED)
    with connected_to(UNFINISHED):
        billing_zone.cache_clear()
        call_command("migrate", verbosity=0)
        make_paying_subscribers(count=size, at=START)
        _insert_usage()
        fill_usage_days()
        execute("VACUUM (ANALYZE)")
    execute(f'ALTER DATABASE "{UNFINISHED}" RENAME TO "{_template(size)}"')


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


def _round(size: int, bill: Callable[[int], None], number: int, memory: list[float]) -> Tally:
    """Bill a copy of the template in a process of its own and take the time, and the memory in MB; what was billed is
    checked afterwards."""
    with _copy_of(size):
        elapsed, taken = _in_own_process(bill, number)
        _check(number)
    memory.append(taken)
    return Tally(calls=number, elapsed=elapsed, latencies=[elapsed / number] * number)


@contextmanager
def _copy_of(size: int) -> Iterator[None]:
    execute(f'DROP DATABASE IF EXISTS "{SCRATCH}" WITH (FORCE)')
    execute(f'CREATE DATABASE "{SCRATCH}" TEMPLATE "{_template(size)}"')
    with connected_to(SCRATCH):
        yield


def _in_own_process(bill: Callable[[int], None], number: int) -> tuple[float, float]:
    # A connection must not be shared with a fork.
    connection.close()
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)
    process = fork.Process(target=_measure, args=(bill, number, there))
    process.start()
    there.close()
    try:
        return here.recv()
    except EOFError:
        raise RuntimeError("The billing run failed; see the traceback above.") from None
    finally:
        process.join()


def _measure(bill: Callable[[int], None], number: int, answer: Connection) -> None:
    connection.ensure_connection()
    gc.collect()
    before = psutil.Process().memory_info().rss
    began = time.perf_counter()
    bill(number)
    elapsed = time.perf_counter() - began
    answer.send((elapsed, (_peak_bytes() - before) / MEGABYTE))


def _peak_bytes() -> int:
    """The most memory that this process has held; where that is not told in bytes, what it holds now."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except FileNotFoundError:
        return psutil.Process().memory_info().rss


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

    with _copy_of(size), connection.execute_wrapper(count):
        _bill_in_chunks(size)
    return statements
