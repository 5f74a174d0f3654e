"""The words of enrollment: rules, sign-ups, and what sign-up services send."""

from typing import Any

from rest_framework import serializers

from plans.models import EnrollmentRule, MatcherType
from plans.serializers.fields import Choice, CountryCode, Email, OptionalText, Text


class NewRule(serializers.Serializer[EnrollmentRule]):
    """The body of POST /v1/enrollment/rules."""

    planId = Text(max_length=80)
    matcherType = Choice(choices=MatcherType.values)
    matcherValue = Text(max_length=254)


class SignUp(serializers.Serializer):
    """The body of POST /v1/enrollment/enroll, and of create-free-subscription."""

    userId = Text(max_length=255)
    customerEmail = Email(max_length=254)
    customerName = Text(max_length=200)
    planId = OptionalText(max_length=80)
    billingAddressLine1 = OptionalText(max_length=255)
    billingAddressLine2 = OptionalText(max_length=255)
    billingCity = OptionalText(max_length=120)
    billingStateProvince = OptionalText(max_length=120)
    billingPostalCode = OptionalText(max_length=40)
    billingCountry = CountryCode()
    taxId = OptionalText(max_length=64)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs.get("customerEmail"):
            raise serializers.ValidationError({"customerEmail": "is required."})
        return attrs


_PROFILE = {
    "billingAddressLine1": "billing_address_line1",
    "billingAddressLine2": "billing_address_line2",
    "billingCity": "billing_city",
    "billingStateProvince": "billing_state_province",
    "billingPostalCode": "billing_postal_code",
    "billingCountry": "billing_country",
    "taxId": "tax_id",
}


def sign_up_fields(body: dict[str, Any]) -> dict[str, Any]:
    """What a sign-up says, by the names of the service."""
    return {
        "user_id": body["userId"],
        "email": body["customerEmail"],
        "name": body["customerName"],
        "plan_id": body.get("planId") or None,
        "profile": {field: body[name] for name, field in _PROFILE.items() if body.get(name)},
    }


class SupabaseNames(serializers.Serializer):
    """What Supabase keeps of a user beside his account."""

    first_name = OptionalText(max_length=100)
    last_name = OptionalText(max_length=100)


class SupabaseUser(serializers.Serializer):
    """The row of a new user at Supabase."""

    id = Text(max_length=255)
    email = Email(max_length=254)
    raw_user_meta_data = SupabaseNames(required=False, allow_null=True)


class ClerkAddress(serializers.Serializer):
    """One e-mail address of a user at Clerk."""

    id = OptionalText(max_length=255)
    email_address = Email(max_length=254)


class ClerkUser(serializers.Serializer):
    """A new user at Clerk."""

    id = Text(max_length=255)
    email_addresses = ClerkAddress(many=True)
    primary_email_address_id = OptionalText(max_length=255)
    first_name = OptionalText(max_length=100)
    last_name = OptionalText(max_length=100)
    username = OptionalText(max_length=100)


def rule_words(rule: EnrollmentRule) -> dict[str, Any]:
    """Describe a rule; its plan is to be fetched already."""
    return {
        "id": rule.public_id,
        "planId": rule.plan.public_id,
        "matcherType": rule.matcher_type,
        "matcherValue": rule.matcher_value,
        "isActive": rule.is_active,
        "createdAt": rule.created_at,
    }
