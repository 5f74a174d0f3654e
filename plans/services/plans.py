from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from plans.models import Feature, Overage, Plan, PlanFeature
from plans.refusals import InvalidInput, NotFound
from plans.services.features import check_limit


class PlanNotFound(NotFound):
    code = "plan_not_found"


@dataclass(frozen=True)
class FeatureConfig:
    """A feature as a plan is to give it; without `value` the feature's own."""

    feature: Feature
    value: Any = None
    overage: str = Overage.BLOCK


def find_plan(identifier: str) -> Plan:
    """Return a live plan version by its id, or the latest one of a stable id. Raises PlanNotFound."""
    plan = (
        Plan.objects.live().filter(public_id=identifier).first()
        or Plan.objects.live().filter(stable_plan_id=identifier).order_by("-version_number").first()
    )
    if plan is None:
        raise PlanNotFound("Plan not found or access denied")
    return plan


@transaction.atomic
def create_plan(
    *, at: datetime, name: str, features: Sequence[FeatureConfig] = (), commit_message: str = "", **looks: Any
) -> Plan:
    """Create version 1 of a plan with its features. `looks` are the plan's cosmetic fields.

    Raises InvalidInput when a feature is given twice or limits usage by a negative number.
    """
    for config in features:
        if config.feature.metrics.exists():
            check_limit(config.value, path="featureConfigs")
    if len({config.feature.pk for config in features}) < len(features):
        raise InvalidInput.at("featureConfigs", "names a feature twice.")
    plan = Plan.objects.create(
        name=name, commit_message=commit_message or "Initial version", version_number=1, created_at=at, **looks
    )
    PlanFeature.objects.bulk_create(
        PlanFeature(
            plan=plan,
            feature=config.feature,
            value=config.feature.value if config.value is None else config.value,
            overage=config.overage,
        )
        for config in features
    )
    return plan


def delete_plan(*, plan: Plan, at: datetime) -> None:
    """Take a plan version off sale for good: nobody subscribes to it any more, and no list shows it.

    Those who have it keep it. Deleting it again changes nothing.
    """
    Plan.objects.live().filter(pk=plan.pk).update(deleted_at=at)
