"""Invoices, payments, and what Stripe told."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from billing.models import Invoice, InvoiceLine, Payment, StripeInbox
from plans.admin.pages import CappedPaginator, FactsAdmin, FactsInline, amount, in_column, link, unit_price_text, units

INVOICE_COLOURS = {"paid": "success", "issued": "info", "unpaid": "danger", "uncollectible": "danger"}
PAYMENT_COLOURS = {"succeeded": "success", "failed": "danger"}


class LineInline(FactsInline):
    """The lines of an invoice."""

    model = InvoiceLine
    fields = ["description", "type", "units_billed", "unit_price", "line_amount"]
    verbose_name_plural = "lines"
    show_change_link = False
    per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[InvoiceLine]:
        """In the order of the invoice."""
        return super().get_queryset(request).select_related("invoice").order_by("position")

    @admin.display(description="quantity")
    def units_billed(self, line: InvoiceLine) -> SafeString | None:
        """What was billed."""
        return units(line.quantity)

    @admin.display(description="each")
    def unit_price(self, line: InvoiceLine) -> SafeString:
        """The price of one."""
        return in_column(unit_price_text(line.unit_amount_cents, line.invoice.currency).replace("-", "−"))

    @admin.display(description="amount")
    def line_amount(self, line: InvoiceLine) -> SafeString | None:
        """What it comes to."""
        return amount(line.amount_cents, line.invoice.currency)


class PaymentInline(FactsInline):
    """The attempts to pay an invoice."""

    model = Payment
    fields = ["created_at", "status", "paid_amount", "payment_method", "error_message"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Payment]:
        """In the order in which they were made."""
        return super().get_queryset(request).select_related("payment_method", "invoice").order_by("created_at", "pk")

    @admin.display(description="amount")
    def paid_amount(self, payment: Payment) -> SafeString | None:
        """The amount of the attempt."""
        return amount(payment.amount_cents, payment.currency)


@admin.register(Invoice)
class InvoiceAdmin(FactsAdmin):
    """A bill with its lines and payments."""

    list_display = ["name", "customer", "state", "total", "closes_at", "paid_at", "problem"]
    list_filter = ["status", "currency"]
    list_select_related = ["customer"]
    paginator = CappedPaginator
    search_fields = [
        "number",
        "public_id",
        "stripe_invoice_id",
        "customer__public_id",
        "customer__name",
        "customer__email",
    ]
    ordering = ["-closes_at", "-pk"]
    fieldsets = [
        (None, {"fields": ["name", "customer_page", "subscription_page", "status", "kind", "public_id"]}),
        ("Amounts", {"fields": ["subtotal", "tax", "total", "currency"]}),
        (
            "Time",
            {"fields": ["period_start_at", "period_end_at", "closes_at", "finalize_at", "finalized_at", "due_at"]},
        ),
        (
            "At Stripe",
            {
                "fields": [
                    "stripe_invoice_id",
                    "stripe_sent_at",
                    "send_at",
                    "send_attempts",
                    "send_error",
                    "collect_at",
                    "collect_attempts",
                    "paid_at",
                ]
            },
        ),
    ]
    inlines = [LineInline, PaymentInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Invoice]:
        """Those that exist for a customer."""
        return super().get_queryset(request).shown().select_related("customer", "subscription")

    @admin.display(description="invoice", ordering="number")
    def name(self, invoice: Invoice) -> str:
        """The number, which a draft does not have yet."""
        return invoice.number or "draft"

    @display(description="status", ordering="status", label=INVOICE_COLOURS)
    def state(self, invoice: Invoice) -> str:
        """The contract's word."""
        return invoice.status

    @admin.display(description="customer")
    def customer_page(self, invoice: Invoice) -> SafeString | None:
        """Who pays."""
        return link(invoice.customer)

    @admin.display(description="subscription")
    def subscription_page(self, invoice: Invoice) -> SafeString | None:
        """What is paid for."""
        return link(invoice.subscription)

    @admin.display(description="subtotal")
    def subtotal(self, invoice: Invoice) -> SafeString | None:
        """Before tax."""
        return amount(invoice.subtotal_cents, invoice.currency)

    @admin.display(description="tax")
    def tax(self, invoice: Invoice) -> SafeString | None:
        """Tax on it."""
        return amount(invoice.tax_cents, invoice.currency)

    @admin.display(description="total", ordering="total_cents")
    def total(self, invoice: Invoice) -> SafeString | None:
        """The amount to be paid."""
        return amount(invoice.total_cents, invoice.currency)

    @admin.display(description="problem", empty_value="")
    def problem(self, invoice: Invoice) -> str:
        """Why it did not get to Stripe."""
        return invoice.send_error[:80]


@admin.register(Payment)
class PaymentAdmin(FactsAdmin):
    """One attempt to pay an invoice."""

    list_display = ["created_at", "customer", "invoice", "state", "paid_amount", "error_message"]
    list_filter = ["status", "currency"]
    list_select_related = ["customer", "invoice"]
    paginator = CappedPaginator
    search_fields = ["public_id", "external_id", "invoice__number", "customer__public_id", "customer__email"]
    ordering = ["-pk"]
    fields = [
        "public_id",
        "invoice_page",
        "customer_page",
        "status",
        "paid_amount",
        "payment_method",
        "attempt",
        "external_id",
        "error_code",
        "error_message",
        "created_at",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Payment]:
        """With the names of what it belongs to."""
        return super().get_queryset(request).select_related("customer", "invoice", "payment_method")

    @display(description="status", ordering="status", label=PAYMENT_COLOURS)
    def state(self, payment: Payment) -> str:
        """How it went."""
        return payment.status

    @admin.display(description="amount", ordering="amount_cents")
    def paid_amount(self, payment: Payment) -> SafeString | None:
        """The amount of the attempt."""
        return amount(payment.amount_cents, payment.currency)

    @admin.display(description="invoice")
    def invoice_page(self, payment: Payment) -> SafeString | None:
        """What was to be paid."""
        return link(payment.invoice)

    @admin.display(description="customer")
    def customer_page(self, payment: Payment) -> SafeString | None:
        """Who pays."""
        return link(payment.customer)


@admin.register(StripeInbox)
class StripeInboxAdmin(FactsAdmin):
    """What Stripe told, and whether it was worked off."""

    list_display = ["received_at", "type", "stripe_event_id", "processed_at", "attempts", "error"]
    list_filter = [("processed_at", admin.EmptyFieldListFilter)]
    paginator = CappedPaginator
    search_fields = ["stripe_event_id", "type"]
    ordering = ["-pk"]
    fields = [
        "public_id",
        "type",
        "stripe_event_id",
        "received_at",
        "process_at",
        "processed_at",
        "attempts",
        "error",
        "payload",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[StripeInbox]:
        """Without the payload where only the list is asked for."""
        events = super().get_queryset(request)
        match = request.resolver_match
        return events.defer("payload") if match and (match.url_name or "").endswith("_changelist") else events
