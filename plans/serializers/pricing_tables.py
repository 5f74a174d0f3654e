"""The words of pricing tables: for those who manage them, and for the component that shows them."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from rest_framework import serializers

from plans.cards import Card, Given, OfferedPlan
from plans.models import Price, PricingTable, PricingTablePlan
from plans.money import major_units, plain_number
from plans.price_language import DSL_VERSION
from plans.refusals import InvalidInput
from plans.serializers.fields import LONGEST_DESCRIPTION, OptionalText, Switch, Text, WholeNumber
from plans.serializers.prices import pricing_data
from plans.services.pricing_tables import (
    LAST_DISPLAY_ORDER,
    LONGEST_SLUG,
    Placement,
    interval_of,
    interval_text,
)

MOST_PLANS = 100


class PlanOnTable(serializers.Serializer[PricingTablePlan]):
    """A plan, and how a table is to show it. Validated data hold what was said, null texts as empty ones."""

    planId = Text(max_length=80, source="plan_id")
    displayOrder = WholeNumber(required=False, min_value=0, max_value=LAST_DISPLAY_ORDER, source="display_order")
    isPopular = Switch(required=False, source="is_popular")
    popularText = OptionalText(max_length=40, source="popular_text")
    buttonText = OptionalText(max_length=60, source="button_text")
    buttonOutline = Switch(required=False, source="button_outline")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return _without_null(attrs)


class ChangedPricingTable(serializers.Serializer[PricingTable]):
    """What a caller says of a table that is there.

    Validated data hold what was said, and `placements` when plans were named: those of `planIds` first, each with its
    config, then those that only have a config. A slug that is empty or null stays.
    """

    name = Text(max_length=200, required=False)
    slug = OptionalText(max_length=LONGEST_SLUG)
    description = OptionalText(max_length=LONGEST_DESCRIPTION)
    heading = OptionalText(max_length=200)
    subheading = OptionalText(max_length=300)
    isActive = Switch(required=False, source="is_active")
    planIds = serializers.ListField(child=Text(max_length=80), required=False, max_length=MOST_PLANS)
    planConfigs = PlanOnTable(many=True, required=False, max_length=MOST_PLANS)  # type: ignore[call-arg]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        terms = _without_null(attrs)
        if not terms.get("slug"):
            terms.pop("slug", None)
        if "planIds" in terms or "planConfigs" in terms:
            terms["placements"] = _placements(terms.pop("planIds", []), terms.pop("planConfigs", []))
        return terms


class NewPricingTable(ChangedPricingTable):
    """What a caller says of a table that is to be made."""

    name = Text(max_length=200)


def _without_null(attrs: dict[str, Any]) -> dict[str, Any]:
    return {name: "" if value is None else value for name, value in attrs.items()}


def _placements(identifiers: Sequence[str], configs: Sequence[dict[str, Any]]) -> list[Placement]:
    placements = {
        identifier: Placement(plan_id=identifier, path=f"planIds[{index}]")
        for index, identifier in enumerate(identifiers)
    }
    configured: set[str] = set()
    for index, config in enumerate(configs):
        look = dict(config)
        identifier = look.pop("plan_id")
        path = f"planConfigs[{index}].planId"
        if identifier in configured:
            raise InvalidInput.at(path, "stands in this list already.")
        configured.add(identifier)
        placements[identifier] = Placement(plan_id=identifier, path=path, look=look)
    return list(placements.values())


def pricing_table_words(table: PricingTable, *, merchant_id: str) -> dict[str, Any]:
    """Describe a table to those who manage it."""
    return {
        "id": table.public_id,
        "merchantId": merchant_id,
        "name": table.name,
        "slug": table.slug,
        "description": table.description or None,
        "heading": table.heading or None,
        "subheading": table.subheading or None,
        "isActive": table.is_active,
        "createdAt": table.created_at,
        "updatedAt": table.updated_at,
    }


def placed_plan_words(placed: PricingTablePlan) -> dict[str, Any]:
    """Describe a plan's place on a table; table and plan are to be fetched already."""
    return {
        "id": placed.public_id,
        "pricingTableId": placed.pricing_table.public_id,
        "planId": placed.plan.public_id,
        "displayOrder": placed.display_order,
        "isPopular": placed.is_popular,
        "popularText": placed.popular_text or None,
        "buttonText": placed.button_text or None,
        "buttonOutline": placed.button_outline,
    }


def card_words(offered: OfferedPlan) -> dict[str, Any]:
    """Describe a plan on a table to the component that shows it."""
    plan, placed, shown = offered.placed.plan, offered.placed, offered.shown.price
    monthly = offered.monthly.price if offered.monthly is not None else None
    yearly = offered.yearly.price if offered.yearly is not None else None
    return {
        "title": plan.name,
        "description": plan.description or None,
        "price": Decimal(0) if shown is None else _fee(offered.shown, shown),
        "priceMonthly": _fee(offered.monthly, monthly) if offered.monthly is not None and monthly is not None else None,
        "priceYearly": _fee(offered.yearly, yearly) if offered.yearly is not None and yearly is not None else None,
        "interval": "month" if shown is None else _interval(offered.shown, shown),
        "minSeats": offered.shown.seats[0].least if offered.shown.seats else None,
        "features": [{"text": _feature_text(given)} for given in offered.shown.given],
        "buttonText": offered.button_text,
        "buttonOutline": placed.button_outline,
        "isPopular": placed.is_popular,
        "popularText": offered.popular_text or None,
        "currency": None if shown is None else shown.currency.lower(),
        "planId": plan.public_id,
        "priceId": shown.public_id if shown is not None else None,
        "priceIdMonthly": monthly.public_id if monthly is not None else None,
        "priceIdYearly": yearly.public_id if yearly is not None else None,
        "isEnterprisePlan": plan.is_enterprise_plan,
        "enterpriseRedirectUrl": plan.enterprise_redirect_url,
        "trial": {"available": False, "days": None, "trialPlanId": None},
        # Readers go through the components without asking whether there is a price.
        "pricingData": pricing_data(shown) if shown is not None else {"dsl_version": DSL_VERSION, "components": []},
        "pspPlanId": None,
    }


def _fee(card: Card, price: Price) -> Decimal:
    """What stands for a price where one number has to: its fee, else what one seat costs, else the fewest seats."""
    seats = card.named_by_seats
    return major_units(seats.charge.unit_cost_cents if seats else card.fee_cents or card.least_cents, price.currency)


def _interval(card: Card, price: Price) -> str:
    """The component knows plans by the seat from these words."""
    return f"{interval_of(price)} per seat" if card.named_by_seats else interval_of(price)


def _feature_text(given: Given) -> str:
    """Write what a plan gives of a feature.

    The component reads a trailing parenthesis of digits without separators as the quota.
    """
    if given.quotas:
        clock = given.quotas[0].clock
        units = sum((quota.units for quota in given.quotas if quota.clock == clock), Decimal(0))
        often = "included" if clock is None else f"per {interval_text(clock)}"
        return f"{given.name} ({plain_number(units)} {often})"
    if given.number is not None:
        return f"{given.name} ({plain_number(given.number)} included)"
    return f"{given.name}: {given.text}" if given.text else given.name
