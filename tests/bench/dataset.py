"""The data sets: customers with a plan and quotas, and events of 90 days. Made once, found again by a fingerprint.

A data set ends at a midnight. What a run records comes after it, is compared with the usage days there, and is taken
out again, so that every run finds the same tables.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone

from billing.books import (
    grants_equal_their_transactions,
    periods_are_settled_in_order,
    periods_follow_each_other,
    settled_periods_burned_what_they_credited,
    transactions_belong_to_their_grants_customer,
    usage_days_equal_their_events,
)
from plans.periods import midnight_before
from plans.services.time_zone import billing_zone
from tests.bench.figures import Say
from tests.bench.installation import connected_to, create_database, database_exists, execute, rows_of
from tests.bench.reference.models import ReferenceEvent
from tests.bench.subscribers import EVENT_NAME, SPARE_CUSTOMERS, make_subscribers, settle_past_periods

SEED = 20_260
CUSTOMERS = 10_000
DAYS = 90
HOT_SHARE = 0.05
CHUNK = 1_000_000
# Stored periods reach at least a month past the end of the events; older data would have no quota left to check.
GOOD_FOR = timedelta(days=25)


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set that is there. Customers are named by public id: `hot` has 5 % of the events, `spare` have none."""

    name: str
    events: int
    database: str
    ends_at: datetime
    last_event: int
    hot: str
    typical: list[str]
    spare: list[str]


@dataclass(frozen=True, slots=True)
class Size:
    """How large a data set is to be."""

    name: str
    events: int

    @property
    def database(self) -> str:
        """Its database."""
        return f"candela_bench_{self.name}"


SMALL = Size("100k", 100_000)
LARGE = Size("10m", 10_000_000)


def data_set(size: Size, say: Say) -> DataSet:
    """Find the data set of this size, or make it."""
    fingerprint = _fingerprint(size)
    there = database_exists(size.database)
    if there:
        with connected_to(size.database):
            facts = _facts(fingerprint)
            if facts is not None:
                forget_recorded(facts)
                return facts
    say(f"Making the data set of {size.events:,} events; it is kept for the next run.")
    create_database(size.database)
    with connected_to(size.database):
        billing_zone.cache_clear()
        call_command("migrate", verbosity=0)
        with connection.schema_editor() as editor:
            editor.create_model(ReferenceEvent)
        return _make(size, fingerprint, say)


def _fingerprint(size: Size) -> str:
    """Name all that the content of a data set follows from."""
    migrations = sorted(map(str, MigrationLoader(None).disk_migrations))
    content = [SEED, CUSTOMERS, SPARE_CUSTOMERS, DAYS, HOT_SHARE, asdict(size), migrations]
    return sha256(json.dumps(content).encode()).hexdigest()


def _facts(fingerprint: str) -> DataSet | None:
    """Read what was noted about the data set of this database, unless it is another one, unfinished, or too old."""
    if not rows_of("SELECT 1 FROM pg_tables WHERE tablename = 'bench_data_set'"):
        return None
    for (text,) in rows_of("SELECT facts::text FROM bench_data_set WHERE fingerprint = %s", [fingerprint]):
        facts = json.loads(text)
        ends_at = datetime.fromisoformat(facts.pop("ends_at"))
        if timezone.now() < ends_at + GOOD_FOR:
            return DataSet(ends_at=ends_at, **facts)
    return None


def _make(size: Size, fingerprint: str, say: Say) -> DataSet:
    ends_at = midnight_before(timezone.now(), billing_zone())
    starts_at = ends_at - timedelta(days=DAYS)
    subscribers = make_subscribers(count=CUSTOMERS, before=starts_at, at=ends_at)
    say(f"  {CUSTOMERS:,} customers are subscribed.")
    first, last = rows_of(
        "SELECT min(id), max(id) FROM plans_customer WHERE public_id = ANY(%s)", [subscribers.with_events]
    )[0]
    assert last - first == CUSTOMERS - 1, "the customers' keys have gaps"
    for begin in range(0, size.events, CHUNK):
        _insert_events(begin, min(begin + CHUNK, size.events), size.events, starts_at, first)
        say(f"  {min(begin + CHUNK, size.events):,} events are there.")
    fill_usage_days()
    settle_past_periods(at=ends_at)
    execute("VACUUM (ANALYZE)")
    _prove(ends_at)
    say("  Its books add up.")
    facts = DataSet(
        name=size.name,
        events=size.events,
        database=size.database,
        ends_at=ends_at,
        last_event=rows_of("SELECT max(id) FROM metering_usageevent")[0][0],
        hot=subscribers.with_events[0],
        typical=subscribers.with_events[1:],
        spare=subscribers.spare,
    )
    execute("CREATE TABLE bench_data_set (fingerprint text PRIMARY KEY, facts json NOT NULL)")
    noted = json.dumps(asdict(facts) | {"ends_at": ends_at.isoformat()})
    execute("INSERT INTO bench_data_set VALUES (%s, %s)", [fingerprint, noted])
    return facts


def _insert_events(begin: int, end: int, whole: int, starts_at: datetime, first_customer: int) -> None:
    """Insert events number `begin` to `end` of `whole`, in the order of their time, as they would have come."""
    with transaction.atomic():
        execute("SELECT setseed(%s)", [(SEED + begin) % 1_000_003 / 1_000_003])
        execute(
            """
            INSERT INTO metering_usageevent (
                customer_id, event_name, value, occurred_at, timestamp_given, idempotency_key, properties, received_at
            )
            SELECT %(first)s + CASE WHEN chance < %(hot)s THEN 0
                    ELSE 1 + floor((chance - %(hot)s) / (1 - %(hot)s) * (%(customers)s - 1))::integer END,
                %(name)s, 1 + floor(size * 5)::integer, moment, true, 'made-' || number,
                jsonb_build_object('endpoint', '/v1/' || floor(size * 20)::integer, 'region', 'eu-' || number %% 3),
                moment + interval '1 second'
            FROM (
                SELECT number, random() AS chance, random() AS size,
                    %(starts_at)s + (number + random()) / %(whole)s * %(days)s * interval '1 day' AS moment
                FROM generate_series(%(begin)s::bigint, %(end)s::bigint - 1) AS number
            ) AS drawn
            """,
            {
                "first": first_customer,
                "hot": HOT_SHARE,
                "customers": CUSTOMERS,
                "name": EVENT_NAME,
                "starts_at": starts_at,
                "whole": whole,
                "days": DAYS,
                "begin": begin,
                "end": end,
            },
        )


def _prove(at: datetime) -> None:
    """Raise AssertionError where books of the data set do not add up. Those of invoices are left out: it has none."""
    for invariant in (
        usage_days_equal_their_events,
        grants_equal_their_transactions,
        transactions_belong_to_their_grants_customer,
        settled_periods_burned_what_they_credited,
        periods_are_settled_in_order,
        periods_follow_each_other,
    ):
        outcome = invariant(at)
        assert outcome.rows_checked > 0, f"{invariant.__name__} found nothing to check"
        assert not outcome.offenders, f"{invariant.__name__}: {outcome.offenders[:3]}"


def fill_usage_days() -> None:
    """Count all events of the data set into usage days, for its one metric, which sums."""
    execute(
        """
        INSERT INTO metering_usageday (customer_id, version_id, day, events, total)
        SELECT event.customer_id, metric.current_id, (event.occurred_at AT TIME ZONE %(zone)s)::date, count(*),
            sum(event.value)
        FROM metering_usageevent event CROSS JOIN plans_metric metric
        GROUP BY 1, 2, 3
        """,
        {"zone": billing_zone().key},
    )


def days_equal_events(facts: DataSet) -> None:
    """Raise AssertionError where the usage days after the end of the data set differ from the events recorded since."""
    differing = rows_of(
        """
        WITH summed AS (
            SELECT customer_id, (occurred_at AT TIME ZONE %(zone)s)::date AS day, count(*) AS events,
                sum(value) AS total
            FROM metering_usageevent WHERE id > %(last)s GROUP BY 1, 2
        ), kept AS (
            SELECT customer_id, day, events, total FROM metering_usageday WHERE day >= %(end)s
        )
        SELECT count(*) FROM summed FULL JOIN kept USING (customer_id, day)
        WHERE (summed.events, summed.total) IS DISTINCT FROM (kept.events, kept.total)
        """,
        {"zone": billing_zone().key, "last": facts.last_event, "end": facts.ends_at.date()},
    )[0][0]
    assert differing == 0, f"{differing} usage days of {facts.name} differ from their events"


def forget_recorded(facts: DataSet) -> None:
    """Take out what runs have recorded, so that the data set is what it was."""
    if rows_of("SELECT max(id) FROM metering_usageevent")[0][0] == facts.last_event:
        return
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM metering_usageevent WHERE id > %s", [facts.last_event])
        cursor.execute("DELETE FROM metering_usageday WHERE day >= %s", [facts.ends_at.date()])
    for table in ("metering_usageevent", "metering_usageday"):
        execute(f"VACUUM (ANALYZE) {table}")
