from django.db import models
from django.db.models import Q

from plans.ids import public_id_field


class StripeInbox(models.Model):
    """A Stripe event that arrived and was checked, kept until a job has worked it off (`processed_at`)."""

    public_id = public_id_field("inbox_")
    stripe_event_id = models.CharField(max_length=255, unique=True)
    type = models.CharField(max_length=120)
    payload = models.JSONField()
    received_at = models.DateTimeField()
    process_at = models.DateTimeField()
    processed_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)

    class Meta:
        verbose_name_plural = "Stripe inbox"
        indexes = [models.Index(fields=["process_at"], condition=Q(processed_at=None), name="inbox_to_process")]

    def __str__(self) -> str:
        return f"{self.type} {self.stripe_event_id}"
