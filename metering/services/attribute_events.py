import logging
from datetime import datetime
from typing import Any

from django.db import IntegrityError, connection, transaction

from metering.usage_sql import ATTRIBUTE_EVENTS, CLAIM_UNATTRIBUTED
from plans.models import Customer
from plans.services.customers import create_customer
from plans.services.time_zone import billing_zone

logger = logging.getLogger(__name__)

EVENTS_PER_STATEMENT = 10_000


@transaction.atomic
def register_customer(*, at: datetime, name: str, **details: Any) -> Customer:
    """Create a customer and give it the events that arrived for its external id before. Refuses as create_customer."""
    customer = create_customer(at=at, name=name, **details)
    if customer.external_customer_id:
        try:
            attribute_events(customer=customer)
        except IntegrityError:
            # One of them is sent again in this very instant. The sweep sorts it out; it also takes what is too much
            # for one statement.
            logger.warning("the events that waited for a new customer are left to the next sweep")
    return customer


@transaction.atomic
def attribute_events(*, customer: Customer | None = None, limit: int = EVENTS_PER_STATEMENT) -> int:
    """Give unattributed events to the customers (or one customer) with their external ids, count them, and return how
    many: at most `limit`.

    Swept as well: an event may be committed unattributed while its customer is being created. Raises IntegrityError
    when one of them is sent again at the same moment.
    """
    with connection.cursor() as cursor:
        cursor.execute(CLAIM_UNATTRIBUTED, {"customer": None if customer is None else customer.pk, "limit": limit})
        claimed = [key for (key,) in cursor.fetchall()]
        if not claimed:
            return 0
        cursor.execute(ATTRIBUTE_EVENTS, {"events": claimed, "zone": billing_zone().key})
        (attributed,) = cursor.fetchone()
    return attributed
