from django.db import models
from django.db.models import Q

from credits.models.grants import CreditGrant
from credits.models.months import CalendarMonth
from plans.ids import public_id_field
from plans.models import Customer, SubscriptionPeriod


class TransactionKind(models.TextChoices):
    GRANTED = "granted"
    BURNED = "burned"
    EXPIRED = "expired"
    REVOKED = "revoked"
    ADJUSTED = "adjusted"
    RETURNED = "returned"


class UsageDifference(models.Model):
    """What was found later of a settled period: by how much its usage, and with it its credits and its price, differ
    from what was settled and from the differences before.

    All figures are signed; those of the period and of its differences add up to what the period comes to.
    `billed_at` is NULL until an invoice has taken `net_cents` along.
    """

    period = models.ForeignKey(SubscriptionPeriod, on_delete=models.PROTECT, related_name="differences")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+")
    number = models.PositiveIntegerField()
    found_at = models.DateTimeField()
    usage = models.DecimalField(max_digits=38, decimal_places=6)
    included = models.DecimalField(max_digits=38, decimal_places=6)
    credited = models.DecimalField(max_digits=38, decimal_places=6)
    events = models.BigIntegerField(null=True, blank=True)
    net_cents = models.BigIntegerField()
    billed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["period", "number"], name="difference_number_is_unique"),
            models.CheckConstraint(condition=Q(number__gte=1), name="difference_number_is_positive"),
        ]
        indexes = [
            models.Index(fields=["customer"], condition=Q(billed_at=None), name="difference_to_bill"),
        ]

    def __str__(self) -> str:
        return f"{self.period}: {self.usage.normalize():+f}"


class CreditTransaction(models.Model):
    """A movement of a grant: positive when units are granted or returned, negative when they are burned, expire or are
    revoked; an operator adjusts both ways.

    Append-only; a trigger refuses changes. `period` is the settled period that burned or expired the units, and
    `difference` what was found of it later. Where no stored period covers the usage, `month` is in their place.
    """

    public_id = public_id_field("cred_txn_")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+")
    grant = models.ForeignKey(CreditGrant, on_delete=models.PROTECT, related_name="transactions")
    kind = models.CharField(max_length=16, choices=TransactionKind)
    amount = models.DecimalField(max_digits=24, decimal_places=6)
    period = models.ForeignKey(SubscriptionPeriod, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    difference = models.ForeignKey(UsageDifference, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    month = models.ForeignKey(
        CalendarMonth, on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    occurred_at = models.DateTimeField()
    notes = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["grant", "kind", "period"],
                condition=Q(difference=None),
                name="grant_moves_once_a_period_and_kind",
            ),
            models.UniqueConstraint(
                fields=["grant", "kind", "difference"],
                condition=Q(difference__isnull=False),
                name="grant_moves_once_a_difference_and_kind",
            ),
            models.UniqueConstraint(
                fields=["month", "grant", "kind"],
                condition=Q(month__isnull=False),
                name="grant_moves_once_a_month_and_kind",
            ),
            models.UniqueConstraint(fields=["grant"], condition=Q(kind="granted"), name="grant_is_granted_once"),
            models.CheckConstraint(
                condition=Q(month=None) | Q(period=None, difference=None, kind__in=["burned", "expired", "returned"]),
                name="transaction_names_a_period_or_a_month",
            ),
            models.CheckConstraint(
                condition=Q(kind__in=["granted", "returned"], amount__gt=0)
                | Q(kind__in=["burned", "expired", "revoked"], amount__lt=0)
                | Q(kind="adjusted") & ~Q(amount=0),
                name="transaction_sign_fits_its_kind",
            ),
        ]
        indexes = [models.Index(fields=["customer", "occurred_at"], name="transaction_customer_time")]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount}"
