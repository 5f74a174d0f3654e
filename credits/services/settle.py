from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from credits.models import CreditGrant, CreditTransaction, TransactionKind
from credits.positions import GrantState, Position
from credits.services.positions import Pair, lock_balances, read_positions
from credits.services.write_grants import write_grants
from metering.services.count_positive_events import count_positive_events
from plans.models import SubscriptionPeriod
from plans.services.metric_versions import hold_versions


class BooksDoNotAddUp(Exception):
    """A period cannot be settled: an earlier one of the same metric is still open, or it was settled before."""


@dataclass(frozen=True, slots=True)
class SettledUsage:
    """What a period was settled with: metered units, how many of them were included (`free` is how many the plan's
    feature gives at most), which grant paid for how many of the others, in burn order, and how many events of positive
    value it had, where its price asks for their number."""

    used: Decimal
    included: Decimal
    free: Decimal
    by_grant: Mapping[int, Decimal]
    events: int = 0


def settle_periods(*, at: datetime, periods: Iterable[SubscriptionPeriod]) -> dict[int, SettledUsage]:
    """Make the usage of ended periods final: book what their grants paid for, expire what those have left or let it
    roll over into new grants.

    Takes the locks of the customers and metrics, then reads the positions once. Raises BooksDoNotAddUp when a period
    is not the earliest unsettled one of its metric, since settlement goes strictly in order; `periods` may be several
    of one metric without a gap.
    """
    metered = sorted((period for period in periods if period.metric_id is not None), key=lambda one: one.end_at)
    pairs = [_pair(period) for period in metered]
    if not pairs:
        return {}
    hold_versions()
    lock_balances(pairs)
    positions = read_positions(set(pairs), at=at, with_reservations=False)
    _check_order(positions, metered)
    events = count_positive_events([period for period in metered if asks_for_events(period)])
    entries = _Entries(at, _roll_over(positions, metered, at))
    settled = {}
    for period in metered:
        position = positions[_pair(period)]
        settled[period.pk] = usage = SettledUsage(
            used=position.used_in(period.pk),
            included=position.burn.included.get(period.pk, Decimal(0)),
            free=position.free_in(position.period(period.pk)),
            by_grant=entries.stored(position.burn.by_grant(period.pk)),
            events=events.get(period.pk, 0),
        )
        entries.burn(period, usage.by_grant)
        entries.expire(period, entries.stored(_rests_at_end_of(period, position)))
        period.settled_at = at
        period.settled_usage = usage.used
        period.settled_included = usage.included
        period.settled_credited = position.burn.credited_in(period.pk)
        period.settled_events = events.get(period.pk)
    entries.write()
    SubscriptionPeriod.objects.bulk_update(metered, _SETTLED, batch_size=500)
    return settled


_SETTLED = ["settled_at", "settled_usage", "settled_included", "settled_credited", "settled_events"]


def _pair(period: SubscriptionPeriod) -> Pair:
    assert period.metric_id is not None
    return (period.customer_id, period.metric_id)


def _check_order(positions: Mapping[Pair, Position], periods: Iterable[SubscriptionPeriod]) -> None:
    unsettled = {
        pair: deque(
            sorted((stored for stored in position.periods if not stored.settled), key=lambda stored: stored.end_at)
        )
        for pair, position in positions.items()
    }
    for period in periods:
        left = unsettled[_pair(period)]
        if not left or left.popleft().key != period.pk:
            raise BooksDoNotAddUp(
                f"period {period.pk} cannot be settled: it is settled already, or another one of its metric comes first"
            )


def asks_for_events(period: SubscriptionPeriod) -> bool:
    """Tell whether the price of a period depends on the number of its events."""
    component = period.item.component
    return component is not None and component.fixed_cost_cents > 0


def _rests_at_end_of(period: SubscriptionPeriod, position: Position) -> dict[int, Decimal]:
    """What grants that end by this period's end have left once it is settled. Units that usage outside of any period
    burned are not among it: they are spent, though no settlement has booked them."""
    return {
        grant.key: rest
        for grant in position.grants + position.provisional_grants
        if grant.ends_at is not None
        and grant.ends_at <= period.end_at
        and (rest := position.burn.rest_of(grant.key)) > 0
    }


def _roll_over(
    positions: Mapping[Pair, Position], periods: Iterable[SubscriptionPeriod], at: datetime
) -> dict[int, int]:
    """Write the grants that rests become by the end of the periods, and return their keys by their provisional ones.

    The burn says which they are and what usage has burned of them already, so they are written before it is booked:
    periods of several boundaries, and a period in which grants of a faster clock end, settle in one go with the same
    numbers as one after the other. Their keys follow the order in which they begin, as the burn order wants it. What
    only a later period lets roll over stays provisional, and so do its shares.
    """
    until = {_pair(period): period.end_at for period in periods}
    rolled = sorted(
        (
            grant
            for pair, end_at in until.items()
            for grant in positions[pair].provisional_grants
            if grant.starts_at <= end_at
        ),
        key=lambda grant: (grant.starts_at, grant.stored_key),
    )
    if not rolled:
        return {}
    left_of = CreditGrant.objects.in_bulk([grant.stored_key for grant in rolled])
    written = write_grants([_rolled_grant(grant, left_of[grant.stored_key], at) for grant in rolled], at=at)
    return {grant.key: stored.pk for grant, stored in zip(rolled, written, strict=True)}


def _rolled_grant(grant: GrantState, left_of: CreditGrant, at: datetime) -> CreditGrant:
    return CreditGrant(
        customer_id=left_of.customer_id,
        metric_id=left_of.metric_id,
        definition_id=left_of.definition_id,
        subscription_id=left_of.subscription_id,
        rolled_from=left_of,
        source=left_of.source,
        initial_amount=grant.ledger_remaining,
        priority=grant.priority,
        starts_at=grant.starts_at,
        expires_at=grant.ends_at,
        created_at=at,
    )


class _Entries:
    """What a settlement writes into the ledger, gathered for all its periods."""

    def __init__(self, at: datetime, rolled: Mapping[int, int]) -> None:
        self._at = at
        self._rolled = rolled
        self._transactions: list[CreditTransaction] = []
        self._taken: dict[int, Decimal] = {}
        self._expired: set[int] = set()

    def stored(self, units: Mapping[int, Decimal]) -> dict[int, Decimal]:
        """Units by stored grants: the provisional ones among them are written now."""
        return {self._rolled.get(grant, grant): number for grant, number in units.items()}

    def burn(self, period: SubscriptionPeriod, units: Mapping[int, Decimal]) -> None:
        """Book what grants paid for."""
        for grant, burned in units.items():
            self._move(grant, TransactionKind.BURNED, burned, period)

    def expire(self, period: SubscriptionPeriod, rests: Mapping[int, Decimal]) -> None:
        """Book rests out of grants that have ended, unless an earlier period of the same settlement did."""
        for grant, rest in rests.items():
            if grant not in self._expired:
                self._expired.add(grant)
                self._move(grant, TransactionKind.EXPIRED, rest, period)

    def _move(self, grant: int, kind: TransactionKind, units: Decimal, period: SubscriptionPeriod) -> None:
        self._taken[grant] = self._taken.get(grant, Decimal(0)) + units
        self._transactions.append(
            CreditTransaction(
                customer_id=period.customer_id,
                grant_id=grant,
                kind=kind,
                amount=-units,
                period=period,
                occurred_at=self._at,
            )
        )

    def write(self) -> None:
        """Store the rows together with what they leave of the grants."""
        CreditTransaction.objects.bulk_create(self._transactions, batch_size=1000)
        grants = list(CreditGrant.objects.filter(pk__in=self._taken).only("pk", "ledger_remaining"))
        for grant in grants:
            grant.ledger_remaining -= self._taken[grant.pk]
        CreditGrant.objects.bulk_update(grants, ["ledger_remaining"], batch_size=500)
