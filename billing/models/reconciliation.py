from django.db import models
from django.db.models import Q


class ReconciliationStage(models.TextChoices):
    """What a reconciliation reads next: a list of Stripe's each, in this order. `look_again` reads what seems to differ
    once more, one by one."""

    INVOICES = "invoice"
    PAYMENTS = "payment"
    INTENTS = "intent"
    REFUNDS = "refund"
    DISPUTES = "dispute"
    LOOK_AGAIN = "look_again"


class Reconciliation(models.Model):
    """One comparison of our invoices, payments and refunds with Stripe's, made in slices.

    It compares what Stripe has made between `since` (NULL: from the beginning) and `until`. `stage` and `cursor`, the
    id of the last object of a list that was read, are where the next slice goes on; until `leased_until` another one
    is at it. `unsettled` counts what seems to differ but was not looked at again, since it was too much.
    """

    is_nightly = models.BooleanField()
    since = models.DateTimeField(null=True, blank=True)
    until = models.DateTimeField()
    stage = models.CharField(max_length=16, choices=ReconciliationStage, default=ReconciliationStage.INVOICES)
    cursor = models.CharField(max_length=255, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    began_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    read = models.PositiveIntegerField(default=0)
    looked_again = models.PositiveIntegerField(default=0)
    unsettled = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["is_nightly"],
                condition=Q(is_nightly=True, finished_at=None),
                name="one_nightly_reconciliation_at_a_time",
            ),
            models.CheckConstraint(
                condition=Q(since=None) | Q(since__lt=models.F("until")), name="reconciliation_begins_before_it_ends"
            ),
        ]

    def __str__(self) -> str:
        return f"of {self.began_at:%Y-%m-%d %H:%M}"


class SeenAtStripe(models.Model):
    """An object of ours as a reconciliation read it at Stripe; gone when the reconciliation is over.

    `our_id` is the public id of the row that it is of, or what its metadata says that it is; `belongs_to` that of the
    invoice which a payment pays, or of the payment which a refund or dispute is about. `amount_cents` and `paid_cents`
    are minor units, NULL where Stripe's amount is no whole number of them. The status `gone` is ours: Stripe was asked,
    and has no such object. `is_fresh`: it was read a second time.
    """

    reconciliation = models.ForeignKey(Reconciliation, on_delete=models.CASCADE, related_name="seen")
    type = models.CharField(max_length=16)
    stripe_id = models.CharField(max_length=255)
    our_id = models.CharField(max_length=255, blank=True)
    belongs_to = models.CharField(max_length=255, blank=True)
    revision = models.CharField(max_length=255, blank=True)
    status = models.CharField(max_length=40)
    amount_cents = models.BigIntegerField(null=True)
    paid_cents = models.BigIntegerField(null=True)
    currency = models.CharField(max_length=8, blank=True)
    stripe_invoice_id = models.CharField(max_length=255, blank=True)
    intent_id = models.CharField(max_length=255, blank=True)
    made_at = models.DateTimeField(null=True)
    is_fresh = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["reconciliation", "type", "stripe_id"], name="object_is_seen_once"),
        ]

    def __str__(self) -> str:
        return self.stripe_id


class DifferenceKind(models.TextChoices):
    """How our side and Stripe's differ."""

    PAID_THERE = "paid_there", "paid at Stripe, not here"
    PAID_HERE = "paid_here", "paid here, not at Stripe"
    AMOUNT_DIFFERS = "amount_differs", "another amount or currency"
    STATUS_DIFFERS = "status_differs", "another state"
    PAID_TWICE = "paid_twice", "paid more than once"
    UNKNOWN_PAYMENT = "unknown_payment", "payment that belongs to nothing"
    UNKNOWN_INVOICE = "unknown_invoice", "invoice that is not here"
    REFUND_THERE = "refund_there", "refund that is not here"
    REFUND_HERE = "refund_here", "refund that is not at Stripe"
    REFUND_DIFFERS = "refund_differs", "refund of another amount or state"
    DISPUTE_DIFFERS = "dispute_differs", "dispute that is not here, or in another state"
    MISSING_THERE = "missing_there", "Stripe does not have it"


class Difference(models.Model):
    """Something about which our side and Stripe's do not agree, found by a reconciliation. It repairs nothing.

    `object_id` is our public id of the object, empty where we have none, and `ours` and `theirs` are what each side
    says. `made_at` is when it began, at Stripe or, where Stripe has nothing, here: a reconciliation of what is younger
    does not see it. It is open until a reconciliation that looked finds it no more (`resolved_at`).
    """

    kind = models.CharField(max_length=32, choices=DifferenceKind)
    object_type = models.CharField(max_length=16)
    object_id = models.CharField(max_length=48, blank=True)
    stripe_id = models.CharField(max_length=255, blank=True)
    ours = models.CharField(max_length=255)
    theirs = models.CharField(max_length=255)
    made_at = models.DateTimeField()
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "object_type", "object_id", "stripe_id"],
                condition=Q(resolved_at=None),
                name="difference_is_open_once",
            ),
            models.CheckConstraint(condition=~Q(object_id="", stripe_id=""), name="difference_is_about_something"),
        ]
        indexes = [models.Index(fields=["last_seen_at"], condition=Q(resolved_at=None), name="difference_open")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.object_id or self.stripe_id}"
