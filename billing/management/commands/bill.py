from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Max
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from billing.bill import BillingRun, bill, rehearse
from billing.models import Invoice
from plans.models import Customer
from plans.words import money_text

WHAT_A_SWEEP_DOES = {
    "attribute": "events given to customers",
    "count": "slices of events counted for metrics",
    "refill": "credits refilled",
    "scheduled changes": "subscriptions changed or ended as scheduled",
    "close": "boundaries closed",
    "finalize": "drafts finalized",
    "months": "calendar months without a subscription settled",
    "late usage": "periods and months looked at for the last time",
    "dunning": "subscriptions stopped unpaid, or resumed when paid",
    "top-up": "packs bought automatically",
    "checkout": "checkouts brought to their end",
    "void": "invoices made void at Stripe",
    "send": "invoices sent to Stripe",
    "collect": "invoices paid",
    "refund": "refunds made",
    "inbox": "Stripe events worked off",
    "mail": "mails sent",
}


class Command(BaseCommand):
    help = "Run every billing sweep in time order until nothing is due, as the scheduler does minute by minute."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--at", metavar="T", help="bill what is due at this instant, such as 2026-03-01T02:00Z (default: now)"
        )
        parser.add_argument("--dry-run", action="store_true", help="show what would be invoiced and change nothing")

    def handle(self, *args: Any, at: str | None, dry_run: bool, **options: Any) -> None:
        now = timezone.now()
        until = now if at is None else _read_instant(at)
        if until > now and _is_live() and not dry_run:
            raise CommandError("--at lies in the future, and this installation charges real cards. It may not.")
        last_known = Invoice.objects.aggregate(last=Max("pk"))["last"] or 0
        if dry_run:
            run = rehearse(until=until, now=now, report=lambda: self._print_invoices(last_known))
            self.stdout.write(f"Dry run: nothing was changed. This is what is due at {until:%Y-%m-%d %H:%M} UTC.")
        else:
            run = bill(until=until, now=now)
            self._print_invoices(last_known)
        self._print_sweeps(run)

    def _print_invoices(self, last_known: int) -> None:
        made = Invoice.objects.shown().filter(pk__gt=last_known).select_related("customer").order_by("closes_at", "pk")
        if made:
            self.stdout.write(f"{'Invoice':<14} {'Closed at':<17} {'Customer':<28} {'Total':>14}  Status")
        for invoice in made:
            self.stdout.write(
                f"{invoice.number or 'draft':<14} {invoice.closes_at:%Y-%m-%d %H:%M}  {invoice.customer.name[:28]:<28} "
                f"{money_text(invoice.total_cents, invoice.currency) if invoice.number else '–':>14}  {invoice.status}"
            )
        if made:
            self.stdout.write("")

    def _print_sweeps(self, run: BillingRun) -> None:
        for name, swept in run.swept.items():
            failed = f", {swept.failed} failed" if swept.failed else ""
            self.stdout.write(f"{name:<18} {swept.done:>6}  {WHAT_A_SWEEP_DOES[name]}{failed}")
            for problem in swept.problems:
                self.stdout.write(f"{'':<18} {'':>6}  · {problem}")
        if run.unavailable:
            self.stdout.write(f"\nStripe cannot be reached, so invoices wait: {run.unavailable}")
        if run.mail_unavailable:
            self.stdout.write(f"\nThe mail server cannot be reached, so mails wait: {run.mail_unavailable}")
        parked = Customer.objects.filter(parked_at__isnull=False).order_by("pk")
        for customer in parked:
            self.stdout.write(f"\nParked, not billed: {customer.public_id} {customer.name}: {customer.parked_reason}")


def _read_instant(text: str) -> datetime:
    try:
        instant = parse_datetime(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise CommandError(f"--at {text!r} is no instant with a time zone; write it like 2026-03-01T02:00:00Z.")
    return instant


def _is_live() -> bool:
    return settings.STRIPE_LIVE_MODE or "_live_" in settings.STRIPE_SECRET_KEY
