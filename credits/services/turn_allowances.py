"""What plans give for a turn of a metric's clock, and what days of it are worth."""

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from django.db.models import F, Q

from credits.models import CreditGrant, SubscriptionCredit
from credits.services.renew import amount_of_period, item_of, items_of_subscriptions
from plans.models import SubscriptionPeriod
from plans.services.parts import days_between
from plans.services.units import PaidUnits

_ZERO = Decimal(0)


class TurnAllowances:
    """The allowances that subscriptions were sold of a metric (or, without one, of money in a currency): their quotas,
    which take the place of the number of the plan's feature. Those per seat follow the units that were paid for from
    `since` on."""

    def __init__(
        self, subscriptions: Collection[int], *, metric: int | None, since: datetime, currency: str = ""
    ) -> None:
        sold = SubscriptionCredit.objects.filter(
            subscription__in=subscriptions,
            renew_on_billing=True,
            definition__metric=metric,
            definition__currency=currency,
        )
        credits = list(sold.select_related("definition").order_by("pk"))
        items = items_of_subscriptions({credit.subscription_id for credit in credits})
        self._metric = metric
        self._quotas: dict[int, list[SubscriptionCredit]] = defaultdict(list)
        for credit in credits:
            self._quotas[item_of(credit, items[credit.subscription_id]).pk].append(credit)
        self._given = _given_whole(subscriptions, metric)
        per_seat = {credit.subscription_id for credit in credits if credit.per_seat}
        self._paid = PaidUnits(per_seat, since=since, ended=True) if per_seat else None

    def quotas(self, period: SubscriptionPeriod) -> list[SubscriptionCredit]:
        """What was sold with the period's subscription and renews with its item."""
        return self._quotas.get(period.item_id, [])

    def amount(self, credit: SubscriptionCredit, period: SubscriptionPeriod, at: datetime) -> Decimal:
        """What a quota gives for the whole turn of a period, by the units that are paid for at an instant."""
        seats = self.seats(credit, at)
        return amount_of_period(credit, period) * (1 if seats is None else seats)

    def seats(self, credit: SubscriptionCredit, at: datetime) -> int | None:
        """The units that a quota per seat counts at an instant; None for one that counts none."""
        if not credit.per_seat or self._paid is None:
            return None
        return self._paid.at(credit.subscription_id, at)

    def of_turn(self, period: SubscriptionPeriod, at: datetime) -> Decimal:
        """What the plan gives for the whole turn of a period, by the units that are paid for at an instant."""
        if period.pk in self._given:
            return self._given[period.pk]
        quotas = self.quotas(period)
        if quotas:
            return sum((self.amount(credit, period, at) for credit in quotas), _ZERO)
        return period.item.feature_units

    def worth(
        self, period: SubscriptionPeriod, start_at: datetime, end_at: datetime, *, paid_until: datetime | None = None
    ) -> Fraction:
        """What the days from `start_at` up to that of `end_at` are worth of the turn of a period. Where the fees of its
        version begin later, the days before are worth what was paid for, and nothing up to `paid_until`: those are
        counted with the version that was paid for."""
        item, days = period.item, days_between(*period.whole)
        begin_at = None if self._metric is None else item.fees_begin_at
        if not days:
            return Fraction(0)
        if begin_at is None or begin_at <= start_at:
            return self._own_worth(period, start_at, end_at, days)
        before = _days(max(start_at, paid_until or start_at), min(end_at, begin_at))
        return Fraction(item.units_before_fees or 0) * before / days + self._own_worth(period, begin_at, end_at, days)

    def _own_worth(self, period: SubscriptionPeriod, start_at: datetime, end_at: datetime, days: int) -> Fraction:
        raised = [] if self._paid is None else self._paid.raised_at(period.subscription_id, start_at, end_at)
        bounds = [start_at, *raised, max(start_at, end_at)]
        return sum(
            (Fraction(self.of_turn(period, since)) * _days(since, until) / days for since, until in pairwise(bounds)),
            Fraction(0),
        )


def _given_whole(subscriptions: Collection[int], metric: int | None) -> dict[int, Decimal]:
    """What quotas gave to turns when these began, by the keys of their periods: what was sold may be another number
    since, or be gone. Left out are turns and parts that a change began, turns of which something was withheld, and
    quotas per seat, which follow the seats."""
    if metric is None:
        return {}
    grants = CreditGrant.objects.filter(
        Q(period__whole_start_at=None) | Q(period__whole_start_at=F("period__start_at")),
        period__subscription__in=subscriptions,
        period__withheld_units=None,
        metric=metric,
        rolled_from=None,
        added_units=None,
    ).exclude(period__subscription__version_number__gt=1, period__start_at=F("period__subscription__started_at"))
    given: dict[int, Decimal] = {}
    per_seat: set[int] = set()
    for period, seats, units in grants.order_by().values_list("period_id", "seats", "initial_amount"):
        given[period] = given.get(period, _ZERO) + units
        if seats is not None:
            per_seat.add(period)
    return {period: units for period, units in given.items() if period not in per_seat}


def _days(start_at: datetime, end_at: datetime) -> int:
    return max(days_between(start_at, end_at), 0)
