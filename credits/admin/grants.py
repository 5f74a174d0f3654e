"""Grants, and the ledger that says what became of them."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from credits.admin.filters import HoldsFilter, StateFilter, TransactionHoldsFilter
from credits.admin.grant_forms import AdjustForm, GrantForm, RevokeForm
from credits.admin.pages import MadeAdmin, leads_to_form
from credits.models import CalendarMonth, CreditGrant, CreditTransaction
from credits.months import month_end, month_start
from credits.services.grants import (
    ACTIVE,
    AdjustExceedsRemaining,
    LiveGrant,
    adjust_grant,
    grant_credits,
    live_grants,
    revoke_grant,
)
from plans.admin.pages import (
    CappedPaginator,
    FactsAdmin,
    FactsInline,
    PageList,
    day,
    day_text,
    held,
    in_column,
    link,
    moment,
)
from plans.money import grouped_number
from plans.page_words import period_text
from plans.periods import local_day
from plans.refusals import InvalidInput
from plans.services.time_zone import billing_zone
from plans.words import money_text

STATES = {"EXPIRED": "expired", "REVOKED": "revoked", "DEPLETED": "used up"}
KIND_COLOURS = {"granted": "success", "burned": "info", "expired": "warning", "revoked": "danger"}
STATE_COLOURS = {"active": "success", "not begun": "info", "used up": "warning"}


class GrantList(PageList):
    """A page of grants, each with what is left of it right now."""

    result_list: Any

    def get_results(self, request: HttpRequest) -> None:
        """Read what is left of the grants of this page, in one go."""
        super().get_results(request)
        self.result_list = with_live_numbers(list(self.result_list), at=timezone.now())


def with_live_numbers(grants: list[CreditGrant], *, at: datetime) -> list[CreditGrant]:
    """Let grants know their live numbers, and the instant of these."""
    for live in live_grants(grants, at=at):
        live.grant.live, live.grant.live_at = live, at  # type: ignore[attr-defined]
    return grants


def live_text(grant: CreditGrant) -> str:
    """How much of how much is left right now: "2,000 of 2,500"."""
    left, given = _live(grant).remaining, grant.initial_amount + grant.adjusted_amount
    if grant.currency:
        return f"{money_text(left, grant.currency)} of {money_text(given, grant.currency)}"
    return f"{grouped_number(left)} of {grouped_number(given)}"


def _live(grant: CreditGrant) -> LiveGrant:
    if not hasattr(grant, "live"):
        with_live_numbers([grant], at=timezone.now())
    live: LiveGrant = grant.live  # type: ignore[attr-defined]
    return live


def reason_text(movement: CreditTransaction) -> str | SafeString:
    """Why units moved: the period or the calendar month whose usage burned them, and the notes."""
    if movement.month is not None:
        return format_html("{} {}", _of_month(movement.month), movement.notes)
    if movement.period is None:
        return movement.notes
    ends = day_text(movement.period.start_at), day_text(movement.period.end_at)
    return format_html("period {} to {} {}", *ends, movement.notes)


def _of_month(month: CalendarMonth) -> str:
    """What was done for a calendar month, or for the days of one that no subscription covers."""
    zone = billing_zone()
    is_whole = (month_start(month.start_at, zone), month_end(month.start_at, zone)) == (month.start_at, month.end_at)
    first = local_day(month.start_at, zone)
    days = f"{first:%B %Y}" if is_whole else period_text(month.start_at, month.end_at, zone)
    return f"{'Found later for' if month.number else 'Settled for'} {days}"


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
        return super().get_queryset(request).select_related("period", "month", "grant").order_by("occurred_at", "pk")

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
    terms_words = "The customer has them at once. What they pay for is taken off the next invoice."
    nothing_yet = "Customers are granted credits with their plans, when they buy packs, and by you."
    create = leads_to_form("Grant credits")
    actions_detail = ["adjust", "revoke"]
    list_display = [
        "customer",
        "definition",
        "source",
        "granted",
        "left",
        "state",
        day("starts_at"),
        day("expires_at"),
    ]
    list_filter = [StateFilter, "source", HoldsFilter]
    list_select_related = ["customer", "definition"]
    paginator = CappedPaginator
    search_fields = [
        "public_id", "customer__public_id", "customer__name", "customer__email", "definition__name", "reference_code",
    ]  # fmt: skip
    search_help_text = "Name, e-mail or id of a customer; name of credits; id or reference of a grant."
    ordering = ["-pk"]
    fieldsets = [
        (None, {"fields": ["customer_page", "definition_page", "state", "left", "granted", "adjusted", "rest"]}),
        (
            "Time",
            {"fields": [day("starts_at"), day("expires_at"), moment("revoked_at"), moment("created_at", "granted on")]},
        ),
        ("Why", {"fields": ["source", "notes", "reference_code"]}),
        ("Use", {"fields": ["metric", "priority"]}),
        ("For the API", {"fields": ["public_id"]}),
    ]
    inlines = [TransactionInline]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[PageList]:
        """With live numbers."""
        return GrantList

    def initial_terms(self, request: HttpRequest) -> dict[str, Any]:
        """The customer from whose page somebody comes."""
        return {"customer": request.GET.get("customer", "")}

    def get_queryset(self, request: HttpRequest) -> QuerySet[CreditGrant]:
        """With the names of what it belongs to."""
        return super().get_queryset(request).select_related("customer", "definition__plan", "metric")

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

    @admin.display(description="left on settled books")
    def rest(self, grant: CreditGrant) -> SafeString | None:
        """What settlements and invoices have left; usage since then is not taken off."""
        return held(grant.ledger_remaining, grant.currency)

    @admin.display(description="left right now")
    def left(self, grant: CreditGrant) -> SafeString | None:
        """What is left live, with usage that is not settled yet taken off."""
        return held(_live(grant).remaining, grant.currency)

    @display(description="state", label=STATE_COLOURS)
    def state(self, grant: CreditGrant) -> str:
        """Whether it can pay for anything now, and why not."""
        status = _live(grant).status
        if status == ACTIVE:
            return "active" if grant.starts_at <= grant.live_at else "not begun"  # type: ignore[attr-defined]
        return STATES[status]

    @admin.display(description="credits")
    def definition_page(self, grant: CreditGrant) -> SafeString | None:
        """What they are called, and what they pay for."""
        return link(grant.definition)

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
            words=lambda grant: (
                f"{grant.definition or 'Credits'} for {grant.customer}: {live_text(grant)} are left right now. "
                "A row of the ledger says what was changed."
            ),
            initial=lambda grant: {"currency": grant.currency},
            do=_adjust,
            done=lambda live: f"Adjusted: {live_text(live.grant)} are left right now.",
        )

    @action(description="Revoke…", url_path="revoke", permissions=["move"])
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """End a grant now."""
        return self.ask_and_do(
            request,
            object_id,
            RevokeForm,
            title="Revoke the grant",
            words=lambda grant: (
                f"{grant.definition or 'Credits'} for {grant.customer}: {live_text(grant)} are left right now, and go "
                "at once. What was burned stays burned. It cannot be taken back; you can grant anew."
            ),
            do=lambda grant, form, at: revoke_grant(at=at, grant=grant, **form.cleaned_data),
            done="Revoked. What was left is gone, and what was burned stays burned.",
        )


def _adjust(grant: CreditGrant, form: AdjustForm, at: datetime) -> LiveGrant:
    try:
        return adjust_grant(at=at, grant=grant, **form.cleaned_data)
    except AdjustExceedsRemaining:
        raise InvalidInput.at("amount", f"only {live_text(grant)} are left; no more can be taken away.") from None


@admin.register(CreditTransaction)
class CreditTransactionAdmin(FactsAdmin):
    """The ledger of all grants."""

    nothing_yet = "Each grant, and whatever becomes of it, is a row here: burned, expired, adjusted, revoked."
    list_display = [moment("occurred_at", "when"), "customer", "state", "moved", "of", "why"]
    list_filter = ["kind", TransactionHoldsFilter]
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
        return super().get_queryset(request).select_related("customer", "grant__definition", "period", "month")

    @display(description="movement", ordering="kind", label=KIND_COLOURS)
    def state(self, movement: CreditTransaction) -> str:
        """What happened."""
        return movement.get_kind_display().lower()

    @admin.display(description="of")
    def of(self, movement: CreditTransaction) -> SafeString | None:
        """The grant that was moved, by what it is called."""
        return link(movement.grant, str(movement.grant.definition or "credits"))

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
        return link(movement.grant, f"{movement.grant.definition or 'Credits'}, {movement.grant}")

    @admin.display(description="why")
    def why(self, movement: CreditTransaction) -> str | SafeString:
        """The usage that burned them, or a note."""
        return reason_text(movement)
