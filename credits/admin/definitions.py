"""Definitions: what is granted, of what, to whom, and when again."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from unfold.decorators import action

from credits.admin.forms import DefinitionChangeForm, DefinitionDeleteForm, DefinitionForm
from credits.admin.pages import MadeAdmin, held
from credits.models import CreditDefinition
from credits.services.definitions import create_definition, delete_definition, update_definition
from plans.admin.pages import charges_text, link, yes_or_no
from plans.money import grouped_number, plain_number

ACTIVE = yes_or_no("is_active", "active")


@admin.register(CreditDefinition)
class CreditDefinitionAdmin(MadeAdmin):
    """What is granted, of what, to whom, and when again."""

    terms_form = DefinitionForm
    terms_title = "Create credits"
    terms_words = (
        "Who subscribes from now on gets them; running subscriptions get what renews from their next renewal on."
    )
    actions_detail = ["change_terms", "take_off"]
    list_display = ["name", "scope", "plan", "holds", "first_amount", "renews", ACTIVE]
    list_filter = ["application_type", "scope", "renew_on_billing", "is_active"]
    list_select_related = ["plan", "metric"]
    search_fields = ["name", "public_id", "plan__name", "metric__current__event_name"]
    search_help_text = "Name or id of a definition, name of a plan, event name of a metric."
    ordering = ["-created_at", "-pk"]
    fieldsets = [
        (None, {"fields": ["public_id", "name", "description", "scope", ACTIVE]}),
        (
            "Amount and renewal",
            {
                "fields": [
                    "holds",
                    "first_amount",
                    "later_amount",
                    "renews",
                    "expiry_days",
                    "rolls_over_how",
                    "priority",
                ]
            },
        ),
        ("Belongs to", {"fields": ["plan_page", "charges", "feature"]}),
        ("On invoices", {"fields": [yes_or_no("billing_visible", "shown as a line"), "billing_description"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[CreditDefinition]:
        """Without the deleted ones."""
        definitions = super().get_queryset(request).filter(deleted_at=None)
        return definitions.select_related("plan", "metric", "price", "feature").prefetch_related("price__components")

    def make(self, form: Any, lines: Any, at: datetime) -> CreditDefinition:
        """Make the definition, and sell it to running subscriptions."""
        return create_definition(at=at, **form.terms())

    @action(description="Change…", url_path="change-terms", permissions=["move"])
    def change_terms(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Change the terms."""

        def do(definition: CreditDefinition, form: Any, at: datetime) -> None:
            terms = form.terms()
            to_existing = terms.pop("apply_to_existing")
            update_definition(at=at, definition=definition, changes=terms, apply_to_existing=to_existing)

        return self.ask_and_do(
            request,
            object_id,
            DefinitionChangeForm,
            title="Change credits",
            words="What a subscription was sold stays, unless you say otherwise below.",
            do=do,
            done="Changed.",
            initial=_entered,
        )

    @action(description="Delete…", url_path="take-off", permissions=["remove"])
    def take_off(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Delete the definition."""

        def do(definition: CreditDefinition, form: Any, at: datetime) -> None:
            to_existing = form.cleaned_data["apply_to_existing"]
            delete_definition(at=at, definition=definition, apply_to_existing=to_existing)

        return self.ask_and_do(
            request,
            object_id,
            DefinitionDeleteForm,
            title="Delete credits",
            words="Who subscribes from now on does not get them.",
            do=do,
            done="Deleted.",
            leads_to_list=True,
        )

    @admin.display(description="of", ordering="metric")
    def holds(self, definition: CreditDefinition) -> SafeString | str | None:
        """The metric whose units, or the currency whose money is granted."""
        return definition.currency or link(definition.metric)

    @admin.display(description="amount", ordering="default_amount")
    def first_amount(self, definition: CreditDefinition) -> SafeString | None:
        """What is granted first."""
        return held(definition.default_amount, definition.currency)

    @admin.display(description="amount at each renewal")
    def later_amount(self, definition: CreditDefinition) -> SafeString | None:
        """What is granted later."""
        return held(definition.renewal_amount, definition.currency) if definition.renews else None

    @admin.display(description="renews", ordering="renew_on_billing")
    def renews(self, definition: CreditDefinition) -> str:
        """By periods, by a calendar of its own, or not."""
        return "each period" if definition.renew_on_billing else definition.refill_rrule or "no"

    @admin.display(description="what is left rolls over")
    def rolls_over_how(self, definition: CreditDefinition) -> str:
        """Whether, how much of it, and for how long."""
        if not definition.rolls_over:
            return "no"
        cap = "all" if definition.rollover_cap is None else f"at most {grouped_number(definition.rollover_cap)}"
        return cap if definition.rollover_days is None else f"{cap}, for {definition.rollover_days} days"

    @admin.display(description="plan")
    def plan_page(self, definition: CreditDefinition) -> SafeString | None:
        """The plan version that it comes with."""
        return link(definition.plan)

    @admin.display(description="with the price")
    def charges(self, definition: CreditDefinition) -> SafeString | None:
        """What the price charges that it comes with; without one it comes with each of its plan."""
        return None if definition.price is None else charges_text(definition.price)


def _entered(definition: CreditDefinition) -> dict[str, Any]:
    """The terms as a form shows them."""
    names = ["name", "description", "billing_description", "is_active", *definition.terms()]
    values = {name: getattr(definition, name) for name in names}
    return {name: plain_number(value) if isinstance(value, Decimal) else value for name, value in values.items()}
