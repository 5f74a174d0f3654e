"""A settled period rated again, with what was found of it later: which grant pays for which unit then. No clock, no
database.

The whole period is burned anew, as if it were not settled, but with the units that are still there. They are taken in
this turn:

1. what its settlement took of a grant, burned or expired; the burn order of the settlement stands
2. what earlier differences burned
3. what is left live of the grants that its expired units rolled over into
4. what is left live of other grants that are active in the segment

In the last two, "left live" is after all usage that is not settled yet and after what is kept back for reservations, so
no burn of a later period is ever touched. They pay for units that were not there before, never for those that were
charged already: a grant that somebody gives afterwards changes no old bill.

No unit is spent twice. Units that rolled over are no longer the old grant's but the new one's: of a quota of 1,000 with
700 used, 300 expired, and 200 of them (the cap) rolled over into a grant of which later usage has left 40. Of 250 late
units the quota pays 100, those that nobody got; the rolled grant pays 40; 110 are left to other grants, or are charged.
The other 160 were spent in the period that they rolled over into, and stay so.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from credits.burn import ZERO, BurnableGrant, Segment, burn
from credits.positions import GrantState, Position
from plans.money import exactly


@dataclass(frozen=True, slots=True)
class Booked:
    """What a period came to by now: its settlement and the differences that were found since, in metered units and
    minor units."""

    usage: Decimal
    included: Decimal
    credited: Decimal
    net_cents: int
    events: int = 0

    @property
    @exactly
    def charged(self) -> Decimal:
        """Units that were neither included nor credited."""
        return self.usage - self.included - self.credited


@dataclass(frozen=True, slots=True)
class BookedGrant:
    """What a period took of a grant by now: `burned`, of which its settlement took `settled`, and `expired` without
    what rolled over."""

    burned: Decimal = ZERO
    settled: Decimal = ZERO
    expired: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class RatedAgain:
    """What a period comes to now: its usage, how much of it is included, and which grant pays for how much."""

    usage: Decimal
    included: Decimal
    by_grant: dict[int, Decimal]

    @property
    @exactly
    def credited(self) -> Decimal:
        """Units that some grant pays for."""
        return sum(self.by_grant.values(), ZERO)


@dataclass(frozen=True, slots=True)
class Movement:
    """How the ledger of a grant follows: units that come back, are burned, and expire; none is negative."""

    grant: int
    returned: Decimal = ZERO
    burned: Decimal = ZERO
    expired: Decimal = ZERO

    @property
    @exactly
    def change(self) -> Decimal:
        """By how much the ledger's rest of the grant changes."""
        return self.returned - self.burned - self.expired

    @property
    @exactly
    def taken(self) -> tuple[Decimal, Decimal]:
        """Units that it burns and lets expire, below 0 where they come back. What comes back together with a burn had
        expired before; else it had been burned."""
        if self.burned:
            return self.burned, self.expired - self.returned
        return -self.returned, self.expired


@dataclass(frozen=True, slots=True)
class _Turn:
    """Units of a grant that are asked together, and when they may be burned."""

    grant: int
    units: Decimal
    starts_at: datetime
    ends_at: datetime | None
    is_live: bool


@exactly
def rate_again(position: Position, period: int, *, booked: Booked, grants: Mapping[int, BookedGrant]) -> RatedAgain:
    """Burn a settled period anew; see the top of this module. The position must reach back to its start; `grants` are
    those of which the period took something."""
    stored = position.period(period)
    turns = list(_turns(position, grants))
    burned = burn(
        (Segment(start_at, units, period) for start_at, units in position.usage if stored.contains(start_at)),
        (
            BurnableGrant(key=turn, remaining=one.units, starts_at=one.starts_at, ends_at=one.ends_at, priority=turn)
            for turn, one in enumerate(turns)
        ),
        {period: position.included_in(stored)},
    )
    usage, included = position.used_in(period), burned.included.get(period, ZERO)
    taken = burned.by_grant(period)
    held = sum((units for turn, units in taken.items() if not turns[turn].is_live), ZERO)
    new_units = max(usage - included - held - booked.charged, ZERO)
    by_grant: dict[int, Decimal] = {}
    for turn in sorted(taken):
        units = taken[turn]
        if turns[turn].is_live:
            units = min(units, new_units)
            new_units -= units
        by_grant[turns[turn].grant] = by_grant.get(turns[turn].grant, ZERO) + units
    return RatedAgain(usage=usage, included=included, by_grant=by_grant)


def _turns(position: Position, grants: Mapping[int, BookedGrant]) -> Iterator[_Turn]:
    by_key = {grant.key: grant for grant in position.grants}
    ordered = sorted(position.grants, key=_natural_order)
    live = position.burn.remaining
    rolled = [grant for grant in ordered if grant.rolled_from in grants]

    def turn(grant: GrantState, units: Decimal, *, is_live: bool = False) -> Iterator[_Turn]:
        if units > 0:
            # What rolled over may be burned where the grant may that it is left of: it is the same units.
            left_of = by_key.get(grant.rolled_from or 0, grant)
            yield _Turn(grant.key, units, min(grant.starts_at, left_of.starts_at), grant.ends_at, is_live)

    for grant in ordered:
        if grant.key in grants:
            booked = grants[grant.key]
            yield from turn(grant, min(booked.burned, booked.settled) + booked.expired)
    for grant in [*rolled, *(grant for grant in ordered if grant not in rolled)]:
        if grant.key in grants:
            yield from turn(grant, grants[grant.key].burned - grants[grant.key].settled)
    for grant in rolled:
        yield from turn(grant, live[grant.key], is_live=True)
    for grant in ordered:
        if grant not in rolled:
            yield from turn(grant, live[grant.key], is_live=True)


def _natural_order(grant: GrantState) -> tuple:
    return BurnableGrant(
        key=grant.key,
        remaining=ZERO,
        starts_at=grant.starts_at,
        ends_at=grant.ends_at,
        priority=grant.priority,
    ).order


@exactly
def movements(again: RatedAgain, grants: Mapping[int, BookedGrant], position: Position) -> list[Movement]:
    """Tell how the ledger follows. More units: expired ones come back first and are burned, the others are taken from
    the rest. Fewer: they come back, and expire again where the grant has ended with a settled period."""
    by_key = {grant.key: grant for grant in position.grants}
    moved = []
    for key in {**again.by_grant, **grants}:
        booked = grants.get(key, BookedGrant())
        more = again.by_grant.get(key, ZERO) - booked.burned
        if more > 0:
            moved.append(Movement(key, returned=min(more, booked.expired), burned=more))
        elif more < 0:
            is_over = key not in by_key or _has_ended(by_key[key], position)
            moved.append(Movement(key, returned=-more, expired=-more if is_over else ZERO))
    return moved


def _has_ended(grant: GrantState, position: Position) -> bool:
    ends_at = grant.ends_at
    return ends_at is not None and any(stored.settled and ends_at <= stored.end_at for stored in position.periods)


@exactly
def after_movements(position: Position, moved: Iterable[Movement]) -> Position:
    """Return the position as it is once the ledger has followed; movements of grants that it does not hold, which are
    those of other metrics, are passed over."""
    change: dict[int, Decimal] = {}
    for movement in moved:
        change[movement.grant] = change.get(movement.grant, ZERO) + movement.change
    grants = tuple(
        replace(grant, ledger_remaining=grant.ledger_remaining + change.get(grant.key, ZERO))
        for grant in position.grants
    )
    return replace(position, grants=grants)
