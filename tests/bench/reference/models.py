from typing import ClassVar

from django.db import models

from plans.models import Customer


class ReferenceEvent(models.Model):
    """An event as one would write it first: the columns and indexes of ours, and no roll-up."""

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="+", db_index=False)
    event_name = models.CharField(max_length=255)
    value = models.DecimalField(max_digits=24, decimal_places=6, default=1)
    occurred_at = models.DateTimeField()
    idempotency_key = models.CharField(max_length=255)
    properties = models.JSONField(default=dict)
    received_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager["ReferenceEvent"]] = models.Manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["customer", "idempotency_key"], name="reference_event_once")]
        indexes = [models.Index(fields=["event_name", "customer", "occurred_at"], name="reference_event_time")]

    def __str__(self) -> str:
        return f"{self.event_name} {self.idempotency_key}"
