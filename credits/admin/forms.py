"""The forms of definitions. What a service refuses shows at the field that it names."""

from typing import Any, ClassVar

from django import forms

from credits.admin.fields import AmountField, AmountsForm, ComponentField, PriceField
from credits.models import ApplicationType, Scope
from plans.admin.terms import TermsForm
from plans.models import ComponentKind, Feature, Plan, Price, PriceComponent
from plans.money import is_currency

EACH_PERIOD, BY_CALENDAR = "period", "calendar"
# The calendars that most want, by their rules.
CALENDARS = {
    "FREQ=DAILY": "Each day",
    "FREQ=WEEKLY": "Each week",
    "FREQ=MONTHLY": "Each month",
    "FREQ=YEARLY": "Each year",
}
_SCOPES = {
    Scope.PLAN: "A plan",
    Scope.PRICE: "One price of a plan",
    Scope.COMPONENT: "One component of a price",
    Scope.MERCHANT: "Nothing: granted by hand, or sold in packs",
}
_DAYS: dict[str, Any] = {"min_value": 1, "max_value": 36_500, "required": False}


class CreditTermsForm(AmountsForm):
    """How much is granted, and when again."""

    name = forms.CharField(max_length=200, help_text="Such as Included API calls or Start-up credit.")
    description = forms.CharField(
        required=False, max_length=2000, widget=forms.Textarea, help_text="For you; customers do not see it."
    )
    default_amount = AmountField(label="Amount", help_text="Units such as 10000, or money such as 250.00.")
    renews = forms.ChoiceField(
        label="Granted again",
        required=False,
        choices=[
            ("", "No, once"),
            (EACH_PERIOD, "Each period of the plan"),
            *CALENDARS.items(),
            (BY_CALENDAR, "By another calendar"),
        ],
        help_text="What is left of a grant expires with the next one, unless it rolls over. Days, weeks, months and "
        "years are counted from the day of subscription.",
    )
    refill_rrule = forms.CharField(
        label="Another calendar",
        required=False,
        max_length=200,
        help_text="Such as FREQ=MONTHLY;INTERVAL=3 or FREQ=DAILY;COUNT=10.",
        widget=forms.TextInput(attrs={"data-when": f"renews={BY_CALENDAR}"}),
    )
    per_seat = forms.BooleanField(
        label="For each seat",
        required=False,
        help_text="The amounts are those of one seat; a period grants them times the seats that are paid in advance. "
        "For credits that are granted each period, with prices per seat.",
    )
    refill_amount = AmountField(label="Amount at each renewal", required=False, help_text="Empty: the same.")
    expiry_days = forms.IntegerField(
        label="Expires after days", help_text="Empty: with its renewal, or never.", **_DAYS
    )
    rolls_over = forms.BooleanField(
        label="What is left rolls over", required=False, help_text="Where credits are granted again each period."
    )
    rollover_cap = AmountField(
        label="Held that way at most", required=False, help_text="Units of all periods together. Empty: all."
    )
    rollover_days = forms.IntegerField(label="What rolled over expires after days", help_text="Empty: never.", **_DAYS)
    priority = forms.IntegerField(
        required=False,
        min_value=-(2**31),
        max_value=2**31 - 1,
        help_text="Lower numbers are burned first. Empty: after all that have one.",
    )
    billing_description = forms.CharField(
        label="Words on invoices", required=False, max_length=200, help_text="Empty: the name."
    )
    is_active = forms.BooleanField(
        label="Active", required=False, initial=True, help_text="Not ticked: granted to nobody from now on."
    )

    amounts = ["default_amount", "refill_amount", "rollover_cap"]
    further_in = "Amount and renewal"
    further_title = "Other amounts, expiry, rollover, burn order"
    further: ClassVar[list[tuple[str, list[str]]]] = [
        ("", ["refill_amount", "expiry_days", "priority"]),
        ("", ["rolls_over", "rollover_cap", "rollover_days"]),
    ]
    field_of_path: ClassVar[dict[str, str]] = {
        "defaultAmount": "default_amount",
        "refillAmount": "refill_amount",
        "refillRrule": "refill_rrule",
        "expiryDays": "expiry_days",
        "rollover": "rolls_over",
        "perSeat": "per_seat",
    }

    def clean(self) -> dict[str, Any]:
        """Ask for the other calendar where one is chosen, and refuse one that nothing would be done with."""
        cleaned = super().clean()
        chosen, typed = cleaned.get("renews"), cleaned.get("refill_rrule")
        if chosen == BY_CALENDAR and not typed and "refill_rrule" not in self.errors:
            self.add_error("refill_rrule", "Write a calendar, such as FREQ=MONTHLY;INTERVAL=3.")
        if chosen != BY_CALENDAR and typed:
            self.add_error("refill_rrule", "Empty this, or choose “By another calendar”.")
        if cleaned.get("per_seat") and chosen not in (EACH_PERIOD, None):
            self.add_error(
                "per_seat", "Choose “Each period of the plan” above: the seats are counted when a period begins."
            )
        return cleaned

    def terms(self) -> dict[str, Any]:
        """The fields of a definition that were entered."""
        given = dict(self.cleaned_data)
        chosen = given.pop("renews")
        given["renew_on_billing"] = chosen == EACH_PERIOD
        given["refill_rrule"] = chosen if chosen in CALENDARS else given["refill_rrule"]
        if not given["rolls_over"]:
            given |= {"rollover_cap": None, "rollover_days": None}
        return given


class DefinitionForm(CreditTermsForm):
    """A new definition."""

    application_type = forms.ChoiceField(label="Pays for", choices=[("usage", "Units of usage"), ("monetary", "Money")])
    scope = forms.ChoiceField(
        label="Comes with",
        choices=list(_SCOPES.items()),
        initial=Scope.PLAN,
        help_text="Whoever subscribes to it is granted these credits.",
    )
    plan = forms.ModelChoiceField(
        Plan.objects.none(),
        required=False,
        help_text="Each of its prices brings them.",
        widget=forms.Select(attrs={"data-when": "scope=plan"}),
    )
    price = PriceField(
        Price.objects.none(),
        required=False,
        help_text="Empty: every price of the plan.",
        widget=forms.Select(attrs={"data-when": "scope=price plan"}),
    )
    component = ComponentField(
        PriceComponent.objects.none(),
        required=False,
        help_text="What they pay for alone.",
        widget=forms.Select(attrs={"data-when": "scope=component price plan"}),
    )
    feature = forms.ModelChoiceField(
        Feature.objects.none(),
        required=False,
        help_text="Whose units they count, where no component is chosen.",
        widget=forms.Select(attrs={"data-when": "application_type=usage"}),
    )
    currency = forms.CharField(
        required=False,
        max_length=3,
        help_text="Such as USD.",
        widget=forms.TextInput(attrs={"data-when": "application_type=monetary", "autocapitalize": "characters"}),
    )
    billing_visible = forms.BooleanField(
        label="Show on invoices",
        required=False,
        help_text="As lines of its own; not ticked, usage is billed without what they paid. Money is always shown.",
    )

    sections = [
        ("Credits", ["name", "application_type", "currency"]),
        ("Who gets them", ["scope", "plan", "price", "component", "feature"]),
        ("Amount and renewal", ["default_amount", "renews", "refill_rrule", "per_seat"]),
        ("On invoices", ["billing_visible", "billing_description"]),
        ("For you", ["description", "is_active"]),
    ]
    field_of_path: ClassVar[dict[str, str]] = CreditTermsForm.field_of_path | {
        "planId": "plan",
        "priceId": "price",
        "priceComponentId": "component",
        "featureSlug": "feature",
        "currency": "currency",
        "billingVisible": "billing_visible",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        components = PriceComponent.objects.filter(price__deleted_at=None, price__plan__deleted_at=None).exclude(
            kind=ComponentKind.PER_UNIT
        )
        prices = Price.objects.live().filter(plan__deleted_at=None)
        choices: dict[str, Any] = {
            "plan": Plan.objects.live().order_by("name", "version_number"),
            "price": prices.select_related("plan").prefetch_related("components").order_by("plan__name", "pk"),
            "component": components.select_related("price__plan")
            .prefetch_related("price__components")
            .order_by("price__plan__name", "price_id", "position"),
            "feature": Feature.objects.live().order_by("display_name"),
        }
        for name, rows in choices.items():
            self.fields[name].queryset = rows  # type: ignore[attr-defined]

    def clean_currency(self) -> str:
        """The code in upper case; the service says what it thinks of none."""
        code = self.cleaned_data["currency"].upper()
        if code and not is_currency(code):
            raise forms.ValidationError("This is no currency code. Use one such as USD, EUR or JPY.")
        return code

    def currency_of_amounts(self, cleaned: dict[str, Any]) -> str:
        """The one that was entered for money."""
        is_money = cleaned.get("application_type") == ApplicationType.MONETARY
        return cleaned.get("currency", "") if is_money else ""

    def terms(self) -> dict[str, Any]:
        """The fields of a definition that were entered; a component brings its price along."""
        given = super().terms()
        component = given.pop("component")
        if component is not None:
            given["price_component_id"] = component.component_id
            given["price"] = given["price"] or component.price
        if given["application_type"] == ApplicationType.MONETARY:
            given["billing_visible"] = None
        return given


class DefinitionChangeForm(CreditTermsForm):
    """Other terms of a definition that exists."""

    apply_to_existing = forms.BooleanField(
        label="Also for running subscriptions",
        required=False,
        help_text="Ticked: their renewals, and grants that have not begun, follow. Not ticked: what was sold stays.",
    )
    sections = [
        ("Credits", ["name", "billing_description", "description", "is_active"]),
        ("Amount and renewal", ["default_amount", "renews", "refill_rrule", "per_seat"]),
        ("Who is changed", ["apply_to_existing"]),
    ]
    field_of_path: ClassVar[dict[str, str]] = CreditTermsForm.field_of_path | {"applyToExisting": "apply_to_existing"}


class DefinitionDeleteForm(TermsForm):
    """Whether running subscriptions lose a definition as well."""

    apply_to_existing = forms.BooleanField(
        label="Also for running subscriptions",
        required=False,
        help_text="Ticked: it ends with their current grants. Not ticked: what was sold keeps renewing.",
    )
    sections = [("Who loses it", ["apply_to_existing"])]
