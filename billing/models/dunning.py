from datetime import datetime, timedelta
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import Exists, F, OuterRef, Q

from billing.models.invoices import Invoice
from billing.models.payments import PaymentMethod, PaymentMethodStatus
from plans.ids import public_id_field
from plans.models import Customer, Subscription

LONGEST_DAYS = 365
MOST_RETRIES = 10


class EndOfDunning(models.TextChoices):
    """The contract's words for what happens to a subscription that is not paid by the end of its dunning."""

    PAUSE = "pause_subscription", "Pause the subscription"
    CANCEL = "cancel_subscription", "Cancel the subscription"
    MARK_UNPAID = "mark_as_unpaid", "Mark the subscription as unpaid"


def usual_retries() -> list[int]:
    """Make the contract's default schedule."""
    return [1, 3, 7]


class DunningTerms(models.Model):
    """How long an invoice whose charge was declined may wait, on which days after that it is charged again, and what
    happens in the end."""

    grace_period_days = models.PositiveSmallIntegerField(default=7, validators=[MaxValueValidator(LONGEST_DAYS)])
    retry_schedule = ArrayField(
        models.PositiveSmallIntegerField(), size=MOST_RETRIES, default=usual_retries, blank=True
    )
    end_action = models.CharField(max_length=24, choices=EndOfDunning, default=EndOfDunning.PAUSE)

    class Meta:
        abstract = True
        constraints = [
            models.CheckConstraint(
                condition=Q(grace_period_days__lte=LONGEST_DAYS), name="%(class)s_gives_a_year_of_grace_at_most"
            ),
            models.CheckConstraint(
                condition=Q(retry_schedule__len__lte=MOST_RETRIES)
                & Q(*((f"retry_schedule__{place}__lte", LONGEST_DAYS) for place in range(MOST_RETRIES)))
                & (Q(retry_schedule__0__gt=0))
                & Q(
                    *(
                        (f"retry_schedule__{place}__gt", F(f"retry_schedule__{place - 1}"))
                        for place in range(1, MOST_RETRIES)
                    )
                ),
                name="%(class)s_retries_on_later_and_later_days",
            ),
        ]

    def end_of(self, started_at: datetime) -> datetime:
        """The end of the grace time, or the last retry where that comes later. A day has 24 hours."""
        return started_at + timedelta(days=max([self.grace_period_days, *self.retry_schedule]))

    def retry_after(self, at: datetime, *, started_at: datetime) -> datetime | None:
        """The first retry that lies behind an instant; None where none is left. Those that were missed are left out."""
        retries = (started_at + timedelta(days=days) for days in self.retry_schedule)
        return next((retry for retry in retries if retry > at), None)


class DunningConfig(DunningTerms):
    """The terms of dunning that begins from now on, in one row. What has begun keeps its own."""

    singleton = models.BooleanField(default=True, editable=False, unique=True)
    public_id = public_id_field("dunning_")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta(DunningTerms.Meta):
        verbose_name = verbose_name_plural = "dunning settings"
        constraints = [
            *DunningTerms.Meta.constraints,
            models.CheckConstraint(condition=Q(singleton=True), name="dunning_config_is_one_row"),
        ]

    def __str__(self) -> str:
        return "Dunning settings"


class DunningOutcome(models.TextChoices):
    """How dunning ended: the invoice was `paid`, `voided`, `credited` or `carried` to a later one; the end action
    stopped the subscription (`paused`, `marked_unpaid`, `canceled`), or there was none to stop (`not_paid`); or
    somebody paused or resumed the subscription meanwhile (`withdrawn`)."""

    PAID = "paid"
    VOIDED = "voided"
    CREDITED = "credited"
    CARRIED = "carried"
    PAUSED = "paused"
    MARKED_UNPAID = "marked_unpaid"
    CANCELED = "canceled"
    NOT_PAID = "not_paid"
    WITHDRAWN = "withdrawn"


class DunningQuerySet(models.QuerySet["Dunning"]):
    """Questions about dunning."""

    def running(self) -> Self:
        """Those that have not ended."""
        return self.filter(ended_at=None)

    def owed(self) -> Self:
        """Those whose invoice is still to be paid, whether they have ended or not."""
        return self.filter(settled_at=None)

    def of(self, subscription: Subscription) -> Self:
        """Those of a subscription's invoices, of whatever version of it."""
        return self.filter(invoice__subscription__stable_subscription_id=subscription.stable_subscription_id)

    def to_end(self) -> Self:
        """Those that end once their time is over: none of the retries that can be made waits for its answer, and the
        customer is not parked."""
        cards = PaymentMethod.objects.filter(
            customer=OuterRef("customer"), is_default=True, status=PaymentMethodStatus.ACTIVE
        )
        waits = Q(next_retry_at__isnull=False) | Q(invoice__collect_at__isnull=False)
        return self.running().filter(customer__parked_at=None).exclude(waits & Exists(cards))


class Dunning(DunningTerms):
    """What is done about an issued invoice whose charge was declined, from the first decline on.

    The terms are those that counted when it started. `next_retry_at` is the next charge that is planned; NULL when none
    is. `attempts` counts the declined charges, the first one too. The end action falls due at `end_at`. `settled_at` is
    NULL as long as the invoice is to be paid, which may be long after the end.
    """

    public_id = public_id_field("dun_")
    invoice = models.OneToOneField(Invoice, on_delete=models.PROTECT, related_name="dunning")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="dunnings")
    started_at = models.DateTimeField()
    end_at = models.DateTimeField()
    next_retry_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=1)
    ended_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=16, choices=DunningOutcome, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)

    objects = DunningQuerySet.as_manager()

    class Meta(DunningTerms.Meta):
        constraints = [
            *DunningTerms.Meta.constraints,
            models.CheckConstraint(condition=Q(attempts__gte=1), name="dunning_starts_with_a_decline"),
            models.CheckConstraint(condition=Q(end_at__gte=F("started_at")), name="dunning_ends_after_its_start"),
            models.CheckConstraint(
                condition=Q(ended_at=None, outcome="") | Q(ended_at__isnull=False) & ~Q(outcome=""),
                name="ended_dunning_says_how",
            ),
            models.CheckConstraint(
                condition=Q(settled_at=None) | Q(ended_at__isnull=False, next_retry_at=None),
                name="dunning_ends_with_its_invoice",
            ),
        ]
        indexes = [
            models.Index(fields=["end_at"], condition=Q(ended_at=None), name="dunning_to_end"),
            models.Index(fields=["customer"], condition=Q(settled_at=None), name="dunning_owed"),
        ]

    def __str__(self) -> str:
        return f"dunning of {self.invoice}"
