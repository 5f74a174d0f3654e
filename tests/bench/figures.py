"""Figures: rounds of what is compared, taken in turn because machines are noisy, and their medians."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from tests.bench.load import Tally

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Workload:
    """Something to measure: `run` does one round. A call stands for `per_call` of what is counted."""

    name: str
    run: Callable[[], Tally]
    per_call: int = 1
    counted: str = "requests"


@dataclass(slots=True)
class Measurement:
    """What the rounds of a workload gave: rates per second, latencies in milliseconds, and what was verified."""

    name: str
    counted: str
    rates: list[float] = field(default_factory=list)
    p50s: list[float] = field(default_factory=list)
    p99s: list[float] = field(default_factory=list)
    calls: int = 0
    verified: str = ""

    def add(self, tally: Tally, per_call: int) -> None:
        """Take in a round."""
        ordered = sorted(tally.latencies)
        self.rates.append(tally.calls * per_call / tally.elapsed)
        self.p50s.append(1000 * percentile(ordered, 50))
        self.p99s.append(1000 * percentile(ordered, 99))
        self.calls += tally.calls

    @property
    def rate(self) -> float:
        """The median rate per second."""
        return median(self.rates)

    @property
    def p50(self) -> float:
        """The median of the rounds' medians, in milliseconds."""
        return median(self.p50s)

    @property
    def p99(self) -> float:
        """The median of the rounds' 99th percentiles, in milliseconds."""
        return median(self.p99s)


@dataclass(frozen=True, slots=True)
class Ratio:
    """Two figures of one run compared, with what is to be reached; `at_most` where less is better."""

    what: str
    value: float
    target: float
    at_most: bool = False

    @property
    def is_reached(self) -> bool:
        """Tell whether it is good enough."""
        return self.value <= self.target if self.at_most else self.value >= self.target


@dataclass(slots=True)
class Section:
    """What one part of the benchmark gave; `remarks` are sentences for the reader."""

    name: str
    measurements: list[Measurement] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def named(self, name: str) -> Measurement:
        """Find a measurement."""
        return next(one for one in self.measurements if one.name == name)


def take_turns(workloads: Sequence[Workload], *, rounds: int, say: Say, warm_up: bool = False) -> list[Measurement]:
    """Run all workloads one after the other, and that `rounds` times; with `warm_up` once before, uncounted, until each
    connection has its statements planned."""
    if warm_up:
        say("  warming up")
        for workload in workloads:
            workload.run()
    measured = [Measurement(workload.name, workload.counted) for workload in workloads]
    for number in range(rounds):
        say(f"  round {number + 1} of {rounds}")
        for workload, measurement in zip(workloads, measured, strict=True):
            measurement.add(workload.run(), workload.per_call)
    return measured


def ratio_of(first: Measurement, second: Measurement) -> float:
    """Divide rates round by round, as rounds of one turn had the same noise, and take the median."""
    return median(one / other for one, other in zip(first.rates, second.rates, strict=True))


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The value that `percent` of an ordered sequence do not exceed."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def table(section: Section) -> str:
    """Draw the measurements and ratios of a section in Markdown."""
    lines = [f"### {section.name}", ""]
    if section.measurements:
        lines += ["| What | Rate a second | p50 ms | p99 ms | Verified |", "|---|--:|--:|--:|---|"]
    for one in section.measurements:
        verified = one.verified or "–"
        lines.append(f"| {one.name} | {one.rate:,.0f} {one.counted} | {one.p50:.2f} | {one.p99:.2f} | {verified} |")
    if section.ratios:
        lines += ["", "| Ratio | Figure | Target | |", "|---|--:|--:|---|"]
    for ratio in section.ratios:
        sign, word = "≤" if ratio.at_most else "≥", "reached" if ratio.is_reached else "**not reached**"
        lines.append(f"| {ratio.what} | {ratio.value:.2f} | {sign} {ratio.target:g} | {word} |")
    if section.measurements:
        lines.append("")
    lines += section.remarks
    return "\n".join([*lines, ""])


def as_json(section: Section) -> dict[str, Any]:
    """Give the figures of a section with all rounds."""
    return {
        "section": section.name,
        "measurements": [
            {
                "name": one.name,
                "counted": one.counted,
                "ratePerSecond": round(one.rate, 1),
                "p50Milliseconds": round(one.p50, 3),
                "p99Milliseconds": round(one.p99, 3),
                "rates": [round(rate, 1) for rate in one.rates],
                "p50s": [round(value, 3) for value in one.p50s],
                "p99s": [round(value, 3) for value in one.p99s],
                "calls": one.calls,
                "verified": one.verified,
            }
            for one in section.measurements
        ],
        "ratios": [
            {"what": one.what, "figure": round(one.value, 3), "target": one.target, "reached": one.is_reached}
            for one in section.ratios
        ],
        "remarks": section.remarks,
    }
