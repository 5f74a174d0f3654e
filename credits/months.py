"""Calendar months in which no stored period covers a customer's usage of a metric: their gaps. No clock, no database.

Ruling: who has no subscription is settled by calendar month. A gap is a stretch of such a month without a period, as
long as it can be: of a month with a subscription from the 10th to the 20th there are two, up to the 10th and from the
20th. A gap is known by its end, which no other one has.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from plans.periods import local_day, local_midnight

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = timedelta(microseconds=1)


class Stretch(Protocol):
    """Something that lasts `[start_at, end_at)`."""

    @property
    def start_at(self) -> datetime: ...

    @property
    def end_at(self) -> datetime: ...


def month_start(at: datetime, zone: ZoneInfo) -> datetime:
    """The first instant of the local month in which an instant falls."""
    return local_midnight(local_day(at, zone).replace(day=1), zone)


def month_end(at: datetime, zone: ZoneInfo) -> datetime:
    """The first instant of the local month after that in which an instant falls."""
    first = local_day(at, zone).replace(day=1)
    return local_midnight((first + timedelta(days=31)).replace(day=1), zone)


def gap_at(at: datetime, periods: Sequence[Stretch], zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The start and end of the gap around an instant that none of the periods contains."""
    starts = (period.end_at for period in periods if period.end_at <= at)
    ends = (period.start_at for period in periods if period.start_at > at)
    return max([month_start(at, zone), *starts]), min([month_end(at, zone), *ends])


def gaps_between(
    start_at: datetime, end_at: datetime, periods: Sequence[Stretch], zone: ZoneInfo
) -> list[tuple[datetime, datetime]]:
    """The starts and ends of all gaps of `[start_at, end_at)`, in time order; `end_at` must end a month or begin a
    period."""
    gaps, at = [], start_at
    while at < end_at:
        covering = next((period for period in periods if period.start_at <= at < period.end_at), None)
        if covering is None:
            begin, end = gap_at(at, periods, zone)
            gaps.append((max(begin, start_at), end))
            at = end
        else:
            at = covering.end_at
    return gaps


def gap_key(end_at: datetime) -> int:
    """The key of the gap that ends at an instant, apart from those of stored periods: it is negative."""
    return -((end_at - _EPOCH) // _INSTANT)
