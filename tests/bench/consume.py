"""Consuming: many callers want units of one customer at once, and never get more than there are."""

from decimal import Decimal

from tests.bench.check import path_of
from tests.bench.dataset import days_equal_events
from tests.bench.figures import Ratio, Section, Workload, ratio_of, take_turns
from tests.bench.ingest import over_http
from tests.bench.installation import connected_to, rows_of
from tests.bench.load import MARK, HttpJob, Tally, Templates
from tests.bench.run import Run
from tests.bench.subscribers import QUOTA
from tests.bench.traffic import is_missing, request

CONNECTIONS = 50
NAME = "consume, one hot customer, 50 connections, 100k"
# So much of the allowance is consumed while the rate is measured; then more is asked for than the rest.
MEASURED_SHARE = 0.8


class Hot:
    """One spare customer after the other, each asked for more than its quota by all connections."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._customers = iter(run.small.data.spare)
        # A small run has less time, so there it takes fewer calls to use a quota up.
        self._value = 20 if run.large is None else 4
        self.allowance = int(QUOTA) // self._value
        self.used_up = 0

    def consume(self) -> Tally:
        """Use up a new customer's quota; the figures are of calls that were all allowed."""
        customer = next(self._customers)
        measured = int(self.allowance * MEASURED_SHARE)
        first = self._ask(customer, measured)
        assert first.matches == measured, f"only {first.matches} of {measured} calls within the quota were allowed"
        rest = self._ask(customer, self.allowance)
        allowed = first.matches + rest.matches
        assert allowed == self.allowance, f"{allowed} calls were allowed, but there was allowance for {self.allowance}"
        used = _used(self._run, customer)
        assert used == QUOTA, f"{used} units are recorded instead of {QUOTA}"
        self.used_up += 1
        return first

    def _ask(self, customer: str, calls: int) -> Tally:
        server = self._run.small.server
        body = {"value": self._value, "idempotencyKey": MARK}
        texts = [request("POST", f"{path_of(customer)}/consume", server.key, body)]
        requests = Templates(texts, next(self._run.series))
        # Bounded by calls: every one of them is needed to prove the sum.
        job = HttpJob(server.port, requests, CONNECTIONS, seconds=600, most=calls, match=b'"allowed":true')
        return self._run.pool.run(job)


def measure_consume(run: Run) -> Section:
    """Measure consuming on one hot customer against recording single events, in turns."""
    run.say("Consuming.")
    section = Section("Consuming")
    if is_missing(run.small.server, f"{path_of(run.small.data.spare[0])}/consume"):
        section.remarks.append("Not measured: this version has no endpoint `POST …/feature/{slug}/consume`.")
        return section
    hot = Hot(run)
    single = over_http(run, run.small, 1)
    workloads = [Workload(NAME, hot.consume, counted="calls"), single.workload()]
    section.measurements = take_turns(workloads, rounds=run.rounds, say=run.say)
    with connected_to(run.small.data.database):
        days_equal_events(run.small.data)
    consuming, recording = section.measurements
    consuming.verified = f"{hot.used_up} × exactly {hot.allowance:,} allowed, 0 oversold"
    recording.verified = single.verdict()
    section.ratios = [Ratio("consume / single events over HTTP", ratio_of(consuming, recording), 0.5)]
    return section


def _used(run: Run, customer: str) -> Decimal:
    """Sum what is recorded for a customer."""
    with connected_to(run.small.data.database):
        return rows_of(
            "SELECT sum(event.value) FROM metering_usageevent event JOIN plans_customer customer "
            "ON customer.id = event.customer_id WHERE customer.public_id = %s",
            [customer],
        )[0][0]
