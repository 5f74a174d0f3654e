"""Money that plans give with their turns: what a turn gets that begins while earlier ones still run.

Ruling: as with units, nobody gets more than his days paid for. What the days of earlier turns that still run were
worth, less what was spent of their money, counts together with the turn that begins, in whole minor units, rounded
down. After a change the rest goes along; another subscription takes over only what was spent beyond the days' worth.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from django.db.models import Q, QuerySet, Sum

from credits.models import CreditGrant, CreditTransaction, TransactionKind
from credits.services.earlier_turns import FeesForDays
from credits.services.renew import grants_of_quotas
from credits.services.turn_allowances import TurnAllowances
from plans.models import PeriodKind, Subscription, SubscriptionPeriod
from plans.services.parts import is_part

_ZERO = Decimal(0)


def share_money(
    period: SubscriptionPeriod, subscription: Subscription, *, at: datetime, goes_on: bool, even_whole: bool = False
) -> list[CreditGrant] | None:
    """The grants, not stored yet, of the money that a plan gives with a period. None where it gives all of it whole, or
    none, unless these are wanted as well. The subscription `goes_on` with the versions before, or is another one.

    The caller holds the lock of the customer's money.
    """
    sold = _money_of({subscription.pk}, subscription.price.currency, period.start_at)
    quotas = sold.quotas(period)
    if not quotas:
        return [] if even_whole else None
    left = _left_before(subscription, period, max(at, period.start_at), goes_on)
    if left is None and not is_part(period) and not even_whole:
        return None
    worth = (left or 0) + sold.worth(period, period.start_at, period.end_at)
    of_turn = [(one, sold.amount(one, period, at), sold.seats(one, at)) for one in quotas]
    return grants_of_quotas(period, of_turn, Decimal(max(math.floor(worth), 0)), at)


def have_turns_before(*, customer: int, at: datetime) -> bool:
    """Tell whether a customer has ended subscriptions of which turns still run."""
    return _running_turns(customer, at).exists()


def _money_of(subscriptions: set[int], currency: str, since: datetime) -> TurnAllowances:
    return TurnAllowances(subscriptions, metric=None, currency=currency, since=since)


def _left_before(
    subscription: Subscription, period: SubscriptionPeriod, at: datetime, goes_on: bool
) -> Fraction | None:
    """What the days of turns that still run were worth, less what was spent of their money: above 0 only for a
    subscription that goes on. None where there are no such turns."""
    currency = subscription.price.currency
    running = _running_turns(subscription.customer_id, at).filter(kind=period.kind).exclude(subscription=subscription)
    before = list(running.select_related("item__component", "subscription").order_by("start_at", "pk"))
    if not before:
        return None
    sold = _money_of({one.subscription_id for one in before}, currency, before[0].start_at)
    turns: dict[int, SubscriptionPeriod] = {}
    for one in before:
        if sold.quotas(one):
            turns.setdefault(one.item_id, one)
    return _balance(list(turns.values()), sold, subscription.stable_subscription_id if goes_on else None)


def _balance(turns: Sequence[SubscriptionPeriod], sold: TurnAllowances, stable: str | None) -> Fraction | None:
    """Walk over turns in order of time, to where a subscription with a stable id goes on, if any."""
    if not turns:
        return None
    fees = FeesForDays({turn.subscription_id for turn in turns})
    spent, balance, last = _spent(turns), Fraction(0), turns[0]
    for turn in turns:
        if _stable(turn) != _stable(last):
            balance = min(balance, Fraction(0))
        balance += sold.worth(turn, turn.start_at, _paid_until(turn, fees)) - Fraction(spent[turn.item_id])
        last = turn
    return balance if _stable(last) == stable else min(balance, Fraction(0))


def _stable(period: SubscriptionPeriod) -> str:
    return period.subscription.stable_subscription_id


def _running_turns(customer: int, at: datetime) -> QuerySet[SubscriptionPeriod]:
    ended = SubscriptionPeriod.objects.filter(customer=customer, start_at__lt=at, subscription__ended_at__isnull=False)
    return ended.exclude(kind=PeriodKind.PAUSE).filter(Q(whole_end_at=None, end_at__gt=at) | Q(whole_end_at__gt=at))


def _paid_until(turn: SubscriptionPeriod, fees: FeesForDays) -> datetime:
    """Up to when the days of an ended version's turn count: those with it, and those that its fees paid for."""
    ended_at = turn.subscription.ended_at or turn.end_at
    return min(max(ended_at, fees.paid_until(turn) or ended_at), turn.whole[1])


def _spent(turns: Sequence[SubscriptionPeriod]) -> dict[int, Decimal]:
    """What was spent of the money that came with turns, and with later parts of them, by the keys of their items."""
    spent: dict[int, Decimal] = defaultdict(Decimal)
    moved = CreditTransaction.objects.filter(
        grant__period__item__in=[turn.item_id for turn in turns],
        grant__period__start_at__gte=turns[0].start_at,
        grant__metric=None,
        kind__in=(TransactionKind.BURNED, TransactionKind.RETURNED),
    ).order_by()
    for item, cents in moved.values_list("grant__period__item").annotate(Sum("amount")):
        spent[item] -= cents
    return spent
