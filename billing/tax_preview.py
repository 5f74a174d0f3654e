"""What tax would come to, before there is an invoice."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from billing.services.tax import AppliedTax
from billing.tax import Taxable, tax_text, taxes_of
from billing.tax_areas import US, area_of
from billing.tax_words import metadata_words


@dataclass(frozen=True, slots=True)
class TaxPreview:
    """The tax of some amounts, each rounded by itself; all minor units. `net_cents` is without tax."""

    applied: AppliedTax
    net_cents: int
    tax_cents: int


def preview_tax(amounts: Sequence[int], tax: AppliedTax) -> TaxPreview:
    """Compute the tax of amounts as an invoice with one line each would have it."""
    tax_cents = sum(taxes_of([Taxable(cents, tax.rate) for cents in amounts], included=tax.is_included))
    net_cents = sum(amounts) - (tax_cents if tax.is_included else 0)
    return TaxPreview(applied=tax, net_cents=net_cents, tax_cents=tax_cents)


def preview_body(preview: TaxPreview) -> dict[str, Any]:
    """Shape the answer of /v1/tax/calculate-preview."""
    tax = preview.applied
    return {
        "taxableAmount": preview.net_cents,
        "totalTaxCents": preview.tax_cents,
        "effectiveTaxRate": tax.rate,
        "jurisdiction": tax.jurisdiction or None,
        "calculationMethod": tax.method or None,
        "taxBreakdown": {_level(tax): preview.tax_cents} if preview.tax_cents else {},
        "taxLineItems": _tax_line_items(preview),
        **_exemption(tax),
    }


def calculation_body(preview: TaxPreview) -> dict[str, Any]:
    """Shape the answer of /v1/public/calculate-tax."""
    tax = preview.applied
    return {
        "subtotalCents": preview.net_cents,
        "taxAmountCents": preview.tax_cents,
        "totalAmountCents": preview.net_cents + preview.tax_cents,
        "effectiveTaxRate": tax.rate,
        "jurisdiction": tax.jurisdiction,
        "calculationMethod": tax.method or "manual",
        "taxLineItems": _tax_line_items(preview),
        **_exemption(tax),
    }


def _level(tax: AppliedTax) -> str:
    return "stateTax" if area_of(tax.jurisdiction).startswith(f"{US}-") else "countryTax"


def _tax_line_items(preview: TaxPreview) -> list[dict[str, Any]]:
    """The one tax line, which says of 0, too, why; none where the seller has no tax terms."""
    tax = preview.applied
    if not tax.method:
        return []
    return [
        {
            "type": "tax",
            "description": tax_text(tax.rate),
            "subtotalCents": preview.tax_cents,
            "taxMetadata": metadata_words(tax),
            "billingPeriodStart": None,
            "billingPeriodEnd": None,
        }
    ]


def _exemption(tax: AppliedTax) -> dict[str, str]:
    return {"exemptionReason": tax.exemption_reason} if tax.exemption_reason else {}
