"""Pause and resume: nothing is given and nothing billed in between, and nobody gets more than was paid for."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from django.db import transaction

from billing.models import Invoice, InvoiceKind
from billing.services.close_periods import close_subscriptions, draft_of, open_drafts
from billing.services.finalize import finalize_invoices
from billing.services.wind_down import (
    bill_what_is_due,
    end_open_periods,
    has_begun,
    hold_subscription,
    hold_to_end_periods,
    refuse_overdue,
    refuse_parked,
)
from credits.models import SubscriptionCredit
from credits.services.begin_again import refill_again
from credits.services.end_grants import revoke_plan_grants
from credits.services.renew import grant_for_periods
from plans.models import (
    FAR_FUTURE,
    PeriodKind,
    Subscription,
    SubscriptionItem,
    SubscriptionPeriod,
    SubscriptionStatus,
)
from plans.periods import boundary, turn_at
from plans.refusals import Refusal
from plans.services.item_periods import clock_of, is_in_advance, period_of, store_periods
from plans.services.subscriptions import SubscriptionNotActive
from plans.services.time_zone import billing_zone

_ZERO = Decimal(0)


class SubscriptionIsActive(Refusal):
    """The subscription runs, so there is nothing to resume."""

    code = "subscription_is_active"
    status = 409


@transaction.atomic
def pause(*, subscription: Subscription, at: datetime) -> Invoice | None:
    """Pause a running subscription: what was used goes onto an invoice, which is returned, and nothing is given or
    billed until it is resumed. Fees that are paid are not refunded.

    Raises SubscriptionEnded, SubscriptionNotActive, CustomerIsParked, ScheduledChangeIsDue and UsageIsStillCounted.
    """
    begun = has_begun(subscription, at=at)
    held, at = hold_to_end_periods(subscription, at=at)
    if held.status not in (SubscriptionStatus.ACTIVE, SubscriptionStatus.PAST_DUE):
        raise SubscriptionNotActive(f"This subscription is {held.status}, so it cannot be paused.")
    if not begun:
        raise SubscriptionNotActive("This subscription has not begun yet, so it cannot be paused. Cancel it instead.")
    due = end_open_periods(held, at=at)
    _stop_metering(held, at)
    SubscriptionCredit.objects.filter(subscription=held).update(refilled_until=None)
    Subscription.objects.filter(pk=held.pk).update(
        status=SubscriptionStatus.PAUSED, paused_at=at, cancel_at_period_end=False
    )
    if not due:
        return None
    draft = draft_of(held, due, at, kind=InvoiceKind.CHANGE, closes_at=at)
    (stored,) = open_drafts([(draft, due)], at=at)
    if stored.finalize_at <= at:
        finalize_invoices([stored], at=at)
    return stored


def _stop_metering(held: Subscription, at: datetime) -> None:
    """Store the pause as a period of each metered item: what is used in it burns nothing and is never billed."""
    last = (
        SubscriptionPeriod.objects.filter(subscription=held, metric__isnull=False, item__ended_at=None)
        .order_by("item_id", "-start_at")
        .distinct("item_id")
        .select_related("item__component")
    )
    SubscriptionPeriod.objects.bulk_create(
        period_of(
            period.item,
            kind=PeriodKind.PAUSE,
            number=period.number,
            start_at=at,
            end_at=FAR_FUTURE,
            bill_at=at,
            closed_at=at,
            settled_at=at,
            settled_usage=_ZERO,
            settled_included=_ZERO,
            settled_credited=_ZERO,
        )
        for period in last
    )


@transaction.atomic
def resume(*, subscription: Subscription, at: datetime) -> Subscription:
    """Let a subscription run again.

    Within what is paid for, a paused one goes on with the period that was cut, with the same grants, and nothing is
    charged. After that its clocks start anew: fees are billed at once and grants are fresh. One that is past due or
    unpaid becomes active, and still owes what it owes. Raises SubscriptionEnded, SubscriptionIsActive,
    CustomerIsParked, ScheduledChangeIsDue and UsageIsStillCounted.
    """
    held = hold_subscription(subscription)
    if held.status == SubscriptionStatus.ACTIVE:
        raise SubscriptionIsActive("This subscription is active; only a paused, past due or unpaid one is resumed.")
    was_paused = held.status == SubscriptionStatus.PAUSED
    if was_paused:
        refuse_parked(held)
        refuse_overdue(held, at=at)
        at = max(at, held.paused_at or at)
        bill_what_is_due(held, at=at)
    held.status, held.paused_at = SubscriptionStatus.ACTIVE, None
    held.save(update_fields=["status", "paused_at"])
    if was_paused:
        _run_again(held, at)
    return held


def _run_again(held: Subscription, at: datetime) -> None:
    paused = SubscriptionPeriod.objects.filter(subscription=held, kind=PeriodKind.PAUSE, end_at__gt=at)
    paused.filter(start_at__gte=at).delete()
    paused.update(end_at=at)
    items = list(held.items.filter(ended_at=None).select_related("component__price").order_by("pk"))
    if _is_paid(held, items, at):
        _go_on(held, items, at)
    else:
        _start_anew(held, items, at)


def _is_paid(held: Subscription, items: Iterable[SubscriptionItem], at: datetime) -> bool:
    """Tell whether what was billed in advance reaches beyond an instant; without fees, whether the turn lasts that was
    cut. A trial is paid to its end."""
    regular = SubscriptionPeriod.objects.filter(subscription=held).exclude(kind=PeriodKind.PAUSE)
    if any(is_in_advance(item) for item in items) and (held.trial_ends_at is None or held.trial_ends_at <= at):
        advance = [item.pk for item in items if is_in_advance(item)]
        return regular.filter(item__in=advance, end_at__gt=at).exists()
    return regular.filter(whole_end_at__gt=at).exists()


def _go_on(held: Subscription, items: Iterable[SubscriptionItem], at: datetime) -> None:
    """Store what is left of each item's turn, and the periods after it."""
    pieces = SubscriptionPeriod.objects.bulk_create(
        piece for item in items if (piece := _rest_of_turn(item, at)) is not None
    )
    following = store_periods(items=items, through=at)
    _grant_new_turns(pieces, at)
    grant_for_periods(at=at, periods=following)
    refill_again(subscription=held, fresh=False, at=at)
    _bill_fees(held, at)


def _rest_of_turn(item: SubscriptionItem, at: datetime) -> SubscriptionPeriod | None:
    """The part of an item's turn that begins at an instant; None where a stored period covers it, or the clock has
    ended. What its component includes is what the parts before have left of it."""
    stored = SubscriptionPeriod.objects.filter(item=item).exclude(kind=PeriodKind.PAUSE)
    if stored.filter(end_at__gt=at).exists():
        return None
    if at < item.clock_started_at:
        whole = (item.started_at, item.clock_started_at)
        kind, number = PeriodKind.TRIAL, 0
    else:
        clock, zone = clock_of(item), billing_zone()
        kind, number = PeriodKind.REGULAR, turn_at(clock, item.clock_started_at, at, zone)
        whole = (
            boundary(clock, item.clock_started_at, number, zone),
            boundary(clock, item.clock_started_at, number + 1, zone),
        )
        if not clock.has_period(number, whole[0], zone):
            return None
    before = list(stored.filter(start_at__gte=whole[0], start_at__lt=at).select_related("item").order_by("start_at"))
    return period_of(
        item,
        kind=kind,
        number=number,
        start_at=at,
        end_at=whole[1],
        whole_start_at=whole[0],
        whole_end_at=whole[1],
        bill_at=at if is_in_advance(item) and kind == PeriodKind.REGULAR else whole[1],
        **_left_of(before),
    )


def _left_of(before: Sequence[SubscriptionPeriod]) -> dict[str, Decimal]:
    """What parts of a turn have left of the units that the first of them included."""
    if not before or before[0].metric_id is None:
        return {}
    in_price, given = before[0].units_in_price, before[0].given_units
    for part in before:
        included = part.settled_included or _ZERO
        in_price -= min(included, part.units_in_price)
        given -= max(included - part.units_in_price, _ZERO)
    return {"included_units": max(in_price, _ZERO), "feature_units": max(given, _ZERO)}


def _grant_new_turns(pieces: Iterable[SubscriptionPeriod], at: datetime) -> None:
    """Grant for turns of which nothing was given before: those that began while the subscription was paused."""
    fresh = [
        piece
        for piece in pieces
        if not SubscriptionPeriod.objects.filter(
            item=piece.item_id, start_at__gte=piece.whole[0], start_at__lt=piece.start_at
        )
        .exclude(kind=PeriodKind.PAUSE)
        .exists()
    ]
    grant_for_periods(at=at, periods=fresh, parts=True)


def _start_anew(held: Subscription, items: Iterable[SubscriptionItem], at: datetime) -> None:
    """Let all clocks start at an instant, with fresh grants; what is left of the old ones goes."""
    revoke_plan_grants(subscription=held, at=at)
    ending = [item for item in items if clock_of(item).has_end]
    endless = [item for item in items if not clock_of(item).has_end]
    for item in endless:
        item.clock_started_at = at
    SubscriptionItem.objects.bulk_update(endless, ["clock_started_at"])
    first = SubscriptionPeriod.objects.bulk_create(
        period_of(item, number=0, start_at=at, end_at=boundary(clock_of(item), at, 1, billing_zone()))
        for item in endless
    )
    # Instalments go on where their own clock is.
    SubscriptionPeriod.objects.bulk_create(piece for item in ending if (piece := _rest_of_turn(item, at)) is not None)
    following = store_periods(items=items, through=at)
    grant_for_periods(at=at, periods=[*first, *following])
    refill_again(subscription=held, fresh=True, at=at)
    _bill_fees(held, at)


def _bill_fees(held: Subscription, at: datetime) -> None:
    """Bill the fees that fall due with the resumption; those of a part by its share of the days."""
    due = SubscriptionPeriod.objects.due(at).filter(subscription=held)
    if due.exists():
        invoices = close_subscriptions([held], at=at)
        finalize_invoices([invoice for invoice in invoices if invoice.finalize_at <= at], at=at)
