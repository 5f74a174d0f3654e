from django.db import models
from django.db.models import Q

from plans.ids import public_id_field
from plans.models.plans import Plan


class MatcherType(models.TextChoices):
    EMAIL = "email"
    DOMAIN = "domain"


class EnrollmentRuleQuerySet(models.QuerySet["EnrollmentRule"]):
    def live(self) -> "EnrollmentRuleQuerySet":
        """Rules that hold: neither deleted nor of a plan version that was deleted."""
        return self.filter(deleted_at__isnull=True, plan__deleted_at__isnull=True, is_active=True)


class EnrollmentRule(models.Model):
    """Who signs up with this e-mail address, or one of this domain, gets this plan version. `matcher_value` is in
    lower case."""

    public_id = public_id_field("plan_enroll_rule_")
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="enrollment_rules")
    matcher_type = models.CharField("matches", max_length=8, choices=MatcherType)
    matcher_value = models.CharField("address or domain", max_length=254)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField()
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = EnrollmentRuleQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["matcher_type", "matcher_value"],
                condition=Q(deleted_at__isnull=True, is_active=True),
                name="enrollment_rule_is_unique",
            ),
            models.CheckConstraint(condition=~Q(matcher_value=""), name="enrollment_rule_matches_something"),
        ]

    def __str__(self) -> str:
        return f"{self.matcher_value} gets {self.plan}"
