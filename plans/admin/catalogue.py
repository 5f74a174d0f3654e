"""What plans are made of and where they are shown: features, metrics, pricing tables."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import TabularInline

from plans.admin.pages import (
    FactsInline,
    PageAdmin,
    feature_text,
    link,
    link_to,
    moment,
    overage_text,
    yes_or_no,
)
from plans.models import Feature, Metric, PlanFeature, PricingTable, PricingTablePlan

CREATED = moment("created_at")


class NamedAdmin(PageAdmin):
    """Rows whose name and description may be edited; what they mean was sold and stays."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Plans and the API make them."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Plans that were sold name them."""
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Without the deleted ones."""
        return super().get_queryset(request).filter(deleted_at=None)


class GivenByInline(FactsInline):
    """The plans that give a feature."""

    model = PlanFeature
    fields = ["plan", "gives", "beyond"]
    verbose_name_plural = "given by"

    def get_queryset(self, request: HttpRequest) -> QuerySet[PlanFeature]:
        """With the plans' names."""
        return super().get_queryset(request).select_related("plan", "feature").order_by("pk")

    @admin.display(description="gives")
    def gives(self, sold: PlanFeature) -> str:
        """What the plan gives of it."""
        return feature_text(sold.value)

    @admin.display(description="beyond the quota")
    def beyond(self, sold: PlanFeature) -> str:
        """The answer to a check beyond the quota."""
        return overage_text(sold.overage)


@admin.register(Feature)
class FeatureAdmin(NamedAdmin):
    """What a plan gives."""

    list_display = ["display_name", "slug", "gives", "counts", CREATED]
    search_fields = ["display_name", "slug", "public_id"]
    search_help_text = "Name, slug or id of a feature."
    ordering = ["display_name", "pk"]
    fields = ["display_name", "description", "slug", "gives", "counts", "public_id", CREATED]
    readonly_fields = ["slug", "gives", "counts", "public_id", CREATED]
    inlines = [GivenByInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Feature]:
        """With the metrics that are counted."""
        return super().get_queryset(request).prefetch_related("metrics")

    @admin.display(description="counts", empty_value="")
    def counts(self, feature: Feature) -> SafeString:
        """The metrics whose usage it limits."""
        return format_html_join(", ", "{}", ((link(metric),) for metric in feature.metrics.all()))

    @admin.display(description="gives")
    def gives(self, feature: Feature) -> str:
        """What a plan gives that says nothing else."""
        return feature_text(feature.value)


@admin.register(Metric)
class MetricAdmin(NamedAdmin):
    """What is counted."""

    list_display = ["name", "event_name", "aggregation_type", CREATED]
    list_filter = ["aggregation_type"]
    search_fields = ["name", "current__event_name", "public_id"]
    search_help_text = "Name, event name or id of a metric."
    ordering = ["name", "pk"]
    fields = [
        "name",
        "description",
        "event_name",
        "counts_events_with",
        "aggregation_type",
        "value_type",
        "building",
        "public_id",
        CREATED,
    ]
    readonly_fields = [
        "event_name",
        "counts_events_with",
        "aggregation_type",
        "value_type",
        "building",
        "public_id",
        CREATED,
    ]

    @admin.display(description="only events with", empty_value="any properties")
    def counts_events_with(self, metric: Metric) -> str | None:
        """The property filter in words."""
        assert metric.current is not None
        listed = (
            f"{name} = {' or '.join(map(str, values))}" for name, values in metric.current.property_filter.items()
        )
        return ", ".join(listed) or None

    @admin.display(description="counting of earlier events")
    def building(self, metric: Metric) -> str:
        """How far the job has come that counts the events which were there before."""
        unbuilt = metric.versions.filter(built_at=None).first()
        return "complete" if unbuilt is None else f"{unbuilt.percent_built} % of version {unbuilt.number}"


class PricingTablePlanInline(TabularInline):
    """The plans on a pricing table."""

    model = PricingTablePlan
    extra = 0
    fields = ["plan", "display_order", "is_popular", "popular_text", "button_text", "button_outline"]
    autocomplete_fields = ["plan"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[PricingTablePlan]:
        """With the names of both sides."""
        return super().get_queryset(request).select_related("plan", "pricing_table")


@admin.register(PricingTable)
class PricingTableAdmin(PageAdmin):
    """A public page of plans."""

    list_display = ["name", "slug", "heading", yes_or_no("is_active", "shown"), "view"]
    search_fields = ["name", "slug"]
    search_help_text = "Name or slug of a pricing table."
    prepopulated_fields = {"slug": ["name"]}
    fields = ["name", "slug", "description", "heading", "subheading", "is_active"]
    inlines = [PricingTablePlanInline]
    view_on_site = True

    def get_view_on_site_url(self, obj: PricingTable | None = None) -> str | None:
        """The page that customers see."""
        return None if obj is None else page_path(obj)

    @admin.display(description="page")
    def view(self, table: PricingTable) -> SafeString:
        """A link to the page that customers see."""
        return link_to(page_path(table), "View") if table.is_active else format_html("{}", "not shown")


def page_path(table: PricingTable) -> str:
    """The path of a pricing table's public page."""
    return f"/pricing/{table.slug}"
