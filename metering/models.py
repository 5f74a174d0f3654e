from django.db import models
from django.db.models import Q

from plans.ids import public_id_of
from plans.models import Customer, Metric

EVENT_PREFIX = "evt_"


class UsageEvent(models.Model):
    """One thing that happened, as the client reported it. Rows are never changed but for their attribution.

    An event is unattributed (`customer` NULL) while nobody has the external id that it was addressed to.
    `timestamp_given` says whether `occurred_at` came from the client, since only then it is part of the content that a
    repeated idempotency key is compared with.
    """

    # No database constraint: the statement that records an event takes the key from the customer's row itself, and
    # checking it again would lock that row once per event.
    customer = models.ForeignKey(
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
            models.UniqueConstraint(fields=["customer", "idempotency_key"], name="event_is_recorded_once"),
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
        ]

    @property
    def public_id(self) -> str:
        return public_id_of(EVENT_PREFIX, self.pk)

    def __str__(self) -> str:
        return f"{self.event_name} {self.idempotency_key}"


class UsageDay(models.Model):
    """A customer's usage of one metric on one day of the billing time zone, kept by the statement that records events.

    `total` is the sum of the events' values, `events` their number.
    """

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+", db_index=False)
    metric = models.ForeignKey(Metric, on_delete=models.PROTECT, related_name="+", db_index=False)
    day = models.DateField()
    events = models.BigIntegerField()
    total = models.DecimalField(max_digits=38, decimal_places=6)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["customer", "metric", "day"], name="usage_day_is_one_row"),
        ]

    def __str__(self) -> str:
        return f"{self.day}: {self.total}"
