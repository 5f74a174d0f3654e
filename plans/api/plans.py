"""`/v1/plans`."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Prefetch, QuerySet
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from credits.services.plan_versions import update_plan
from credits.services.publish_plan import SwitchTerms, UsageTerms, publish_plan
from plans.listing import read_page
from plans.models import Feature, Plan, PlanFeature, Price
from plans.query import boolean_parameter
from plans.refusals import InvalidInput
from plans.serializers.plans import ChangedPlan, NewPlan, plan_words
from plans.services.features import FeatureNotFound, find_feature
from plans.services.merchant import find_merchant_id
from plans.services.plans import FeatureConfig, PlanNotFound, delete_plan, find_plan


class PlansView(APIView):
    """`/v1/plans`."""

    scope = "plans"

    def get(self, request: Request) -> Response:
        """List the versions of all plans, the newest first. There are no trial plans that `includeTrials` would add."""
        boolean_parameter(request.query_params, "includeTrials")
        with_features = boolean_parameter(request.query_params, "includeFeatures")
        with_prices = boolean_parameter(request.query_params, "includePrices")
        plans = _fetching(Plan.objects.live(), with_features=with_features, with_prices=with_prices)
        page = read_page(plans, request.query_params)
        return Response(
            {"plans": _describe(page.rows, with_features=with_features, with_prices=with_prices)} | page.words
        )

    def post(self, request: Request) -> Response:
        """Create a plan, with as much of its features and prices as the body names."""
        words = NewPlan(data=request.data)
        words.is_valid(raise_exception=True)
        terms = dict(words.validated_data)
        features = terms.pop("features")
        plan = publish_plan(
            at=timezone.now(),
            features=[_switch(feature) for feature in features if not feature["is_usage_based"]],
            usage_components=[_usage(feature) for feature in features if feature["is_usage_based"]],
            feature_configs=_read_configs(terms.pop("feature_ids"), terms.pop("feature_configs")),
            **terms,
        )
        plans = _fetching(Plan.objects.filter(pk=plan.pk), with_features=True, with_prices=True)
        described = _describe(list(plans), with_features=True, with_prices=True)
        return Response({"plan": described[0], "plans": described})


class PlanView(APIView):
    """`/v1/plans/{id}`."""

    scope = "plans"

    def get(self, request: Request, identifier: str) -> Response:
        """Show one version of a plan; with `isStableId` all of them, the first first. `plan` is the latest."""
        with_features = boolean_parameter(request.query_params, "includeFeatures")
        with_prices = boolean_parameter(request.query_params, "includePrices")
        plans = Plan.objects.live().order_by("version_number")
        if boolean_parameter(request.query_params, "isStableId"):
            plans = plans.filter(stable_plan_id=identifier)
        else:
            plans = plans.filter(pk=find_plan(identifier).pk)
        rows = list(_fetching(plans, with_features=with_features, with_prices=with_prices))
        if not rows:
            raise PlanNotFound("Plan not found or access denied")
        described = _describe(rows, with_features=with_features, with_prices=with_prices)
        return Response({"plans": described, "plan": described[-1]})

    def post(self, request: Request, identifier: str) -> Response:
        """Change how a version looks; with `featureIds`, `featureConfigs` or `priceIds` make a new version of it."""
        words = ChangedPlan(data=request.data)
        words.is_valid(raise_exception=True)
        changes = dict(words.validated_data)
        features = None
        if changes.keys() & {"feature_ids", "feature_configs"}:
            features = _read_configs(changes.pop("feature_ids", ()), changes.pop("feature_configs", ()))
        plan = update_plan(
            at=timezone.now(),
            identifier=identifier,
            is_stable_id=boolean_parameter(request.query_params, "isStableId"),
            features=features,
            **changes,
        )
        plans = _fetching(Plan.objects.filter(pk=plan.pk), with_features=True, with_prices=True)
        described = _describe(list(plans), with_features=True, with_prices=True)
        return Response({"plans": described, "plan": described[0]})

    def delete(self, request: Request, identifier: str) -> Response:
        """Delete one version of a plan; subscriptions to it go on."""
        delete_plan(plan=find_plan(identifier), at=timezone.now())
        return Response({"success": True, "message": "Plan deleted successfully"})


def _fetching(plans: QuerySet[Plan], *, with_features: bool, with_prices: bool) -> QuerySet[Plan]:
    if with_features:
        sold = PlanFeature.objects.select_related("feature").order_by("pk")
        plans = plans.prefetch_related(Prefetch("plan_features", queryset=sold))
    if with_prices:
        prices = (
            Price.objects.live()
            .filter(is_override_price=False)
            .select_related("cloned_from")
            .prefetch_related("components__metric")
            .order_by("pk")
        )
        plans = plans.prefetch_related(Prefetch("prices", queryset=prices))
    return plans


def _describe(plans: Sequence[Plan], *, with_features: bool, with_prices: bool) -> list[dict[str, Any]]:
    merchant_id = find_merchant_id()
    return [
        plan_words(plan, merchant_id=merchant_id, with_features=with_features, with_prices=with_prices)
        for plan in plans
    ]


def _switch(feature: dict[str, Any]) -> SwitchTerms:
    return SwitchTerms(slug=feature["slug"], name=feature["name"])


def _usage(feature: dict[str, Any]) -> UsageTerms:
    return UsageTerms(slug=feature["slug"], name=feature["name"])


def _read_configs(identifiers: Sequence[str], configs: Sequence[dict[str, Any]]) -> list[FeatureConfig]:
    """Find the features that exist. One that is both listed and configured is taken as it is configured."""
    configured = []
    for index, config in enumerate(configs):
        try:
            feature = find_feature(config["identifier"])
        except FeatureNotFound:
            raise _unknown_feature(f"featureConfigs[{index}]") from None
        configured.append(FeatureConfig(feature=feature, value=config["value"], overage=config["overage"]))
    features = {feature.public_id: feature for feature in Feature.objects.live().filter(public_id__in=identifiers)}
    for index, identifier in enumerate(identifiers):
        if identifier not in features:
            raise _unknown_feature(f"featureIds[{index}]")
    taken = {config.feature.pk for config in configured}
    listed = (features[identifier] for identifier in dict.fromkeys(identifiers))
    return [FeatureConfig(feature=feature) for feature in listed if feature.pk not in taken] + configured


def _unknown_feature(path: str) -> InvalidInput:
    return InvalidInput(
        "One or more feature IDs are invalid or do not belong to this merchant",
        details=[{"path": path, "message": "is not a feature."}],
    )
