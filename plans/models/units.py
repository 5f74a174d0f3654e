"""What happens to units in advance, such as seats, within a period that was billed already."""

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import RangeOperators
from django.db import models
from django.db.models import F, Func, Q, Value

from plans.json_values import NumberKeepingEncoder
from plans.models.customers import Customer
from plans.models.subscriptions import Subscription, SubscriptionPeriod


class AddedUnits(models.Model):
    """Units that a period needs beyond those billed for it so far, from `needed_at` to its end.

    Their invoice line is known by the period and `effective_at`: that instant, or some microseconds later where units
    were added at it before. They are the units after `from_quantity` up to `to_quantity`: the first ones begin where
    the period's `quantity` ends, the next ones where these end, so each unit of a period is charged once. `billed_at`
    is NULL until an invoice has charged them.
    """

    period = models.ForeignKey(SubscriptionPeriod, on_delete=models.PROTECT, related_name="added_units")
    from_quantity = models.PositiveIntegerField()
    to_quantity = models.PositiveIntegerField()
    needed_at = models.DateTimeField()
    effective_at = models.DateTimeField()
    billed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(to_quantity__gt=F("from_quantity")), name="added_units_are_more_than_before"
            ),
            ExclusionConstraint(
                name="unit_of_a_period_is_added_once",
                expressions=[
                    (Func("period", "period", Value("[]"), function="int8range"), RangeOperators.EQUAL),
                    (Func("from_quantity", "to_quantity", function="int4range"), RangeOperators.OVERLAPS),
                ],
            ),
            models.UniqueConstraint(fields=["period", "effective_at"], name="units_are_added_once_an_instant"),
        ]
        indexes = [
            models.Index(fields=["period"], condition=Q(billed_at__isnull=True), name="added_units_to_bill"),
        ]

    @property
    def units(self) -> int:
        """How many were added."""
        return self.to_quantity - self.from_quantity

    def __str__(self) -> str:
        return f"{self.units} from {self.needed_at:%Y-%m-%d}"


class SeatChangeKind(models.TextChoices):
    ADD = "add"
    REMOVE = "remove"


class SeatChange(models.Model):
    """A call that gave somebody a seat, or took it: what was said, from when on it held, and the key that names it in
    its organization, so that the same call again changes nothing."""

    organization_id = models.CharField(max_length=255)
    kind = models.CharField(max_length=8, choices=SeatChangeKind)
    member = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="seat_changes")
    subscription = models.ForeignKey(
        Subscription, on_delete=models.PROTECT, null=True, blank=True, related_name="seat_changes"
    )
    effective_at = models.DateTimeField()
    idempotency_key = models.CharField(max_length=255)
    metadata = models.JSONField(default=dict, blank=True, encoder=NumberKeepingEncoder)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization_id", "idempotency_key"], name="seat_change_is_made_once"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.member} in {self.organization_id}"
