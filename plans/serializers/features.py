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
