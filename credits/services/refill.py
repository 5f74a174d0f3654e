"""Refills on a calendar of their own, apart from billing.

The calendar is counted from the day on which the subscription began, and turns at local midnights. The refill of a turn
is written one turn ahead, so that nothing depends on when a sweep runs; `SubscriptionCredit.refilled_until` is the
start of the last one that is written, and NULL once the calendar has ended.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import count

from django.db import transaction
from django.db.models import Exists, Max, OuterRef

from credits.models import CreditGrant, SubscriptionCredit
from credits.services.write_grants import expiry_of, grant_of, write_grants
from plans.models import ScheduledChange
from plans.periods import Clock, local_day, local_midnight, parse_recurrence
from plans.services.time_zone import billing_zone

CHUNK = 500
_LONGEST_MONTH = 31


def refill_clock(rule: str) -> Clock:
    """Read the calendar of a refill; unlike that of a price it may turn daily without an end. Raises InvalidInput."""
    return parse_recurrence(rule, path="refillRrule", endless_daily=True)


def turns_after(clock: Clock, started_at: datetime, after: datetime) -> Iterator[tuple[int, datetime]]:
    """Yield the turns of a calendar that come after an instant, each with its number: turn 0 is the start itself, the
    others are local midnights. Its end is not looked at."""
    zone = billing_zone()
    first_day = local_day(started_at, zone)
    turn_days = clock.approximate_days if clock.months is None else _LONGEST_MONTH * clock.months
    # No turn is longer, so that many lie surely behind.
    passed = max((after - started_at) // timedelta(days=turn_days) - 1, 0)
    for number in count(passed + 1):
        turn_at = local_midnight(clock.after(first_day, number), zone)
        if turn_at > after:
            yield number, turn_at


def has_turns(credit: SubscriptionCredit) -> bool:
    """Tell whether the calendar of a copy has any turn. The first is the start of the subscription, so there is none
    when UNTIL lies before it."""
    started_at = credit.subscription.started_at
    return refill_clock(credit.refill_rrule).has_period(0, started_at, billing_zone())


def end_of_refill(credit: SubscriptionCredit, start_at: datetime) -> datetime:
    """When a refill that starts at a turn of its calendar expires: after its days, else with the next turn."""
    clock = refill_clock(credit.refill_rrule)
    return expiry_of(credit, start_at) or next(turns_after(clock, credit.subscription.started_at, start_at))[1]


def write_refills(credits: Sequence[SubscriptionCredit], *, at: datetime) -> list[CreditGrant]:
    """Write the refills of these copies, in order of time, up to the first one that begins after `at` and after the
    start of the subscription; move their marks along.

    The caller holds the locks of the copies. Their definitions and subscriptions are fetched already.
    """
    written = _last_numbers(credits)
    grants = []
    for credit in credits:
        refills = _missing_refills(credit, at=at, number=written.get((credit.subscription_id, credit.definition_id), 0))
        grants += list(refills)
    SubscriptionCredit.objects.bulk_update(credits, ["refilled_until"], batch_size=500)
    return write_grants(grants, at=at)


def _missing_refills(credit: SubscriptionCredit, *, at: datetime, number: int) -> Iterator[CreditGrant]:
    assert credit.refilled_until is not None
    subscription, clock = credit.subscription, refill_clock(credit.refill_rrule)
    through = max(at, subscription.started_at)
    for turn, turn_at in turns_after(clock, subscription.started_at, credit.refilled_until):
        if not clock.has_period(turn, turn_at, billing_zone()):
            credit.refilled_until = None
            return
        number += 1
        yield grant_of(
            credit,
            subscription.customer_id,
            refill_number=number,
            initial_amount=credit.renewal_amount,
            starts_at=turn_at,
            expires_at=end_of_refill(credit, turn_at),
            created_at=at,
        )
        credit.refilled_until = turn_at
        if turn_at > through:
            return


def _last_numbers(credits: Sequence[SubscriptionCredit]) -> dict[tuple[int, int], int]:
    """The number of the last refill by subscription and definition. They count refills, not turns of the calendar,
    which may change."""
    grants = CreditGrant.objects.filter(
        subscription__in={credit.subscription_id for credit in credits},
        definition__in={credit.definition_id for credit in credits},
        refill_number__isnull=False,
    )
    rows = grants.order_by().values_list("subscription_id", "definition_id").annotate(Max("refill_number"))
    return {(subscription, definition): number for subscription, definition, number in rows}


def due_refills(at: datetime, *, limit: int = CHUNK) -> list[int]:
    """Find copies whose last written refill has begun by `at`, of customers that are not parked, earliest first. Those
    of a subscription that has a change or its end behind it wait for that, which writes what lies before."""
    overdue = ScheduledChange.objects.filter(
        subscription=OuterRef("subscription"), applied_at=None, withdrawn_at=None, effective_at__lte=at
    )
    due = SubscriptionCredit.objects.filter(
        ~Exists(overdue), refilled_until__lte=at, subscription__customer__parked_at__isnull=True
    ).exclude(refill_rrule="")
    return list(due.order_by("refilled_until", "pk").values_list("pk", flat=True)[:limit])


@transaction.atomic
def refill_credits(*, credits: Iterable[int], at: datetime) -> int:
    """Write the refills that are missing up to one turn after `at`, and return for how many copies.

    Copies that another worker holds are left to it. A subscription that has ended is refilled no more.
    """
    locked = (
        SubscriptionCredit.objects.filter(pk__in=credits, refilled_until__lte=at)
        .select_related("definition", "subscription")
        .select_for_update(no_key=True, skip_locked=True, of=("self", "subscription"))
        .order_by("pk")
    )
    due = list(locked)
    ended = [credit.pk for credit in due if credit.subscription.ended_at is not None]
    SubscriptionCredit.objects.filter(pk__in=ended).update(refilled_until=None)
    write_refills([credit for credit in due if credit.pk not in ended], at=at)
    return len(due)
