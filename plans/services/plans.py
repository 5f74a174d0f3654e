from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Max

from plans.models import Feature, Overage, Plan, PlanFeature
from plans.refusals import InvalidInput, NotFound
from plans.services.features import limit_of

# What may change after a plan was sold, and what a new version takes over.
LOOKS = (
    "name", "description", "is_visible_in_pricing_table", "is_enterprise_plan", "enterprise_redirect_url",
    "button_text",
)  # fmt: skip


class PlanNotFound(NotFound):
    code = "plan_not_found"


@dataclass(frozen=True)
class FeatureConfig:
    """A feature as a plan version is to give it. Without `value` or `overage` it is given as by the version that this
    one is made of, else with the feature's own value and no overage."""

    feature: Feature
    value: Any = None
    overage: str | None = None


def find_plan(identifier: str) -> Plan:
    """Return a live plan version by its id, or the latest one of a stable id. Raises PlanNotFound."""
    plan = (
        Plan.objects.live().filter(public_id=identifier).first()
        or Plan.objects.live().filter(stable_plan_id=identifier).order_by("-version_number").first()
    )
    if plan is None:
        raise PlanNotFound("Plan not found or access denied")
    return plan


def find_latest_version(stable_plan_id: str) -> Plan:
    """Return the latest live version of a plan. Raises PlanNotFound."""
    plan = Plan.objects.live().filter(stable_plan_id=stable_plan_id).order_by("-version_number").first()
    if plan is None:
        raise PlanNotFound("Plan not found or access denied")
    return plan


@transaction.atomic
def create_plan(
    *, at: datetime, name: str, features: Sequence[FeatureConfig] = (), commit_message: str = "", **looks: Any
) -> Plan:
    """Create version 1 of a plan with its features. `looks` are the plan's cosmetic fields.

    Raises InvalidInput when a feature is given twice, or limits usage by a negative number or by text.
    """
    features = _checked(features)
    plan = Plan.objects.create(
        name=name, commit_message=commit_message or "Initial version", version_number=1, created_at=at, **looks
    )
    _give(plan, features, {})
    return plan


def edit_looks(*, plan: Plan, **looks: Any) -> None:
    """Change the cosmetic fields of a plan version, and its `commit_message`; what it sells stays."""
    for name, value in looks.items():
        setattr(plan, name, value)
    plan.save(update_fields=[*looks])


def lock_versions(plan: Plan) -> None:
    """Keep others from making versions of a plan, and from changing its definitions, until the transaction ends."""
    versions = Plan.objects.filter(stable_plan_id=plan.stable_plan_id).select_for_update(no_key=True)
    list(versions.order_by("pk").values_list("pk", flat=True))


def create_version(
    *,
    at: datetime,
    base: Plan,
    features: Sequence[FeatureConfig] | None = None,
    commit_message: str = "",
    **looks: Any,
) -> Plan:
    """Create the next version of a plan, without prices: with the looks of `base` but for `looks`, and with its
    features unless others are given. The caller holds the lock of the versions.

    Raises InvalidInput as create_plan does.
    """
    given = {sold.feature_id: sold for sold in base.plan_features.select_related("feature").order_by("pk")}
    if features is None:
        features = [FeatureConfig(feature=sold.feature) for sold in given.values()]
    features = _checked(features)
    versions = Plan.objects.filter(stable_plan_id=base.stable_plan_id)
    number = versions.aggregate(last=Max("version_number"))["last"] + 1
    plan = Plan.objects.create(
        stable_plan_id=base.stable_plan_id,
        version_number=number,
        commit_message=commit_message or f"Version {number}",
        created_at=at,
        **{name: getattr(base, name) for name in LOOKS} | looks,
    )
    _give(plan, features, given)
    return plan


def _checked(features: Sequence[FeatureConfig]) -> list[FeatureConfig]:
    if len({config.feature.pk for config in features}) < len(features):
        raise InvalidInput.at("featureConfigs", "names a feature twice.")
    return [
        replace(config, value=limit_of(config.value, path="featureConfigs"))
        if config.feature.metrics.exists()
        else config
        for config in features
    ]


def _give(plan: Plan, features: Sequence[FeatureConfig], before: dict[int, PlanFeature]) -> None:
    """Write what a plan version gives; `before` has what the version before gave, by the key of the feature."""
    rows = []
    for config in features:
        known = before.get(config.feature.pk)
        value = known.value if known is not None else config.feature.value
        overage = known.overage if known is not None else Overage.BLOCK
        rows.append(
            PlanFeature(
                plan=plan,
                feature=config.feature,
                value=value if config.value is None else config.value,
                overage=overage if config.overage is None else config.overage,
            )
        )
    PlanFeature.objects.bulk_create(rows)


def delete_plan(*, plan: Plan, at: datetime) -> None:
    """Take a plan version off sale for good: nobody subscribes to it any more, and no list shows it.

    Those who have it keep it; rules that gave it to whoever signs up hold no more. Deleting it again changes nothing.
    """
    Plan.objects.live().filter(pk=plan.pk).update(deleted_at=at)
    plan.enrollment_rules.filter(deleted_at=None).update(deleted_at=at)
