"""Windows of time, and how they are cut where days of usage begin: plain Python, without clock and database.

Days of usage are days of the billing zone, so a window that begins or ends within one has whole days in its middle and
a piece of a day at either end.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from plans.periods import local_day, local_midnight

# Events since 1970 in any zone of the world are taken; these lie before and after all of them.
EARLIEST = datetime(1969, 12, 31, tzinfo=UTC)
LATEST = datetime(9998, 1, 1, tzinfo=UTC)
_A_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Window:
    """From `start_at` on, until right before `end_at`."""

    start_at: datetime
    end_at: datetime

    def days(self, zone: ZoneInfo) -> list[date]:
        """The local days that it touches, in order."""
        if self.start_at >= self.end_at:
            return []
        first = local_day(self.start_at, zone)
        last = local_day(self.end_at - timedelta(microseconds=1), zone)
        return [first + timedelta(days=number) for number in range((last - first).days + 1)]


ALL_TIME = Window(EARLIEST, LATEST)


@dataclass(frozen=True, slots=True)
class Cut:
    """A window as whole days, from `first_day` until right before `end_day`, and the pieces of it beside them."""

    first_day: date
    end_day: date
    pieces: list[Window]


def cut_at_midnights(window: Window, zone: ZoneInfo) -> Cut:
    """Cut a window into whole local days and at most two pieces; together they are the window, without overlap.

    A midnight near a change of clocks is not cut at, since a day may come back after it: in Newfoundland clocks were
    set back from 00:01 to 23:01 of the day before. What lies around such a change is then part of a piece.
    """
    first_day, end_day = local_day(window.start_at, zone), local_day(window.end_at, zone)
    while local_midnight(first_day, zone) < window.start_at or not _is_clean(first_day, zone):
        first_day += _A_DAY
    while local_midnight(end_day, zone) > window.end_at or not _is_clean(end_day, zone):
        end_day -= _A_DAY
    if first_day >= end_day:
        return Cut(first_day, first_day, [window])
    pieces = [
        Window(window.start_at, local_midnight(first_day, zone)),
        Window(local_midnight(end_day, zone), window.end_at),
    ]
    return Cut(first_day, end_day, [piece for piece in pieces if piece.start_at < piece.end_at])


def _is_clean(day: date, zone: ZoneInfo) -> bool:
    """Tell whether clocks run evenly for a day before and after a local midnight."""
    midnight = local_midnight(day, zone)
    offsets = {(midnight + step).astimezone(zone).utcoffset() for step in (-_A_DAY, timedelta(0), _A_DAY)}
    return len(offsets) == 1
