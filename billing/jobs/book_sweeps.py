"""The sweeps of the books: they never wait for Stripe, and work many rows off at once."""

import gc
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from time import monotonic
from typing import Any

from django.db import IntegrityError

from billing.jobs.swept import Swept
from billing.models import AutoTopUp, Dunning, Invoice
from billing.services import (
    buy_automatically,
    end_of_dunning,
    finalize,
    late_invoices,
    late_usage,
    months,
    scheduled_changes,
)
from billing.services import close_periods as closing
from billing.services.park import GUILTY, park_customer, work_in_halves
from credits.models import CalendarMonth, SubscriptionCredit
from credits.services import refill as refilling
from credits.services.settle_months import begin_months
from metering.services.attribute_events import attribute_events
from metering.services.build_metrics import build_next_slice
from plans.models import ScheduledChange, Subscription, SubscriptionPeriod
from plans.refusals import Refusal

logger = logging.getLogger(__name__)

# Then the other sweeps of the books go on; what is left is counted by the next ones.
SECONDS_OF_COUNTING = 30


def attribute(at: datetime) -> Swept:
    """Give events that arrived before their customers to them."""
    swept = Swept()
    try:
        while given := attribute_events():
            swept.done += given
    except IntegrityError:
        # One of them was sent again in the same instant; it is sorted out when both are committed.
        logger.warning("attribution met a repeated event and is left to the next sweep")
    return swept


def count(at: datetime) -> Swept:
    """Count the events that were there before a metric or its new version, slice by slice, for a while."""
    swept, deadline = Swept(), monotonic() + SECONDS_OF_COUNTING
    while monotonic() < deadline and build_next_slice(at=at):
        swept.done += 1
    return swept


def refill(at: datetime) -> Swept:
    """Write the refills of credits that have a calendar of their own, until the next one of each lies ahead."""
    return _in_chunks(
        find=lambda: refilling.due_refills(at),
        work=lambda keys: refilling.refill_credits(credits=keys, at=at),
        customer_of=lambda key: SubscriptionCredit.objects.values_list("subscription__customer_id", flat=True).get(
            pk=key
        ),
        at=at,
    )


def close(at: datetime) -> Swept:
    """Close boundaries that are due, each subscription's earliest first, until none is left."""
    return _in_chunks(
        find=lambda: closing.due_subscriptions(at),
        work=lambda keys: closing.close_periods(subscriptions=keys, at=at),
        customer_of=lambda key: Subscription.objects.values_list("customer_id", flat=True).get(pk=key),
        at=at,
    )


def apply_scheduled_changes(at: datetime) -> Swept:
    """Change or end subscriptions for which that was scheduled, until nothing is due."""
    return _in_chunks(
        find=lambda: scheduled_changes.due_changes(at),
        work=lambda keys: scheduled_changes.apply_changes(changes=keys, at=at),
        customer_of=lambda key: ScheduledChange.objects.values_list("subscription__customer_id", flat=True).get(pk=key),
        at=at,
    )


def finalize_drafts(at: datetime) -> Swept:
    """Finalize drafts whose grace time is over, in order of their closing, until none is left."""
    return _in_chunks(
        find=lambda: finalize.drafts_to_finalize(at),
        work=lambda keys: finalize.finalize(invoices=keys, at=at),
        customer_of=lambda key: Invoice.objects.values_list("customer_id", flat=True).get(pk=key),
        at=at,
    )


def settle_months(at: datetime) -> Swept:
    """Settle by calendar month what was used without a subscription, until no month that is over is left."""
    while begin_months():
        pass
    return _in_chunks(
        find=lambda: months.months_to_settle(at),
        work=lambda keys: months.settle(months=keys, at=at),
        customer_of=_customer_of_month,
        at=at,
    )


def look_for_late_usage(at: datetime) -> Swept:
    """Find for the last time what periods and calendar months differ by whose time for late usage is over, until none
    is left."""
    swept = _in_chunks(
        find=lambda: late_usage.windows_to_close(at),
        work=lambda keys: late_invoices.close_windows(periods=keys, at=at),
        customer_of=lambda key: SubscriptionPeriod.objects.values_list("customer_id", flat=True).get(pk=key),
        at=at,
    )
    return swept.add(
        _in_chunks(
            find=lambda: months.months_to_close(at),
            work=lambda keys: months.close(months=keys, at=at),
            customer_of=_customer_of_month,
            at=at,
        )
    )


def end_dunning(at: datetime) -> Swept:
    """Stop subscriptions that were not paid by the end of their dunning, and let run again what dunning had stopped and
    is paid now, until none is left."""
    swept = _each_once(
        find=lambda tried: end_of_dunning.dunning_to_end(at, without=tried),
        work=lambda keys: sum(_unless_refused(end_of_dunning.carry_out_end_action, dunning=key, at=at) for key in keys),
        customer_of=lambda key: Dunning.objects.values_list("customer_id", flat=True).get(pk=key),
        at=at,
    )
    return swept.add(
        _each_once(
            find=lambda tried: end_of_dunning.subscriptions_to_resume(at, without=tried),
            work=lambda keys: sum(_unless_refused(end_of_dunning.resume_paid, subscription=key, at=at) for key in keys),
            customer_of=lambda key: Subscription.objects.values_list("customer_id", flat=True).get(pk=key),
            at=at,
        )
    )


def _unless_refused(act: Callable[..., bool], **of: Any) -> bool:
    """Act, and tell whether that did something. What has to wait, such as for usage that is still being counted, is
    left to the next sweep."""
    try:
        return act(**of)
    except Refusal as refusal:
        logger.warning("%s of %s waits: %s", act.__name__, of, refusal)
        return False


def top_up(at: datetime) -> Swept:
    """Buy packs for customers whose balances have fallen below the thresholds of their automatic top-ups."""
    swept, last = Swept(), 0
    while keys := buy_automatically.running_after(last, at=at):
        last = keys[-1]
        for key in buy_automatically.below_threshold(keys, at=at):
            _buy(key, at, swept)
    return swept


def _buy(key: int, at: datetime, swept: Swept) -> None:
    try:
        swept.done += buy_automatically.buy_automatically(key=key, at=at) is not None
    except GUILTY as error:
        logger.exception("gave up on automatic top-up %s", key)
        customer = AutoTopUp.objects.values_list("customer_id", flat=True).get(pk=key)
        park_customer(customers=[customer], reason=f"{type(error).__name__}: {error}", at=at)
        swept.fail(f"customer parked: {error}")


def _customer_of_month(key: int) -> int:
    return CalendarMonth.objects.values_list("customer_id", flat=True).get(pk=key)


def _in_chunks(
    *,
    find: Callable[[], list[int]],
    work: Callable[[Sequence[int]], int],
    customer_of: Callable[[int], int],
    at: datetime,
) -> Swept:
    swept = Swept()
    while keys := find():
        chunk = _work_off(keys, work, customer_of, at)
        swept.add(chunk)
        # Nothing done and nobody parked: another worker holds the rest.
        if not chunk.done and not chunk.failed:
            break
    return swept


def _each_once(
    *,
    find: Callable[[Collection[int]], list[int]],
    work: Callable[[Sequence[int]], int],
    customer_of: Callable[[int], int],
    at: datetime,
) -> Swept:
    """Work off in chunks what `find` finds beside the keys that were tried already: those that have to wait hold up no
    others."""
    swept, tried = Swept(), set[int]()
    while keys := find(tried):
        tried.update(keys)
        swept.add(_work_off(keys, work, customer_of, at))
    return swept


def _work_off(
    keys: Sequence[int], work: Callable[[Sequence[int]], int], customer_of: Callable[[int], int], at: datetime
) -> Swept:
    swept = Swept()

    def give_up(key: int, error: Exception) -> None:
        park_customer(customers=[customer_of(key)], reason=f"{type(error).__name__}: {error}", at=at)
        swept.fail(f"customer parked: {error}")

    with _garbage_left_alone():
        swept.done += work_in_halves(keys, work, give_up)
    return swept


@contextmanager
def _garbage_left_alone() -> Iterator[None]:
    """Let Python look for no garbage meanwhile: what a chunk makes lives until its end, and it makes so much that
    all of it would be looked through many times."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
