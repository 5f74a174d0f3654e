from datetime import datetime

from django.db import IntegrityError, connection, transaction

from metering.models import EventVoid, UsageEvent
from metering.services.recount_days import recount_days
from plans.models import MetricVersion
from plans.refusals import NotFound
from plans.services.time_zone import billing_zone


class EventNotFound(NotFound):
    code = "event_not_found"


@transaction.atomic
def void_event(*, event_id: int, reason: str, by: str, at: datetime) -> EventVoid:
    """Take an event (by its key) out of all sums, and return the word of it; a second call returns the first one's.

    `by` names who asked. The event itself and its idempotency key stay. Raises EventNotFound.
    """
    # Whoever makes a metric waits for this lock, or has committed it: either it counts what is left, or is found below.
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {UsageEvent._meta.db_table} IN ROW EXCLUSIVE MODE")
    # Whoever attributes the event has this lock first, and it is counted below; or waits, and finds it void.
    event = UsageEvent.objects.select_for_update(no_key=True).filter(pk=event_id).first()
    if event is None:
        raise EventNotFound("Event not found")
    try:
        with transaction.atomic():
            void = EventVoid.objects.create(event=event, reason=reason, voided_by=by, voided_at=at)
    except IntegrityError:
        return EventVoid.objects.get(event=event)
    if event.customer_id is not None:
        day = event.occurred_at.astimezone(billing_zone()).date()
        versions = MetricVersion.objects.filter(event_name=event.event_name, metric__deleted_at__isnull=True)
        for version in versions.order_by("pk"):
            recount_days(version=version, days=[(event.customer_id, day)])
    return void
