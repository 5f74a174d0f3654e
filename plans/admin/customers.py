"""Customers and their subscriptions."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.db.models import Field, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from billing.models import AutoTopUp, Invoice, TaxRate
from billing.services.park import unpark_customer
from billing.tax import percent_text
from credits.models import CreditGrant
from plans.admin.pages import (
    FactsAdmin,
    FactsInline,
    GivenInline,
    PageAdmin,
    amount,
    charges_text,
    day,
    held,
    link,
    link_to,
    moment,
    units,
    yes_or_no,
)
from plans.models import Customer, Subscription, SubscriptionFeature, SubscriptionItem, SubscriptionPeriod

PARKED = moment("parked_at")
CREATED = moment("created_at")
STATUS_COLOURS = {"active": "success", "past_due": "warning", "unpaid": "danger", "paused": "info"}


class SubscriptionInline(FactsInline):
    """What the customer has subscribed to."""

    model = Subscription
    fields = ["page", "status", moment("started_at"), moment("ended_at"), yes_or_no("cancel_at_period_end")]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Subscription]:
        """The latest first."""
        return super().get_queryset(request).select_related("plan", "customer").order_by("-started_at", "-pk")

    @admin.display(description="subscription")
    def page(self, subscription: Subscription) -> SafeString | None:
        """The plan that was sold."""
        return link(subscription, str(subscription.plan))


class GrantInline(FactsInline):
    """The credits that the customer was given."""

    model = CreditGrant
    fields = [
        "page",
        "source",
        "granted",
        "settled_rest",
        day("starts_at"),
        day("expires_at"),
        day("revoked_at"),
    ]
    verbose_name_plural = "credit grants"

    def get_queryset(self, request: HttpRequest) -> QuerySet[CreditGrant]:
        """The latest first."""
        return super().get_queryset(request).select_related("definition", "customer").order_by("-starts_at", "-pk")

    @admin.display(description="grant")
    def page(self, grant: CreditGrant) -> SafeString | None:
        """The definition that it was made by."""
        return link(grant, str(grant.definition or "grant"))

    @admin.display(description="granted")
    def granted(self, grant: CreditGrant) -> SafeString | None:
        """Units or money given."""
        return held(grant.initial_amount, grant.currency)

    @admin.display(description="left in the ledger")
    def settled_rest(self, grant: CreditGrant) -> SafeString | None:
        """What settlements and invoices have left; usage since then is not taken off."""
        return held(grant.ledger_remaining, grant.currency)


class AutoTopUpInline(FactsInline):
    """The packs that the customer buys by themselves."""

    model = AutoTopUp
    fields = ["page", "quantity", "below", yes_or_no("is_enabled", "enabled"), "stopped"]
    verbose_name_plural = "automatic top-ups"

    def get_queryset(self, request: HttpRequest) -> QuerySet[AutoTopUp]:
        """With what they hold."""
        return super().get_queryset(request).select_related("pack__definition", "customer").order_by("pk")

    @admin.display(description="pack")
    def page(self, one: AutoTopUp) -> SafeString | None:
        """The pack that is bought."""
        return link(one, str(one.pack))

    @admin.display(description="below")
    def below(self, one: AutoTopUp) -> SafeString | None:
        """The threshold: units, or money."""
        return held(one.threshold, one.pack.definition.currency)

    @admin.display(description="stopped because")
    def stopped(self, one: AutoTopUp) -> str:
        """Why nothing is bought any more."""
        return one.stop_message


class InvoiceInline(FactsInline):
    """What the customer was billed."""

    model = Invoice
    fields = ["page", "status", "total", moment("closes_at"), moment("paid_at")]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Invoice]:
        """The latest first, without those that came to nothing."""
        return super().get_queryset(request).shown().select_related("customer").order_by("-closes_at", "-pk")

    @admin.display(description="invoice")
    def page(self, invoice: Invoice) -> SafeString | None:
        """The number, which a draft does not have yet."""
        return link(invoice, invoice.number or "draft")

    @admin.display(description="total")
    def total(self, invoice: Invoice) -> SafeString | None:
        """The amount to be paid."""
        return amount(invoice.total_cents, invoice.currency)


class ParkedFilter(admin.SimpleListFilter):
    """Customers whom the sweeps leave alone until somebody has looked."""

    title = "billing"
    parameter_name = "parked"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The two states."""
        return [("yes", "Parked"), ("no", "Running")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The customers in the chosen state."""
        return queryset if self.value() is None else queryset.filter(parked_at__isnull=self.value() == "no")


@admin.register(Customer)
class CustomerAdmin(PageAdmin):
    """Who pays. Names and addresses may be edited; the rest is what happened."""

    list_display = ["name", "email", "external_customer_id", "billing_state", CREATED]
    list_filter = [ParkedFilter]
    search_fields = ["name", "email", "public_id", "external_customer_id"]
    search_help_text = "Name, e-mail, id or external id of a customer."
    ordering = ["-created_at", "-pk"]
    list_per_page = 50
    show_full_result_count = False
    actions = ["unpark"]
    actions_detail = ["grant", "top_up", "invoices"]
    readonly_fields = [
        "public_id",
        "external_customer_id",
        "psp_customer_id",
        "invoice_prefix",
        PARKED,
        "parked_reason",
        "events",
        CREATED,
    ]
    fieldsets = [
        (None, {"fields": ["name", "email", "phone_number", "business_name"]}),
        (
            "Address and tax",
            {
                "fields": [
                    "billing_address_line1",
                    "billing_address_line2",
                    "billing_postal_code",
                    "billing_city",
                    "billing_state_province",
                    "billing_country",
                    "tax_id",
                    "tax_rate_definition_id",
                    "tax_exempt",
                    "tax_exemption_reason",
                    "tax_exemption_certificate",
                ],
                "classes": ["collapse"],
            },
        ),
        (
            "Billing",
            {
                "fields": [
                    PARKED,
                    "parked_reason",
                    "events",
                    "invoice_prefix",
                    "public_id",
                    "external_customer_id",
                    "psp_customer_id",
                    CREATED,
                ]
            },
        ),
    ]
    inlines = [SubscriptionInline, GrantInline, AutoTopUpInline, InvoiceInline]

    def formfield_for_dbfield(self, db_field: Field, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer the tax rates that there are."""
        if db_field.name != "tax_rate_definition_id":
            return super().formfield_for_dbfield(db_field, request, **kwargs)
        rates = [(rate.public_id, f"{rate} ({percent_text(rate.rate)})") for rate in TaxRate.objects.order_by("name")]
        return forms.TypedChoiceField(
            choices=[("", "That of the address"), *rates], required=False, empty_value=None, label="Tax rate"
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Checkout and the API make customers."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Their books stay."""
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Customer]:
        """Without the deleted ones."""
        return super().get_queryset(request).filter(deleted_at=None)

    def has_grant_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Whoever may add grants in Django's words."""
        return request.user.has_perm("credits.add_creditgrant")

    @action(description="Grant credits…", url_path="grant", permissions=["grant"])
    def grant(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Lead to the form of a grant for this customer."""
        return self._lead_to(request, object_id, "admin:credits_creditgrant_add", "customer")

    def has_top_up_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Whoever may add automatic top-ups in Django's words."""
        return request.user.has_perm("billing.add_autotopup")

    @action(description="Top up automatically…", url_path="top-up", permissions=["top_up"])
    def top_up(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Lead to the form of an automatic top-up for this customer."""
        return self._lead_to(request, object_id, "admin:billing_autotopup_add", "customer")

    @action(description="Invoices", url_path="invoices", permissions=["view"])
    def invoices(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Lead to all invoices of this customer."""
        return self._lead_to(request, object_id, "admin:billing_invoice_changelist", "q")

    def _lead_to(self, request: HttpRequest, object_id: str, page: str, name: str) -> HttpResponse:
        customer = self.get_object(request, unquote(object_id))
        if customer is None:
            return HttpResponseRedirect(reverse("admin:plans_customer_changelist"))
        return HttpResponseRedirect(f"{reverse(page)}?{urlencode({name: customer.public_id})}")

    @display(description="billing", label={"parked": "danger", "running": "success"})
    def billing_state(self, customer: Customer) -> str:
        """Whether the sweeps bill this customer."""
        return "parked" if customer.parked_at else "running"

    @admin.display(description="usage")
    def events(self, customer: Customer) -> SafeString:
        """A link to what the customer used."""
        address = reverse("admin:metering_usageevent_changelist")
        return link_to(f"{address}?{urlencode({'q': customer.public_id})}", "Events of this customer")

    @admin.action(description="Bill again (unpark)", permissions=["change"])
    def unpark(self, request: HttpRequest, queryset: QuerySet[Customer]) -> None:
        """Bill parked customers again from the next sweep on."""
        parked = list(queryset.filter(parked_at__isnull=False))
        for customer in parked:
            unpark_customer(customer=customer)
            self.log_change(request, customer, "Unparked.")
        self.message_user(request, f"{len(parked)} customers will be billed again by the next sweep.")


class ItemInline(FactsInline):
    """The clocks of a subscription."""

    model = SubscriptionItem
    fields = ["component", "metric", "frequency", "interval", moment("clock_started_at", "since"), "included"]
    verbose_name_plural = "items"

    def get_queryset(self, request: HttpRequest) -> QuerySet[SubscriptionItem]:
        """With their names."""
        return super().get_queryset(request).select_related("component", "metric", "subscription").order_by("pk")

    @admin.display(description="included units")
    def included(self, item: SubscriptionItem) -> SafeString | None:
        """Units before any credit is asked."""
        return units(item.included_units + item.feature_units)


class PeriodInline(FactsInline):
    """The stored periods of a subscription."""

    model = SubscriptionPeriod
    fields = [
        "what",
        moment("start_at"),
        moment("end_at"),
        moment("bill_at", "billed"),
        moment("closed_at"),
        "used",
        "credited",
    ]
    verbose_name_plural = "periods"

    def get_queryset(self, request: HttpRequest) -> QuerySet[SubscriptionPeriod]:
        """The latest first, with their names."""
        periods = super().get_queryset(request).select_related("item__component", "item__metric", "subscription")
        return periods.order_by("-start_at", "item_id")

    @admin.display(description="of")
    def what(self, period: SubscriptionPeriod) -> str:
        """The component or metric whose clock it is."""
        return str(period.item.component or period.item.metric)

    @admin.display(description="used", empty_value="not settled")
    def used(self, period: SubscriptionPeriod) -> SafeString | None:
        """Units that were rated."""
        return units(period.settled_usage)

    @admin.display(description="credited")
    def credited(self, period: SubscriptionPeriod) -> SafeString | None:
        """Units that burned grants."""
        return units(period.settled_credited)


class SoldFeatureInline(GivenInline):
    """What the subscription gives."""

    model = SubscriptionFeature
    fields = ["feature", "gives", "beyond", "source", moment("effective_from"), moment("effective_until"), "reason"]
    verbose_name_plural = "features"

    def get_queryset(self, request: HttpRequest) -> QuerySet[SubscriptionFeature]:
        """With their names."""
        return super().get_queryset(request).select_related("feature", "subscription").order_by("pk")


@admin.register(Subscription)
class SubscriptionAdmin(FactsAdmin):
    """What a customer agreed to."""

    list_display = ["customer", "plan", "state", moment("started_at"), moment("ended_at"), "public_id"]
    list_filter = ["status"]
    list_select_related = ["customer", "plan"]
    search_fields = ["public_id", "customer__public_id", "customer__name", "customer__email", "plan__name"]
    search_help_text = "Id of a subscription; name, e-mail or id of a customer; name of a plan."
    ordering = ["-started_at", "-pk"]
    fieldsets = [
        (None, {"fields": ["customer_page", "plan_page", "charges", "status", "invoices", "public_id"]}),
        (
            "Time",
            {
                "fields": [
                    moment("started_at"),
                    moment("paused_at"),
                    moment("grace_period_ends_at", "past due until"),
                    moment("ended_at"),
                    yes_or_no("cancel_at_period_end"),
                    CREATED,
                ]
            },
        ),
    ]
    inlines = [ItemInline, PeriodInline, SoldFeatureInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Subscription]:
        """With customer, plan and price."""
        return (
            super()
            .get_queryset(request)
            .select_related("customer", "plan", "price")
            .prefetch_related("price__components")
        )

    @display(description="status", ordering="status", label=STATUS_COLOURS)
    def state(self, subscription: Subscription) -> str:
        """The contract's word."""
        return subscription.status

    @admin.display(description="customer")
    def customer_page(self, subscription: Subscription) -> SafeString | None:
        """Who agreed."""
        return link(subscription.customer)

    @admin.display(description="plan")
    def plan_page(self, subscription: Subscription) -> SafeString | None:
        """The version that was sold."""
        return link(subscription.plan)

    @admin.display(description="price")
    def charges(self, subscription: Subscription) -> SafeString:
        """Each component of the price that was sold, on a line of its own."""
        return charges_text(subscription.price)

    @admin.display(description="invoices")
    def invoices(self, subscription: Subscription) -> SafeString:
        """A link to the customer's invoices."""
        address = reverse("admin:billing_invoice_changelist")
        return link_to(f"{address}?{urlencode({'q': subscription.customer.public_id})}", "Invoices of this customer")
