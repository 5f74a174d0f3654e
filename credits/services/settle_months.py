"""Settlement of what was used without a stored period, by calendar month.

Each customer and metric with units left has a row for the month that is settled next. It is written when a sweep finds
such units, and moves on from month to month; once nothing is left it goes, and comes back with the next units.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, QuerySet

from credits.models import CalendarMonth, CreditGrant
from credits.months import month_end, month_start
from credits.positions import Position, StoredPeriod
from credits.services.positions import lock_balances, read_positions
from credits.services.settle import book_usage, gaps_of, months_to_come, move_on, starts_of
from plans.models import SubscriptionPeriod
from plans.services.metric_versions import hold_versions
from plans.services.time_zone import billing_zone

CHUNK = 200
_INSTANT = timedelta(microseconds=1)

# A quota that renews with the periods of its own metric is spent within them.
_WITHOUT_A_MONTH = """
SELECT credit.customer_id, credit.metric_id, min(credit.starts_at), max(settled.end_at)
FROM credits_creditgrant credit
JOIN plans_customer customer ON customer.id = credit.customer_id AND customer.parked_at IS NULL
LEFT JOIN plans_subscriptionperiod period ON period.id = credit.period_id
LEFT JOIN LATERAL (
    SELECT end_at FROM credits_calendarmonth month
    WHERE month.customer_id = credit.customer_id AND month.metric_id = credit.metric_id
    ORDER BY start_at DESC LIMIT 1
) AS settled ON true
WHERE credit.metric_id IS NOT NULL AND credit.ledger_remaining > 0
    AND period.metric_id IS DISTINCT FROM credit.metric_id
    AND NOT EXISTS (
        SELECT FROM credits_calendarmonth next WHERE next.customer_id = credit.customer_id
            AND next.metric_id = credit.metric_id AND next.settled_at IS NULL
    )
GROUP BY 1, 2
LIMIT %s
"""


def begin_months(*, limit: int = 10_000) -> int:
    """Write the month that is settled next for customers and metrics that have units left and no such month, and return
    how many: the one in which the earliest of these units begin, or what follows on the one settled last."""
    zone = billing_zone()
    with connection.cursor() as cursor:
        cursor.execute(_WITHOUT_A_MONTH, [limit])
        found = cursor.fetchall()
    months = []
    for customer, metric, first_at, settled_until in found:
        start_at = max(month_start(first_at, zone), settled_until or month_start(first_at, zone))
        months.append(
            CalendarMonth(customer_id=customer, metric_id=metric, start_at=start_at, end_at=month_end(start_at, zone))
        )
    # Another worker may have written the same.
    CalendarMonth.objects.bulk_create(months, batch_size=1000, ignore_conflicts=True)
    return len(months)


def months_that_wait() -> QuerySet[CalendarMonth]:
    """Months that can be settled as soon as they are over: of customers that are not parked and metrics whose events
    are all counted, with no stored period that ended before and is not settled."""
    earlier = SubscriptionPeriod.objects.filter(
        customer=OuterRef("customer"), metric=OuterRef("metric"), settled_at=None, end_at__lte=OuterRef("end_at")
    )
    return CalendarMonth.objects.filter(
        ~Exists(earlier),
        settled_at=None,
        customer__parked_at=None,
        metric__current__built_at__isnull=False,
    )


@transaction.atomic
def settle_months(*, months: Iterable[int], ended_by: datetime, at: datetime) -> int:
    """Settle, of months that ended by an instant, what no stored period covers, and all that follows on it up to the
    last month that ended by then; return how many rows moved on.

    Takes the locks of the customers and metrics, then reads the positions once. Stops at a stored period that is not
    settled, since settlement goes in order of time.
    """
    pairs = {month.pair for month in CalendarMonth.objects.filter(pk__in=months, end_at__lte=ended_by, settled_at=None)}
    hold_versions()
    lock_balances(pairs)
    # Under the locks: another worker may have settled them meanwhile.
    due = [month for month in months_to_come(pairs) if month.end_at <= ended_by]
    starts = starts_of(due)
    positions = read_positions(starts, at=at, with_reservations=False, since=starts)
    until = month_start(ended_by, billing_zone())
    gaps = []
    for month in due:
        position = positions[month.pair]
        waiting = _waiting_period(position, until)
        gaps += gaps_of(month, position, until=until if waiting is None else waiting.start_at)
        move_on(month, until if waiting is None else waiting.start_at)
        if waiting is not None:
            month.end_at = month_end(waiting.end_at - _INSTANT, billing_zone())
    CalendarMonth.objects.bulk_update(due, ["start_at", "end_at"], batch_size=500)
    book_usage(positions, gaps, at=at)
    _end_months(due)
    return len(due)


def _waiting_period(position: Position, until: datetime) -> StoredPeriod | None:
    """The earliest stored period that ended by an instant and is not settled."""
    return next((period for period in position.periods if not period.settled and period.end_at <= until), None)


def _end_months(months: Collection[CalendarMonth]) -> None:
    """Let the months to come go of customers and metrics that have no units left."""
    left = set(
        CreditGrant.objects.filter(
            customer__in={month.customer_id for month in months},
            metric__in={month.metric_id for month in months},
            ledger_remaining__gt=0,
        ).values_list("customer_id", "metric_id")
    )
    CalendarMonth.objects.filter(pk__in=[month.pk for month in months if month.pair not in left]).delete()
