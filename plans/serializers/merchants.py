"""The words of the seller."""

import re
from typing import Any
from zoneinfo import ZoneInfo

from rest_framework import serializers

from plans.models import Merchant
from plans.serializers.fields import CountryCode, CurrencyCode, Email, Metadata, OptionalText

MOST_CURRENCIES = 200
_PREFIX = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,10}[A-Za-z0-9])?")


class MerchantChange(serializers.Serializer[Merchant]):
    """What is to be changed of the seller: only what is sent is changed; null and empty text clear it."""

    legalName = OptionalText(max_length=200, source="legal_name")
    displayName = OptionalText(max_length=200, source="display_name")
    websiteUrl = serializers.URLField(
        required=False, allow_blank=True, allow_null=True, max_length=200, source="website_url"
    )
    taxId = OptionalText(max_length=64, source="tax_id")
    supportEmail = Email(max_length=254, source="support_email")
    billingEmail = Email(max_length=254, source="billing_email")
    phoneNumber = OptionalText(max_length=40, source="phone_number")
    addressLine1 = OptionalText(max_length=255, source="address_line1")
    addressLine2 = OptionalText(max_length=255, source="address_line2")
    city = OptionalText(max_length=120)
    stateProvince = OptionalText(max_length=120, source="state_province")
    postalCode = OptionalText(max_length=40, source="postal_code")
    country = CountryCode()
    defaultCurrency = CurrencyCode(source="default_currency")
    supportedCurrencies = serializers.ListField(
        child=CurrencyCode(),
        required=False,
        allow_null=True,
        max_length=MOST_CURRENCIES,
        source="supported_currencies",
    )
    timezone = OptionalText(max_length=64)
    invoicePrefix = OptionalText(max_length=12, source="invoice_prefix")
    brandingSettings = Metadata(required=False, allow_null=True, source="branding_settings")
    notificationPreferences = Metadata(required=False, allow_null=True, source="notification_preferences")
    featureFlags = Metadata(required=False, allow_null=True, source="feature_flags")

    def validate_invoicePrefix(self, prefix: str | None) -> str | None:
        if prefix and not _PREFIX.fullmatch(prefix):
            raise serializers.ValidationError("must be letters, digits and hyphens between them.")
        return prefix

    def validate_supportedCurrencies(self, codes: list[str | None] | None) -> list[str] | None:
        if codes is not None and not all(codes):
            raise serializers.ValidationError("must be a list of ISO 4217 codes such as USD.")
        return list(dict.fromkeys(code for code in codes if code)) if codes is not None else None

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        unset = Merchant()
        return {name: getattr(unset, name, None) if value in ("", None) else value for name, value in attrs.items()}


def merchant_words(merchant: Merchant, zone: ZoneInfo) -> dict[str, Any]:
    """Describe the seller; `zone` is the billing time zone. There are no users and organizations of the vendor's."""
    return {
        "id": merchant.public_id,
        "userId": None,
        "organizationId": None,
        "legalName": merchant.legal_name or None,
        "displayName": merchant.display_name or None,
        "websiteUrl": merchant.website_url or None,
        "taxId": merchant.tax_id or None,
        "supportEmail": merchant.support_email or None,
        "billingEmail": merchant.billing_email or None,
        "phoneNumber": merchant.phone_number or None,
        "addressLine1": merchant.address_line1 or None,
        "addressLine2": merchant.address_line2 or None,
        "city": merchant.city or None,
        "stateProvince": merchant.state_province or None,
        "postalCode": merchant.postal_code or None,
        "country": merchant.country or None,
        "defaultCurrency": merchant.default_currency,
        "supportedCurrencies": merchant.supported_currencies or [merchant.default_currency],
        "timezone": str(zone),
        "invoicePrefix": merchant.invoice_prefix or None,
        "brandingSettings": merchant.branding_settings,
        "notificationPreferences": merchant.notification_preferences,
        "featureFlags": merchant.feature_flags,
        "isDemo": False,
        "createdAt": merchant.created_at,
        "updatedAt": merchant.updated_at,
    }
