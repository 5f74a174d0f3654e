from collections.abc import Collection
from datetime import date, datetime
from decimal import Decimal

from django.db import connection

from credits.position_sql import READ_POSITIONS
from credits.positions import GrantState, Position, StoredPeriod
from plans.models.metrics import Aggregation
from plans.periods import local_midnight
from plans.services.time_zone import billing_zone

Pair = tuple[int, int]


def read_positions(pairs: Collection[Pair]) -> dict[Pair, Position]:
    """Read the positions of pairs of customer and metric keys, all in one statement."""
    if not pairs:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            READ_POSITIONS,
            {
                "customers": [customer for customer, _ in pairs],
                "metrics": [metric for _, metric in pairs],
                "zone": billing_zone().key,
            },
        )
        return {(row[0], row[1]): _position(*row[2:]) for row in cursor.fetchall()}


def _position(aggregation: str, periods: list[list], grants: list[list], pieces: list[list]) -> Position:
    zone = billing_zone()
    counts = aggregation == Aggregation.COUNT
    usage = [
        (
            local_midnight(date.fromisoformat(day), zone) if start_at is None else datetime.fromisoformat(start_at),
            Decimal(events) if counts else Decimal(total),
        )
        for day, start_at, events, total in pieces
    ]
    return Position(
        periods=tuple(_stored_period(*row) for row in periods),
        grants=tuple(_grant_state(*row) for row in grants),
        usage=tuple(sorted(usage)),
    )


def _stored_period(key: int, start_at: str, end_at: str, settled: bool, included: str) -> StoredPeriod:
    return StoredPeriod(
        key, datetime.fromisoformat(start_at), datetime.fromisoformat(end_at), settled, Decimal(included)
    )


def _grant_state(
    key: int,
    ledger_remaining: str,
    priority: int | None,
    starts_at: str,
    ends_at: str | None,
    period: int | None,
) -> GrantState:
    return GrantState(
        key=key,
        ledger_remaining=Decimal(ledger_remaining),
        priority=priority,
        starts_at=datetime.fromisoformat(starts_at),
        ends_at=datetime.fromisoformat(ends_at) if ends_at else None,
        period=period,
    )


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
