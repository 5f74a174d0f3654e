"""The words of prices."""

from typing import Any

from rest_framework import serializers

from plans.models import ComponentKind, Price, PriceComponent
from plans.price_language import DSL_VERSION, FLAT_FIELDS, ComponentTerms, read_flat_fields, read_pricing_data
from plans.pricing import PACKAGE, PER_UNIT, PERCENTAGE, TIERED
from plans.refusals import InvalidInput
from plans.serializers.fields import CurrencyCode, JsonValue, OptionalText, Switch, Text

# The terms of any model that are written only where they are not these.
_DEFAULTS: dict[str, Any] = {
    "divide_by": None,
    "divide_round": "none",
    "included_units": 0,
    "minimum_cents": None,
    "maximum_cents": None,
    "minimum_quantity": 0,
    "bill_immediately": True,
}


class NewPrice(serializers.Serializer[Price]):
    """What a caller says of a price that is to be made.

    The validated `components` are the price's terms, from `pricingData` or from the flat fields of the contract.
    """

    planId = Text(max_length=80)
    currency = CurrencyCode()
    pricingData = JsonValue(required=False, allow_null=True, default=None)
    unitAmountCents = JsonValue(required=False, allow_null=True)
    billingInterval = JsonValue(required=False, allow_null=True)
    pricingModel = JsonValue(required=False, allow_null=True)
    metricId = JsonValue(required=False, allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs.get("currency"):
            raise serializers.ValidationError({"currency": "is required: an ISO 4217 code such as USD."})
        return attrs | {"components": _components_of(attrs)}


class PriceClone(serializers.Serializer[Price]):
    """How a price is to differ from the one that it is made from; what is absent or null is as there."""

    planId = OptionalText(max_length=80)
    currency = CurrencyCode()
    pricingData = JsonValue(required=False, allow_null=True, default=None)
    isOverridePrice = Switch(required=False, allow_null=True, default=None)


def _components_of(attrs: dict[str, Any]) -> list[ComponentTerms]:
    flat = {name: attrs[name] for name in FLAT_FIELDS if attrs.get(name) is not None}
    if not flat:
        return read_pricing_data(attrs["pricingData"])
    if attrs["pricingData"] is not None:
        raise InvalidInput.at(next(iter(flat)), "cannot be used beside pricingData, which says it all.")
    return [read_flat_fields(flat)]


def pricing_data(price: Price) -> dict[str, Any]:
    """Write a price in the price language, each component with its id and its recurrence rule in full."""
    return {
        "dsl_version": DSL_VERSION,
        "components": [component_words(component) for component in price.components.all()],
    }


def component_words(component: PriceComponent) -> dict[str, Any]:
    """Write a component in the price language, what is as by default left out; its metric is to be fetched already."""
    words: dict[str, Any] = {
        "type": component.kind,
        "component_id": component.component_id,
        "component_name": component.component_name,
        "label": component.label,
        "unit_label": component.unit_label,
    }
    if component.metric is not None:
        words["metric_id"] = component.metric.public_id
    words |= _model_words(component)
    words |= {
        name: getattr(component, name) for name, default in _DEFAULTS.items() if getattr(component, name) != default
    }
    words["recurrence_rule"] = component.clock.rule
    # Readers fall back from one name to the next, which an empty text would stop.
    return {key: value for key, value in words.items() if value != ""}


def _model_words(component: PriceComponent) -> dict[str, Any]:
    """Write the model and its own terms; the plain model goes without saying."""
    words: dict[str, Any] = {} if component.model == PER_UNIT else {"model": component.model}
    if component.model in TIERED:
        words["tiers"] = component.tiers
        if component.first_tier_flat_at_zero:
            words["first_tier_flat_at_zero"] = True
    elif component.model == PACKAGE:
        words["package_size"] = component.package_size
        words["package_cost_cents"] = component.package_cost_cents
        if component.package_round != "up":
            words["package_round"] = component.package_round
    elif component.model == PERCENTAGE:
        words["rate_percent"] = component.rate_percent
        if component.fixed_cost_cents:
            words["fixed_cost_cents"] = component.fixed_cost_cents
    elif component.kind == ComponentKind.USAGE:
        words["unit_cost_cents"] = component.unit_cost_cents
    else:
        words["amount_cents"] = component.amount_cents
    return words


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
