"""What the operator's pages are made of: pages of facts, and how amounts, units and links look on them."""

from collections.abc import Callable
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import flatten_fieldsets
from django.core.paginator import Paginator
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.views import ChangeList

from plans.admin.price_texts import component_text
from plans.models import Overage, PlanFeature, Price, SubscriptionFeature
from plans.models.features import USAGE_BASED
from plans.money import grouped_number
from plans.words import money_text

MOST_COUNTED = 10_000


class CappedPaginator(Paginator):
    """Counts no further than 10,000 rows, so that a page of a huge table costs no more than one of a small one."""

    @cached_property
    def count(self) -> int:
        """The number of rows that can be paged through."""
        rows: Any = self.object_list
        return rows.order_by()[:MOST_COUNTED].count()


class PageList(ChangeList):
    """A list that does not offer to show all where it does."""

    def get_results(self, request: HttpRequest) -> None:
        """Without a search the rows that were counted are all there are."""
        super().get_results(request)
        if not (self.query or self.has_active_filters):
            self.full_result_count = self.result_count


class PageAdmin(ModelAdmin):
    """Pages that answer whatever an address holds. No text of the database has a NUL, so asking for one would fail.

    `nothing_yet` is what an empty list says to do.
    """

    nothing_yet = "There is nothing here yet."

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Lists that count once."""
        return PageList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list, all of it when it is asked for with a NUL, or act on what was chosen in it."""
        if "%00" in request.META["QUERY_STRING"]:
            self.message_user(request, "The address had a NUL in it, so nothing was searched for.", messages.WARNING)
            return HttpResponseRedirect(request.path)
        if not all(key.isdecimal() for key in request.POST.getlist("_selected_action")):
            self.message_user(request, "What was chosen is not in this list, so nothing was done.", messages.WARNING)
            return HttpResponseRedirect(request.path)
        return super().changelist_view(request, extra_context)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Find a row by the key in the address; none has a NUL."""
        return None if "\0" in object_id else super().get_object(request, object_id, from_field)


class FactsAdmin(PageAdmin):
    """Rows that the rules write and nobody edits."""

    actions = None
    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Facts are not made by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Facts are looked at."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Facts stay."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: models.Model | None = None) -> Any:
        """Every field of the page, those that are computed for it too."""
        return flatten_fieldsets(self.fieldsets or [(None, {"fields": self.fields or []})])


class FactsInline(TabularInline):
    """Rows of facts on the page of what they belong to, ten at a time. The first column links to the row's page."""

    extra = 0
    max_num = 0
    per_page = 10
    can_delete = False
    hide_title = True

    def has_add_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Facts are not made by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Facts are looked at."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: models.Model | None = None) -> Any:
        """Every column, those that are computed too."""
        return self.fields


class GivenInline(FactsInline):
    """Features as a plan gives them, or as a subscription was sold them."""

    @admin.display(description="gives")
    def gives(self, sold: PlanFeature | SubscriptionFeature) -> str:
        """What a customer has of it."""
        return feature_text(sold.value)

    @admin.display(description="beyond the quota")
    def beyond(self, sold: PlanFeature | SubscriptionFeature) -> str:
        """The answer to a check beyond the quota."""
        return overage_text(sold.overage)


def amount(cents: int | Decimal | None, currency: str) -> SafeString | None:
    """An amount of money for a column of amounts."""
    return None if cents is None else in_column(money_text(cents, currency))


def units(quantity: Decimal | int | None) -> SafeString | None:
    """A quantity for a column of quantities."""
    return None if quantity is None else in_column(grouped_number(Decimal(quantity)).replace("-", "−"))


def held(quantity: Decimal | None, currency: str) -> SafeString | None:
    """Units, or money where there is a currency, for a column."""
    return amount(quantity, currency) if currency else units(quantity)


def in_column(text: str) -> SafeString:
    """Figures that stand under each other, aligned at their last digit."""
    return format_html('<span class="figure">{}</span>', text)


def moment(field: str, words: str = "") -> Callable[[Any], SafeString | None]:
    """A column of a row's instants, in UTC. Without `words` it is called after the field: paid_at is "paid"."""

    @admin.display(description=words or field.removesuffix("_at").replace("_", " "), ordering=field)
    def column(row: Any) -> SafeString | None:
        return moment_text(getattr(row, field))

    column.__name__ = field
    return column


def day(field: str, words: str = "") -> Callable[[Any], SafeString | None]:
    """A column like moment, which leaves out midnight: 22 Dec 2026."""

    @admin.display(description=words or field.removesuffix("_at").replace("_", " "), ordering=field)
    def column(row: Any) -> SafeString | None:
        return day_text(getattr(row, field))

    column.__name__ = field
    return column


def day_text(at: datetime | None) -> SafeString | None:
    """An instant as people write it, without its time where that is midnight."""
    if at is None or at.astimezone(UTC).time() != time():
        return moment_text(at)
    return unbroken(f"{at.astimezone(UTC).day} {at.astimezone(UTC):%b %Y}")


def moment_text(at: datetime | None) -> SafeString | None:
    """An instant as people write it: 22 Dec 2026, 01:00."""
    if at is None:
        return None
    at = at.astimezone(UTC)
    return format_html(
        '<time class="unbroken" datetime="{}">{} {}</time>', at.isoformat(), at.day, f"{at:%b %Y, %H:%M}"
    )


def yes_or_no(field: str, words: str = "") -> Callable[[Any], str]:
    """A column that says yes or no: red crosses would look like errors."""

    @admin.display(description=words or field.replace("_", " "), ordering=field)
    def column(row: Any) -> str:
        return "yes" if getattr(row, field) else "no"

    column.__name__ = field
    return column


def feature_text(value: Any) -> str:
    """What a feature gives, in words: "counted", "on", "off", or the limit or text itself. An override without a value
    gives what the plan does."""
    if value is None:
        return "what the plan gives"
    if value == USAGE_BASED:
        return "counted"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:,}" if isinstance(value, int) else str(value)


def overage_text(overage: str) -> str:
    """What a check answers beyond the quota."""
    return "say yes and bill" if overage == Overage.ALLOW else "say no"


def unbroken(text: str) -> SafeString:
    """Text that stays on one line, such as a number with a hyphen."""
    return format_html('<span class="unbroken">{}</span>', text)


def link(row: models.Model | None, text: str = "") -> SafeString | None:
    """A link to the page of a row."""
    if row is None:
        return None
    address = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return link_to(address, text or str(row))


def link_to(address: str, text: str) -> SafeString:
    """A link that can be seen to be one."""
    return format_html('<a href="{}" class="text-primary-600 dark:text-primary-500">{}</a>', address, text)


def charges_text(price: Price) -> SafeString:
    """What a price charges, each component on a line of its own."""
    lines = ((component_text(part, price.currency),) for part in price.components.all())
    return format_html_join("", "<div>{}</div>", lines)
