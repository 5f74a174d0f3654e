"""The seller's business details, and his taxes. They stand here because both are for the invoices."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.timezone import now
from unfold.decorators import display

from billing.models import TaxNexus, TaxRate, TaxRegistration, TaxSettings
from billing.services.tax_settings import read_settings
from billing.tax import percent_text
from billing.tax_areas import US_STATES, area_of
from plans.admin.pages import PageAdmin
from plans.models import Merchant
from plans.money import is_currency
from plans.serializers.fields import country_codes

_SHARE_HELP = "A share of the net amount: 0.19 is 19 %."


class OneRowAdmin(PageAdmin):
    """Settings: one row, which is changed and neither added nor deleted. The list leads to it."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """There is one already."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """It stays."""
        return False

    def row(self) -> models.Model:
        """The one row."""
        return self.model._default_manager.get()

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Go to the row."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        address = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
        return HttpResponseRedirect(reverse(address, args=[self.row().pk]))


class MerchantForm(forms.ModelForm):
    """What stands on the invoices."""

    def clean_country(self) -> str:
        """A code of ISO 3166."""
        code = self.cleaned_data["country"].upper()
        if code and code not in country_codes():
            raise ValidationError("Use a code of two letters such as DE.")
        return code

    def clean_default_currency(self) -> str:
        """A code of ISO 4217."""
        code = self.cleaned_data["default_currency"].upper()
        if not is_currency(code):
            raise ValidationError("Use a code such as USD, EUR or JPY.")
        return code

    def clean_invoice_prefix(self) -> str:
        """What numbers can begin with."""
        prefix: str = self.cleaned_data["invoice_prefix"]
        if prefix and not (prefix.isascii() and prefix.replace("-", "").isalnum()):
            raise ValidationError("Use letters, digits and hyphens.")
        return prefix


@admin.register(Merchant)
class MerchantAdmin(OneRowAdmin):
    """Who sells."""

    form = MerchantForm
    fieldsets = [
        ("Name", {"fields": ["legal_name", "display_name", "tax_id"]}),
        (
            "Address on invoices",
            {"fields": ["address_line1", "address_line2", "postal_code", "city", "state_province", "country"]},
        ),
        ("Reached at", {"fields": ["support_email", "billing_email", "phone_number", "website_url"]}),
        ("Invoices", {"fields": ["invoice_prefix", "default_currency", "billing_time_zone", "public_id"]}),
    ]
    readonly_fields = ["billing_time_zone", "public_id"]


@admin.register(TaxSettings)
class TaxSettingsAdmin(OneRowAdmin):
    """How tax is charged. It counts for invoices that are finalized from now on."""

    fields = ["default_tax_rate", "prices_include_tax", "auto_tax_calculation", "public_id"]
    readonly_fields = ["public_id"]

    def row(self) -> models.Model:
        """The settings, which are made when they are first looked at."""
        return read_settings()

    def formfield_for_dbfield(self, db_field: models.Field, request: HttpRequest, **kwargs: Any) -> Any:
        """Say what a rate is."""
        if db_field.name == "default_tax_rate":
            kwargs["help_text"] = f"{_SHARE_HELP} Empty: only rate definitions charge tax."
        return super().formfield_for_dbfield(db_field, request, **kwargs)


class TaxRateForm(forms.ModelForm):
    """A rate definition; once it is made, its rate and place stay."""

    def clean(self) -> dict[str, Any]:
        """Tell the place from its name, and let no two rates apply to one."""
        cleaned = super().clean() or {}
        if "jurisdiction" in cleaned:
            self.instance.area = area_of(cleaned["jurisdiction"])
        if cleaned.get("applies_to_area"):
            self._refuse_to_apply(is_active=bool(cleaned.get("is_active")))
        return cleaned

    def _refuse_to_apply(self, *, is_active: bool) -> None:
        if not self.instance.area:
            self.add_error("applies_to_area", "Name a country such as DE, or a state such as US-CA, for that.")
            return
        others = TaxRate.objects.filter(area=self.instance.area, is_active=True, applies_to_area=True)
        other = others.exclude(pk=self.instance.pk).first()
        if is_active and other is not None:
            self.add_error("applies_to_area", f"{other} applies to {self.instance.area} already.")


@admin.register(TaxRate)
class TaxRateAdmin(PageAdmin):
    """Rates for places and for customers."""

    form = TaxRateForm
    nothing_yet = "A rate is for a place such as DE or US-CA, or for customers whom you give it."
    list_display = ["name", "percent", "jurisdiction", "applies_to_area", "is_active"]
    list_filter = ["is_active"]
    search_fields = ["name", "jurisdiction", "public_id"]
    ordering = ["-pk"]
    fields = ["name", "description", "rate", "jurisdiction", "applies_to_area", "tax_type", "is_active"]

    def get_readonly_fields(self, request: HttpRequest, obj: models.Model | None = None) -> list[str]:
        """Invoices name the definition, so its rate and place stay."""
        return [] if obj is None else ["rate", "jurisdiction"]

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Invoices name it: it is switched off instead."""
        return False

    def save_model(self, request: HttpRequest, obj: TaxRate, form: forms.ModelForm, change: bool) -> None:
        """Note since when there is one."""
        if not change:
            obj.created_at = now()
        super().save_model(request, obj, form, change)

    @display(description="rate", ordering="rate")
    def percent(self, rate: TaxRate) -> str:
        """As people write it."""
        return percent_text(rate.rate)


@admin.register(TaxNexus)
class TaxNexusAdmin(PageAdmin):
    """Where in the US sales tax is charged."""

    nothing_yet = "Customers in the US are taxed only in states where you have nexus."
    list_display = ["state", "has_nexus", "nexus_type"]
    ordering = ["state"]
    fields = [
        "state",
        "has_nexus",
        "nexus_type",
        "sales_threshold_cents",
        "transaction_threshold",
        "has_offices",
        "has_employees",
        "has_inventory",
        "other_presence",
    ]

    def formfield_for_dbfield(self, db_field: models.Field, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer the states."""
        if db_field.name == "state":
            return forms.ChoiceField(choices=list(US_STATES.items()))
        return super().formfield_for_dbfield(db_field, request, **kwargs)


@admin.register(TaxRegistration)
class TaxRegistrationAdmin(PageAdmin):
    """Numbers under which the seller is registered."""

    nothing_yet = "A registration's number stands on invoices that are taxed in its place."
    list_display = ["tax_type", "registration_number", "jurisdiction", "is_active"]
    search_fields = ["registration_number", "jurisdiction"]
    ordering = ["-pk"]
    fields = ["jurisdiction", "tax_type", "registration_number", "is_active"]

    def save_model(self, request: HttpRequest, obj: TaxRegistration, form: forms.ModelForm, change: bool) -> None:
        """Note the place as a code, and since when there is one."""
        obj.area = area_of(obj.jurisdiction)
        if not change:
            obj.created_at = now()
        super().save_model(request, obj, form, change)
