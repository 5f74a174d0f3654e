"""Clocks and their boundaries: calendar arithmetic in the billing time zone, without clock and database.

Ruling: the first period starts at the instant of subscription, every later boundary is local midnight of the anchor
day. Boundaries are counted from the start, so that short months clamp and do not drift (31 Jan, 28 Feb, 31 Mar).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta

from plans.refusals import InvalidInput

_MONTHS = {"MONTHLY": 1, "YEARLY": 12}
_LONGEST_INTERVAL = {"WEEKLY": 52, "MONTHLY": 60, "YEARLY": 5}


@dataclass(frozen=True, slots=True)
class Clock:
    """Every `interval` weeks, months or years."""

    frequency: str
    interval: int = 1
    count: int | None = None
    until: str | None = None

    @property
    def rule(self) -> str:
        """The contract's text of this clock."""
        return f"RRULE:FREQ={self.frequency};INTERVAL={self.interval}"

    @property
    def months(self) -> int | None:
        """The length in months; None for a clock of weeks."""
        return _MONTHS[self.frequency] * self.interval if self.frequency in _MONTHS else None

    @property
    def approximate_days(self) -> int:
        """A length to sort clocks by."""
        return 7 * self.interval if self.months is None else 30 * self.months

    def after(self, day: date, count: int) -> date:
        """The anchor day `count` turns of the clock after `day`."""
        if self.months is None:
            return day + timedelta(weeks=self.interval * count)
        return day + relativedelta(months=self.months * count)


def parse_recurrence(rule: object, *, path: str) -> Clock:
    """Read a recurrence rule such as `RRULE:FREQ=MONTHLY;INTERVAL=1` (the prefix may be missing).

    Raises InvalidInput at `path` for anything but WEEKLY, MONTHLY or YEARLY with an optional INTERVAL.
    """
    if not isinstance(rule, str):
        raise InvalidInput.at(path, "must be text such as RRULE:FREQ=MONTHLY;INTERVAL=1.")
    parts: dict[str, str] = {}
    for part in rule.removeprefix("RRULE:").rstrip(";").split(";"):
        name, equals, value = part.partition("=")
        if not equals or name.upper() in parts:
            raise InvalidInput.at(path, f"cannot read {part!r}; write it like RRULE:FREQ=MONTHLY;INTERVAL=1.")
        parts[name.upper()] = value.upper()
    frequency = parts.pop("FREQ", "")
    if frequency not in _LONGEST_INTERVAL:
        raise InvalidInput.at(path, f"FREQ must be WEEKLY, MONTHLY or YEARLY, not {frequency or 'missing'}.")
    interval = parts.pop("INTERVAL", "1")
    longest = _LONGEST_INTERVAL[frequency]
    if not (interval.isascii() and interval.isdigit() and 1 <= int(interval[:4]) <= longest and len(interval) <= 4):
        raise InvalidInput.at(path, f"INTERVAL must be a whole number from 1 to {longest} with FREQ={frequency}.")
    if parts:
        raise InvalidInput.at(path, f"{', '.join(sorted(parts))} cannot be used here; only FREQ and INTERVAL can.")
    return Clock(frequency=frequency, interval=int(interval))


def shortest(clocks: Iterable[Clock]) -> Clock:
    """The clock that turns most often; it gives a subscription its current period."""
    return min(clocks, key=lambda clock: clock.approximate_days)


def nests(inner: Clock, outer: Clock) -> bool:
    """Tell whether each boundary of `outer` is one of `inner`, such as years of months, but not months of weeks."""
    if inner.months is None or outer.months is None:
        return inner.months is None and outer.months is None and outer.interval % inner.interval == 0
    return outer.months % inner.months == 0


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
    return local_midnight(clock.after(local_day(started_at, zone), number), zone)
