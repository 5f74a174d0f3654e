"""Rules of enrollment: which plan somebody gets who signs up."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from credits.admin.pages import MadeAdmin, leads_to_form
from plans.admin.pages import link, moment
from plans.admin.terms import TermsForm
from plans.models import EnrollmentRule, MatcherType, Plan
from plans.services.enrollment import create_rule, delete_rule


class RuleForm(TermsForm):
    """A new rule."""

    matcher_type = forms.ChoiceField(
        label="Who signs up with",
        choices=[(MatcherType.DOMAIN, "An address of a domain"), (MatcherType.EMAIL, "One e-mail address")],
        help_text="A rule for an address goes before one for its domain.",
    )
    matcher_value = forms.CharField(
        label="Domain or address", max_length=254, help_text="Such as acme.com, or ann@acme.com."
    )
    plan = forms.ModelChoiceField(
        Plan.objects.none(), label="Gets", help_text="A plan that costs nothing. Its latest free version counts."
    )

    sections = [("Who gets what", ["matcher_type", "matcher_value", "plan"])]
    field_of_path = {"matcherType": "matcher_type", "matcherValue": "matcher_value", "planId": "plan"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice: Any = self.fields["plan"]
        choice.queryset = Plan.objects.live().order_by("name", "-version_number")


class RuleEndForm(TermsForm):
    """Nothing has to be said to end a rule."""


@admin.register(EnrollmentRule)
class EnrollmentRuleAdmin(MadeAdmin):
    """Which plan somebody gets who signs up with an address."""

    terms_form = RuleForm
    terms_title = "Create a rule"
    terms_words = (
        "Who signs up without a rule gets the first free plan of a shown pricing table. Those who have a plan keep it."
    )
    nothing_yet = "Rules give free plans to whoever signs up with an address of a domain, such as your partners."
    create = leads_to_form("Create a rule")
    actions_detail = ["end_rule"]
    list_display = ["in_words", "plan_page", moment("created_at")]
    list_filter = ["matcher_type"]
    search_fields = ["matcher_value", "public_id", "plan__name"]
    search_help_text = "Address, domain, id of a rule, name of a plan."
    ordering = ["-created_at", "-pk"]
    fieldsets = [
        (None, {"fields": ["in_words", "plan_page", moment("created_at")]}),
        ("API", {"fields": ["public_id"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[EnrollmentRule]:
        """Those that hold."""
        live = EnrollmentRule.objects.live().values("pk")
        return super().get_queryset(request).filter(pk__in=live).select_related("plan")

    def make(self, form: Any, lines: Any, at: datetime) -> EnrollmentRule:
        """Make the rule."""
        return create_rule(at=at, **form.cleaned_data)

    @display(description="rule")
    def in_words(self, rule: EnrollmentRule) -> str:
        """What the rule says."""
        whom = "an address of" if rule.matcher_type == MatcherType.DOMAIN else "the address"
        return f"Who signs up with {whom} {rule.matcher_value} gets {rule.plan.name}"

    @admin.display(description="plan", ordering="plan__name")
    def plan_page(self, rule: EnrollmentRule) -> SafeString | str | None:
        """The plan version that was named."""
        return link(rule.plan)

    @action(description="End…", url_path="end", permissions=["remove"])
    def end_rule(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let the rule hold no more."""
        return self.ask_and_do(
            request,
            object_id,
            RuleEndForm,
            title="End this rule",
            words=lambda rule: f"{self.in_words(rule)}. Who enrolled by it keeps the plan.",
            do=lambda rule, form, at: delete_rule(rule=rule, at=at),
            done="Ended.",
            leads_to_list=True,
        )
