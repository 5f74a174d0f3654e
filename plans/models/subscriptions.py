from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import RangeOperators
from django.db import models
from django.db.models import F, Func, Q, Value

from plans.ids import new_public_id, public_id_field
from plans.json_values import NumberKeepingEncoder
from plans.models.customers import Customer
from plans.models.features import Feature
from plans.models.metrics import Metric
from plans.models.plans import Overage, Plan
from plans.models.prices import Frequency, Price, PriceComponent
from plans.periods import Clock


class SubscriptionStatus(models.TextChoices):
    ACTIVE = "active"
    PAUSED = "paused"
    PAST_DUE = "past_due"
    UNPAID = "unpaid"
    CANCELED = "canceled"


# The states in which the plan's features answer yes; `past_due` stays entitled until dunning has ended.
ENTITLED_STATUSES = (SubscriptionStatus.ACTIVE, SubscriptionStatus.PAST_DUE)


class SubscriptionQuerySet(models.QuerySet["Subscription"]):
    def live(self) -> "SubscriptionQuerySet":
        """Subscriptions that have not ended and are not deleted."""
        return self.filter(ended_at__isnull=True, deleted_at__isnull=True)

    def entitling(self) -> "SubscriptionQuerySet":
        """Live subscriptions whose features and grants count."""
        return self.live().filter(status__in=ENTITLED_STATUSES)


class Subscription(models.Model):
    """What a customer agreed to: one plan version at one price, from an instant on.

    A change of plan ends it and begins the next version, which has the same `stable_subscription_id`. Until
    `trial_ends_at` nothing is charged. `paused_at` says since when it is paused, or marked as unpaid. `refunded_from`
    is the instant from which on its fees were credited or refunded when it ended; NULL where they were kept.

    `grace_period_ends_at` says until when one that is past due goes on although an invoice of it is not paid.
    `resumes_when_paid` is set on one that was stopped because of that: it runs again by itself once nothing is owed.
    """

    public_id = public_id_field("sub_int_")
    stable_subscription_id = models.CharField(
        max_length=48, db_index=True, editable=False, default=partial(new_public_id, "sub_stable_")
    )
    version_number = models.PositiveIntegerField(default=1)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="subscriptions")
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="subscriptions")
    price = models.ForeignKey(Price, on_delete=models.PROTECT, related_name="subscriptions")
    status = models.CharField(max_length=16, choices=SubscriptionStatus, default=SubscriptionStatus.ACTIVE)
    started_at = models.DateTimeField()
    trial_ends_at = models.DateTimeField(null=True, blank=True)
    paused_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    refunded_from = models.DateTimeField(null=True, blank=True)
    cancel_at_period_end = models.BooleanField(default=False)
    grace_period_ends_at = models.DateTimeField(null=True, blank=True)
    resumes_when_paid = models.BooleanField(default=False, db_default=False)
    beside_others = models.BooleanField(
        default=False, help_text="Created with the wish to have several subscriptions at once."
    )
    metadata = models.JSONField(default=dict, blank=True, encoder=NumberKeepingEncoder)
    created_at = models.DateTimeField()
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = SubscriptionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["customer"],
                condition=Q(ended_at__isnull=True, deleted_at__isnull=True, beside_others=False),
                name="customer_has_one_live_subscription",
            ),
            models.UniqueConstraint(
                fields=["stable_subscription_id", "version_number"], name="subscription_version_is_unique"
            ),
            models.CheckConstraint(
                condition=Q(status="paused", paused_at__isnull=False)
                | Q(status="unpaid")
                | ~Q(status__in=["paused", "unpaid"]) & Q(paused_at=None),
                name="paused_subscription_says_since_when",
            ),
            models.CheckConstraint(
                condition=Q(grace_period_ends_at=None) | Q(status="past_due"), name="only_what_is_past_due_has_grace"
            ),
            models.CheckConstraint(
                condition=Q(resumes_when_paid=False) | Q(status__in=["paused", "unpaid"]),
                name="only_what_was_stopped_resumes",
            ),
            models.CheckConstraint(
                condition=Q(trial_ends_at=None) | Q(trial_ends_at__gt=F("started_at")),
                name="trial_ends_after_its_start",
            ),
        ]

    def __str__(self) -> str:
        return self.public_id


class SubscriptionItem(models.Model):
    """One clock of a subscription: a component's, or (without component) that of a metric which the plan gives but
    does not price, such as one with a hard cap.

    `clock_started_at` is the instant from which the clock counts its boundaries, and `started_at` the one from which it
    has periods: later where it goes on with the clock of an earlier version, earlier by a trial. Each of its periods
    has two kinds of metered units before any credit is asked: `included_units` those that the component includes, and
    `feature_units` the number that the plan's feature gives, which a quota takes the place of. `quantity` is what a
    component in advance bills, such as seats. `ended_at` repeats the subscription's end so that the database can say
    that no two live items of a customer meter the same metric.

    `owed_units` are what plans' allowances paid for, before this item began, beyond what the days were worth: they are
    taken off the allowances of its turns that begin before `owed_until`. Where a version's fees begin later than it
    does, at `fees_begin_at`, turns that begin before that give `units_before_fees`, which is what was paid for.
    """

    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="items")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+")
    component = models.ForeignKey(PriceComponent, on_delete=models.PROTECT, null=True, blank=True, related_name="items")
    metric = models.ForeignKey(Metric, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    frequency = models.CharField(max_length=8, choices=Frequency)
    interval = models.PositiveSmallIntegerField(default=1)
    clock_started_at = models.DateTimeField()
    started_at = models.DateTimeField()
    included_units = models.DecimalField(max_digits=24, decimal_places=6, default=0)
    feature_units = models.DecimalField(max_digits=24, decimal_places=6, default=0)
    quantity = models.PositiveIntegerField(default=1)
    owed_units = models.DecimalField(max_digits=24, decimal_places=6, default=0, db_default=0)
    owed_until = models.DateTimeField(null=True, blank=True)
    fees_begin_at = models.DateTimeField(null=True, blank=True)
    units_before_fees = models.DecimalField(max_digits=24, decimal_places=6, null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["subscription", "component"], name="subscription_has_component_once"),
            models.UniqueConstraint(
                fields=["customer", "metric"],
                condition=Q(ended_at__isnull=True, metric__isnull=False),
                name="customer_metric_is_metered_once",
            ),
            models.CheckConstraint(
                condition=Q(component__isnull=False) | Q(metric__isnull=False), name="item_has_component_or_metric"
            ),
            models.CheckConstraint(
                condition=Q(included_units__gte=0, feature_units__gte=0), name="item_includes_no_negative_units"
            ),
        ]

    @property
    def clock(self) -> Clock:
        """The rule that gives the boundaries of this item's periods."""
        return Clock(frequency=self.frequency, interval=self.interval)

    def __str__(self) -> str:
        return f"{self.subscription}: {self.component or self.metric}"


class PeriodKind(models.TextChoices):
    """A `trial` is rated at 0. In a `pause` what is used is recorded and shown, but burns nothing and is never billed;
    it is settled from its start on, and reaches to FAR_FUTURE until somebody resumes."""

    REGULAR = "regular"
    TRIAL = "trial"
    PAUSE = "pause"


# The end of a pause that nobody has ended yet.
FAR_FUTURE = datetime(9000, 1, 1, tzinfo=UTC)


class SubscriptionPeriodQuerySet(models.QuerySet["SubscriptionPeriod"]):
    def due(self, at: datetime) -> "SubscriptionPeriodQuerySet":
        """Periods whose billing instant has come and which no close has gathered yet."""
        return self.filter(bill_at__lte=at, closed_at__isnull=True)


class SubscriptionPeriod(models.Model):
    """A stored stretch `[start_at, end_at)` of an item's clock, and what it was closed and settled with.

    `number` counts the boundaries of the item's clock, from 0; a trial comes before them and has 0 too. One that a
    change or a pause cut is a part: `whole_start_at` and `whole_end_at` are the bounds of the turn of the clock that it
    belongs to, and `included_units` and `feature_units`, if set, take the place of the item's. Usage is cut at its end.
    What is billed in advance keeps the end that it was billed up to; what is left unused of it is credited by a line.
    `quantity` is how many units were billed in advance. `withheld_units` were taken off its allowance for what its item
    owes.

    `bill_at` is the instant at which it is due on an invoice: its start when billed in advance, its end when billed in
    arrears. `closed_at` is NULL until a close has gathered it, `settled_at` until its usage is final; then
    `settled_usage` is the usage that was rated, in metered units, of which `settled_included` were included and
    `settled_credited` burned grants, and `settled_events` the events of positive value where its price counts them.
    `settled_net_cents` is what that came to in minor units, after credits, minimum and maximum; NULL where no
    component prices the metric. `late_usage_closed_at` is NULL until the time is over in which late usage of it is
    billed by itself; what arrives after it waits for an operator.
    """

    item = models.ForeignKey(SubscriptionItem, on_delete=models.PROTECT, related_name="periods")
    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="periods")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+")
    metric = models.ForeignKey(Metric, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    kind = models.CharField(max_length=8, choices=PeriodKind, default=PeriodKind.REGULAR, db_default=PeriodKind.REGULAR)
    number = models.PositiveIntegerField()
    start_at = models.DateTimeField()
    end_at = models.DateTimeField()
    whole_start_at = models.DateTimeField(null=True, blank=True)
    whole_end_at = models.DateTimeField(null=True, blank=True)
    included_units = models.DecimalField(max_digits=24, decimal_places=6, null=True, blank=True)
    feature_units = models.DecimalField(max_digits=24, decimal_places=6, null=True, blank=True)
    withheld_units = models.DecimalField(max_digits=24, decimal_places=6, null=True, blank=True)
    quantity = models.PositiveIntegerField(null=True, blank=True)
    bill_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)
    settled_usage = models.DecimalField(max_digits=38, decimal_places=6, null=True, blank=True)
    settled_included = models.DecimalField(max_digits=38, decimal_places=6, null=True, blank=True)
    settled_credited = models.DecimalField(max_digits=38, decimal_places=6, null=True, blank=True)
    settled_events = models.PositiveBigIntegerField(null=True, blank=True)
    settled_net_cents = models.BigIntegerField(null=True, blank=True)
    late_usage_closed_at = models.DateTimeField(null=True, blank=True)

    objects = SubscriptionPeriodQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(end_at__gt=F("start_at")), name="period_ends_after_its_start"),
            models.CheckConstraint(
                condition=Q(whole_start_at=None, whole_end_at=None)
                | Q(
                    whole_start_at__isnull=False,
                    whole_end_at__isnull=False,
                    whole_start_at__lte=F("start_at"),
                    whole_end_at__gte=F("end_at"),
                ),
                name="part_of_a_period_lies_within_it",
            ),
            models.CheckConstraint(
                condition=(Q(included_units=None) | Q(included_units__gte=0))
                & (Q(feature_units=None) | Q(feature_units__gte=0)),
                name="period_includes_no_negative_units",
            ),
            # An equality on bigint needs btree_gist in a gist index; a range of one number does not.
            ExclusionConstraint(
                name="periods_of_an_item_do_not_overlap",
                expressions=[
                    (Func("item", "item", Value("[]"), function="int8range"), RangeOperators.EQUAL),
                    (Func("start_at", "end_at", function="tstzrange"), RangeOperators.OVERLAPS),
                ],
            ),
            models.CheckConstraint(
                condition=Q(settled_at=None, settled_usage=None, settled_included=None, settled_credited=None)
                | Q(
                    settled_at__isnull=False,
                    settled_usage__isnull=False,
                    settled_included__isnull=False,
                    settled_credited__isnull=False,
                    settled_usage__gte=F("settled_included") + F("settled_credited"),
                    settled_included__gte=0,
                    settled_credited__gte=0,
                )
                | Q(settled_at__isnull=False, metric=None),
                name="settled_period_says_with_what",
            ),
        ]
        indexes = [
            models.Index(fields=["bill_at"], condition=Q(closed_at__isnull=True), name="period_due"),
            models.Index(
                fields=["end_at"],
                condition=Q(
                    settled_at__isnull=False, settled_net_cents__isnull=False, late_usage_closed_at__isnull=True
                ),
                name="period_charged",
            ),
            models.Index(
                fields=["customer", "metric", "start_at"],
                condition=Q(settled_at__isnull=True),
                name="period_unsettled",
            ),
            models.Index(fields=["customer", "metric", "end_at"], name="period_of_metric"),
            models.Index(fields=["subscription", "start_at"], name="period_of_subscription"),
        ]

    @property
    def whole(self) -> tuple[datetime, datetime]:
        """The bounds of the turn of the clock that it is or belongs to."""
        return (self.whole_start_at or self.start_at, self.whole_end_at or self.end_at)

    @property
    def units_in_price(self) -> Decimal:
        """Metered units that the component includes in this period. The item must be loaded."""
        return self.item.included_units if self.included_units is None else self.included_units

    @property
    def given_units(self) -> Decimal:
        """Units that the plan's feature gives in this period, where no quota takes their place. The item must be
        loaded."""
        return self.item.feature_units if self.feature_units is None else self.feature_units

    def __str__(self) -> str:
        return f"{self.start_at:%Y-%m-%d}–{self.end_at:%Y-%m-%d}"


class ScheduledChangeKind(models.TextChoices):
    CHANGE = "change"
    CANCEL = "cancel"


class ScheduledChange(models.Model):
    """What will happen to a subscription by itself at an instant: a change to another `price`, or its end.

    `applied_at` is NULL until a sweep has done it, `withdrawn_at` until somebody took it back or another change made it
    void; at most one waits for each subscription. `refusal` says why it could not be done.
    """

    public_id = public_id_field("schg_")
    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="scheduled_changes")
    kind = models.CharField(max_length=8, choices=ScheduledChangeKind)
    price = models.ForeignKey(Price, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    effective_at = models.DateTimeField()
    created_at = models.DateTimeField()
    applied_at = models.DateTimeField(null=True, blank=True)
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    refusal = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["subscription"],
                condition=Q(applied_at=None, withdrawn_at=None),
                name="one_scheduled_change_waits",
            ),
            models.CheckConstraint(
                condition=Q(kind="change", price__isnull=False) | Q(kind="cancel", price=None),
                name="scheduled_change_names_its_price",
            ),
            models.CheckConstraint(
                condition=Q(applied_at=None) | Q(withdrawn_at=None), name="scheduled_change_ends_in_one_way"
            ),
        ]
        indexes = [
            models.Index(
                fields=["effective_at"], condition=Q(applied_at=None, withdrawn_at=None), name="scheduled_change_due"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.subscription} at {self.effective_at:%Y-%m-%d}"


class FeatureSource(models.TextChoices):
    PLAN = "plan"
    OVERRIDE = "override"


class SubscriptionFeature(models.Model):
    """A feature as it was sold with a subscription: the copy that entitlements are read from.

    One with source `override` takes the place of the plan's during `[effective_from, effective_until)`, where NULL
    means without a bound; `reason` says why somebody has it.
    """

    public_id = public_id_field("subfe_")
    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="subscription_features")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+")
    feature = models.ForeignKey(Feature, on_delete=models.PROTECT, related_name="+")
    value = models.JSONField(encoder=NumberKeepingEncoder)
    overage = models.CharField(max_length=8, choices=Overage, default=Overage.BLOCK)
    source = models.CharField(max_length=8, choices=FeatureSource, default=FeatureSource.PLAN)
    reason = models.CharField(max_length=500, blank=True)
    effective_from = models.DateTimeField(null=True, blank=True)
    effective_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["subscription", "feature", "source"], name="subscription_has_feature_once_per_source"
            ),
            models.CheckConstraint(
                condition=Q(effective_until=None) | Q(effective_from=None) | Q(effective_until__gt=F("effective_from")),
                name="override_ends_after_its_start",
            ),
            models.CheckConstraint(
                condition=Q(source="override") | Q(effective_from=None, effective_until=None),
                name="feature_of_the_plan_is_always_effective",
            ),
        ]
        indexes = [models.Index(fields=["customer", "feature"], name="subscription_feature_customer")]

    def __str__(self) -> str:
        return f"{self.subscription}: {self.feature}"
