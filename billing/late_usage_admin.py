"""The operator's list of usage that arrived too late to be billed by itself."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.views import ChangeList

from billing.services.late_usage import bill_with_next_invoice
from credits.services.late_usage import LateUsage, look_again, periods_to_look_at
from plans.admin.pages import CappedPaginator, FactsAdmin, amount, link, moment, units
from plans.models import SubscriptionPeriod


class LateUsageList(ChangeList):
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


@admin.register(SubscriptionPeriod)
class LateUsageAdmin(FactsAdmin):
    """Settled periods of which something arrived, or was voided, when late usage was not billed by itself any more."""

    actions: Any = ["bill"]
    list_display = ["customer", "what", moment("start_at"), moment("end_at"), "more_units", "more_cents"]
    list_display_links = None
    list_select_related = ["customer", "item__component__price"]
    paginator = CappedPaginator
    search_fields = ["customer__public_id", "customer__name", "customer__email"]
    search_help_text = "Name, e-mail or id of a customer."
    ordering = ["-end_at", "-pk"]
    fields = [
        "customer_page",
        "what",
        moment("start_at"),
        moment("end_at"),
        moment("settled_at"),
        moment("late_usage_closed_at", "late usage waited for until"),
        "settled_units",
        "settled_amount",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[SubscriptionPeriod]:
        """Those for which somebody has to decide."""
        return periods_to_look_at().select_related("customer", "item__component__price")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """With what each period differs by."""
        return LateUsageList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Under the name by which people know it."""
        return super().changelist_view(request, {"title": "Late usage"} | (extra_context or {}))

    def has_bill_permission(self, request: HttpRequest) -> bool:
        """Who may change invoices may say what is billed."""
        return request.user.has_perm("billing.change_invoice")

    @admin.action(description="Bill with the next invoice", permissions=["bill"])
    def bill(self, request: HttpRequest, queryset: QuerySet[SubscriptionPeriod]) -> None:
        """Let the next invoices of their subscriptions bill what the chosen periods differ by."""
        differences = bill_with_next_invoice(periods=queryset, at=timezone.now())
        self.message_user(
            request,
            f"{len(differences)} of {len(queryset)} will be on the next invoices of their subscriptions.",
            messages.SUCCESS,
        )

    @admin.display(description="customer")
    def customer_page(self, period: SubscriptionPeriod) -> SafeString | None:
        """Whose usage it is."""
        return link(period.customer)

    @admin.display(description="what")
    def what(self, period: SubscriptionPeriod) -> str:
        """The component that prices it."""
        return str(period.item.component)

    @admin.display(description="units")
    def more_units(self, period: SubscriptionPeriod) -> SafeString | None:
        """By how many units the period differs."""
        late = self._late(period)
        return None if late is None else units(late.usage)

    @admin.display(description="comes to")
    def more_cents(self, period: SubscriptionPeriod) -> SafeString | None:
        """What billing them would come to."""
        late = self._late(period)
        return None if late is None else amount(late.net_cents, _currency(period))

    @admin.display(description="units billed with its own invoice")
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
