"""Usage per day over HTTP: of typical customers, and of the one with 5 % of all events."""

from datetime import timedelta
from urllib.parse import urlencode

from plans.exact_json import moment_text
from plans.models import Metric
from tests.bench.dataset import DAYS
from tests.bench.figures import Section, Workload, take_turns
from tests.bench.installation import connected_to
from tests.bench.load import HttpJob, Tally, Templates
from tests.bench.run import Run, Stage
from tests.bench.traffic import is_missing, request

CONNECTIONS = 8
CUSTOMERS_ASKED = 2_000
# Not at midnight: the first and the last day are cut and summed from their events.
CUT = timedelta(hours=10, minutes=17, seconds=33)


def measure_usage(run: Run) -> Section:
    """Measure 90 days of usage in turns."""
    run.say("Reading usage.")
    section = Section("Usage per day, 90 days with a cut day at either end")
    if is_missing(run.small.server, _paths(run.small, run.small.data.typical[:1])[0], "GET"):
        section.remarks.append("Not measured: this version has no endpoint `GET /v1/usage/{customerId}`.")
        return section
    workloads = []
    for stage in run.stages:
        typical, name = stage.data.typical[:CUSTOMERS_ASKED], stage.data.name
        workloads.append(_asking(run, f"usage, typical customer, {name}", stage, _paths(stage, typical)))
        workloads.append(_asking(run, f"usage, customer with 5 %, {name}", stage, _paths(stage, [stage.data.hot])))
    section.measurements = take_turns(workloads, rounds=run.rounds, say=run.say, warm_up=True)
    return section


def _paths(stage: Stage, customers: list[str]) -> list[str]:
    with connected_to(stage.data.database):
        metric = Metric.objects.get(name="API requests").public_id
    start_at, end_at = stage.data.ends_at - timedelta(days=DAYS) + CUT, stage.data.ends_at - CUT
    asked = {"metricId": metric, "start": moment_text(start_at), "end": moment_text(end_at), "groupBy": "day"}
    return [f"/v1/usage/{customer}?{urlencode(asked)}" for customer in customers]


def _asking(run: Run, name: str, stage: Stage, paths: list[str]) -> Workload:
    texts = [request("GET", path, stage.server.key) for path in paths]

    def ask() -> Tally:
        return run.pool.run(HttpJob(stage.server.port, Templates(texts, next(run.series)), CONNECTIONS, run.seconds))

    return Workload(name, ask)
