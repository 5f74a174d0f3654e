from datetime import datetime

from django.db import models
from django.db.models import F, Q

from billing.models.tax import TaxMethod, TaxRate
from credits.models import CreditGrant, CreditTransaction, TopUpPack, UsageDifference
from plans.ids import public_id_field
from plans.models import Customer, Metric, PriceComponent, Subscription, SubscriptionPeriod


class InvoiceKind(models.TextChoices):
    """Why the invoice was made: a `cycle` closes boundaries of the clocks, a `change` ends and begins parts of periods,
    `final` bills what a cancel left, `seats` units that were added within a period, `late` what was found after a
    cancel, and `manual` what an operator wrote."""

    CYCLE = "cycle"
    CHANGE = "change"
    FINAL = "final"
    SEATS = "seats"
    LATE = "late"
    TOP_UP = "top_up"
    MANUAL = "manual"


class InvoiceStatus(models.TextChoices):
    """The contract's words. `draft` waits out the grace time, `issued` waits for payment, and `skipped` (never shown)
    is a draft that came to nothing: no line had an amount, so there was nothing to bill. `carried` is ours: too little
    to be charged by itself, so a later invoice takes it along.
    """

    DRAFT = "draft"
    ISSUED = "issued"
    PAID = "paid"
    UNPAID = "unpaid"
    VOID = "void"
    UNCOLLECTIBLE = "uncollectible"
    SKIPPED = "skipped"
    CARRIED = "carried"


# An invoice can be paid before Stripe has it: what a checkout held on a card is taken before the invoice is sent.
SENDABLE = (InvoiceStatus.ISSUED, InvoiceStatus.PAID)

# What somebody still owes by itself; a carried invoice is owed until another one takes it along.
OPEN = (InvoiceStatus.ISSUED, InvoiceStatus.UNPAID, InvoiceStatus.UNCOLLECTIBLE)


class InvoiceQuerySet(models.QuerySet["Invoice"]):
    def shown(self) -> "InvoiceQuerySet":
        """Invoices that exist for a customer."""
        return self.exclude(status=InvoiceStatus.SKIPPED)

    def to_finalize(self, at: datetime) -> "InvoiceQuerySet":
        """Drafts whose grace time is over, of customers that are not parked."""
        return self.computed_drafts().filter(finalize_at__lte=at, customer__parked_at__isnull=True)

    def computed_drafts(self) -> "InvoiceQuerySet":
        """Drafts that are finalized by themselves; what an operator writes waits for the operator."""
        return self.filter(status=InvoiceStatus.DRAFT).exclude(kind=InvoiceKind.MANUAL)

    def to_carry(self) -> "InvoiceQuerySet":
        """Invoices that were too little to charge, and that no later invoice has taken along yet."""
        return self.filter(status=InvoiceStatus.CARRIED, carried_into=None)

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

    def open_purchases(self) -> "InvoiceQuerySet":
        """What was bought automatically and is neither paid nor given up."""
        return self.filter(auto_top_up__isnull=False, status__in=[InvoiceStatus.DRAFT, *OPEN])


class Invoice(models.Model):
    """A bill. A draft is rated when it is finalized; from then on its lines and totals never change (a trigger
    refuses it), and it has a number.

    `closes_at` is the instant of the close that made it. `send_at` and `collect_at` are the next attempts to bring it
    to Stripe and to charge it; NULL means that nothing is to be attempted. Amounts are minor units of `currency`.

    The subtotal is net of tax, so where `prices_include_tax` it is less than the sum of the lines. `tax_rate` and what
    follows it say which rate applied to the customer when the invoice was finalized, and why: a reason code of ours,
    and the exemption in the operator's words.

    `seller` and `buyer` are who sent it and who pays it, as lines on a letter, kept as they were when it was issued.

    `credited_cents` is the sum of its credit notes. `replaces` is the void invoice in whose place it was issued, and
    `carried_into` the one that took it along. After a credit note on an unpaid invoice Stripe gets it anew, as the next
    `stripe_revision`. One that `auto_top_up` bought by itself has the number of the purchase, which together are the
    purchase's key. `charge_started_at` is when the latest charge without an answer began, and `collect_error` why the
    latest one had none, or was refused for another reason than the card. `issue_date` is what an
    operator wants to stand on it, else it is that of `finalized_at`.
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
    prices_include_tax = models.BooleanField(default=False)
    tax_rate = models.DecimalField(max_digits=7, decimal_places=6, null=True, blank=True)
    tax_rate_definition = models.ForeignKey(TaxRate, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    tax_name = models.CharField(max_length=200, blank=True)
    tax_jurisdiction = models.CharField(max_length=120, blank=True)
    tax_method = models.CharField(max_length=16, choices=TaxMethod, blank=True)
    tax_reason_code = models.CharField(max_length=40, blank=True)
    tax_exemption_reason = models.CharField(max_length=255, blank=True)
    seller = models.JSONField(null=True, blank=True)
    buyer = models.JSONField(null=True, blank=True)
    period_start_at = models.DateTimeField(null=True, blank=True)
    period_end_at = models.DateTimeField(null=True, blank=True)
    notes = models.TextField(blank=True)
    issue_date = models.DateTimeField(null=True, blank=True)
    credited_cents = models.BigIntegerField(default=0)
    voided_at = models.DateTimeField(null=True, blank=True)
    void_reason = models.TextField(blank=True)
    replaces = models.OneToOneField("self", on_delete=models.PROTECT, null=True, blank=True, related_name="replacement")
    carried_into = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="carried_invoices"
    )
    stripe_revision = models.PositiveIntegerField(default=0)
    stripe_invoice_id = models.CharField(max_length=255, null=True, blank=True)
    stripe_sent_at = models.DateTimeField(null=True, blank=True)
    send_at = models.DateTimeField(null=True, blank=True)
    send_attempts = models.PositiveIntegerField(default=0)
    send_error = models.TextField(blank=True)
    collect_at = models.DateTimeField(null=True, blank=True)
    collect_attempts = models.PositiveIntegerField(default=0)
    collect_error = models.TextField(blank=True, default="", db_default="")
    charge_started_at = models.DateTimeField(null=True, blank=True)
    auto_top_up = models.ForeignKey(
        "billing.AutoTopUp", on_delete=models.PROTECT, null=True, blank=True, related_name="invoices", db_index=False
    )
    auto_top_up_number = models.PositiveIntegerField(null=True, blank=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(auto_now=True)

    objects = InvoiceQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["subscription", "kind", "closes_at"],
                condition=Q(replaces=None) & ~Q(kind="manual"),
                name="one_invoice_per_subscription_kind_and_close",
            ),
            models.UniqueConstraint(fields=["number"], name="invoice_number_is_unique"),
            models.UniqueConstraint(fields=["stripe_invoice_id"], name="invoice_is_at_stripe_once"),
            models.CheckConstraint(
                condition=Q(total_cents=F("subtotal_cents") + F("tax_cents")), name="invoice_total_adds_up"
            ),
            models.CheckConstraint(condition=Q(total_cents__gte=0), name="invoice_total_is_not_negative"),
            models.CheckConstraint(condition=Q(tax_cents__gte=0), name="invoice_tax_is_not_negative"),
            models.CheckConstraint(
                condition=Q(status__in=["draft", "skipped"], number=None)
                | ~Q(status__in=["draft", "skipped"]) & Q(number__isnull=False, finalized_at__isnull=False),
                name="issued_invoice_has_a_number",
            ),
            models.CheckConstraint(
                condition=~Q(status="paid") | Q(paid_at__isnull=False), name="paid_invoice_says_when"
            ),
            models.CheckConstraint(
                condition=Q(credited_cents=0) | Q(credited_cents__gt=0, credited_cents__lte=F("total_cents")),
                name="invoice_is_credited_no_more_than_its_total",
            ),
            models.CheckConstraint(
                condition=Q(status="void", voided_at__isnull=False) | ~Q(status="void") & Q(voided_at=None),
                name="void_invoice_says_when",
            ),
            models.CheckConstraint(
                condition=Q(carried_into=None) | Q(status="carried"), name="only_a_carried_invoice_is_taken_along"
            ),
            models.UniqueConstraint(
                fields=["auto_top_up", "auto_top_up_number"], name="auto_top_up_buys_once_a_number"
            ),
            models.UniqueConstraint(
                fields=["auto_top_up"],
                condition=Q(status__in=["draft", "issued", "unpaid", "uncollectible"]),
                name="auto_top_up_has_one_open_purchase",
            ),
            models.CheckConstraint(
                condition=Q(auto_top_up=None, auto_top_up_number=None)
                | Q(auto_top_up__isnull=False, auto_top_up_number__gt=0, kind="top_up"),
                name="automatic_purchase_has_a_number",
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
            models.Index(
                fields=["customer"], condition=Q(status="carried", carried_into=None), name="invoice_to_carry"
            ),
        ]

    def __str__(self) -> str:
        return self.number or f"draft {self.public_id}"

    @property
    def open_cents(self) -> int:
        """What is still to be paid of it, in minor units; 0 where nothing is."""
        owed = self.status in OPEN or (self.status == InvoiceStatus.CARRIED and self.carried_into_id is None)
        return self.total_cents - self.credited_cents if owed else 0


class LineType(models.TextChoices):
    """`minimum` and `maximum` bring a component's net to its bounds, `proration` credits what was billed in advance and
    is not used, `late_usage` is what was found of an earlier period, `top_up` a pack, `refund` keeps as credit what
    would make the invoice negative, `brought_forward` takes a carried invoice along, and `rounding` brings the total to
    what can be charged."""

    FIXED = "fixed"
    PER_UNIT = "per_unit"
    USAGE = "usage"
    CREDIT = "credit"
    MINIMUM = "minimum"
    MAXIMUM = "maximum"
    PRORATION = "proration"
    LATE_USAGE = "late_usage"
    TOP_UP = "top_up"
    REFUND = "refund"
    BROUGHT_FORWARD = "brought_forward"
    ROUNDING = "rounding"


class InvoiceLine(models.Model):
    """One line of an invoice. Where each unit costs the same, `amount_cents` is `quantity × unit_amount_cents`, rounded
    once; else `unit_amount_cents` is NULL, and the component's terms say how it came about. Credits are negative.

    `period` is the stored period that the line bills, `grant` the grant that a credit line burned; one of money says
    which `credit_transaction` it booked. `effective_at` is set on what is billed or credited of a period from an
    instant within it on, and `credited_line` on a credit of what another invoice's line billed. `replaced_line` is that
    of a void invoice which a line of its replacement repeats, `carried_invoice` the one that is brought forward. A line
    of a `pack` says what was sold with it at that time: the amount that its payment grants, and the grant's days and
    priority. `monetary_credit_cents` is the line's share of credits of money. `taxable_cents` is what tax was computed
    of: for a charge what credits, bounds and credits of money leave of it, so those lines have none of their own. The
    billing period is what the line pays for; the usage period is when the usage happened.
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
    effective_at = models.DateTimeField(null=True, blank=True)
    credited_line = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="crediting_lines"
    )
    replaced_line = models.OneToOneField(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="repeated_by"
    )
    carried_invoice = models.ForeignKey(
        Invoice, on_delete=models.PROTECT, null=True, blank=True, related_name="brought_forward_by"
    )
    sold_amount = models.DecimalField(max_digits=24, decimal_places=6, null=True, blank=True)
    sold_expiry_days = models.PositiveIntegerField(null=True, blank=True)
    sold_priority = models.IntegerField(null=True, blank=True)
    description = models.CharField(max_length=500)
    quantity = models.DecimalField(max_digits=38, decimal_places=6)
    unit_amount_cents = models.DecimalField(max_digits=30, decimal_places=12, null=True, blank=True)
    amount_cents = models.BigIntegerField()
    monetary_credit_cents = models.BigIntegerField(default=0)
    taxable_cents = models.BigIntegerField(default=0)
    tax_rate = models.DecimalField(max_digits=7, decimal_places=6, null=True, blank=True)
    tax_cents = models.BigIntegerField(default=0)
    billing_period_start_at = models.DateTimeField()
    billing_period_end_at = models.DateTimeField()
    usage_period_start_at = models.DateTimeField(null=True, blank=True)
    usage_period_end_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["invoice_id", "position"]
        constraints = [
            models.UniqueConstraint(fields=["invoice", "position"], name="line_position_is_unique"),
            models.UniqueConstraint(
                fields=["period", "type", "grant", "difference", "effective_at", "replaced_line"],
                nulls_distinct=False,
                name="period_is_billed_once_per_grant",
                condition=Q(period__isnull=False),
            ),
            models.CheckConstraint(
                condition=Q(type__in=["credit", "maximum", "proration"], amount_cents__lte=0)
                | Q(type__in=["late_usage", "rounding"])
                | ~Q(type__in=["credit", "maximum", "proration", "late_usage", "rounding"]) & Q(amount_cents__gte=0),
                name="line_sign_fits_its_type",
            ),
            models.CheckConstraint(
                condition=Q(monetary_credit_cents=0)
                | Q(monetary_credit_cents__gt=0, monetary_credit_cents__lte=F("amount_cents")),
                name="line_is_credited_no_more_than_it_charges",
            ),
            models.CheckConstraint(
                condition=Q(type="late_usage", difference__isnull=False)
                | Q(type="late_usage", difference=None, replaced_line__isnull=False)
                | ~Q(type="late_usage") & Q(difference=None),
                name="late_usage_line_says_what_was_found",
            ),
            models.CheckConstraint(
                condition=Q(type="proration", credited_line__isnull=False, effective_at__isnull=False)
                | ~Q(type="proration") & Q(credited_line=None),
                name="proration_says_what_it_credits",
            ),
            models.CheckConstraint(
                condition=Q(type="top_up", pack__isnull=False, sold_amount__gt=0)
                | ~Q(type="top_up") & Q(pack=None, sold_amount=None, sold_expiry_days=None, sold_priority=None),
                name="top_up_line_says_what_was_bought",
            ),
            models.UniqueConstraint(fields=["invoice", "carried_invoice"], name="invoice_is_brought_forward_once"),
            models.CheckConstraint(
                condition=Q(type="brought_forward", carried_invoice__isnull=False)
                | ~Q(type="brought_forward") & Q(carried_invoice=None),
                name="brought_forward_line_says_of_what",
            ),
        ]

    def __str__(self) -> str:
        return self.description


class InvoicedPeriod(models.Model):
    """Which invoice a period was gathered for when it was closed: each is billed by one, whether it makes a line or
    not."""

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="invoiced_periods")
    period = models.OneToOneField(SubscriptionPeriod, on_delete=models.PROTECT, related_name="invoiced")

    def __str__(self) -> str:
        return f"{self.period} on {self.invoice}"
