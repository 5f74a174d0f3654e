from datetime import datetime

from django.db import transaction

from billing.models import Invoice, InvoiceKind
from billing.services.close_periods import draft_of, open_drafts
from billing.services.finalize import finalize_invoices
from billing.services.late_invoices import bill_ended
from billing.services.proration import refund_unused
from billing.services.seats import bill_added_units
from billing.services.wind_down import (
    catch_up,
    end_open_periods,
    has_begun,
    hold_live,
    hold_to_end_periods,
    note_refund,
    refuse_overdue,
    withdraw_scheduled_change,
)
from credits.models import SubscriptionCredit
from credits.services.end_grants import end_plan_grants, revoke_plan_grants
from plans.models import (
    ScheduledChange,
    ScheduledChangeKind,
    Subscription,
    SubscriptionItem,
    SubscriptionStatus,
)
from plans.refusals import Refusal
from plans.services.scheduled_changes import schedule, waiting_of


class NothingScheduled(Refusal):
    """Nothing waits to happen to the subscription, so there is nothing to take back."""

    code = "nothing_scheduled"
    status = 409


@transaction.atomic
def cancel_now(*, subscription: Subscription, at: datetime, prorate: bool = False) -> Invoice | None:
    """End a subscription at once: what was used and is not billed goes onto a final invoice, which is returned.

    Grants of the plan end; what was bought or given by hand stays. What is owed stays owed, and dunning of it goes on.
    Fees that are paid are refunded with `prorate` only, for the days that are left, by credit notes of their invoices.

    Raises SubscriptionEnded, CustomerIsParked, ScheduledChangeIsDue, UsageIsStillCounted, and with `prorate`
    ChargeUnderWay.
    """
    begun = has_begun(subscription, at=at)
    held, end_at = hold_to_end_periods(subscription, at=at)
    due = end_open_periods(held, at=end_at)
    _end_grants(held, at=end_at)
    ended_at = end_at if begun else at
    SubscriptionItem.objects.filter(subscription=held, ended_at=None).update(ended_at=ended_at)
    Subscription.objects.filter(pk=held.pk).update(
        ended_at=ended_at,
        status=SubscriptionStatus.CANCELED,
        paused_at=None,
        cancel_at_period_end=False,
        grace_period_ends_at=None,
        resumes_when_paid=False,
    )
    if prorate:
        refund_unused(held, at=end_at)
        note_refund(held, at=end_at)
    bill_added_units(subscription=held, at=end_at)
    if not due:
        bill_ended(subscriptions=[held.pk], at=end_at)
        return None
    draft = draft_of(held, due, end_at, kind=InvoiceKind.FINAL, closes_at=end_at)
    (stored,) = open_drafts([(draft, due)], at=end_at)
    if stored.finalize_at <= end_at:
        finalize_invoices([stored], at=end_at)
    return stored


def _end_grants(held: Subscription, *, at: datetime) -> None:
    """End what the plan granted. What is left expires with the settlement of the usage before; of a paused subscription
    all of that is settled, so it goes at once."""
    SubscriptionCredit.objects.filter(subscription=held).update(refilled_until=None)
    if held.paused_at is not None:
        revoke_plan_grants(subscription=held, at=at)
    end_plan_grants(subscription=held, at=at)


@transaction.atomic
def cancel_at_period_end(*, subscription: Subscription, at: datetime) -> ScheduledChange:
    """Let a subscription end by itself with the end of what is paid for. Asking again changes nothing. Raises
    SubscriptionEnded, and ScheduledChangeIsDue where a change has its instant behind it."""
    held = hold_live(subscription)
    there = waiting_of(held).filter(kind=ScheduledChangeKind.CANCEL).first()
    if there is not None:
        return there
    refuse_overdue(held, at=at)
    catch_up(held, at=at)
    Subscription.objects.filter(pk=held.pk).update(cancel_at_period_end=True)
    return schedule(subscription=held, kind=ScheduledChangeKind.CANCEL, at=at)


@transaction.atomic
def undo_scheduled(*, subscription: Subscription, at: datetime) -> None:
    """Take back what waits to happen to a subscription: its end, or a change. Raises SubscriptionEnded,
    NothingScheduled, and ScheduledChangeIsDue."""
    held = hold_live(subscription)
    refuse_overdue(held, at=at)
    if not waiting_of(held).exists():
        raise NothingScheduled("Nothing is scheduled for this subscription.")
    withdraw_scheduled_change(held, at=at)
    Subscription.objects.filter(pk=held.pk).update(cancel_at_period_end=False)
