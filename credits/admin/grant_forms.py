"""The forms of grants: giving, adjusting and revoking them."""

from typing import Any, ClassVar

from django import forms
from django.db.models import F

from credits.admin.fields import AmountField, AmountsForm, CustomerField, DefinitionField
from credits.models import CreditDefinition, GrantSource
from plans.admin.terms import TermsForm

_SOURCES = {
    GrantSource.MANUAL: "By hand, such as goodwill",
    GrantSource.PROMOTION: "A promotion",
    GrantSource.TOP_UP: "Bought, paid for elsewhere",
    GrantSource.REFUND: "A refund",
}


def _day_field(label: str, help_text: str) -> forms.DateTimeField:
    return forms.DateTimeField(
        label=label, required=False, help_text=help_text, widget=forms.DateInput(attrs={"type": "date"})
    )


class GrantForm(AmountsForm):
    """Credits for one customer."""

    customer = CustomerField()
    definition = DefinitionField(
        CreditDefinition.objects.none(), label="Credits", help_text="What they pay for, and how they are called."
    )
    amount = AmountField(
        required=False, help_text="Units, or money such as 250.00. Empty: the amount of these credits."
    )
    source = forms.ChoiceField(
        label="Why",
        choices=list(_SOURCES.items()),
        initial=GrantSource.MANUAL,
        help_text="By hand and promotions count from the start of the running period, so they reduce its bill.",
    )
    starts_at = _day_field("First day", "Empty: the start of the running period, or today where they were bought.")
    expires_at = _day_field("Expires on", "Usage of this day is not paid for any more. Empty: as these credits say.")
    priority = forms.IntegerField(
        required=False,
        min_value=-(2**31),
        max_value=2**31 - 1,
        help_text="Lower numbers are burned first. Empty: as these credits say.",
    )
    reference_code = forms.CharField(
        required=False,
        max_length=200,
        help_text="Such as the number of a ticket. The same code of a customer grants once, however often it is sent.",
    )
    notes = forms.CharField(
        required=False, max_length=5000, widget=forms.Textarea, help_text="For you; customers do not see them."
    )

    sections = [
        ("Who gets what", ["customer", "definition", "amount", "source"]),
        ("When", ["starts_at", "expires_at"]),
        ("Notes", ["notes", "reference_code", "priority"]),
    ]
    amounts = ["amount"]
    field_of_path: ClassVar[dict[str, str]] = {
        "creditDefinitionId": "definition",
        "initialAmount": "amount",
        "startDate": "starts_at",
        "expiryDate": "expires_at",
        "referenceCode": "reference_code",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Those that are granted by hand come first.
        live = CreditDefinition.objects.live().select_related("plan").order_by(F("plan").asc(nulls_first=True), "name")
        self.fields["definition"].queryset = live  # type: ignore[attr-defined]

    def currency_of_amounts(self, cleaned: dict[str, Any]) -> str:
        """That of the chosen credits."""
        return cleaned["definition"].currency if cleaned.get("definition") else ""


class AdjustForm(AmountsForm):
    """What is added to a grant or taken from it."""

    amount = AmountField(
        is_signed=True, help_text="Such as 500 to add, or -500 to take away; at most what is left right now."
    )
    notes = forms.CharField(
        required=False, max_length=5000, widget=forms.Textarea, help_text="Why; it stands in the ledger."
    )
    sections = [("Adjust", ["amount", "notes"])]
    amounts = ["amount"]
    field_of_path: ClassVar[dict[str, str]] = {"amount": "amount"}


class RevokeForm(TermsForm):
    """Why a grant ends."""

    notes = forms.CharField(
        required=False, max_length=5000, widget=forms.Textarea, help_text="Why; it stands in the ledger."
    )
    sections = [("Revoke", ["notes"])]
