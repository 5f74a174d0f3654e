"""The words of customers."""

from typing import Any

from rest_framework import serializers

from plans.models import Customer
from plans.models.customers import OrgRole, TaxCalculation
from plans.serializers.fields import (
    Choice,
    CountryCode,
    CurrencyCode,
    Email,
    LanguageCode,
    Metadata,
    OptionalText,
    Switch,
    Text,
    TimeZoneName,
    given,
)


class NewCustomer(serializers.Serializer[Customer]):
    """What a caller says of a customer that is to be made; `userId` is the oldest name of `externalCustomerId`."""

    name = Text(max_length=200)
    email = Email(max_length=254)
    phoneNumber = OptionalText(max_length=40, source="phone_number")
    externalCustomerId = OptionalText(max_length=255, source="external_customer_id")
    userId = OptionalText(max_length=255)
    pspCustomerId = OptionalText(max_length=255, source="psp_customer_id")
    billingAddressLine1 = OptionalText(max_length=255, source="billing_address_line1")
    billingAddressLine2 = OptionalText(max_length=255, source="billing_address_line2")
    billingCity = OptionalText(max_length=120, source="billing_city")
    billingStateProvince = OptionalText(max_length=120, source="billing_state_province")
    billingPostalCode = OptionalText(max_length=40, source="billing_postal_code")
    billingCountry = CountryCode(source="billing_country")
    businessName = OptionalText(max_length=200, source="business_name")
    taxId = OptionalText(max_length=64, source="tax_id")
    taxExempt = Switch(required=False, source="tax_exempt")
    taxExemptionReason = OptionalText(max_length=255, source="tax_exemption_reason")
    taxExemptionCertificate = OptionalText(max_length=255, source="tax_exemption_certificate")
    taxRateDefinitionId = OptionalText(max_length=48, source="tax_rate_definition_id")
    taxCalculationMethod = Choice(
        choices=TaxCalculation.values, required=False, allow_null=True, source="tax_calculation_method"
    )
    invoicePrefix = OptionalText(max_length=20, source="invoice_prefix")
    preferredLanguage = LanguageCode(max_length=16, source="preferred_language")
    timezone = TimeZoneName(max_length=64)
    preferredCurrency = CurrencyCode(source="preferred_currency")
    metadata = Metadata(required=False, allow_null=True)
    customerOrganizationId = OptionalText(max_length=255, source="customer_organization_id")
    orgRole = Choice(choices=OrgRole.values, required=False, allow_null=True, source="org_role")
    dangerouslyAllowCustomerWithoutEmail = Switch(required=False, source="without_email")
    dangerouslyAllowSameEmailForDifferentCustomers = Switch(required=False, source="share_email")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        # Empty text means absent in every field of a customer; the columns that are unique must not hold it.
        return _under_newest_name({name: value for name, value in given(attrs).items() if value != ""})


class CustomerChange(NewCustomer):
    """What a caller says of a customer that is to be changed: only what is sent is changed; null and empty text clear
    it. `invoicePrefix` cannot be cleared."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, partial=True, **kwargs)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = _under_newest_name(attrs)
        if attrs.get("invoice_prefix", "set") in ("", None):
            raise serializers.ValidationError({"invoicePrefix": "cannot be empty."})
        return {name: _cleared(name) if value in ("", None) else value for name, value in attrs.items()}


def _cleared(name: str) -> Any:
    return getattr(Customer(), name)


def _under_newest_name(attrs: dict[str, Any]) -> dict[str, Any]:
    older_name = attrs.pop("userId", None)
    if older_name is not None and attrs.setdefault("external_customer_id", older_name) != older_name:
        raise serializers.ValidationError({"userId": "must be equal to externalCustomerId where both are given."})
    return attrs


def customer_words(customer: Customer, *, merchant_id: str) -> dict[str, Any]:
    """Describe a customer."""
    return {
        "id": customer.public_id,
        "merchantId": merchant_id,
        "name": customer.name,
        "email": customer.email or None,
        "phoneNumber": customer.phone_number or None,
        "externalCustomerId": customer.external_customer_id,
        "pspCustomerId": customer.psp_customer_id,
        "billingAddressLine1": customer.billing_address_line1 or None,
        "billingAddressLine2": customer.billing_address_line2 or None,
        "billingCity": customer.billing_city or None,
        "billingStateProvince": customer.billing_state_province or None,
        "billingPostalCode": customer.billing_postal_code or None,
        "billingCountry": customer.billing_country or None,
        "businessName": customer.business_name or None,
        "taxId": customer.tax_id or None,
        "taxExempt": customer.tax_exempt,
        "taxExemptionReason": customer.tax_exemption_reason or None,
        "taxExemptionCertificate": customer.tax_exemption_certificate or None,
        "taxRateDefinitionId": customer.tax_rate_definition_id,
        "taxCalculationMethod": customer.tax_calculation_method,
        "invoicePrefix": customer.invoice_prefix,
        "preferredLanguage": customer.preferred_language,
        "timezone": customer.timezone,
        "preferredCurrency": customer.preferred_currency,
        "metadata": customer.metadata,
        "customerOrganizationId": customer.customer_organization_id,
        "orgRole": customer.org_role,
        "createdAt": customer.created_at,
        "updatedAt": customer.updated_at,
        "deletedAt": customer.deleted_at,
    }
