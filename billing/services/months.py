"""When calendar months without a subscription are settled, and looked at for the last time."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import QuerySet

from billing.services.late_usage import window
from credits.models import CalendarMonth
from credits.services.late_months import close_months, settled_months
from credits.services.settle_months import CHUNK, months_that_wait, settle_months


def grace() -> timedelta:
    """How long after its end a month waits for events that arrive a little late."""
    return timedelta(hours=settings.INVOICE_GRACE_HOURS)


def months_to_settle(at: datetime) -> list[int]:
    """Find months whose grace time is over, the earliest first."""
    return _first(months_that_wait().filter(end_at__lte=at - grace()))


def settle(*, months: Iterable[int], at: datetime) -> int:
    """Settle months, and those after them whose grace time is over as well; return how many moved on."""
    return settle_months(months=months, ended_by=at - grace(), at=at)


def months_to_close(at: datetime) -> list[int]:
    """Find settled months whose time for late usage is over, the earliest first."""
    return _first(settled_months().filter(end_at__lte=at - window()))


def close(*, months: Iterable[int], at: datetime) -> int:
    """Look at settled months for the last time, and return how many."""
    return close_months(months=months, at=at)


def _first(months: QuerySet[CalendarMonth]) -> list[int]:
    return list(months.order_by("end_at", "pk").values_list("pk", flat=True)[:CHUNK])
