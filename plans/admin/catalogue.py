"""What plans are made of and where they are shown: features, metrics, pricing tables."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from plans.admin.pages import FactsInline
from plans.models import Feature, Metric, PlanFeature, PricingTable, PricingTablePlan


class NamedAdmin(ModelAdmin):
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
    fields = ["plan", "value", "overage"]
    verbose_name_plural = "given by"
    show_change_link = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[PlanFeature]:
        """With the plans' names."""
        return super().get_queryset(request).select_related("plan", "feature").order_by("pk")


@admin.register(Feature)
class FeatureAdmin(NamedAdmin):
    """What a plan gives."""

    list_display = ["display_name", "slug", "value", "counts", "created_at"]
    search_fields = ["display_name", "slug", "public_id"]
    ordering = ["display_name", "pk"]
    fields = ["display_name", "description", "slug", "value", "counts", "public_id", "created_at"]
    readonly_fields = ["slug", "value", "counts", "public_id", "created_at"]
    inlines = [GivenByInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Feature]:
        """With the metrics that are counted."""
        return super().get_queryset(request).prefetch_related("metrics")

    @admin.display(description="counts", empty_value="")
    def counts(self, feature: Feature) -> str:
        """The metrics whose usage it limits."""
        return ", ".join(metric.name for metric in feature.metrics.all())


@admin.register(Metric)
class MetricAdmin(NamedAdmin):
    """What is counted."""

    list_display = ["name", "event_name", "aggregation_type", "created_at"]
    list_filter = ["aggregation_type"]
    search_fields = ["name", "event_name", "public_id"]
    ordering = ["name", "pk"]
    fields = ["name", "description", "event_name", "aggregation_type", "value_type", "public_id", "created_at"]
    readonly_fields = ["event_name", "aggregation_type", "value_type", "public_id", "created_at"]


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
class PricingTableAdmin(ModelAdmin):
    """A public page of plans."""

    list_display = ["name", "slug", "heading", "is_active"]
    search_fields = ["name", "slug"]
    prepopulated_fields = {"slug": ["name"]}
    fields = ["name", "slug", "description", "heading", "subheading", "is_active"]
    inlines = [PricingTablePlanInline]
