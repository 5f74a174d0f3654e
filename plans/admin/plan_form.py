"""The plan form: fields, and the problems that can be named before the plan is published."""

import json
import re
from decimal import Decimal
from typing import Any

from django import forms
from unfold.widgets import UnfoldBooleanWidget

from plans.admin.price_form import SeatsForm, UsagePriceForm, fee_field, unit_cost_field, units_field
from plans.models import Feature, Overage, Plan
from plans.models.features import USAGE_BASED
from plans.money import currencies, currency_exponent, is_currency, minor_units
from plans.price_language import LARGEST_AMOUNT_CENTS, MOST_COMPONENTS
from plans.refusals import InvalidInput
from plans.services.features import check_slug

# A plan has a base fee and seats beside its usage.
MOST_LINES = MOST_COMPONENTS - 2
# The name is part of longer ones, such as that of its quota.
LONGEST_NAME = 180


class PlanForm(SeatsForm):
    """Name, fees and looks of a new plan."""

    name = forms.CharField(max_length=200, help_text="Customers choose by it.")
    description = forms.CharField(required=False, widget=forms.Textarea, help_text="Customers read it below the name.")
    currency = forms.CharField(
        min_length=3,
        max_length=3,
        help_text="Such as USD, EUR or JPY.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "characters"}),
    )
    monthly_fee = fee_field(
        example="29.00",
        label="Base fee per month",
        help_text="In whole units, 29.00 for $29.00. 0: free. Empty: only usage is paid.",
    )
    yearly_fee = fee_field(
        example="290.00",
        label="Base fee per year",
        help_text="A second price to choose from. Usage and quota stay monthly. Empty: none.",
    )
    is_visible_in_pricing_table = forms.BooleanField(
        label="Shown on the pricing table",
        required=False,
        initial=True,
        help_text="Added as the last plan of the default pricing table.",
    )
    button_text = forms.CharField(required=False, max_length=60, help_text="Empty: Get started.")

    sections = [
        ("Plan", ["name", "description"]),
        ("Price", ["currency", "monthly_fee", "yearly_fee"]),
        ("Who sees it", ["is_visible_in_pricing_table", "button_text"]),
    ]
    further_in = "Price"
    # Of the plan that the form makes a version of: its other versions may have its name.
    stable_plan_id = ""
    field_of_path = {
        "currency": "currency",
        "name": "name",
        "monthly_fee": "monthly_fee",
        "monthly_seat_fee": "monthly_seat_fee",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # For the hint below prices of units: how far apart the units are where it is not two decimals.
        exponents = {code: currency_exponent(code) for code in sorted(currencies())}
        self.fields["currency"].widget.attrs["data-exponents"] = json.dumps(
            {code: exponent for code, exponent in exponents.items() if exponent != 2}
        )

    def clean_name(self) -> str:
        """The name, which no other plan has."""
        name = self.cleaned_data["name"]
        check_plan_name(name, self.stable_plan_id)
        return name

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
        for name in ("monthly_fee", "yearly_fee", "monthly_seat_fee", "yearly_seat_fee"):
            fee = cleaned.get(name)
            if fee is None or currency is None:
                continue
            cents = minor_units(fee, currency)
            if cents != cents.to_integral_value():
                self.add_error(name, f"{currency} has {currency_exponent(currency) or 'no'} decimals.")
            elif cents > LARGEST_AMOUNT_CENTS:
                self.add_error(name, "This is more than a price can be.")
            else:
                cleaned[name] = int(cents)
        self.check_seats(cleaned)
        return cleaned


class UsageForm(UsagePriceForm):
    """One kind of usage that the plan counts."""

    event_name = forms.CharField(
        max_length=255,
        help_text="As your software sends it, such as api_calls. Its feature gets the same name.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}),
    )
    feature_name = forms.CharField(
        label="Name for customers",
        required=False,
        max_length=LONGEST_NAME,
        help_text="Such as API calls. Empty: made of the event name.",
    )
    unit_label = forms.CharField(required=False, max_length=60, help_text="What one unit is called, such as call.")
    unit_cost_cents = unit_cost_field(
        example="5 or 0.05",
        label="Price per unit in cents",
        help_text="5 is $0.05 each, 0.05 is $0.0005. Empty: not charged.",
    )
    included_units = units_field(example="10000", help_text="Units that come with the plan. Empty: none.")
    renews = forms.BooleanField(
        label="Renew each period", required=False, initial=True, help_text="Not ticked: they come once."
    )
    per_seat = forms.BooleanField(
        label="Included units are for each seat",
        required=False,
        help_text="Times the seats that are paid in advance; all members share them. The seats need a price.",
    )
    shown_on_invoices = forms.BooleanField(
        label="Show on invoices",
        required=False,
        initial=True,
        help_text="As a line of their own, with a minus.",
    )
    overage = forms.ChoiceField(
        label="Beyond the quota",
        choices=[(Overage.BLOCK, "Say no"), (Overage.ALLOW, "Say yes and bill")],
        initial=Overage.BLOCK,
        help_text="What your software is told when it asks. Usage that is sent all the same is billed.",
    )

    sections = [
        ("Counted", ["event_name", "feature_name"]),
        ("Charged", ["unit_label", "unit_cost_cents"]),
        ("Included", ["included_units", "renews", "shown_on_invoices"]),
        ("Beyond", ["overage", "per_seat"]),
    ]

    def slug(self, event_name: str) -> str:
        """The slug of the feature that the usage is counted for."""
        return slug_of(event_name)

    def clean_event_name(self) -> str:
        """The event name, which must give its feature a slug and be what an existing feature of that slug counts."""
        event_name = self.cleaned_data["event_name"]
        slug = self.cleaned_data["slug"] = self.slug(event_name)
        try:
            check_slug(slug)
        except InvalidInput:
            raise forms.ValidationError("Use at least three letters or numbers.") from None
        feature = find_feature(slug)
        if feature is not None:
            check_counts(feature, event_name)
        return event_name

    def clean(self) -> dict[str, Any]:
        """Refuse another name for a feature that has one, and a price that cannot be."""
        cleaned = super().clean() or self.cleaned_data
        self.check_model(cleaned)
        if cleaned.get("fixed_cost_cents") and cleaned.get("included_units"):
            self.add_error("included_units", "Leave this empty: units cannot be included where each event has a fee.")
        self._check_per_seat(cleaned)
        feature = find_feature(cleaned["slug"]) if "event_name" in cleaned else None
        if feature is not None and cleaned.get("feature_name") not in ("", None, feature.display_name):
            self.add_error(
                "feature_name",
                f"This feature is called {feature.display_name} already. Leave this empty, or rename it on its page.",
            )
        return cleaned

    def _check_per_seat(self, cleaned: dict[str, Any]) -> None:
        """Refuse units per seat where there are none, or where nobody would count the seats again."""
        if not cleaned.get("per_seat"):
            return
        if cleaned.get("included_units") is None and "included_units" not in self.errors:
            self.add_error("included_units", "Say how many units come with each seat.")
        if not cleaned.get("renews"):
            self.add_error("per_seat", "Tick “Renew each period” too: the seats are counted when a period begins.")

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
            cleaned = getattr(form, "cleaned_data", {})
            if not cleaned.get("event_name") or self._should_delete_form(form):  # type: ignore[attr-defined]
                continue
            if cleaned["slug"] in seen:
                form.add_error("event_name", "This usage is counted above already.")
            seen.add(cleaned["slug"])


UsageFormSet = forms.formset_factory(
    UsageForm,
    formset=BaseUsageFormSet,
    extra=1,
    can_delete=True,
    max_num=MOST_LINES,
    validate_max=True,
)


def check_plan_name(name: str, stable_plan_id: str = "") -> None:
    """Raise ValidationError for the name of another plan that exists: two of a name could not be told apart."""
    if Plan.objects.live().filter(name__iexact=name).exclude(stable_plan_id=stable_plan_id).exists():
        raise forms.ValidationError(
            f"There is a plan {name} already. If you have just sent this form, it is published: see the list of plans. "
            "Otherwise choose another name."
        )


def find_feature(slug: str) -> Feature | None:
    """The feature that exists with a slug."""
    return Feature.objects.live().filter(slug=slug).first()


def check_counts(feature: Feature, event_name: str) -> None:
    """Raise ValidationError unless the feature counts this event, or can begin to."""
    counted = list(feature.metrics.filter(deleted_at=None).values_list("current__event_name", flat=True).order_by("pk"))
    if not counted and feature.value != USAGE_BASED:
        raise forms.ValidationError(
            f"There is a feature {feature.slug} already, and it counts nothing. Choose another event name."
        )
    if counted and counted != [event_name]:
        way_out = f"Write {counted[0]} to count those, or choose" if len(counted) == 1 else "Choose"
        raise forms.ValidationError(
            f"There is a feature {feature.slug} already, and it counts {', '.join(counted)}. "
            f"{way_out} another event name."
        )


def slug_of(event_name: str) -> str:
    """The slug of the feature that an event name is counted for: "API.Call" gives "api-call"."""
    return re.sub(r"[^a-z0-9]+", "-", event_name.lower())[:50].strip("-")


def name_of(event_name: str) -> str:
    """An event name as people read it: "api-calls" gives "Api calls"."""
    words = re.sub(r"[-_.\s]+", " ", event_name).strip()
    return (words[:1].upper() + words[1:])[:LONGEST_NAME]
