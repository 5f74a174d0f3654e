"""Top-up packs: offering them, changing them, and selling one. They stand here because to sell a pack is to bill."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from unfold.decorators import action

from billing.services.top_up import MOST_PACKS, buy_pack
from credits.admin.pages import MadeAdmin, held
from credits.models import CreditDefinition, TopUpPack
from credits.services.packs import create_pack, update_pack
from plans.admin.pages import amount, link, moment, yes_or_no
from plans.admin.terms import TermsForm
from plans.models import Customer
from plans.price_language import LARGEST_AMOUNT_CENTS

_PRICE_HELP = "In minor units of its currency: 900 for $9.00, 900 for ¥900."


def _price_field(**kwargs: Any) -> forms.IntegerField:
    return forms.IntegerField(
        label="Price", min_value=1, max_value=LARGEST_AMOUNT_CENTS, help_text=_PRICE_HELP, **kwargs
    )


class PackForm(TermsForm):
    """A new pack."""

    name = forms.CharField(max_length=200, help_text="Stands on the invoice.")
    definition = forms.ModelChoiceField(CreditDefinition.objects.none(), label="Credits")
    amount = forms.DecimalField(
        max_digits=24,
        decimal_places=6,
        help_text="Units, or for money minor units such as cents. It cannot be changed.",
    )
    price_cents = _price_field()
    currency = forms.CharField(required=False, max_length=3, help_text="Such as USD. Money is sold in its own.")

    sections = [
        ("Pack", ["name", "definition", "amount"]),
        ("Price", ["price_cents", "currency"]),
    ]
    field_of_path = {
        "creditDefinitionId": "definition",
        "amount": "amount",
        "priceCents": "price_cents",
        "currency": "currency",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice: Any = self.fields["definition"]
        choice.queryset = CreditDefinition.objects.live().order_by("name", "pk")


class PackChangeForm(TermsForm):
    """What of a pack may change."""

    name = forms.CharField(max_length=200)
    price_cents = _price_field()
    is_active = forms.BooleanField(label="On offer", required=False)

    sections = [("Pack", ["name", "price_cents", "is_active"])]
    field_of_path = {"priceCents": "price_cents"}


class SellForm(TermsForm):
    """Who buys, and how many."""

    customer = forms.CharField(label="Customer id", max_length=64, help_text="Such as cus_… on the customer's page.")
    quantity = forms.IntegerField(min_value=1, max_value=MOST_PACKS, initial=1)

    sections = [("Sale", ["customer", "quantity"])]
    field_of_path = {"quantity": "quantity"}

    def clean_customer(self) -> Customer:
        """The customer with this id."""
        customer = Customer.objects.addressed_by(self.cleaned_data["customer"], external=False).first()
        if customer is None:
            raise forms.ValidationError("There is no customer with this id.")
        return customer


@admin.register(TopUpPack)
class TopUpPackAdmin(MadeAdmin):
    """What customers can buy at any time."""

    terms_form = PackForm
    terms_title = "Offer a pack"
    terms_words = "What it holds stays. To sell another amount, retire it and offer another."
    actions_detail = ["sell", "change_pack"]
    list_display = ["name", "definition", "holds", "price", yes_or_no("is_active", "on offer")]
    list_filter = ["is_active"]
    list_select_related = ["definition"]
    search_fields = ["name", "public_id", "definition__name"]
    search_help_text = "Name or id of a pack, name of its credits."
    ordering = ["-created_at", "-pk"]
    fields = [
        "name", "credits", "holds", "price", yes_or_no("is_active", "on offer"), "public_id", moment("created_at"),
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[TopUpPack]:
        """With what they hold."""
        return super().get_queryset(request).select_related("definition")

    def make(self, form: Any, lines: Any, at: datetime) -> TopUpPack:
        """Offer the pack."""
        return create_pack(at=at, **form.cleaned_data)

    def has_sell_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Selling makes an invoice."""
        return request.user.has_perm("billing.add_invoice")

    @action(description="Sell…", url_path="sell", permissions=["sell"])
    def sell(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Sell packs to a customer."""

        def do(pack: TopUpPack, form: Any, at: datetime) -> None:
            buy_pack(pack=pack, at=at, **form.cleaned_data)

        return self.ask_and_do(
            request,
            object_id,
            SellForm,
            title="Sell",
            words="The customer gets an invoice at once. What was bought is granted as soon as it is paid.",
            do=do,
            done="Sold. The invoice is issued, and charged by the next sweeps where the customer has a card.",
        )

    @action(description="Change…", url_path="change-pack", permissions=["move"])
    def change_pack(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Rename it, change its price, retire it or offer it again."""
        return self.ask_and_do(
            request,
            object_id,
            PackChangeForm,
            title="Change",
            words="Another price counts from the next sale on. A pack that is not on offer cannot be bought.",
            do=lambda pack, form, at: update_pack(pack=pack, **form.cleaned_data),
            done="Changed.",
            initial=lambda pack: {"name": pack.name, "price_cents": pack.price_cents, "is_active": pack.is_active},
        )

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
