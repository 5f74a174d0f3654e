"""The first page: how much there is, and what needs somebody."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Q, Sum
from django.http import HttpRequest
from django.urls import reverse
from django_q.models import Failure

from billing.models import Difference, Dispute, Invoice, Mail, MailState, StripeInbox
from billing.models.invoices import InvoiceStatus
from plans.models import Customer, Plan, Subscription
from plans.words import money_text


@dataclass(frozen=True)
class Need:
    """One thing that somebody has to do something about, and the page where it is done."""

    what: str
    why: str
    address: str


@dataclass(frozen=True)
class Figure:
    """A number with its name, and the page behind it."""

    text: str
    name: str
    address: str


def with_needs(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add `needs` and `figures` to the first page; only what the operator may look at."""
    return context | {
        "needs": [need for permission, find in NEEDS.items() if request.user.has_perm(permission) for need in find()],
        "figures": [
            figure for permission, find in FIGURES.items() if request.user.has_perm(permission) for figure in find()
        ],
    }


def list_address(model: str, query: str = "") -> str:
    """The address of a model's list."""
    return reverse(f"admin:{model}_changelist") + query


def first_plan() -> list[Need]:
    """Without a plan there is nothing to sell."""
    if Plan.objects.live().exists():
        return []
    return [
        Need(
            "Create your first plan",
            "One form: the fee, what is counted, what is included.",
            reverse("admin:plans_plan_add"),
        )
    ]


def parked_customers() -> list[Need]:
    """Customers whom the sweeps leave alone."""
    parked = Customer.objects.filter(parked_at__isnull=False, deleted_at=None).order_by("parked_at")
    return [
        Need(
            f"{customer.name or customer.email or customer.public_id} is parked and not billed",
            customer.parked_reason,
            reverse("admin:plans_customer_change", args=[customer.pk]),
        )
        for customer in parked[:10]
    ]


def refused_invoices() -> list[Need]:
    """Invoices that Stripe did not take."""
    refused = Invoice.objects.filter(stripe_sent_at=None).exclude(send_error="").select_related("customer")
    return [
        Need(
            f"Stripe did not take invoice {invoice} of {invoice.customer}",
            invoice.send_error,
            reverse("admin:billing_invoice_change", args=[invoice.pk]),
        )
        for invoice in refused.order_by("closes_at", "pk")[:10]
    ]


def declined_payments() -> list[Need]:
    """Invoices that are open because a card was declined."""
    declined = Q(status=InvoiceStatus.ISSUED, payments__status="failed")
    number = Invoice.objects.filter(declined).distinct().count()
    if not number:
        return []
    words = "1 invoice is" if number == 1 else f"{number:,} invoices are"
    why = "They are charged again on the days of their dunning, and as soon as the customers have another card."
    return [
        Need(f"{words} unpaid after a declined card", why, list_address("billing_payment", "?status__exact=failed"))
    ]


def disputes_to_answer() -> list[Need]:
    """Disputes that are lost unless somebody answers them."""
    waiting = Dispute.objects.filter(status__endswith="needs_response").select_related("invoice", "customer")
    return [
        Need(
            f"The payment of invoice {dispute.invoice} of {dispute.customer} is disputed",
            "Answer it at Stripe, or accept it there; without an answer it is lost.",
            reverse("admin:billing_dispute_change", args=[dispute.pk]),
        )
        for dispute in waiting.order_by("evidence_due_at", "pk")[:10]
    ]


def differences_from_stripe() -> list[Need]:
    """What the comparison with Stripe has found."""
    number = Difference.objects.filter(resolved_at=None).count()
    if not number:
        return []
    words = "1 thing differs" if number == 1 else f"{number:,} things differ"
    return [
        Need(
            f"{words} between here and Stripe",
            "What to do stands on the page of each.",
            list_address("billing_difference", "?resolved_at__isempty=1"),
        )
    ]


def unsent_mails() -> list[Need]:
    """Mails that were given up."""
    number = Mail.objects.filter(state=MailState.FAILED).count()
    if not number:
        return []
    words = "1 mail" if number == 1 else f"{number:,} mails"
    return [
        Need(
            f"{words} could not be sent",
            "The reason stands beside each. Correct the address, then send it again.",
            list_address("billing_mail", "?state__exact=failed"),
        )
    ]


def stuck_events() -> list[Need]:
    """Events of Stripe that could not be worked off."""
    number = StripeInbox.objects.filter(processed_at=None).exclude(error="").count()
    if not number:
        return []
    words = "1 event of Stripe" if number == 1 else f"{number:,} events of Stripe"
    return [
        Need(
            f"{words} could not be worked off",
            "They are tried again by themselves; the reason stands beside each.",
            list_address("billing_stripeinbox", "?processed_at__isempty=1"),
        )
    ]


def failed_tasks() -> list[Need]:
    """Jobs that raised an error."""
    number = Failure.objects.count()
    if not number:
        return []
    words = "1 job" if number == 1 else f"{number:,} jobs"
    return [
        Need(
            f"{words} ended with an error",
            "The sweeps run again by themselves. Look at the error, then delete the entry.",
            list_address("django_q_failure"),
        )
    ]


def customers() -> list[Figure]:
    """Those who pay."""
    number = Customer.objects.filter(deleted_at=None).count()
    return [Figure(f"{number:,}", "customers", list_address("plans_customer"))]


def subscriptions() -> list[Figure]:
    """What they have now."""
    number = Subscription.objects.filter(status="active").count()
    return [Figure(f"{number:,}", "active subscriptions", list_address("plans_subscription", "?status__exact=active"))]


def open_invoices() -> list[Figure]:
    """What is to be paid, by currency."""
    totals = Invoice.objects.filter(status=InvoiceStatus.ISSUED).values("currency").annotate(total=Sum("total_cents"))
    address = list_address("billing_invoice", "?status__exact=issued")
    return [
        Figure(money_text(row["total"], row["currency"]), f"open in {row['currency']}", address)
        for row in totals.order_by("currency")
    ]


NEEDS = {
    "plans.add_plan": first_plan,
    "plans.view_customer": parked_customers,
    "billing.view_invoice": refused_invoices,
    "billing.view_payment": declined_payments,
    "billing.view_dispute": disputes_to_answer,
    "billing.view_difference": differences_from_stripe,
    "billing.view_mail": unsent_mails,
    "billing.view_stripeinbox": stuck_events,
    "django_q.view_failure": failed_tasks,
}
FIGURES = {
    "plans.view_customer": customers,
    "plans.view_subscription": subscriptions,
    "billing.view_invoice": open_invoices,
}
