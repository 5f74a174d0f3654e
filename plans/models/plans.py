from functools import partial

from django.db import models
from django.db.models import Q

from plans.ids import new_public_id, public_id_field
from plans.json_values import NumberKeepingEncoder
from plans.models.features import Feature


class Overage(models.TextChoices):
    """What a check answers beyond the quota. It governs answers, never invoices."""

    BLOCK = "block"
    ALLOW = "allow"


class PlanQuerySet(models.QuerySet["Plan"]):
    def live(self) -> "PlanQuerySet":
        """Plan versions that are not deleted."""
        return self.filter(deleted_at__isnull=True)


class Plan(models.Model):
    """One version of a plan. Versions share `stable_plan_id`; what has been sold of one never changes."""

    public_id = public_id_field("plan_int_")
    stable_plan_id = models.CharField(
        max_length=48, db_index=True, editable=False, default=partial(new_public_id, "pln_stable_")
    )
    version_number = models.PositiveIntegerField(default=1)
    name = models.CharField("plan name", max_length=200)
    description = models.TextField(blank=True)
    commit_message = models.CharField(max_length=500, blank=True)
    is_visible_in_pricing_table = models.BooleanField(default=False)
    is_enterprise_plan = models.BooleanField(default=False)
    button_text = models.CharField(max_length=60, blank=True)
    enterprise_redirect_url = models.URLField(null=True, blank=True)
    created_at = models.DateTimeField()
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = PlanQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["stable_plan_id", "version_number"], name="plan_version_is_unique"),
            models.CheckConstraint(condition=Q(version_number__gte=1), name="plan_version_is_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.name} v{self.version_number}"


class PlanFeature(models.Model):
    """A feature as one plan version gives it: its value there, and what a check answers beyond the quota."""

    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, related_name="plan_features")
    feature = models.ForeignKey(Feature, on_delete=models.PROTECT, related_name="plan_features")
    value = models.JSONField(encoder=NumberKeepingEncoder)
    overage = models.CharField(max_length=8, choices=Overage, default=Overage.BLOCK)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["plan", "feature"], name="plan_has_feature_once")]

    def __str__(self) -> str:
        return f"{self.plan}: {self.feature}"
