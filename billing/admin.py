"""Invoices, payments, and what Stripe told."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from unfold.decorators import display

from billing import (  # noqa: F401 registers their pages
    auto_top_up_admin,
    checkout_admin,
    difference_admin,
    dunning_admin,
    late_usage_admin,
    pack_admin,
    tax_admin,
)
from billing.dispute_admin import dispute_sentence
from billing.explain_page import HowComputed, each_text, how_computed, quantity_text, terms_text
from billing.invoice_page import sums_with_tax, tax_note
from billing.models import Invoice, InvoiceLine, Payment, StripeInbox
from billing.models.invoices import InvoiceKind, InvoiceStatus
from billing.services.explain import explain_lines
from billing.services.parties import parties_of
from billing.signed_links import invoice_page_path
from plans.admin.pages import (
    CappedPaginator,
    FactsAdmin,
    amount,
    in_column,
    link,
    moment,
    moment_text,
    unbroken,
)
from plans.services.time_zone import billing_zone

INVOICE_COLOURS = {"paid": "success", "issued": "info", "unpaid": "danger", "uncollectible": "danger"}
PAYMENT_COLOURS = {"succeeded": "success", "failed": "danger"}


def statement(invoice: Invoice, *, at: datetime) -> dict[str, Any]:
    """What an invoice says, for the head of its page: its state in a sentence, lines and how they were computed,
    totals, attempts to pay."""
    currency = invoice.currency
    explained = explain_lines(invoice=invoice, at=at)
    how = how_computed(explained, billing_zone())
    lines = [_statement_line(explanation.line, how.get(explanation.line.pk)) for explanation in explained]
    return {
        "invoice": invoice,
        # A draft has no number yet, and its customer no page of it.
        "customers_page": invoice_page_path(invoice) if invoice.number else None,
        "sentence": state_sentence(invoice),
        "lines": lines,
        "sums": sums_with_tax(invoice, [explanation.line for explanation in explained])[:-1]
        if invoice.tax_cents
        else [],
        "tax_note": tax_note(invoice),
        "parties": _parties(invoice),
        "total": amount(invoice.total_cents, currency),
        "payments": [
            {
                "payment": payment,
                "at": moment_text(payment.created_at),
                "amount": amount(payment.amount_cents, currency),
            }
            for payment in invoice.payments.select_related("payment_method").order_by("created_at", "pk")
        ],
        "disputes": [
            {
                "dispute": dispute,
                "at": moment_text(dispute.opened_at),
                "amount": amount(dispute.amount_cents, currency),
                "sentence": dispute_sentence(dispute),
            }
            for dispute in invoice.disputes.order_by("opened_at", "pk")
        ],
    }


def _parties(invoice: Invoice) -> list[tuple[str, str]]:
    """Seller and buyer as the customer's page writes them."""
    return [(name, ", ".join(party)) for name, party in zip(("From", "To"), parties_of(invoice), strict=True)]


def _statement_line(line: InvoiceLine, how: HowComputed | None) -> dict[str, Any]:
    return {
        "description": line.description,
        "period": period_text(line.usage_period_start_at, line.usage_period_end_at)
        or period_text(line.billing_period_start_at, line.billing_period_end_at),
        "terms": terms_text(line),
        "grant": line.grant,
        "quantity": in_column(quantity_text(line)),
        "each": in_column(each_text(line)),
        "amount": amount(line.amount_cents, line.invoice.currency),
        "how": how,
    }


def state_sentence(invoice: Invoice) -> str:
    """Where an invoice stands, and what happens next."""
    if invoice.status == InvoiceStatus.DRAFT and invoice.kind == InvoiceKind.MANUAL:
        return "Draft, written by hand. It waits until it is issued over the API, and bills nothing before."
    if invoice.status == InvoiceStatus.DRAFT:
        return format_html(
            "Draft. It waits for late events, and is rated and numbered after {} UTC.", moment_text(invoice.finalize_at)
        )
    if invoice.status == InvoiceStatus.PAID:
        return format_html("Paid on {} UTC.", moment_text(invoice.paid_at))
    if invoice.send_error:
        return format_html("Stripe did not take it: {} It is tried again by itself.", invoice.send_error)
    if invoice.collect_error:
        return format_html("It could not be charged: {} It is tried again by itself.", invoice.collect_error)
    if invoice.status == InvoiceStatus.ISSUED:
        return format_html("Issued on {} UTC and not paid yet.", moment_text(invoice.finalized_at))
    return format_html("{}.", invoice.get_status_display())


def period_text(start: datetime | None, end: datetime | None) -> SafeString | None:
    """A half-open period by its two ends; an instant, such as that of a line written by hand, is none."""
    if start is None or end is None or start == end:
        return None
    return format_html("{} to {}", moment_text(start), moment_text(end))


@admin.register(Invoice)
class InvoiceAdmin(FactsAdmin):
    """A bill with its lines and payments."""

    change_form_outer_before_template = "admin/invoice_statement.html"
    list_display = ["name", "customer", "state", "total", moment("closes_at"), moment("paid_at"), "problem"]
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
    search_help_text = "Number or id of an invoice; name, e-mail or id of a customer."
    ordering = ["-closes_at", "-pk"]
    fieldsets = [
        ("Belongs to", {"fields": ["customer_page", "subscription_page", "public_id"]}),
        (
            "Time",
            {
                "fields": [
                    moment("period_start_at", "period starts"),
                    moment("period_end_at", "period ends"),
                    moment("closes_at"),
                    "waits_until",
                    moment("finalized_at", "issued"),
                    moment("due_at"),
                    moment("paid_at"),
                ]
            },
        ),
        (
            "At Stripe",
            {
                "fields": [
                    "stripe_invoice_id",
                    moment("stripe_sent_at", "sent"),
                    "next_attempt",
                    "send_attempts",
                    "send_error",
                    moment("collect_at", "next attempt to charge"),
                    "collect_attempts",
                    "collect_error",
                ]
            },
        ),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Invoice]:
        """Those that exist for a customer."""
        return super().get_queryset(request).shown().select_related("customer", "subscription__plan")

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """With the statement above the fields."""
        context["statement"] = statement(context["original"], at=timezone.now())
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="invoice", ordering="number")
    def name(self, invoice: Invoice) -> SafeString:
        """The number, which a draft does not have yet."""
        return unbroken(invoice.number or "draft")

    @admin.display(description="waits for events until")
    def waits_until(self, invoice: Invoice) -> SafeString | None:
        """The end of its grace time; what is written by hand has none."""
        return None if invoice.kind == InvoiceKind.MANUAL else moment_text(invoice.finalize_at)

    @admin.display(description="next attempt to send")
    def next_attempt(self, invoice: Invoice) -> SafeString | None:
        """When it is tried again; what was sent keeps its last date, which says nothing any more."""
        return None if invoice.stripe_sent_at else moment_text(invoice.send_at)

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
        subscription = invoice.subscription
        return link(subscription, f"{subscription.plan}, {subscription.public_id}") if subscription else None

    @admin.display(description="total", ordering="total_cents")
    def total(self, invoice: Invoice) -> SafeString | None:
        """The amount to be paid."""
        return amount(invoice.total_cents, invoice.currency)

    @admin.display(description="problem", empty_value="")
    def problem(self, invoice: Invoice) -> str:
        """Why it did not get to Stripe, or could not be charged there."""
        return Truncator(invoice.send_error or invoice.collect_error).chars(80)


@admin.register(Payment)
class PaymentAdmin(FactsAdmin):
    """One attempt to pay an invoice."""

    list_display = [moment("created_at", "tried"), "customer", "invoice", "state", "paid_amount", "error_message"]
    list_filter = ["status", "currency"]
    list_select_related = ["customer", "invoice"]
    paginator = CappedPaginator
    search_fields = ["public_id", "external_id", "invoice__number", "customer__public_id", "customer__email"]
    search_help_text = "Id of a payment, number of an invoice, e-mail or id of a customer."
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
        moment("created_at", "tried"),
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

    list_display = ["type", "stripe_event_id", moment("received_at"), moment("processed_at"), "attempts", "error"]
    list_filter = [("processed_at", admin.EmptyFieldListFilter)]
    paginator = CappedPaginator
    search_fields = ["stripe_event_id", "type"]
    ordering = ["-pk"]
    fields = [
        "public_id",
        "type",
        "stripe_event_id",
        moment("received_at"),
        moment("process_at", "next attempt"),
        moment("processed_at"),
        "attempts",
        "error",
        "payload",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[StripeInbox]:
        """Without the payload where only the list is asked for."""
        events = super().get_queryset(request)
        match = request.resolver_match
        return events.defer("payload") if match and (match.url_name or "").endswith("_changelist") else events
