from django.db import models
from django.db.models import Q

from billing.models.invoices import Invoice
from plans.ids import public_id_field
from plans.json_values import NumberKeepingEncoder
from plans.models import Customer


class MailKind(models.TextChoices):
    """What a mail tells, and the name of its templates."""

    CHARGE_FAILED = "charge_failed"
    RETRY_FAILED = "retry_failed"
    DUNNING_ENDED = "dunning_ended"
    RECOVERED = "recovered"


class MailState(models.TextChoices):
    """`skipped` is one that was never to be sent, such as to a customer without an address; `failed` one that was given
    up."""

    QUEUED = "queued"
    SENT = "sent"
    FAILED = "failed"
    SKIPPED = "skipped"


class Mail(models.Model):
    """A mail to a customer, written in the transaction of what it tells, and sent by a sweep.

    `key` names the step that it belongs to, so that no step is told twice. `facts` are what its templates say; it is
    put into words when it is sent. `send_at` is the next attempt, `error` why the last one did not succeed or why there
    is none. Sending is at least once: a worker that dies between sending and noting it has it sent again, under the
    same Message-ID. `resends` counts how often an operator had it sent again, each time under another one.
    """

    public_id = public_id_field("mail_")
    key = models.CharField(max_length=200, unique=True)
    kind = models.CharField(max_length=32, choices=MailKind)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="mails")
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, null=True, blank=True, related_name="mails")
    address = models.CharField(max_length=254, blank=True)
    facts = models.JSONField(default=dict, encoder=NumberKeepingEncoder)
    state = models.CharField(max_length=8, choices=MailState, default=MailState.QUEUED)
    send_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    resends = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(state="queued", send_at__isnull=False, sent_at=None) & ~Q(address="")
                | Q(state="sent", send_at=None, sent_at__isnull=False)
                | Q(state__in=["failed", "skipped"], send_at=None, sent_at=None) & ~Q(error=""),
                name="mail_waits_until_it_is_sent_or_given_up",
            )
        ]
        indexes = [
            models.Index(fields=["send_at"], condition=Q(state="queued"), name="mail_to_send"),
            models.Index(fields=["customer", "-created_at"], name="mail_of_customer"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} to {self.address or self.customer}"
