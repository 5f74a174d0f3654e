from datetime import datetime

from django.db import models
from django.db.models import Q

from billing.models.invoices import Invoice
from plans.ids import new_public_id, public_id_field
from plans.models import Customer, Price, Subscription


class CheckoutStatus(models.TextChoices):
    """`open` waits for the person who pays; the others are final.

    `subscribed`: the subscription exists. `refused`: the rules said no after the card was given. `replaced`: the same
    buyer began another one. `expired`: nobody paid in time. Only a subscribed checkout is ever charged.
    """

    OPEN = "open"
    SUBSCRIBED = "subscribed"
    REFUSED = "refused"
    REPLACED = "replaced"
    EXPIRED = "expired"


class IntentType(models.TextChoices):
    """What is opened at Stripe: a payment intent holds the first fees on a card, a setup intent only keeps the card.
    Empty where no card is needed."""

    PAYMENT = "payment"
    SETUP = "setup"


class CheckoutQuerySet(models.QuerySet["Checkout"]):
    def due(self, at: datetime) -> "CheckoutQuerySet":
        """Checkouts whose next step is due."""
        return self.filter(step_at__lte=at)


class Checkout(models.Model):
    """Somebody's wish to subscribe at a price: from the intent at Stripe to the subscription.

    `buyer` names who wishes: a customer or a visitor's browser, which have one open checkout each, or just what
    somebody typed. `customer_public_id` is the id that the customer has or will get: Stripe is told it beforehand.
    `due_cents` are the first fees in minor units of the price's currency, held on the card until the subscription
    exists. `step_at` is when a sweep looks next; NULL means that nothing is left to do, also at Stripe (`settled_at`).
    `error_message` is for the buyer, `step_error` for the operator: what went wrong in the latest step.
    """

    public_id = public_id_field("chk_")
    buyer = models.CharField(max_length=300)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, null=True, blank=True, related_name="checkouts")
    customer_public_id = models.CharField(max_length=48, editable=False)
    price = models.ForeignKey(Price, on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=200)
    email = models.EmailField(max_length=254, blank=True)
    external_customer_id = models.CharField(max_length=255, null=True, blank=True)
    profile = models.JSONField(default=dict, blank=True)
    due_cents = models.BigIntegerField()
    intent_type = models.CharField(max_length=16, choices=IntentType, blank=True)
    intent_id = models.CharField(max_length=255, null=True, blank=True)
    stripe_customer_id = models.CharField(max_length=255, blank=True)
    status = models.CharField(max_length=16, choices=CheckoutStatus, default=CheckoutStatus.OPEN)
    error_code = models.CharField(max_length=64, blank=True)
    error_message = models.TextField(blank=True)
    subscription = models.OneToOneField(
        Subscription, on_delete=models.PROTECT, null=True, blank=True, related_name="checkout"
    )
    invoice = models.OneToOneField(Invoice, on_delete=models.PROTECT, null=True, blank=True, related_name="checkout")
    step_at = models.DateTimeField(null=True, blank=True)
    step_attempts = models.PositiveIntegerField(default=0)
    step_error = models.TextField(blank=True)
    expires_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    objects = CheckoutQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["buyer"],
                condition=Q(status="open") & ~Q(buyer__startswith="typed:"),
                name="proven_buyer_has_one_open_checkout",
            ),
            models.UniqueConstraint(fields=["intent_id"], name="intent_belongs_to_one_checkout"),
            models.CheckConstraint(
                condition=Q(status="subscribed", subscription__isnull=False)
                | ~Q(status="subscribed") & Q(subscription=None, invoice=None),
                name="subscribed_checkout_has_its_subscription",
            ),
            models.CheckConstraint(condition=Q(due_cents__gte=0), name="checkout_due_is_not_negative"),
            models.CheckConstraint(
                condition=Q(settled_at=None) | ~Q(status="open") & Q(step_at=None),
                name="settled_checkout_is_at_its_end",
            ),
        ]
        indexes = [
            models.Index(fields=["step_at"], condition=Q(step_at__isnull=False), name="checkout_step"),
            models.Index(fields=["buyer", "created_at"], name="checkout_of_buyer"),
        ]

    def __str__(self) -> str:
        return self.public_id

    @staticmethod
    def new_customer_id() -> str:
        """Make the public id that the customer of a checkout will get."""
        return new_public_id("cus_")
