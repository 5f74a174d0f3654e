"""Recording events: over HTTP, by the bare statement, and the usual way; in batches and one by one."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.bench.dataset import DataSet, days_equal_events
from tests.bench.figures import Measurement, Ratio, Section, Workload, ratio_of, take_turns
from tests.bench.installation import address, connected_to, execute, rows_of
from tests.bench.load import HttpJob, Job, SqlJob, Tally, Templates
from tests.bench.run import Run, Stage
from tests.bench.traffic import batches, event_requests, plain_insert, statements_of

CONNECTIONS = 8
# Of senders of single events: as many as the web server has threads, so that there is something to commit together.
SINGLE_CONNECTIONS = 32
SIZES = (1_000, 100, 1)
HTTP, BARE, USUAL, PLAIN = "HTTP", "bare statement", "idiomatic DRF", "plain insert"
OUR_TABLE = "metering_usageevent"
# Emptied after each round.
REFERENCE_TABLE = "bench_reference_referenceevent"
PLAIN_TABLE = "bench_plain_event"


@dataclass(slots=True)
class Recording:
    """A way to record events: its workload, and how much of what it acknowledged is there."""

    name: str
    size: int
    data: DataSet
    table: str
    make_job: Callable[[], Job]
    run: Run
    acknowledged: int = 0
    stored: int = 0

    def workload(self) -> Workload:
        """Make it measurable."""
        return Workload(self.name, self._round, per_call=self.size, counted="events")

    def verdict(self) -> str:
        """Say that everything acknowledged is stored and counted; usage days are compared before, all at once."""
        if self.acknowledged != self.stored:
            raise AssertionError(f"{self.name}: {self.acknowledged} acknowledged, {self.stored} stored")
        return f"all {self.stored:,} stored{' and counted' if self.table == OUR_TABLE else ''}"

    def _round(self) -> Tally:
        with connected_to(self.data.database):
            before = rows_of(f"SELECT COALESCE(max(id), 0) FROM {self.table}")[0][0]
            tally = self.run.pool.run(self.make_job())
            self.acknowledged += tally.matches * self.size
            self.stored += rows_of(f"SELECT count(*) FROM {self.table} WHERE id > %s", [before])[0][0]
            if self.table != OUR_TABLE:
                execute(f"TRUNCATE {self.table}")
        return tally


def measure_ingest(run: Run) -> Section:
    """Measure all ways of recording in turns."""
    section = Section("Recording events")
    recordings = [recording for size in SIZES for recording in _recordings(run, size)]
    run.say("Recording events.")
    section.measurements = take_turns(
        [recording.workload() for recording in recordings], rounds=run.rounds, say=run.say
    )
    for stage in run.stages:
        with connected_to(stage.data.database):
            days_equal_events(stage.data)
    for recording, measurement in zip(recordings, section.measurements, strict=True):
        measurement.verified = recording.verdict()
    section.ratios = [ratio for size in SIZES for ratio in _ratios(section, size, large=run.large is not None)]
    return section


def _recordings(run: Run, size: int) -> list[Recording]:
    """The ways to record batches of one size, next to each other what is compared."""
    made = []
    for stage in run.stages:
        made += [over_http(run, stage, size), _bare(run, stage, size)]
    made[2:2] = [_usual(run, size), _plain(run, size)]
    return [*made, over_http(run, run.small, size, hot_half=True), _bare(run, run.small, size, hot_half=True)]


def name_of(way: str, size: int, data: str, *, hot_half: bool = False) -> str:
    """Name a measurement of recording."""
    batch = "single events" if size == 1 else f"{size:,} a batch"
    return f"{way}, {batch}, {data}{', half on one customer' if hot_half else ''}"


def over_http(run: Run, stage: Stage, size: int, *, hot_half: bool = False) -> Recording:
    """Record events through the API of the product."""
    sent = batches(stage.data, size=size, hot_half=hot_half)
    texts = event_requests("/v1/events", stage.server.key, sent)
    make_job = partial(_http_job, run, stage.server.port, texts, size)
    return Recording(
        name_of(HTTP, size, stage.data.name, hot_half=hot_half), size, stage.data, OUR_TABLE, make_job, run
    )


def _usual(run: Run, size: int) -> Recording:
    data = run.small.data
    texts = event_requests("/reference/events", run.reference.key, batches(data, size=size))
    make_job = partial(_http_job, run, run.reference.port, texts, size)
    return Recording(name_of(USUAL, size, data.name), size, data, REFERENCE_TABLE, make_job, run)


def _http_job(run: Run, port: int, texts: list[str], size: int) -> HttpJob:
    return HttpJob(
        port=port,
        requests=Templates(texts, next(run.series)),
        connections=SINGLE_CONNECTIONS if size == 1 else CONNECTIONS,
        seconds=run.seconds,
        status=202,
        match=b'"Event accepted"' if size == 1 else b'"accepted":%d' % size,
    )


def _bare(run: Run, stage: Stage, size: int, *, hot_half: bool = False) -> Recording:
    sent = batches(stage.data, size=size, hot_half=hot_half)
    with connected_to(stage.data.database):
        calls = statements_of(sent)
        leads_to = address()

    def make_job() -> SqlJob:
        return SqlJob(leads_to, calls, next(run.series), CONNECTIONS, run.seconds)

    return Recording(
        name_of(BARE, size, stage.data.name, hot_half=hot_half), size, stage.data, OUR_TABLE, make_job, run
    )


def _plain(run: Run, size: int) -> Recording:
    """The least that PostgreSQL can do with the same rows and indexes: no look-up, no roll-up, nothing answered."""
    data = run.small.data
    with connected_to(data.database):
        execute(f"CREATE TABLE IF NOT EXISTS {PLAIN_TABLE} (LIKE {OUR_TABLE} INCLUDING ALL)")
        calls = [[plain_insert(events, PLAIN_TABLE)] for events in batches(data, size=size)]
        leads_to = address()

    def make_job() -> SqlJob:
        return SqlJob(leads_to, calls, next(run.series), CONNECTIONS, run.seconds)

    return Recording(name_of(PLAIN, size, data.name), size, data, PLAIN_TABLE, make_job, run)


def _ratios(section: Section, size: int, *, large: bool) -> list[Ratio]:
    def named(way: str, data: str = "100k", *, hot_half: bool = False) -> Measurement:
        return section.named(name_of(way, size, data, hot_half=hot_half))

    batch = "single events" if size == 1 else f"{size:,} a batch"
    ratios = []
    if size > 1:
        least = 0.7 if size >= 1_000 else 0.6
        ratios.append(Ratio(f"{batch}: HTTP / bare statement", ratio_of(named(HTTP), named(BARE)), least))
        if large:
            at_10m = ratio_of(named(HTTP, "10m"), named(BARE, "10m"))
            ratios.append(Ratio(f"{batch}: HTTP / bare statement, 10 million events", at_10m, least))
        hot = ratio_of(named(HTTP, hot_half=True), named(BARE, hot_half=True))
        ratios.append(Ratio(f"{batch}: HTTP / bare statement, half on one customer", hot, least))
    against_plain = ratio_of(named(BARE), named(PLAIN))
    section.remarks.append(
        f"- {batch}: the bare statement, which also looks customers up and counts, does {against_plain:.2f} of the "
        "plain insert of the same rows."
    )
    least = 5 if size == 1 else 3.5
    return [*ratios, Ratio(f"{batch}: HTTP / idiomatic DRF", ratio_of(named(HTTP), named(USUAL)), least)]
