from datetime import datetime

from django.db import models
from django.db.models import F, Q

from credits.models import CreditGrant, CreditTransaction, TopUpPack, UsageDifference
from plans.ids import public_id_field
from plans.models import Customer, Metric, PriceComponent, Subscription, SubscriptionPeriod


class InvoiceKind(models.TextChoices):
    """Why the invoice was made."""

    CYCLE = "cycle"
    TOP_UP = "top_up"


class InvoiceStatus(models.TextChoices):
    """The contract's words. `draft` waits out the grace time, `issued` waits for payment, and `skipped` (never shown)
    is a draft that came to nothing: no line had an amount, so there was nothing to bill.
    """

    DRAFT = "draft"
    ISSUED = "issued"
    PAID = "paid"
    UNPAID = "unpaid"
    VOID = "void"
    UNCOLLECTIBLE = "uncollectible"
    SKIPPED = "skipped"


# An invoice can be paid before Stripe has it: what a checkout held on a card is taken before the invoice is sent.
SENDABLE = (InvoiceStatus.ISSUED, InvoiceStatus.PAID)


class InvoiceQuerySet(models.QuerySet["Invoice"]):
    def shown(self) -> "InvoiceQuerySet":
        """Invoices that exist for a customer."""
        return self.exclude(status=InvoiceStatus.SKIPPED)

    def to_finalize(self, at: datetime) -> "InvoiceQuerySet":
        """Drafts whose grace time is over, of customers that are not parked."""
        return self.filter(status=InvoiceStatus.DRAFT, finalize_at__lte=at, customer__parked_at__isnull=True)

    def to_be_paid(self) -> "InvoiceQuerySet":
        """Issued invoices of customers that are not parked."""
        return self.filter(status=InvoiceStatus.ISSUED, customer__parked_at__isnull=True)

    def unsent(self) -> "InvoiceQuerySet":
        """Issued or paid invoices, of customers that are not parked, that Stripe does not have yet."""
        return self.filter(status__in=SENDABLE, customer__parked_at__isnull=True, stripe_sent_at__isnull=True)

    def to_send(self, at: datetime) -> "InvoiceQuerySet":
        """Unsent invoices whose next attempt is due."""
        return self.unsent().filter(send_at__lte=at)

    def to_collect(self, at: datetime) -> "InvoiceQuerySet":
        """Invoices at Stripe that wait for a charge which is due."""
        return self.to_be_paid().filter(stripe_sent_at__isnull=False, collect_at__lte=at)


class Invoice(models.Model):
    """A bill. A draft is rated when it is finalized; from then on its lines and totals never change (a trigger
    refuses it), and it has a number.

    `closes_at` is the instant of the close that made it. `send_at` and `collect_at` are the next attempts to bring it
    to Stripe and to charge it; NULL means that nothing is to be attempted. Amounts are minor units of `currency`.
    """

    public_id = public_id_field("inv_")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="invoices")
    subscription = models.ForeignKey(
        Subscription, on_delete=models.PROTECT, null=True, blank=True, related_name="invoices"
    )
    kind = models.CharField(max_length=16, choices=InvoiceKind)
    status = models.CharField(max_length=16, choices=InvoiceStatus, default=InvoiceStatus.DRAFT)
    number = models.CharField(max_length=40, null=True, blank=True)
    currency = models.CharField(max_length=3)
    closes_at = models.DateTimeField()
    finalize_at = models.DateTimeField()
    finalized_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True)
    paid_at = models.DateTimeField(null=True, blank=True)
    subtotal_cents = models.BigIntegerField(default=0)
    tax_cents = models.BigIntegerField(default=0)
    total_cents = models.BigIntegerField(default=0)
    period_start_at = models.DateTimeField(null=True, blank=True)
    period_end_at = models.DateTimeField(null=True, blank=True)
    stripe_invoice_id = models.CharField(max_length=255, null=True, blank=True)
    stripe_sent_at = models.DateTimeField(null=True, blank=True)
    send_at = models.DateTimeField(null=True, blank=True)
    send_attempts = models.PositiveIntegerField(default=0)
    send_error = models.TextField(blank=True)
    collect_at = models.DateTimeField(null=True, blank=True)
    collect_attempts = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(auto_now=True)

    objects = InvoiceQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["subscription", "kind", "closes_at"], name="one_invoice_per_subscription_kind_and_close"
            ),
            models.UniqueConstraint(fields=["number"], name="invoice_number_is_unique"),
            models.UniqueConstraint(fields=["stripe_invoice_id"], name="invoice_is_at_stripe_once"),
            models.CheckConstraint(
                condition=Q(total_cents=F("subtotal_cents") + F("tax_cents")), name="invoice_total_adds_up"
            ),
            models.CheckConstraint(condition=Q(total_cents__gte=0), name="invoice_total_is_not_negative"),
            models.CheckConstraint(
                condition=Q(status__in=["draft", "skipped"], number=None)
                | ~Q(status__in=["draft", "skipped"]) & Q(number__isnull=False, finalized_at__isnull=False),
                name="issued_invoice_has_a_number",
            ),
            models.CheckConstraint(
                condition=~Q(status="paid") | Q(paid_at__isnull=False), name="paid_invoice_says_when"
            ),
        ]
        indexes = [
            models.Index(fields=["finalize_at"], condition=Q(status="draft"), name="invoice_to_finalize"),
            models.Index(
                fields=["send_at"],
                condition=Q(status__in=["issued", "paid"], stripe_sent_at=None, send_at__isnull=False),
                name="invoice_to_send",
            ),
            models.Index(fields=["collect_at"], condition=Q(status="issued"), name="invoice_to_collect"),
            models.Index(fields=["customer", "closes_at"], name="invoice_of_customer"),
        ]

    def __str__(self) -> str:
        return self.number or f"draft {self.public_id}"


class LineType(models.TextChoices):
    """`minimum` and `maximum` bring a component's net to its bounds, `late_usage` is what was found of an earlier
    period, `top_up` a pack, and `refund` keeps as credit what would make the invoice negative."""

    FIXED = "fixed"
    PER_UNIT = "per_unit"
    USAGE = "usage"
    CREDIT = "credit"
    MINIMUM = "minimum"
    MAXIMUM = "maximum"
    LATE_USAGE = "late_usage"
    TOP_UP = "top_up"
    REFUND = "refund"


class InvoiceLine(models.Model):
    """One line of an invoice. Where each unit costs the same, `amount_cents` is `quantity × unit_amount_cents`, rounded
    once; else `unit_amount_cents` is NULL, and the component's terms say how it came about. Credits are negative.

    `period` is the stored period that the line bills, `grant` the grant that a credit line burned; one of money says
    which `credit_transaction` it booked. `monetary_credit_cents` is the line's share of such credits. The billing
    period is what the line pays for; the usage period is when the usage happened. A line of a `pack` says what was sold
    with it at that time: the amount that its payment grants, and the grant's days and priority.
    """

    public_id = public_id_field("inv_item_")
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="lines")
    position = models.PositiveIntegerField()
    type = models.CharField(max_length=16, choices=LineType)
    component = models.ForeignKey(PriceComponent, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    metric = models.ForeignKey(Metric, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    period = models.ForeignKey(SubscriptionPeriod, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    grant = models.ForeignKey(CreditGrant, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    credit_transaction = models.OneToOneField(
        CreditTransaction, on_delete=models.PROTECT, null=True, blank=True, related_name="invoice_line"
    )
    difference = models.OneToOneField(
        UsageDifference, on_delete=models.PROTECT, null=True, blank=True, related_name="invoice_line"
    )
    pack = models.ForeignKey(TopUpPack, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    sold_amount = models.DecimalField(max_digits=24, decimal_places=6, null=True, blank=True)
    sold_expiry_days = models.PositiveIntegerField(null=True, blank=True)
    sold_priority = models.IntegerField(null=True, blank=True)
    description = models.CharField(max_length=500)
    quantity = models.DecimalField(max_digits=38, decimal_places=6)
    unit_amount_cents = models.DecimalField(max_digits=30, decimal_places=12, null=True, blank=True)
    amount_cents = models.BigIntegerField()
    monetary_credit_cents = models.BigIntegerField(default=0)
    billing_period_start_at = models.DateTimeField()
    billing_period_end_at = models.DateTimeField()
    usage_period_start_at = models.DateTimeField(null=True, blank=True)
    usage_period_end_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["invoice_id", "position"]
        constraints = [
            models.UniqueConstraint(fields=["invoice", "position"], name="line_position_is_unique"),
            models.UniqueConstraint(
                fields=["period", "type", "grant", "difference"],
                nulls_distinct=False,
                name="period_is_billed_once_per_grant",
                condition=Q(period__isnull=False),
            ),
            models.CheckConstraint(
                condition=Q(type__in=["credit", "maximum"], amount_cents__lte=0)
                | Q(type="late_usage")
                | ~Q(type__in=["credit", "maximum", "late_usage"]) & Q(amount_cents__gte=0),
                name="line_sign_fits_its_type",
            ),
            models.CheckConstraint(
                condition=Q(monetary_credit_cents=0)
                | Q(monetary_credit_cents__gt=0, monetary_credit_cents__lte=F("amount_cents")),
                name="line_is_credited_no_more_than_it_charges",
            ),
            models.CheckConstraint(
                condition=Q(type="late_usage", difference__isnull=False) | ~Q(type="late_usage") & Q(difference=None),
                name="late_usage_line_says_what_was_found",
            ),
            models.CheckConstraint(
                condition=Q(type="top_up", pack__isnull=False, sold_amount__gt=0)
                | ~Q(type="top_up") & Q(pack=None, sold_amount=None, sold_expiry_days=None, sold_priority=None),
                name="top_up_line_says_what_was_bought",
            ),
        ]

    def __str__(self) -> str:
        return self.description
