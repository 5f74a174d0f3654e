"""Numbers that cannot be cut into segments: a period has one of MAX, MIN, AVG, LAST or UNIQUE_COUNT. No clock, no
database.

Ruling: the period's one number counts as used on its last day, live today. LAST carries the value at a period's start
forward. Of a turn that was cut, such as by a change, each part has a number of its own, and its share of the turn's
days counts of that: a peak of 30 in 10 of 30 days is 10 units. A gap without a stored period (see `credits.months`) has
a number just so; `periods` must hold the gap around each piece that lies in no stored period.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from credits.positions import StoredPeriod
from plans.money import exactly, mean_quantity, share_of_quantity

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Piece:
    """What a metric saw from `start_at` up to the next cut: how many events, and their number: the sum for AVG, the
    latest for LAST."""

    start_at: datetime
    events: int
    number: Decimal


@exactly
def fold_pieces(
    aggregation: str, pieces: Iterable[Piece], periods: Sequence[StoredPeriod], *, at: datetime
) -> dict[int, Decimal]:
    """Return the one number of each period by its key. A period that has not begun at `at` has nothing carried into it
    yet."""
    ordered = sorted(pieces, key=lambda piece: piece.start_at)
    within: dict[int, list[Piece]] = {}
    for piece in ordered:
        within.setdefault(key_at(piece.start_at, periods), []).append(piece)
    numbers = {key: _number(aggregation, found) for key, found in within.items()}
    if aggregation == "LAST":
        for period in periods:
            before = [piece.number for piece in ordered if piece.start_at < period.start_at]
            if period.start_at <= at and period.key not in numbers and before:
                numbers[period.key] = before[-1]
    return numbers


def place_numbers(
    numbers: Mapping[int, Decimal], periods: Iterable[StoredPeriod], *, at: datetime
) -> list[tuple[datetime, Decimal]]:
    """Return the units that each number comes to, by its period's share of days, with the instant at which they count
    as used: `at` within the period, else the period's last instant, or its first when it has not begun."""
    return [
        (
            max(period.start_at, min(at, period.end_at - _INSTANT)),
            share_of_quantity(numbers[period.key], period.share),
        )
        for period in periods
        if period.key in numbers
    ]


def key_at(at: datetime, periods: Iterable[StoredPeriod]) -> int:
    """The key of the period or gap that contains an instant; one of them must."""
    return next(period.key for period in periods if period.contains(at))


def _number(aggregation: str, pieces: Sequence[Piece]) -> Decimal:
    if aggregation == "AVG":
        return mean_quantity(sum((piece.number for piece in pieces), Decimal(0)), sum(piece.events for piece in pieces))
    if aggregation == "LAST":
        return pieces[-1].number
    return (max if aggregation == "MAX" else min)(piece.number for piece in pieces)
