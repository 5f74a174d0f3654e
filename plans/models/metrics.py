from django.db import models
from django.db.models import Q

from plans.ids import public_id_field
from plans.json_values import NumberKeepingEncoder


class Aggregation(models.TextChoices):
    """How events become one number: how many there are, or their values' sum, greatest, least, mean, how many
    different ones, or the latest."""

    COUNT = "COUNT"
    SUM = "SUM"
    MAX = "MAX"
    MIN = "MIN"
    AVG = "AVG"
    UNIQUE_COUNT = "UNIQUE_COUNT"
    LAST = "LAST"


# Those whose numbers of two stretches of time add up to that of both: only they can be cut into segments.
ADDITIVE = (Aggregation.COUNT, Aggregation.SUM)
# Those whose number is an amount that credits can pay for.
BURNABLE = (*ADDITIVE, Aggregation.UNIQUE_COUNT, Aggregation.MAX)
# Those that count something even where the value is a text.
COUNTING = (Aggregation.COUNT, Aggregation.UNIQUE_COUNT)


class ValueType(models.TextChoices):
    NUMERIC = "NUMERIC"
    STRING = "STRING"


class MetricManager(models.Manager["Metric"]):
    def get_queryset(self) -> "MetricQuerySet":
        # What a metric counts stands in its version, and hardly anybody asks for a metric without it.
        return MetricQuerySet(self.model, using=self._db).select_related("current")


class MetricQuerySet(models.QuerySet["Metric"]):
    def live(self) -> "MetricQuerySet":
        """Metrics that are not deleted."""
        return self.filter(deleted_at__isnull=True)


class Metric(models.Model):
    """What is measured. How its events become a number never changes; which events they are is said by its versions.

    `current` is the version that periods which are not over are counted by.
    """

    public_id = public_id_field("met_")
    name = models.CharField(max_length=100)
    description = models.TextField(blank=True)
    aggregation_type = models.CharField(max_length=16, choices=Aggregation)
    value_type = models.CharField(max_length=16, choices=ValueType, default=ValueType.NUMERIC)
    current = models.OneToOneField(
        "plans.MetricVersion", on_delete=models.PROTECT, null=True, related_name="+", editable=False
    )
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = MetricManager.from_queryset(MetricQuerySet)()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(aggregation_type__in=Aggregation.values), name="metric_aggregation_is_known"
            ),
        ]

    @property
    def event_name(self) -> str:
        """The name of the events that it counts."""
        assert self.current is not None
        return self.current.event_name

    @property
    def is_additive(self) -> bool:
        """Tell whether its numbers of two stretches of time add up to that of both."""
        return self.aggregation_type in ADDITIVE

    def __str__(self) -> str:
        return self.name


class MetricVersion(models.Model):
    """Which events a metric counts: those of one name, whose properties pass a filter, by value or by a property.

    `property_filter` maps a property to the list of values (texts, numbers, switches) of which it must have one. With
    `value_property` that property is aggregated instead of the event's value. Immutable but for its building.

    `built_at` is NULL until a job has counted the events that were there before it; `built_customer_id` and
    `built_until` say how far that job has come, `events_built` of `events_to_build` how much of it is done.
    `effective_at` is NULL until it has become the current one: it counts for periods that end after that instant.
    """

    metric = models.ForeignKey(Metric, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField(default=1)
    event_name = models.CharField(max_length=255)
    property_filter = models.JSONField(default=dict, blank=True, encoder=NumberKeepingEncoder)
    value_property = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField()
    effective_at = models.DateTimeField(null=True, blank=True)
    built_at = models.DateTimeField(null=True, blank=True)
    built_customer_id = models.BigIntegerField(default=0)
    built_until = models.DateTimeField(null=True, blank=True)
    events_to_build = models.BigIntegerField(default=0)
    events_built = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["metric", "number"], name="metric_version_number_is_unique"),
            models.UniqueConstraint(
                fields=["metric"], condition=Q(effective_at__isnull=True), name="metric_has_one_version_to_come"
            ),
        ]
        indexes = [
            models.Index(fields=["event_name"], name="metric_version_event_name"),
            models.Index(fields=["id"], condition=Q(built_at__isnull=True), name="metric_version_to_build"),
        ]

    @property
    def percent_built(self) -> int:
        """How much of its building is done; 100 only when it is over."""
        if self.built_at is not None:
            return 100
        return min(self.events_built * 100 // self.events_to_build, 99) if self.events_to_build else 0

    def __str__(self) -> str:
        return f"{self.metric}, version {self.number}"
