"""Disputes, and what an operator does about them."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from billing import gateway
from billing.models import Dispute, DisputeStatus
from plans.admin.pages import CappedPaginator, FactsAdmin, amount, link, link_to, moment, moment_text

DISPUTE_COLOURS = {
    "won": "success",
    "lost": "danger",
    "needs an answer": "warning",
    "inquiry, needs an answer": "warning",
}
ANSWER = (DisputeStatus.NEEDS_RESPONSE, DisputeStatus.WARNING_NEEDS_RESPONSE)
REVIEW = (DisputeStatus.UNDER_REVIEW, DisputeStatus.WARNING_UNDER_REVIEW)


def dispute_sentence(dispute: Dispute) -> SafeString:
    """What a dispute means, and what to do about it."""
    if dispute.status in ANSWER:
        page = link_to(gateway.dashboard_url(dispute.external_id), "at Stripe")
        return format_html(
            "Answer it {} with what shows that the payment is right, until {} UTC, or accept it there. Without an "
            "answer it is lost.",
            page,
            moment_text(dispute.evidence_due_at) or "the date that Stripe names",
        )
    if dispute.status in REVIEW:
        return format_html("It was answered, and the bank decides. Nothing is to be done.")
    if dispute.status == DisputeStatus.LOST:
        return format_html(
            "Lost: the payment was charged back, and Stripe has taken the money. The invoice stays paid, and nothing "
            "is charged again by itself. Decide whether to cancel the subscription, or to bill the customer anew."
        )
    if dispute.status == DisputeStatus.WON:
        return format_html("Won: Stripe has given the money back. Nothing is to be done.")
    return format_html("Closed, and no money was taken. Nothing is to be done.")


@admin.register(Dispute)
class DisputeAdmin(FactsAdmin):
    """Payments that a cardholder's bank questions."""

    nothing_yet = "No bank has questioned a payment."
    list_display = [
        moment("opened_at"),
        "customer",
        "invoice",
        "state",
        "disputed",
        "reason",
        moment("evidence_due_at"),
    ]
    list_filter = ["status", ("closed_at", admin.EmptyFieldListFilter)]
    list_select_related = ["customer", "invoice"]
    paginator = CappedPaginator
    search_fields = ["public_id", "external_id", "charge_id", "intent_id", "invoice__number", "customer__public_id"]
    search_help_text = "Id of a dispute, of its charge or payment intent; number of an invoice; id of a customer."
    ordering = ["-opened_at", "-pk"]
    fields = [
        "what_to_do",
        "status",
        "disputed",
        "reason",
        moment("evidence_due_at", "to be answered until"),
        "customer_page",
        "invoice_page",
        "payment_page",
        moment("opened_at"),
        moment("closed_at"),
        "public_id",
        "external_id",
        "charge_id",
        "intent_id",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Dispute]:
        """With the names of what it is about."""
        return super().get_queryset(request).select_related("customer", "invoice", "payment")

    @display(description="status", ordering="status", label=DISPUTE_COLOURS)
    def state(self, dispute: Dispute) -> str:
        """How far it is."""
        return dispute.get_status_display()

    @admin.display(description="amount", ordering="amount_cents")
    def disputed(self, dispute: Dispute) -> SafeString | None:
        """What the bank wants back."""
        return amount(dispute.amount_cents, dispute.currency)

    @admin.display(description="what to do")
    def what_to_do(self, dispute: Dispute) -> SafeString:
        """What it means."""
        return dispute_sentence(dispute)

    @admin.display(description="customer")
    def customer_page(self, dispute: Dispute) -> SafeString | None:
        """Who has paid."""
        return link(dispute.customer)

    @admin.display(description="invoice")
    def invoice_page(self, dispute: Dispute) -> SafeString | None:
        """What was paid."""
        return link(dispute.invoice)

    @admin.display(description="payment")
    def payment_page(self, dispute: Dispute) -> SafeString | None:
        """By what it was paid."""
        return link(dispute.payment)
