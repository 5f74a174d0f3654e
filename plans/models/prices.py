from django.db import models
from django.db.models import Q

from plans.ids import public_id_field
from plans.models.metrics import Metric
from plans.models.plans import Plan
from plans.periods import Clock


class ComponentKind(models.TextChoices):
    """How a component charges: a fee in advance, or metered usage in arrears."""

    FIXED = "fixed"
    USAGE = "usage"


class Frequency(models.TextChoices):
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    YEARLY = "YEARLY"


class PriceQuerySet(models.QuerySet["Price"]):
    def live(self) -> "PriceQuerySet":
        """Prices that are not deleted."""
        return self.filter(deleted_at__isnull=True)


class Price(models.Model):
    """What a plan version costs in one currency. Its components never change; another price is another row."""

    public_id = public_id_field("price_")
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="prices")
    currency = models.CharField(max_length=3)
    is_override_price = models.BooleanField(default=False)
    cloned_from = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="clones")
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = PriceQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.plan} in {self.currency}"


class PriceComponent(models.Model):
    """One part of a price.

    `amount_cents` is the fee of a fixed component in minor units of the price's currency; `unit_cost_cents` the
    price of one metered unit, with decimals, since sub-cent prices are normal.
    """

    price = models.ForeignKey(Price, on_delete=models.CASCADE, related_name="components")
    component_id = models.CharField(max_length=80)
    position = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=16, choices=ComponentKind)
    component_name = models.CharField(max_length=120, blank=True)
    label = models.CharField(max_length=200, blank=True)
    unit_label = models.CharField(max_length=60, blank=True)
    metric = models.ForeignKey(Metric, on_delete=models.PROTECT, null=True, blank=True, related_name="components")
    amount_cents = models.BigIntegerField(null=True, blank=True)
    unit_cost_cents = models.DecimalField(max_digits=30, decimal_places=12, null=True, blank=True)
    frequency = models.CharField(max_length=8, choices=Frequency)
    interval = models.PositiveSmallIntegerField(default=1)

    class Meta:
        ordering = ["price_id", "position"]
        constraints = [
            models.UniqueConstraint(fields=["price", "component_id"], name="component_id_is_unique_in_its_price"),
            models.UniqueConstraint(fields=["price", "position"], name="component_position_is_unique_in_its_price"),
            models.UniqueConstraint(
                fields=["price", "metric"], condition=Q(kind="usage"), name="price_prices_a_metric_once"
            ),
            models.CheckConstraint(
                condition=Q(
                    kind="fixed", amount_cents__isnull=False, amount_cents__gte=0, metric=None, unit_cost_cents=None
                )
                | Q(
                    kind="usage",
                    unit_cost_cents__isnull=False,
                    unit_cost_cents__gte=0,
                    metric__isnull=False,
                    amount_cents=None,
                ),
                name="component_has_what_its_kind_needs",
            ),
            models.CheckConstraint(condition=Q(interval__gte=1), name="component_interval_is_positive"),
        ]

    @property
    def clock(self) -> Clock:
        """The rule that gives the boundaries of its periods."""
        return Clock(frequency=self.frequency, interval=self.interval)

    @property
    def title(self) -> str:
        """The words for an invoice line."""
        return self.label or self.component_name or ("Base fee" if self.kind == ComponentKind.FIXED else "Usage")

    def __str__(self) -> str:
        return self.title
