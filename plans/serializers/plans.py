"""The words of plans: both create bodies of the contract in one, since all their fields can stand together."""

from typing import Any

from rest_framework import serializers

from plans.models import Overage, Plan, PlanFeature
from plans.models.features import feature_type_of
from plans.money import minor_units
from plans.price_language import LARGEST_AMOUNT_CENTS
from plans.refusals import InvalidInput
from plans.serializers.fields import (
    LONGEST_DESCRIPTION,
    Choice,
    CurrencyCode,
    JsonValue,
    MajorAmount,
    OptionalText,
    Switch,
    Text,
    WholeNumber,
    given,
)
from plans.serializers.prices import price_words
from plans.services.features import check_feature_value, check_slug

MOST_FEATURES = 200
MOST_PRICES = 100


class NewPlanFeature(serializers.Serializer[PlanFeature]):
    """A feature of the one-shot body, which is made unless there is one with its slug."""

    featureName = OptionalText(max_length=200, source="name")
    slug = Text(max_length=50)
    isUsageBased = Switch(required=False, default=False, source="is_usage_based")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        # The contract's own example has underscores, which its rule for slugs forbids.
        attrs["slug"] = attrs["slug"].replace("_", "-")
        try:
            check_slug(attrs["slug"])
        except InvalidInput as refusal:
            raise serializers.ValidationError({"slug": refusal.message}) from None
        attrs["name"] = attrs.get("name") or attrs["slug"].replace("-", " ").capitalize()
        return attrs


class PlanFeatureConfig(serializers.Serializer[PlanFeature]):
    """What a plan gives of a feature that is there already, addressed by id or slug."""

    featureId = OptionalText(max_length=80)
    slug = OptionalText(max_length=50)
    value = JsonValue(required=False, allow_null=True, default=None)
    overage = Choice(choices=Overage.values, required=False, default=Overage.BLOCK.value)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs["identifier"] = attrs.pop("featureId", None) or attrs.pop("slug", None)
        if not attrs["identifier"]:
            raise serializers.ValidationError({"featureId": "is required, or slug."})
        if attrs["value"] is not None:
            try:
                check_feature_value(attrs["value"], path="value")
            except InvalidInput as refusal:
                raise serializers.ValidationError({"value": refusal.message.removeprefix("value: ")}) from None
        return attrs


class ChangedFeatureConfig(PlanFeatureConfig):
    """What a new version gives of a feature; what is left out is as in the version before."""

    overage = Choice(choices=Overage.values, required=False, allow_null=True, default=None)


class ChangedPlan(serializers.Serializer[Plan]):
    """What a caller says of a plan that is there. Validated data hold what was said: the cosmetic fields, and
    `feature_ids`, `feature_configs` and `price_ids`, which make a new version."""

    planName = OptionalText(max_length=200)
    planDescription = OptionalText(max_length=LONGEST_DESCRIPTION)
    description = OptionalText(max_length=LONGEST_DESCRIPTION)
    commitMessage = OptionalText(max_length=500)
    showInPricingTable = Switch(required=False)
    isVisibleInPricingTable = Switch(required=False)
    isEnterprisePlan = Switch(required=False)
    enterpriseRedirectUrl = serializers.URLField(required=False, allow_null=True, max_length=200)
    buttonText = OptionalText(max_length=60)
    featureIds = serializers.ListField(child=Text(max_length=80), required=False, max_length=MOST_FEATURES)
    featureConfigs = ChangedFeatureConfig(many=True, required=False, max_length=MOST_FEATURES)  # type: ignore[call-arg]
    priceIds = serializers.ListField(child=Text(max_length=80), required=False, max_length=MOST_PRICES)

    def to_internal_value(self, data: Any) -> Any:
        """Refuse what only a new plan can be told: to leave it out in silence would look like a change."""
        for name, other_way in _OTHER_WAYS.items() if isinstance(data, dict) else ():
            value = data.get(name)
            if value is not None and value is not False and value != []:
                raise serializers.ValidationError({name: f"cannot be changed here: {other_way}"})
        return super().to_internal_value(data)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "planName" in attrs and not attrs["planName"]:
            raise InvalidInput("Plan name is required", details=[{"path": "planName", "message": "must not be empty."}])
        return {
            _CHANGES[name]: "" if value is None and name != "enterpriseRedirectUrl" else value
            for name, value in attrs.items()
        }


_CHANGES = {
    "planName": "name",
    "description": "description",
    "planDescription": "description",
    "commitMessage": "commit_message",
    "showInPricingTable": "is_visible_in_pricing_table",
    "isVisibleInPricingTable": "is_visible_in_pricing_table",
    "isEnterprisePlan": "is_enterprise_plan",
    "enterpriseRedirectUrl": "enterprise_redirect_url",
    "buttonText": "button_text",
    "featureIds": "feature_ids",
    "featureConfigs": "feature_configs",
    "priceIds": "price_ids",
}
_NEW_PRICE = "create a price with POST /v1/prices, and name it in priceIds."
_OTHER_WAYS = {
    "isTrialPlan": "trials are not offered yet.",
    "trialDays": "trials are not offered yet.",
    "features": "name them in featureIds or featureConfigs.",
    "currency": _NEW_PRICE,
    "monthlyPrice": _NEW_PRICE,
    "hasYearlyPrice": _NEW_PRICE,
    "yearlyPrice": _NEW_PRICE,
}


class NewPlan(serializers.Serializer[Plan]):
    """What a caller says of a plan that is to be made.

    Validated data hold amounts in minor units, `monthly_amount_cents` and `yearly_amount_cents`, None without a price.
    """

    planName = OptionalText(max_length=200)
    planDescription = OptionalText(max_length=LONGEST_DESCRIPTION)
    description = OptionalText(max_length=LONGEST_DESCRIPTION)
    commitMessage = OptionalText(max_length=500)
    currency = CurrencyCode()
    monthlyPrice = MajorAmount(required=False, allow_null=True)
    hasYearlyPrice = Switch(required=False, default=False)
    yearlyPrice = MajorAmount(required=False, allow_null=True)
    showInPricingTable = Switch(required=False, default=False)
    isVisibleInPricingTable = Switch(required=False, default=False)
    isEnterprisePlan = Switch(required=False, default=False)
    enterpriseRedirectUrl = serializers.URLField(required=False, allow_null=True, max_length=200)
    buttonText = OptionalText(max_length=60)
    isTrialPlan = Switch(required=False, default=False)
    trialDays = WholeNumber(required=False, allow_null=True)
    features = NewPlanFeature(  # type: ignore[call-arg]
        many=True, required=False, default=list, max_length=MOST_FEATURES
    )
    featureIds = serializers.ListField(
        child=Text(max_length=80), required=False, default=list, max_length=MOST_FEATURES
    )
    featureConfigs = PlanFeatureConfig(  # type: ignore[call-arg]
        many=True, required=False, default=list, max_length=MOST_FEATURES
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = given(attrs)
        if not attrs.get("planName"):
            raise InvalidInput(
                "Plan name is required", details=[{"path": "planName", "message": "This field is required."}]
            )
        if attrs["isTrialPlan"] or attrs.get("trialDays"):
            path = "isTrialPlan" if attrs["isTrialPlan"] else "trialDays"
            raise serializers.ValidationError({path: "cannot be used: trials are not offered yet."})
        self._check_slugs(attrs["features"])
        return {
            "name": attrs["planName"],
            "description": attrs.get("planDescription") or attrs.get("description", ""),
            "commit_message": attrs.get("commitMessage", ""),
            "is_visible_in_pricing_table": attrs["showInPricingTable"] or attrs["isVisibleInPricingTable"],
            "is_enterprise_plan": attrs["isEnterprisePlan"],
            "enterprise_redirect_url": attrs.get("enterpriseRedirectUrl"),
            "button_text": attrs.get("buttonText", ""),
            "features": attrs["features"],
            "feature_ids": attrs["featureIds"],
            "feature_configs": attrs["featureConfigs"],
        } | self._read_amounts(attrs)

    def _check_slugs(self, features: list[dict[str, Any]]) -> None:
        seen: set[str] = set()
        for index, feature in enumerate(features):
            if feature["slug"] in seen:
                raise InvalidInput.at(f"features[{index}].slug", "stands in this list already.")
            seen.add(feature["slug"])

    def _read_amounts(self, attrs: dict[str, Any]) -> dict[str, Any]:
        currency, has_yearly = attrs.get("currency", ""), attrs["hasYearlyPrice"]
        monthly, yearly = attrs.get("monthlyPrice"), attrs.get("yearlyPrice")
        if monthly is None and (currency or has_yearly or yearly is not None):
            raise serializers.ValidationError({"monthlyPrice": "is required with a currency or a yearly price."})
        if monthly is not None and not currency:
            raise serializers.ValidationError({"currency": "is required with monthlyPrice."})
        if has_yearly and yearly is None:
            raise serializers.ValidationError(
                {"yearlyPrice": "is required with hasYearlyPrice: the price of a year in major units, such as 290."}
            )
        return {
            "currency": currency,
            "monthly_amount_cents": None if monthly is None else _cents(monthly, currency, "monthlyPrice"),
            "yearly_amount_cents": None if yearly is None else _cents(yearly, currency, "yearlyPrice"),
        }


def _cents(major: Any, currency: str, path: str) -> int:
    cents = minor_units(major, currency)
    if cents != int(cents):
        raise serializers.ValidationError({path: f"has more decimals than {currency} has."})
    if cents > LARGEST_AMOUNT_CENTS:
        raise serializers.ValidationError({path: f"must be at most {LARGEST_AMOUNT_CENTS} minor units."})
    return int(cents)


def plan_feature_words(sold: PlanFeature) -> dict[str, Any]:
    """Describe a feature as a plan gives it."""
    return {
        "id": sold.feature.public_id,
        "slug": sold.feature.slug,
        "displayName": sold.feature.display_name,
        "featureType": feature_type_of(sold.value),
        "featureValue": sold.value,
        "overage": sold.overage,
    }


def plan_words(plan: Plan, *, merchant_id: str, with_features: bool, with_prices: bool) -> dict[str, Any]:
    """Describe a plan version; the features and prices asked for are to be fetched already."""
    words: dict[str, Any] = {
        "id": plan.public_id,
        "stablePlanId": plan.stable_plan_id,
        "merchantId": merchant_id,
        "versionNumber": plan.version_number,
        "planName": plan.name,
        "planDescription": plan.description or None,
        "commitMessage": plan.commit_message,
        "isTrialPlan": False,
        "trialParentPlanId": None,
        "trialDays": None,
        "pspPlanId": None,
        "isVisibleInPricingTable": plan.is_visible_in_pricing_table,
        "isEnterprisePlan": plan.is_enterprise_plan,
        "buttonText": plan.button_text or None,
        "enterpriseRedirectUrl": plan.enterprise_redirect_url,
        "createdAt": plan.created_at,
        "deletedAt": plan.deleted_at,
    }
    if with_features:
        words["features"] = [plan_feature_words(sold) for sold in plan.plan_features.all()]
    if with_prices:
        words["prices"] = [
            price_words(price, plan_id=plan.public_id, merchant_id=merchant_id) for price in plan.prices.all()
        ]
    return words
