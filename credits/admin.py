"""Quotas, grants and their ledger."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from credits.models import CreditDefinition, CreditGrant, CreditTransaction
from plans.admin.pages import CappedPaginator, FactsAdmin, FactsInline, link, units


@admin.register(CreditDefinition)
class CreditDefinitionAdmin(FactsAdmin):
    """A quota: how many units of a metric are granted, and when again."""

    list_display = ["name", "scope", "plan", "metric", "first_amount", "renew_on_billing", "is_active"]
    list_filter = ["scope", "renew_on_billing", "is_active"]
    list_select_related = ["plan", "metric"]
    search_fields = ["name", "public_id", "plan__name", "metric__event_name"]
    ordering = ["-created_at", "-pk"]
    fieldsets = [
        (None, {"fields": ["public_id", "name", "description", "scope", "is_active"]}),
        (
            "Units",
            {"fields": ["metric", "first_amount", "later_amount", "renew_on_billing", "expiry_days", "priority"]},
        ),
        ("Belongs to", {"fields": ["plan_page", "price", "price_component_id", "feature"]}),
        ("On invoices", {"fields": ["billing_visible", "billing_description"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[CreditDefinition]:
        """Without the deleted ones."""
        definitions = super().get_queryset(request).filter(deleted_at=None)
        return definitions.select_related("plan", "metric", "price__plan", "feature")

    @admin.display(description="units", ordering="default_amount")
    def first_amount(self, definition: CreditDefinition) -> SafeString | None:
        """Units granted first."""
        return units(definition.default_amount)

    @admin.display(description="units at each renewal")
    def later_amount(self, definition: CreditDefinition) -> SafeString | None:
        """Units granted later."""
        return units(definition.renewal_amount)

    @admin.display(description="plan")
    def plan_page(self, definition: CreditDefinition) -> SafeString | None:
        """The plan version that it comes with."""
        return link(definition.plan)


class TransactionInline(FactsInline):
    """The ledger of a grant."""

    model = CreditTransaction
    fields = ["occurred_at", "kind", "moved", "period", "notes"]
    verbose_name_plural = "ledger"
    show_change_link = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[CreditTransaction]:
        """In the order in which it was written."""
        return super().get_queryset(request).select_related("period", "grant").order_by("occurred_at", "pk")

    @admin.display(description="units")
    def moved(self, movement: CreditTransaction) -> SafeString | None:
        """Units given (plus) or taken (minus)."""
        return units(movement.amount)


@admin.register(CreditGrant)
class CreditGrantAdmin(FactsAdmin):
    """Units that a customer was given, and what became of them."""

    list_display = ["public_id", "customer", "definition", "source", "granted", "rest", "starts_at", "expires_at"]
    list_filter = ["source"]
    list_select_related = ["customer", "definition"]
    paginator = CappedPaginator
    search_fields = ["public_id", "customer__public_id", "customer__name", "customer__email", "reference_code"]
    ordering = ["-pk"]
    fieldsets = [
        (None, {"fields": ["public_id", "customer_page", "definition", "metric", "source"]}),
        ("Units", {"fields": ["granted", "rest", "priority"]}),
        ("Time", {"fields": ["starts_at", "expires_at", "revoked_at", "created_at"]}),
        ("Notes", {"fields": ["reference_code", "notes"]}),
    ]
    inlines = [TransactionInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[CreditGrant]:
        """With the names of what it belongs to."""
        return super().get_queryset(request).select_related("customer", "definition", "metric")

    @admin.display(description="customer")
    def customer_page(self, grant: CreditGrant) -> SafeString | None:
        """Who has it."""
        return link(grant.customer)

    @admin.display(description="granted")
    def granted(self, grant: CreditGrant) -> SafeString | None:
        """Units given."""
        return units(grant.initial_amount)

    @admin.display(description="left in the ledger")
    def rest(self, grant: CreditGrant) -> SafeString | None:
        """Units that settlements have left; usage since then is not taken off."""
        return units(grant.ledger_remaining)


@admin.register(CreditTransaction)
class CreditTransactionAdmin(FactsAdmin):
    """The ledger of all grants."""

    list_display = ["occurred_at", "customer", "kind", "moved", "grant"]
    list_filter = ["kind"]
    list_select_related = ["customer", "grant"]
    paginator = CappedPaginator
    search_fields = ["public_id", "grant__public_id", "customer__public_id", "customer__email"]
    ordering = ["-pk"]
    sortable_by: Any = ()
    fields = ["public_id", "customer_page", "grant_page", "kind", "moved", "period", "occurred_at", "notes"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[CreditTransaction]:
        """With the names of what it belongs to."""
        return super().get_queryset(request).select_related("customer", "grant", "period")

    @admin.display(description="units")
    def moved(self, movement: CreditTransaction) -> SafeString | None:
        """Units given (plus) or taken (minus)."""
        return units(movement.amount)

    @admin.display(description="customer")
    def customer_page(self, movement: CreditTransaction) -> SafeString | None:
        """Whose units they are."""
        return link(movement.customer)

    @admin.display(description="grant")
    def grant_page(self, movement: CreditTransaction) -> SafeString | None:
        """The grant that was moved."""
        return link(movement.grant)
