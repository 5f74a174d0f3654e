"""What settled usage and paid-for time would come to at another price. Plain numbers: no clock, no database."""

from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple
from zoneinfo import ZoneInfo

from plans.money import exactly, round_cents
from plans.periods import Clock, boundary
from plans.pricing import Charge, bounded, net_of

_ZERO, _NEVER = Decimal(0), Fraction(0)
_LONGEST_MONTH_BY_MEAN = Fraction(31, 30)


class SettledPeriod(NamedTuple):
    """What a period was settled with, later differences added: metered units, how many of them were included and how
    many grants paid for, events of positive value, and what was billed in minor units.

    `component_units` and `feature_units` are what its component and the plan's feature included at most.
    """

    used: Decimal
    included: Decimal
    credited: Decimal
    events: int
    net_cents: int
    component_units: Decimal
    feature_units: Decimal

    @property
    def free(self) -> Decimal:
        """Units that the plan's feature gave. Where a quota took their place, no more was included than what the
        component includes."""
        return self.feature_units if self.included > min(self.used, self.component_units) else _ZERO


@exactly
def usage_cents(charge: Charge, settled: SettledPeriod) -> int:
    """Price a settled period as an invoice would: what the charge includes comes first, and its grants pay for as many
    units as they did, at most for all others."""
    free = settled.free
    included = min(settled.used, free + charge.included_metered_units)
    exact = net_of(
        charge,
        used=settled.used,
        credited=min(settled.credited, settled.used - included),
        included=included,
        free=free,
        events=settled.events,
    )
    # Which grant paid, and which of them show as lines, does not matter to what is left to pay.
    return round_cents(bounded(charge, exact))


def turns(clock: Clock, *, started_at: datetime, start_at: datetime, end_at: datetime, zone: ZoneInfo) -> Fraction:
    """How many periods of a clock that started at `started_at` lie in `[start_at, end_at)`: a whole one counts 1, a
    part of one its share of the time."""
    number = _number_before(clock, started_at, start_at)
    begin, found = boundary(clock, started_at, number, zone), _NEVER
    while begin < end_at and clock.has_period(number, begin, zone):
        end = boundary(clock, started_at, number + 1, zone)
        found += share(begin, end, start_at, end_at)
        number, begin = number + 1, end
    return found


def _number_before(clock: Clock, started_at: datetime, at: datetime) -> int:
    """The number of a period that does not begin later than an instant and not much earlier."""
    days = (at - started_at).days
    return max(int(days / (clock.approximate_days * _LONGEST_MONTH_BY_MEAN)) - 1, 0)


def share(begin: datetime, end: datetime, start_at: datetime, end_at: datetime) -> Fraction:
    """The part of `[begin, end)` that lies in `[start_at, end_at)`, from 0 to 1."""
    overlap = min(end, end_at) - max(begin, start_at)
    if overlap <= timedelta(0):
        return _NEVER
    microsecond = timedelta(microseconds=1)
    return Fraction(overlap // microsecond, (end - begin) // microsecond)
