from collections.abc import Callable, Iterator

import pytest

from plans.models import Merchant
from plans.services.time_zone import billing_zone


@pytest.fixture
def in_billing_zone(db: None, settings) -> Iterator[Callable[[str], None]]:
    """Set the database up with another billing time zone, as if it had been migrated with it."""

    def move(zone: str) -> None:
        Merchant.objects.update(billing_time_zone=zone)
        settings.BILLING_TIME_ZONE = zone
        billing_zone.cache_clear()

    yield move
    billing_zone.cache_clear()
