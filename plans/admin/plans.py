"""Plans: the form that makes one, and the page that shows what it sells."""

from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from unfold.decorators import action

from credits.models import CreditDefinition
from credits.services.publish_plan import publish_plan
from plans.admin.next_version import CannotShow, NextUsageFormSet, NextVersionForm, carried_text, shown_terms
from plans.admin.offered_terms import offered_terms, refuse_second
from plans.admin.pages import (
    FactsInline,
    GivenInline,
    charges_text,
    in_column,
    link,
    link_to,
    moment,
    units,
    yes_or_no,
)
from plans.admin.plan_form import PlanForm, UsageFormSet
from plans.admin.price_texts import fees_text, offer_text, quota_amount
from plans.admin.terms import TermsAdmin
from plans.models import (
    Merchant,
    Plan,
    PlanFeature,
    Price,
    PricingTablePlan,
    Subscription,
)
from plans.services.plans import delete_plan

NEXT_WORDS = (
    "Who subscribes from now on gets it, and pricing tables show it in the place of the one before. "
    "Those who have an earlier version keep it."
)
CREATED = moment("created_at")
DELETED = moment("deleted_at")
GONE = {"fields": [DELETED], "description": "Nobody can subscribe any more. Those who have it keep it."}


class PriceInline(FactsInline):
    """What the plan costs."""

    model = Price
    fields = ["charges", "currency", "public_id", moment("created_at")]
    verbose_name_plural = "prices"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Price]:
        """Prices that can be bought, with their components."""
        return super().get_queryset(request).filter(deleted_at=None).prefetch_related("components").order_by("pk")

    @admin.display(description="charges")
    def charges(self, price: Price) -> SafeString:
        """Each component on a line of its own."""
        return charges_text(price)


class PlanFeatureInline(GivenInline):
    """What the plan gives."""

    model = PlanFeature
    fields = ["feature", "gives", "beyond"]
    verbose_name_plural = "features"

    def get_queryset(self, request: HttpRequest) -> QuerySet[PlanFeature]:
        """With the features' names."""
        return super().get_queryset(request).select_related("feature", "plan").order_by("pk")


class QuotaInline(FactsInline):
    """The units and the money that come with the plan."""

    model = CreditDefinition
    fk_name = "plan"
    fields = [
        "page",
        "metric",
        "included",
        yes_or_no("renew_on_billing", "renews each period"),
        yes_or_no("billing_visible", "on invoices"),
        "comes_with",
    ]
    verbose_name_plural = "quotas"

    def get_queryset(self, request: HttpRequest) -> QuerySet[CreditDefinition]:
        """Quotas that are granted, with what they count."""
        return (
            super()
            .get_queryset(request)
            .filter(deleted_at=None)
            .select_related("metric", "price", "plan")
            .prefetch_related("price__components")
            .order_by("pk")
        )

    @admin.display(description="quota")
    def page(self, quota: CreditDefinition) -> SafeString | None:
        """The definition by its name."""
        return link(quota)

    @admin.display(description="amount")
    def included(self, quota: CreditDefinition) -> SafeString:
        """Units, or money, granted first."""
        return in_column(quota_amount(quota))

    @admin.display(description="comes with")
    def comes_with(self, quota: CreditDefinition) -> str:
        """The fee of the price that it comes with; without one it comes with each."""
        return "every price" if quota.price is None else fees_text(quota.price)


class PlacementInline(FactsInline):
    """The pricing tables that the plan stands on."""

    model = PricingTablePlan
    fields = ["page", "display_order", "button_text"]
    verbose_name_plural = "pricing tables"

    def get_queryset(self, request: HttpRequest) -> QuerySet[PricingTablePlan]:
        """With the tables' names."""
        return super().get_queryset(request).select_related("pricing_table", "plan").order_by("pricing_table_id")

    @admin.display(description="pricing table")
    def page(self, placement: PricingTablePlan) -> SafeString | None:
        """The table by its name."""
        return link(placement.pricing_table)


class PlanLooksForm(forms.ModelForm):
    """What may change after a plan was sold: how it looks."""

    class Meta:
        model = Plan
        fields: ClassVar[list[str]] = [
            "name",
            "description",
            "is_visible_in_pricing_table",
            "button_text",
            "is_enterprise_plan",
            "enterprise_redirect_url",
        ]
        labels: ClassVar[dict[str, str]] = {
            "name": "Name",
            "is_visible_in_pricing_table": "Meant for pricing tables",
            "is_enterprise_plan": "Enterprise plan",
            "enterprise_redirect_url": "Contact address",
        }
        help_texts: ClassVar[dict[str, str]] = {
            "description": "Customers read it below the name.",
            "is_visible_in_pricing_table": "A word for clients of the API. What a table shows is set on its own page.",
            "button_text": "Empty: Get started.",
            "is_enterprise_plan": "The pricing table shows no price, and its button opens the address below.",
        }


@admin.register(Plan)
class PlanAdmin(TermsAdmin):
    """A version of a plan. What it sells never changes; how it looks may be edited."""

    terms_form = PlanForm
    lines_formset = UsageFormSet
    terms_title = "Create a plan"
    terms_words = (
        "It is published at once as version 1. Later you may change how it looks; "
        "what it costs and gives stays, for those who bought it."
    )
    form = PlanLooksForm
    list_display = [
        "name",
        "version_number",
        "price_texts",
        yes_or_no("is_visible_in_pricing_table", "for pricing tables"),
        "sold",
        CREATED,
    ]
    list_filter = ["is_visible_in_pricing_table", "is_enterprise_plan"]
    search_fields = ["name", "public_id", "stable_plan_id"]
    search_help_text = "Name or id of a plan."
    ordering = ["-created_at", "-pk"]
    readonly_fields = [
        "charges",
        "public_id",
        "stable_plan_id",
        "version_number",
        "versions",
        "commit_message",
        "subscriptions",
        CREATED,
        DELETED,
    ]
    actions = ["delete_selected"]
    actions_list = ["create"]
    show_add_link = False
    actions_detail = ["new_version"]
    fieldsets = [
        (None, {"fields": ["name", "description", "charges", "subscriptions"]}),
        (
            "Pricing table",
            {
                "fields": [
                    "is_visible_in_pricing_table",
                    "button_text",
                    "is_enterprise_plan",
                    "enterprise_redirect_url",
                ]
            },
        ),
        ("Version", {"fields": ["versions", "commit_message", "public_id", "stable_plan_id", CREATED]}),
    ]
    inlines = [PriceInline, PlanFeatureInline, QuotaInline, PlacementInline]

    def make(self, form: PlanForm, lines: Any, at: datetime) -> Plan:
        """Publish the plan with all that it takes to sell it."""
        refuse_second(form.cleaned_data["name"])
        shown = form.cleaned_data["is_visible_in_pricing_table"]
        looks = {"is_visible_in_pricing_table": shown, "on_pricing_table": shown}
        return publish_plan(at=at, **offered_terms(form, lines), **looks)

    def initial_terms(self, request: HttpRequest) -> dict[str, Any]:
        """The currency that the merchant sells in."""
        return {"currency": Merchant.objects.values_list("default_currency", flat=True).get()}

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """Show the plan that was made."""
        called = f"plan {obj.name}" if obj.version_number == 1 else f"version {obj.version_number} of {obj.name}"
        self.message_user(request, f"The {called} is published. This is what it sells.")
        return HttpResponseRedirect(reverse("admin:plans_plan_change", args=[obj.pk]))

    def has_version_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """A version is a plan, too."""
        return super().has_add_permission(request)

    @action(description="New version", url_path="new-version", permissions=["version"])
    def new_version(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Publish the next version of a plan; the form begins with what this one sells."""
        base = self.get_object(request, unquote(object_id))
        if base is None:
            return HttpResponseRedirect(reverse("admin:plans_plan_changelist"))
        try:
            terms, usage = shown_terms(base)
        except CannotShow as reason:
            self.message_user(request, str(reason), messages.WARNING)
            return HttpResponseRedirect(reverse("admin:plans_plan_change", args=[base.pk]))
        data = request.POST if request.method == "POST" else None
        form = NextVersionForm(data, initial=terms, base=base)
        lines = NextUsageFormSet(data, prefix="lines", initial=usage)

        def make(form: Any, lines: Any, at: datetime) -> Plan:
            form.refuse_if_outdated()
            note = form.cleaned_data["commit_message"]
            return publish_plan(at=at, base=base, commit_message=note, **offered_terms(form, lines))

        title = f"New version of {base.name}"
        words = {"title": title, "words": f"{NEXT_WORDS} {carried_text(base)}".strip(), "button": "Publish the version"}
        return self.state_or_make(request, form, lines, make, words)

    @action(description="Create a plan", url_path="create", permissions=["add"], icon="add")
    def create(self, request: HttpRequest) -> HttpResponse:
        """Lead to the form: a round "+" says too little."""
        return HttpResponseRedirect(reverse("admin:plans_plan_add"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Plan]:
        """With prices, and how often each was sold. Deleted ones have their pages still, but are in no list."""
        plans = super().get_queryset(request).prefetch_related("prices__components")
        if request.resolver_match and request.resolver_match.url_name == "plans_plan_changelist":
            plans = plans.filter(deleted_at=None)
        return plans.annotate(subscription_count=Count("subscriptions", distinct=True))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """A deleted plan says so first."""
        return [("Deleted", GONE), *self.fieldsets] if obj and obj.deleted_at else self.fieldsets

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A deleted plan stays as it was."""
        return super().has_change_permission(request, obj) and not (obj and obj.deleted_at)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Once is enough."""
        return super().has_delete_permission(request, obj) and not (obj and obj.deleted_at)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Ask, and then delete the plan of a page."""
        if not self.has_delete_permission(request):
            raise PermissionDenied
        plan = self.get_object(request, unquote(object_id))
        plans = Plan.objects.filter(pk=plan.pk) if plan else Plan.objects.none()
        return self.delete_selected(request, plans) or HttpResponseRedirect(reverse("admin:plans_plan_changelist"))

    # The name of Django's own action, which would delete the rows: this one stands in its place.
    @admin.action(description="Delete…", permissions=["delete"])
    @transaction.atomic
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[Plan]) -> HttpResponse | None:
        """Ask, and then take plans off sale from this moment on."""
        plans = list(queryset.filter(deleted_at=None))
        if plans and "confirmed" not in request.POST:
            return self._ask_to_delete(request, plans)
        for plan in plans:
            delete_plan(plan=plan, at=timezone.now())
            self.log_change(request, plan, "Deleted.")
        done = f"Deleted: {', '.join(map(str, plans))}. From now on nobody can subscribe; existing subscriptions go on."
        self.message_user(request, done if plans else "Nothing was done: there is no such plan any more.")
        return None

    def _ask_to_delete(self, request: HttpRequest, plans: list[Plan]) -> HttpResponse:
        counts = dict(Subscription.objects.live().filter(plan__in=plans).values_list("plan").annotate(Count("pk")))
        context = {
            **self.admin_site.each_context(request),
            "title": "Delete plans?" if len(plans) > 1 else f"Delete {plans[0]}?",
            "opts": self.opts,
            "plans": [(plan, counts.get(plan.pk, 0)) for plan in plans],
            "media": self.media,
        }
        return TemplateResponse(request, "admin/delete_plans.html", context)

    @admin.display(description="prices")
    def price_texts(self, plan: Plan) -> str:
        """The base fees, or what is charged instead."""
        return " · ".join(fees_text(price) for price in plan.prices.all() if price.deleted_at is None)

    @admin.display(description="sells")
    def charges(self, plan: Plan) -> SafeString:
        """What the plan costs and includes, each price in one sentence."""
        quotas = list(plan.credit_definitions.filter(deleted_at=None).select_related("metric").order_by("pk"))
        prices = [price for price in plan.prices.all() if price.deleted_at is None]
        return format_html_join("", "<div>{}</div>", ((offer_text(price, quotas),) for price in prices))

    @admin.display(description="subscriptions")
    def subscriptions(self, plan: Any) -> SafeString:
        """A link to those who have this version."""
        address = reverse("admin:plans_subscription_changelist")
        return link_to(
            f"{address}?{urlencode({'plan__id__exact': plan.pk})}", f"{plan.subscription_count:,} of this version"
        )

    @admin.display(description="subscriptions", ordering="subscription_count")
    def sold(self, plan: Any) -> SafeString | None:
        """How many subscriptions were ever made of this version."""
        return units(plan.subscription_count)

    @admin.display(description="all versions")
    def versions(self, plan: Plan) -> SafeString:
        """Links to the versions of the same plan."""
        same = Plan.objects.live().filter(stable_plan_id=plan.stable_plan_id).order_by("version_number")
        return format_html_join(" · ", "{}", ((link(version, f"v{version.version_number}"),) for version in same))
