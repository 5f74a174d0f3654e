from datetime import datetime

from django.db import models
from django.db.models import Exists, F, OuterRef, Q

from billing.models.invoices import Invoice
from billing.models.payments import PaymentMethod, PaymentMethodStatus
from credits.models import SubscriptionCredit, TopUpPack
from plans.ids import public_id_field
from plans.models import Customer, SubscriptionPeriod


class AutoTopUpQuerySet(models.QuerySet["AutoTopUp"]):
    def running(self) -> "AutoTopUpQuerySet":
        """Those that are enabled and not stopped, of customers that are billed."""
        return self.filter(
            is_enabled=True, stopped_at=None, customer__parked_at__isnull=True, customer__deleted_at__isnull=True
        )

    def chargeable(self) -> "AutoTopUpQuerySet":
        """Those whose customer has a payment method."""
        return self.filter(self.has_method())

    def that_may_buy(self, at: datetime) -> "AutoTopUpQuerySet":
        """Running ones whose customer has a payment method, whose last purchase is not open any more, and which do not
        wait for the next month, nor for what a plan gives by itself."""
        may_go_on = Q(resumes_at=None) | Q(resumes_at__lte=at)
        return (
            self.running()
            .chargeable()
            .filter(
                may_go_on, ~self.has_open_purchase(), ~self.has_boundary_to_close(at), ~self.has_refill_to_write(at)
            )
        )

    @staticmethod
    def has_method() -> Exists:
        """Whether the customer has a default payment method that can be charged."""
        methods = PaymentMethod.objects.filter(
            customer=OuterRef("customer"), is_default=True, status=PaymentMethodStatus.ACTIVE
        )
        return Exists(methods)

    @staticmethod
    def has_open_purchase() -> Exists:
        """Whether a purchase is neither paid nor given up."""
        return Exists(Invoice.objects.open_purchases().filter(auto_top_up=OuterRef("pk")))

    @staticmethod
    def has_boundary_to_close(at: datetime) -> Exists:
        """Whether the customer has a boundary behind it that no sweep has closed: the quota of what comes next is not
        written yet."""
        due = SubscriptionPeriod.objects.due(at).filter(
            customer=OuterRef("customer"), subscription__ended_at__isnull=True
        )
        return Exists(due)

    @staticmethod
    def has_refill_to_write(at: datetime) -> Exists:
        """Whether a refill of the customer is due that no sweep has written."""
        due = SubscriptionCredit.objects.filter(
            subscription__customer=OuterRef("customer"), subscription__ended_at__isnull=True, refilled_until__lte=at
        ).exclude(refill_rrule="")
        return Exists(due)


class AutoTopUp(models.Model):
    """What a customer has asked for: `quantity` of a pack are bought by themselves when less than `threshold` is left
    of what the pack holds, units of its metric or minor units of its money.

    In a calendar month of the billing time zone its invoices come to no more than `monthly_limit_cents`, tax included;
    once the next one would, nothing is bought before `resumes_at`. `agreed_price_cents` is the price of one pack that
    was agreed to: a dearer pack is not bought. It is stopped (`stopped_at`, with the reason) by a charge that failed or
    by a purchase that is not to be repeated, until the card is replaced or somebody enables it again.
    """

    public_id = public_id_field("atu_")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="auto_top_ups")
    pack = models.ForeignKey(TopUpPack, on_delete=models.PROTECT, related_name="auto_top_ups")
    quantity = models.PositiveIntegerField(default=1)
    threshold = models.DecimalField(max_digits=24, decimal_places=6)
    monthly_limit_cents = models.BigIntegerField()
    agreed_price_cents = models.BigIntegerField()
    is_enabled = models.BooleanField(default=True)
    stopped_at = models.DateTimeField(null=True, blank=True)
    stop_code = models.CharField(max_length=64, blank=True)
    stop_message = models.TextField(blank=True)
    resumes_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(auto_now=True)

    objects = AutoTopUpQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["customer", "pack"], name="customer_tops_up_a_pack_by_one_rule"),
            models.CheckConstraint(condition=Q(quantity__gt=0), name="auto_top_up_buys_something"),
            models.CheckConstraint(condition=Q(threshold__gt=0), name="auto_top_up_threshold_is_positive"),
            models.CheckConstraint(condition=Q(agreed_price_cents__gt=0), name="auto_top_up_price_is_positive"),
            models.CheckConstraint(
                condition=Q(monthly_limit_cents__gte=F("agreed_price_cents") * F("quantity")),
                name="auto_top_up_limit_covers_a_purchase",
            ),
            models.CheckConstraint(
                condition=Q(stopped_at=None, stop_code="") | Q(stopped_at__isnull=False) & ~Q(stop_code=""),
                name="stopped_auto_top_up_says_why",
            ),
        ]
        indexes = [
            models.Index(fields=["id"], condition=Q(is_enabled=True, stopped_at=None), name="auto_top_up_running")
        ]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.pack} below {self.threshold}"
