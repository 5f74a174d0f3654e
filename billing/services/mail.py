"""Mails to customers: queued with what they tell, claimed by a sweep, and noted as sent or given up."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q

from billing.exchange import MailToSend
from billing.models import Invoice, Mail, MailKind, MailState
from billing.services.send import LEASE, retry_delay
from plans.models import Customer
from plans.refusals import Refusal

# With pauses of up to half a day between them that is about three days.
MOST_ATTEMPTS = 10
_NO_ADDRESS = "The customer has no e-mail address."


class MailHasNoAddress(Refusal):
    """The customer has no e-mail address, so nothing can be sent."""

    code = "mail_has_no_address"
    status = 409


def queue_mail(
    *,
    key: str,
    kind: MailKind,
    customer: Customer,
    facts: Mapping[str, Any],
    at: datetime,
    invoice: Invoice | None = None,
) -> None:
    """Queue a mail for the next sweep, in the transaction of what it tells; a `key` that is there already queues
    nothing.

    `facts` are JSON; one whose name ends with `_at` is an instant. To a customer without an address nothing is sent,
    and the row says so.
    """
    has_address = bool(customer.email)
    mail = Mail(
        key=key,
        kind=kind,
        customer=customer,
        invoice=invoice,
        address=customer.email,
        facts={name: value.isoformat() if isinstance(value, datetime) else value for name, value in facts.items()},
        state=MailState.QUEUED if has_address else MailState.SKIPPED,
        send_at=at if has_address else None,
        error="" if has_address else _NO_ADDRESS,
        created_at=at,
    )
    Mail.objects.bulk_create([mail], ignore_conflicts=True)


def skip_mails(*, invoice: Invoice, kinds: Collection[MailKind], reason: str, at: datetime, but_for: str = "") -> None:
    """Let queued mails of an invoice stay unsent for a `reason`, a sentence, all but the one of the key `but_for`. One
    that a sender holds at `at` goes out."""
    waiting = Mail.objects.filter(invoice=invoice, kind__in=kinds, state=MailState.QUEUED).exclude(key=but_for)
    waiting.exclude(_being_sent(at)).update(state=MailState.SKIPPED, send_at=None, error=reason)


def _being_sent(at: datetime) -> Q:
    """What is claimed and has neither an answer nor a lease that is over."""
    return Q(state=MailState.QUEUED, attempts__gt=0, error="", send_at__gt=at)


@transaction.atomic
def claim_mail(*, at: datetime, now: datetime) -> MailToSend | None:
    """Claim the next mail to send; None when there is none. See claim_invoice_to_send."""
    mail = (
        Mail.objects.filter(state=MailState.QUEUED, send_at__lte=at)
        .select_for_update(no_key=True, skip_locked=True, of=("self",))
        .select_related("customer", "invoice")
        .order_by("send_at", "pk")
        .first()
    )
    if mail is None:
        return None
    mail.attempts += 1
    mail.send_at = now + LEASE
    # What the last attempt met is over; without it a claim can be told from a pause.
    mail.error = ""
    mail.save(update_fields=["attempts", "send_at", "error"])
    return mail_to_send(mail)


def mail_to_send(mail: Mail) -> MailToSend:
    """Take what is needed to put a mail into words and to send it; customer and invoice are to be fetched already."""
    return MailToSend(
        id=mail.public_id,
        # Whoever gets it twice sees by the same name that it is one.
        message_name=f"{mail.public_id}.{mail.resends}" if mail.resends else mail.public_id,
        kind=mail.kind,
        address=mail.address,
        customer_name=mail.customer.name,
        language=mail.customer.preferred_language,
        invoice=mail.invoice.public_id if mail.invoice is not None else "",
        facts=mail.facts,
    )


def record_mail_sent(*, mail: str, at: datetime) -> None:
    """Note that the mail server has taken a mail."""
    Mail.objects.filter(public_id=mail, state=MailState.QUEUED).update(
        state=MailState.SENT, sent_at=at, send_at=None, error=""
    )


@transaction.atomic
def record_mail_failure(*, mail: str, error: str, at: datetime, is_final: bool = False) -> None:
    """Note why a mail could not be sent, and when to try again; after ten attempts, or where the refusal `is_final`, it
    is given up."""
    row = Mail.objects.select_for_update(no_key=True).get(public_id=mail)
    if row.state != MailState.QUEUED:
        return
    is_over = is_final or row.attempts >= MOST_ATTEMPTS
    row.state = MailState.FAILED if is_over else MailState.QUEUED
    row.send_at = None if is_over else at + retry_delay(row.attempts)
    row.error = error or "The mail server gave no reason."
    row.save(update_fields=["state", "send_at", "error"])


@transaction.atomic
def send_again(*, mail: Mail, at: datetime) -> Mail:
    """Queue a mail once more, to the address that the customer has now. One that is queued is only hastened, and
    one that a sender holds at `at` is left as it is. Raises MailHasNoAddress."""
    row = Mail.objects.select_for_update(no_key=True, of=("self",)).select_related("customer").get(pk=mail.pk)
    if not row.customer.email:
        raise MailHasNoAddress(f"{row.customer} has no e-mail address. Enter one, then send the mail again.")
    if Mail.objects.filter(_being_sent(at), pk=row.pk).exists():
        return row
    if row.state == MailState.SENT:
        row.resends += 1
    row.state, row.address, row.send_at, row.sent_at = MailState.QUEUED, row.customer.email, at, None
    row.attempts, row.error = 0, ""
    row.save()
    return row
