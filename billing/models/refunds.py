from typing import Self

from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from billing.models.credit_notes import CreditNote
from billing.models.disputes import Dispute
from billing.models.payments import Payment
from plans.ids import public_id_field
from plans.models import Customer


class RefundStatus(models.TextChoices):
    """`pending` until the provider says that the money is on its way back, or that it cannot go there."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class RefundQuerySet(models.QuerySet["Refund"]):
    """Questions about refunds."""

    def to_credit(self) -> Self:
        """Those that Stripe has, and whose invoice there is not credited yet although it is there."""
        is_there = Q(payment__external_id__startswith="in_") | Q(payment__invoice__stripe_sent_at__isnull=False)
        return self.filter(is_there, credit_at__isnull=False, external_id__isnull=False)

    def to_ask_for(self) -> Self:
        """Those that the provider is asked for. While a dispute is in the way, none is made."""
        disputes = Dispute.objects.against_refunds().filter(payment=OuterRef("payment"))
        return self.filter(refund_at__isnull=False).exclude(Q(external_id=None) & Exists(disputes))


class Refund(models.Model):
    """Money that goes back to where a payment came from.

    Without a credit note it is what was paid although it was not owed any more: the invoice had become void, or had
    been credited, while its payment was under way.

    `refund_at` is when a sweep asks the provider next, to make the refund or how it stands; NULL once that is known for
    good. `credit_at` is when a sweep credits the provider's invoice by as much; NULL where that is done, or there is
    nothing to credit. `external_id` is the provider's id, `error` why the last attempt did not succeed. What failed was
    taken back by the bank: an operator has to pay it in another way.
    """

    public_id = public_id_field("re_")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="refunds")
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="refunds")
    credit_note = models.OneToOneField(
        CreditNote, on_delete=models.PROTECT, null=True, blank=True, related_name="refund"
    )
    amount_cents = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    status = models.CharField(max_length=16, choices=RefundStatus, default=RefundStatus.PENDING, db_default="pending")
    external_id = models.CharField(max_length=255, null=True, blank=True)
    refund_at = models.DateTimeField(null=True, blank=True, db_default=Now())
    credit_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0, db_default=0)
    error = models.TextField(blank=True, default="", db_default="")
    refunded_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    objects = RefundQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["external_id"], name="refund_is_at_the_provider_once"),
            models.UniqueConstraint(
                fields=["payment"], condition=Q(credit_note=None), name="payment_is_given_back_unasked_once"
            ),
            models.CheckConstraint(condition=Q(amount_cents__gt=0), name="refund_is_positive"),
            models.CheckConstraint(
                condition=Q(status="pending", refunded_at=None, refund_at__isnull=False)
                | Q(status="succeeded", refunded_at__isnull=False, external_id__isnull=False, refund_at=None)
                | Q(status="failed", refunded_at=None, external_id__isnull=False, refund_at=None),
                name="refund_is_asked_for_until_it_ends",
            ),
        ]
        indexes = [
            models.Index(fields=["refund_at"], condition=Q(refund_at__isnull=False), name="refund_to_ask_for"),
            models.Index(fields=["credit_at"], condition=Q(credit_at__isnull=False), name="refund_to_credit"),
        ]

    def __str__(self) -> str:
        return f"{self.amount_cents} {self.currency}"
