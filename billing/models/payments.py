from django.db import models
from django.db.models import Q

from billing.models.invoices import Invoice
from plans.ids import public_id_field
from plans.models import Customer


class PaymentMethodStatus(models.TextChoices):
    ACTIVE = "active"
    PENDING = "pending"
    FAILED = "failed"
    EXPIRED = "expired"


class PaymentMethod(models.Model):
    """A card (or other means) that Stripe keeps for a customer; we hold what is needed to show it and charge it."""

    public_id = public_id_field("pm_")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="payment_methods")
    provider = models.CharField(max_length=16, default="stripe")
    payment_type = models.CharField(max_length=16, default="card")
    status = models.CharField(max_length=16, choices=PaymentMethodStatus, default=PaymentMethodStatus.ACTIVE)
    card_brand = models.CharField(max_length=32, blank=True)
    card_last_four = models.CharField(max_length=4, blank=True)
    card_expiry_month = models.PositiveSmallIntegerField(null=True, blank=True)
    card_expiry_year = models.PositiveSmallIntegerField(null=True, blank=True)
    external_id = models.CharField(max_length=255, unique=True)
    is_default = models.BooleanField(default=False)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["customer"], condition=Q(is_default=True), name="customer_has_one_default_payment_method"
            )
        ]

    def __str__(self) -> str:
        return f"{self.card_brand} •••• {self.card_last_four}"


class PaymentStatus(models.TextChoices):
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Payment(models.Model):
    """One attempt to pay an invoice, as the provider told it.

    Failed attempts are counted by `attempt` (the number of our charge), a success can arrive by our own call and by
    webhook and is kept once per invoice. `external_id` is the provider's id of what was
    paid (Stripe: the invoice), or of the payment intent that failed. `intent_id` is Stripe's payment intent that took
    the money, where somebody had to ask for it: Stripe's refunds and disputes name that, and not the invoice.
    """

    public_id = public_id_field("pay_")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="payments")
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="payments")
    payment_method = models.ForeignKey(
        PaymentMethod, on_delete=models.PROTECT, null=True, blank=True, related_name="payments"
    )
    status = models.CharField(max_length=16, choices=PaymentStatus)
    amount_cents = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    external_id = models.CharField(max_length=255)
    intent_id = models.CharField(max_length=255, null=True, blank=True)
    attempt = models.PositiveIntegerField(default=0)
    error_code = models.CharField(max_length=64, blank=True)
    error_message = models.TextField(blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["invoice"], condition=Q(status="succeeded"), name="invoice_is_paid_once"),
            models.UniqueConstraint(
                fields=["invoice", "attempt"], condition=Q(status="failed"), name="failed_attempt_is_recorded_once"
            ),
            models.UniqueConstraint(
                fields=["intent_id"], condition=Q(status="succeeded"), name="intent_takes_one_payment"
            ),
            models.CheckConstraint(condition=Q(amount_cents__gte=0), name="payment_amount_is_not_negative"),
        ]
        indexes = [models.Index(fields=["external_id"], name="payment_by_external_id")]

    def __str__(self) -> str:
        return f"{self.status} {self.amount_cents} {self.currency}"
