from typing import Literal

from django.db import models
from django.db.models import Q

from plans.ids import public_id_field
from plans.json_values import NumberKeepingEncoder
from plans.models.metrics import Metric

USAGE_BASED = "usage_based"


class FeatureQuerySet(models.QuerySet["Feature"]):
    def live(self) -> "FeatureQuerySet":
        """Features that are not deleted."""
        return self.filter(deleted_at__isnull=True)


class Feature(models.Model):
    """What a plan gives: a switch (boolean), a number or text, or usage of its metrics (value `usage_based`)."""

    public_id = public_id_field("feat_")
    slug = models.CharField(max_length=50)
    display_name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    value = models.JSONField(encoder=NumberKeepingEncoder)
    is_override_feature = models.BooleanField(default=False)
    metrics = models.ManyToManyField(Metric, related_name="features", blank=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = FeatureQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["slug"], condition=Q(deleted_at__isnull=True), name="feature_slug_is_unique"
            ),
        ]

    @property
    def feature_type(self) -> Literal["boolean", "number", "string"]:
        """The contract's type word, derived from the value."""
        return feature_type_of(self.value)

    def __str__(self) -> str:
        return self.display_name


def feature_type_of(value: object) -> Literal["boolean", "number", "string"]:
    """Name the contract's type of a feature value."""
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"
