from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from django.db import connection

from credits.period_numbers import Piece, fold_pieces, key_at, place_numbers
from credits.position_sql import READ_ADDITIVE_POSITIONS, READ_POSITIONS
from credits.positions import GrantState, Position, StoredPeriod, uncovered_gap
from credits.rollover import Rollover, rolled_until
from plans.models import Metric
from plans.models.metrics import ADDITIVE, Aggregation
from plans.periods import local_midnight
from plans.prepared import run_prepared
from plans.services.parts import share_of_days
from plans.services.time_zone import billing_zone

Pair = tuple[int, int]
# Stands for the metric in the pair whose lock guards a customer's monetary credits: they pay for every metric, and no
# metric has this key.
MONEY = 0
instant = datetime.fromisoformat


def read_positions(
    pairs: Collection[Pair],
    *,
    at: datetime,
    with_reservations: bool = True,
    since: Mapping[Pair, datetime] | None = None,
) -> dict[Pair, Position]:
    """Read the positions of pairs of customer and metric keys at an instant, all in one statement.

    The instant says which reservations are held, and where a number that has no segments counts as used. Settlement
    leaves reservations out: what is only kept back is not used. A position goes back to the earliest instant that
    still matters; a pair in `since` to that instant at least, with the settled periods from there on, their grants and
    their usage, so that they can be rated again.
    """
    if not pairs:
        return {}
    rows = run_prepared(
        READ_ADDITIVE_POSITIONS if _are_additive({metric for _, metric in pairs}) else READ_POSITIONS,
        {
            "customers": [customer for customer, _ in pairs],
            "metrics": [metric for _, metric in pairs],
            "since": [(since or {}).get(pair) for pair in pairs],
            "at": at,
            "zone": billing_zone().key,
        },
    )
    return {
        (customer, metric): _position(aggregation, _decode(listed), at=at, with_reservations=with_reservations)
        for customer, metric, aggregation, listed in rows
    }


# How events become a number never changes, so it may be kept in process.
_is_additive: dict[int, bool] = {}


def _are_additive(metrics: set[int]) -> bool:
    unknown = metrics - _is_additive.keys()
    if unknown:
        known = Metric.objects.filter(pk__in=unknown).values_list("pk", "aggregation_type")
        _is_additive.update((key, aggregation in ADDITIVE) for key, aggregation in known)
    return all(_is_additive[key] for key in metrics)


_Rows = list[list[Any]] | None
_Listed = tuple[_Rows, _Rows, _Rows, _Rows, _Rows, str | None]
_decode = msgspec.json.Decoder(_Listed).decode


def _position(aggregation: str, listed: _Listed, *, at: datetime, with_reservations: bool) -> Position:
    periods, grants, pieces, reservations, different = (rows or [] for rows in listed[:5])
    settled_until = None if listed[5] is None else instant(listed[5])
    zone = billing_zone()
    stored = tuple(_stored_period(*row) for row in periods)
    numbers: dict[int, Decimal] = {}
    if aggregation in ADDITIVE:
        usage = [(_piece_start(day, start_at, zone), Decimal(number)) for day, start_at, _, number in pieces]
    else:
        measured = [
            Piece(start_at=_piece_start(day, start_at, zone), events=events, number=Decimal(number))
            for day, start_at, events, number in pieces
        ]
        seen = [(_piece_start(day, occurred_at, zone), Decimal(number)) for _, day, occurred_at, number in different]
        places = _with_gaps(
            stored, [piece.start_at for piece in measured] + [start_at for start_at, _ in seen], zone, settled_until
        )
        numbers = (
            {key_at(start_at, places): number for start_at, number in seen}
            if aggregation == Aggregation.UNIQUE_COUNT
            else fold_pieces(aggregation, measured, places, at=at)
        )
        usage = place_numbers(numbers, places, at=at)
    return Position(
        periods=stored,
        grants=tuple(_grant_state(*row) for row in grants),
        usage=tuple(sorted(usage)),
        reserved=tuple((instant(reserved_at), Decimal(units)) for reserved_at, units in reservations)
        if with_reservations
        else (),
        zone=zone,
        settled_until=settled_until,
        numbers=numbers,
    )


def _piece_start(day: str | None, start_at: str | None, zone: ZoneInfo) -> datetime:
    """The start of a piece, which without one of its own begins with its day."""
    return instant(start_at) if start_at else local_midnight(date.fromisoformat(day or ""), zone)


def _with_gaps(
    periods: Sequence[StoredPeriod], instants: Iterable[datetime], zone: ZoneInfo, settled_until: datetime | None
) -> list[StoredPeriod]:
    """The periods, and the gaps around those of the instants that lie in none of them."""
    places = list(periods)
    for at in instants:
        if not any(place.contains(at) for place in places):
            places.append(uncovered_gap(at, periods, zone, settled_until))
    return places


def _stored_period(
    key: int,
    start_at: str,
    end_at: str,
    settled: bool,
    included_units: str,
    feature_units: str,
    whole_start_at: str | None,
    whole_end_at: str | None,
) -> StoredPeriod:
    stored = StoredPeriod(
        key, instant(start_at), instant(end_at), settled, Decimal(included_units), Decimal(feature_units)
    )
    if whole_start_at is None or whole_end_at is None:
        return stored
    whole = (instant(whole_start_at), instant(whole_end_at))
    return replace(stored, share=share_of_days(stored.start_at, stored.end_at, whole=whole))


def _grant_state(
    key: int,
    ledger_remaining: str,
    priority: int | None,
    starts_at: str,
    ends_at: str | None,
    period: int | None,
    definition: int,
    rolled_from: int | None,
    terms: tuple[str | None, int | None] | None,
    refill: int | None,
) -> GrantState:
    return GrantState(
        key=key,
        ledger_remaining=Decimal(ledger_remaining),
        priority=priority,
        starts_at=instant(starts_at),
        ends_at=instant(ends_at) if ends_at else None,
        period=period,
        definition=definition,
        rolled_from=rolled_from,
        rollover=_rollover(*terms, instant(ends_at)) if terms and ends_at else None,
        refill=refill,
    )


def _rollover(cap: str | None, days: int | None, ends_at: datetime) -> Rollover:
    return Rollover(cap=None if cap is None else Decimal(cap), ends_at=rolled_until(ends_at, days, billing_zone()))


def lock_balances(pairs: Collection[Pair]) -> None:
    """Take the lock of each pair of customer and metric until the transaction ends.

    Whatever moves units of a pair (settle, revoke, consume) takes it right before reading the position. Taken in key
    order, so that two callers cannot wait for each other.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashint8extended(customer_id, metric_id)) FROM ("
            " SELECT DISTINCT * FROM unnest(%s::bigint[], %s::bigint[]) AS pair(customer_id, metric_id)"
            " ORDER BY 1, 2) AS ordered",
            [[customer for customer, _ in pairs], [metric for _, metric in pairs]],
        )
