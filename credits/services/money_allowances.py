"""Money that plans give with their turns: what a version of a subscription gets that follows another one in a turn.

Ruling: the money of the turns of versions before which still run counts by the days that were paid for, less what was
spent of it, together with the share of the turns that begin. It goes to the item that continues the one which had it,
else to the first; what was spent beyond the days is taken once. Whole minor units, rounded down.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from django.db.models import F, Q, Sum

from credits.models import CreditGrant, CreditTransaction, TransactionKind
from credits.services.earlier_turns import FeesForDays
from credits.services.renew import grants_of_quotas
from credits.services.turn_allowances import TurnAllowances
from plans.models import Subscription, SubscriptionPeriod

_ZERO = Decimal(0)


def share_money(
    periods: Sequence[SubscriptionPeriod], subscription: Subscription, *, at: datetime
) -> dict[int, list[CreditGrant]]:
    """The grants, not stored yet, of the money that the periods give with which a version begins at an instant, by
    their keys. The caller holds the lock of the customer's money."""
    shared: dict[int, list[CreditGrant]] = {}
    for kind in {period.kind for period in periods}:
        sold = _money_of({subscription.pk}, subscription, at)
        giving = [period for period in periods if period.kind == kind and sold.quotas(period)]
        left = _left_before(subscription, kind, at) if giving else {}
        for period in giving:
            cents = _take(left, _component(period), {_component(one) for one in giving})
            cents += sold.worth(period, _paid_from(period), period.end_at)
            if cents < 0:
                # Taken off the next one: no component has this id.
                left[""] = cents
            quotas = [(one, sold.amount(one, period, at), sold.seats(one, at)) for one in sold.quotas(period)]
            shared[period.pk] = grants_of_quotas(period, quotas, Decimal(max(math.floor(cents), 0)), at)
    return shared


def _left_before(subscription: Subscription, kind: str, at: datetime) -> dict[str, Fraction]:
    """What versions before have left of the money of turns that still run, by the ids of the components that renewed
    it; below 0 where more was spent than the days are worth."""
    turns = _turns_before(subscription, kind, at)
    versions = {turn.subscription_id for turn in turns}
    if not turns:
        return {}
    sold = _money_of(versions, subscription, turns[0].start_at)
    giving = [turn for turn in turns if sold.quotas(turn)]
    spent, fees = _spent(giving), FeesForDays(versions)
    left: dict[str, Fraction] = defaultdict(Fraction)
    for turn in giving:
        worth = sold.worth(turn, turn.start_at, _paid_until(turn, fees))
        left[_component(turn)] += worth - Fraction(spent[turn.item_id])
    return left


def _take(left: dict[str, Fraction], component: str, others: Collection[str]) -> Fraction:
    """Take out what an item with a component continues: what that component has left, and whatever none of the others
    continues."""
    continued = [key for key in left if key == component or key not in others]
    return sum((left.pop(key) for key in continued), Fraction(0))


def _money_of(subscriptions: set[int], subscription: Subscription, since: datetime) -> TurnAllowances:
    return TurnAllowances(subscriptions, metric=None, currency=subscription.price.currency, since=since)


def _component(period: SubscriptionPeriod) -> str:
    component = period.item.component
    return f"metric {period.metric_id}" if component is None else component.component_id


def _turns_before(subscription: Subscription, kind: str, at: datetime) -> list[SubscriptionPeriod]:
    """The turns that still run of versions before, the first part of each item."""
    stable = subscription.stable_subscription_id
    periods = SubscriptionPeriod.objects.filter(
        subscription__stable_subscription_id=stable, kind=kind, start_at__lt=at
    ).exclude(subscription=subscription)
    running = periods.filter(Q(whole_end_at=None, end_at__gt=at) | Q(whole_end_at__gt=at))
    turns: dict[int, SubscriptionPeriod] = {}
    for one in running.select_related("item__component", "subscription").order_by("start_at", "pk"):
        turns.setdefault(one.item_id, one)
    return list(turns.values())


def _paid_from(period: SubscriptionPeriod) -> datetime:
    """From when on a period is paid for: where the fees of its version begin later, what is left of the money before
    lasts until then."""
    return min(max(period.start_at, period.item.fees_begin_at or period.start_at), period.end_at)


def _paid_until(turn: SubscriptionPeriod, fees: FeesForDays) -> datetime:
    """Up to when the days of an ended version's turn count: those with it, and those that its fees paid for."""
    ended_at = turn.subscription.ended_at or turn.end_at
    return min(max(ended_at, fees.paid_until(turn) or ended_at), turn.whole[1])


def _spent(turns: Sequence[SubscriptionPeriod]) -> dict[int, Decimal]:
    """What was spent of the money that came with turns, and with later parts of them, by the keys of their items. What
    an operator added is not spent, and what he took is."""
    spent: dict[int, Decimal] = defaultdict(Decimal)
    moved = CreditTransaction.objects.filter(
        grant__period__item__in=[turn.item_id for turn in turns], grant__metric=None
    ).order_by()
    spending = moved.filter(
        Q(kind__in=(TransactionKind.BURNED, TransactionKind.RETURNED))
        | Q(kind=TransactionKind.ADJUSTED, occurred_at__gte=F("grant__starts_at"))
    )
    first = {turn.item_id: turn.start_at for turn in turns}
    rows = spending.values_list("grant__period__item", "grant__period__start_at").annotate(cents=Sum("amount"))
    for item, start_at, cents in rows:
        if start_at >= first[item]:
            spent[item] -= cents
    return spent
