from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Sum
from django.db.models.expressions import RawSQL

from credits.burn import ZERO
from credits.late_arrival_sql import PERIODS_WITH_LATE_ARRIVALS
from credits.late_usage import (
    Booked,
    BookedGrant,
    Movement,
    RatedAgain,
    after_movements,
    movements,
    rate_again,
)
from credits.models import CreditGrant, CreditTransaction, UsageDifference
from credits.positions import Position
from credits.rating import rate
from credits.services.ledger_rows import amounts_of, booked_movement
from credits.services.positions import Pair, lock_balances, read_positions
from metering.services.count_positive_events import count_positive_events
from plans.models import PriceComponent, SubscriptionPeriod
from plans.models.subscriptions import SubscriptionPeriodQuerySet
from plans.money import exactly
from plans.services.metric_versions import hold_versions
from plans.services.parts import charge_of
from plans.services.storable_amounts import check_amount


@dataclass(frozen=True, slots=True)
class LateUsage:
    """By how much a settled period differs from what was booked: its usage, and with it what is included and credited,
    the events where its price counts them, and its net in minor units; all signed. `moved` says how grants follow, and
    `number` would be the difference's."""

    period: SubscriptionPeriod
    number: int
    usage: Decimal
    included: Decimal
    credited: Decimal
    events: int | None
    net_cents: int
    moved: tuple[Movement, ...]

    def as_difference(self, at: datetime) -> UsageDifference:
        """The row that keeps it, not stored yet."""
        return UsageDifference(
            period=self.period,
            customer_id=self.period.customer_id,
            number=self.number,
            found_at=at,
            usage=self.usage,
            included=self.included,
            credited=self.credited,
            events=self.events,
            net_cents=self.net_cents,
        )


def find_differences(*, periods: Iterable[SubscriptionPeriod], at: datetime) -> list[UsageDifference]:
    """Write what settled, priced periods differ by from their settlement and the differences found before, and move
    their grants accordingly; where nothing differs, nothing is written.

    A period whose usage comes to the same does not differ, on whichever of its days it was. The periods' items, with
    components and prices, must be loaded. Takes the locks of the customers and metrics. The differences are not billed.
    """
    periods = list(periods)
    if not periods:
        return []
    hold_versions()
    lock_balances([_pair(period) for period in periods])
    return _write(look_in_turn(periods, at=at), at)


def look_in_turn(periods: Collection[SubscriptionPeriod], *, at: datetime) -> list[LateUsage]:
    """Return what find_differences would write, the period that ended first first: what one takes of a grant is not
    there any more for those after it. Writes nothing."""
    account = _Account.read(periods, at)
    found = []
    for period in sorted(periods, key=lambda period: (period.end_at, period.pk)):
        late = account.difference_of(period)
        if late is not None:
            account.move(late)
            found.append(late)
    return found


def look_again(periods: Collection[SubscriptionPeriod], *, at: datetime) -> dict[int, LateUsage]:
    """Return what find_differences would find of each period if it looked at that one alone, by the period's key; those
    that do not differ are left out. Writes nothing."""
    account = _Account.read(periods, at)
    found = {period.pk: account.difference_of(period) for period in periods}
    return {key: late for key, late in found.items() if late is not None}


@dataclass(frozen=True, slots=True)
class _Account:
    """What periods are rated again with: the positions of their customers in their metrics, and by their keys what was
    booked of them, how many differences were found, what they took of grants, and their events where these cost."""

    positions: dict[Pair, Position]
    booked: Mapping[int, Booked]
    numbers: Mapping[int, int]
    grants: Mapping[int, Mapping[int, BookedGrant]]
    events: Mapping[int, int]

    @classmethod
    def read(cls, periods: Collection[SubscriptionPeriod], at: datetime) -> "_Account":
        since: dict[Pair, datetime] = {}
        for period in periods:
            since[_pair(period)] = min(period.start_at, since.get(_pair(period), period.start_at))
        booked, numbers = _booked(periods)
        return cls(
            positions=read_positions(list(since), at=at, since=since),
            booked=booked,
            numbers=numbers,
            grants=_booked_grants(periods),
            events=count_positive_events([period for period in periods if _component(period).fixed_cost_cents > 0]),
        )

    def difference_of(self, period: SubscriptionPeriod) -> LateUsage | None:
        return _difference(
            period,
            self.numbers[period.pk] + 1,
            self.booked[period.pk],
            self.grants.get(period.pk, {}),
            self.events.get(period.pk),
            self.positions[_pair(period)],
        )

    def move(self, late: LateUsage) -> None:
        """Take what a difference moves out of the position, as the ledger will."""
        pair = _pair(late.period)
        self.positions[pair] = after_movements(self.positions[pair], late.moved)


@exactly
def _difference(
    period: SubscriptionPeriod,
    number: int,
    booked: Booked,
    grants: Mapping[int, BookedGrant],
    events: int | None,
    position: Position,
) -> LateUsage | None:
    more_events = None if events is None else events - booked.events
    if position.used_in(period.pk) == booked.usage and not more_events:
        return None
    again = rate_again(position, period.pk, booked=booked, grants=grants)
    return LateUsage(
        period=period,
        number=number,
        usage=again.usage - booked.usage,
        included=again.included - booked.included,
        credited=again.credited - booked.credited,
        events=more_events,
        net_cents=_net_cents(period, again, position, events or 0) - booked.net_cents,
        moved=tuple(movements(again, grants, position)),
    )


def _net_cents(period: SubscriptionPeriod, again: RatedAgain, position: Position, events: int) -> int:
    rated = rate(
        charge_of(period, _component(period).price.currency),
        used=again.usage,
        by_grant=again.by_grant,
        hidden=again.by_grant.keys(),
        included=again.included,
        free=position.free_in(position.period(period.pk)),
        events=events,
    )
    return rated.net_cents


def _pair(period: SubscriptionPeriod) -> Pair:
    assert period.metric_id is not None
    return (period.customer_id, period.metric_id)


def _component(period: SubscriptionPeriod) -> PriceComponent:
    assert period.item.component is not None
    return period.item.component


@exactly
def _booked(periods: Iterable[SubscriptionPeriod]) -> tuple[dict[int, Booked], dict[int, int]]:
    """What each period came to by now, and how many differences were found of it."""
    by_key = {period.pk: period for period in periods}
    booked, numbers = {}, {}
    for period in by_key.values():
        assert period.settled_net_cents is not None
        booked[period.pk] = Booked(
            usage=period.settled_usage or ZERO,
            included=period.settled_included or ZERO,
            credited=period.settled_credited or ZERO,
            net_cents=period.settled_net_cents,
            events=period.settled_events or 0,
        )
        numbers[period.pk] = 0
    for difference in UsageDifference.objects.filter(period__in=by_key).order_by("period_id", "number"):
        before = booked[difference.period_id]
        booked[difference.period_id] = Booked(
            usage=before.usage + difference.usage,
            included=before.included + difference.included,
            credited=before.credited + difference.credited,
            net_cents=before.net_cents + difference.net_cents,
            events=before.events + (difference.events or 0),
        )
        numbers[difference.period_id] = difference.number
    return booked, numbers


@exactly
def _booked_grants(periods: Iterable[SubscriptionPeriod]) -> dict[int, dict[int, BookedGrant]]:
    """What each period took of its grants by now, by the keys of both."""
    rows = (
        CreditTransaction.objects.filter(period__in=[period.pk for period in periods])
        .values_list("period_id", "grant_id", "difference_id", "kind")
        .annotate(units=Sum("amount"))
    )
    moved: dict[tuple[int, int, int | None], dict[str, Decimal]] = defaultdict(dict)
    for period, grant, difference, kind, units in rows:
        moved[period, grant, difference][kind] = units
    grants: dict[int, dict[int, BookedGrant]] = defaultdict(dict)
    for (period, grant, difference), amounts in moved.items():
        burned, expired = booked_movement(grant, amounts).taken
        before = grants[period].get(grant, BookedGrant())
        grants[period][grant] = BookedGrant(
            burned=before.burned + burned,
            settled=before.settled + (burned if difference is None else ZERO),
            expired=before.expired + expired,
        )
    return _without_what_rolled_over(grants)


def _without_what_rolled_over(grants: dict[int, dict[int, BookedGrant]]) -> dict[int, dict[int, BookedGrant]]:
    keys = {key for of_period in grants.values() for key, booked in of_period.items() if booked.expired}
    rolled = dict(CreditGrant.objects.filter(rolled_from__in=keys).values_list("rolled_from_id", "initial_amount"))
    for of_period in grants.values():
        for key, booked in of_period.items():
            kept = max(booked.expired - rolled.get(key, ZERO), ZERO)
            of_period[key] = BookedGrant(burned=booked.burned, settled=booked.settled, expired=kept)
    return grants


def _write(found: Sequence[LateUsage], at: datetime) -> list[UsageDifference]:
    for late in found:
        period = late.period
        check_amount(late.net_cents, title=_component(period).title, start_at=period.start_at, end_at=period.end_at)
    differences = UsageDifference.objects.bulk_create([late.as_difference(at) for late in found], batch_size=500)
    transactions = []
    change: dict[int, Decimal] = defaultdict(Decimal)
    for late, difference in zip(found, differences, strict=True):
        for movement in late.moved:
            change[movement.grant] += movement.change
            transactions += _ledger_rows(movement, difference, at)
    CreditTransaction.objects.bulk_create(transactions, batch_size=1000)
    grants = list(CreditGrant.objects.filter(pk__in=change).only("pk", "ledger_remaining"))
    for grant in grants:
        grant.ledger_remaining += change[grant.pk]
    CreditGrant.objects.bulk_update(grants, ["ledger_remaining"], batch_size=500)
    return differences


def _ledger_rows(movement: Movement, difference: UsageDifference, at: datetime) -> list[CreditTransaction]:
    return [
        CreditTransaction(
            customer_id=difference.customer_id,
            grant_id=movement.grant,
            kind=kind,
            amount=amount,
            period_id=difference.period_id,
            difference=difference,
            occurred_at=at,
        )
        for kind, amount in amounts_of(movement)
    ]


def charged_periods() -> SubscriptionPeriodQuerySet:
    """Settled periods that a component prices, with what find_differences needs to be loaded."""
    return SubscriptionPeriod.objects.filter(settled_net_cents__isnull=False).select_related("item__component__price")


# An event says when it came before it is committed, so one that came just before the last look may have missed it.
_LOOK_BACK = timedelta(hours=1)


def periods_to_look_at() -> SubscriptionPeriodQuerySet:
    """Charged periods of which something arrived, or was voided, after the time in which that is billed by itself.

    Looks at events that arrived more than a day after they happened, which have an index of their own, and at voids;
    both are few. An event that was given to its customer later is not found this way.
    """
    return charged_periods().filter(pk__in=RawSQL(PERIODS_WITH_LATE_ARRIVALS, [_LOOK_BACK]))
