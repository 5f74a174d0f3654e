"""Checking an entitlement: over HTTP, against views that ask the database nothing."""

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.bench.figures import Ratio, Section, Workload, ratio_of, take_turns
from tests.bench.installation import Server, connected_to
from tests.bench.load import HttpJob, Tally, Templates
from tests.bench.run import Run, Stage
from tests.bench.subscribers import SLUG
from tests.bench.traffic import request

# As many as the web server has threads.
CONNECTIONS = 8
CUSTOMERS_ASKED = 4_000
# Two rates of the same thing differ by as much from round to round.
NO_SLOWER = 0.95
CONSTANT = "/v1/bench/constant"
BARE_VIEW, GUARDED_VIEW = "no-query view, no middleware", "no-query view behind middleware and guard"


def measure_check(run: Run) -> Section:
    """Measure checks of typical customers and of the one with 5 % of all events, on each data set, in turns."""
    run.say("Checking entitlements.")
    section = Section("Checking an entitlement")
    workloads = [
        _asking(run, BARE_VIEW, run.reference, ["/reference/constant"]),
        _asking(run, GUARDED_VIEW, run.small.server, [CONSTANT]),
    ]
    for stage in run.stages:
        typical = [path_of(customer) for customer in stage.data.typical[:CUSTOMERS_ASKED]]
        workloads.append(_asking(run, f"check, typical customer, {stage.data.name}", stage.server, typical))
        hot = [path_of(stage.data.hot)]
        workloads.append(_asking(run, f"check, customer with 5 %, {stage.data.name}", stage.server, hot))
    section.measurements = take_turns(workloads, rounds=run.rounds, say=run.say, warm_up=True)
    section.ratios = _ratios(section, run)
    return section


def path_of(customer: str) -> str:
    """The address of a check."""
    return f"/v1/entitlements/{customer}/feature/{SLUG}"


def _asking(run: Run, name: str, server: Server, paths: list[str]) -> Workload:
    texts = [request("GET", path, server.key) for path in paths]

    def ask() -> Tally:
        requests = Templates(texts, next(run.series))
        return run.pool.run(HttpJob(server.port, requests, CONNECTIONS, run.seconds, match=b'"creditInfo":{'))

    return Workload(name, ask, counted="checks" if name.startswith("check") else "requests")


def _ratios(section: Section, run: Run) -> list[Ratio]:
    small = section.named("check, typical customer, 100k")
    ratios = [
        Ratio("check / no-query view without middleware", ratio_of(small, section.named(BARE_VIEW)), 0.25),
        Ratio("check / no-query view behind middleware and guard", ratio_of(small, section.named(GUARDED_VIEW)), 0.25),
        Ratio("queries of a check, beside the key's", queries_of_a_check(run.stages[-1]), 2, at_most=True),
    ]
    if run.large is not None:
        large = section.named("check, typical customer, 10m")
        ratios.append(Ratio("p99 at 10 million events / at 100 thousand", large.p99 / small.p99, 1.3, at_most=True))
    for stage in run.stages:
        hot = section.named(f"check, customer with 5 %, {stage.data.name}")
        typical = section.named(f"check, typical customer, {stage.data.name}")
        what = f"rate for the customer with 5 % of all events / for a typical one, {stage.data.name}"
        ratios.append(Ratio(what, ratio_of(hot, typical), NO_SLOWER))
    return ratios


def queries_of_a_check(stage: Stage) -> int:
    """Count the queries of a check that a request of the same key without any work does not make."""
    client = Client(headers={"host": "127.0.0.1", "authorization": f"Bearer {stage.server.key}"})

    def queries(path: str) -> int:
        client.get(path)
        with CaptureQueriesContext(connection) as captured:
            answer = client.get(path)
        assert answer.status_code == 200, answer.content
        return len(captured)

    with connected_to(stage.data.database):
        return queries(path_of(stage.data.typical[0])) - queries(CONSTANT)
