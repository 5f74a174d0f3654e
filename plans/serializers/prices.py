"""The words of prices."""

from typing import Any

from rest_framework import serializers

from plans.models import ComponentKind, Price, PriceComponent
from plans.price_language import DSL_VERSION
from plans.serializers.fields import CurrencyCode, JsonValue, Text


class NewPrice(serializers.Serializer[Price]):
    """What a caller says of a price that is to be made; the price language is read by `plans.pricing`."""

    planId = Text(max_length=80)
    currency = CurrencyCode()
    pricingData = JsonValue(required=False, allow_null=True, default=None)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs.get("currency"):
            raise serializers.ValidationError({"currency": "is required: an ISO 4217 code such as USD."})
        return attrs


def pricing_data(price: Price) -> dict[str, Any]:
    """Write a price in the price language, each component with its id and its recurrence rule in full."""
    return {
        "dsl_version": DSL_VERSION,
        "components": [_component_words(component) for component in price.components.all()],
    }


def _component_words(component: PriceComponent) -> dict[str, Any]:
    words: dict[str, Any] = {
        "type": component.kind,
        "component_id": component.component_id,
        "component_name": component.component_name,
        "label": component.label,
    }
    if component.kind == ComponentKind.FIXED:
        words["amount_cents"] = component.amount_cents
    else:
        assert component.metric is not None
        words["unit_label"] = component.unit_label
        words["metric_id"] = component.metric.public_id
        words["unit_cost_cents"] = component.unit_cost_cents
    words["recurrence_rule"] = component.clock.rule
    # Readers fall back from one name to the next, which an empty text would stop.
    return {key: value for key, value in words.items() if value != ""}


def price_words(price: Price, *, plan_id: str, merchant_id: str) -> dict[str, Any]:
    """Describe a price; its components and their metrics are to be fetched already."""
    return {
        "id": price.public_id,
        "planId": plan_id,
        "merchantId": merchant_id,
        "currency": price.currency,
        "pricingData": pricing_data(price),
        "isOverridePrice": price.is_override_price,
        "clonedFromPriceId": price.cloned_from.public_id if price.cloned_from is not None else None,
        "createdAt": price.created_at,
        "updatedAt": price.updated_at,
        "deletedAt": price.deleted_at,
    }
