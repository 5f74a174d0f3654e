"""How quotas, grants and their ledger go over the wire, and how requests for them are read."""

from typing import Any

from rest_framework import serializers

from credits.models import ApplicationType, CreditDefinition, CreditTransaction, GrantSource, Scope
from credits.services.grants import LiveGrant

_AMOUNT: dict[str, Any] = {"max_digits": 24, "decimal_places": 6, "min_value": 1}


class CreateDefinition(serializers.Serializer):
    """The body of POST /v1/credits/definitions. Without `scope` it follows from the links."""

    name = serializers.CharField(max_length=200)
    description = serializers.CharField(required=False, allow_blank=True, max_length=2000)
    scope = serializers.ChoiceField(choices=Scope.choices, required=False)
    applicationType = serializers.ChoiceField(choices=ApplicationType.choices)
    planId = serializers.CharField(required=False, allow_null=True)
    priceId = serializers.CharField(required=False, allow_null=True)
    priceComponentId = serializers.CharField(required=False, allow_null=True, max_length=80)
    featureId = serializers.CharField(required=False, allow_null=True)
    featureSlug = serializers.CharField(required=False, allow_null=True)
    defaultAmount = serializers.DecimalField(**_AMOUNT)
    refillAmount = serializers.DecimalField(**_AMOUNT, required=False, allow_null=True)
    expiryDays = serializers.IntegerField(min_value=1, max_value=36_500, required=False, allow_null=True)
    renewOnBilling = serializers.BooleanField(required=False, default=False)
    billingVisible = serializers.BooleanField(required=False, default=False)
    billingDescription = serializers.CharField(required=False, allow_blank=True, allow_null=True, max_length=200)
    priority = serializers.IntegerField(min_value=-(2**31), max_value=2**31 - 1, required=False, allow_null=True)
    refillRrule = serializers.CharField(required=False, allow_null=True)

    def validate_refillRrule(self, rule: str | None) -> None:
        if rule:
            raise serializers.ValidationError(
                "Refills on a calendar of their own cannot be defined; use renewOnBilling to refill with each period."
            )

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


class CreateGrant(serializers.Serializer):
    """The body of POST /v1/credits/grants."""

    customerId = serializers.CharField(error_messages={"required": "Customer ID is required"})
    creditDefinitionId = serializers.CharField()
    initialAmount = serializers.DecimalField(**_AMOUNT, required=False, allow_null=True)
    source = serializers.ChoiceField(  # type: ignore[assignment]  # a field named like an attribute of the base
        choices=GrantSource.choices, required=False, default=GrantSource.MANUAL
    )
    startDate = serializers.DateTimeField(required=False, allow_null=True)
    expiryDate = serializers.DateTimeField(required=False, allow_null=True)
    priority = serializers.IntegerField(min_value=-(2**31), max_value=2**31 - 1, required=False, allow_null=True)
    referenceCode = serializers.CharField(required=False, allow_null=True, max_length=200)
    notes = serializers.CharField(required=False, allow_blank=True, allow_null=True, max_length=5000)


class RevokeGrant(serializers.Serializer):
    """The body of POST /v1/credits/grants/{id}/revoke."""

    notes = serializers.CharField(required=False, allow_blank=True, allow_null=True, max_length=5000)


class ListTransactions(serializers.Serializer):
    """The query of GET /v1/credits/customers/{customerId}/transactions."""

    limit = serializers.IntegerField(
        min_value=1, max_value=1000, default=100, error_messages={"max_value": "Limit must be less than 1000"}
    )
    fromDate = serializers.DateTimeField(required=False)
    toDate = serializers.DateTimeField(required=False)


def definition_body(definition: CreditDefinition, merchant_id: str) -> dict[str, Any]:
    """Shape a definition as the contract does."""
    return {
        "id": definition.public_id,
        "merchantId": merchant_id,
        "name": definition.name,
        "description": definition.description,
        "scope": definition.scope,
        "applicationType": definition.application_type,
        "planId": definition.plan and definition.plan.public_id,
        "featureId": definition.feature and definition.feature.public_id,
        "featureSlug": definition.feature and definition.feature.slug,
        "priceId": definition.price and definition.price.public_id,
        "priceComponentId": definition.price_component_id,
        "defaultAmount": definition.default_amount,
        "refillAmount": definition.refill_amount,
        "expiryDays": definition.expiry_days,
        "refillRrule": None,
        "renewOnBilling": definition.renew_on_billing,
        "billingVisible": definition.billing_visible,
        "billingDescription": definition.billing_description or None,
        "currency": None,
        "priority": definition.priority,
        "isActive": definition.is_active,
        "createdAt": definition.created_at,
        "updatedAt": definition.updated_at,
        "deletedAt": definition.deleted_at,
    }


def grant_body(live: LiveGrant, merchant_id: str) -> dict[str, Any]:
    """Shape a grant as the contract does. `remainingAmount` and `status` are live, `settled` is the ledger's rest."""
    grant, definition = live.grant, live.grant.definition
    return {
        "id": grant.public_id,
        "merchantId": merchant_id,
        "customerId": grant.customer.public_id,
        "creditDefinitionId": definition.public_id,
        "applicationType": definition.application_type,
        "initialAmount": grant.initial_amount,
        "remainingAmount": live.remaining,
        "settled": grant.ledger_remaining,
        "status": live.status,
        "source": grant.source,
        "featureId": definition.feature and definition.feature.public_id,
        "featureSlug": definition.feature and definition.feature.slug,
        "priceId": definition.price and definition.price.public_id,
        "priceComponentId": definition.price_component_id,
        "currency": None,
        "startDate": grant.starts_at,
        "expiryDate": grant.expires_at,
        "referenceCode": grant.reference_code,
        "notes": grant.notes or None,
        "priority": grant.priority,
        "createdAt": grant.created_at,
        "updatedAt": grant.updated_at,
        "deletedAt": None,
    }


def transaction_body(transaction: CreditTransaction, merchant_id: str) -> dict[str, Any]:
    """Shape a movement of the ledger as the contract does, with its `kind` beside it."""
    definition = transaction.grant.definition
    return {
        "id": transaction.public_id,
        "merchantId": merchant_id,
        "customerId": transaction.customer.public_id,
        "creditGrantId": transaction.grant.public_id,
        "kind": transaction.kind,
        "amount": transaction.amount,
        "pending": False,
        "applicationType": definition.application_type,
        "eventName": transaction.grant.metric.event_name,
        "eventTimestamp": transaction.occurred_at,
        "featureId": definition.feature and definition.feature.public_id,
        "featureSlug": definition.feature and definition.feature.slug,
        "priceId": definition.price and definition.price.public_id,
        "priceComponentId": definition.price_component_id,
        "currency": None,
        "notes": transaction.notes or None,
        "createdAt": transaction.occurred_at,
    }
