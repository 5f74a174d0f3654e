"""Grants, and the ledger that says what became of them."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action

from credits.admin.forms import AdjustForm, GrantForm, RevokeForm
from credits.admin.pages import MadeAdmin, held
from credits.models import CreditGrant, CreditTransaction
from credits.services.grants import adjust_grant, grant_credits, live_grant, revoke_grant
from plans.admin.pages import CappedPaginator, FactsAdmin, FactsInline, in_column, link, moment, moment_text
from plans.money import grouped_number
from plans.words import money_text


def reason_text(movement: CreditTransaction) -> str | SafeString:
    """Why units moved: the period whose usage burned them, and the notes."""
    if movement.period is None:
        return movement.notes
    ends = moment_text(movement.period.start_at), moment_text(movement.period.end_at)
    return format_html("period {} to {} {}", *ends, movement.notes)


def moved_text(movement: CreditTransaction) -> SafeString:
    """Units or money given (plus) or taken (minus)."""
    currency, moved = movement.grant.currency, abs(movement.amount)
    text = money_text(moved, currency) if currency else grouped_number(moved)
    return in_column(f"{'+' if movement.amount > 0 else '−'}{text}")


class TransactionInline(FactsInline):
    """The ledger of a grant."""

    model = CreditTransaction
    fields = [moment("occurred_at", "when"), "kind", "moved", "why"]
    verbose_name_plural = "ledger"

    def get_queryset(self, request: HttpRequest) -> QuerySet[CreditTransaction]:
        """In the order in which it was written."""
        return super().get_queryset(request).select_related("period", "grant").order_by("occurred_at", "pk")

    @admin.display(description="amount")
    def moved(self, movement: CreditTransaction) -> SafeString:
        """Units or money given (plus) or taken (minus)."""
        return moved_text(movement)

    @admin.display(description="why")
    def why(self, movement: CreditTransaction) -> str | SafeString:
        """The usage that burned them, or a note."""
        return reason_text(movement)


@admin.register(CreditGrant)
class CreditGrantAdmin(MadeAdmin):
    """What a customer was given, and what became of it."""

    terms_form = GrantForm
    terms_title = "Grant credits"
    actions_detail = ["adjust", "revoke"]
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
        ("Amount", {"fields": ["granted", "adjusted", "rest", "left", "priority"]}),
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
        """What was given."""
        return held(grant.initial_amount, grant.currency)

    @admin.display(description="adjusted by")
    def adjusted(self, grant: CreditGrant) -> SafeString | None:
        """What was added or taken away later."""
        return held(grant.adjusted_amount, grant.currency) if grant.adjusted_amount else None

    @admin.display(description="left in the ledger")
    def rest(self, grant: CreditGrant) -> SafeString | None:
        """What settlements and invoices have left; usage since then is not taken off."""
        return held(grant.ledger_remaining, grant.currency)

    @admin.display(description="left right now")
    def left(self, grant: CreditGrant) -> SafeString | None:
        """What is left live, with usage that is not settled yet taken off."""
        return held(live_grant(at=timezone.now(), grant=grant).remaining, grant.currency)

    def make(self, form: Any, lines: Any, at: datetime) -> CreditGrant:
        """Give the customer the credits."""
        return grant_credits(at=at, **form.cleaned_data)

    @action(description="Adjust…", url_path="adjust", permissions=["move"])
    def adjust(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Add to a grant, or take away from it."""
        return self.ask_and_do(
            request,
            object_id,
            AdjustForm,
            title="Adjust the grant",
            words="A row of the ledger says what was changed.",
            do=lambda grant, form, at: adjust_grant(at=at, grant=grant, **form.cleaned_data),
            done="Adjusted.",
        )

    @action(description="Revoke…", url_path="revoke", permissions=["move"])
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """End a grant now."""
        return self.ask_and_do(
            request,
            object_id,
            RevokeForm,
            title="Revoke the grant",
            words="What is left of it goes at once; what was burned stays burned.",
            do=lambda grant, form, at: revoke_grant(at=at, grant=grant, **form.cleaned_data),
            done="Revoked.",
        )


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

    @admin.display(description="amount")
    def moved(self, movement: CreditTransaction) -> SafeString:
        """Units or money given (plus) or taken (minus)."""
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
