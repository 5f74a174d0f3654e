from collections.abc import Callable, Iterator

import pytest
from django.utils import timezone

from billing.services.subscribe import subscribe
from plans.models import Merchant
from plans.services.time_zone import billing_zone
from tests.factories import CustomerFactory
from tests.pro_plan import make_pro_plan


@pytest.fixture
def in_billing_zone(db: None, settings) -> Iterator[Callable[[str], None]]:
    """Set the database up with another billing time zone, as if it had been migrated with it."""

    def move(zone: str) -> None:
        Merchant.objects.update(billing_time_zone=zone)
        settings.BILLING_TIME_ZONE = zone
        billing_zone.cache_clear()

    yield move
    billing_zone.cache_clear()


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def customer(pro):
    customer = CustomerFactory()
    subscribe(at=timezone.now(), customer=customer, plan=pro.plan)
    return customer
