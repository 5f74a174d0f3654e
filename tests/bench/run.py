"""One run of the benchmark: what all sections share."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from tests.bench.dataset import DataSet
from tests.bench.figures import Say
from tests.bench.installation import Server
from tests.bench.load import Pool


@dataclass(frozen=True, slots=True)
class Stage:
    """A data set and the product's web server on it."""

    data: DataSet
    server: Server


@dataclass(frozen=True, slots=True)
class Run:
    """The load processes, the servers, and how long to measure. `large` is None in a small run."""

    pool: Pool
    small: Stage
    large: Stage | None
    reference: Server
    rounds: int
    seconds: float
    say: Say
    # Keys of a run never come again in another one, also if that one was interrupted.
    series: Iterator[int] = field(default_factory=lambda: count(int(time.time()) % 0x7FFFFF))

    @property
    def stages(self) -> list[Stage]:
        """The data sets of this run, smallest first."""
        return [self.small] if self.large is None else [self.small, self.large]
