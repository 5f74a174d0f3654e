"""The words of features."""

from typing import Any

from rest_framework import serializers

from plans.models import Feature
from plans.serializers.fields import LONGEST_DESCRIPTION, JsonValue, OptionalText, Switch, Text, given


class NewFeature(serializers.Serializer[Feature]):
    """What a caller says of a feature that is to be made."""

    slug = Text()
    displayName = Text(max_length=200, source="display_name")
    description = OptionalText(max_length=LONGEST_DESCRIPTION)
    featureValue = JsonValue(source="value")
    isOverrideFeature = Switch(required=False, source="is_override_feature")
    metricIds = serializers.ListField(child=Text(max_length=80), required=False, default=list, max_length=50)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return given(attrs)


class FeatureChange(NewFeature):
    """What a caller says of a feature that is to be changed: only what is sent is changed; `metricIds` are all of its
    metrics afterwards."""

    metricIds = serializers.ListField(child=Text(max_length=80), max_length=50)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, partial=True, **kwargs)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return attrs | ({"description": attrs["description"] or ""} if "description" in attrs else {})


class FeatureSlug(serializers.Serializer[Feature]):
    """A slug that somebody would like to give."""

    slug = Text()


def feature_words(feature: Feature, *, merchant_id: str) -> dict[str, Any]:
    """Describe a feature."""
    return {
        "id": feature.public_id,
        "merchantId": merchant_id,
        "slug": feature.slug,
        "displayName": feature.display_name,
        "description": feature.description or None,
        "featureType": feature.feature_type,
        "featureValue": feature.value,
        "isOverrideFeature": feature.is_override_feature,
        "createdAt": feature.created_at,
        "updatedAt": feature.updated_at,
        "deletedAt": feature.deleted_at,
    }
