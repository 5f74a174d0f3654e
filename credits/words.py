"""How credits, grants and their ledger go over the wire, and how requests for them are read."""

from typing import Any

from rest_framework import serializers

from credits.models import ApplicationType, CreditDefinition, GrantSource, Scope
from credits.services.balance import Balance, GrantShare
from credits.services.grants import STATUSES, LiveGrant
from credits.services.movements import Movement
from plans.serializers.fields import Choice, CurrencyCode, OptionalText, Switch, Text, WholeNumber

_AMOUNT: dict[str, Any] = {"max_digits": 24, "decimal_places": 6, "min_value": 1}
_OPTIONAL: dict[str, Any] = {"required": False, "allow_null": True}
_PRIORITY: dict[str, Any] = {"min_value": -(2**31), "max_value": 2**31 - 1} | _OPTIONAL
_DAYS: dict[str, Any] = {"min_value": 1, "max_value": 36_500} | _OPTIONAL


class RolloverTerms(serializers.Serializer):
    """What becomes of the rest of a renewed grant: `{"cap", "expiresAfterDays"}`, null for no limit."""

    cap = serializers.DecimalField(**_AMOUNT, **_OPTIONAL)
    expiresAfterDays = WholeNumber(**_DAYS)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if isinstance(data, dict) and (unknown := sorted(data.keys() - self.fields.keys())):
            raise serializers.ValidationError(dict.fromkeys(unknown, "is not known here."))
        return super().to_internal_value(data)


class DefinitionTerms(serializers.Serializer):
    """What creating and updating a definition have in common. Fields that are absent are left as they are."""

    description = OptionalText(max_length=2000)
    planId = OptionalText(max_length=80)
    priceId = OptionalText(max_length=80)
    priceComponentId = OptionalText(max_length=80)
    featureId = OptionalText(max_length=80)
    featureSlug = OptionalText(max_length=80)
    refillAmount = serializers.DecimalField(**_AMOUNT, **_OPTIONAL)
    expiryDays = WholeNumber(**_DAYS)
    refillRrule = OptionalText(max_length=200)
    renewOnBilling = Switch(required=False)
    rollover = RolloverTerms(**_OPTIONAL)
    perSeat = Switch(required=False)
    currency = CurrencyCode()
    billingVisible = Switch(required=False)
    billingDescription = OptionalText(max_length=200)
    priority = WholeNumber(**_PRIORITY)


class CreateDefinition(DefinitionTerms):
    """The body of POST /v1/credits/definitions. Without `scope` it follows from the links."""

    name = Text(max_length=200)
    scope = Choice(choices=Scope.choices, required=False)
    applicationType = Choice(choices=ApplicationType.choices)
    defaultAmount = serializers.DecimalField(**_AMOUNT)
    isActive = Switch(required=False, default=True)

    def validate(self, body: dict[str, Any]) -> dict[str, Any]:
        if "scope" not in body:
            body["scope"] = _scope_of(body)
        return body


def _scope_of(body: dict[str, Any]) -> str:
    """The scope that the links of a definition mean, for the older calls that do not say it."""
    if body.get("planId"):
        return Scope.PLAN
    if body.get("priceComponentId"):
        return Scope.COMPONENT
    return Scope.PRICE if body.get("priceId") else Scope.MERCHANT


class UpdateDefinition(DefinitionTerms):
    """The body of POST /v1/credits/definitions/{id}/update."""

    name = Text(max_length=200, required=False)
    scope = Choice(choices=Scope.choices, required=False)
    applicationType = Choice(choices=ApplicationType.choices, required=False)
    defaultAmount = serializers.DecimalField(**_AMOUNT, required=False)
    isActive = Switch(required=False)
    applyToExisting = Switch(required=False, default=False)


class DeleteDefinition(serializers.Serializer):
    """The body of POST /v1/credits/definitions/{id}/delete."""

    applyToExisting = Switch(required=False, default=False)


# The fields of the model behind the names of the wire; links and rollover are read apart.
_FIELDS = {
    "name": "name",
    "description": "description",
    "scope": "scope",
    "applicationType": "application_type",
    "priceComponentId": "price_component_id",
    "defaultAmount": "default_amount",
    "refillAmount": "refill_amount",
    "expiryDays": "expiry_days",
    "refillRrule": "refill_rrule",
    "renewOnBilling": "renew_on_billing",
    "perSeat": "per_seat",
    "currency": "currency",
    "billingVisible": "billing_visible",
    "billingDescription": "billing_description",
    "priority": "priority",
    "isActive": "is_active",
}
_TEXTS = {"description", "refill_rrule", "currency", "billing_description"}


def definition_fields(body: dict[str, Any]) -> dict[str, Any]:
    """The fields of a definition that a body names, but for its links to other objects."""
    fields = {field: body[name] for name, field in _FIELDS.items() if name in body}
    fields |= {field: fields[field] or "" for field in _TEXTS & fields.keys()}
    if "price_component_id" in fields:
        fields["price_component_id"] = fields["price_component_id"] or None
    if "rollover" in body:
        terms = body["rollover"]
        fields["rolls_over"] = terms is not None
        fields["rollover_cap"] = terms.get("cap") if terms is not None else None
        fields["rollover_days"] = terms.get("expiresAfterDays") if terms is not None else None
    return fields


class ListDefinitions(serializers.Serializer):
    """The query of GET /v1/credits/definitions."""

    scope = Choice(choices=Scope.choices, required=False)
    applicationType = Choice(choices=ApplicationType.choices, required=False)


_NO_CUSTOMER = "Customer ID is required"


class CreateGrant(serializers.Serializer):
    """The body of POST /v1/credits/grants."""

    customerId = Text(max_length=200, error_messages=dict.fromkeys(("required", "null", "blank"), _NO_CUSTOMER))
    creditDefinitionId = Text(max_length=80)
    initialAmount = serializers.DecimalField(**_AMOUNT, **_OPTIONAL)
    source = Choice(  # type: ignore[assignment]  # a field named like an attribute of the base
        choices=GrantSource.choices, required=False, default=GrantSource.MANUAL
    )
    startDate = serializers.DateTimeField(**_OPTIONAL)
    expiryDate = serializers.DateTimeField(**_OPTIONAL)
    priority = WholeNumber(**_PRIORITY)
    referenceCode = OptionalText(max_length=200)
    notes = OptionalText(max_length=5000)


class RevokeGrant(serializers.Serializer):
    """The body of POST /v1/credits/grants/{id}/revoke."""

    notes = OptionalText(max_length=5000)


class AdjustGrant(serializers.Serializer):
    """The body of POST /v1/credits/grants/{id}/adjust: units or minor units to add, or with a minus to take away."""

    amount = serializers.DecimalField(max_digits=24, decimal_places=6)
    notes = OptionalText(max_length=5000)


class ListGrants(serializers.Serializer):
    """The query of GET /v1/credits/customers/{customerId}/grants."""

    status = Choice(choices=[(status, status) for status in STATUSES], required=False)
    applicationType = Choice(choices=ApplicationType.choices, required=False)


class ListTransactions(serializers.Serializer):
    """The query of GET /v1/credits/customers/{customerId}/transactions."""

    limit = serializers.IntegerField(
        min_value=1, max_value=1000, default=100, error_messages={"max_value": "Limit must be less than 1000"}
    )
    fromDate = serializers.DateTimeField(required=False)
    toDate = serializers.DateTimeField(required=False)


def definition_body(definition: CreditDefinition, merchant_id: str) -> dict[str, Any]:
    """Shape a definition as the contract does, with its `rollover` beside it."""
    rollover = {"cap": definition.rollover_cap, "expiresAfterDays": definition.rollover_days}
    return {
        "id": definition.public_id,
        "merchantId": merchant_id,
        "name": definition.name,
        "description": definition.description,
        "scope": definition.scope,
        "applicationType": definition.application_type,
        "planId": definition.plan and definition.plan.public_id,
        **_links(definition),
        "defaultAmount": definition.default_amount,
        "refillAmount": definition.refill_amount,
        "expiryDays": definition.expiry_days,
        "refillRrule": definition.refill_rrule or None,
        "renewOnBilling": definition.renew_on_billing,
        "rollover": rollover if definition.rolls_over else None,
        "perSeat": definition.per_seat,
        "billingVisible": definition.billing_visible,
        "billingDescription": definition.billing_description or None,
        "currency": definition.currency or None,
        "priority": definition.priority,
        "isActive": definition.is_active,
        "createdAt": definition.created_at,
        "updatedAt": definition.updated_at,
        "deletedAt": definition.deleted_at,
    }


def _links(definition: CreditDefinition) -> dict[str, Any]:
    return {
        "featureId": definition.feature and definition.feature.public_id,
        "featureSlug": definition.feature and definition.feature.slug,
        "priceId": definition.price and definition.price.public_id,
        "priceComponentId": definition.price_component_id,
    }


def grant_body(live: LiveGrant, merchant_id: str) -> dict[str, Any]:
    """Shape a grant as the contract does. `remainingAmount` and `status` are live, `settled` is the ledger's rest, and
    `adjustedAmount` what was added (or taken away) later."""
    grant, definition = live.grant, live.grant.definition
    return {
        "id": grant.public_id,
        "merchantId": merchant_id,
        "customerId": grant.customer.public_id,
        "creditDefinitionId": definition.public_id,
        "applicationType": definition.application_type,
        "initialAmount": grant.initial_amount,
        "adjustedAmount": grant.adjusted_amount,
        "remainingAmount": live.remaining,
        "settled": grant.ledger_remaining,
        "status": live.status,
        "source": grant.source,
        **_links(definition),
        "currency": grant.currency or None,
        "startDate": grant.starts_at,
        "expiryDate": grant.expires_at,
        "referenceCode": grant.reference_code,
        "notes": grant.notes or None,
        "priority": grant.priority,
        "createdAt": grant.created_at,
        "updatedAt": grant.updated_at,
        "deletedAt": None,
    }


def movement_body(movement: Movement, merchant_id: str) -> dict[str, Any]:
    """Shape a movement of the ledger as the contract does, with its `kind` and whether it is `pending` beside it."""
    grant, definition = movement.grant, movement.grant.definition
    return {
        "id": movement.public_id,
        "merchantId": merchant_id,
        "customerId": grant.customer.public_id,
        "creditGrantId": grant.public_id,
        "kind": movement.kind,
        "amount": movement.amount,
        "pending": movement.pending,
        "applicationType": definition.application_type,
        "eventName": grant.metric and grant.metric.event_name,
        "eventTimestamp": movement.occurred_at,
        **_links(definition),
        "currency": grant.currency or None,
        "notes": movement.notes or None,
        "createdAt": movement.occurred_at,
    }


def balances_body(balances: list[Balance], customer_id: str) -> dict[str, Any]:
    """Shape a customer's balances: `features` by the feature (or, without one, the metric) that their units belong to,
    `money` by currency. `grants` are in burn order."""
    return {
        "customerId": customer_id,
        "features": [
            {
                "featureId": feature and feature.public_id,
                "featureSlug": feature and feature.slug,
                "metricId": balance.metric.public_id,
                "eventName": balance.metric.event_name,
                "included": balance.included,
                "includedRemaining": balance.included_left,
                **_totals(balance),
            }
            for balance in balances
            if balance.metric is not None
            for feature in (*balance.features,) or (None,)
        ],
        "money": [{"currency": balance.currency, **_totals(balance)} for balance in balances if balance.metric is None],
    }


def _totals(balance: Balance) -> dict[str, Any]:
    return {
        **{name: balance.total(name) for name in ("granted", "settled", "pending", "remaining")},
        "grants": [_share_body(share) for share in balance.shares],
    }


def _share_body(share: GrantShare) -> dict[str, Any]:
    grant = share.grant
    return {
        "grantId": grant.public_id,
        "creditDefinitionId": grant.definition.public_id,
        "name": grant.definition.name,
        "source": grant.source,
        "priority": grant.priority,
        "startDate": share.starts_at,
        "expiryDate": share.ends_at,
        "granted": share.granted,
        "settled": share.settled,
        "pending": share.pending,
        "remaining": share.remaining,
        "rolledOver": share.is_rolled_over,
    }
