"""`/v1/tax` and `/v1/public/calculate-tax`."""

from decimal import Decimal
from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.models import TaxNexus, TaxRate, TaxRegistration
from billing.services.tax import TaxPayer, read_tax_terms, tax_of_customer
from billing.services.tax_settings import (
    create_rate,
    find_rate,
    read_settings,
    register,
    set_nexus,
    update_rate,
    update_settings,
)
from billing.tax_preview import calculation_body, preview_body, preview_tax
from billing.tax_words import nexus_body, rate_body, registration_body, settings_body
from plans.money import round_cents
from plans.price_language import LARGEST_AMOUNT_CENTS
from plans.query import boolean_parameter
from plans.refusals import InvalidInput
from plans.serializers.fields import (
    CountryCode,
    CurrencyCode,
    JsonValue,
    OptionalText,
    Switch,
    Text,
    WholeNumber,
    given,
)
from plans.serializers.reading import read, read_exactly
from plans.services.customers import find_customer
from plans.services.merchant import find_merchant_id
from plans.services.prices import find_price

MOST_LINES = 1_000
_MOST_RATE_DECIMALS = 6


class Share(serializers.Field[Decimal, Any, str, Any]):
    """A rate as a share of the net amount, a number or text of one: "0.0875" is 8.75 %."""

    default_error_messages = {
        "invalid": 'must be a decimal such as "0.0875" for 8.75 %, with at most 6 decimals.',
        "range": 'must be between 0 and 1: "0.0875" is 8.75 %.',
    }

    def to_internal_value(self, data: Any) -> Decimal:
        if isinstance(data, bool) or not isinstance(data, str | int | Decimal):
            self.fail("invalid")
        text = str(data)
        whole, _, decimals = text.partition(".")
        is_plain = text.isascii() and whole.isdigit() and (decimals.isdigit() or "." not in text)
        if not is_plain or len(decimals.rstrip("0")) > _MOST_RATE_DECIMALS or len(text) > 40:
            self.fail("invalid")
        rate = Decimal(text)
        if rate > 1:
            self.fail("range")
        return rate


class Amount(serializers.Field[int, Any, int, Any]):
    """An amount of minor units. Browsers multiply prices in floating point, so a fraction is rounded, not refused."""

    default_error_messages = {"invalid": "must be an amount of minor units such as 2900."}

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int | Decimal):
            self.fail("invalid")
        amount = Decimal(data)
        if not -LARGEST_AMOUNT_CENTS <= amount <= LARGEST_AMOUNT_CENTS:
            self.fail("invalid")
        return round_cents(amount)


class UpdateConfig(serializers.Serializer[Any]):
    """The body of POST /v1/tax/config/update: what is sent is changed. A rate of null takes the default away."""

    autoTaxCalculation = Switch(required=False, source="auto_tax_calculation")
    defaultTaxRate = Share(required=False, allow_null=True, source="default_tax_rate")
    pricesIncludeTax = Switch(required=False, source="prices_include_tax")


class NewRate(serializers.Serializer[Any]):
    """The body of POST /v1/tax/rate-definitions/create."""

    name = Text(max_length=200)
    description = OptionalText(max_length=500)
    taxRate = Share(source="rate")
    jurisdiction = OptionalText(max_length=120)
    appliesToJurisdiction = Switch(required=False, allow_null=True, source="applies")
    taxType = OptionalText(max_length=40, source="tax_type")
    isActive = Switch(required=False, source="is_active")


class RateChange(serializers.Serializer[Any]):
    """The body of POST /v1/tax/rate-definitions/{id}/update."""

    # They are known, and refused with their reason.
    taxRate = JsonValue(required=False, allow_null=True)
    jurisdiction = JsonValue(required=False, allow_null=True)
    name = Text(max_length=200, required=False)
    description = OptionalText(max_length=500)
    appliesToJurisdiction = Switch(required=False, source="applies_to_area")
    isActive = Switch(required=False, source="is_active")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        for field in ("taxRate", "jurisdiction"):
            if field in self.initial_data:
                raise InvalidInput.at(
                    field, "cannot be changed: invoices name this definition. Deactivate it and create another."
                )
        return given(attrs)


class NexusChange(serializers.Serializer[Any]):
    """The body of POST /v1/tax/nexus/{STATE}/update: what is sent is changed."""

    hasNexus = Switch(required=False, source="has_nexus")
    nexusType = OptionalText(max_length=40, source="nexus_type")
    salesThreshold = WholeNumber(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=LARGEST_AMOUNT_CENTS,
        source="sales_threshold_cents",
    )
    transactionThreshold = WholeNumber(
        required=False, allow_null=True, min_value=0, max_value=10**12, source="transaction_threshold"
    )
    hasOffices = Switch(required=False, source="has_offices")
    hasEmployees = Switch(required=False, source="has_employees")
    hasInventory = Switch(required=False, source="has_inventory")
    otherPresence = OptionalText(max_length=255, source="other_presence")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        texts = {"nexus_type", "other_presence"}
        return {name: "" if value is None and name in texts else value for name, value in attrs.items()}


class NewRegistration(serializers.Serializer[Any]):
    """The body of POST /v1/tax/registrations/create."""

    jurisdiction = Text(max_length=120)
    registrationNumber = Text(max_length=64, source="registration_number")
    taxType = Text(max_length=40, source="tax_type")
    isActive = Switch(required=False, source="is_active")


class LineToTax(serializers.Serializer[Any]):
    """A line of a preview: its amount, or so many units at so much."""

    description = OptionalText(max_length=500)
    type = OptionalText(max_length=40)
    subtotalCents = Amount(required=False)
    quantity = serializers.DecimalField(max_digits=24, decimal_places=6, required=False, default=Decimal(1))
    unitAmountCents = serializers.DecimalField(max_digits=24, decimal_places=12, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "subtotalCents" not in attrs and "unitAmountCents" not in attrs:
            raise serializers.ValidationError({"subtotalCents": "is required, or quantity and unitAmountCents."})
        return attrs


class PreviewTax(serializers.Serializer[Any]):
    """The body of POST /v1/tax/calculate-preview; `amount` is after credits."""

    customerId = Text(max_length=255)
    amount = Amount()
    currency = CurrencyCode()
    lineItems = serializers.ListField(child=LineToTax(), required=False, allow_null=True, max_length=MOST_LINES)


class CalculateTax(serializers.Serializer[Any]):
    """The body of POST /v1/public/calculate-tax."""

    planId = Text(max_length=80)
    priceId = Text(max_length=80)
    subtotalCents = Amount()
    currency = CurrencyCode()
    customerCountry = CountryCode()
    customerStateProvince = OptionalText(max_length=120)
    taxId = OptionalText(max_length=64)
    businessName = OptionalText(max_length=200)


class TaxConfigView(APIView):
    """`/v1/tax/config`."""

    scope = "tax"

    def get(self, request: Request) -> Response:
        """Show the tax settings."""
        return Response(settings_body(read_settings(), find_merchant_id()))


class TaxConfigUpdateView(APIView):
    """`/v1/tax/config/update`."""

    scope = "tax"

    def post(self, request: Request) -> Response:
        """Change the tax settings."""
        return Response(settings_body(update_settings(read_exactly(UpdateConfig, request.data)), find_merchant_id()))


class TaxRatesView(APIView):
    """`/v1/tax/rate-definitions`."""

    scope = "tax"

    def get(self, request: Request) -> Response:
        """List the rate definitions, retired ones too, the oldest first."""
        merchant = find_merchant_id()
        return Response([rate_body(rate, merchant) for rate in TaxRate.objects.order_by("pk")])


class TaxRateCreateView(APIView):
    """`/v1/tax/rate-definitions/create`."""

    scope = "tax"

    def post(self, request: Request) -> Response:
        """Define a rate."""
        rate = create_rate(at=timezone.now(), **given(read_exactly(NewRate, request.data)))
        return Response(rate_body(rate, find_merchant_id()))


class TaxRateUpdateView(APIView):
    """`/v1/tax/rate-definitions/{id}/update`."""

    scope = "tax"

    def post(self, request: Request, identifier: str) -> Response:
        """Rename a definition, retire it or bring it back."""
        rate = update_rate(rate=find_rate(identifier), changes=read_exactly(RateChange, request.data))
        return Response(rate_body(rate, find_merchant_id()))


class TaxNexusView(APIView):
    """`/v1/tax/nexus`."""

    scope = "tax"

    def get(self, request: Request) -> Response:
        """List what is known of states of the US."""
        merchant = find_merchant_id()
        return Response([nexus_body(nexus, merchant) for nexus in TaxNexus.objects.order_by("state")])


class TaxNexusUpdateView(APIView):
    """`/v1/tax/nexus/{STATE}/update`."""

    scope = "tax"

    def post(self, request: Request, state: str) -> Response:
        """Say whether sales tax is charged in a state, and why."""
        nexus = set_nexus(state=state, changes=read(NexusChange, request.data))
        return Response(nexus_body(nexus, find_merchant_id()))


class TaxRegistrationsView(APIView):
    """`/v1/tax/registrations`."""

    scope = "tax"

    def get(self, request: Request) -> Response:
        """List the active registrations."""
        merchant = find_merchant_id()
        active = TaxRegistration.objects.filter(is_active=True).order_by("pk")
        return Response([registration_body(one, merchant) for one in active])


class TaxRegistrationCreateView(APIView):
    """`/v1/tax/registrations/create`."""

    scope = "tax"

    def post(self, request: Request) -> Response:
        """Note a registration."""
        registration = register(at=timezone.now(), **read_exactly(NewRegistration, request.data))
        return Response(registration_body(registration, find_merchant_id()))


class TaxPreviewView(APIView):
    """`/v1/tax/calculate-preview`."""

    scope = "tax:read"
    # Asking changes nothing, so there is no answer to keep.
    own_idempotency = True

    def post(self, request: Request) -> Response:
        """Tell what tax an amount would have on an invoice of a customer."""
        asked = read_exactly(PreviewTax, request.data)
        external = boolean_parameter(request.query_params, "isExtCustId")
        tax = tax_of_customer(find_customer(asked["customerId"], external=external))
        return Response(preview_body(preview_tax(_amounts(asked), tax)))


def _amounts(asked: dict[str, Any]) -> list[int]:
    """The amounts that are taxed one by one: those of the lines, or the one that is asked for."""
    lines = asked.get("lineItems") or []
    if not lines:
        return [asked["amount"]]
    amounts = [
        line["subtotalCents"] if "subtotalCents" in line else round_cents(line["quantity"] * line["unitAmountCents"])
        for line in lines
    ]
    if sum(amounts) != asked["amount"]:
        raise InvalidInput.at("lineItems", f"must come to amount, {asked['amount']}, and not to {sum(amounts)}.")
    return amounts


class CalculateTaxView(APIView):
    """`/v1/public/calculate-tax`."""

    scope = "public"
    own_idempotency = True

    def post(self, request: Request) -> Response:
        """Tell a checkout in a page of the seller's what tax a new customer would pay."""
        asked = read(CalculateTax, request.data)
        price = find_price(asked["priceId"])
        if asked["planId"] not in (price.plan.public_id, price.plan.stable_plan_id):
            raise InvalidInput.at("planId", "is not the plan of this price.")
        if (asked.get("currency") or price.currency) != price.currency:
            raise InvalidInput.at("currency", f"must be {price.currency}, the currency of this price.")
        payer = TaxPayer(country=asked.get("customerCountry") or "", state=asked.get("customerStateProvince") or "")
        preview = preview_tax([asked["subtotalCents"]], read_tax_terms().applied_to(payer))
        return Response({"success": True, "taxCalculation": calculation_body(preview)})
