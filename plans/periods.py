"""Clocks and their boundaries: calendar arithmetic in the billing time zone, without clock and database.

Ruling: the first period starts at the instant of subscription, every later boundary is local midnight of the anchor
day. Boundaries are counted from the start, so that short months clamp and do not drift (31 Jan, 28 Feb, 31 Mar). The
days of a daily clock are counted from the first midnight, so that its first period is not a few hours.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta

from plans.refusals import InvalidInput

DAILY, WEEKLY = "DAILY", "WEEKLY"
_DAYS = {DAILY: 1, WEEKLY: 7}
_MONTHS = {"MONTHLY": 1, "YEARLY": 12}
_LONGEST_INTERVAL = {DAILY: 366, WEEKLY: 52, "MONTHLY": 60, "YEARLY": 5}
_LARGEST_COUNT = 10_000
_UNTIL = re.compile(r"([0-9]{8})(T[0-9]{6}Z)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Clock:
    """Every `interval` days, weeks, months or years.

    It ends after `count` periods, or at `until` as its rule writes it: `20261231` is that local day, which still
    belongs to it, `20261231T235959Z` an instant. None is without an end.
    """

    frequency: str
    interval: int = 1
    count: int | None = None
    until: str | None = None

    @property
    def rule(self) -> str:
        """The contract's text of this clock."""
        count = f";COUNT={self.count}" if self.count is not None else ""
        until = f";UNTIL={self.until}" if self.until is not None else ""
        return f"RRULE:FREQ={self.frequency};INTERVAL={self.interval}{count}{until}"

    @property
    def has_end(self) -> bool:
        """Tell whether it stops turning some day."""
        return self.count is not None or self.until is not None

    @property
    def months(self) -> int | None:
        """The length in months; None for a clock of days or weeks."""
        return _MONTHS[self.frequency] * self.interval if self.frequency in _MONTHS else None

    @property
    def approximate_days(self) -> int:
        """A length to sort clocks by."""
        return self._days if self.months is None else 30 * self.months

    def after(self, day: date, count: int) -> date:
        """The anchor day `count` turns of the clock after `day`."""
        if self.months is None:
            return day + timedelta(days=self._days * count)
        return day + relativedelta(months=self.months * count)

    def has_period(self, number: int, start_at: datetime, zone: ZoneInfo) -> bool:
        """Tell whether period `number`, which would begin at `start_at`, comes before the end of this clock."""
        if self.count is not None and number >= self.count:
            return False
        if self.until is None:
            return True
        until = _until(self.until)
        return start_at <= until if isinstance(until, datetime) else local_day(start_at, zone) <= until

    @property
    def _days(self) -> int:
        return _DAYS[self.frequency] * self.interval


def parse_recurrence(rule: object, *, path: str, endless_daily: bool = False) -> Clock:
    """Read a recurrence rule such as `RRULE:FREQ=MONTHLY;INTERVAL=1` (the prefix may be missing).

    Raises InvalidInput at `path` for anything but DAILY, WEEKLY, MONTHLY or YEARLY with an optional INTERVAL, and one
    of COUNT and UNTIL, which DAILY needs but for `endless_daily`.
    """
    if not isinstance(rule, str):
        raise InvalidInput.at(path, "must be text such as RRULE:FREQ=MONTHLY;INTERVAL=1.")
    parts: dict[str, str] = {}
    for part in rule.removeprefix("RRULE:").rstrip(";").split(";"):
        name, equals, value = part.partition("=")
        if not equals or name.upper() in parts:
            raise InvalidInput.at(path, f"cannot read {part[:40]!r}; write it like RRULE:FREQ=MONTHLY;INTERVAL=1.")
        parts[name.upper()] = value.upper()
    frequency = parts.pop("FREQ", "")
    if frequency not in _LONGEST_INTERVAL:
        raise InvalidInput.at(
            path, f"FREQ must be DAILY, WEEKLY, MONTHLY or YEARLY, not {frequency[:40] or 'missing'}."
        )
    longest = _LONGEST_INTERVAL[frequency]
    interval = _whole_number(parts.pop("INTERVAL", "1"), longest)
    if interval is None:
        raise InvalidInput.at(path, f"INTERVAL must be a whole number from 1 to {longest} with FREQ={frequency}.")
    count, until = _read_end(parts, path)
    if parts:
        names = ", ".join(sorted(parts))[:200]
        raise InvalidInput.at(path, f"{names} cannot be used here; only FREQ, INTERVAL, COUNT and UNTIL can.")
    if frequency == DAILY and count is None and until is None and not endless_daily:
        raise InvalidInput.at(path, "needs COUNT or UNTIL with FREQ=DAILY, such as RRULE:FREQ=DAILY;COUNT=30.")
    return Clock(frequency=frequency, interval=interval, count=count, until=until)


def _read_end(parts: dict[str, str], path: str) -> tuple[int | None, str | None]:
    """Take COUNT and UNTIL out of the parts of a rule."""
    count_text, until = parts.pop("COUNT", None), parts.pop("UNTIL", None)
    if count_text is not None and until is not None:
        raise InvalidInput.at(path, "must have COUNT or UNTIL, not both.")
    count = None if count_text is None else _whole_number(count_text, _LARGEST_COUNT)
    if count_text is not None and count is None:
        raise InvalidInput.at(path, f"COUNT must be a whole number from 1 to {_LARGEST_COUNT}.")
    if until is not None:
        try:
            _until(until)
        except ValueError:
            raise InvalidInput.at(path, "UNTIL must be a day such as 20261231 or 20261231T235959Z.") from None
    return count, until


def _whole_number(text: str, largest: int) -> int | None:
    """The number that `text` writes, from 1 to `largest`; None where it does not."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        return None
    number = int(text)
    return number if 1 <= number <= largest else None


def _until(text: str) -> date | datetime:
    """Read the end of a clock: a local day, or an instant. Raises ValueError."""
    if not _UNTIL.fullmatch(text):
        raise ValueError(text)
    if "T" in text:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC).date()


def shortest(clocks: Iterable[Clock]) -> Clock:
    """The clock that turns most often, those without an end first; it gives a subscription its current period."""
    return min(clocks, key=lambda clock: (clock.has_end, clock.approximate_days))


def nests(inner: Clock, outer: Clock) -> bool:
    """Tell whether each boundary of `outer` is one of `inner`, such as years of months, but not months of weeks.

    Days turn at every midnight, so they nest in everything; several days only in a multiple of them.
    """
    if inner.frequency == DAILY:
        return inner.interval == 1 or (outer.frequency == DAILY and outer.interval % inner.interval == 0)
    if outer.frequency == DAILY:
        return False
    if inner.months is None or outer.months is None:
        return inner.months is None and outer.months is None and outer.interval % inner.interval == 0
    return outer.months % inner.months == 0


@lru_cache(maxsize=10_000)
def local_midnight(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a local day, in UTC. Where a clock change skips midnight, that is the change itself."""
    return datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)


def local_day(at: datetime, zone: ZoneInfo) -> date:
    """The local day on which an instant falls."""
    return at.astimezone(zone).date()


def is_local_midnight(at: datetime, zone: ZoneInfo) -> bool:
    """Tell whether an instant is the first one of its local day."""
    return at == local_midnight(local_day(at, zone), zone)


def midnight_before(at: datetime, zone: ZoneInfo) -> datetime:
    """The last local midnight at or before an instant."""
    return local_midnight(local_day(at, zone), zone)


def midnight_after(at: datetime, zone: ZoneInfo) -> datetime:
    """The first local midnight at or after an instant."""
    if is_local_midnight(at, zone):
        return at
    return local_midnight(local_day(at, zone) + timedelta(days=1), zone)


def boundary(clock: Clock, started_at: datetime, number: int, zone: ZoneInfo) -> datetime:
    """The instant, in UTC, at which period `number` of a clock that started at `started_at` begins."""
    if number == 0:
        return started_at.astimezone(UTC)
    counted_from = midnight_after(started_at, zone) if clock.frequency == DAILY else started_at
    return local_midnight(clock.after(local_day(counted_from, zone), number), zone)


def turn_at(clock: Clock, started_at: datetime, at: datetime, zone: ZoneInfo) -> int:
    """The number of the turn, of a clock that started at `started_at`, in which a later instant lies."""
    longest = clock.approximate_days if clock.months is None else 31 * clock.months
    number = max((at - started_at).days // longest - 1, 0)
    while boundary(clock, started_at, number + 1, zone) <= at:
        number += 1
    return number
