"""The operator's list of usage that arrived too late to be billed by itself."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from copy import copy
from decimal import Decimal
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.views import ChangeList

from billing.services.late_invoices import bill_found, without_next_invoice
from credits.services.late_usage import LateUsage, look_again, periods_to_look_at
from plans.admin.pages import CappedPaginator, FactsAdmin, PageList, amount, in_column, link, moment, units
from plans.models import SubscriptionPeriod
from plans.page_words import number_text, period_text
from plans.services.time_zone import billing_zone
from plans.words import money_text


class LateUsageList(PageList):
    """A page of periods, each with what it differs by now; those that do not differ are left out."""

    result_list: Any

    def get_results(self, request: HttpRequest) -> None:
        """Rate the periods of this page again, in one go."""
        super().get_results(request)
        periods = list(self.result_list)
        found = look_again(periods, at=timezone.now())
        for period in periods:
            period.late_usage = found.get(period.pk)
        self.result_list = [period for period in periods if period.late_usage is not None]
        if not self.multi_page:
            self.result_count = len(self.result_list)
            self.full_result_count = self.result_count if self.full_result_count is not None else None


@admin.register(SubscriptionPeriod)
class LateUsageAdmin(FactsAdmin):
    """Settled periods of which something arrived, or was voided, when late usage was not billed by itself any more."""

    actions: Any = ["bill"]
    nothing_yet = (
        "Usage that arrives while its period's window is open is billed by itself. What arrives later is listed here, "
        "and is billed only if you say so."
    )
    list_before_template = "admin/late_usage_words.html"
    list_display = ["customer", "what", "days", "settled_units", "more_units", "more_cents"]
    list_display_links = None
    list_select_related = ["customer", "item__component__price"]
    paginator = CappedPaginator
    search_fields = ["customer__public_id", "customer__name", "customer__email"]
    search_help_text = "Name, e-mail or id of a customer."
    ordering = ["-end_at", "-pk"]
    fields = [
        "customer_page",
        "what",
        "days",
        "settled_units",
        "settled_amount",
        moment("settled_at", "billed on"),
        moment("late_usage_closed_at", "late usage waited for until"),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[SubscriptionPeriod]:
        """Those for which somebody has to decide."""
        return periods_to_look_at().select_related("customer", "item__component__price")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """With what each period differs by."""
        return LateUsageList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Under the name by which people know it: it is no list of all periods."""
        return super().changelist_view(request, {"title": "Late usage", "opts": self._named()} | (extra_context or {}))

    def _named(self) -> Any:
        opts = copy(self.opts)
        opts.verbose_name_plural = "late usage"
        return opts

    def has_bill_permission(self, request: HttpRequest) -> bool:
        """Who may change invoices may say what is billed."""
        return request.user.has_perm("billing.change_invoice")

    @admin.action(description="Bill…", permissions=["bill"])
    def bill(self, request: HttpRequest, queryset: QuerySet[SubscriptionPeriod]) -> HttpResponse | None:
        """Ask, and then bill what the chosen periods differ by: with the next invoices of their subscriptions, or at
        once where these have ended."""
        if "confirmed" not in request.POST:
            return self._ask(request, queryset)
        periods = list(queryset)
        ended = without_next_invoice(period.subscription_id for period in periods)
        differences = bill_found(periods=periods, at=timezone.now())
        ways = [_way(difference.period, difference.net_cents, ended) for difference in differences]
        for difference, way in zip(differences, ways, strict=True):
            self.log_change(request, difference.period, f"Late usage billed {way}.")
        self.message_user(request, _done_text(ways, len(periods)), messages.SUCCESS)
        return None

    def _ask(self, request: HttpRequest, queryset: QuerySet[SubscriptionPeriod]) -> HttpResponse:
        periods = list(queryset)
        found = look_again(periods, at=timezone.now())
        late = [(period, found[period.pk]) for period in periods if period.pk in found]
        ended = without_next_invoice(period.subscription_id for period in periods)
        context = {
            **self.admin_site.each_context(request),
            "title": "Bill late usage?",
            "opts": self._named(),
            "lines": [
                (period, self.what(period), period_of(period), *_words(period, one), _way(period, one.net_cents, ended))
                for period, one in late
            ],
            "totals": _totals(late),
            "media": self.media,
        }
        return TemplateResponse(request, "admin/bill_late_usage.html", context)

    @admin.display(description="customer")
    def customer_page(self, period: SubscriptionPeriod) -> SafeString | None:
        """Whose usage it is."""
        return link(period.customer)

    @admin.display(description="period", ordering="end_at")
    def days(self, period: SubscriptionPeriod) -> str:
        """Its first and its last day."""
        return period_of(period)

    @admin.display(description="usage")
    def what(self, period: SubscriptionPeriod) -> str:
        """The component that prices it."""
        return str(period.item.component)

    @admin.display(description="units since")
    def more_units(self, period: SubscriptionPeriod) -> SafeString | None:
        """By how many units the period differs."""
        late = self._late(period)
        return None if late is None else in_column(signed_number(late.usage))

    @admin.display(description="comes to")
    def more_cents(self, period: SubscriptionPeriod) -> SafeString | None:
        """What billing them would come to."""
        late = self._late(period)
        return None if late is None else in_column(signed_money(late.net_cents, _currency(period)))

    @admin.display(description="units billed")
    def settled_units(self, period: SubscriptionPeriod) -> SafeString | None:
        """Usage as it was settled."""
        return units(period.settled_usage)

    @admin.display(description="which came to")
    def settled_amount(self, period: SubscriptionPeriod) -> SafeString | None:
        """What the settled usage came to, after credits."""
        return amount(period.settled_net_cents, _currency(period))

    def _late(self, period: SubscriptionPeriod) -> LateUsage | None:
        return getattr(period, "late_usage", None)


def _currency(period: SubscriptionPeriod) -> str:
    assert period.item.component is not None
    return period.item.component.price.currency


def period_of(period: SubscriptionPeriod) -> str:
    """The local days of a period: 10 August – 9 September 2026."""
    return period_text(period.start_at, period.end_at, billing_zone())


def signed_number(units: Decimal) -> str:
    """A quantity with its sign."""
    return f"{'+' if units > 0 else ''}{number_text(units)}"


def signed_money(cents: int, currency: str) -> str:
    """Money with its sign."""
    return f"{'+' if cents > 0 else '−' if cents < 0 else ''}{money_text(abs(cents), currency)}"


def _words(period: SubscriptionPeriod, late: LateUsage) -> tuple[str, str]:
    return signed_number(late.usage), signed_money(late.net_cents, _currency(period))


_NEXT_INVOICE = "with the next invoice of its subscription"
_OWN_INVOICE = "by an invoice of its own, at once"
_CREDIT = "as a credit note or as credit, at once"
_NOTHING = "at no charge"


def _way(period: SubscriptionPeriod, net_cents: int, ended: Collection[int]) -> str:
    """How what a period differs by is billed; `ended` are the keys of subscriptions without a next invoice."""
    if period.subscription_id not in ended:
        return _NEXT_INVOICE
    if not net_cents:
        return _NOTHING
    return _CREDIT if net_cents < 0 else _OWN_INVOICE


def _done_text(ways: Sequence[str], chosen: int) -> str:
    """Tell what became of the chosen periods."""
    told = {
        _NEXT_INVOICE: "will be on the next invoices of their subscriptions",
        _OWN_INVOICE: "of subscriptions that have ended have invoices of their own now",
        _CREDIT: "of subscriptions that have ended are credited",
        _NOTHING: "of subscriptions that have ended come to nothing",
    }
    sentences = [f"{ways.count(way)} of {chosen} {words}." for way, words in told.items() if way in ways]
    return " ".join(sentences) or "What you chose does not differ any more, so nothing was billed."


def _totals(found: list[tuple[SubscriptionPeriod, LateUsage]]) -> list[str]:
    """What all comes to, in each currency."""
    totals: dict[str, int] = defaultdict(int)
    for period, late in found:
        totals[_currency(period)] += late.net_cents
    return [signed_money(cents, currency) for currency, cents in sorted(totals.items())]
