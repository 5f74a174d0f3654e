"""Pause and resume: nothing is given and nothing billed in between, and nobody gets more than was paid for."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from django.db import transaction
from django.db.models import QuerySet

from billing.models import DunningOutcome, Invoice, InvoiceKind
from billing.services.close_periods import close_subscriptions, draft_of, open_drafts
from billing.services.dunning import end_dunning_of
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
from credits.services.earlier_turns import included_units
from credits.services.end_grants import revoke_plan_grants
from credits.services.renew import grant_for_periods
from credits.services.shared_allowances import owe_from_turns_before
from plans.models import (
    FAR_FUTURE,
    ComponentKind,
    PeriodKind,
    Subscription,
    SubscriptionItem,
    SubscriptionPeriod,
    SubscriptionStatus,
)
from plans.periods import boundary, turn_at
from plans.refusals import Refusal
from plans.services.item_periods import clock_of, is_fee_for_days, is_in_advance, period_of, store_periods
from plans.services.parts import included_in_share, share_of
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
    billed until it is resumed. Fees that are paid are not refunded. What waits to happen goes on waiting: an end comes
    when it was promised, and a change to another price, too, if the subscription runs again by then. Dunning of its
    invoices ends, and what they owe stays owed.

    Raises SubscriptionEnded, SubscriptionNotActive, CustomerIsParked, ScheduledChangeIsDue and UsageIsStillCounted.
    """
    return stop(subscription=subscription, status=SubscriptionStatus.PAUSED, outcome=DunningOutcome.WITHDRAWN, at=at)


@transaction.atomic
def stop(
    *,
    subscription: Subscription,
    status: SubscriptionStatus,
    outcome: DunningOutcome,
    at: datetime,
    resumes_when_paid: bool = False,
) -> Invoice | None:
    """Do what pause does, to the state `paused` or `unpaid`; dunning of the subscription ends with `outcome`. With
    `resumes_when_paid` it runs again by itself once nothing is owed. Raises what pause raises."""
    begun = has_begun(subscription, at=at)
    held, at = hold_to_end_periods(subscription, at=at, keep_scheduled=True)
    if held.status not in (SubscriptionStatus.ACTIVE, SubscriptionStatus.PAST_DUE):
        raise SubscriptionNotActive(f"This subscription is {held.status}, so it cannot be paused.")
    if not begun:
        raise SubscriptionNotActive("This subscription has not begun yet, so it cannot be paused. Cancel it instead.")
    due = end_open_periods(held, at=at)
    _stop_metering(held, at)
    SubscriptionCredit.objects.filter(subscription=held).update(refilled_until=None)
    Subscription.objects.filter(pk=held.pk).update(
        status=status, paused_at=at, grace_period_ends_at=None, resumes_when_paid=resumes_when_paid
    )
    end_dunning_of(held, outcome=outcome, at=at)
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
    unpaid becomes active, and still owes what it owes; dunning of its invoices ends.

    Raises SubscriptionEnded, SubscriptionIsActive, CustomerIsParked, ScheduledChangeIsDue and UsageIsStillCounted.
    """
    held = hold_subscription(subscription)
    if held.status == SubscriptionStatus.ACTIVE:
        raise SubscriptionIsActive("This subscription is active; only a paused, past due or unpaid one is resumed.")
    was_paused = held.paused_at is not None
    if was_paused:
        refuse_parked(held)
        refuse_overdue(held, at=at)
        at = max(at, held.paused_at or at)
        bill_what_is_due(held, at=at)
    held.status, held.paused_at = SubscriptionStatus.ACTIVE, None
    held.grace_period_ends_at, held.resumes_when_paid = None, False
    held.save(update_fields=["status", "paused_at", "grace_period_ends_at", "resumes_when_paid"])
    end_dunning_of(held, outcome=DunningOutcome.WITHDRAWN, at=at)
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
    ended. What it includes is what the parts before have left of it."""
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
    before = list(_parts_before(item, whole[0], at).select_related("item__component__price").order_by("start_at"))
    return period_of(
        item,
        kind=kind,
        number=number,
        start_at=at,
        end_at=whole[1],
        whole_start_at=whole[0],
        whole_end_at=whole[1],
        bill_at=at if is_in_advance(item) and kind == PeriodKind.REGULAR else whole[1],
        **_take_over(before),
    )


def _take_over(before: Sequence[SubscriptionPeriod]) -> dict[str, Decimal]:
    """What the last part of a turn has left of the units that it included. The parts keep what they took, so that
    usage of them that arrives late does not find the rest twice."""
    if not before or before[0].metric_id is None:
        return {}
    last = before[-1]
    in_price, given = last.units_in_price, last.given_units
    taken = included_units(before)
    for part in before:
        of_feature = max(taken[part.pk] - part.units_in_price, _ZERO)
        part.included_units = _in_whole_steps(part, min(taken[part.pk], part.units_in_price))
        part.feature_units = of_feature
    SubscriptionPeriod.objects.bulk_update(before, ["included_units", "feature_units"])
    return {
        "included_units": max(in_price - last.units_in_price, _ZERO),
        "feature_units": max(given - last.given_units, _ZERO),
    }


def _in_whole_steps(part: SubscriptionPeriod, units: Decimal) -> Decimal:
    """Metered units that a part included, rounded up to whole units of its price where these are rounded."""
    component = part.item.component
    if component is None or not part.units_in_price:
        return units
    return min(part.units_in_price, included_in_share(component, Fraction(units) / Fraction(part.item.included_units)))


def _grant_new_turns(pieces: Sequence[SubscriptionPeriod], at: datetime) -> None:
    """Grant for turns of which nothing was given before: those that began while the subscription was paused. They are
    given by the share of the days where a fee of the same clock is charged by that, and whole where nothing is charged
    anew."""
    fees = {piece.whole for piece in pieces if is_fee_for_days(piece.item) and piece.kind == PeriodKind.REGULAR}
    fresh = [piece for piece in pieces if not _parts_before(piece.item, piece.whole[0], piece.start_at).exists()]
    shares = {piece.pk: share_of(piece) if piece.whole in fees else Fraction(1) for piece in fresh}
    for piece in fresh:
        component = piece.item.component
        if shares[piece.pk] < 1 and component is not None and component.kind == ComponentKind.USAGE:
            piece.included_units = included_in_share(component, shares[piece.pk])
    SubscriptionPeriod.objects.bulk_update(fresh, ["included_units"])
    grant_for_periods(at=at, periods=fresh, parts=shares)


def _parts_before(item: SubscriptionItem, start_at: datetime, end_at: datetime) -> QuerySet[SubscriptionPeriod]:
    """What an item had of a turn before an instant, but for pauses."""
    parts = SubscriptionPeriod.objects.filter(item=item, start_at__gte=start_at, start_at__lt=end_at)
    return parts.exclude(kind=PeriodKind.PAUSE)


def _start_anew(held: Subscription, items: Sequence[SubscriptionItem], at: datetime) -> None:
    """Let all clocks start at an instant, with fresh grants; what is left of the old ones goes, and what was taken
    beyond the days that were paid for is owed."""
    revoke_plan_grants(subscription=held, at=at)
    owe_from_turns_before(items=items, at=at)
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
