"""The plan form: fields, and the problems that can be named before the plan is published."""

import re
from decimal import Decimal
from typing import Any

from django import forms
from unfold.widgets import UnfoldBooleanWidget

from plans.admin.terms import TermsForm
from plans.models import Feature, Overage
from plans.money import currency_exponent, is_currency, minor_units
from plans.pricing import LARGEST_AMOUNT_CENTS, LARGEST_UNIT_COST_CENTS, MOST_COMPONENTS, UNIT_COST_DECIMALS
from plans.refusals import InvalidInput
from plans.services.features import check_slug

LARGEST_FEE = Decimal(LARGEST_AMOUNT_CENTS)
# A plan has a base fee beside its usage.
MOST_LINES = MOST_COMPONENTS - 1


class PlanForm(TermsForm):
    """Name, fees and looks of a new plan."""

    name = forms.CharField(max_length=200)
    description = forms.CharField(required=False, widget=forms.Textarea, help_text="Customers read it below the name.")
    currency = forms.CharField(min_length=3, max_length=3, help_text="Such as USD, EUR or JPY.")
    monthly_fee = forms.DecimalField(
        label="Base fee per month",
        required=False,
        min_value=0,
        max_value=LARGEST_FEE,
        help_text="Such as 29.00. 0 for a free plan; empty when only usage is paid.",
    )
    yearly_fee = forms.DecimalField(
        label="Base fee per year",
        required=False,
        min_value=0,
        max_value=LARGEST_FEE,
        help_text="A second price to choose from. Usage and quota stay monthly.",
    )
    is_visible_in_pricing_table = forms.BooleanField(label="Shown on the pricing table", required=False, initial=True)
    button_text = forms.CharField(required=False, max_length=60, help_text="Empty: Get started.")

    sections = [
        ("Plan", ["name", "description"]),
        ("Price", ["currency", "monthly_fee", "yearly_fee"]),
        ("Who sees it", ["is_visible_in_pricing_table", "button_text"]),
    ]
    field_of_path = {"currency": "currency", "name": "name", "monthly_fee": "monthly_fee"}

    def clean_currency(self) -> str:
        """The code in upper case, of a currency in use."""
        code = self.cleaned_data["currency"].upper()
        if not is_currency(code):
            raise forms.ValidationError("This is no currency code. Use one such as USD, EUR or JPY.")
        return code

    def clean(self) -> dict[str, Any]:
        """Turn the fees into minor units, which must be whole."""
        cleaned = super().clean() or self.cleaned_data
        currency = cleaned.get("currency")
        for name in ("monthly_fee", "yearly_fee"):
            fee = cleaned.get(name)
            if fee is None or currency is None:
                continue
            cents = minor_units(fee, currency)
            if cents != cents.to_integral_value():
                self.add_error(name, f"{currency} has {currency_exponent(currency)} decimals.")
            elif cents > LARGEST_AMOUNT_CENTS:
                self.add_error(name, "This is more than a price can be.")
            else:
                cleaned[name] = int(cents)
        return cleaned


class UsageForm(TermsForm):
    """One kind of usage that the plan counts."""

    event_name = forms.CharField(
        max_length=255, help_text="As your software sends it, such as api-calls. Its feature gets the same name."
    )
    unit_label = forms.CharField(required=False, max_length=60, help_text="What one unit is called, such as call.")
    unit_cost_cents = forms.DecimalField(
        label="Price per unit in cents",
        required=False,
        min_value=0,
        max_value=LARGEST_UNIT_COST_CENTS,
        max_digits=10 + UNIT_COST_DECIMALS,
        decimal_places=UNIT_COST_DECIMALS,
        help_text="With decimals where needed, such as 0.05. Empty: not charged.",
    )
    included_units = forms.DecimalField(
        required=False, max_digits=24, decimal_places=6, help_text="Units that come with the plan. Empty: none."
    )
    renews = forms.BooleanField(label="Renew each period", required=False, initial=True)
    shown_on_invoices = forms.BooleanField(label="Show on invoices", required=False, initial=True)
    overage = forms.ChoiceField(
        label="Beyond the quota",
        choices=[(Overage.BLOCK, "Say no"), (Overage.ALLOW, "Say yes and bill")],
        initial=Overage.BLOCK,
        help_text="What your software is told when it asks. Usage that is sent all the same is always billed.",
    )

    sections = [
        ("Counted", ["event_name", "unit_label", "unit_cost_cents"]),
        ("Included", ["included_units", "renews", "shown_on_invoices"]),
        ("Beyond", ["overage"]),
    ]

    def clean_event_name(self) -> str:
        """The event name, which must give its feature a slug and be what an existing feature of that slug counts."""
        event_name = self.cleaned_data["event_name"]
        try:
            check_slug(slug_of(event_name))
        except InvalidInput:
            raise forms.ValidationError("Use at least three letters or numbers.") from None
        counted = list(
            Feature.objects.live()
            .filter(slug=slug_of(event_name), metrics__deleted_at=None)
            .exclude(metrics=None)
            .values_list("metrics__event_name", flat=True)
        )
        if counted and counted != [event_name]:
            raise forms.ValidationError(f"The feature {slug_of(event_name)} counts {', '.join(counted)} already.")
        return event_name

    def clean_included_units(self) -> Decimal | None:
        """Nothing included is said by leaving the field empty."""
        included = self.cleaned_data["included_units"]
        if included is not None and included <= 0:
            raise forms.ValidationError("Use a number above 0, or leave it empty.")
        return included


class BaseUsageFormSet(forms.BaseFormSet):
    """The usage that a plan counts; every kind once."""

    def add_fields(self, form: forms.Form, index: int | None) -> None:
        """Word the box that removes a form."""
        super().add_fields(form, index)
        form.fields["DELETE"] = forms.BooleanField(
            label="Leave this usage out", required=False, widget=UnfoldBooleanWidget()
        )

    def filled(self) -> list[dict[str, Any]]:
        """What was entered, without the forms that were left empty or removed."""
        return [
            form.cleaned_data
            for form in self.forms
            if form.cleaned_data.get("event_name") and not form.cleaned_data.get("DELETE")
        ]

    def clean(self) -> None:
        """Name the second of two that would be the same feature."""
        seen: set[str] = set()
        for form in self.forms:
            event_name = getattr(form, "cleaned_data", {}).get("event_name")
            if event_name is None or self._should_delete_form(form):  # type: ignore[attr-defined]
                continue
            if slug_of(event_name) in seen:
                form.add_error("event_name", "This usage is counted above already.")
            seen.add(slug_of(event_name))


UsageFormSet = forms.formset_factory(
    UsageForm,
    formset=BaseUsageFormSet,
    extra=1,
    can_delete=True,
    max_num=MOST_LINES,
    validate_max=True,
)


def slug_of(event_name: str) -> str:
    """The slug of the feature that an event name is counted for: "API.Call" gives "api-call"."""
    return re.sub(r"[^a-z0-9]+", "-", event_name.lower())[:50].strip("-")


def name_of(event_name: str) -> str:
    """An event name as people read it: "api-calls" gives "Api calls"."""
    words = re.sub(r"[-_.\s]+", " ", event_name).strip()
    return (words[:1].upper() + words[1:])[:180]
