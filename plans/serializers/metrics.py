"""The words of metrics."""

from typing import Any

from rest_framework import serializers

from plans.models import Metric
from plans.models.metrics import Aggregation, ValueType
from plans.serializers.fields import LONGEST_DESCRIPTION, Choice, OptionalText, Text, given


class NewMetric(serializers.Serializer[Metric]):
    """What a caller says of a metric that is to be made."""

    name = Text(max_length=100)
    description = OptionalText(max_length=LONGEST_DESCRIPTION)
    queryType = OptionalText()
    aggregationType = Text(source="aggregation_type")
    eventName = Text(max_length=255, source="event_name")
    valueType = Choice(choices=ValueType.values, default=ValueType.NUMERIC.value, source="value_type")

    def validate_queryType(self, value: str | None) -> str:
        if value not in (None, "", "simple"):
            raise serializers.ValidationError(
                "must be simple: SQL metrics are not run. Send a simple one with aggregationType and eventName."
            )
        return "simple"

    def validate_aggregationType(self, value: str) -> str:
        if value not in Aggregation.values:
            raise serializers.ValidationError(f"must be COUNT or SUM; {value[:20]} cannot be computed.")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["aggregation_type"] == Aggregation.SUM and attrs["value_type"] != ValueType.NUMERIC:
            raise serializers.ValidationError({"valueType": "must be NUMERIC with aggregationType SUM."})
        attrs.pop("queryType", None)
        return given(attrs)


def metric_summary(metric: Metric) -> dict[str, Any]:
    """Describe a metric where it stands beside its feature."""
    return {
        "id": metric.public_id,
        "name": metric.name,
        "description": metric.description or None,
        "queryType": "simple",
        "eventName": metric.event_name,
        "aggregationType": metric.aggregation_type,
        "valueType": metric.value_type,
    }


def metric_words(metric: Metric, *, merchant_id: str) -> dict[str, Any]:
    """Describe a metric."""
    return metric_summary(metric) | {
        "merchantId": merchant_id,
        "sqlDefinition": None,
        "createdAt": metric.created_at,
        "updatedAt": metric.updated_at,
        "deletedAt": metric.deleted_at,
    }
