from collections.abc import Iterable
from datetime import datetime

from django.db import transaction

from billing.services.cancel import cancel_now
from billing.services.change import Change, change_now
from billing.services.wind_down import UsageIsStillCounted
from credits.services.definitions import hold_definitions
from plans.models import ScheduledChange, Subscription
from plans.refusals import Refusal
from plans.services.scheduled_changes import waiting_changes

CHUNK = 200


def due_changes(at: datetime, *, limit: int = CHUNK) -> list[int]:
    """Find changes whose instant has come, earliest first."""
    due = waiting_changes().filter(effective_at__lte=at).order_by("effective_at", "pk")
    return list(due.values_list("pk", flat=True)[:limit])


def apply_changes(*, changes: Iterable[int], at: datetime) -> int:
    """Do what waits to happen to subscriptions, as of the instants at which it was to happen, and return how many.

    Each is a transaction of its own, so that nobody's locks are held while another one's are taken. Subscriptions that
    another worker holds are left to it. What is refused by then is withdrawn, with the reason.
    """
    waiting = ScheduledChange.objects.filter(pk__in=changes).select_related("price__plan")
    return sum(_apply(scheduled, at) for scheduled in waiting.order_by("effective_at", "pk"))


@transaction.atomic
def _apply(scheduled: ScheduledChange, at: datetime) -> bool:
    """Change or end a subscription as of the instant that was promised, even where the sweep comes late. Tell whether
    it waits no more."""
    # Definitions are held before subscriptions by everybody.
    if scheduled.price is not None:
        hold_definitions(scheduled.price.plan)
    held = (
        Subscription.objects.select_for_update(no_key=True, skip_locked=True)
        .filter(pk=scheduled.subscription_id)
        .first()
    )
    if held is None or not waiting_changes().filter(pk=scheduled.pk).exists():
        return False
    try:
        with transaction.atomic():
            _carry_out(scheduled, held, at)
    except UsageIsStillCounted:
        return False
    except Refusal as refusal:
        ScheduledChange.objects.filter(pk=scheduled.pk).update(withdrawn_at=at, refusal=refusal.message[:500])
        Subscription.objects.filter(pk=held.pk).update(cancel_at_period_end=False)
    return True


def _carry_out(scheduled: ScheduledChange, subscription: Subscription, at: datetime) -> Change | None:
    # It is marked first, so that the change does not take it for one that still waits.
    ScheduledChange.objects.filter(pk=scheduled.pk).update(applied_at=at)
    if scheduled.price is not None:
        return change_now(subscription=subscription, price=scheduled.price, at=scheduled.effective_at)
    cancel_now(subscription=subscription, at=scheduled.effective_at)
    return None


@transaction.atomic
def preview_scheduled_change(*, scheduled: ScheduledChange, at: datetime) -> Change:
    """Tell what a change that waits comes to with what is used so far; nothing of it is kept. Raises what change_now
    raises."""
    with transaction.atomic():
        change = _carry_out(scheduled, scheduled.subscription, at)
        transaction.set_rollback(True)
    assert change is not None
    return change
