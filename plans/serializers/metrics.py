"""The words of metrics."""

from typing import Any

from rest_framework import serializers

from plans.models import Metric, MetricVersion
from plans.models.metrics import Aggregation, ValueType
from plans.serializers.fields import LONGEST_DESCRIPTION, Choice, JsonValue, OptionalText, Text, given

_NO_SQL = (
    "must be simple: SQL is not run. Say which events count by eventName and filter (properties and the values that "
    "they must have), and what is aggregated by aggregationType and valueProperty."
)


class Filter(JsonValue):
    """Properties with the value, or the list of values, of which an event must have one."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise serializers.ValidationError('must be an object such as {"region": ["eu", "us"]}.')
        return data


class MetricTerms(serializers.Serializer[Metric]):
    """What can be said of a metric when it is made, and changed later."""

    name = Text(max_length=100)
    description = OptionalText(max_length=LONGEST_DESCRIPTION)
    queryType = OptionalText()
    sqlDefinition = OptionalText()
    aggregationType = Text(source="aggregation_type")
    eventName = Text(max_length=255, source="event_name")
    filter = Filter(required=False, allow_null=True, source="property_filter")
    valueProperty = OptionalText(max_length=255, source="value_property")

    def validate_queryType(self, value: str | None) -> str:
        if value not in (None, "", "simple"):
            raise serializers.ValidationError(_NO_SQL)
        return "simple"

    def validate_sqlDefinition(self, value: str | None) -> None:
        if value:
            raise serializers.ValidationError(_NO_SQL)

    def validate_aggregationType(self, value: str) -> str:
        if value not in Aggregation.values:
            raise serializers.ValidationError(f"must be one of {', '.join(Aggregation.values)}; not {value[:20]}.")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs.pop("queryType", None)
        attrs.pop("sqlDefinition", None)
        return given(attrs)


class NewMetric(MetricTerms):
    """What a caller says of a metric that is to be made."""

    valueType = Choice(choices=ValueType.values, default=ValueType.NUMERIC.value, source="value_type")


class MetricChange(MetricTerms):
    """What a caller says of a metric that is to be changed: any of it. How events become a number stays for ever."""

    valueType = Choice(choices=ValueType.values, required=False, source="value_type")

    def __init__(self, metric: Metric, **kwargs: Any) -> None:
        super().__init__(partial=True, **kwargs)
        self.metric = metric

    def validate_aggregationType(self, value: str) -> str:
        if value != self.metric.aggregation_type:
            raise serializers.ValidationError("cannot be changed. Make another metric.")
        return value

    def validate_valueType(self, value: str) -> str:
        if value != self.metric.value_type:
            raise serializers.ValidationError("cannot be changed. Make another metric.")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        # An empty filter, property or description takes away what was there, and so does null.
        emptied = {"property_filter": {}, "value_property": "", "description": ""}
        attrs = {name: emptied.get(name) if value is None else value for name, value in attrs.items()}
        attrs = super().validate(attrs)
        return {name: value for name, value in attrs.items() if name not in ("aggregation_type", "value_type")}


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


def metric_words(metric: Metric, *, merchant_id: str, to_come: MetricVersion | None = None) -> dict[str, Any]:
    """Describe a metric. `to_come` is its version whose events are still being counted, if any."""
    assert metric.current is not None
    unbuilt = to_come or (metric.current if metric.current.built_at is None else None)
    return metric_summary(metric) | {
        "filter": metric.current.property_filter,
        "valueProperty": metric.current.value_property or None,
        "version": metric.current.number,
        "building": None if unbuilt is None else {"version": unbuilt.number, "percent": unbuilt.percent_built},
        "merchantId": merchant_id,
        "sqlDefinition": None,
        "createdAt": metric.created_at,
        "updatedAt": metric.updated_at,
        "deletedAt": metric.deleted_at,
    }
