"""What a customer's days have paid for of the turns that still run, less what plans' allowances gave in them.

Ruling: nobody gets more units than his days paid for, by whatever he does with his subscriptions. The parts and turns
since the earliest one that still runs are walked in order of time, with a signed balance: what their days were worth
less what plans' allowances paid for. What is left of a turn expires with its end; what was taken beyond stays until the
longest of the turns that were cut would have ended. Days count that were paid for: those of a pause, and those after an
end whose fees were kept.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from django.db.models import F, Max, Min, Q, QuerySet, Sum

from credits.models import CreditTransaction, TransactionKind, UsageDifference
from credits.positions import Position
from credits.services.positions import read_positions
from credits.services.turn_allowances import TurnAllowances
from plans.models import PeriodKind, Subscription, SubscriptionPeriod
from plans.services.item_periods import is_fee_for_days
from plans.services.parts import is_part

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class EarlierTurns:
    """What earlier turns leave: `balance` units beyond what was taken, or below 0 what is owed until `runs_until`, the
    end of the longest turn that was cut. `parts` are those of running turns that the subscription itself had, and the
    fees of its versions before are paid until `paid_until`."""

    balance: Fraction = Fraction(0)
    runs_until: datetime | None = None
    parts: Sequence[SubscriptionPeriod] = field(default=())
    paid_until: datetime | None = None


def have_cut_turns(*, customer: int, metrics: Iterable[int], at: datetime, beside: Subscription | None) -> bool:
    """Tell whether a customer had turns of metrics that still run, and were cut, but for those of one subscription."""
    return _cut_turns(_stretches(customer, beside).filter(metric__in=metrics), PeriodKind.REGULAR, at).exists()


def read_earlier_turns(
    *,
    customer: int,
    metric: int,
    at: datetime,
    kind: str = PeriodKind.REGULAR,
    following: Subscription | None = None,
    goes_on: bool = False,
) -> EarlierTurns:
    """Read what a customer's turns of a metric that still run at an instant leave to those that begin then.

    The periods of the `following` subscription are left out. Only one that goes on with earlier versions keeps what
    they have not used. The caller holds the lock of the balance.
    """
    periods = _stretches(customer, following).filter(metric=metric)
    running = _cut_turns(periods, kind, at).aggregate(first=Min("start_at"), until=Max("whole_end_at"))
    if running["first"] is None:
        return EarlierTurns()
    # A pause that began before may have let the earliest part begin late.
    of_walk = Q(kind=kind, start_at__gte=running["first"]) | Q(kind=PeriodKind.PAUSE, end_at__gte=running["first"])
    stretches = periods.filter(of_walk)
    walk = _Walk(
        list(stretches.select_related("item__component", "subscription").order_by("start_at", "pk")), metric, at
    )
    stable = following.stable_subscription_id if following is not None and goes_on else None
    balance = walk.balance(stable)
    parts = [one for one in walk.stretches if _is_running_part(one, at) and _stable(one) == stable]
    return EarlierTurns(balance, running["until"], parts, walk.paid_until.get(stable or ""))


def given_units(periods: Collection[SubscriptionPeriod]) -> dict[int, Decimal]:
    """Tell how many units of ended periods the number of the plan's feature paid for, by their keys."""
    included = included_units(periods)
    return {period.pk: max(included[period.pk] - period.units_in_price, _ZERO) for period in periods}


def included_units(periods: Collection[SubscriptionPeriod]) -> dict[int, Decimal]:
    """Tell how many units of settled periods were included, late ones among them, by their keys."""
    rows = UsageDifference.objects.filter(period__in=[period.pk for period in periods]).order_by()
    late = dict(rows.values_list("period_id").annotate(Sum("included")))
    return {period.pk: (period.settled_included or _ZERO) + late.get(period.pk, _ZERO) for period in periods}


def _stretches(customer: int, beside: Subscription | None) -> QuerySet[SubscriptionPeriod]:
    periods = SubscriptionPeriod.objects.filter(customer=customer)
    return periods if beside is None else periods.exclude(subscription=beside)


def _cut_turns(periods: QuerySet[SubscriptionPeriod], kind: str, at: datetime) -> QuerySet[SubscriptionPeriod]:
    return periods.filter(kind=kind, whole_end_at__gt=at)


def _is_running_part(period: SubscriptionPeriod, at: datetime) -> bool:
    return period.kind != PeriodKind.PAUSE and is_part(period) and period.whole[1] > at


def _stable(period: SubscriptionPeriod) -> str:
    return period.subscription.stable_subscription_id


class _Walk:
    """The walk over stretches: parts, turns and pauses of one customer and metric, in order of time."""

    def __init__(self, stretches: Sequence[SubscriptionPeriod], metric: int, at: datetime) -> None:
        self.stretches, self._at = stretches, at
        self.paid_until: dict[str, datetime] = {}
        subscriptions = {stretch.subscription_id for stretch in stretches}
        self._allowances = TurnAllowances(subscriptions, metric=metric, since=stretches[0].start_at)
        self._fees = FeesForDays(subscriptions)
        self._taken = _taken(stretches, metric, at)
        self._last = {stretch.subscription_id: stretch.pk for stretch in stretches}

    def balance(self, stable: str | None) -> Fraction:
        """Walk to the end, where the subscription with a stable id goes on, if any."""
        balance = Fraction(0)
        turn: SubscriptionPeriod | None = None
        pause: SubscriptionPeriod | None = None
        for stretch in self.stretches:
            if turn is not None and _ends_turn(turn, pause, stretch):
                balance = min(balance, Fraction(0))
            if stretch.kind == PeriodKind.PAUSE:
                balance += self._worth_of_pause(stretch, turn)
                pause = stretch
            else:
                balance += self._worth(stretch, pause) - Fraction(self._taken.get(stretch.pk, _ZERO))
                turn, pause = stretch, None
            if turn is not None and stretch.end_at >= turn.whole[1]:
                balance = min(balance, Fraction(0))
        return balance if turn is not None and _stable(turn) == stable else min(balance, Fraction(0))

    def _worth(self, part: SubscriptionPeriod, pause: SubscriptionPeriod | None) -> Fraction:
        start_at, end_at = part.start_at, part.end_at
        if pause is not None and pause.item_id == part.item_id and pause.start_at <= part.whole[0]:
            # The turn began in the pause, and was granted whole unless a fee of its clock was charged by share.
            start_at = part.start_at if self._fees.are_shared(part) else part.whole[0]
        if self._ends_version(part):
            end_at = max(end_at, min(self._fees.paid_until(part) or end_at, part.whole[1]))
        known = self.paid_until.get(_stable(part))
        worth = self._allowances.worth(part, start_at, end_at, paid_until=known)
        self.paid_until[_stable(part)] = max(end_at, known or end_at)
        if part.withheld_units and part.item.owed_until is not None and part.item.owed_until <= self._at:
            # It was taken off for a turn that is over, and stays so.
            worth = max(worth - Fraction(part.withheld_units), Fraction(0))
        return worth

    def _worth_of_pause(self, pause: SubscriptionPeriod, turn: SubscriptionPeriod | None) -> Fraction:
        if turn is None or turn.item_id != pause.item_id or pause.start_at >= turn.whole[1]:
            return Fraction(0)
        paid_until = self._fees.paid_until(pause)
        end_at = min(pause.end_at, turn.whole[1])
        if paid_until is not None:
            end_at = min(turn.whole[1] if self._ends_version(pause) else end_at, max(paid_until, pause.start_at))
        return self._allowances.worth(turn, pause.start_at, end_at, paid_until=self.paid_until.get(_stable(turn)))

    def _ends_version(self, stretch: SubscriptionPeriod) -> bool:
        return stretch.subscription.ended_at is not None and self._last[stretch.subscription_id] == stretch.pk


def _ends_turn(turn: SubscriptionPeriod, pause: SubscriptionPeriod | None, stretch: SubscriptionPeriod) -> bool:
    """Tell whether what is unused of a turn is gone before a stretch that comes later: another subscription begins, or
    a pause lasted beyond it or let the clocks start anew."""
    if _stable(turn) != _stable(stretch):
        return True
    return pause is not None and stretch.kind != PeriodKind.PAUSE and _resumes_elsewhere(turn, stretch)


def _resumes_elsewhere(turn: SubscriptionPeriod, stretch: SubscriptionPeriod) -> bool:
    return turn.subscription_id == stretch.subscription_id and turn.whole != stretch.whole


class FeesForDays:
    """The fees in advance of subscriptions that are for days: neither of nothing, nor such that come once."""

    def __init__(self, subscriptions: Collection[int]) -> None:
        self._periods: dict[int, list[SubscriptionPeriod]] = defaultdict(list)
        in_advance = SubscriptionPeriod.objects.filter(
            subscription__in=subscriptions, metric=None, kind=PeriodKind.REGULAR
        ).select_related("item__component")
        for period in in_advance:
            if is_fee_for_days(period.item):
                self._periods[period.subscription_id].append(period)

    def paid_until(self, stretch: SubscriptionPeriod) -> datetime | None:
        """Up to when the fees are paid, and kept, that were billed by the end of a part, or the start of a pause; None
        without fees."""
        by = stretch.start_at if stretch.kind == PeriodKind.PAUSE else stretch.end_at
        ends = [period.end_at for period in self._periods[stretch.subscription_id] if period.start_at <= by]
        refunded_from = stretch.subscription.refunded_from
        if not ends:
            return None
        return max(ends) if refunded_from is None else min(max(ends), refunded_from)

    def are_shared(self, part: SubscriptionPeriod) -> bool:
        """Tell whether a fee of a part's clock was charged by its share of the days."""
        return any(
            (fee.start_at, fee.whole) == (part.start_at, part.whole) for fee in self._periods[part.subscription_id]
        )


def _taken(stretches: Collection[SubscriptionPeriod], metric: int, at: datetime) -> dict[int, Decimal]:
    """What plans' allowances have paid for in stretches, by their keys: units that quotas covered, and those of the
    number of the plan's feature. What an operator added to a quota, or took from it, is no part of that, and neither
    are quotas that another item still renews."""
    metered = [stretch for stretch in stretches if stretch.kind != PeriodKind.PAUSE]
    taken: dict[int, Decimal] = defaultdict(Decimal, given_units([one for one in metered if one.settled_at]))
    quotas = CreditTransaction.objects.filter(
        grant__period__metric=metric, grant__rolled_from=None, grant__metric=metric
    ).order_by()
    burned = quotas.filter(period__in=metered, kind__in=(TransactionKind.BURNED, TransactionKind.RETURNED))
    for period, units in burned.values_list("period_id").annotate(Sum("amount")):
        taken[period] -= units
    adjusted = quotas.filter(
        grant__period__in=metered, kind=TransactionKind.ADJUSTED, occurred_at__gte=F("grant__starts_at")
    )
    for period, units in adjusted.values_list("grant__period_id").annotate(Sum("amount")):
        taken[period] -= units
    for period, units in _unsettled([one for one in metered if not one.settled_at], metric, at).items():
        taken[period] += units
    return taken


def _unsettled(stretches: Sequence[SubscriptionPeriod], metric: int, at: datetime) -> dict[int, Decimal]:
    """What plans' allowances would pay for if periods were settled now."""
    if not stretches:
        return {}
    pair = (stretches[0].customer_id, metric)
    position = read_positions([pair], at=at, with_reservations=False)[pair]
    quotas = _quotas_of_metric(position, metric)
    return {
        stretch.pk: sum((units for key, units in position.burn.by_grant(stretch.pk).items() if key in quotas), _ZERO)
        + max(position.burn.included.get(stretch.pk, _ZERO) - stretch.units_in_price, _ZERO)
        for stretch in stretches
    }


def _quotas_of_metric(position: Position, metric: int) -> set[int]:
    """The grants of a position that came with periods of its own metric, by their keys."""
    quotas = [grant for grant in position.grants if grant.period is not None and grant.rolled_from is None]
    periods = SubscriptionPeriod.objects.filter(pk__in={grant.period for grant in quotas}, metric=metric)
    of_metric = set(periods.values_list("pk", flat=True))
    return {grant.key for grant in quotas if grant.period in of_metric}
