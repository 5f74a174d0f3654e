"""The sweeps: each asks the tables what is due and works it off. They may run twice, together, late, or be killed.

A sweep reads the clock, calls rules and (between transactions) the gateway, and returns how much it did.
"""

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic

from django.db import IntegrityError
from django.utils import timezone
from django_q.tasks import async_task

from billing import checkouts, gateway
from billing.books import INVARIANTS
from billing.exchange import ChargeToMake, Paid
from billing.models import Invoice
from billing.services import checkout as checkout_rules
from billing.services import close_periods as closing
from billing.services import (
    collect,
    finalize,
    inbox,
    late_invoices,
    late_usage,
    months,
    refunds,
    scheduled_changes,
    send,
    stripe_voids,
)
from billing.services.park import park_customer, work_in_halves
from credits.models import CalendarMonth, SubscriptionCredit
from credits.services import refill as refilling
from credits.services.settle_months import begin_months
from metering.services.attribute_events import attribute_events
from metering.services.build_metrics import build_next_slice
from plans.models import ScheduledChange, Subscription, SubscriptionPeriod

logger = logging.getLogger(__name__)

# A scheduled sweep of Stripe's stops by itself before the task's time-out, also where a task runs two of them, and the
# next one goes on where it stopped.
SECONDS_PER_RUN = 120
# The sweeps of the books go on after it; what is left is counted by the next ones.
SECONDS_OF_COUNTING = 30
KeepGoing = Callable[[], bool]


def _to_the_end() -> bool:
    return True


class SweepClock:
    """The instant of a sweep, moved on by the time that it has taken: a lease counts from when it is taken."""

    def __init__(self, at: datetime) -> None:
        self.at = at
        self.began = monotonic()

    def now(self) -> datetime:
        return self.at + timedelta(seconds=monotonic() - self.began)


@dataclass
class Swept:
    """How much a sweep did. `unavailable` says why Stripe could not be reached; then it stopped early."""

    done: int = 0
    failed: int = 0
    unavailable: str = ""
    problems: list[str] = field(default_factory=list)

    def fail(self, problem: str) -> None:
        """Count a failure and keep its sentence."""
        self.failed += 1
        self.problems.append(problem)

    def add(self, other: "Swept") -> "Swept":
        """Add what another sweep of the books did."""
        self.done += other.done
        self.failed += other.failed
        self.problems += other.problems
        return self


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

    def give_up(key: int, error: Exception) -> None:
        park_customer(customers=[customer_of(key)], reason=f"{type(error).__name__}: {error}", at=at)
        swept.fail(f"customer parked: {error}")

    while keys := find():
        failed_before = swept.failed
        with _garbage_left_alone():
            done = work_in_halves(keys, work, give_up)
        swept.done += done
        # Nothing done and nobody parked: another worker holds the rest.
        if not done and swept.failed == failed_before:
            break
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


def send_invoices(at: datetime, keep_going: KeepGoing = _to_the_end) -> Swept:
    """Bring issued invoices to Stripe, one at a time, until none is due or Stripe cannot be reached."""
    swept, clock = Swept(), SweepClock(at)
    while keep_going() and (invoice := send.claim_invoice_to_send(at=at, now=clock.now())) is not None:
        try:
            stripe_customer = gateway.ensure_customer(invoice.customer)
            send.record_stripe_customer(customer=invoice.customer.id, stripe_id=stripe_customer)
            stripe_invoice = gateway.send_invoice(invoice, stripe_customer=stripe_customer)
        except gateway.StripeUnavailable as error:
            send.record_send_failure(invoice=invoice.id, error=str(error), at=at)
            swept.unavailable = str(error)
            break
        except (gateway.StripeRefused, gateway.CardDeclined) as error:
            logger.error("Stripe refused invoice %s: %s", invoice.number, error)
            send.record_send_failure(invoice=invoice.id, error=str(error), at=at)
            swept.fail(f"{invoice.number}: {error}")
        else:
            send.record_sent(invoice=invoice.id, stripe_invoice_id=stripe_invoice, at=at, revision=invoice.revision)
            swept.done += 1
    return swept


def void_invoices(at: datetime, keep_going: KeepGoing = _to_the_end) -> Swept:
    """Make invoices void at Stripe that nobody is to pay there any more, until none is left or Stripe cannot be
    reached. One that somebody paid all the same is booked."""
    swept, clock = Swept(), SweepClock(at)
    while keep_going() and (invoice := stripe_voids.claim_invoice_to_void(at=at, now=clock.now())) is not None:
        try:
            paid = gateway.void_invoice(invoice)
            if paid is not None:
                collect.record_payment(invoice=invoice.id, paid=paid, at=at)
        except gateway.StripeUnavailable as error:
            stripe_voids.record_void_failure(voided=invoice, error=str(error), at=at)
            swept.unavailable = str(error)
            break
        except (gateway.StripeRefused, gateway.CardDeclined, collect.AmountMismatch) as error:
            logger.error("invoice %s could not be made void at Stripe: %s", invoice.id, error)
            stripe_voids.record_void_failure(voided=invoice, error=str(error), at=at)
            swept.fail(f"{invoice.id}: {error}")
        else:
            stripe_voids.record_voided(voided=invoice, at=at)
            swept.done += 1
    return swept


def make_refunds(at: datetime, keep_going: KeepGoing = _to_the_end) -> Swept:
    """Give back what waits to go back to where it came from, and credit Stripe's invoices by it, until none is left or
    Stripe cannot be reached."""
    swept, clock = Swept(), SweepClock(at)
    while keep_going() and (refund := refunds.claim_refund(at=at, now=clock.now())) is not None:
        try:
            there = gateway.make_refund(refund)
        except gateway.StripeUnavailable as error:
            refunds.record_refund_failure(refund=refund.id, error=str(error), at=at)
            swept.unavailable = str(error)
            return swept
        except (gateway.StripeRefused, gateway.CardDeclined) as error:
            logger.error("Stripe refused refund %s: %s", refund.id, error)
            refunds.record_refund_failure(refund=refund.id, error=str(error), at=at)
            swept.fail(f"{refund.id}: {error}")
        else:
            refunds.record_refund(refund=refund.id, there=there, at=at)
            swept.done += 1
    return _credit_refunded_invoices(swept, at, clock, keep_going)


def _credit_refunded_invoices(swept: Swept, at: datetime, clock: SweepClock, keep_going: KeepGoing) -> Swept:
    while keep_going() and (invoice := refunds.claim_invoice_to_credit(at=at, now=clock.now())) is not None:
        try:
            gateway.credit_invoice(invoice)
        except gateway.StripeUnavailable as error:
            refunds.record_credit_failure(refund=invoice.refund, error=str(error), at=at)
            swept.unavailable = str(error)
            break
        except (gateway.StripeRefused, gateway.CardDeclined) as error:
            logger.error("Stripe refused to credit an invoice for %s: %s", invoice.number, error)
            refunds.record_credit_failure(refund=invoice.refund, error=str(error), at=at)
            swept.fail(f"{invoice.number}: {error}")
        else:
            refunds.record_credited(refund=invoice.refund)
    return swept


def collect_invoices(at: datetime, keep_going: KeepGoing = _to_the_end) -> Swept:
    """Charge invoices whose customers have a payment method, until none is due or Stripe cannot be reached."""
    swept, clock = Swept(), SweepClock(at)
    while keep_going() and (charge := collect.claim_invoice_to_collect(at=at, now=clock.now())) is not None:
        try:
            answer = gateway.charge_invoice(charge)
        except gateway.StripeUnavailable as error:
            collect.record_collect_unknown(invoice=charge.invoice, at=at)
            swept.unavailable = str(error)
            break
        except gateway.StripeRefused as error:
            logger.error("Stripe refused to charge %s: %s", charge.invoice, error)
            collect.record_collect_refused(charge=charge, at=at)
            swept.fail(f"{charge.invoice}: {error}")
            continue
        if isinstance(answer, Paid):
            _record_paid(charge, answer, at, swept)
        else:
            collect.record_declined(charge=charge, declined=answer, at=at)
            swept.fail(f"{charge.invoice}: {answer.message}")
    return swept


def _record_paid(charge: ChargeToMake, paid: Paid, at: datetime, swept: Swept) -> None:
    try:
        collect.record_payment(invoice=charge.invoice, paid=paid, at=at, payment_method=charge.payment_method)
        swept.done += 1
    except collect.AmountMismatch as error:
        park_customer(customers=[error.customer], reason=str(error), at=at)
        swept.fail(f"customer parked: {error}")


def work_off_inbox(at: datetime, keep_going: KeepGoing = _to_the_end) -> Swept:
    """Work off Stripe's events, in whatever order they came."""
    swept, clock = Swept(), SweepClock(at)
    while keep_going() and (event := inbox.claim_event(at=at, now=clock.now())) is not None:
        try:
            inbox.work_off(event=event, at=at)
        except Exception as error:
            logger.exception("could not work off %s", event.stripe_event_id)
            inbox.record_inbox_failure(event=event, error=f"{type(error).__name__}: {error}", at=at)
            if isinstance(error, collect.AmountMismatch):
                park_customer(customers=[error.customer], reason=str(error), at=at)
            swept.fail(f"{event.stripe_event_id}: {error}")
        else:
            gateway.mirror_event(event.payload)
            swept.done += 1
    return swept


def go_on_with_checkouts(at: datetime, keep_going: KeepGoing = _to_the_end) -> Swept:
    """Take checkouts as far as they go without their buyers: subscribe, take or release what is held, expire."""
    swept, clock = Swept(), SweepClock(at)
    while keep_going() and (checkout := checkout_rules.claim_checkout(at=at, now=clock.now())) is not None:
        try:
            after, _ = checkouts.go_on(checkout, at=at)
        except gateway.StripeUnavailable as error:
            checkout_rules.record_step_failure(claimed=checkout, error=str(error), at=at)
            swept.unavailable = str(error)
            break
        except Exception as error:
            logger.exception("checkout %s could not go on", checkout)
            checkout_rules.record_step_failure(claimed=checkout, error=f"{type(error).__name__}: {error}", at=at)
            swept.fail(f"{checkout}: {error}")
        else:
            checkout_rules.wait_for_buyer(claimed=checkout, at=at)
            swept.done += after.settled_at is not None
    return swept


# In the order in which one feeds the next. Those of Stripe are left out of a run once it cannot be reached.
BOOK_SWEEPS: dict[str, Callable[[datetime], Swept]] = {
    "attribute": attribute,
    "count": count,
    "refill": refill,
    "scheduled changes": apply_scheduled_changes,
    "close": close,
    "finalize": finalize_drafts,
    "months": settle_months,
    "late usage": look_for_late_usage,
}
STRIPE_SWEEPS: dict[str, Callable[..., Swept]] = {
    "checkout": go_on_with_checkouts,
    "void": void_invoices,
    "send": send_invoices,
    "collect": collect_invoices,
    "refund": make_refunds,
    "inbox": work_off_inbox,
}


def sweep_books() -> dict[str, int]:
    """Attribute, count, refill, change, close, finalize, settle months and look for late usage as far as it is due;
    scheduled every minute."""
    return {name: run(timezone.now()).done for name, run in BOOK_SWEEPS.items()}


def sweep_send() -> dict[str, int]:
    """Make invoices void at Stripe and send others there; scheduled every minute, apart from the other sweeps, so that
    none waits for another."""
    return _run_for_a_while("void") | _run_for_a_while("send")


def sweep_collect() -> dict[str, int]:
    """Charge invoices, and give money back; scheduled every minute."""
    return _run_for_a_while("collect") | _run_for_a_while("refund")


def sweep_checkout() -> dict[str, int]:
    """Go on with checkouts; scheduled every minute. Mostly the buyer's own browser was faster."""
    return _run_for_a_while("checkout")


def sweep_inbox() -> dict[str, int]:
    """Work off Stripe's events; scheduled every minute."""
    return _run_for_a_while("inbox")


def prove_books() -> int:
    """Queue a task for each invariant of the books; scheduled once a day. Each reads whole tables, so each has a
    time-out of its own, and one that does not end shows among the failed tasks."""
    for invariant in INVARIANTS:
        async_task("billing.jobs.prove_invariant", invariant)
    return len(INVARIANTS)


def prove_invariant(name: str) -> int:
    """Check one invariant of the books, log the rows that break it, and return how many they are."""
    outcome = INVARIANTS[name](timezone.now())
    for offender in outcome.offenders:
        logger.error("books: %s: %s", name, offender)
    return len(outcome.offenders)


def _run_for_a_while(name: str) -> dict[str, int]:
    deadline = monotonic() + SECONDS_PER_RUN
    swept = STRIPE_SWEEPS[name](timezone.now(), lambda: monotonic() < deadline)
    if swept.unavailable:
        logger.warning("sweep %s stopped: %s", name, swept.unavailable)
    return {name: swept.done}
