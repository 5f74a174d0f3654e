"""`/v1/prices/preview`."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from credits.preview import PreviewedComponent, PreviewLine, Quantity, preview
from plans.models import Price, PriceComponent
from plans.money import plain_number, written_exactly
from plans.price_language import read_pricing_data
from plans.price_language.numbers import USED_UNITS, read_number, read_whole_number
from plans.refusals import InvalidInput
from plans.serializers.fields import CurrencyCode, JsonValue, OptionalText
from plans.serializers.reading import read_exactly
from plans.services.prices import component_of, find_price

MOST_EVENTS = 10**18
_QUANTITY_KEYS = {"amount", "events"}


class PricePreview(serializers.Serializer[Price]):
    """The price that is asked about, and the quantities."""

    priceId = OptionalText(max_length=80)
    pricingData = JsonValue(required=False, allow_null=True, default=None)
    currency = CurrencyCode()
    quantities = JsonValue(required=False, allow_null=True, default=None)
    credits = JsonValue(required=False, allow_null=True, default=None)


class PricePreviewView(APIView):
    """`/v1/prices/preview`."""

    scope = "prices:read"
    # Asking changes nothing, so there is no answer to keep.
    own_idempotency = True

    def post(self, request: Request) -> Response:
        """Tell what quantities would cost, by the arithmetic of invoices."""
        asked = read_exactly(PricePreview, request.data)
        components, currency = _components_of(asked)
        lines = preview(
            _previewed(components, currency),
            quantities={
                name: _quantity(value, f"quantities.{name}")
                for name, value in _by_component(asked, "quantities").items()
            },
            credits={
                name: read_number(value, f"credits.{name}", USED_UNITS)
                for name, value in _by_component(asked, "credits").items()
            },
        )
        return Response(
            {
                "lines": [_line_words(line) for line in lines],
                "subtotalCents": sum(line.amount_cents for line in lines),
            }
        )


def _components_of(asked: Mapping[str, Any]) -> tuple[Sequence[PriceComponent], str]:
    """Find the components that are asked about, and their currency."""
    identifier, data, currency = asked.get("priceId") or "", asked["pricingData"], asked.get("currency")
    if bool(identifier) == (data is not None):
        raise InvalidInput.at("priceId", "or pricingData is required, and not both.")
    if data is None:
        price = find_price(identifier)
        if currency and currency != price.currency:
            raise InvalidInput.at("currency", f"must be {price.currency}, the currency of this price, or left out.")
        return list(price.components.all()), price.currency
    terms = read_pricing_data(data)
    if not currency:
        raise InvalidInput.at("currency", "is required with pricingData: an ISO 4217 code such as USD.")
    return [component_of(one, position=position) for position, one in enumerate(terms)], currency


def _previewed(components: Sequence[PriceComponent], currency: str) -> list[PreviewedComponent]:
    """Describe components to the preview. One that has no id yet goes by its place: `components[0]`."""
    previewed = [
        PreviewedComponent(
            component_id=component.component_id or f"components[{component.position}]",
            kind=component.kind,
            title=component.title,
            charge=component.charge(currency),
            minimum_quantity=component.minimum_quantity,
        )
        for component in components
    ]
    if len({component.component_id for component in previewed}) < len(previewed):
        raise InvalidInput.at("pricingData.components", "need ids of their own: one is called by another's place.")
    return previewed


def _by_component(asked: Mapping[str, Any], field: str) -> dict[str, Any]:
    value = asked[field]
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInput.at(field, 'must be an object like {"componentId": "12.5"}.')
    return {name: number for name, number in value.items() if number is not None}


def _quantity(value: Any, path: str) -> Quantity:
    if not isinstance(value, dict):
        return Quantity(read_number(value, path, USED_UNITS))
    unknown = sorted(set(value) - _QUANTITY_KEYS)
    if unknown:
        raise InvalidInput.at(f"{path}.{unknown[0]}", "is not a key of a quantity; the keys are amount, events.")
    return Quantity(
        units=read_number(value.get("amount", Decimal(0)), f"{path}.amount", USED_UNITS),
        events=read_whole_number(value.get("events", 0), f"{path}.events", largest=MOST_EVENTS, of="events"),
    )


def _line_words(line: PreviewLine) -> dict[str, Any]:
    return {
        "componentId": line.component_id,
        "type": line.type,
        "description": line.description,
        "quantity": line.quantity,
        "unroundedCents": plain_number(written_exactly(line.unrounded)),
        "amountCents": line.amount_cents,
    }
