"""What happens to a subscription when an invoice of it is not paid by the end of its dunning, and when it is paid after
all."""

from collections.abc import Collection
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, Max, OuterRef, Q, QuerySet, Subquery

from billing.models import Dunning, DunningOutcome, EndOfDunning, Invoice, InvoiceStatus, Payment, PaymentStatus
from billing.services.cancel import cancel_now
from billing.services.dunning import hold_subscription_of, settle_dunning, tell_of_end
from billing.services.hold_invoice import hold_invoice
from billing.services.pause import resume, stop
from billing.services.send import LEASE
from billing.services.wind_down import hold_subscription
from plans.models import Subscription, SubscriptionStatus
from plans.models.subscriptions import ENTITLED_STATUSES

_MOST_AT_ONCE = 100
_STOPPED: dict[str, SubscriptionStatus] = {
    EndOfDunning.PAUSE: SubscriptionStatus.PAUSED,
    EndOfDunning.MARK_UNPAID: SubscriptionStatus.UNPAID,
}
_OUTCOMES: dict[SubscriptionStatus, DunningOutcome] = {
    SubscriptionStatus.PAUSED: DunningOutcome.PAUSED,
    SubscriptionStatus.UNPAID: DunningOutcome.MARKED_UNPAID,
}
_SETTLED: dict[str, DunningOutcome] = {
    InvoiceStatus.PAID: DunningOutcome.PAID,
    InvoiceStatus.VOID: DunningOutcome.VOIDED,
    InvoiceStatus.CARRIED: DunningOutcome.CARRIED,
}


def dunning_to_end(at: datetime, *, limit: int = _MOST_AT_ONCE, without: Collection[int] = ()) -> list[int]:
    """Find dunning whose time is over: the grace time, and the last retry with its answer. So is that of an invoice
    which was settled without a word to its dunning, as a process of an older version does during an upgrade."""
    is_over = Q(pk__in=_due(at).values("pk")) | Q(invoice__status__in=_SETTLED, customer__parked_at=None)
    over = Dunning.objects.owed().filter(is_over).exclude(pk__in=without)
    return list(over.order_by("end_at", "pk").values_list("pk", flat=True)[:limit])


def _due(at: datetime) -> QuerySet[Dunning]:
    return Dunning.objects.to_end().filter(end_at__lte=at).exclude(invoice__charge_started_at__gt=at - LEASE)


@transaction.atomic
def carry_out_end_action(*, dunning: int, at: datetime) -> bool:
    """End dunning whose time is over as its terms say, and tell whether it was not over already: the subscription is
    paused, marked as unpaid or canceled. Where none runs any more, the invoice just stays unpaid; where nothing is
    owed any more, that is noted.

    Raises what pause and cancel_now raise.
    """
    row = Dunning.objects.select_related("invoice__subscription").get(pk=dunning)
    subscription = hold_subscription_of(row.invoice.public_id)
    if subscription is not None:
        subscription = hold_subscription(subscription)
    row.invoice = hold_invoice(row.invoice)
    if row.invoice.status in _SETTLED:
        return _settle(row, at)
    if row.invoice.status != InvoiceStatus.ISSUED or not _due(at).filter(pk=dunning).exists():
        return False
    outcome = _stop(row, subscription, at)
    Dunning.objects.running().filter(pk=row.pk).update(ended_at=at, outcome=outcome, next_retry_at=None)
    tell_of_end(row, outcome=outcome, plan=subscription.plan.name if subscription is not None else "", at=at)
    return True


def _settle(dunning: Dunning, at: datetime) -> bool:
    is_owed = Dunning.objects.owed().filter(pk=dunning.pk).exists()
    settle_dunning(invoice=dunning.invoice, outcome=_how_settled(dunning.invoice), at=at)
    return is_owed


def _how_settled(invoice: Invoice) -> DunningOutcome:
    if invoice.status != InvoiceStatus.PAID:
        return _SETTLED[invoice.status]
    # A credit note of all that is open makes an invoice paid without any payment.
    is_paid = Payment.objects.filter(invoice=invoice, status=PaymentStatus.SUCCEEDED).exists()
    return DunningOutcome.PAID if is_paid else DunningOutcome.CREDITED


def _stop(dunning: Dunning, subscription: Subscription | None, at: datetime) -> DunningOutcome:
    if subscription is None or subscription.status not in ENTITLED_STATUSES:
        return DunningOutcome.NOT_PAID
    if dunning.end_action == EndOfDunning.CANCEL:
        cancel_now(subscription=subscription, at=at)
        return DunningOutcome.CANCELED
    status = _STOPPED[dunning.end_action]
    stop(subscription=subscription, status=status, outcome=_OUTCOMES[status], resumes_when_paid=True, at=at)
    return _OUTCOMES[status]


def paid_subscriptions() -> QuerySet:
    """Subscriptions that dunning had stopped and of which nothing is owed any more, each with the instant `resume_at`
    from which on that is so; those of parked customers wait."""
    dunned = Dunning.objects.filter(invoice__subscription__stable_subscription_id=OuterRef("stable_subscription_id"))
    settled = dunned.order_by().values("invoice__subscription__stable_subscription_id").annotate(last=Max("settled_at"))
    stopped = Subscription.objects.live().filter(resumes_when_paid=True, customer__parked_at=None)
    return stopped.exclude(Exists(dunned.owed())).annotate(resume_at=Subquery(settled.values("last")))


def subscriptions_to_resume(at: datetime, *, limit: int = _MOST_AT_ONCE, without: Collection[int] = ()) -> list[int]:
    """Find subscriptions that dunning had stopped and that run again, since what they owed is paid."""
    due = paid_subscriptions().filter(resume_at__lte=at).exclude(pk__in=without)
    return list(due.order_by("resume_at", "pk").values_list("pk", flat=True)[:limit])


@transaction.atomic
def resume_paid(*, subscription: int, at: datetime) -> bool:
    """Let a subscription that dunning had stopped run again, and tell whether it was still to be resumed. Raises what
    resume raises."""
    held = hold_subscription(Subscription.objects.get(pk=subscription))
    if not paid_subscriptions().filter(pk=held.pk).exists():
        return False
    resume(subscription=held, at=at)
    return True
