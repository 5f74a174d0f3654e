"""Plans: the form that makes one, and the page that shows what it sells."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from credits.models import CreditDefinition
from credits.services.publish_plan import QuotaTerms, UsageTerms, publish_plan
from plans.admin.pages import FactsInline, component_text, link, units
from plans.admin.plan_form import PlanForm, UsageFormSet, name_of, slug_of
from plans.admin.terms import TermsAdmin
from plans.models import Feature, Merchant, Plan, PlanFeature, Price
from plans.refusals import InvalidInput
from plans.words import money_text


class PriceInline(FactsInline):
    """What the plan costs."""

    model = Price
    fields = ["public_id", "currency", "charges", "created_at"]
    verbose_name_plural = "prices"
    show_change_link = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Price]:
        """Prices that can be bought, with their components."""
        return super().get_queryset(request).filter(deleted_at=None).prefetch_related("components").order_by("pk")

    @admin.display(description="charges")
    def charges(self, price: Price) -> SafeString:
        """Each component on a line of its own."""
        return format_html_join(
            "", "<div>{}</div>", ((component_text(part, price.currency),) for part in price.components.all())
        )


class PlanFeatureInline(FactsInline):
    """What the plan gives."""

    model = PlanFeature
    fields = ["feature", "value", "beyond"]
    verbose_name_plural = "features"
    show_change_link = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[PlanFeature]:
        """With the features' names."""
        return super().get_queryset(request).select_related("feature", "plan").order_by("pk")

    @admin.display(description="beyond the quota")
    def beyond(self, sold: PlanFeature) -> str:
        """The answer to a check beyond the quota."""
        return "say yes and bill" if sold.overage == "allow" else "say no"


class QuotaInline(FactsInline):
    """The units that come with the plan."""

    model = CreditDefinition
    fk_name = "plan"
    fields = ["name", "metric", "included", "renew_on_billing", "billing_visible", "price_name"]
    verbose_name_plural = "quotas"

    def get_queryset(self, request: HttpRequest) -> QuerySet[CreditDefinition]:
        """Quotas that are granted, with what they count."""
        return (
            super()
            .get_queryset(request)
            .filter(deleted_at=None)
            .select_related("metric", "price", "plan")
            .order_by("pk")
        )

    @admin.display(description="units")
    def included(self, quota: CreditDefinition) -> SafeString | None:
        """Units granted first."""
        return units(quota.default_amount)

    @admin.display(description="with price")
    def price_name(self, quota: CreditDefinition) -> str:
        """The price that it comes with; without one it comes with each."""
        return quota.price.public_id if quota.price is not None else "every price"


@admin.register(Plan)
class PlanAdmin(TermsAdmin):
    """A version of a plan. What it sells never changes; how it looks may be edited."""

    terms_form = PlanForm
    lines_formset = UsageFormSet
    terms_title = "Create a plan"
    list_display = ["name", "version_number", "price_texts", "is_visible_in_pricing_table", "sold", "created_at"]
    list_filter = ["is_visible_in_pricing_table", "is_enterprise_plan"]
    search_fields = ["name", "public_id", "stable_plan_id"]
    ordering = ["-created_at", "-pk"]
    readonly_fields = ["public_id", "stable_plan_id", "version_number", "versions", "commit_message", "created_at"]
    fieldsets = [
        (None, {"fields": ["name", "description"]}),
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
        (
            "Version",
            {"fields": ["version_number", "versions", "commit_message", "public_id", "stable_plan_id", "created_at"]},
        ),
    ]
    inlines = [PriceInline, PlanFeatureInline, QuotaInline]

    def make(self, form: PlanForm, lines: Any, at: datetime) -> Plan:
        """Publish the plan with all that it takes to sell it."""
        terms = form.cleaned_data
        usage = [usage_terms(line) for line in lines.filled()]
        is_paid = any(line.unit_cost_cents is not None for line in usage)
        if terms["monthly_fee"] is None and terms["yearly_fee"] is None and not is_paid:
            raise InvalidInput.at("monthly_fee", "say what the plan costs; 0 makes it free.")
        return publish_plan(
            at=at,
            name=terms["name"],
            currency=terms["currency"],
            monthly_amount_cents=terms["monthly_fee"],
            yearly_amount_cents=terms["yearly_fee"],
            usage_components=usage,
            description=terms["description"],
            is_visible_in_pricing_table=terms["is_visible_in_pricing_table"],
            on_pricing_table=terms["is_visible_in_pricing_table"],
            button_text=terms["button_text"],
        )

    def initial_terms(self) -> dict[str, Any]:
        """The currency that the merchant sells in."""
        return {"currency": Merchant.objects.values_list("default_currency", flat=True).get()}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Plan]:
        """With prices, and how often each was sold."""
        plans = super().get_queryset(request).filter(deleted_at=None).prefetch_related("prices__components")
        return plans.annotate(subscription_count=Count("subscriptions", distinct=True))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What was sold stays."""
        return False

    @admin.display(description="prices")
    def price_texts(self, plan: Plan) -> str:
        """The base fees, or what is charged instead."""
        texts = []
        for price in plan.prices.all():
            fees = [part for part in price.components.all() if part.amount_cents is not None]
            texts += [
                f"{money_text(fee.amount_cents or 0, price.currency)} {fee.frequency.lower()}" for fee in fees
            ] or [f"usage in {price.currency}"]
        return " · ".join(texts)

    @admin.display(description="subscriptions", ordering="subscription_count")
    def sold(self, plan: Any) -> SafeString | None:
        """How many subscriptions were ever made of this version."""
        return units(plan.subscription_count)

    @admin.display(description="all versions")
    def versions(self, plan: Plan) -> SafeString:
        """Links to the versions of the same plan."""
        same = Plan.objects.live().filter(stable_plan_id=plan.stable_plan_id).order_by("version_number")
        return format_html_join(" · ", "{}", ((link(version, f"v{version.version_number}"),) for version in same))


def usage_terms(line: dict[str, Any]) -> UsageTerms:
    """The terms of one kind of usage as it was entered; an existing feature keeps its name."""
    slug = slug_of(line["event_name"])
    known = Feature.objects.live().filter(slug=slug).values_list("display_name", flat=True).first()
    included = line["included_units"]
    return UsageTerms(
        slug=slug,
        name=known or name_of(line["event_name"]),
        event_name=line["event_name"],
        unit_label=line["unit_label"],
        unit_cost_cents=line["unit_cost_cents"],
        overage=line["overage"],
        quota=None
        if included is None
        else QuotaTerms(units=included, renews=line["renews"], shown_on_invoices=line["shown_on_invoices"]),
    )
