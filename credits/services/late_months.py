"""What was found of a settled calendar month later.

Nobody can be charged for it: more units are taken from what its settlement let expire and from what is left live, as
for a period, and what nobody pays for is dropped; fewer give units back.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import Max, QuerySet, Sum

from credits.burn import ZERO
from credits.late_usage import Booked, BookedGrant, Movement, movements, rate_again
from credits.models import CalendarMonth, CreditGrant, CreditTransaction
from credits.positions import Position, UncoveredStretch
from credits.services.ledger_rows import amounts_of, booked_movement
from credits.services.positions import Pair, lock_balances, read_positions
from plans.money import exactly
from plans.services.metric_versions import hold_versions


def settled_months() -> QuerySet[CalendarMonth]:
    """Settled months of customers that are not parked which were not looked at for the last time yet."""
    return CalendarMonth.objects.filter(
        settled_at__isnull=False, number=0, late_usage_closed_at=None, customer__parked_at=None
    )


@transaction.atomic
def close_months(*, months: Iterable[int], at: datetime) -> int:
    """Look at settled months for the last time, let the ledger follow, and return how many they were."""
    pairs = {month.pair for month in settled_months().filter(pk__in=months)}
    hold_versions()
    lock_balances(pairs)
    # Under the locks: another worker may have looked meanwhile.
    held = list(settled_months().filter(pk__in=months).order_by("end_at", "pk"))
    look_again_at_months(held, at=at)
    CalendarMonth.objects.filter(pk__in=[month.pk for month in held]).update(late_usage_closed_at=at)
    return len(held)


@transaction.atomic
def uncover_months(*, customer: int, metrics: Iterable[int], since: datetime, at: datetime) -> None:
    """Give back what settled months burned for usage from `since` on that a stored period covers by now, such as that
    of a subscription which begins in the past: it will be billed with that period."""
    hold_versions()
    pairs = {(customer, metric) for metric in metrics}
    lock_balances(pairs)
    months = CalendarMonth.objects.filter(
        customer=customer,
        metric__in=[metric for _, metric in pairs],
        number=0,
        settled_at__isnull=False,
        end_at__gt=since,
    )
    look_again_at_months(list(months.order_by("end_at", "pk")), at=at)


def look_again_at_months(months: Sequence[CalendarMonth], *, at: datetime) -> None:
    """Write what settled months differ by from what was booked of them, the earliest first. The caller holds the locks
    of the customers and metrics."""
    waiting = list(months)
    while waiting:
        # Of each customer and metric one at a time: what it takes is not there for the next.
        first = {month.pair: month for month in reversed(waiting)}
        _look_at(list(first.values()), at)
        taken = {month.pk for month in first.values()}
        waiting = [month for month in waiting if month.pk not in taken]


def _look_at(months: Sequence[CalendarMonth], at: datetime) -> None:
    positions = read_positions(
        [month.pair for month in months], at=at, since={month.pair: month.start_at for month in months}
    )
    booked, grants = _booked(months), _booked_grants(months)
    found, moved = [], []
    for month in months:
        before, of_grants = booked[month.pair, month.start_at], grants[month.pair, month.start_at]
        position = _with_month(positions[month.pair], month)
        if position.used_in(month.key) != before.usage:
            again = rate_again(position, month.key, booked=before, grants=of_grants)
            found.append(_found(month, again.usage - before.usage, again.credited - before.credited, at))
            moved.append(movements(again, of_grants, position))
    _write(_numbered(found), moved, at)


def _with_month(position: Position, month: CalendarMonth) -> Position:
    """The position with a settled month as one more period, whatever periods cover some of it by now."""
    stretch = UncoveredStretch(month.key, month.start_at, month.end_at, settled=True, without=position.periods)
    return replace(position, periods=(*position.periods, stretch))


def _found(month: CalendarMonth, usage: Decimal, credited: Decimal, at: datetime) -> CalendarMonth:
    return CalendarMonth(
        customer_id=month.customer_id,
        metric_id=month.metric_id,
        start_at=month.start_at,
        end_at=month.end_at,
        settled_at=at,
        usage=usage,
        credited=credited,
    )


# A settled month, by its customer and metric and its start.
_Month = tuple[Pair, datetime]


@exactly
def _booked(months: Sequence[CalendarMonth]) -> dict[_Month, Booked]:
    """What each month came to by now, together with what was found of it before."""
    totals = (
        _rows_of(months)
        .values_list("customer_id", "metric_id", "start_at")
        .annotate(total_usage=Sum("usage"), total_credited=Sum("credited"))
    )
    return {
        ((customer, metric), start_at): Booked(usage=usage, included=ZERO, credited=credited, net_cents=0)
        for customer, metric, start_at, usage, credited in totals
    }


def _rows_of(months: Sequence[CalendarMonth]) -> QuerySet[CalendarMonth]:
    return CalendarMonth.objects.filter(
        customer__in={month.customer_id for month in months},
        metric__in={month.metric_id for month in months},
        start_at__in={month.start_at for month in months},
        settled_at__isnull=False,
    )


@exactly
def _booked_grants(months: Sequence[CalendarMonth]) -> dict[_Month, dict[int, BookedGrant]]:
    """What each month took of its grants by now, by the keys of these."""
    moved: dict[tuple[_Month, int, int], dict[str, Decimal]] = defaultdict(dict)
    rows = CreditTransaction.objects.filter(month__in=_rows_of(months)).select_related("month")
    for row in rows:
        assert row.month is not None
        moved[(row.month.pair, row.month.start_at), row.grant_id, row.month.number][row.kind] = row.amount
    rolled = set(
        CreditGrant.objects.filter(rolled_from__in={grant for _, grant, _ in moved}).values_list(
            "rolled_from_id", flat=True
        )
    )
    grants: dict[_Month, dict[int, BookedGrant]] = defaultdict(dict)
    for (month, grant, number), amounts in moved.items():
        burned, expired = booked_movement(grant, amounts).taken
        before = grants[month].get(grant, BookedGrant())
        grants[month][grant] = BookedGrant(
            burned=before.burned + burned,
            settled=before.settled + (ZERO if number else burned),
            # What rolled over went on as a grant of its own.
            expired=before.expired + (ZERO if grant in rolled else expired),
        )
    return grants


def _numbered(found: Sequence[CalendarMonth]) -> list[CalendarMonth]:
    """Give what was found of each month the next number, and store it."""
    if not found:
        return []
    last = {
        ((customer, metric), start_at): number
        for customer, metric, start_at, number in _rows_of(found)
        .values_list("customer_id", "metric_id", "start_at")
        .annotate(last=Max("number"))
    }
    for month in found:
        month.number = last[month.pair, month.start_at] + 1
    return CalendarMonth.objects.bulk_create(found, batch_size=500)


def _write(found: Sequence[CalendarMonth], moved: Sequence[Sequence[Movement]], at: datetime) -> None:
    change: dict[int, Decimal] = defaultdict(Decimal)
    transactions = []
    for month, moves in zip(found, moved, strict=True):
        for movement in moves:
            change[movement.grant] += movement.change
            transactions += [
                CreditTransaction(
                    customer_id=month.customer_id,
                    grant_id=movement.grant,
                    kind=kind,
                    amount=amount,
                    month=month,
                    occurred_at=at,
                )
                for kind, amount in amounts_of(movement)
            ]
    CreditTransaction.objects.bulk_create(transactions, batch_size=1000)
    grants = list(CreditGrant.objects.filter(pk__in=change).only("pk", "ledger_remaining"))
    for grant in grants:
        grant.ledger_remaining += change[grant.pk]
    CreditGrant.objects.bulk_update(grants, ["ledger_remaining"], batch_size=500)
