"""How invoices that an operator writes are read."""

from decimal import Decimal
from typing import Any

from rest_framework import serializers

from billing.models import Invoice, TaxMethod
from billing.services.manual_invoices import LINE_TYPES, Totals, WrittenLine
from plans.price_language import LARGEST_AMOUNT_CENTS
from plans.refusals import InvalidInput
from plans.serializers.fields import Choice, CurrencyCode, OptionalText, Text, WholeNumber

MOST_LINES = 1000
_OPTIONAL: dict[str, Any] = {"required": False, "allow_null": True}
_CENTS: dict[str, Any] = {"min_value": 0, "max_value": LARGEST_AMOUNT_CENTS} | _OPTIONAL
_DETAILS = {
    "issueDate": "issue_date",
    "dueDate": "due_at",
    "notes": "notes",
    "effectiveTaxRate": "tax_rate",
    "taxJurisdiction": "tax_jurisdiction",
    "taxCalculationMethod": "tax_method",
    "manualTaxDescription": "tax_name",
}
_EMPTY = {"notes": "", "tax_jurisdiction": "", "tax_method": "", "tax_name": ""}


class WrittenLineItem(serializers.Serializer):
    """A line of a manual invoice; with the `id` of one that is there it takes its place."""

    id = OptionalText(max_length=80)
    description = Text(max_length=500)
    quantity = serializers.DecimalField(max_digits=24, decimal_places=6, min_value=Decimal("0.000001"))
    unitAmountCents = serializers.DecimalField(max_digits=27, decimal_places=12)
    type = Choice(choices=[str(kind) for kind in LINE_TYPES], required=False, default="fixed")


class InvoiceTerms(serializers.Serializer):
    """What writing and changing a manual invoice have in common."""

    status = Choice(choices=["draft", "issued"])
    issueDate = serializers.DateTimeField(**_OPTIONAL)
    dueDate = serializers.DateTimeField(**_OPTIONAL)
    subtotalCents = WholeNumber(**(_CENTS | {"min_value": -LARGEST_AMOUNT_CENTS}))
    taxAmountCents = WholeNumber(**_CENTS)
    totalAmountCents = WholeNumber(**(_CENTS | {"min_value": -LARGEST_AMOUNT_CENTS}))
    effectiveTaxRate = serializers.DecimalField(
        max_digits=7, decimal_places=6, min_value=Decimal(0), max_value=Decimal(1), **_OPTIONAL
    )
    taxJurisdiction = OptionalText(max_length=120)
    taxCalculationMethod = Choice(choices=[str(TaxMethod.MANUAL), str(TaxMethod.EXEMPT)], **_OPTIONAL)
    manualTaxDescription = OptionalText(max_length=200)
    notes = OptionalText(max_length=5000)
    lineItems = serializers.ListField(child=WrittenLineItem(), max_length=MOST_LINES, required=False)

    def validate(self, body: dict[str, Any]) -> dict[str, Any]:
        tax, subtotal, total = (body.get(name) for name in ("taxAmountCents", "subtotalCents", "totalAmountCents"))
        if total is not None and subtotal is not None and total != subtotal + (tax or 0):
            raise InvalidInput.at("totalAmountCents", "must be subtotalCents plus taxAmountCents.")
        if tax and body.get("taxCalculationMethod") == TaxMethod.EXEMPT:
            raise InvalidInput.at("taxAmountCents", "must be 0 where the invoice is exempt.")
        return body


class WriteInvoice(InvoiceTerms):
    """The body of POST /v1/invoices."""

    customerId = Text(max_length=255)
    subscriptionId = OptionalText(max_length=80)
    currency = CurrencyCode()

    def validate_currency(self, code: str | None) -> str:
        if not code:
            raise serializers.ValidationError("is required.")
        return code

    def validate(self, body: dict[str, Any]) -> dict[str, Any]:
        if "currency" not in body:
            raise InvalidInput.at("currency", "is required.")
        return super().validate(body)


class UpdateInvoice(InvoiceTerms):
    """The body of POST /v1/invoices/{id}: what is sent is changed. Whose invoice it is and its currency stay; who sends
    them again sends them as they are."""

    status = Choice(choices=["draft", "issued"], required=False)
    customerId = OptionalText(max_length=255)
    subscriptionId = OptionalText(max_length=80)
    currency = CurrencyCode()
    deletedLineItemIds = serializers.ListField(child=Text(max_length=80), max_length=MOST_LINES, required=False)


def written_lines(body: dict[str, Any]) -> list[WrittenLine]:
    """The lines of a body."""
    return [
        WrittenLine(
            id=line.get("id") or None,
            description=line["description"],
            quantity=line["quantity"],
            unit_amount_cents=line["unitAmountCents"],
            type=line["type"],
        )
        for line in body.get("lineItems", ())
    ]


def named_totals(body: dict[str, Any], *, tax_cents: int = 0) -> Totals:
    """The sums that a body names; the tax is `tax_cents` where it names none."""
    tax = body.get("taxAmountCents")
    return Totals(
        subtotal_cents=body.get("subtotalCents"),
        tax_cents=tax_cents if tax is None else tax,
        total_cents=body.get("totalAmountCents"),
    )


def refuse_another_owner(body: dict[str, Any], invoice: Invoice) -> None:
    """Raise InvalidInput where a body names another customer, subscription or currency than its invoice has."""
    subscription = invoice.subscription
    stays = {
        "customerId": {invoice.customer.public_id, invoice.customer.external_customer_id},
        "subscriptionId": {subscription and subscription.public_id},
        "currency": {invoice.currency},
    }
    for field, known in stays.items():
        if (body.get(field) or None) not in known | {None}:
            raise InvalidInput.at(field, "cannot be changed; delete the lines of this draft and write another invoice.")


def written_details(body: dict[str, Any]) -> dict[str, Any]:
    """The further columns that a body names."""
    given = {column: body[name] for name, column in _DETAILS.items() if name in body}
    return {column: _EMPTY.get(column) if value is None else value for column, value in given.items()}
