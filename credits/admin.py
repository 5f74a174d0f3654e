"""Quotas, grants and their ledger."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from credits.models import CreditDefinition, CreditGrant, CreditTransaction
from plans.admin.pages import (
    CappedPaginator,
    FactsAdmin,
    FactsInline,
    charges_text,
    in_column,
    link,
    moment,
    moment_text,
    units,
    yes_or_no,
)
from plans.money import grouped_number

RENEWS = yes_or_no("renew_on_billing", "renews each period")
ACTIVE = yes_or_no("is_active", "active")


def reason_text(movement: CreditTransaction) -> str | SafeString:
    """Why units moved: the period whose usage burned them, and the notes."""
    if movement.period is None:
        return movement.notes
    ends = moment_text(movement.period.start_at), moment_text(movement.period.end_at)
    return format_html("period {} to {} {}", *ends, movement.notes)


def moved_text(movement: CreditTransaction) -> SafeString:
    """Units given (plus) or taken (minus)."""
    return in_column(f"{'+' if movement.amount > 0 else '−'}{grouped_number(abs(movement.amount))}")


@admin.register(CreditDefinition)
class CreditDefinitionAdmin(FactsAdmin):
    """A quota: how many units of a metric are granted, and when again."""

    list_display = ["name", "scope", "plan", "metric", "first_amount", RENEWS, ACTIVE]
    list_filter = ["scope", "renew_on_billing", "is_active"]
    list_select_related = ["plan", "metric"]
    search_fields = ["name", "public_id", "plan__name", "metric__current__event_name"]
    search_help_text = "Name or id of a definition, name of a plan, event name of a metric."
    ordering = ["-created_at", "-pk"]
    fieldsets = [
        (None, {"fields": ["public_id", "name", "description", "scope", ACTIVE]}),
        (
            "Units",
            {"fields": ["metric", "first_amount", "later_amount", RENEWS, "expiry_days", "priority"]},
        ),
        ("Belongs to", {"fields": ["plan_page", "charges", "feature"]}),
        ("On invoices", {"fields": [yes_or_no("billing_visible", "shown as a line"), "billing_description"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[CreditDefinition]:
        """Without the deleted ones."""
        definitions = super().get_queryset(request).filter(deleted_at=None)
        return definitions.select_related("plan", "metric", "price", "feature").prefetch_related("price__components")

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

    @admin.display(description="with the price")
    def charges(self, definition: CreditDefinition) -> SafeString | None:
        """What the price charges that it comes with; without one it comes with each of its plan."""
        return None if definition.price is None else charges_text(definition.price)


class TransactionInline(FactsInline):
    """The ledger of a grant."""

    model = CreditTransaction
    fields = [moment("occurred_at", "when"), "kind", "moved", "why"]
    verbose_name_plural = "ledger"

    def get_queryset(self, request: HttpRequest) -> QuerySet[CreditTransaction]:
        """In the order in which it was written."""
        return super().get_queryset(request).select_related("period", "grant").order_by("occurred_at", "pk")

    @admin.display(description="units")
    def moved(self, movement: CreditTransaction) -> SafeString:
        """Units given (plus) or taken (minus)."""
        return moved_text(movement)

    @admin.display(description="why")
    def why(self, movement: CreditTransaction) -> str | SafeString:
        """The usage that burned them, or a note."""
        return reason_text(movement)


@admin.register(CreditGrant)
class CreditGrantAdmin(FactsAdmin):
    """Units that a customer was given, and what became of them."""

    list_display = [
        "customer",
        "definition",
        "source",
        "granted",
        "rest",
        moment("starts_at"),
        moment("expires_at"),
    ]
    list_filter = ["source"]
    list_select_related = ["customer", "definition"]
    paginator = CappedPaginator
    search_fields = ["public_id", "customer__public_id", "customer__name", "customer__email", "reference_code"]
    search_help_text = "Id or reference of a grant; name, e-mail or id of a customer."
    ordering = ["-pk"]
    fieldsets = [
        (None, {"fields": ["public_id", "customer_page", "definition", "metric", "source"]}),
        ("Units", {"fields": ["granted", "rest", "priority"]}),
        (
            "Time",
            {"fields": [moment("starts_at"), moment("expires_at"), moment("revoked_at"), moment("created_at")]},
        ),
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

    list_display = [moment("occurred_at", "when"), "customer", "kind", "moved", "grant"]
    list_filter = ["kind"]
    list_select_related = ["customer", "grant"]
    paginator = CappedPaginator
    search_fields = ["public_id", "grant__public_id", "customer__public_id", "customer__email"]
    search_help_text = "Id of a movement or grant, e-mail or id of a customer."
    ordering = ["-pk"]
    sortable_by: Any = ()
    fields = [
        "customer_page",
        "grant_page",
        "kind",
        "moved",
        "why",
        moment("occurred_at", "when"),
        "public_id",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[CreditTransaction]:
        """With the names of what it belongs to."""
        return super().get_queryset(request).select_related("customer", "grant", "period")

    @admin.display(description="units")
    def moved(self, movement: CreditTransaction) -> SafeString:
        """Units given (plus) or taken (minus)."""
        return moved_text(movement)

    @admin.display(description="customer")
    def customer_page(self, movement: CreditTransaction) -> SafeString | None:
        """Whose units they are."""
        return link(movement.customer)

    @admin.display(description="grant")
    def grant_page(self, movement: CreditTransaction) -> SafeString | None:
        """The grant that was moved."""
        return link(movement.grant)

    @admin.display(description="why")
    def why(self, movement: CreditTransaction) -> str | SafeString:
        """The usage that burned them, or a note."""
        return reason_text(movement)
