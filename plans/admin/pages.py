"""What the operator's pages are made of: pages of facts, and how amounts, units and links look on them."""

from decimal import Decimal
from typing import Any

from babel.numbers import format_currency
from django.contrib.admin.utils import flatten_fieldsets
from django.core.paginator import Paginator
from django.db import models
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline

from plans.models import PriceComponent
from plans.money import grouped_number, major_units
from plans.words import money_text

MOST_COUNTED = 10_000


class CappedPaginator(Paginator):
    """Counts no further than 10,000 rows, so that a page of a huge table costs no more than one of a small one."""

    @cached_property
    def count(self) -> int:
        """The number of rows that can be paged through."""
        rows: Any = self.object_list
        return rows.order_by()[:MOST_COUNTED].count()


class FactsAdmin(ModelAdmin):
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
    """Rows of facts on the page of what they belong to, ten at a time."""

    extra = 0
    max_num = 0
    per_page = 10
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Facts are not made by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Facts are looked at."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: models.Model | None = None) -> Any:
        """Every column, those that are computed too."""
        return self.fields


def amount(cents: int | Decimal | None, currency: str) -> SafeString | None:
    """An amount of money for a column of amounts."""
    return None if cents is None else in_column(money_text(cents, currency))


def units(quantity: Decimal | int | None) -> SafeString | None:
    """A quantity for a column of quantities."""
    return None if quantity is None else in_column(grouped_number(Decimal(quantity)).replace("-", "−"))


def in_column(text: str) -> SafeString:
    """Figures that stand under each other, aligned at their last digit."""
    return format_html('<span class="figure">{}</span>', text)


def link(row: models.Model | None, text: str = "") -> SafeString | None:
    """A link to the page of a row."""
    if row is None:
        return None
    address = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return link_to(address, text or str(row))


def link_to(address: str, text: str) -> SafeString:
    """A link that can be seen to be one."""
    return format_html('<a href="{}" class="text-primary-600 dark:text-primary-500">{}</a>', address, text)


def component_text(component: PriceComponent, currency: str) -> str:
    """What a component of a price charges: "API calls usage $0.05 per call, monthly"."""
    often = f"every {component.interval} " if component.interval > 1 else ""
    clock = f"{often}{component.frequency.lower()}"
    if component.amount_cents is not None:
        return f"{component.title} {money_text(component.amount_cents, currency)}, {clock}"
    return (
        f"{component.title} {unit_price_text(component.unit_cost_cents or Decimal(0), currency)} per "
        f"{component.unit_label or 'unit'}, {clock}"
    )


def unit_price_text(cents: Decimal, currency: str) -> str:
    """The price of one unit with all its decimals: $0.05, $0.0005."""
    return format_currency(
        major_units(cents, currency).normalize(), currency, locale="en_US", decimal_quantization=False
    )
