from datetime import datetime

from django.db import models
from django.db.models import F, Q

from credits.models.definitions import CreditDefinition
from plans.ids import public_id_field
from plans.models import AddedUnits, Customer, Metric, Subscription, SubscriptionPeriod
from plans.money import grouped_number
from plans.words import money_text


class GrantSource(models.TextChoices):
    SUBSCRIPTION = "subscription"
    MANUAL = "manual"
    TOP_UP = "topup"
    PROMOTION = "promotion"
    REFUND = "refund"


class CreditGrantQuerySet(models.QuerySet["CreditGrant"]):
    def active(self, at: datetime) -> "CreditGrantQuerySet":
        """Grants that may be burned by usage at this instant."""
        return self.filter(
            Q(expires_at__isnull=True) | Q(expires_at__gt=at), starts_at__lte=at, revoked_at__isnull=True
        )


class CreditGrant(models.Model):
    """Units of a metric, or minor units of a currency, given to one customer for `[starts_at, expires_at)`.

    `adjusted_amount` is the sum of what operators added and took away later. A grant of a period has that period, a
    refill of a calendar its `refill_number` (0 is what came first), and what was rolled over the grant `rolled_from`
    which it was left of. One that is given per seat says for how many in `seats`, and if these were added within the
    period, which in `added_units`. The rollover terms are those that it was sold with. `ledger_remaining` is what
    settlements and operators have left of it: the sum of its transactions. What is left live is that less the grant's
    share of usage not settled yet, and is computed, never stored.
    """

    public_id = public_id_field("cred_")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="credit_grants")
    metric = models.ForeignKey(Metric, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    currency = models.CharField(max_length=3, blank=True)
    definition = models.ForeignKey(CreditDefinition, on_delete=models.PROTECT, related_name="grants")
    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    period = models.ForeignKey(SubscriptionPeriod, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    refill_number = models.PositiveIntegerField(null=True, blank=True)
    rolled_from = models.OneToOneField(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="rolled_into"
    )
    added_units = models.ForeignKey(AddedUnits, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    seats = models.PositiveIntegerField(null=True, blank=True)
    source = models.CharField(max_length=16, choices=GrantSource)
    initial_amount = models.DecimalField(max_digits=24, decimal_places=6)
    adjusted_amount = models.DecimalField(max_digits=24, decimal_places=6, default=0)
    ledger_remaining = models.DecimalField(max_digits=24, decimal_places=6)
    priority = models.IntegerField(null=True, blank=True)
    starts_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    rolls_over = models.BooleanField(default=False)
    rollover_cap = models.DecimalField(max_digits=24, decimal_places=6, null=True, blank=True)
    rollover_days = models.PositiveIntegerField(null=True, blank=True)
    reference_code = models.CharField(max_length=200, null=True, blank=True)
    notes = models.TextField(blank=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(auto_now=True)

    objects = CreditGrantQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["definition", "period", "added_units"],
                condition=Q(period__isnull=False),
                nulls_distinct=False,
                name="definition_grants_once_a_period",
            ),
            models.UniqueConstraint(
                fields=["definition", "subscription", "refill_number"],
                condition=Q(period=None, rolled_from=None, subscription__isnull=False),
                nulls_distinct=False,
                name="definition_grants_once_a_subscription",
            ),
            models.UniqueConstraint(fields=["customer", "reference_code"], name="grant_reference_is_unique"),
            models.CheckConstraint(
                condition=Q(ledger_remaining__gte=0, ledger_remaining__lte=F("initial_amount") + F("adjusted_amount")),
                name="grant_remaining_is_between_zero_and_granted",
            ),
            models.CheckConstraint(condition=Q(initial_amount__gt=0), name="grant_amount_is_positive"),
            models.CheckConstraint(
                condition=Q(metric__isnull=False, currency="") | Q(metric=None) & ~Q(currency=""),
                name="grant_holds_units_or_money",
            ),
            models.CheckConstraint(
                condition=Q(expires_at=None) | Q(expires_at__gt=F("starts_at")), name="grant_expires_after_its_start"
            ),
        ]
        indexes = [
            models.Index(fields=["customer", "metric", "starts_at"], name="grant_customer_metric"),
            models.Index(
                fields=["customer", "currency"],
                condition=Q(metric=None, ledger_remaining__gt=0),
                name="grant_of_money",
            ),
            models.Index(
                fields=["customer", "metric"],
                condition=Q(metric__isnull=False, ledger_remaining__gt=0),
                name="grant_with_units_left",
            ),
        ]

    @property
    def ends_at(self) -> datetime | None:
        """When it ends: by its expiry, or sooner since it was revoked or its subscription ended; None for never."""
        return min((at for at in (self.expires_at, self.revoked_at) if at is not None), default=None)

    def __str__(self) -> str:
        held = self.initial_amount
        amount = money_text(held, self.currency) if self.currency else grouped_number(held)
        return f"{amount} from {self.starts_at.day} {self.starts_at:%b %Y}"
