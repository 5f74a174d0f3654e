"""`/v1/seats` and the quantities of subscriptions."""

from datetime import datetime
from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.services.change_quantity import change_quantity
from billing.services.seats import add_seat, remove_seat
from plans.api.subscriptions import describe
from plans.models import ComponentKind, Customer, Subscription, SubscriptionItem
from plans.query import boolean_parameter
from plans.serializers.fields import Text, WholeNumber
from plans.serializers.reading import read, read_exactly
from plans.serializers.seats import (
    NewSeat,
    RemovedSeat,
    added_seat_words,
    removed_seat_words,
    seat_overview_words,
    seat_usage_words,
)
from plans.services.customers import CustomerNotFound
from plans.services.seats import find_organization, primary_of
from plans.services.subscriptions import find_subscription
from plans.services.units import PaidUnits, seats_in_use, seats_of


class AddSeatView(APIView):
    """`/v1/seats/add`."""

    scope = "seats"

    def post(self, request: Request) -> Response:
        """Give somebody a seat in an organization."""
        body = read(NewSeat, request.data)
        organization = _organization_of(body)
        info = body.get("created_user_info") or {}
        change = add_seat(
            at=timezone.now(),
            organization=organization,
            member_id=body["created_user_id"],
            name=info.get("name") or "",
            email=info.get("email") or "",
            metadata=body.get("metadata"),
            idempotency_key=body.get("idempotency_key"),
            seated_at=body.get("timestamp"),
        )
        return Response(added_seat_words(change, organization, member_id=body["created_user_id"]))


class RemoveSeatView(APIView):
    """`/v1/seats/remove`."""

    scope = "seats"

    def post(self, request: Request) -> Response:
        """Take somebody's seat in an organization away."""
        body = read(RemovedSeat, request.data)
        change = remove_seat(
            at=timezone.now(),
            organization=_organization_of(body),
            member_id=body["removed_user_id"],
            metadata=body.get("metadata"),
            idempotency_key=body.get("idempotency_key"),
            unseated_at=body.get("timestamp"),
        )
        return Response(removed_seat_words(change, member_id=body["removed_user_id"]))


def _organization_of(body: dict[str, Any]) -> Customer:
    return find_organization(organization_id=body.get("organization_id"), owner_id=body.get("user_id"))


class SeatUsageView(APIView):
    """`/v1/seats/usage/{customerId}`."""

    scope = "seats"

    def get(self, request: Request, identifier: str) -> Response:
        """Show the seats of a customer's organization, or of that which it is a member of: in use and paid for."""
        is_external = boolean_parameter(request.query_params, "isExtCustId")
        customer = Customer.objects.addressed_by(identifier, external=is_external).first()
        if customer is None:
            raise CustomerNotFound("Customer not found")
        at = timezone.now()
        payer = primary_of(customer, at=at)
        subscriptions = Subscription.objects.live().filter(customer=payer)
        with_seats = subscriptions.filter(items__component__kind=ComponentKind.PER_UNIT)
        subscription = with_seats.order_by("pk").first() or subscriptions.order_by("pk").first()
        return Response(_overview(customer, payer, subscription, at))


def _overview(customer: Customer, payer: Customer, subscription: Subscription | None, at: datetime) -> dict[str, Any]:
    if subscription is None:
        return seat_overview_words(customer, None, usages=[], details=[], components=[])
    items = list(
        subscription.items.filter(component__kind=ComponentKind.PER_UNIT)
        .select_related("component__metric")
        .order_by("component__position")
    )
    usages = [_usage(item, payer, at) for item in items]
    return seat_overview_words(
        customer,
        subscription,
        usages=usages,
        details=describe(subscription, at=at)["subscriptionDetails"],
        components=[item.component for item in items if item.component is not None],
    )


def _usage(item: SubscriptionItem, payer: Customer, at: datetime) -> dict[str, Any]:
    assert item.component is not None
    seats = seats_of(payer)
    in_use = seats_in_use(seats, at) if seats else item.quantity
    paid = PaidUnits([item.subscription_id], since=at, item=item.pk).at(item.subscription_id, at)
    return seat_usage_words(item.component, in_use=in_use, paid=paid)


class NewQuantity(serializers.Serializer):
    """The body of POST /v1/subscriptions/{id}/quantities."""

    componentId = Text(max_length=80)
    quantity = WholeNumber(min_value=0, max_value=1_000_000)


class QuantitiesView(APIView):
    """`/v1/subscriptions/{id}/quantities`."""

    scope = "subscriptions"

    def post(self, request: Request, identifier: str) -> Response:
        """Set how many units of a component a subscription has."""
        body = read_exactly(NewQuantity, request.data)
        at = timezone.now()
        subscription = find_subscription(identifier)
        change = change_quantity(
            at=at, subscription=subscription, component_id=body["componentId"], quantity=body["quantity"]
        )
        paid = PaidUnits([subscription.pk], since=at, item=change.item.pk).at(subscription.pk, at)
        return Response(
            {
                "subscriptionId": subscription.public_id,
                "componentId": body["componentId"],
                "quantity": change.item.quantity,
                "paidQuantity": paid,
                "invoiceId": change.invoice.public_id if change.invoice is not None else None,
            }
        )
