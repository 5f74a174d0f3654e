from decimal import Decimal
from typing import Any

from django.db import models
from django.db.models import Q

from plans.ids import public_id_field
from plans.models import Feature, Metric, Plan, Price, Subscription


class Scope(models.TextChoices):
    """What a definition hangs on. All but `merchant` grant by themselves when somebody subscribes."""

    COMPONENT = "component"
    PRICE = "price"
    PLAN = "plan"
    MERCHANT = "merchant"


class ApplicationType(models.TextChoices):
    """What one unit of a credit pays for: a metered unit, or one minor unit of money."""

    USAGE = "usage"
    MONETARY = "monetary"


class GrantTerms(models.Model):
    """How much is granted, and when again.

    `default_amount` is granted first, `refill_amount` (or the default) at each renewal: with `renew_on_billing` at each
    period of the clock that it follows, by `refill_rrule` on a calendar of its own, at local midnights. What is left of
    a renewed grant expires, or with `rolls_over` becomes a new grant: at most `rollover_cap` units are held that way
    together, and they expire `rollover_days` later (NULL: without a limit, never). With `per_seat` the amounts are
    those of one seat: each period's grant has them times the units that are paid in advance then.
    """

    default_amount = models.DecimalField(max_digits=24, decimal_places=6)
    refill_amount = models.DecimalField(max_digits=24, decimal_places=6, null=True, blank=True)
    expiry_days = models.PositiveIntegerField(null=True, blank=True)
    refill_rrule = models.CharField(max_length=200, blank=True)
    renew_on_billing = models.BooleanField(default=False)
    priority = models.IntegerField(null=True, blank=True)
    rolls_over = models.BooleanField(default=False)
    rollover_cap = models.DecimalField(max_digits=24, decimal_places=6, null=True, blank=True)
    rollover_days = models.PositiveIntegerField(null=True, blank=True)
    per_seat = models.BooleanField(default=False, db_default=False)

    class Meta:
        abstract = True
        constraints = [
            models.CheckConstraint(condition=Q(default_amount__gt=0), name="%(class)s_amount_is_positive"),
            models.CheckConstraint(
                condition=Q(refill_amount=None) | Q(refill_amount__gt=0), name="%(class)s_refill_is_positive"
            ),
            models.CheckConstraint(
                condition=Q(renew_on_billing=False) | Q(refill_rrule=""), name="%(class)s_renews_in_one_way"
            ),
            models.CheckConstraint(
                condition=Q(rolls_over=False, rollover_cap=None, rollover_days=None)
                | Q(rolls_over=True, renew_on_billing=True, expiry_days=None),
                name="%(class)s_rolls_over_what_renews",
            ),
            models.CheckConstraint(
                condition=Q(per_seat=False) | Q(renew_on_billing=True), name="%(class)s_per_seat_renews_with_periods"
            ),
        ]

    @property
    def renewal_amount(self) -> Decimal:
        """What is granted at each renewal."""
        return self.refill_amount if self.refill_amount is not None else self.default_amount

    @property
    def renews(self) -> bool:
        """Tell whether it is granted again, by periods or by a calendar of its own."""
        return self.renew_on_billing or bool(self.refill_rrule)

    def terms(self) -> dict[str, Any]:
        """These terms by their names, as a copy of them is made."""
        return {field.name: getattr(self, field.name) for field in GrantTerms._meta.local_fields}


class CreditDefinitionQuerySet(models.QuerySet["CreditDefinition"]):
    def live(self) -> "CreditDefinitionQuerySet":
        """Definitions that are neither deleted nor switched off."""
        return self.filter(deleted_at__isnull=True, is_active=True)

    def granted_with(self, plan: Plan, price: Price) -> "CreditDefinitionQuerySet":
        """Definitions that grant to a subscription of this plan version at this price."""
        return self.live().exclude(scope=Scope.MERCHANT).filter(Q(plan=plan, price=None) | Q(price=price))


class CreditDefinition(GrantTerms):
    """A quota or an allowance of money: what is granted, to whom, and when again.

    Usage credits count units of `metric`, found from the linked component or feature when the definition is made;
    monetary ones minor units of `currency`.
    """

    public_id = public_id_field("cred_def_")
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    scope = models.CharField(max_length=16, choices=Scope)
    application_type = models.CharField(max_length=16, choices=ApplicationType)
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, null=True, blank=True, related_name="credit_definitions")
    price = models.ForeignKey(Price, on_delete=models.PROTECT, null=True, blank=True, related_name="credit_definitions")
    price_component_id = models.CharField(max_length=80, null=True, blank=True)
    feature = models.ForeignKey(Feature, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    metric = models.ForeignKey(
        Metric, on_delete=models.PROTECT, null=True, blank=True, related_name="credit_definitions"
    )
    currency = models.CharField(max_length=3, blank=True)
    billing_visible = models.BooleanField(default=False)
    billing_description = models.CharField(max_length=200, blank=True)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = CreditDefinitionQuerySet.as_manager()

    class Meta(GrantTerms.Meta):
        constraints = [
            *GrantTerms.Meta.constraints,
            models.CheckConstraint(
                condition=Q(scope="merchant") | Q(plan__isnull=False), name="definition_hangs_on_its_plan"
            ),
            models.CheckConstraint(
                condition=Q(application_type="usage", metric__isnull=False, currency="")
                | Q(application_type="monetary", metric=None) & ~Q(currency=""),
                name="definition_counts_units_or_money",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class SubscriptionCredit(GrantTerms):
    """What a definition grants to one subscription: the copy that was sold, which later changes do not reach.

    `refilled_until` is the instant up to which the refills of its own calendar are written. One that was sold before
    quotas followed the clock which counts their metric may still renew by the shortest clock of its subscription.
    """

    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="credits")
    definition = models.ForeignKey(CreditDefinition, on_delete=models.PROTECT, related_name="+")
    refilled_until = models.DateTimeField(null=True, blank=True)
    renews_by_shortest_clock = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField()

    class Meta(GrantTerms.Meta):
        constraints = [
            *GrantTerms.Meta.constraints,
            models.UniqueConstraint(fields=["subscription", "definition"], name="subscription_has_credit_once"),
        ]
        indexes = [
            models.Index(fields=["refilled_until"], condition=~Q(refill_rrule=""), name="credit_to_refill"),
        ]

    def __str__(self) -> str:
        return f"{self.subscription}: {self.definition}"
