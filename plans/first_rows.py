"""Rows that every database has: they are made whenever it has been migrated (or flushed)."""

from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from plans.models import Merchant


def make_merchant(using: str, **_: Any) -> None:
    """Make the one merchant with today's BILLING_TIME_ZONE, once there is a table for it."""
    if Merchant._meta.db_table not in connections[using].introspection.table_names():
        return
    try:
        ZoneInfo(settings.BILLING_TIME_ZONE)
    except (ZoneInfoNotFoundError, ValueError):
        raise ImproperlyConfigured(
            f"BILLING_TIME_ZONE is {settings.BILLING_TIME_ZONE!r}, which is no IANA time zone such as Europe/Berlin."
        ) from None
    Merchant.objects.using(using).get_or_create(defaults={"billing_time_zone": settings.BILLING_TIME_ZONE})
