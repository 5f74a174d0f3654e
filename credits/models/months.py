from django.db import models
from django.db.models import F, Q

from credits.months import gap_key
from plans.models import Customer, Metric


class CalendarMonth(models.Model):
    """A calendar month of the billing time zone, or the stretch `[start_at, end_at)` of one, in which no stored period
    covers a customer's usage of a metric.

    `settled_at` is NULL on the one that is settled next: all such usage before its start is settled, and its `end_at`
    is the end of its month. When it is settled, `usage` is what was used in it, in metered units, of which `credited`
    burned grants. Number 0 is the settlement; others are what was found later, signed. Where no grant had units
    left there is no row. `late_usage_closed_at` is NULL until it was looked at for the last time.
    """

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+", db_index=False)
    metric = models.ForeignKey(Metric, on_delete=models.PROTECT, related_name="+", db_index=False)
    number = models.PositiveIntegerField(default=0)
    start_at = models.DateTimeField()
    end_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True, blank=True)
    usage = models.DecimalField(max_digits=38, decimal_places=6, null=True, blank=True)
    credited = models.DecimalField(max_digits=38, decimal_places=6, null=True, blank=True)
    late_usage_closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["customer", "metric", "start_at", "number"], name="month_is_settled_once"),
            models.UniqueConstraint(
                fields=["customer", "metric"], condition=Q(settled_at=None), name="one_month_is_settled_next"
            ),
            models.CheckConstraint(condition=Q(end_at__gt=F("start_at")), name="month_ends_after_its_start"),
            models.CheckConstraint(
                condition=Q(settled_at=None, usage=None, credited=None, number=0)
                | Q(settled_at__isnull=False, usage__isnull=False, credited__isnull=False)
                & (Q(number__gt=0) | Q(usage__gte=F("credited"), credited__gte=0)),
                name="settled_month_says_with_what",
            ),
        ]
        indexes = [
            models.Index(fields=["end_at"], condition=Q(settled_at=None), name="month_to_settle"),
            models.Index(
                fields=["end_at"],
                condition=Q(settled_at__isnull=False, number=0, late_usage_closed_at=None),
                name="month_to_look_at",
            ),
        ]

    @property
    def key(self) -> int:
        """What the position of its customer and metric knows it by."""
        return gap_key(self.end_at)

    @property
    def pair(self) -> tuple[int, int]:
        """Its customer and metric, by their keys."""
        return (self.customer_id, self.metric_id)

    def __str__(self) -> str:
        return f"{self.start_at:%Y-%m-%d}–{self.end_at:%Y-%m-%d}"
