from datetime import timedelta

from django.db import models
from django.db.models import DurationField, ExpressionWrapper, F, Q
from django.db.models.functions import Coalesce
from django.db.models.lookups import GreaterThan

from plans.ids import public_id_of
from plans.models import Customer, MetricVersion

EVENT_PREFIX = "evt_"

# Few events do: what looks for usage that came too late need not look through the others.
ARRIVED_MUCH_LATER = Q(
    GreaterThan(ExpressionWrapper(F("received_at") - F("occurred_at"), output_field=DurationField()), timedelta(days=1))
)


class UsageEvent(models.Model):
    """One thing that happened, as the client reported it. Rows are never changed but for their attribution.

    `customer` is whom it counts for. An event of somebody who has a seat in an organization counts for that
    organization's primary customer, and `member` says whose it is. It is unattributed (`customer` NULL) while nobody
    has the external id that it was addressed to.
    `timestamp_given` says whether `occurred_at` came from the client, since only then it is part of the content that a
    repeated idempotency key is compared with.
    """

    # No database constraint: the statement that records an event takes the key from the customer's row itself, and
    # checking it again would lock that row once per event.
    customer = models.ForeignKey(
        Customer, on_delete=models.DO_NOTHING, null=True, db_constraint=False, db_index=False, related_name="+"
    )
    member = models.ForeignKey(
        Customer, on_delete=models.DO_NOTHING, null=True, db_constraint=False, db_index=False, related_name="+"
    )
    external_customer_id = models.CharField(max_length=255, null=True)
    event_name = models.CharField(max_length=255)
    value = models.DecimalField(max_digits=24, decimal_places=6, null=True)
    text_value = models.TextField(null=True)
    occurred_at = models.DateTimeField()
    timestamp_given = models.BooleanField()
    idempotency_key = models.CharField(max_length=255)
    properties = models.JSONField(default=dict)
    received_at = models.DateTimeField()

    class Meta:
        constraints = [
            # Per customer or member that it is addressed to.
            models.UniqueConstraint(Coalesce("member", "customer"), "idempotency_key", name="event_is_recorded_once"),
            models.UniqueConstraint(
                fields=["external_customer_id", "idempotency_key"],
                condition=Q(customer__isnull=True),
                name="unattributed_event_is_recorded_once",
            ),
            models.CheckConstraint(
                condition=Q(customer__isnull=False) | Q(external_customer_id__isnull=False),
                name="event_is_addressed_to_somebody",
            ),
            models.CheckConstraint(
                condition=Q(value__isnull=False, text_value=None) | Q(value=None, text_value__isnull=False),
                name="event_has_a_number_or_a_text",
            ),
        ]
        indexes = [
            models.Index(fields=["event_name", "customer", "occurred_at"], name="event_name_customer_time"),
            models.Index(
                fields=["customer", "event_name", "occurred_at"],
                condition=ARRIVED_MUCH_LATER,
                name="event_that_arrived_much_later",
            ),
        ]

    @property
    def public_id(self) -> str:
        return public_id_of(EVENT_PREFIX, self.pk)

    def __str__(self) -> str:
        return f"{self.event_name} {self.idempotency_key}"


class EventVoid(models.Model):
    """The word that an event does not count: a mistake that somebody took back. The event stays, with its key."""

    event = models.OneToOneField(UsageEvent, on_delete=models.PROTECT, primary_key=True, related_name="void")
    reason = models.CharField(max_length=500)
    voided_by = models.CharField(max_length=200)
    voided_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.reason


class UsageDay(models.Model):
    """A customer's usage of one metric on one day of the billing time zone, kept by the statement that records events.

    `events` is the number of events that count, `total` the sum of their numbers; `minimum`, `maximum` and the latest
    number (`last_value`, of the event `last_event_id` at `last_at`) are kept for metrics that ask for them.
    """

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+", db_index=False)
    version = models.ForeignKey(MetricVersion, on_delete=models.PROTECT, related_name="+", db_index=False)
    day = models.DateField()
    events = models.BigIntegerField()
    total = models.DecimalField(max_digits=38, decimal_places=6)
    minimum = models.DecimalField(max_digits=24, decimal_places=6, null=True)
    maximum = models.DecimalField(max_digits=24, decimal_places=6, null=True)
    last_value = models.DecimalField(max_digits=24, decimal_places=6, null=True)
    last_at = models.DateTimeField(null=True)
    last_event_id = models.BigIntegerField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["customer", "version", "day"], name="usage_day_is_one_row"),
        ]

    def __str__(self) -> str:
        return f"{self.day}: {self.total}"


class UsageDayValue(models.Model):
    """One of the different values that a metric of kind UNIQUE_COUNT saw of a customer on a day, as its SHA-256."""

    pk = models.CompositePrimaryKey("customer_id", "version_id", "day", "value_hash")
    customer = models.ForeignKey(
        Customer, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    version = models.ForeignKey(
        MetricVersion, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    day = models.DateField()
    value_hash = models.BinaryField()

    def __str__(self) -> str:
        return f"{self.day}: {bytes(self.value_hash).hex()[:8]}"
