from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from credits.models import CreditGrant, CreditTransaction, TransactionKind
from credits.positions import Position
from credits.services.positions import Pair, lock_balances, read_positions
from plans.models import SubscriptionPeriod
from plans.services.metric_versions import hold_versions


class BooksDoNotAddUp(Exception):
    """A period cannot be settled: an earlier one of the same metric is still open, or it was settled before."""


@dataclass(slots=True)
class _Entries:
    """What a settlement writes, gathered for all its periods."""

    transactions: list[CreditTransaction] = field(default_factory=list)
    taken: dict[int, Decimal] = field(default_factory=dict)

    def move(self, grant: int, kind: TransactionKind, units: Decimal, period: SubscriptionPeriod, at: datetime) -> None:
        """Book units out of a grant."""
        self.taken[grant] = self.taken.get(grant, Decimal(0)) + units
        self.transactions.append(
            CreditTransaction(
                customer_id=period.customer_id,
                grant_id=grant,
                kind=kind,
                amount=-units,
                period=period,
                occurred_at=at,
            )
        )


@dataclass(frozen=True, slots=True)
class SettledUsage:
    """What a period was settled with: metered units, how many of them were included (`free` is how many the plan's
    feature gives at most), and which grant paid for how many of the others, in burn order."""

    used: Decimal
    included: Decimal
    free: Decimal
    by_grant: Mapping[int, Decimal]


def settle_periods(*, at: datetime, periods: Iterable[SubscriptionPeriod]) -> dict[int, SettledUsage]:
    """Make the usage of ended periods final: book what their grants paid for, expire what those have left.

    Takes the locks of the customers and metrics, then reads the positions once. Raises BooksDoNotAddUp when a period
    is not the earliest unsettled one of its metric, since settlement goes strictly in order.
    """
    metered = sorted((period for period in periods if period.metric_id is not None), key=lambda one: one.end_at)
    pairs = [_pair(period) for period in metered]
    if not pairs:
        return {}
    hold_versions()
    lock_balances(pairs)
    positions = read_positions(set(pairs), at=at, with_reservations=False)
    entries = _Entries()
    settled = {}
    for period in metered:
        position = positions[_pair(period)]
        _check_order(position, period)
        usage = SettledUsage(
            used=position.used_in(period.pk),
            included=position.burn.included.get(period.pk, Decimal(0)),
            free=position.free_in(position.period(period.pk)),
            by_grant=position.burn.by_grant(period.pk),
        )
        settled[period.pk] = usage
        for grant, units in usage.by_grant.items():
            entries.move(grant, TransactionKind.BURNED, units, period, at)
        for grant, rest in _left_to_expire(position, period).items():
            entries.move(grant, TransactionKind.EXPIRED, rest, period, at)
        period.settled_at = at
        period.settled_usage = usage.used
        period.settled_included = usage.included
        period.settled_credited = position.burn.credited_in(period.pk)
    _write(entries, metered)
    return settled


def _pair(period: SubscriptionPeriod) -> Pair:
    assert period.metric_id is not None
    return (period.customer_id, period.metric_id)


def _check_order(position: Position, period: SubscriptionPeriod) -> None:
    earliest = min(
        (stored for stored in position.periods if not stored.settled), key=lambda stored: stored.end_at, default=None
    )
    if earliest is None or earliest.key != period.pk:
        raise BooksDoNotAddUp(
            f"period {period.pk} cannot be settled: "
            + ("it is settled already" if earliest is None else f"period {earliest.key} of the same metric comes first")
        )


def _left_to_expire(position: Position, period: SubscriptionPeriod) -> dict[int, Decimal]:
    """What grants that end by this period's end have left once it is settled. Units that usage outside of any period
    burned are not among it: they are spent, though no settlement has booked them."""
    return {
        grant.key: rest
        for grant in position.grants
        if grant.ends_at is not None
        and grant.ends_at <= period.end_at
        and (rest := position.burn.remaining[grant.key]) > 0
    }


def _write(entries: _Entries, periods: list[SubscriptionPeriod]) -> None:
    CreditTransaction.objects.bulk_create(entries.transactions, batch_size=1000)
    grants = list(CreditGrant.objects.filter(pk__in=entries.taken).only("pk", "ledger_remaining"))
    for grant in grants:
        grant.ledger_remaining -= entries.taken[grant.pk]
    CreditGrant.objects.bulk_update(grants, ["ledger_remaining"], batch_size=500)
    SubscriptionPeriod.objects.bulk_update(
        periods, ["settled_at", "settled_usage", "settled_included", "settled_credited"], batch_size=500
    )
