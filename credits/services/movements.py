"""A customer's ledger, with what usage that is not settled yet burns in front of it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from hashlib import sha256

from credits.burn import ZERO
from credits.models import CreditGrant, CreditTransaction, TransactionKind
from credits.months import gap_key
from credits.services.positions import read_positions
from plans.ids import public_id_of
from plans.models import Customer
from plans.money import exactly
from plans.periods import local_day
from plans.services.time_zone import billing_zone

_OF_GRANT = ("metric__current", "definition__feature", "definition__price")
_LINKS = ("grant__customer", *(f"grant__{link}" for link in _OF_GRANT))


@dataclass(frozen=True)
class Movement:
    """A movement of a grant: a row of the ledger, or with `pending` what settlement would book of one day's usage."""

    public_id: str
    grant: CreditGrant
    kind: str
    amount: Decimal
    occurred_at: datetime
    notes: str = ""
    pending: bool = False


@dataclass(frozen=True)
class _Day:
    """Usage of a grant within one period or gap and local day. A negative key of a grant stands for what rolls over
    from it."""

    grant: int
    period: int
    day: str

    @property
    def public_id(self) -> str:
        """An id that the same usage has each time, although nothing is stored."""
        digest = sha256(f"{self.grant}/{self.period}/{self.day}".encode()).digest()
        return public_id_of("cred_txn_", int.from_bytes(digest[:16], "big"))


def list_movements(
    *,
    customer: Customer,
    at: datetime,
    limit: int,
    from_at: datetime | None = None,
    to_at: datetime | None = None,
) -> list[Movement]:
    """List the latest movements of a customer's grants in `[from_at, to_at)`, newest first, pending ones included."""
    rows = CreditTransaction.objects.filter(customer=customer)
    if from_at is not None:
        rows = rows.filter(occurred_at__gte=from_at)
    if to_at is not None:
        rows = rows.filter(occurred_at__lt=to_at)
    pending = [
        movement
        for movement in _pending_movements(customer, at)
        if (from_at is None or movement.occurred_at >= from_at) and (to_at is None or movement.occurred_at < to_at)
    ]
    stored = [
        Movement(
            public_id=row.public_id,
            grant=row.grant,
            kind=row.kind,
            amount=row.amount,
            occurred_at=row.occurred_at,
            notes=row.notes,
        )
        for row in rows.select_related(*_LINKS).order_by("-occurred_at", "-pk")[:limit]
    ]
    # Both are in order already, and sorting keeps that among equal instants.
    return sorted(pending + stored, key=lambda movement: movement.occurred_at, reverse=True)[:limit]


@exactly
def _pending_movements(customer: Customer, at: datetime) -> list[Movement]:
    """What settlement would book of usage that is not settled yet: a movement per grant, period and local day, newest
    first. Reservations are not among it: they move nothing unless they are committed."""
    spendable = CreditGrant.objects.filter(customer=customer, metric__isnull=False, ledger_remaining__gt=0)
    metrics = set(spendable.values_list("metric_id", flat=True))
    positions = read_positions(
        {(customer.pk, metric) for metric in metrics if metric is not None}, at=at, with_reservations=False
    )
    days: dict[_Day, Decimal] = {}
    starts: dict[_Day, datetime] = {}
    zone = billing_zone()
    for position in positions.values():
        for share in position.burn_of_pieces.shares:
            assert share.period is not None
            day = _Day(share.grant, share.period, local_day(share.start_at, zone).isoformat())
            days[day] = days.get(day, ZERO) + share.units
            starts.setdefault(day, share.start_at)
    booked = _booked(customer, days)
    grants = CreditGrant.objects.select_related("customer", *_OF_GRANT).in_bulk({abs(day.grant) for day in days})
    return [
        Movement(
            public_id=day.public_id,
            grant=grants[abs(day.grant)],
            kind=TransactionKind.BURNED,
            amount=-units,
            occurred_at=starts[day],
            pending=True,
        )
        for day, units in sorted(days.items(), key=lambda item: starts[item[0]], reverse=True)
        if (day.grant, day.period) not in booked
    ]


def _booked(customer: Customer, days: Collection[_Day]) -> set[tuple[int, int]]:
    """The grants, and the periods and gaps, that have a row in the ledger although they were not settled when the
    positions were read: they were settled since."""
    burned = CreditTransaction.objects.filter(customer=customer, kind=TransactionKind.BURNED, difference=None)
    grants = {day.grant for day in days}
    of_periods = burned.filter(grant__in=grants, period__isnull=False).values_list("grant_id", "period_id")
    of_months = burned.filter(grant__in=grants, month__isnull=False).values_list("grant_id", "month__end_at")
    return {(grant, period) for grant, period in of_periods} | {(grant, gap_key(end_at)) for grant, end_at in of_months}
