from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import chain

from django.db import connection

from credits.models import CalendarMonth, CreditGrant, CreditTransaction, TransactionKind
from credits.months import gaps_between, month_end
from credits.positions import GrantState, Position
from credits.services.positions import Pair, lock_balances, read_positions
from credits.services.write_grants import write_grants
from metering.services.count_positive_events import count_positive_events
from plans.bulk_rows import insert_rows, new_row, update_rows
from plans.models import SubscriptionPeriod
from plans.services.metric_versions import hold_versions
from plans.services.time_zone import billing_zone


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
    roll over into new grants. Gaps before them that are not settled yet are settled first.

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
    next_months = months_to_come(pairs)
    positions = read_positions(set(pairs), at=at, with_reservations=False, since=starts_of(next_months))
    _check_order(positions, metered)
    until = {_pair(period): period.start_at for period in metered}
    gaps = {month.pair: gaps_of(month, positions[month.pair], until=until[month.pair]) for month in next_months}
    for month in next_months:
        if gaps[month.pair]:
            move_on(month, gaps[month.pair][-1].end_at)
    update_rows(next_months, ["start_at", "end_at"])
    return book_usage(positions, [*chain.from_iterable(gaps.values()), *metered], at=at)


def months_to_come(pairs: Collection[Pair]) -> list[CalendarMonth]:
    """The months that are settled next of customers and metrics, where there are some. Read them under the locks."""
    customers, metrics = {customer for customer, _ in pairs}, {metric for _, metric in pairs}
    found = CalendarMonth.objects.filter(customer__in=customers, metric__in=metrics, settled_at=None)
    wanted = set(pairs)
    return [month for month in found if month.pair in wanted]


def starts_of(months: Iterable[CalendarMonth]) -> dict[Pair, datetime]:
    """From when on the positions of customers and metrics must be read to find their gaps."""
    return {month.pair: month.start_at for month in months}


def gaps_of(month: CalendarMonth, position: Position, *, until: datetime) -> list[CalendarMonth]:
    """The gaps of a customer and metric from the month that is settled next until the end of a month or the start of a
    period, not stored yet."""
    return [
        CalendarMonth(customer_id=month.customer_id, metric_id=month.metric_id, start_at=start_at, end_at=end_at)
        for start_at, end_at in gaps_between(month.start_at, until, position.periods, position.zone)
    ]


def move_on(month: CalendarMonth, until: datetime) -> None:
    """Note that what no period covers is settled until an instant."""
    month.start_at = until
    if month.end_at <= until:
        month.end_at = month_end(until, billing_zone())


Stretch = SubscriptionPeriod | CalendarMonth


def book_usage(
    positions: Mapping[Pair, Position], stretches: Sequence[Stretch], *, at: datetime
) -> dict[int, SettledUsage]:
    """Settle periods and gaps, each the next of its customer and metric, and return what the periods were settled with,
    by their keys. The caller holds the locks, under which the positions were read; the periods' items must be loaded.
    Gaps in which no grant had units left are not stored: whatever is found of them later, nobody can pay for it."""
    ordered = sorted(stretches, key=lambda one: one.end_at)
    periods = [one for one in ordered if isinstance(one, SubscriptionPeriod)]
    events = count_positive_events([period for period in periods if asks_for_events(period)])
    entries = _Entries(at, _roll_over(positions, ordered, at))
    settled, with_units = {}, []
    for stretch in ordered:
        position = positions[_pair(stretch)]
        usage = _usage_of(stretch, position, entries, events)
        if isinstance(stretch, CalendarMonth) and entries.leave_units(stretch, position):
            with_units.append(stretch)
        entries.burn(stretch, usage.by_grant)
        entries.expire(stretch, entries.stored(_rests_at_end_of(stretch, position)))
        stretch.settled_at = at
        credited = position.burn.credited_in(_key(stretch))
        if isinstance(stretch, CalendarMonth):
            stretch.usage, stretch.credited = usage.used, credited
        else:
            settled[stretch.pk] = usage
            stretch.settled_usage = usage.used
            stretch.settled_included = usage.included
            stretch.settled_credited = credited
            stretch.settled_events = events.get(stretch.pk)
    insert_rows(with_units)
    entries.write()
    update_rows(periods, _SETTLED)
    return settled


def _usage_of(stretch: Stretch, position: Position, entries: "_Entries", events: Mapping[int, int]) -> SettledUsage:
    key = _key(stretch)
    by_grant = entries.stored(position.burn.by_grant(key))
    if isinstance(stretch, CalendarMonth):
        used = position.used_within(position.place_at(stretch.start_at))
        return SettledUsage(used=used, included=Decimal(0), free=Decimal(0), by_grant=by_grant)
    return SettledUsage(
        used=position.used_in(key),
        included=position.burn.included.get(key, Decimal(0)),
        free=position.free_in(position.period(key)),
        by_grant=by_grant,
        events=events.get(key, 0),
    )


_SETTLED = ["settled_at", "settled_usage", "settled_included", "settled_credited", "settled_events"]


def _pair(stretch: Stretch) -> Pair:
    assert stretch.metric_id is not None
    return (stretch.customer_id, stretch.metric_id)


def _key(stretch: Stretch) -> int:
    return stretch.key if isinstance(stretch, CalendarMonth) else stretch.pk


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


def _rests_at_end_of(period: Stretch, position: Position) -> dict[int, Decimal]:
    """What grants that end by the end of this period or gap have left once it is settled."""
    return {
        grant.key: rest
        for grant in position.grants + position.provisional_grants
        if grant.ends_at is not None
        and grant.ends_at <= period.end_at
        and (rest := position.burn.rest_of(grant.key)) > 0
    }


def _roll_over(positions: Mapping[Pair, Position], periods: Iterable[Stretch], at: datetime) -> dict[int, int]:
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

    def burn(self, period: Stretch, units: Mapping[int, Decimal]) -> None:
        """Book what grants paid for."""
        for grant, burned in units.items():
            self._move(grant, TransactionKind.BURNED, burned, period)

    def expire(self, period: Stretch, rests: Mapping[int, Decimal]) -> None:
        """Book rests out of grants that have ended, unless an earlier period of the same settlement did."""
        for grant, rest in rests.items():
            if grant not in self._expired:
                self._expired.add(grant)
                self._move(grant, TransactionKind.EXPIRED, rest, period)

    def leave_units(self, gap: CalendarMonth, position: Position) -> bool:
        """Tell whether what was booked so far leaves units of some grant to a gap, to be used or to expire in it."""
        return any(
            grant.ledger_remaining > self._taken.get(self._rolled.get(grant.key, grant.key), 0)
            for grant in position.grants + position.provisional_grants
            if grant.starts_at < gap.end_at
        )

    def _move(self, grant: int, kind: TransactionKind, units: Decimal, period: Stretch) -> None:
        self._taken[grant] = self._taken.get(grant, Decimal(0)) + units
        self._transactions.append(
            new_row(
                CreditTransaction,
                customer_id=period.customer_id,
                grant_id=grant,
                kind=kind,
                amount=-units,
                period_id=period.pk if isinstance(period, SubscriptionPeriod) else None,
                month=period if isinstance(period, CalendarMonth) else None,
                occurred_at=self._at,
            )
        )

    def write(self) -> None:
        """Store the rows together with what they leave of the grants."""
        insert_rows(self._transactions)
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE credits_creditgrant SET ledger_remaining = ledger_remaining - taken.units"
                " FROM unnest(%s::bigint[], %s::numeric[]) AS taken(grant_id, units)"
                " WHERE credits_creditgrant.id = taken.grant_id",
                [list(self._taken), list(self._taken.values())],
            )
