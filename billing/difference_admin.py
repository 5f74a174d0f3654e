"""What differs between our side and Stripe's, and what an operator does about it."""

from typing import Any

from django.contrib import admin
from django.db import models
from django.utils.safestring import SafeString

from billing import gateway
from billing.models import Checkout, Difference, DifferenceKind, Dispute, Invoice, Payment, Refund
from plans.admin.pages import CappedPaginator, FactsAdmin, link, link_to, moment

WHAT_TO_DO = {
    DifferenceKind.PAID_THERE: (
        "Stripe has the money and we did not hear of it. For an invoice whose customer has a card the next sweep books "
        "it by itself. Else send the event invoice.paid again from Stripe's dashboard. If another amount was paid than "
        "is open, or a checkout took it for nothing, refund it at Stripe."
    ),
    DifferenceKind.PAID_HERE: (
        "We count as paid what Stripe does not. Look at the payment at Stripe: was it taken back? Then the customer "
        "has something for nothing; bill it by an invoice of its own."
    ),
    DifferenceKind.AMOUNT_DIFFERS: (
        "Ours never changes, so somebody has changed Stripe's. Void it there while it is not paid, void ours and bill "
        "it again. Once it is paid, make up for the difference by a credit note or an invoice of its own."
    ),
    DifferenceKind.STATUS_DIFFERS: (
        "One side was voided or written off by hand. Bring the other side there: void our invoice over the API, or "
        "Stripe's in its dashboard. What a checkout still holds is released in the dashboard."
    ),
    DifferenceKind.PAID_TWICE: (
        "The customer has paid one invoice more than once. Find the payments of the customer at Stripe and refund "
        "there the one which our invoice does not name."
    ),
    DifferenceKind.UNKNOWN_PAYMENT: (
        "Money was taken or held with our mark on it, and nothing here was bought with it. If nobody can say what for, "
        "refund or cancel it at Stripe."
    ),
    DifferenceKind.UNKNOWN_INVOICE: (
        "An invoice at Stripe bears our mark, but it is none of ours, or a copy: perhaps from a backup that was "
        "restored, or another installation that uses the same account. Delete or void it there before somebody pays it."
    ),
    DifferenceKind.REFUND_THERE: (
        "Somebody has refunded a payment at Stripe, so our invoice says too much. Do not refund it here again; keep it "
        "in mind for your accounts. In future make a credit note here: it makes the refund."
    ),
    DifferenceKind.REFUND_HERE: (
        "We count as given back what Stripe does not know. Is the key that of the right account? If so, refund the "
        "payment at Stripe."
    ),
    DifferenceKind.REFUND_DIFFERS: (
        "Look at the refund at Stripe. One that failed there gives the money back to you: pay the customer in another "
        "way. Sending the event refund.updated again from Stripe's dashboard tells us of it."
    ),
    DifferenceKind.DISPUTE_DIFFERS: (
        "An event did not arrive. Send the last one of charge.dispute again from Stripe's dashboard, and answer the "
        "dispute there if it needs an answer."
    ),
    DifferenceKind.MISSING_THERE: (
        "Stripe does not have it. Is STRIPE_SECRET_KEY a key of the account that it was sent to, and of the same mode?"
    ),
}
OURS: dict[str, tuple[type[models.Model], ...]] = {
    "invoice": (Invoice, Payment),
    "intent": (Payment,),
    "checkout": (Checkout,),
    "refund": (Refund,),
    "dispute": (Dispute,),
}


@admin.register(Difference)
class DifferenceAdmin(FactsAdmin):
    """What a comparison with Stripe has found."""

    nothing_yet = "Nothing differs. Each night everything here is compared with what Stripe has."
    list_display = ["kind", "object_id", "stripe_id", "ours", "theirs", moment("first_seen_at"), moment("resolved_at")]
    list_filter = [("resolved_at", admin.EmptyFieldListFilter), "kind"]
    paginator = CappedPaginator
    search_fields = ["object_id", "stripe_id"]
    search_help_text = "An id of ours, or of Stripe's."
    ordering = ["-pk"]
    fields = [
        "kind",
        "what_to_do",
        "ours",
        "theirs",
        "our_page",
        "stripe_page",
        moment("made_at", "began"),
        moment("first_seen_at"),
        moment("last_seen_at"),
        moment("resolved_at"),
    ]

    @admin.display(description="what to do")
    def what_to_do(self, difference: Difference) -> str:
        """What it means, in words."""
        return WHAT_TO_DO[DifferenceKind(difference.kind)]

    @admin.display(description="here")
    def our_page(self, difference: Difference) -> SafeString | str | None:
        """Our object, where it has a page."""
        row = _row(difference)
        if row is not None and admin.site.is_registered(type(row)):
            return link(row, difference.object_id)
        return difference.object_id or None

    @admin.display(description="at Stripe")
    def stripe_page(self, difference: Difference) -> SafeString | None:
        """Stripe's."""
        stripe_id = difference.stripe_id
        return link_to(gateway.dashboard_url(stripe_id), stripe_id) if stripe_id else None


def _row(difference: Difference) -> Any:
    for model in OURS.get(difference.object_type, ()):
        row = model._default_manager.filter(public_id=difference.object_id).first()
        if row is not None:
            return row
    return None
