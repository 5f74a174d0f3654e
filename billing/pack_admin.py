"""Top-up packs: offering them, changing them, and selling one. They stand here because to sell a pack is to bill."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from billing.models import Invoice
from billing.services.top_up import MOST_PACKS, buy_pack
from credits.admin.fields import AmountField, AmountsForm, CustomerField, DefinitionField, entered, in_minor_units
from credits.admin.pages import MadeAdmin, leads_to_form
from credits.models import CreditDefinition, TopUpPack
from credits.services.packs import create_pack, update_pack
from plans.admin.pages import amount, held, link, moment
from plans.admin.terms import TermsForm
from plans.money import grouped_number, is_currency
from plans.words import money_text


def _price_field() -> AmountField:
    return AmountField(label="Price", help_text="In whole units of the currency, 9.00 for $9.00.")


class PackForm(AmountsForm):
    """A new pack."""

    name = forms.CharField(max_length=200, help_text="Such as 20,000 extra calls; it stands on the invoice.")
    definition = DefinitionField(
        CreditDefinition.objects.none(), label="Credits", help_text="What is granted as soon as a pack is paid."
    )
    amount = AmountField(help_text="Units such as 20000, or money such as 250.00. It cannot be changed.")
    price_cents = _price_field()
    currency = forms.CharField(
        required=False, max_length=3, help_text="Such as USD. Empty for credits of money: they are sold in their own."
    )

    sections = [
        ("What is sold", ["name", "definition", "amount"]),
        ("Price", ["price_cents", "currency"]),
    ]
    amounts = ["amount"]
    field_of_path = {
        "creditDefinitionId": "definition",
        "amount": "amount",
        "priceCents": "price_cents",
        "currency": "currency",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice: Any = self.fields["definition"]
        live = CreditDefinition.objects.live().select_related("plan")
        choice.queryset = live.order_by(F("plan").asc(nulls_first=True), "name", "pk")

    def currency_of_amounts(self, cleaned: dict[str, Any]) -> str:
        """That of the chosen credits."""
        return cleaned["definition"].currency if cleaned.get("definition") else ""

    def clean(self) -> dict[str, Any]:
        """Turn the price into minor units, too."""
        cleaned = super().clean()
        currency = cleaned.get("currency", "").upper() or self.currency_of_amounts(cleaned)
        if is_currency(currency):
            in_minor_units(self, "price_cents", currency)
        elif "definition" in cleaned:
            self.add_error("currency", "Use a code such as USD, EUR or JPY.")
        return cleaned


class PackChangeForm(AmountsForm):
    """What of a pack may change."""

    name = forms.CharField(max_length=200)
    price_cents = _price_field()
    is_active = forms.BooleanField(label="On offer", required=False, help_text="Not ticked: nobody can buy it.")

    sections = [("Pack", ["name", "price_cents", "is_active"])]
    amounts = ["price_cents"]
    field_of_path = {"priceCents": "price_cents"}


class SellForm(TermsForm):
    """Who buys, and how many."""

    customer = CustomerField()
    quantity = forms.IntegerField(
        label="How many", min_value=1, max_value=MOST_PACKS, initial=1, help_text="Packs on one invoice."
    )

    sections = [("Sale", ["customer", "quantity"])]
    field_of_path = {"quantity": "quantity"}


@admin.register(TopUpPack)
class TopUpPackAdmin(MadeAdmin):
    """What customers can buy at any time."""

    terms_form = PackForm
    terms_title = "Offer a pack"
    terms_words = "What it holds stays. To sell another amount, take it off offer and offer another."
    nothing_yet = (
        "A pack is a number of units, or prepaid money, that customers can buy beside their plans at any time."
    )
    create = leads_to_form("Offer a pack")
    actions_detail = ["sell", "change_pack"]
    list_display = ["name", "definition", "holds", "price", "state"]
    list_filter = ["is_active", "currency"]
    list_select_related = ["definition"]
    search_fields = ["name", "public_id", "definition__name"]
    search_help_text = "Name or id of a pack, name of its credits."
    ordering = ["-created_at", "-pk"]
    fields = ["name", "credits", "holds", "price", "state", moment("created_at", "offered since"), "public_id"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[TopUpPack]:
        """With what they hold."""
        return super().get_queryset(request).select_related("definition__metric")

    def make(self, form: Any, lines: Any, at: datetime) -> TopUpPack:
        """Offer the pack."""
        return create_pack(at=at, **form.cleaned_data)

    def has_sell_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Selling makes an invoice."""
        return request.user.has_perm("billing.add_invoice")

    @action(description="Sell…", url_path="sell", permissions=["sell"])
    def sell(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Sell packs to a customer."""

        def do(pack: TopUpPack, form: Any, at: datetime) -> Invoice:
            return buy_pack(pack=pack, at=at, **form.cleaned_data)

        return self.ask_and_do(
            request,
            object_id,
            SellForm,
            title="Sell this pack",
            words=lambda pack: (
                f"{pack.name}: {_held_text(pack)} for {money_text(pack.price_cents, pack.currency)} each. The customer "
                "gets an invoice at once. What was bought is granted as soon as it is paid."
            ),
            do=do,
            done=_sold_text,
        )

    @action(description="Change…", url_path="change-pack", permissions=["move"])
    def change_pack(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Rename it, change its price, retire it or offer it again."""
        return self.ask_and_do(
            request,
            object_id,
            PackChangeForm,
            title="Change this pack",
            words=lambda pack: (
                f"It holds {_held_text(pack)}. Another price counts from the next sale on; who has bought keeps it."
            ),
            do=lambda pack, form, at: update_pack(pack=pack, **form.cleaned_data),
            done="Changed.",
            initial=lambda pack: {
                "name": pack.name,
                "price_cents": entered(pack.price_cents, pack.currency),
                "is_active": pack.is_active,
                "currency": pack.currency,
            },
        )

    @display(description="state", ordering="is_active", label={"on offer": "success"})
    def state(self, pack: TopUpPack) -> str:
        """Whether it can be bought."""
        return "on offer" if pack.is_active else "off offer"

    @admin.display(description="credits")
    def credits(self, pack: TopUpPack) -> SafeString | None:
        """The definition of what it holds."""
        return link(pack.definition)

    @admin.display(description="holds")
    def holds(self, pack: TopUpPack) -> SafeString | None:
        """Units, or money."""
        return held(pack.amount, pack.definition.currency)

    @admin.display(description="price", ordering="price_cents")
    def price(self, pack: TopUpPack) -> SafeString | None:
        """What it costs."""
        return amount(pack.price_cents, pack.currency)


def _held_text(pack: TopUpPack) -> str:
    """What a pack holds: "20,000 of API calls", "$500.00"."""
    definition = pack.definition
    if definition.currency:
        return money_text(pack.amount, definition.currency)
    return f"{grouped_number(pack.amount)} of {definition.metric}"


def _sold_text(invoice: Invoice) -> SafeString:
    """What a sale led to, with the way to its invoice."""
    return format_html(
        "Sold for {}. Invoice {} is issued, and charged by the next sweeps if {} has a card.",
        money_text(invoice.total_cents, invoice.currency),
        link(invoice),
        invoice.customer,
    )
