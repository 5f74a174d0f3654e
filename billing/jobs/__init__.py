"""What django-q2 runs, and the sweeps it consists of: each asks the tables what is due and works it off. They may run
twice, together, late, or be killed.

A sweep is given the clock, calls rules and (between transactions) the gateway, and returns how much it did.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from time import monotonic

from django.utils import timezone
from django_q.tasks import async_task

from billing.books import INVARIANTS
from billing.jobs.book_sweeps import (
    apply_scheduled_changes,
    attribute,
    close,
    count,
    end_dunning,
    finalize_drafts,
    look_for_late_usage,
    refill,
    settle_months,
    top_up,
)
from billing.jobs.mail_sweeps import send_mails
from billing.jobs.reconcile_sweep import reconcile_nightly
from billing.jobs.stripe_sweeps import (
    collect_invoices,
    go_on_with_checkouts,
    make_refunds,
    send_invoices,
    void_invoices,
    work_off_inbox,
)
from billing.jobs.swept import Swept

logger = logging.getLogger(__name__)

# A scheduled sweep that waits for Stripe or a mail server stops by itself before the task's time-out, also where a task
# runs two of them, and the next one goes on where it stopped.
SECONDS_PER_RUN = 120

TOP_UP = "top-up"

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
    "dunning": end_dunning,
    TOP_UP: top_up,
}
STRIPE_SWEEPS: dict[str, Callable[..., Swept]] = {
    "checkout": go_on_with_checkouts,
    "void": void_invoices,
    "send": send_invoices,
    "collect": collect_invoices,
    "refund": make_refunds,
    "inbox": work_off_inbox,
}
MAIL_SWEEPS: dict[str, Callable[..., Swept]] = {"mail": send_mails}


def sweep_books() -> dict[str, int]:
    """Attribute, count, refill, change, close, finalize, settle months, look for late usage and end dunning as far as
    it is due; scheduled every minute."""
    return {name: run(timezone.now()).done for name, run in BOOK_SWEEPS.items() if name != TOP_UP}


def sweep_top_up() -> dict[str, int]:
    """Top balances up, and have what was bought sent and charged at once; scheduled every minute, apart from the other
    sweeps, since somebody may be waiting for the units."""
    bought = BOOK_SWEEPS[TOP_UP](timezone.now()).done
    charged = _run_for_a_while("send") | _run_for_a_while("collect") if bought else {}
    return {TOP_UP: bought} | charged


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


def reconcile() -> dict[str, int]:
    """Compare a slice of what is here with Stripe, unless this night's comparison is done; scheduled every five
    minutes. What differs is listed, not repaired."""
    return _report("reconcile", reconcile_nightly)


def sweep_mail() -> dict[str, int]:
    """Send mails; scheduled every minute."""
    return _run_for_a_while("mail")


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
    return _report(name, (STRIPE_SWEEPS | MAIL_SWEEPS)[name])


def _report(name: str, sweep: Callable[..., Swept]) -> dict[str, int]:
    deadline = monotonic() + SECONDS_PER_RUN
    swept = sweep(timezone.now(), lambda: monotonic() < deadline)
    if swept.unavailable:
        logger.warning("sweep %s stopped: %s", name, swept.unavailable)
    return {name: swept.done}
