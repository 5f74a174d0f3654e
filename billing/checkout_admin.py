"""The admin's pages of checkouts."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from unfold.decorators import display

from billing.models import Checkout, CheckoutStatus
from plans.admin.pages import CappedPaginator, FactsAdmin, amount, link, moment, moment_text

CHECKOUT_COLOURS = {"open": "info", "subscribed": "success", "refused": "danger", "expired": "warning"}


def checkout_sentence(checkout: Checkout) -> SafeString:
    """How far a checkout came, and what happens next."""
    if checkout.status == CheckoutStatus.OPEN:
        return format_html(
            "Open until {} UTC. Nothing is charged before the subscription exists.", moment_text(checkout.expires_at)
        )
    if checkout.status == CheckoutStatus.SUBSCRIBED:
        return format_html("Subscribed. {}", next_step_text(checkout))
    if checkout.settled_at is None:
        rest = "Nothing is charged; what may still be held on the card is released next."
    else:
        rest = "Nothing was charged."
    return format_html("{}. {}", checkout.get_status_display(), rest)


def next_step_text(checkout: Checkout) -> str:
    """What a checkout that led to a subscription still waits for."""
    if checkout.settled_at is not None:
        return "Nothing is left to do."
    if checkout.due_cents:
        return "What is held on the card is taken next, as the payment of the first invoice."
    return "Its last step is still to come."


@admin.register(Checkout)
class CheckoutAdmin(FactsAdmin):
    """Somebody's wish to subscribe, and what became of it."""

    list_display = [moment("created_at", "begun"), "who", "plan", "due", "state", "problem"]
    list_filter = ["status"]
    list_select_related = ["customer", "price__plan"]
    paginator = CappedPaginator
    search_fields = ["public_id", "email", "name", "intent_id", "customer_public_id"]
    search_help_text = "Id of a checkout or of its intent; name, e-mail or id of a customer."
    ordering = ["-pk"]
    fieldsets = [
        (None, {"fields": ["standing", "plan_page", "due", "subscription_page", "invoice_page", "public_id"]}),
        ("Who", {"fields": ["customer_page", "name", "email", "customer_public_id", "external_customer_id"]}),
        (
            "Problem",
            {
                "description": "The step error is for you, the error message is what the buyer reads.",
                "fields": ["step_error", "error_message", "error_code"],
            },
        ),
        (
            "Time",
            {
                "fields": [
                    moment("created_at", "begun"),
                    moment("expires_at"),
                    moment("step_at", "next step"),
                    "step_attempts",
                    moment("settled_at"),
                ]
            },
        ),
        ("At Stripe", {"fields": ["intent_id", "intent_type", "stripe_customer_id"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Checkout]:
        """With the names of what it led to."""
        checkouts = super().get_queryset(request)
        return checkouts.select_related("customer", "price__plan", "subscription__plan", "invoice")

    @admin.display(description="who", ordering="name")
    def who(self, checkout: Checkout) -> SafeString | None:
        """The customer, or what somebody typed who is none yet."""
        return self.customer_page(checkout) or format_html(
            "<div><div>{}</div><div>{}</div></div>", checkout.name, checkout.email
        )

    @admin.display(description="customer")
    def customer_page(self, checkout: Checkout) -> SafeString | None:
        """Who subscribes, where this is a customer already."""
        customer = checkout.customer
        return link(customer, customer.name or customer.email or customer.public_id) if customer else None

    @admin.display(description="plan", ordering="price__plan__name")
    def plan(self, checkout: Checkout) -> str:
        """The version that is wished for."""
        return str(checkout.price.plan)

    @admin.display(description="plan")
    def plan_page(self, checkout: Checkout) -> SafeString | None:
        """The way to it."""
        return link(checkout.price.plan)

    @admin.display(description="due", ordering="due_cents")
    def due(self, checkout: Checkout) -> SafeString | None:
        """The first fees."""
        return amount(checkout.due_cents, checkout.price.currency)

    @display(description="status", ordering="status", label=CHECKOUT_COLOURS)
    def state(self, checkout: Checkout) -> str:
        """How far it came."""
        return checkout.status

    @admin.display(description="status")
    def standing(self, checkout: Checkout) -> SafeString:
        """How far it came, and what happens next."""
        return checkout_sentence(checkout)

    @admin.display(description="problem", empty_value="")
    def problem(self, checkout: Checkout) -> str:
        """What went wrong; where nothing did, what the buyer was told."""
        # Two lines on a phone.
        return Truncator(checkout.step_error or checkout.error_message).chars(60)

    @admin.display(description="subscription")
    def subscription_page(self, checkout: Checkout) -> SafeString | None:
        """What it led to."""
        subscription = checkout.subscription
        return link(subscription, f"{subscription.plan}, {subscription.public_id}") if subscription else None

    @admin.display(description="first invoice")
    def invoice_page(self, checkout: Checkout) -> SafeString | None:
        """What is paid with the amount that is held."""
        return link(checkout.invoice)
