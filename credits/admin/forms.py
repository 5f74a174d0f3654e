"""The forms of the operator's pages about credits. What a service refuses shows at the field that it names."""

from typing import Any, ClassVar

from django import forms

from credits.models import ApplicationType, CreditDefinition, GrantSource, Scope
from plans.admin.terms import TermsForm
from plans.models import ComponentKind, Customer, Feature, Plan, Price, PriceComponent

_AMOUNT: dict[str, Any] = {"min_value": 1, "max_digits": 24, "decimal_places": 6}
_DAYS: dict[str, Any] = {"min_value": 1, "max_value": 36_500, "required": False}


class ComponentField(forms.ModelChoiceField):
    """A choice of components, called by their plans and prices."""

    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.price}: {obj.title}"


class CreditTermsForm(TermsForm):
    """How much is granted, and when again."""

    name = forms.CharField(max_length=200)
    description = forms.CharField(required=False, max_length=2000, widget=forms.Textarea)
    default_amount = forms.DecimalField(
        label="Amount", help_text="Units, or for money minor units such as cents.", **_AMOUNT
    )
    refill_amount = forms.DecimalField(
        label="Amount at each renewal", required=False, help_text="Empty: the same.", **_AMOUNT
    )
    renew_on_billing = forms.BooleanField(
        label="Renews each period", required=False, help_text="What is left of a period's grant expires with it."
    )
    refill_rrule = forms.CharField(
        label="Or renews by a calendar",
        required=False,
        max_length=200,
        help_text="Such as FREQ=MONTHLY or FREQ=DAILY;INTERVAL=2;COUNT=10, counted from the day of subscription.",
    )
    expiry_days = forms.IntegerField(
        label="Expires after days", help_text="Empty: with its renewal, or never.", **_DAYS
    )
    rolls_over = forms.BooleanField(
        label="What is left rolls over", required=False, help_text="Only with credits that renew each period."
    )
    rollover_cap = forms.DecimalField(
        label="At most", required=False, help_text="Units held that way together. Empty: all.", **_AMOUNT
    )
    rollover_days = forms.IntegerField(label="Expires days later", help_text="Empty: never.", **_DAYS)
    priority = forms.IntegerField(
        required=False,
        min_value=-(2**31),
        max_value=2**31 - 1,
        help_text="Lower numbers are burned first. Empty: after all that have one.",
    )
    billing_description = forms.CharField(
        label="Words on invoices", required=False, max_length=200, help_text="Empty: the name."
    )
    is_active = forms.BooleanField(label="Active", required=False, initial=True)

    field_of_path: ClassVar[dict[str, str]] = {
        "defaultAmount": "default_amount",
        "refillAmount": "refill_amount",
        "refillRrule": "refill_rrule",
        "expiryDays": "expiry_days",
        "rollover": "rolls_over",
    }

    def terms(self) -> dict[str, Any]:
        """The fields of a definition that were entered."""
        given = dict(self.cleaned_data)
        if not given["rolls_over"]:
            given |= {"rollover_cap": None, "rollover_days": None}
        return given


class DefinitionForm(CreditTermsForm):
    """A new definition."""

    application_type = forms.ChoiceField(label="Pays for", choices=[("usage", "Units of usage"), ("monetary", "Money")])
    scope = forms.ChoiceField(choices=Scope.choices, initial=Scope.PLAN, help_text="What it comes with.")
    plan = forms.ModelChoiceField(Plan.objects.none(), required=False)
    price = forms.ModelChoiceField(Price.objects.none(), required=False, help_text="Empty: every price of the plan.")
    component = ComponentField(PriceComponent.objects.none(), required=False)
    feature = forms.ModelChoiceField(
        Feature.objects.none(), required=False, help_text="Whose units it counts where no component is chosen."
    )
    currency = forms.CharField(required=False, max_length=3, help_text="For money, such as USD.")
    billing_visible = forms.BooleanField(
        label="Show on invoices", required=False, help_text="As lines of its own. Money always is."
    )

    sections = [
        ("Credits", ["name", "description", "application_type", "currency"]),
        ("Comes with", ["scope", "plan", "price", "component", "feature"]),
        ("Amount and renewal", ["default_amount", "refill_amount", "renew_on_billing", "refill_rrule", "expiry_days"]),
        ("Rollover", ["rolls_over", "rollover_cap", "rollover_days"]),
        ("Use and invoices", ["priority", "billing_visible", "billing_description", "is_active"]),
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
        components = PriceComponent.objects.filter(price__deleted_at=None).exclude(kind=ComponentKind.PER_UNIT)
        choices: dict[str, Any] = {
            "plan": Plan.objects.live().order_by("name", "version_number"),
            "price": Price.objects.live().select_related("plan").order_by("plan__name", "pk"),
            "component": components.select_related("price__plan").order_by("price__plan__name", "price_id", "position"),
            "feature": Feature.objects.live().order_by("display_name"),
        }
        for name, rows in choices.items():
            self.fields[name].queryset = rows  # type: ignore[attr-defined]

    def clean_currency(self) -> str:
        """The code in upper case."""
        return self.cleaned_data["currency"].upper()

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
        ("Credits", ["name", "description", "is_active"]),
        ("Amount and renewal", ["default_amount", "refill_amount", "renew_on_billing", "refill_rrule", "expiry_days"]),
        ("Rollover", ["rolls_over", "rollover_cap", "rollover_days"]),
        ("Use and invoices", ["priority", "billing_description"]),
        ("Who gets it", ["apply_to_existing"]),
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


class GrantForm(TermsForm):
    """Credits for one customer."""

    customer = forms.CharField(max_length=200, help_text="The customer's id, such as cus_…")
    definition = forms.ModelChoiceField(CreditDefinition.objects.none())
    amount = forms.DecimalField(required=False, help_text="Empty: the amount of the definition.", **_AMOUNT)
    source = forms.ChoiceField(
        choices=[(source, source.label) for source in GrantSource if source != GrantSource.SUBSCRIPTION],
        initial=GrantSource.MANUAL,
        help_text="Manual and promotion count from the start of the customer's period, the others from today.",
    )
    starts_at = forms.DateTimeField(
        label="Starts", required=False, help_text="UTC, such as 2026-03-10. Empty: see above."
    )
    expires_at = forms.DateTimeField(label="Expires", required=False, help_text="UTC. Empty: as the definition says.")
    priority = forms.IntegerField(required=False, min_value=-(2**31), max_value=2**31 - 1)
    reference_code = forms.CharField(
        required=False, max_length=200, help_text="The same code of one customer grants once, however often it is sent."
    )
    notes = forms.CharField(required=False, max_length=5000, widget=forms.Textarea)

    sections = [
        ("Grant", ["customer", "definition", "amount", "source"]),
        ("Time", ["starts_at", "expires_at"]),
        ("Notes", ["priority", "reference_code", "notes"]),
    ]
    field_of_path: ClassVar[dict[str, str]] = {
        "creditDefinitionId": "definition",
        "initialAmount": "amount",
        "startDate": "starts_at",
        "expiryDate": "expires_at",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        live = CreditDefinition.objects.live().order_by("name", "pk")
        self.fields["definition"].queryset = live  # type: ignore[attr-defined]

    def clean_customer(self) -> Customer:
        """The customer with this id."""
        customer = Customer.objects.filter(public_id=self.cleaned_data["customer"], deleted_at=None).first()
        if customer is None:
            raise forms.ValidationError("There is no customer with this id.")
        return customer


class AdjustForm(TermsForm):
    """What is added to a grant or taken from it."""

    amount = forms.DecimalField(
        max_digits=24, decimal_places=6, help_text="With a minus to take away, at most what is left right now."
    )
    notes = forms.CharField(required=False, max_length=5000, widget=forms.Textarea)
    sections = [("Adjust", ["amount", "notes"])]
    field_of_path: ClassVar[dict[str, str]] = {"amount": "amount"}


class RevokeForm(TermsForm):
    """Why a grant ends."""

    notes = forms.CharField(required=False, max_length=5000, widget=forms.Textarea)
    sections = [("Revoke", ["notes"])]
