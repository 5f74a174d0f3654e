from decimal import Decimal

from django.db import models
from django.db.models import F, Q

from plans.ids import public_id_field
from plans.models.metrics import Metric
from plans.models.plans import Plan
from plans.money import currency_exponent
from plans.periods import Clock
from plans.pricing import Charge, Tier


class ComponentKind(models.TextChoices):
    """How a component charges: a fee in advance, units in advance (such as seats), or metered usage in arrears."""

    FIXED = "fixed"
    PER_UNIT = "per_unit"
    USAGE = "usage"


class ChargeModel(models.TextChoices):
    """How a quantity becomes money; see `plans.pricing`."""

    PER_UNIT = "per_unit"
    GRADUATED = "graduated"
    VOLUME = "volume"
    PACKAGE = "package"
    PERCENTAGE = "percentage"
    GRADUATED_PERCENTAGE = "graduated_percentage"


class PackageRound(models.TextChoices):
    UP = "up"
    DOWN = "down"


class DivideRound(models.TextChoices):
    NONE = "none"
    UP = "up"
    DOWN = "down"
    HALF_UP = "half_up"


class Frequency(models.TextChoices):
    DAILY = "DAILY"
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


def _units(**options: object) -> models.DecimalField:
    return models.DecimalField(max_digits=24, decimal_places=6, **options)  # type: ignore[arg-type]


def _cost(**options: object) -> models.DecimalField:
    return models.DecimalField(max_digits=30, decimal_places=12, **options)  # type: ignore[arg-type]


class PriceComponent(models.Model):
    """One part of a price.

    `amount_cents` is the fee of a fixed component, or what one unit of a plain per-unit component costs, in minor units
    of the price's currency; `unit_cost_cents` the price of one metered unit, with decimals, since sub-cent prices are
    normal. `tiers` holds `{"up_to", "unit_cost_cents" or "rate_percent", "flat_cost_cents"}` with numbers as text, the
    last with an `up_to` of null. What the other terms mean says `plans.pricing.Charge`.

    `recurrence_count` and `recurrence_until` (as the recurrence rule writes it) end its clock.
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
    model = models.CharField(max_length=20, choices=ChargeModel, default=ChargeModel.PER_UNIT)
    unit_cost_cents = _cost(null=True, blank=True)
    tiers = models.JSONField(default=list, blank=True)
    first_tier_flat_at_zero = models.BooleanField(default=False)
    package_size = _units(null=True, blank=True)
    package_cost_cents = _cost(null=True, blank=True)
    package_round = models.CharField(max_length=8, choices=PackageRound, default=PackageRound.UP)
    rate_percent = _cost(null=True, blank=True)
    fixed_cost_cents = _cost(default=0)
    divide_by = _units(null=True, blank=True)
    divide_round = models.CharField(max_length=8, choices=DivideRound, default=DivideRound.NONE)
    included_units = _units(default=0)
    minimum_cents = models.BigIntegerField(null=True, blank=True)
    maximum_cents = models.BigIntegerField(null=True, blank=True)
    minimum_quantity = models.PositiveIntegerField(default=0)
    bill_immediately = models.BooleanField(default=True)
    frequency = models.CharField(max_length=8, choices=Frequency)
    interval = models.PositiveSmallIntegerField(default=1)
    recurrence_count = models.PositiveIntegerField(null=True, blank=True)
    recurrence_until = models.CharField(max_length=16, blank=True)

    class Meta:
        ordering = ["price_id", "position"]
        constraints = [
            models.UniqueConstraint(fields=["price", "component_id"], name="component_id_is_unique_in_its_price"),
            models.UniqueConstraint(fields=["price", "position"], name="component_position_is_unique_in_its_price"),
            models.UniqueConstraint(
                fields=["price", "metric"], condition=Q(kind="usage"), name="price_prices_a_metric_once"
            ),
            models.CheckConstraint(
                condition=Q(kind="fixed", amount_cents__isnull=False, metric=None, model="per_unit")
                | Q(kind="per_unit")
                | Q(kind="usage", metric__isnull=False, amount_cents=None),
                name="component_has_what_its_kind_needs",
            ),
            models.CheckConstraint(
                condition=Q(model="per_unit", unit_cost_cents__isnull=False, amount_cents=None)
                | Q(model="per_unit", unit_cost_cents=None, amount_cents__isnull=False)
                | Q(model="package", package_size__isnull=False, package_size__gt=0, package_cost_cents__isnull=False)
                | Q(model="percentage", rate_percent__isnull=False)
                | Q(model__in=["graduated", "volume", "graduated_percentage"]) & ~Q(tiers=[]),
                name="component_has_what_its_model_needs",
            ),
            models.CheckConstraint(
                condition=(Q(amount_cents=None) | Q(amount_cents__gte=0))
                & (Q(unit_cost_cents=None) | Q(unit_cost_cents__gte=0))
                & (Q(package_cost_cents=None) | Q(package_cost_cents__gte=0))
                & (Q(rate_percent=None) | Q(rate_percent__gte=0))
                & (Q(divide_by=None) | Q(divide_by__gt=0))
                & (Q(minimum_cents=None) | Q(minimum_cents__gte=0))
                & (Q(maximum_cents=None) | Q(maximum_cents__gte=0))
                & Q(fixed_cost_cents__gte=0, included_units__gte=0),
                name="component_has_no_negative_terms",
            ),
            models.CheckConstraint(
                condition=Q(minimum_cents=None) | Q(maximum_cents=None) | Q(maximum_cents__gte=F("minimum_cents")),
                name="component_maximum_is_not_below_its_minimum",
            ),
            models.CheckConstraint(condition=Q(interval__gte=1), name="component_interval_is_positive"),
        ]

    @property
    def clock(self) -> Clock:
        """The rule that gives the boundaries of its periods."""
        return Clock(
            frequency=self.frequency,
            interval=self.interval,
            count=self.recurrence_count,
            until=self.recurrence_until or None,
        )

    @property
    def title(self) -> str:
        """The words for an invoice line."""
        return self.label or self.component_name or _TITLES[self.kind]

    def charge(self, currency: str) -> Charge:
        """How its quantity becomes money in the currency of its price."""
        given = {
            "unit_cost_cents": self.unit_cost_cents if self.unit_cost_cents is not None else self.amount_cents,
            "package_size": self.package_size,
            "package_cost_cents": self.package_cost_cents,
            "rate_percent": self.rate_percent,
        }
        return Charge(
            model=self.model,
            tiers=tuple(_tier(words) for words in self.tiers),
            first_tier_flat_at_zero=self.first_tier_flat_at_zero,
            package_round=self.package_round,
            fixed_cost_cents=Decimal(self.fixed_cost_cents),
            divide_by=self.divide_by,
            divide_round=self.divide_round,
            included_units=Decimal(self.included_units),
            minimum_cents=self.minimum_cents,
            maximum_cents=self.maximum_cents,
            minor_per_major=10 ** currency_exponent(currency),
            **{name: Decimal(value) for name, value in given.items() if value is not None},
        )

    def __str__(self) -> str:
        return self.title


_TITLES: dict[str, str] = {
    ComponentKind.FIXED: "Base fee",
    ComponentKind.PER_UNIT: "Units",
    ComponentKind.USAGE: "Usage",
}


def _tier(words: dict[str, str | None]) -> Tier:
    numbers = {name: Decimal(text) for name, text in words.items() if text is not None}
    return Tier(**{"up_to": None} | numbers)  # type: ignore[arg-type]  # the open end alone has no number
