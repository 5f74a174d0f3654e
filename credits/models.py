from datetime import datetime
from decimal import Decimal

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce

from plans.ids import public_id_field
from plans.models import Customer, Feature, Metric, Plan, Price, Subscription, SubscriptionPeriod


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


class CreditDefinitionQuerySet(models.QuerySet["CreditDefinition"]):
    def live(self) -> "CreditDefinitionQuerySet":
        """Definitions that are neither deleted nor switched off."""
        return self.filter(deleted_at__isnull=True, is_active=True)

    def granted_with(self, plan: Plan, price: Price) -> "CreditDefinitionQuerySet":
        """Definitions that grant to a subscription of this plan version at this price."""
        return self.live().exclude(scope=Scope.MERCHANT).filter(Q(plan=plan, price=None) | Q(price=price))


class CreditDefinition(models.Model):
    """A quota: how many units of a metric are granted, and when again.

    `default_amount` is granted first, `refill_amount` (or the default) at each renewal. `metric` is what its units are
    counted in, found from the linked component or feature when the definition is made.
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
    metric = models.ForeignKey(Metric, on_delete=models.PROTECT, related_name="credit_definitions")
    default_amount = models.DecimalField(max_digits=24, decimal_places=6)
    refill_amount = models.DecimalField(max_digits=24, decimal_places=6, null=True, blank=True)
    expiry_days = models.PositiveIntegerField(null=True, blank=True)
    renew_on_billing = models.BooleanField(default=False)
    billing_visible = models.BooleanField(default=False)
    billing_description = models.CharField(max_length=200, blank=True)
    priority = models.IntegerField(null=True, blank=True)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = CreditDefinitionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(default_amount__gt=0), name="definition_amount_is_positive"),
            models.CheckConstraint(
                condition=Q(refill_amount=None) | Q(refill_amount__gt=0), name="definition_refill_is_positive"
            ),
            models.CheckConstraint(
                condition=Q(scope="merchant") | Q(plan__isnull=False), name="definition_hangs_on_its_plan"
            ),
        ]

    @property
    def renewal_amount(self) -> Decimal:
        """Units granted at each renewal."""
        return self.refill_amount if self.refill_amount is not None else self.default_amount

    def __str__(self) -> str:
        return self.name


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
    """Units given to one customer for `[starts_at, expires_at)`.

    `ledger_remaining` is what settlements and operators have left of it: the sum of its transactions. What is left
    live is that less the grant's share of usage not settled yet, and is computed, never stored.
    """

    public_id = public_id_field("cred_")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="credit_grants")
    metric = models.ForeignKey(Metric, on_delete=models.PROTECT, related_name="+")
    definition = models.ForeignKey(CreditDefinition, on_delete=models.PROTECT, related_name="grants")
    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    period = models.ForeignKey(SubscriptionPeriod, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    source = models.CharField(max_length=16, choices=GrantSource)
    initial_amount = models.DecimalField(max_digits=24, decimal_places=6)
    ledger_remaining = models.DecimalField(max_digits=24, decimal_places=6)
    priority = models.IntegerField(null=True, blank=True)
    starts_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    reference_code = models.CharField(max_length=200, null=True, blank=True)
    notes = models.TextField(blank=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(auto_now=True)

    objects = CreditGrantQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["definition", "period"], name="definition_grants_once_a_period"),
            models.UniqueConstraint(
                fields=["definition", "subscription"],
                condition=Q(period__isnull=True, source="subscription"),
                name="definition_grants_once_a_subscription",
            ),
            models.UniqueConstraint(fields=["customer", "reference_code"], name="grant_reference_is_unique"),
            models.CheckConstraint(
                condition=Q(ledger_remaining__gte=0, ledger_remaining__lte=F("initial_amount")),
                name="grant_remaining_is_between_zero_and_granted",
            ),
            models.CheckConstraint(condition=Q(initial_amount__gt=0), name="grant_amount_is_positive"),
            models.CheckConstraint(
                condition=Q(expires_at=None) | Q(expires_at__gt=F("starts_at")), name="grant_expires_after_its_start"
            ),
        ]
        indexes = [
            models.Index(fields=["customer", "metric", "starts_at"], name="grant_customer_metric"),
        ]

    def __str__(self) -> str:
        return f"{self.initial_amount.normalize():f} from {self.starts_at:%Y-%m-%d}"


class TransactionKind(models.TextChoices):
    GRANTED = "granted"
    BURNED = "burned"
    EXPIRED = "expired"
    REVOKED = "revoked"


class CreditTransaction(models.Model):
    """A movement of a grant: positive when units are granted, negative when they are burned, expire or are revoked.

    Append-only; a trigger refuses changes. `period` is the settled period that burned or expired the units.
    """

    public_id = public_id_field("cred_txn_")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+")
    grant = models.ForeignKey(CreditGrant, on_delete=models.PROTECT, related_name="transactions")
    kind = models.CharField(max_length=16, choices=TransactionKind)
    amount = models.DecimalField(max_digits=24, decimal_places=6)
    period = models.ForeignKey(SubscriptionPeriod, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    occurred_at = models.DateTimeField()
    notes = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["grant", "kind", "period"], name="grant_moves_once_a_period_and_kind"),
            models.UniqueConstraint(fields=["grant"], condition=Q(kind="granted"), name="grant_is_granted_once"),
            models.CheckConstraint(
                condition=Q(kind="granted", amount__gt=0) | ~Q(kind="granted") & Q(amount__lt=0),
                name="transaction_sign_fits_its_kind",
            ),
        ]
        indexes = [models.Index(fields=["customer", "occurred_at"], name="transaction_customer_time")]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount}"


class ReservationState(models.TextChoices):
    HELD = "held"
    COMMITTED = "committed"
    RELEASED = "released"
    EXPIRED = "expired"


class Reservation(models.Model):
    """Units kept back for `customer` from `reserved_at` until they are committed, released, or `expires_at` has come.

    A commit records an event of `member` or `customer` at `reserved_at`: `event`, of `committed_units`. Nothing has to
    happen when one expires: it just no longer counts. Where units are given out again after that, `released_at` becomes
    `expires_at`, so that a commit which began before the expiry and comes late finds it ended.
    """

    public_id = public_id_field("rsv_")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+")
    member = models.ForeignKey(Customer, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    feature = models.ForeignKey(Feature, on_delete=models.PROTECT, related_name="+")
    metric = models.ForeignKey(Metric, on_delete=models.PROTECT, related_name="+")
    units = models.DecimalField(max_digits=24, decimal_places=6)
    reserved_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)
    committed_at = models.DateTimeField(null=True, blank=True)
    committed_units = models.DecimalField(max_digits=24, decimal_places=6, null=True, blank=True)
    event_id = models.BigIntegerField(null=True, blank=True)
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(Coalesce("member", "customer"), "idempotency_key", name="reservation_is_made_once"),
            models.UniqueConstraint(fields=["event_id"], name="reservation_records_one_event"),
            models.CheckConstraint(condition=Q(units__gt=0), name="reservation_holds_positive_units"),
            models.CheckConstraint(
                condition=Q(expires_at__gt=F("reserved_at")), name="reservation_expires_after_its_start"
            ),
            models.CheckConstraint(
                condition=Q(committed_at=None) | Q(released_at=None), name="reservation_ends_in_one_way"
            ),
            models.CheckConstraint(
                condition=Q(committed_at=None, committed_units=None, event_id=None)
                | Q(committed_at__isnull=False, committed_units__isnull=False, event_id__isnull=False),
                name="committed_reservation_says_what_it_recorded",
            ),
        ]
        indexes = [
            models.Index(
                fields=["customer", "metric", "expires_at"],
                condition=Q(committed_at__isnull=True, released_at__isnull=True),
                name="reservation_held",
            )
        ]

    @property
    def addressee(self) -> Customer:
        """Who reserved: the member of an organization, or the customer itself."""
        return self.member or self.customer

    def state(self, at: datetime) -> ReservationState:
        """Tell what has become of it by an instant."""
        if self.committed_at is not None:
            return ReservationState.COMMITTED
        if self.released_at is not None and self.released_at < self.expires_at:
            return ReservationState.RELEASED
        return ReservationState.HELD if self.released_at is None and at < self.expires_at else ReservationState.EXPIRED

    def __str__(self) -> str:
        return f"{self.units.normalize():f} until {self.expires_at:%H:%M:%S}"
