"""How a movement of a grant stands in the ledger: a row for each kind, in the order in which they are to be read."""

from collections.abc import Mapping
from decimal import Decimal

from credits.burn import ZERO
from credits.late_usage import Movement
from credits.models import TransactionKind


def amounts_of(movement: Movement) -> list[tuple[TransactionKind, Decimal]]:
    """Return the kinds and signed amounts of the rows that book a movement: what comes back is there before it is
    taken."""
    amounts = [
        (TransactionKind.RETURNED, movement.returned),
        (TransactionKind.BURNED, -movement.burned),
        (TransactionKind.EXPIRED, -movement.expired),
    ]
    return [(kind, amount) for kind, amount in amounts if amount]


def booked_movement(grant: int, amounts: Mapping[str, Decimal]) -> Movement:
    """Read back the movement of a grant that rows of these kinds and signed amounts have booked."""
    return Movement(
        grant,
        returned=amounts.get(TransactionKind.RETURNED, ZERO),
        burned=-amounts.get(TransactionKind.BURNED, ZERO),
        expired=-amounts.get(TransactionKind.EXPIRED, ZERO),
    )
