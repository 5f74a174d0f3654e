import json
from argparse import ArgumentParser
from datetime import UTC, date, datetime, time
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet
from django.utils import timezone

from billing import gateway
from billing.jobs.reconcile_sweep import reconcile_with_stripe
from billing.jobs.swept import SweepClock
from billing.models import Difference, Reconciliation
from billing.services import reconcile

UNREACHABLE = 2


class Command(BaseCommand):
    help = (
        "Compare our invoices, payments and refunds with Stripe's and print what differs; exit 1 if anything does, "
        "2 if Stripe cannot be reached. It repairs nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--since", metavar="DATE", help="only what was made from this day on, such as 2026-03-01")
        parser.add_argument("--json", action="store_true", help="print the differences as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        at = timezone.now()
        run = reconcile.begin(since=_read_day(options["since"], at), at=at)
        try:
            reconcile_with_stripe(run, SweepClock(at))
        except gateway.StripeUnavailable as error:
            message = f"Stripe cannot be reached, so nothing was compared: {error}"
            raise CommandError(message, returncode=UNREACHABLE) from error
        except gateway.StripeRefused as error:
            raise CommandError(f"Stripe refuses to be read: {error}", returncode=UNREACHABLE) from error
        finally:
            reconcile.abandon(run)
        assert run.finished_at is not None
        found = Difference.objects.filter(resolved_at=None, last_seen_at=run.finished_at).order_by("kind", "made_at")
        self.stdout.write(_as_json(run, found) if options["json"] else _as_table(run, found))
        if run.unsettled or found.exists():
            raise SystemExit(1)


def _read_day(text: str | None, at: datetime) -> datetime | None:
    """Read a day, as its first instant in UTC."""
    if text is None:
        return None
    try:
        since = datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError as error:
        raise CommandError(f"--since {text!r} is no day; write it like 2026-03-01.") from error
    if since >= at - reconcile.UNDER_WAY:
        raise CommandError(f"--since {text} has just begun or lies ahead: nothing can be compared since then.")
    return since


def _as_json(run: Reconciliation, found: QuerySet[Difference]) -> str:
    rows = [
        {
            "kind": one.kind,
            "objectType": one.object_type,
            "objectId": one.object_id or None,
            "stripeId": one.stripe_id or None,
            "ours": one.ours,
            "theirs": one.theirs,
            "firstSeenAt": one.first_seen_at.isoformat(),
        }
        for one in found
    ]
    return json.dumps({"read": run.read, "unsettled": run.unsettled, "differences": rows}, indent=2)


def _as_table(run: Reconciliation, found: QuerySet[Difference]) -> str:
    scope = f"since {run.since:%Y-%m-%d}" if run.since else "from the beginning"
    lines = [f"Read {run.read:,} objects at Stripe, {scope} until {run.until:%Y-%m-%d %H:%M} UTC."]
    if found:
        rows = [
            ("Difference", "Ours", "At Stripe", "We say", "Stripe says"),
            *((one.get_kind_display(), one.object_id, one.stripe_id, one.ours, one.theirs) for one in found),
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        lines += ["", *("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows), ""]
        lines.append(f"{len(rows) - 1:,} differences. What to do about each stands in the admin, under System.")
    elif not run.unsettled:
        lines.append("Nothing differs.")
    if run.unsettled:
        lines.append(
            f"{run.unsettled:,} more seem to differ, too many to look at each. "
            "Is STRIPE_SECRET_KEY a key of the account that the invoices were sent to?"
        )
    return "\n".join(lines)
