from datetime import datetime
from typing import Any

from django.db import connection, transaction

from metering.usage_sql import ATTRIBUTE_EVENTS
from plans.models import Customer
from plans.services.customers import create_customer
from plans.services.time_zone import billing_zone

EVENTS_PER_STATEMENT = 10_000


@transaction.atomic
def register_customer(*, at: datetime, name: str, **details: Any) -> Customer:
    """Create a customer and give it the events that arrived for its external id before. Refuses as create_customer."""
    customer = create_customer(at=at, name=name, **details)
    if customer.external_customer_id:
        while attribute_events(customer=customer) == EVENTS_PER_STATEMENT:
            pass
    return customer


def attribute_events(*, customer: Customer | None = None, limit: int = EVENTS_PER_STATEMENT) -> int:
    """Give unattributed events to the customers (or one customer) with their external ids, count them, and return how
    many: at most `limit`.

    Swept as well: an event may be committed unattributed while its customer is being created.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            ATTRIBUTE_EVENTS,
            {"customer": None if customer is None else customer.pk, "limit": limit, "zone": billing_zone().key},
        )
        (attributed,) = cursor.fetchone()
    return attributed
