"""The words of the API key endpoints."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from config.models import ApiKey, Environment, KeyType


class NewApiKey(serializers.Serializer[ApiKey]):
    """What a caller says of the key that is to be made; `permissions` is the older name of `scopes`."""

    name = serializers.CharField(max_length=100)
    keyType = serializers.ChoiceField(choices=KeyType.choices, source="key_type")
    environment = serializers.ChoiceField(choices=Environment.choices, default=Environment.LIVE)
    scopes = serializers.ListField(child=serializers.CharField(max_length=100), required=False)
    permissions = serializers.ListField(child=serializers.CharField(max_length=100), required=False)
    expiresAt = serializers.DateTimeField(source="expires_at", required=False, allow_null=True, default=None)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        permissions = attrs.pop("permissions", None)
        if permissions is not None and attrs.setdefault("scopes", permissions) != permissions:
            raise serializers.ValidationError({"permissions": "must be equal to scopes where both are given."})
        return attrs


def listed_key(key: ApiKey) -> dict[str, Any]:
    """Describe a key in the list, where its text does not stand."""
    return {
        "id": key.public_id,
        "name": key.name,
        "keyType": key.key_type,
        "environment": key.environment,
        "permissions": key.scopes,
        "prefix": key.prefix,
        "createdAt": key.created_at,
        "expiresAt": key.expires_at,
        "lastUsedAt": key.last_used_at,
    }


def publishable_key(key: ApiKey) -> dict[str, Any]:
    """Describe a publishable key with its text, which is no secret."""
    return {
        "id": key.public_id,
        "name": key.name,
        "keyType": key.key_type,
        "environment": key.environment,
        "keyValue": key.publishable_value,
        "prefix": key.prefix,
        "createdAt": key.created_at,
    }


def created_key(key: ApiKey, *, text: str | None, merchant_id: str) -> dict[str, Any]:
    """Describe a key just made. `text` is None where the answer is repeated and the secret is not there any more."""
    return {
        "id": key.public_id,
        "merchantId": merchant_id,
        "name": key.name,
        "keyType": key.key_type,
        "environment": key.environment,
        "permissions": key.scopes,
        "keyValue": text,
        "prefix": key.prefix,
        "createdAt": key.created_at,
        "expiresAt": key.expires_at,
        "revokedAt": key.revoked_at,
        "lastUsedAt": key.last_used_at,
    }
