from django.db import models
from django.db.models import Q

from plans.ids import public_id_field


class Aggregation(models.TextChoices):
    COUNT = "COUNT"
    SUM = "SUM"


class ValueType(models.TextChoices):
    NUMERIC = "NUMERIC"
    STRING = "STRING"


class MetricQuerySet(models.QuerySet["Metric"]):
    def live(self) -> "MetricQuerySet":
        """Metrics that are not deleted."""
        return self.filter(deleted_at__isnull=True)


class Metric(models.Model):
    """What is counted: the events of one name, by COUNT or as the SUM of their values."""

    public_id = public_id_field("met_")
    name = models.CharField(max_length=100)
    description = models.TextField(blank=True)
    aggregation_type = models.CharField(max_length=16, choices=Aggregation)
    event_name = models.CharField(max_length=255)
    value_type = models.CharField(max_length=16, choices=ValueType, default=ValueType.NUMERIC)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = MetricQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["event_name"], condition=Q(deleted_at__isnull=True), name="metric_live_event_name")
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(aggregation_type__in=Aggregation.values), name="metric_aggregation_is_known"
            ),
        ]

    def __str__(self) -> str:
        return self.name
