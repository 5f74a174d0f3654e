"""Automatic top-ups: setting one up for a customer, changing it, and where it stands."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from billing.models import AutoTopUp, Invoice
from billing.models.auto_top_ups import AutoTopUpQuerySet
from billing.services.auto_top_up import create_auto_top_up, spent_in_month, state_of, update_auto_top_up
from billing.services.top_up import MOST_PACKS
from credits.admin.fields import AmountField, AmountsForm, CustomerField, entered, in_minor_units
from credits.admin.pages import MadeAdmin, leads_to_form
from credits.models import TopUpPack
from plans.admin.pages import FactsInline, amount, held, link, moment, yes_or_no
from plans.words import money_text

STATE_COLOURS = {
    "active": "success",
    "pending": "info",
    "limit reached": "warning",
    "no payment method": "warning",
    "stopped": "danger",
}


class PackField(forms.ModelChoiceField):
    """A choice of packs, called by their names and prices."""

    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.name} ({money_text(obj.price_cents, obj.currency)})"


class AutoTopUpChangeForm(AmountsForm):
    """The terms of an automatic top-up that may change."""

    threshold = AmountField(help_text="Bought when less than this is left: units such as 1000, or money such as 25.00.")
    quantity = forms.IntegerField(label="How many", min_value=1, max_value=MOST_PACKS, initial=1)
    monthly_limit_cents = AmountField(
        label="Monthly limit", help_text="The most that is bought in a calendar month, with tax, such as 100.00."
    )
    is_enabled = forms.BooleanField(
        label="Enabled", required=False, initial=True, help_text="Ticked: it also goes on where it was stopped."
    )

    sections = [("When and how much", ["threshold", "quantity", "monthly_limit_cents", "is_enabled"])]
    amounts = ["threshold"]
    field_of_path = {
        "threshold": "threshold",
        "quantity": "quantity",
        "monthlyLimitCents": "monthly_limit_cents",
    }

    def pack_of(self, cleaned: dict[str, Any]) -> TopUpPack | None:
        """The pack that is topped up."""
        return self.initial.get("pack")

    def currency_of_amounts(self, cleaned: dict[str, Any]) -> str:
        """That of the money in the pack; empty for units."""
        pack = self.pack_of(cleaned)
        return pack.definition.currency if pack is not None else ""

    def clean(self) -> dict[str, Any]:
        """Turn the limit into minor units of the pack's price, too."""
        cleaned = super().clean()
        pack = self.pack_of(cleaned)
        if pack is not None:
            in_minor_units(self, "monthly_limit_cents", pack.currency)
        return cleaned


class AutoTopUpForm(AutoTopUpChangeForm):
    """A new automatic top-up."""

    customer = CustomerField()
    pack = PackField(TopUpPack.objects.none())

    sections = [("Who and what", ["customer", "pack"]), *AutoTopUpChangeForm.sections]
    field_of_path = AutoTopUpChangeForm.field_of_path | {"packId": "pack", "id": "pack"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice: Any = self.fields["pack"]
        choice.queryset = TopUpPack.objects.filter(is_active=True).select_related("definition").order_by("name", "pk")

    def pack_of(self, cleaned: dict[str, Any]) -> TopUpPack | None:
        """The pack that was chosen."""
        return cleaned.get("pack")


class PurchaseInline(FactsInline):
    """What was bought automatically."""

    model = Invoice
    fields = ["page", "auto_top_up_number", "status", "total", moment("closes_at", "bought"), moment("paid_at")]
    verbose_name_plural = "purchases"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Invoice]:
        """The latest first."""
        return super().get_queryset(request).select_related("customer").order_by("-auto_top_up_number")

    @admin.display(description="invoice")
    def page(self, invoice: Invoice) -> SafeString | None:
        """The invoice of the purchase."""
        return link(invoice)

    @admin.display(description="total")
    def total(self, invoice: Invoice) -> SafeString | None:
        """The amount to be paid."""
        return amount(invoice.total_cents, invoice.currency)


@admin.register(AutoTopUp)
class AutoTopUpAdmin(MadeAdmin):
    """Packs that are bought by themselves when little is left."""

    terms_form = AutoTopUpForm
    terms_title = "Top up automatically"
    terms_words = "The customer needs a card. What was bought is granted as soon as it is paid."
    nothing_yet = "With an automatic top-up a pack is bought whenever less than a threshold is left."
    create = leads_to_form("Top up automatically")
    actions_detail = ["change_terms"]
    list_display = ["customer", "pack", "below", "limit", "state"]
    list_filter = ["is_enabled"]
    list_select_related = ["customer", "pack__definition"]
    search_fields = ["public_id", "customer__name", "customer__email", "customer__public_id", "pack__name"]
    search_help_text = "Name, e-mail or id of a customer, name of a pack."
    ordering = ["-created_at", "-pk"]
    fields = [
        "customer_page",
        "pack_page",
        "quantity",
        "below",
        "limit",
        "spent",
        "agreed_price",
        "state",
        "stop_message",
        moment("resumes_at", "goes on"),
        yes_or_no("is_enabled", "enabled"),
        moment("created_at", "since"),
        "public_id",
    ]
    inlines = [PurchaseInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[AutoTopUp]:
        """With customer, pack and what the state follows from."""
        rows = super().get_queryset(request).select_related("customer", "pack__definition")
        return rows.annotate(
            is_pending=AutoTopUpQuerySet.has_open_purchase(), has_method=AutoTopUpQuerySet.has_method()
        )

    def initial_terms(self, request: HttpRequest) -> dict[str, Any]:
        """The customer from whose page one came."""
        return {"customer": request.GET.get("customer", "")}

    def make(self, form: Any, lines: Any, at: datetime) -> AutoTopUp:
        """Set it up."""
        return create_auto_top_up(auto_top_up=AutoTopUp(**form.cleaned_data), at=at)

    @action(description="Change…", url_path="change-terms", permissions=["move"])
    def change_terms(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Change its terms, switch it off, or enable it again."""
        return self.ask_and_do(
            request,
            object_id,
            AutoTopUpChangeForm,
            title="Change this automatic top-up",
            words=lambda one: (
                f"{one.quantity} × {one.pack.name} at {money_text(one.pack.price_cents, one.pack.currency)} for "
                f"{one.customer}. Enabled, it is bought at this price."
            ),
            do=lambda one, form, at: update_auto_top_up(auto_top_up=one, at=at, **form.cleaned_data),
            done="Changed.",
            initial=lambda one: {
                "pack": one.pack,
                "threshold": entered(one.threshold, one.pack.definition.currency),
                "quantity": one.quantity,
                "monthly_limit_cents": entered(one.monthly_limit_cents, one.pack.currency),
                "is_enabled": one.is_enabled,
            },
        )

    @display(description="state", label=STATE_COLOURS)
    def state(self, one: Any) -> str:
        """Where it stands now."""
        state = state_of(one, is_pending=one.is_pending, has_method=one.has_method, at=timezone.now())
        return state.replace("_", " ")

    @admin.display(description="customer")
    def customer_page(self, one: AutoTopUp) -> SafeString | None:
        """Who buys."""
        return link(one.customer)

    @admin.display(description="pack")
    def pack_page(self, one: AutoTopUp) -> SafeString | None:
        """What is bought."""
        return link(one.pack)

    @admin.display(description="below", ordering="threshold")
    def below(self, one: AutoTopUp) -> SafeString | None:
        """The threshold: units, or money."""
        return held(one.threshold, one.pack.definition.currency)

    @admin.display(description="monthly limit", ordering="monthly_limit_cents")
    def limit(self, one: AutoTopUp) -> SafeString | None:
        """The most that is bought in a calendar month."""
        return amount(one.monthly_limit_cents, one.pack.currency)

    @admin.display(description="bought this month")
    def spent(self, one: AutoTopUp) -> SafeString | None:
        """What its purchases of this month come to."""
        return amount(spent_in_month([one.pk], at=timezone.now())[one.pk], one.pack.currency)

    @admin.display(description="agreed price")
    def agreed_price(self, one: AutoTopUp) -> SafeString | None:
        """The price of one pack that was agreed to."""
        return amount(one.agreed_price_cents, one.pack.currency)
