"""Every sweep, synchronously and in time order: what the scheduler does over weeks, done in one go."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction

from billing.jobs import BOOK_SWEEPS, MAIL_SWEEPS, STRIPE_SWEEPS, Swept
from billing.services.due import next_due


@dataclass
class BillingRun:
    """What a run did, by sweep. `unavailable` says why Stripe could not be reached; then invoices wait.
    `mail_unavailable` says it of the mail server; then mails do."""

    swept: dict[str, Swept] = field(default_factory=dict)
    unavailable: str = ""
    mail_unavailable: str = ""

    def sweep(self, name: str, work: Callable[[datetime], Swept], at: datetime) -> int:
        """Run one sweep, add up what it did, and return how much that was."""
        now = work(at)
        self.swept.setdefault(name, Swept()).add(now)
        if name in STRIPE_SWEEPS:
            self.unavailable = self.unavailable or now.unavailable
        if name in MAIL_SWEEPS:
            self.mail_unavailable = self.mail_unavailable or now.unavailable
        return now.done + now.failed


def bill(*, until: datetime, now: datetime) -> BillingRun:
    """Run all sweeps in time order until nothing is due at `until`.

    What was due in the past is done as of `now`; what comes due between now and a later `until` is done as of the
    instant at which it does, so that one jump of the clock gives the same invoices as many small ones.
    """
    run = BillingRun({name: Swept() for name in BOOK_SWEEPS | STRIPE_SWEEPS | MAIL_SWEEPS})
    return _step_through(run, until=until, now=now, with_others=True)


def rehearse(*, until: datetime, now: datetime, report: Callable[[], None]) -> BillingRun:
    """Do what `bill` would do to the books, call `report` to look at it, and take it all back. Stripe is not asked,
    and no mail is sent."""
    run = BillingRun({name: Swept() for name in BOOK_SWEEPS})
    with transaction.atomic():
        _step_through(run, until=until, now=now, with_others=False)
        report()
        transaction.set_rollback(True)
    return run


def _step_through(run: BillingRun, *, until: datetime, now: datetime, with_others: bool) -> BillingRun:
    after = None
    for name, work in BOOK_SWEEPS.items():
        run.sweep(name, work, min(now, until))
    while due := next_due(
        until=until,
        after=after,
        with_stripe=with_others and not run.unavailable,
        with_mail=with_others and not run.mail_unavailable,
    ):
        at = max(due, min(now, until))
        done = 0
        for name, work in BOOK_SWEEPS.items():
            done += run.sweep(name, work, at)
        for name, work in STRIPE_SWEEPS.items() if with_others else ():
            if not run.unavailable or name == "inbox":
                done += run.sweep(name, work, at)
        for name, work in MAIL_SWEEPS.items() if with_others and not run.mail_unavailable else ():
            done += run.sweep(name, work, at)
        # What is still due although nothing moved is in other hands; go on with what comes later.
        after = None if done else at
    return run
