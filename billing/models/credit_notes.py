from django.db import models
from django.db.models import F, Q

from billing.models.invoices import Invoice, InvoiceLine
from credits.models import CreditTransaction, UsageDifference
from plans.ids import public_id_field
from plans.models import Customer


class CreditNote(models.Model):
    """What is taken back of an issued invoice, in positive minor units of its currency. It never changes (a trigger
    refuses it).

    `total_cents` is what its customer need not pay, or gets back: `due_cents` were not paid yet, `source_cents` go back
    to the means of payment, `credit_cents` are kept as credit. `monetary_credit_cents` come on top: they had been paid
    by credits of money, and are in their grants again. `subtotal_cents` and `total_cents` are without them.
    """

    public_id = public_id_field("inv_")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="credit_notes")
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="credit_notes")
    sequence = models.PositiveIntegerField()
    number = models.CharField(max_length=40)
    currency = models.CharField(max_length=3)
    reason = models.TextField()
    subtotal_cents = models.BigIntegerField()
    tax_cents = models.BigIntegerField(default=0)
    total_cents = models.BigIntegerField()
    monetary_credit_cents = models.BigIntegerField(default=0)
    due_cents = models.BigIntegerField(default=0)
    source_cents = models.BigIntegerField(default=0)
    credit_cents = models.BigIntegerField(default=0)
    issued_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["number"], name="credit_note_number_is_unique"),
            models.UniqueConstraint(fields=["customer", "sequence"], name="credit_note_sequence_is_unique"),
            models.CheckConstraint(
                condition=Q(
                    subtotal_cents__gte=0,
                    tax_cents__gte=0,
                    monetary_credit_cents__gte=0,
                    due_cents__gte=0,
                    source_cents__gte=0,
                    credit_cents__gte=0,
                )
                & (Q(total_cents__gt=0) | Q(monetary_credit_cents__gt=0)),
                name="credit_note_credits_something",
            ),
            models.CheckConstraint(
                condition=Q(total_cents=F("subtotal_cents") + F("tax_cents"))
                & Q(total_cents=F("due_cents") + F("source_cents") + F("credit_cents")),
                name="credit_note_total_adds_up",
            ),
        ]
        indexes = [models.Index(fields=["customer", "issued_at"], name="credit_note_of_customer")]

    def __str__(self) -> str:
        return self.number


class CreditNoteLine(models.Model):
    """What is taken back of one line of the invoice: `amount_cents` as they stand on it, of which credits of money had
    paid `monetary_credit_cents`, and the tax of the rest. `difference` is set where late corrections are the reason."""

    public_id = public_id_field("inv_item_")
    credit_note = models.ForeignKey(CreditNote, on_delete=models.PROTECT, related_name="lines")
    position = models.PositiveIntegerField()
    line = models.ForeignKey(InvoiceLine, on_delete=models.PROTECT, related_name="credit_note_lines")
    difference = models.OneToOneField(
        UsageDifference, on_delete=models.PROTECT, null=True, blank=True, related_name="credit_note_line"
    )
    description = models.CharField(max_length=500)
    amount_cents = models.BigIntegerField()
    monetary_credit_cents = models.BigIntegerField(default=0)
    tax_cents = models.BigIntegerField(default=0)

    class Meta:
        ordering = ["credit_note_id", "position"]
        constraints = [
            models.UniqueConstraint(fields=["credit_note", "line"], name="credit_note_credits_a_line_once"),
            models.CheckConstraint(
                condition=Q(amount_cents__gt=0, tax_cents__gte=0)
                & Q(monetary_credit_cents__gte=0, monetary_credit_cents__lte=F("amount_cents")),
                name="credit_note_line_is_positive",
            ),
        ]

    def __str__(self) -> str:
        return self.description


class ReturnedCredit(models.Model):
    """What went back to a grant of money of what it had paid: `line` is the invoice's line that had taken it. Without a
    credit note the invoice is void."""

    line = models.ForeignKey(InvoiceLine, on_delete=models.PROTECT, related_name="returned_credits")
    transaction = models.OneToOneField(CreditTransaction, on_delete=models.PROTECT, related_name="returned_credit")
    credit_note = models.ForeignKey(
        CreditNote, on_delete=models.PROTECT, null=True, blank=True, related_name="returned_credits"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["line", "credit_note"], nulls_distinct=False, name="credit_is_returned_once"
            )
        ]

    def __str__(self) -> str:
        return str(self.transaction)


class StripeVoid(models.Model):
    """An invoice at Stripe that is to be void there: ours is void, or is sent anew after a credit note.

    `stripe_invoice_id` is empty while it is not known whether Stripe has that revision at all. `voided_at` is NULL
    until a sweep has made sure that nobody can pay it.
    """

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="stripe_voids")
    revision = models.PositiveIntegerField()
    stripe_invoice_id = models.CharField(max_length=255, blank=True)
    void_at = models.DateTimeField()
    attempts = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)
    voided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["invoice", "revision"], name="revision_is_voided_once"),
        ]
        indexes = [models.Index(fields=["void_at"], condition=Q(voided_at=None), name="invoice_to_void")]

    def __str__(self) -> str:
        return f"{self.invoice}, revision {self.revision}"
