"""Dunning: an invoice whose charge was declined is charged again on the days of its terms, and its subscription is past
due meanwhile.

Whoever calls these holds the invoice, and before that the subscription, where there is one: see hold_subscription_of.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Min

from billing.models import (
    Dunning,
    DunningConfig,
    DunningOutcome,
    DunningTerms,
    Invoice,
    MailKind,
    Payment,
)
from billing.services.mail import queue_mail, skip_mails
from plans.models import Subscription, SubscriptionStatus
from plans.models.subscriptions import ENTITLED_STATUSES

# What is not true any more once the invoice is settled, and said better by whatever is told later.
_OVERTAKEN = (MailKind.CHARGE_FAILED, MailKind.RETRY_FAILED, MailKind.DUNNING_ENDED)
_IS_PAID = "The invoice is paid meanwhile."
_IS_NOT_OWED = "Nothing of the invoice is to be paid any more."
_IS_TOLD_LATER = "A later mail says more."


def read_config() -> tuple[DunningConfig, bool]:
    """Return the terms of dunning that begins from now on, and whether they were made by this call."""
    return DunningConfig.objects.get_or_create()


@transaction.atomic
def update_config(changes: Mapping[str, Any]) -> tuple[DunningConfig, bool]:
    """Change the columns of the terms that are named in `changes`, and tell whether there were none before. Dunning
    that has begun keeps its own."""
    _, is_new = read_config()
    config = DunningConfig.objects.select_for_update(no_key=True).get()
    for column, value in changes.items():
        setattr(config, column, value)
    config.save(update_fields=[*changes, "updated_at"])
    return config, is_new


def hold_subscription_of(invoice: str) -> Subscription | None:
    """Lock the live version of the subscription that an invoice, by its public id, bills; None where there is none any
    more. It is locked before the invoice: so does everybody who moves both."""
    stable_id = (
        Invoice.objects.filter(public_id=invoice).values_list("subscription__stable_subscription_id", flat=True).first()
    )
    live = Subscription.objects.live().filter(stable_subscription_id=stable_id)
    while stable_id is not None:
        held = live.select_for_update(no_key=True, of=("self",)).select_related("plan").first()
        # Where there is another one now, a change that we waited for has ended the version.
        if held is not None or not live.exists():
            return held
    return None


def note_decline(
    *, invoice: Invoice, payment: Payment, subscription: Subscription | None, has_other_card: bool, at: datetime
) -> datetime | None:
    """Take a decline into account, and return when the invoice is charged again; None where that waits for the
    customer.

    The first one starts dunning, unless the customer has given another card meanwhile, which is charged at once.
    """
    dunning = Dunning.objects.filter(invoice=invoice).first()
    if dunning is None:
        return at if has_other_card else _start(invoice, payment, subscription, at)
    dunning.invoice = invoice
    dunning.attempts += 1 if dunning.ended_at is None else 0
    dunning.next_retry_at = at if has_other_card else _next_retry(dunning, at)
    dunning.save(update_fields=["attempts", "next_retry_at"])
    is_told_by_the_end = dunning.next_retry_at is None and dunning.end_at <= at
    if dunning.ended_at is None and not has_other_card and not is_told_by_the_end:
        facts = _facts_of_decline(dunning, payment, subscription)
        _tell(dunning, MailKind.RETRY_FAILED, at, step=str(dunning.attempts), **facts)
    return dunning.next_retry_at


def note_refusal(*, invoice: Invoice, has_other_card: bool, otherwise: datetime, at: datetime) -> datetime | None:
    """Take into account that Stripe refused a charge for another reason than the card, and return when the invoice is
    charged again: with the next planned retry, without dunning at the instant `otherwise`."""
    dunning = Dunning.objects.filter(invoice=invoice).first()
    if dunning is None:
        return at if has_other_card else otherwise
    dunning.next_retry_at = at if has_other_card else _next_retry(dunning, at)
    dunning.save(update_fields=["next_retry_at"])
    return dunning.next_retry_at


def _next_retry(dunning: Dunning, at: datetime) -> datetime | None:
    return dunning.retry_after(at, started_at=dunning.started_at) if dunning.ended_at is None else None


def _start(invoice: Invoice, payment: Payment, subscription: Subscription | None, at: datetime) -> datetime | None:
    terms: DunningTerms = DunningConfig.objects.first() or DunningConfig()
    dunning = Dunning.objects.create(
        invoice=invoice,
        customer_id=invoice.customer_id,
        grace_period_days=terms.grace_period_days,
        retry_schedule=terms.retry_schedule,
        end_action=terms.end_action,
        started_at=at,
        end_at=terms.end_of(at),
        next_retry_at=terms.retry_after(at, started_at=at),
    )
    follow_dunning(subscription)
    _tell(dunning, MailKind.CHARGE_FAILED, at, **_facts_of_decline(dunning, payment, subscription))
    return dunning.next_retry_at


def follow_dunning(subscription: Subscription | None) -> None:
    """Let a held subscription be past due as long as an invoice of it is dunned, until the first of them ends; one that
    is paused, unpaid or has ended stays so."""
    if subscription is None:
        return
    ends_at = Dunning.objects.running().of(subscription).aggregate(first=Min("end_at"))["first"]
    status = SubscriptionStatus.ACTIVE if ends_at is None else SubscriptionStatus.PAST_DUE
    Subscription.objects.live().filter(pk=subscription.pk, status__in=ENTITLED_STATUSES).update(
        status=status, grace_period_ends_at=ends_at
    )


def settle_dunning(*, invoice: Invoice, outcome: DunningOutcome, at: datetime) -> None:
    """Note that nothing of an invoice is to be paid any more; dunning that runs ends with that, and what was to be told
    of it and waits is not sent. Without any this does nothing."""
    dunning = Dunning.objects.owed().filter(invoice=invoice).select_related("invoice__customer").first()
    if dunning is None:
        return
    dunning.settled_at, dunning.next_retry_at = at, None
    if dunning.ended_at is None:
        dunning.ended_at, dunning.outcome = at, outcome
    dunning.save(update_fields=["settled_at", "next_retry_at", "ended_at", "outcome"])
    subscription = _subscription_of(invoice)
    follow_dunning(subscription)
    reason = _IS_PAID if outcome == DunningOutcome.PAID else _IS_NOT_OWED
    skip_mails(invoice=invoice, kinds=_OVERTAKEN, reason=reason, at=at)
    if outcome == DunningOutcome.PAID:
        _tell(dunning, MailKind.RECOVERED, at, **_facts_of_payment(invoice, subscription))


def _facts_of_payment(invoice: Invoice, subscription: Subscription | None) -> dict[str, Any]:
    is_all = subscription is not None and not Dunning.objects.owed().of(subscription).exists()
    return {
        "amount_cents": invoice.total_cents - invoice.credited_cents,
        "plan": subscription.plan.name if subscription is not None else "",
        "goes_on": is_all and subscription is not None and subscription.status in ENTITLED_STATUSES,
        "runs_again": is_all and subscription is not None and subscription.resumes_when_paid,
    }


def _subscription_of(invoice: Invoice) -> Subscription | None:
    if invoice.subscription is None:
        return None
    live = Subscription.objects.live().filter(stable_subscription_id=invoice.subscription.stable_subscription_id)
    return live.select_related("plan").first()


def end_dunning_of(subscription: Subscription, *, outcome: DunningOutcome, at: datetime) -> None:
    """End what runs of a held subscription, as it is stopped or resumed: nothing is charged by itself any more. What is
    owed stays owed. A charge whose answer is not there yet is still asked for."""
    running = [dunning.pk for dunning in Dunning.objects.running().of(subscription)]
    invoices = Invoice.objects.filter(dunning__in=running)
    list(invoices.select_for_update(no_key=True, of=("self",)).order_by("pk").values_list("pk"))
    # Those that were paid while we waited have ended.
    Dunning.objects.running().filter(pk__in=running).update(ended_at=at, outcome=outcome, next_retry_at=None)
    invoices.filter(charge_started_at=None).update(collect_at=None)


def tell_of_end(dunning: Dunning, *, outcome: DunningOutcome, plan: str, at: datetime) -> None:
    """Queue the final notice."""
    _tell(dunning, MailKind.DUNNING_ENDED, at, amount_cents=dunning.invoice.open_cents, plan=plan, outcome=outcome)


def _facts_of_decline(dunning: Dunning, payment: Payment, subscription: Subscription | None) -> dict[str, Any]:
    stops = subscription is not None and subscription.status in ENTITLED_STATUSES
    method = payment.payment_method
    return {
        "amount_cents": payment.amount_cents,
        "card_brand": method.card_brand if method is not None else "",
        "card_last_four": method.card_last_four if method is not None else "",
        "reason": payment.error_message,
        "next_retry_at": dunning.next_retry_at,
        "end_at": dunning.end_at,
        "plan": subscription.plan.name if subscription is not None else "",
        "end_action": dunning.end_action if stops else "",
    }


def _tell(dunning: Dunning, kind: MailKind, at: datetime, *, step: str = "", **facts: Any) -> None:
    invoice = dunning.invoice
    key = f"{dunning.public_id}:{kind}" + (f":{step}" if step else "")
    skip_mails(invoice=invoice, kinds=_OVERTAKEN, reason=_IS_TOLD_LATER, at=at, but_for=key)
    queue_mail(
        key=key,
        kind=kind,
        customer=invoice.customer,
        invoice=invoice,
        facts={"number": invoice.number, "currency": invoice.currency} | facts,
        at=at,
    )
