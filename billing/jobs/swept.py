"""What a sweep says of its work, and the clock that it reads."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic

# Whether a sweep shall take the next row; asked before each.
KeepGoing = Callable[[], bool]


def to_the_end() -> bool:
    """Let a sweep go on until nothing is due."""
    return True


class SweepClock:
    """The instant of a sweep, moved on by the time that it has taken: a lease counts from when it is taken."""

    def __init__(self, at: datetime) -> None:
        self.at = at
        self.began = monotonic()

    def now(self) -> datetime:
        return self.at + timedelta(seconds=monotonic() - self.began)


@dataclass
class Swept:
    """How much a sweep did. `unavailable` says why Stripe, or the mail server, could not be reached; then it stopped
    early."""

    done: int = 0
    failed: int = 0
    unavailable: str = ""
    problems: list[str] = field(default_factory=list)

    def fail(self, problem: str) -> None:
        """Count a failure and keep its sentence."""
        self.failed += 1
        self.problems.append(problem)

    def add(self, other: "Swept") -> "Swept":
        """Add what another sweep of the books did."""
        self.done += other.done
        self.failed += other.failed
        self.problems += other.problems
        return self
