"""Which grant pays for which unit: the burn order over segments of usage. No clock, no database.

Ruling: `priority` ascending (none last), expiry (none last), start, id. Usage is cut into segments, and a unit burns
only grants that are active in its segment. Negative usage cancels the latest positive usage of its period first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from plans.money import exactly

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Segment:
    """Usage from `start_at` up to the next cut, in metered units. `period` is the key of its stored period, if any."""

    start_at: datetime
    quantity: Decimal
    period: int | None = None


@dataclass(frozen=True, slots=True)
class BurnableGrant:
    """What is left of a grant before the segments, and when it may be burned: `[starts_at, ends_at)`."""

    key: int
    remaining: Decimal
    starts_at: datetime
    ends_at: datetime | None = None
    priority: int | None = None

    @property
    def order(self) -> tuple[bool, int, bool, datetime, datetime, int]:
        """Its place in the burn order."""
        return (
            self.priority is None,
            self.priority or 0,
            self.ends_at is None,
            self.ends_at or self.starts_at,
            self.starts_at,
            self.key,
        )

    def covers(self, at: datetime) -> bool:
        """Tell whether usage of a segment that starts at this instant may burn it."""
        return self.starts_at <= at and (self.ends_at is None or at < self.ends_at)


@dataclass(frozen=True, slots=True)
class Share:
    """Units of one segment that one grant pays for."""

    start_at: datetime
    period: int | None
    grant: int
    units: Decimal


@dataclass(frozen=True, slots=True)
class Burn:
    """The outcome: who paid for what, in the order of burning, and what each grant has left.

    `included` are the units of each period that its included units covered, before any grant was asked.
    """

    shares: list[Share]
    remaining: dict[int, Decimal]
    included: dict[int, Decimal]

    @exactly
    def by_grant(self, period: int) -> dict[int, Decimal]:
        """Units that each grant paid for in a period, in the order in which they were first burned."""
        units: dict[int, Decimal] = {}
        for share in self.shares:
            if share.period == period:
                units[share.grant] = units.get(share.grant, ZERO) + share.units
        return units

    @exactly
    def credited_in(self, period: int) -> Decimal:
        """Units of a period that some grant pays for."""
        return sum((share.units for share in self.shares if share.period == period), ZERO)

    @exactly
    def credited_since(self, start_at: datetime) -> Decimal:
        """Units of usage from an instant on that some grant pays for."""
        return sum((share.units for share in self.shares if share.start_at >= start_at), ZERO)


@exactly
def burn(
    segments: Iterable[Segment], grants: Iterable[BurnableGrant], included: Mapping[int, Decimal] | None = None
) -> Burn:
    """Let the segments, in time order, use up their period's `included` units and then burn the grants that are active
    in them; overage is never carried on."""
    ordered = sorted(grants, key=lambda grant: grant.order)
    left = {grant.key: grant.remaining for grant in ordered}
    not_included = dict(included or {})
    covered: dict[int, Decimal] = {}
    shares = []
    for segment in cancel_negative(sorted(segments, key=lambda segment: segment.start_at)):
        open_units = segment.quantity
        if segment.period is not None:
            units = min(open_units, not_included.get(segment.period, ZERO))
            covered[segment.period] = covered.get(segment.period, ZERO) + units
            not_included[segment.period] = not_included.get(segment.period, ZERO) - units
            open_units -= units
        for grant in ordered:
            if open_units <= 0:
                break
            if left[grant.key] > 0 and grant.covers(segment.start_at):
                units = min(open_units, left[grant.key])
                left[grant.key] -= units
                open_units -= units
                shares.append(Share(segment.start_at, segment.period, grant.key, units))
    return Burn(shares=shares, remaining=left, included=covered)


@exactly
def cancel_negative(segments: Sequence[Segment]) -> list[Segment]:
    """Take each period's negative usage off its latest positive usage, and drop a rest below zero."""
    owed: dict[int | None, Decimal] = {}
    for segment in segments:
        if segment.quantity < 0:
            owed[segment.period] = owed.get(segment.period, ZERO) - segment.quantity
    kept = []
    for segment in reversed(segments):
        cancelled = min(max(segment.quantity, ZERO), owed.get(segment.period, ZERO))
        if cancelled:
            owed[segment.period] -= cancelled
        kept.append(replace(segment, quantity=max(segment.quantity, ZERO) - cancelled))
    return kept[::-1]
