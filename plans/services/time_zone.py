from functools import cache
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from plans.models import Merchant


@cache
def billing_zone() -> ZoneInfo:
    """Return the time zone whose midnights bound periods and days of usage.

    It was frozen when the database was first migrated. Raises ImproperlyConfigured when the setting says otherwise,
    since every stored period and day of usage would change its meaning.
    """
    frozen = Merchant.objects.values_list("billing_time_zone", flat=True).get()
    if frozen != settings.BILLING_TIME_ZONE:
        raise ImproperlyConfigured(
            f"BILLING_TIME_ZONE is {settings.BILLING_TIME_ZONE}, but this database was set up with {frozen}: its "
            f"periods and days of usage end at midnight there. Set BILLING_TIME_ZONE={frozen}."
        )
    return ZoneInfo(frozen)
