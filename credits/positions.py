"""Where a customer stands with one metric: what was used, what it burned, what is left. Pure: built from read rows."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from zoneinfo import ZoneInfo

from credits.burn import ZERO, Burn, BurnableGrant, Segment, burn
from credits.months import gap_at, gap_key
from credits.rollover import Rollover
from plans.money import exactly

_UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class StoredPeriod:
    """A stored period `[start_at, end_at)` of the metric's clock, with the units that its item includes: those of its
    component, and those of the plan's feature. One that was cut has a `share` of the days of its turn.

    Where there is none, a gap (see `credits.months`) takes its place: its key is negative, and it includes nothing.
    """

    key: int
    start_at: datetime
    end_at: datetime
    settled: bool
    included_units: Decimal = ZERO
    feature_units: Decimal = ZERO
    share: Fraction = Fraction(1)

    def contains(self, at: datetime) -> bool:
        return self.start_at <= at < self.end_at


@dataclass(frozen=True, slots=True)
class UncoveredStretch(StoredPeriod):
    """A settled gap as it was; `without` are the stored periods, which may cover some of it by now."""

    without: tuple[StoredPeriod, ...] = ()

    def contains(self, at: datetime) -> bool:
        return self.start_at <= at < self.end_at and not any(period.contains(at) for period in self.without)


@dataclass(frozen=True, slots=True)
class GrantState:
    """A grant as the ledger has it. `ends_at` is its expiry or the instant of its revocation. The quota of a period has
    that `period`, and one that is refilled on a calendar of its own the number of the `refill`.

    One whose rest rolls over has `rollover`, one that is left of another that other's key in `rolled_from`. Until it is
    written such a grant is provisional, and its key the negative of that other's.
    """

    key: int
    ledger_remaining: Decimal
    priority: int | None
    starts_at: datetime
    ends_at: datetime | None
    period: int | None
    definition: int | None = None
    rolled_from: int | None = None
    rollover: Rollover | None = None
    refill: int | None = None

    @property
    def renews(self) -> bool:
        """Tell whether it is a quota that comes again, by periods or by a calendar."""
        return self.period is not None or self.refill is not None

    @property
    def is_provisional(self) -> bool:
        """Tell whether the settlement that writes it is still to come."""
        return self.key < 0

    @property
    def stored_key(self) -> int:
        """The key of the stored grant: of the one that it is left of while it is provisional."""
        return abs(self.key)

    def is_active(self, at: datetime) -> bool:
        """Tell whether usage at this instant may burn it."""
        return self.starts_at <= at and (self.ends_at is None or at < self.ends_at)


@dataclass(frozen=True)
class Position:
    """A customer's position in one metric, read by one statement.

    The numbers follow from running the burn over all usage that is not settled yet, in time order, so they need no
    counting job and are never stale. `usage` holds `(start of the piece, units)`, and `reserved` the units that are
    kept back, with the instant of their reservation: they count as used. What was used outside of the periods belongs
    to calendar months of `zone`; those that ended by `settled_until` are settled. Where the metric has one number a
    period, `numbers` holds these by the keys of the periods, as they are before a part's share of days is taken.
    """

    periods: tuple[StoredPeriod, ...]
    grants: tuple[GrantState, ...]
    usage: tuple[tuple[datetime, Decimal], ...]
    reserved: tuple[tuple[datetime, Decimal], ...] = ()
    zone: ZoneInfo = _UTC
    settled_until: datetime | None = None
    numbers: Mapping[int, Decimal] = field(default_factory=dict)

    @cached_property
    def burn(self) -> Burn:
        """The outcome of the burn over all unsettled usage."""
        return self._burned(self._unsettled_segments())

    @cached_property
    def burn_of_pieces(self) -> Burn:
        """The same outcome, with the shares of each piece of usage by itself, for lists of what happened when."""
        return self._burned([Segment(*piece) for piece in self._unsettled_pieces()])

    def _burned(self, segments: list[Segment]) -> Burn:
        return burn(
            segments,
            (
                BurnableGrant(
                    key=grant.key,
                    remaining=grant.ledger_remaining,
                    starts_at=grant.starts_at,
                    ends_at=grant.ends_at,
                    priority=grant.priority,
                    definition=grant.definition,
                    rolled_from=grant.rolled_from,
                    rollover=grant.rollover,
                )
                for grant in self.grants
            ),
            {period.key: self.included_in(period) for period in self.periods if not period.settled},
        )

    def included_in(self, period: StoredPeriod) -> Decimal:
        """Units that a period includes before any grant is asked."""
        return period.included_units + self.free_in(period)

    def free_in(self, period: StoredPeriod) -> Decimal:
        """Units that the plan's feature gives: none when a renewing grant, the plan's quota, takes their place."""
        has_quota = any(
            grant.renews and grant.is_active(period.start_at) and not self._reaches_back_to(period, grant)
            for grant in self.grants
        )
        return ZERO if has_quota else period.feature_units

    def _reaches_back_to(self, period: StoredPeriod, grant: GrantState) -> bool:
        """Tell whether a grant is the quota of a later part of the same turn: it pays for late usage of this one, but
        this one was not sold with it."""
        return any(later.key == grant.period and later.start_at > period.start_at for later in self.periods)

    def _unsettled_pieces(self) -> list[tuple[datetime, Decimal, int]]:
        return [
            (start_at, units, place.key)
            for start_at, units in sorted(self.usage + self.reserved)
            if not (place := self.place_at(start_at)).settled
        ]

    def _unsettled_segments(self) -> list[Segment]:
        pieces = self._unsettled_pieces()
        if any(units < 0 for _, units, _ in pieces):
            # Corrections take off the latest usage first.
            return [Segment(*piece) for piece in pieces]
        return _joined(pieces, self._bounds())

    def _bounds(self) -> list[datetime]:
        """The instants at which periods and grants begin and end, those that will roll over included."""
        bounds = {bound for period in self.periods for bound in (period.start_at, period.end_at)}
        for grant in self.grants:
            rolls_until = None if grant.rollover is None else grant.rollover.ends_at
            bounds |= {bound for bound in (grant.starts_at, grant.ends_at, rolls_until) if bound is not None}
        return sorted(bounds)

    def place_at(self, at: datetime) -> StoredPeriod:
        """The stored period that contains an instant, else the gap around it."""
        return self.period_at(at) or self._gap_at(at)

    def _gap_at(self, at: datetime) -> StoredPeriod:
        # What was used in one gap stands together, so that one look finds it.
        found = next((gap for gap in reversed(self._gaps) if gap.contains(at)), None)
        if found is None:
            found = uncovered_gap(at, self.periods, self.zone, self.settled_until)
            self._gaps.append(found)
        return found

    @cached_property
    def _gaps(self) -> list[StoredPeriod]:
        return []

    def period_at(self, at: datetime) -> StoredPeriod | None:
        """The stored period that contains an instant, if any."""
        return next((period for period in self.periods if period.contains(at)), None)

    def period(self, key: int) -> StoredPeriod:
        """The stored period with this key."""
        return next(candidate for candidate in self.periods if candidate.key == key)

    def active_grants(self, at: datetime) -> list[GrantState]:
        """Grants that usage at this instant may burn, provisional ones included."""
        return [grant for grant in self.grants + self.provisional_grants if grant.is_active(at)]

    @cached_property
    def provisional_grants(self) -> tuple[GrantState, ...]:
        """What the rests of grants whose period has ended, or will end, became or would become; settlement of the
        period writes them just so. They belong to no period: what rolled over is not the quota of any."""
        if all(grant.rollover is None for grant in self.grants):
            return ()
        return tuple(
            GrantState(
                key=rolled.key,
                ledger_remaining=rolled.remaining,
                priority=rolled.priority,
                starts_at=rolled.starts_at,
                ends_at=rolled.ends_at,
                period=None,
                definition=rolled.definition,
                rolled_from=rolled.rolled_from,
            )
            for rolled in self.burn.rolled
        )

    @exactly
    def remaining(self, at: datetime) -> Decimal:
        """Units that usage at this instant may still take: of its period's included ones, and what the burn has left
        of the active grants."""
        period = self.period_at(at)
        included = ZERO if period is None else self.included_in(period) - self.burn.included.get(period.key, ZERO)
        return included + sum((self.burn.remaining[grant.key] for grant in self.active_grants(at)), ZERO)

    @exactly
    def covered_since(self, start_at: datetime) -> Decimal:
        """Units used from an instant on that are included or that some grant pays for."""
        included = (self.burn.included.get(period.key, ZERO) for period in self.periods if period.start_at >= start_at)
        return sum(included, self.burn.credited_since(start_at))

    @exactly
    def used_in(self, period: int) -> Decimal:
        """Units of a period, never below 0."""
        return self.used_within(self.period(period))

    @exactly
    def used_within(self, period: StoredPeriod) -> Decimal:
        """Units of a period or gap, never below 0."""
        return max(sum((units for start_at, units in self.usage if period.contains(start_at)), ZERO), ZERO)

    @exactly
    def used_since(self, start_at: datetime) -> Decimal:
        """Units used from an instant on, never below 0."""
        return max(sum((units for piece_at, units in self.usage + self.reserved if piece_at >= start_at), ZERO), ZERO)

    def window_start(self, at: datetime) -> datetime | None:
        """The start of the current allowance window: of the latest renewing grant, else of the period, else of the
        earliest active grant; None when there is none of them."""
        active = self.active_grants(at)
        renewing = [grant.starts_at for grant in active if grant.renews]
        if renewing:
            return max(renewing)
        period = self.period_at(at)
        if period is not None:
            return period.start_at
        return min((grant.starts_at for grant in active), default=None)


@exactly
def _joined(pieces: Iterable[tuple[datetime, Decimal, int]], bounds: Sequence[datetime]) -> list[Segment]:
    """Make segments of pieces of usage by the keys of their periods: between two bounds all of it burns alike."""
    starts: dict[tuple[int, int], datetime] = {}
    quantities: dict[tuple[int, int], Decimal] = {}
    for start_at, units, period in pieces:
        key = (period, bisect_right(bounds, start_at))
        starts.setdefault(key, start_at)
        quantities[key] = quantities.get(key, ZERO) + units
    return [Segment(starts[key], quantity, key[0]) for key, quantity in quantities.items()]


def uncovered_gap(
    at: datetime, periods: Sequence[StoredPeriod], zone: ZoneInfo, settled_until: datetime | None
) -> StoredPeriod:
    """The gap around an instant that none of the periods contains."""
    start_at, end_at = gap_at(at, periods, zone)
    return StoredPeriod(
        gap_key(end_at), start_at, end_at, settled=settled_until is not None and end_at <= settled_until
    )
