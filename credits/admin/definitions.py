"""Definitions: what is granted, of what, to whom, and when again."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from credits.admin.fields import entered
from credits.admin.forms import (
    BY_CALENDAR,
    CALENDARS,
    EACH_PERIOD,
    DefinitionChangeForm,
    DefinitionDeleteForm,
    DefinitionForm,
)
from credits.admin.pages import MadeAdmin, leads_to_form
from credits.models import CreditDefinition
from credits.services.definitions import create_definition, delete_definition, update_definition
from plans.admin.pages import charges_text, held, link, yes_or_no
from plans.admin.price_texts import fees_text
from plans.money import grouped_number
from plans.page_words import each_text
from plans.periods import parse_recurrence
from plans.words import money_text


@admin.register(CreditDefinition)
class CreditDefinitionAdmin(MadeAdmin):
    """What is granted, of what, to whom, and when again."""

    terms_form = DefinitionForm
    terms_title = "Create credits"
    terms_words = (
        "Who subscribes from now on gets them; running subscriptions get what renews from their next renewal on."
    )
    nothing_yet = "Credits are units or money that customers have before they pay: quotas, goodwill, prepaid packs."
    create = leads_to_form("Create credits")
    actions_detail = ["change_terms", "take_off"]
    list_display = ["name", "holds", "first_amount", "renews", "comes_with", "state"]
    list_filter = ["application_type", "scope", "is_active"]
    search_fields = ["name", "public_id", "plan__name", "metric__current__event_name"]
    search_help_text = "Name or id of a definition, name of a plan, event name of a metric."
    ordering = ["-created_at", "-pk"]
    fieldsets = [
        (None, {"fields": ["name", "in_short", "state", "description"]}),
        (
            "Amount and renewal",
            {"fields": ["holds", "first_amount", "later_amount", "renews", "expires", "rolls_over_how", "burned"]},
        ),
        ("Comes with", {"fields": ["plan_page", "charges", "feature"]}),
        ("On invoices", {"fields": [yes_or_no("billing_visible", "shown as a line"), "words_on_invoices"]}),
        ("For the API", {"fields": ["public_id"]}),
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
            title="Change these credits",
            words=lambda definition: (
                f"{self.in_short(definition)} What a subscription was sold stays, unless you say otherwise below."
            ),
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
            title="Delete these credits",
            words=lambda definition: (
                f"{self.in_short(definition)} Who subscribes from now on does not get them; what was granted stays."
            ),
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

    @admin.display(description="granted", ordering="renew_on_billing")
    def renews(self, definition: CreditDefinition) -> str:
        """By periods, by a calendar of its own, or not."""
        if definition.renew_on_billing:
            return "each period, for each seat" if definition.per_seat else "each period"
        return calendar_text(definition.refill_rrule) if definition.refill_rrule else "once"

    @admin.display(description="comes with", ordering="plan__name")
    def comes_with(self, definition: CreditDefinition) -> str:
        """Whose subscribers get it by themselves."""
        if definition.plan is None:
            return "nothing; by hand or in packs"
        return f"{definition.plan}, {fees_text(definition.price)}" if definition.price else f"{definition.plan}"

    @display(description="state", ordering="is_active", label={"active": "success"})
    def state(self, definition: CreditDefinition) -> str:
        """Whether anybody is granted it from now on."""
        return "active" if definition.is_active else "switched off"

    @admin.display(description="in short")
    def in_short(self, definition: CreditDefinition) -> str:
        """What is granted, when, and to whom, in a sentence."""
        amount, currency = definition.default_amount, definition.currency
        what = money_text(amount, currency) if currency else f"{grouped_number(amount)} of {definition.metric}"
        to = "to whom you grant them or sell packs of them"
        if definition.plan is not None:
            to = f"with {self.comes_with(definition)}"
        return f"{what}, {self.renews(definition)}, {to}."

    @admin.display(description="expires")
    def expires(self, definition: CreditDefinition) -> str:
        """How long a grant of it lasts."""
        if definition.expiry_days is not None:
            return f"after {definition.expiry_days:,} days"
        return "with the next one" if definition.renews else "never"

    @admin.display(description="burned")
    def burned(self, definition: CreditDefinition) -> str:
        """Its place among a customer's grants."""
        by_end = "the sooner it expires, the earlier"
        return (
            by_end if definition.priority is None else f"by its priority, {definition.priority}; of equal ones {by_end}"
        )

    @admin.display(description="words on invoices")
    def words_on_invoices(self, definition: CreditDefinition) -> str:
        """How its lines are called."""
        return definition.billing_description or definition.name

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


def calendar_text(rule: str) -> str:
    """A calendar in words: each week, every 2 months, each day, 10 times."""
    return each_text(parse_recurrence(rule, path="refillRrule", endless_daily=True))


def _entered(definition: CreditDefinition) -> dict[str, Any]:
    """The terms as a form shows them, and the currency that tells it what its amounts are."""
    names = ["name", "description", "billing_description", "is_active", *definition.terms()]
    values = {name: getattr(definition, name) for name in names}
    for name in DefinitionChangeForm.amounts:
        values[name] = entered(values[name], definition.currency)
    rule = definition.refill_rrule.removeprefix("RRULE:").removesuffix(";INTERVAL=1")
    chosen = rule if rule in CALENDARS else BY_CALENDAR if rule else ""
    return values | {
        "renews": EACH_PERIOD if definition.renew_on_billing else chosen,
        "refill_rrule": definition.refill_rrule if chosen == BY_CALENDAR else "",
        "currency": definition.currency,
    }
