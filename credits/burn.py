"""Which grant pays for which unit: the burn order over segments of usage. No clock, no database.

Ruling: `priority` ascending (none last), expiry (none last), start, id. Usage is cut into segments, and a unit burns
only grants that are active in its segment. Negative usage cancels the latest positive usage of its period first.
"""

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from credits.rollover import Rollover
from plans.money import exactly

ZERO = Decimal(0)
NO_LIMIT = Decimal("Infinity")


@dataclass(frozen=True, slots=True)
class Segment:
    """Usage from `start_at` up to the next cut, in metered units. `period` is the key of its stored period, if any."""

    start_at: datetime
    quantity: Decimal
    period: int | None = None


@dataclass(frozen=True, slots=True)
class BurnableGrant:
    """What is left of a grant before the segments, and when it may be burned: `[starts_at, ends_at)`.

    With `rollover` its rest at `ends_at` goes on as a grant of its own, whose key is the negative of this one's until
    it is written. `rolled_from` is the key of the grant that this one is left of. Grants of one `definition` share the
    cap.
    """

    key: int
    remaining: Decimal
    starts_at: datetime
    ends_at: datetime | None = None
    priority: int | None = None
    definition: int | None = None
    rolled_from: int | None = None
    rollover: Rollover | None = None

    @property
    def order(self) -> tuple[bool, int, bool, datetime, datetime, bool, int]:
        """Its place in the burn order. Of what is not written yet, the key will be later than all others."""
        return (
            self.priority is None,
            self.priority or 0,
            self.ends_at is None,
            self.ends_at or self.starts_at,
            self.starts_at,
            self.key < 0,
            abs(self.key),
        )

    def covers(self, at: datetime) -> bool:
        """Tell whether usage of a segment that starts at this instant may burn it."""
        return self.starts_at <= at and (self.ends_at is None or at < self.ends_at)

    def rolled_into(self, units: Decimal, *, starts_at: datetime, ends_at: datetime | None) -> "BurnableGrant":
        """The grant that units of its rest become; its priority stays."""
        return replace(
            self,
            key=-self.key,
            remaining=units,
            starts_at=starts_at,
            ends_at=ends_at,
            rolled_from=self.key,
            rollover=None,
        )


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

    `included` are the units of each period that its included units covered, before any grant was asked. `rolled` are
    the grants that rests became on the way, with what they began with. What was burned of those is gone from the grant
    that they are left of, too: `remaining` is what may still be taken of a grant without taking away what was burned.
    """

    shares: list[Share]
    remaining: dict[int, Decimal]
    included: dict[int, Decimal]
    rolled: tuple[BurnableGrant, ...] = ()

    @exactly
    def rest_of(self, grant: int) -> Decimal:
        """Units that a grant had left at its end, whether they rolled over or not."""
        burned_later = (one.remaining - self.remaining[one.key] for one in self.rolled if one.rolled_from == grant)
        return sum(burned_later, self.remaining[grant])

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
    in them; overage is never carried on. Rests roll over when a segment, or nothing more, comes after their end."""
    burning = _Burning(grants, included or {})
    for segment in cancel_negative(sorted(segments, key=lambda segment: segment.start_at)):
        burning.roll_over(until=segment.start_at)
        burning.take(segment)
    burning.roll_over(until=None)
    return burning.outcome()


def _by_order(grant: BurnableGrant) -> tuple[bool, int, bool, datetime, datetime, bool, int]:
    return grant.order


class _Burning:
    """Grants while they are burned, from one instant to the next."""

    def __init__(self, grants: Iterable[BurnableGrant], included: Mapping[int, Decimal]) -> None:
        self._ordered = sorted(grants, key=_by_order)
        self._left = {grant.key: grant.remaining for grant in self._ordered}
        self._not_included = dict(included)
        self._covered: dict[int, Decimal] = {}
        self._shares: list[Share] = []
        self._rolled: list[BurnableGrant] = []
        rolled_before = {grant.rolled_from for grant in self._ordered}
        # When, the key that decides between equals, what and how; the next stands last.
        self._to_roll = sorted(
            (
                (grant.ends_at, grant.key, grant, grant.rollover)
                for grant in self._ordered
                if grant.rollover is not None and grant.ends_at is not None and grant.key not in rolled_before
            ),
            reverse=True,
        )

    def take(self, segment: Segment) -> None:
        open_units = segment.quantity
        if segment.period is not None:
            units = min(open_units, self._not_included.get(segment.period, ZERO))
            self._covered[segment.period] = self._covered.get(segment.period, ZERO) + units
            self._not_included[segment.period] = self._not_included.get(segment.period, ZERO) - units
            open_units -= units
        left = self._left
        for grant in self._ordered:
            if open_units <= 0:
                break
            if left[grant.key] > 0 and grant.covers(segment.start_at):
                units = min(open_units, left[grant.key])
                left[grant.key] -= units
                open_units -= units
                self._shares.append(Share(segment.start_at, segment.period, grant.key, units))

    def roll_over(self, *, until: datetime | None) -> None:
        """Let the rests of grants that have ended by `until` (None: at any time) become grants of their own."""
        while self._to_roll and (until is None or self._to_roll[-1][0] <= until):
            at, key, grant, rollover = self._to_roll.pop()
            units = min(self._left[key], self._room(grant.definition, rollover.cap, at))
            if units > 0:
                rolled = grant.rolled_into(units, starts_at=at, ends_at=rollover.ends_at)
                self._left[rolled.key] = units
                self._rolled.append(rolled)
                insort(self._ordered, rolled, key=_by_order)

    def _room(self, definition: int | None, cap: Decimal | None, at: datetime) -> Decimal:
        """How many units a definition may roll over at an instant, beside those still held of it."""
        if cap is None:
            return NO_LIMIT
        held = (
            self._left[other.key]
            for other in self._ordered
            if other.rolled_from is not None and other.definition == definition and other.covers(at)
        )
        return cap - sum(held, ZERO)

    def outcome(self) -> Burn:
        for rolled in self._rolled:
            assert rolled.rolled_from is not None
            self._left[rolled.rolled_from] -= rolled.remaining - self._left[rolled.key]
        return Burn(shares=self._shares, remaining=self._left, included=self._covered, rolled=tuple(self._rolled))


@exactly
def cancel_negative(segments: Sequence[Segment]) -> list[Segment]:
    """Take each period's negative usage off its latest positive usage, and drop a rest below zero."""
    owed: dict[int | None, Decimal] = {}
    for segment in segments:
        if segment.quantity < 0:
            owed[segment.period] = owed.get(segment.period, ZERO) - segment.quantity
    if not owed:
        return list(segments)
    kept = []
    for segment in reversed(segments):
        cancelled = min(max(segment.quantity, ZERO), owed.get(segment.period, ZERO))
        if cancelled:
            owed[segment.period] -= cancelled
        kept.append(replace(segment, quantity=max(segment.quantity, ZERO) - cancelled))
    return kept[::-1]
