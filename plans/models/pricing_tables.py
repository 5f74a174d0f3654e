from django.db import models

from plans.ids import public_id_field
from plans.models.plans import Plan


class PricingTable(models.Model):
    """A public page of plans to choose from."""

    public_id = public_id_field("price_table_")
    name = models.CharField(max_length=200)
    slug = models.SlugField(max_length=80, unique=True)
    description = models.TextField(blank=True)
    heading = models.CharField(max_length=200, blank=True)
    subheading = models.CharField(max_length=300, blank=True)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.name


class PricingTablePlan(models.Model):
    """A plan's place and look on a pricing table."""

    public_id = public_id_field("price_table_plan_")
    pricing_table = models.ForeignKey(PricingTable, on_delete=models.CASCADE, related_name="table_plans")
    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, related_name="table_plans")
    display_order = models.PositiveSmallIntegerField(default=0)
    is_popular = models.BooleanField(default=False)
    popular_text = models.CharField(max_length=40, blank=True)
    button_text = models.CharField(max_length=60, blank=True)
    button_outline = models.BooleanField(default=False)

    class Meta:
        ordering = ["display_order", "id"]
        constraints = [models.UniqueConstraint(fields=["pricing_table", "plan"], name="plan_is_on_a_table_once")]

    def __str__(self) -> str:
        return f"{self.plan} on {self.pricing_table}"
