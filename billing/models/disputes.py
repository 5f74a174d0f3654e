from typing import Self

from django.db import models
from django.db.models import Q

from billing.models.invoices import Invoice
from billing.models.payments import Payment
from plans.ids import public_id_field
from plans.models import Customer


class DisputeStatus(models.TextChoices):
    """Stripe's words. The `warning_…` are inquiries: the bank only asks, and no money was taken yet. `won`, `lost`,
    `warning_closed` and `prevented` are its last words."""

    WARNING_NEEDS_RESPONSE = "warning_needs_response", "inquiry, needs an answer"
    WARNING_UNDER_REVIEW = "warning_under_review", "inquiry, under review"
    WARNING_CLOSED = "warning_closed", "inquiry, closed"
    NEEDS_RESPONSE = "needs_response", "needs an answer"
    UNDER_REVIEW = "under_review", "under review"
    WON = "won", "won"
    LOST = "lost", "lost"
    PREVENTED = "prevented", "prevented"


FINAL = (DisputeStatus.WON, DisputeStatus.LOST, DisputeStatus.WARNING_CLOSED, DisputeStatus.PREVENTED)


class DisputeQuerySet(models.QuerySet["Dispute"]):
    """Questions about disputes."""

    def open(self) -> Self:
        """Those that the bank has not decided."""
        return self.filter(closed_at=None)

    def against_refunds(self) -> Self:
        """Those that forbid to give their payment back: the bank has taken the money, or holds it until it decides."""
        return self.filter(Q(closed_at=None, is_refundable=False) | Q(status=DisputeStatus.LOST))


class Dispute(models.Model):
    """A cardholder's bank questions a payment. Stripe holds its money back until the bank decides; the invoice stays
    paid meanwhile, and also when the dispute is lost.

    `payment` is NULL while that is not booked here. `is_refundable` says whether Stripe would still refund it, as in an
    inquiry. `told_at` is when Stripe made the event that these words are of: an older one changes nothing.
    """

    public_id = public_id_field("dp_")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="disputes")
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="disputes")
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, null=True, blank=True, related_name="disputes")
    external_id = models.CharField(max_length=255)
    charge_id = models.CharField(max_length=255, blank=True)
    intent_id = models.CharField(max_length=255, blank=True)
    amount_cents = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    reason = models.CharField(max_length=64, blank=True)
    status = models.CharField(max_length=32, choices=DisputeStatus)
    is_refundable = models.BooleanField(default=False)
    evidence_due_at = models.DateTimeField(null=True, blank=True)
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    told_at = models.DateTimeField()

    objects = DisputeQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["external_id"], name="dispute_is_recorded_once"),
            models.CheckConstraint(condition=Q(amount_cents__gte=0), name="dispute_amount_is_not_negative"),
            models.CheckConstraint(
                condition=Q(status__in=FINAL, closed_at__isnull=False) | ~Q(status__in=FINAL) & Q(closed_at=None),
                name="decided_dispute_says_when",
            ),
        ]
        indexes = [
            models.Index(fields=["evidence_due_at"], condition=Q(closed_at=None), name="dispute_open"),
        ]

    def __str__(self) -> str:
        return self.external_id
