"""How tax goes over the wire."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from billing.models import Invoice, InvoiceLine, TaxNexus, TaxRate, TaxRegistration, TaxSettings
from billing.services.tax import AppliedTax
from billing.tax import percent_text, tax_text
from billing.tax_lines import TaxSum, tax_sums
from plans.money import plain_number

# The contract names where a rate comes from; ours come from the customer's or a jurisdiction's definition, or are the
# default.
_FROM_DEFINITION = "rate_definition"
_FROM_DEFAULT = "default_rate"


def invoice_tax_words(invoice: Invoice) -> dict[str, Any]:
    """The tax fields of an invoice: the rate that applied to its customer, and why."""
    return {
        "effectiveTaxRate": rate_words(invoice.tax_rate or Decimal(0)),
        "taxJurisdiction": invoice.tax_jurisdiction or None,
        "taxCalculationMethod": invoice.tax_method or None,
        "taxReasonCode": invoice.tax_reason_code or None,
        "taxExemptionReason": invoice.tax_exemption_reason or None,
        "pricesIncludeTax": invoice.prices_include_tax,
        "taxLineItemDescriptions": [tax_text(invoice.tax_rate)] if invoice.tax_cents and invoice.tax_rate else [],
    }


def tax_line_bodies(invoice: Invoice, lines: Iterable[InvoiceLine]) -> list[dict[str, Any]]:
    """The contract's lines of type `tax`, one per rate. Where prices include the tax, it is in the other lines too."""
    return [_tax_line(invoice, tax, number) for number, tax in enumerate(tax_sums(invoice, lines), start=1)]


def _tax_line(invoice: Invoice, tax: TaxSum, number: int) -> dict[str, Any]:
    return {
        "id": f"{invoice.public_id}_tax_{number}" if invoice.public_id else None,
        "type": "tax",
        "componentId": None,
        "metricId": None,
        "creditGrantId": None,
        "description": tax_text(tax.rate),
        "quantity": 1,
        "unitAmountCents": tax.tax_cents,
        "subtotalCents": tax.tax_cents,
        "monetaryCreditCents": 0,
        "taxMetadata": _metadata_of_invoice(invoice, tax),
        "billingPeriodStart": invoice.period_start_at,
        "billingPeriodEnd": invoice.period_end_at,
        "usagePeriodStart": None,
        "usagePeriodEnd": None,
    }


def _metadata_of_invoice(invoice: Invoice, tax: TaxSum) -> dict[str, Any]:
    applied = AppliedTax(rate=tax.rate)
    if tax.rate == invoice.tax_rate:
        applied = AppliedTax(
            rate=tax.rate,
            jurisdiction=invoice.tax_jurisdiction,
            name=invoice.tax_name,
            definition=invoice.tax_rate_definition,
            reason_code=invoice.tax_reason_code,
            exemption_reason=invoice.tax_exemption_reason,
        )
    return metadata_words(applied) | {
        "taxableCents": tax.net_cents,
        "taxAmountCents": tax.tax_cents,
        "isIncluded": invoice.prices_include_tax,
    }


def metadata_words(tax: AppliedTax) -> dict[str, Any]:
    """Describe a rate and why it applies, in the contract's words."""
    definition = tax.definition
    name = tax.name or "Tax"
    place = f", {tax.jurisdiction}" if tax.jurisdiction else ""
    return {
        "taxAuthority": tax.jurisdiction or None,
        "taxType": definition.tax_type if definition is not None else "manual",
        "jurisdiction": tax.jurisdiction or None,
        "taxRate": rate_words(tax.rate),
        "rateSource": _FROM_DEFINITION if definition is not None else _FROM_DEFAULT,
        "exemptionReason": tax.exemption_reason or None,
        "reasonCode": tax.reason_code or None,
        "fullDescription": f"{name} ({percent_text(tax.rate)}){place}",
    }


def line_tax_words(line: InvoiceLine) -> dict[str, Any] | None:
    """What tax was computed of a line, and what it came to; None for lines that are taxed with another one."""
    if line.tax_rate is None:
        return None
    return {
        "taxRate": rate_words(line.tax_rate),
        "taxableCents": line.taxable_cents,
        "taxAmountCents": line.tax_cents,
    }


def rate_words(rate: Decimal) -> str:
    """Write a rate as the contract's decimal string: 0.0875."""
    return plain_number(rate)


def settings_body(settings: TaxSettings, merchant_id: str) -> dict[str, Any]:
    """Shape the tax settings."""
    rate = settings.default_tax_rate
    return {
        "id": settings.public_id,
        "merchantId": merchant_id,
        "autoTaxCalculation": settings.auto_tax_calculation,
        "defaultTaxRate": None if rate is None else rate_words(rate),
        "pricesIncludeTax": settings.prices_include_tax,
        "createdAt": settings.created_at,
        "updatedAt": settings.updated_at,
    }


def rate_body(rate: TaxRate, merchant_id: str) -> dict[str, Any]:
    """Shape a rate definition."""
    return {
        "id": rate.public_id,
        "merchantId": merchant_id,
        "name": rate.name,
        "description": rate.description or None,
        "taxRate": rate_words(rate.rate),
        "jurisdiction": rate.jurisdiction or None,
        "appliesToJurisdiction": rate.applies_to_area,
        "taxType": rate.tax_type,
        "isActive": rate.is_active,
        "createdAt": rate.created_at,
        "updatedAt": rate.updated_at,
    }


def nexus_body(nexus: TaxNexus, merchant_id: str) -> dict[str, Any]:
    """Shape what is known of a state of the US."""
    return {
        "id": nexus.public_id,
        "merchantId": merchant_id,
        "state": nexus.state,
        "hasNexus": nexus.has_nexus,
        "nexusType": nexus.nexus_type or None,
        "salesThreshold": nexus.sales_threshold_cents,
        "transactionThreshold": nexus.transaction_threshold,
        "hasOffices": nexus.has_offices,
        "hasEmployees": nexus.has_employees,
        "hasInventory": nexus.has_inventory,
        "otherPresence": nexus.other_presence or None,
        "createdAt": nexus.created_at,
        "updatedAt": nexus.updated_at,
    }


def registration_body(registration: TaxRegistration, merchant_id: str) -> dict[str, Any]:
    """Shape a registration."""
    return {
        "id": registration.public_id,
        "merchantId": merchant_id,
        "jurisdiction": registration.jurisdiction,
        "registrationNumber": registration.registration_number,
        "taxType": registration.tax_type,
        "isActive": registration.is_active,
        "createdAt": registration.created_at,
        "updatedAt": registration.updated_at,
    }
