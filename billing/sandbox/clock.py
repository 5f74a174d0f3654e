"""The sandbox's clock: real time, unless somebody sets it."""

import threading
import time
from datetime import UTC, datetime

LATEST = 253_370_764_800
"""The first second of the year 9999, in UTC."""


def real_seconds() -> int:
    """Return the machine's time in whole seconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000_000


class Clock:
    """Tells the time in whole seconds since 1970-01-01 UTC. Once set it stands still, and is set forward only."""

    def __init__(self, frozen_at: int | None = None) -> None:
        self._frozen_at = frozen_at
        self._lock = threading.Lock()

    @property
    def frozen_at(self) -> int | None:
        """The second at which the clock stands, or None while it shows real time."""
        return self._frozen_at

    def now(self) -> int:
        """Return the current second."""
        frozen_at = self._frozen_at
        return real_seconds() if frozen_at is None else frozen_at

    def set(self, moment: datetime | int | None) -> None:
        """Stop the clock at `moment` (aware datetime or seconds), or let real time run again with None.

        Raises ValueError for a moment without a time zone, before the moment at which the clock stands, or too far off.
        """
        with self._lock:
            self._frozen_at = None if moment is None else self._forward(moment)

    def advance(self, seconds: int) -> None:
        """Stop the clock `seconds` after what it shows now."""
        self.set(self.now() + seconds)

    def _forward(self, moment: datetime | int) -> int:
        second = _second_of(moment)
        if not 0 <= second < LATEST:
            raise ValueError("The clock knows the years 1970 to 9998.")
        if self._frozen_at is not None and second < self._frozen_at:
            raise ValueError("The clock stands at a later moment and only goes forward.")
        return second


def _second_of(moment: datetime | int) -> int:
    if isinstance(moment, int):
        return moment
    if moment.tzinfo is None:
        raise ValueError("The clock takes moments with a time zone.")
    since = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86_400 + since.seconds
