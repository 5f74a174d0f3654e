"""What the settings and the processes are held against: the database. Asked for by `--database default` alone, so that
settings can be checked where there is none."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DEFAULT_DB_ALIAS, DatabaseError
from django.utils import timezone
from django_q.models import Schedule

from billing import gateway
from config.schedules import PREFIX
from plans.models import Merchant

# Every minute there is a sweep; what is ten minutes late has nobody who runs it.
LATE = timedelta(minutes=10)


@register(Tags.database, deploy=True)
def check_stored(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Check the time zone, the webhook endpoint, the schedules and whether anybody runs them, where `databases` has the
    default one."""
    if DEFAULT_DB_ALIAS not in (databases or ()):
        return []
    try:
        return [*_time_zone(), *_webhook_endpoint(), *_schedules()]
    except DatabaseError as error:
        return [
            Error(
                f"The database cannot be read: {str(error).splitlines()[0]}",
                hint="See that it runs and that DATABASE_URL leads to it, then run manage.py migrate.",
                id="candela.E040",
            )
        ]


def _time_zone() -> Iterator[CheckMessage]:
    frozen = Merchant.objects.values_list("billing_time_zone", flat=True).get()
    if frozen != settings.BILLING_TIME_ZONE:
        yield Error(
            f"BILLING_TIME_ZONE is {settings.BILLING_TIME_ZONE}, but this database was set up with {frozen}: nothing "
            "is billed.",
            hint=f"Set BILLING_TIME_ZONE={frozen}.",
            id="candela.E041",
        )


def _webhook_endpoint() -> Iterator[CheckMessage]:
    address = f"{settings.PUBLIC_URL.rstrip('/')}/stripe/webhook/"
    if settings.STRIPE_SECRET_KEY and not gateway.knows_webhook_endpoint(address):
        yield Warning(
            f"No webhook endpoint below {address} is known with its signing secret, so Stripe's events are refused: "
            "what is paid, refunded or disputed without us is not seen.",
            hint="Make one with manage.py stripe_setup, which keeps its secret.",
            id="candela.W042",
        )


def _schedules() -> Iterator[CheckMessage]:
    there = dict(Schedule.objects.filter(name__startswith=PREFIX).values_list("name", "next_run"))
    lacking = [entry["name"] for entry in settings.SCHEDULES if entry["name"] not in there]
    if lacking:
        yield Error(
            f"Nobody is billed by itself: the table of schedules lacks {', '.join(lacking)}.",
            hint="Run manage.py sync_schedules.",
            id="candela.E043",
        )
    late = [name for name, next_run in there.items() if next_run is not None and next_run < timezone.now() - LATE]
    if late:
        yield Error(
            f"The job cluster does not run: {', '.join(sorted(late))} was due more than 10 minutes ago.",
            hint="Start manage.py qcluster as a service, and look into its log.",
            id="candela.E044",
        )
