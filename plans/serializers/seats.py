"""The words of seats, which the contract writes in snake_case."""

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from plans.models import Customer, PriceComponent, SeatChange, Subscription
from plans.serializers.fields import Email, Metadata, OptionalText, Text


class MemberInfo(serializers.Serializer):
    """What is known of somebody who is not a customer yet."""

    name = OptionalText(max_length=200)
    email = Email(max_length=254)


class _SeatWords(serializers.Serializer):
    organization_id = OptionalText(max_length=255)
    user_id = OptionalText(max_length=255)
    metadata = Metadata(required=False, allow_null=True)
    idempotency_key = OptionalText(max_length=255)
    timestamp = serializers.DateTimeField(required=False, allow_null=True)


class NewSeat(_SeatWords):
    """The body of POST /v1/seats/add."""

    created_user_id = Text(max_length=255)
    created_user_info = MemberInfo(required=False, allow_null=True)


class RemovedSeat(_SeatWords):
    """The body of POST /v1/seats/remove."""

    removed_user_id = Text(max_length=255)


def added_seat_words(change: SeatChange, organization: Customer, *, member_id: str) -> dict[str, Any]:
    """Describe a seat that was given."""
    return {
        "message": "Seat added successfully",
        "user_id": organization.external_customer_id,
        "organization_id": change.organization_id,
        "created_user_id": member_id,
        "subscription_id": change.subscription.public_id if change.subscription is not None else None,
        "idempotency_key": change.idempotency_key,
    }


def removed_seat_words(change: SeatChange, *, member_id: str) -> dict[str, Any]:
    """Describe a seat that was taken."""
    return {
        "message": "Seat removed successfully",
        "organization_id": change.organization_id,
        "removed_user_id": member_id,
        "subscription_id": change.subscription.public_id if change.subscription is not None else None,
        "idempotency_key": change.idempotency_key,
    }


def seat_usage_words(component: PriceComponent, *, in_use: int, paid: int) -> dict[str, Any]:
    """Describe the units of a component: those in use, and those that are paid until the period's end only."""
    return {
        "componentId": component.component_id,
        "componentName": component.component_name or None,
        "unitLabel": component.unit_label or None,
        "metricId": component.metric.public_id if component.metric is not None else None,
        "currentUsage": in_use,
        "pendingRemovals": max(paid - max(in_use, component.minimum_quantity), 0),
        "unitAmountCents": _unit_amount(component),
    }


def seat_component_words(component: PriceComponent) -> dict[str, Any]:
    """Describe a component whose units are paid in advance, in the words of the price language."""
    return {
        "type": "per_unit",
        "component_id": component.component_id,
        "component_name": component.component_name or None,
        "unit_label": component.unit_label or None,
        "amount_cents": _unit_amount(component),
        "metric_id": component.metric.public_id if component.metric is not None else None,
        "bill_immediately": component.bill_immediately,
        "minimum_quantity": component.minimum_quantity,
    }


def _unit_amount(component: PriceComponent) -> Any:
    """What a unit costs in minor units; null where they do not all cost the same."""
    return component.amount_cents if component.amount_cents is not None else component.unit_cost_cents


def seat_overview_words(
    customer: Customer,
    subscription: Subscription | None,
    *,
    usages: Sequence[dict[str, Any]],
    details: Sequence[dict[str, Any]],
    components: Sequence[PriceComponent],
) -> dict[str, Any]:
    """Describe the seats of a customer's subscription; without one there are none."""
    return {
        "customerId": customer.public_id,
        "subscriptionId": subscription.public_id if subscription is not None else None,
        "seatUsages": list(usages),
        "subscriptionDetails": list(details),
        "priceComponents": [seat_component_words(component) for component in components],
    }
