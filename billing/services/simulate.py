"""A price on recorded usage: what the subscriptions of a plan were billed, and what they would have been."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, lru_cache, partial

from dateutil.relativedelta import relativedelta

from billing.lines import rate_quantity
from billing.services.billed_periods import (
    BilledItem,
    Difference,
    Stretch,
    UsagePeriod,
    read_differences,
    read_ended,
    read_fees,
    read_items,
    read_usage_periods,
)
from billing.services.units_in_advance import UnitsInAdvance
from billing.simulation import SettledPeriod, share, turns, usage_cents
from metering.services.count_positive_events import count_positive_events
from plans.models import ComponentKind, Plan, Price, PriceComponent, Subscription, SubscriptionPeriod
from plans.money import exactly, round_cents
from plans.periods import Clock, local_day, local_midnight, shortest
from plans.pricing import Charge
from plans.refusals import InvalidInput
from plans.services.snapshot import one_snapshot
from plans.services.time_zone import billing_zone

CHUNK = 1000
MOST_MONTHS = 24
# So many different periods are remembered with what they came to, since many customers use nothing or the same.
_RATED_ONCE = 10_000
_NOTHING, _NOTHING_FOUND = Fraction(0), Difference()


@dataclass(frozen=True)
class PriceToTry:
    """The price that is simulated: its components, saved or not, their metrics, and its currency."""

    components: Sequence[PriceComponent]
    currency: str

    @cached_property
    def charges(self) -> Mapping[int, Charge]:
        """How the usage of each metric that it prices becomes money, by the metric's key."""
        return {
            part.metric_id: part.charge(self.currency)
            for part in self.components
            if part.kind == ComponentKind.USAGE and part.metric_id is not None
        }

    @cached_property
    def ratings(self) -> Mapping[int, Callable[[SettledPeriod], int]]:
        """What prices a settled period of each metric that it prices, in minor units; the same one is priced once."""
        return {metric: lru_cache(_RATED_ONCE)(partial(usage_cents, charge)) for metric, charge in self.charges.items()}

    @cached_property
    def clocks(self) -> Mapping[int | None, Clock]:
        """The clock of each metric that it prices."""
        return {part.metric_id: part.clock for part in self.components if part.kind == ComponentKind.USAGE}

    def of_kind(self, kind: ComponentKind) -> Sequence[PriceComponent]:
        """Its components of a kind."""
        return self._by_kind.get(kind, ())

    @cached_property
    def _by_kind(self) -> Mapping[str, list[PriceComponent]]:
        by_kind: dict[str, list[PriceComponent]] = defaultdict(list)
        for part in self.components:
            by_kind[part.kind].append(part)
        return by_kind


@dataclass(slots=True)
class Compared:
    """What was billed and what would have been, in minor units."""

    old_cents: int = 0
    new_cents: int = 0

    @property
    def difference_cents(self) -> int:
        """What more would have been billed; negative for less."""
        return self.new_cents - self.old_cents

    def add(self, other: "Compared") -> None:
        """Add what another one comes to."""
        self.old_cents += other.old_cents
        self.new_cents += other.new_cents


@dataclass(slots=True)
class FreeUsage:
    """What was used of a metric that the price does not meter, and what was billed for it."""

    used: Decimal = Decimal(0)
    old_cents: int = 0

    def add(self, settled: SettledPeriod) -> None:
        """Add a period."""
        self.used += settled.used
        self.old_cents += settled.net_cents


@dataclass
class Simulated:
    """What a simulation found, by the keys of customers and metrics.

    `left_out` counts live subscriptions without a whole settled period since `from_at`. `other_clocks` are metrics that
    the price would bill by another clock than the one by which their periods were settled.
    """

    currency: str
    from_at: datetime
    until: datetime
    by_customer: dict[int, Compared] = field(default_factory=lambda: defaultdict(Compared))
    free_usage: dict[int, FreeUsage] = field(default_factory=lambda: defaultdict(FreeUsage))
    other_clocks: set[int] = field(default_factory=set)
    subscriptions: int = 0
    periods: int = 0
    left_out: int = 0

    @property
    def total(self) -> Compared:
        """All customers together."""
        total = Compared()
        for compared in self.by_customer.values():
            total.add(compared)
        return total


def simulate(
    *,
    plans: Collection[Plan],
    price: PriceToTry,
    months: int,
    at: datetime,
    only_currency: bool = False,
    sold_at: Price | None = None,
) -> Simulated:
    """Compare what live subscriptions of plan versions, with `sold_at` those at that price alone, were billed in the
    last `months` with what a price would have billed them. Nothing is written.

    Compared are the whole periods of a subscription's shortest clock that ended in that time and are settled. Each
    settled period of usage is priced anew as one period, with the credits that paid for it then. A fee counts for the
    compared time alone: as often as its clock turns in it, a part of a turn by its share, rounded once a subscription.
    Raises InvalidInput at `currency` for subscriptions in another currency, unless `only_currency` leaves those out.
    """
    zone = billing_zone()
    from_at = local_midnight(local_day(at, zone) - relativedelta(months=months), zone)
    result = Simulated(price.currency, from_at, at)
    with one_snapshot():
        _check_currency(plans, price.currency, only_currency)
        live = Subscription.objects.live().filter(plan__in=plans, price__currency=price.currency)
        live = live if sold_at is None else live.filter(price=sold_at)
        keys = list(live.order_by("pk").values_list("pk", flat=True))
        for start in range(0, len(keys), CHUNK):
            _simulate(keys[start : start + CHUNK], price, result)
    return result


def currencies_of(plans: Collection[Plan]) -> list[str]:
    """The currencies in which live subscriptions of plan versions are billed, in the order of the alphabet."""
    currencies = Subscription.objects.live().filter(plan__in=plans).values_list("price__currency", flat=True)
    return sorted(set(currencies.distinct()))


def _check_currency(plans: Collection[Plan], currency: str, only_currency: bool) -> None:
    found = currencies_of(plans)
    others = [other for other in found if other != currency]
    if not others or (only_currency and currency in found):
        return
    way_out = f" Send currency to simulate those in {currency} alone." if currency in found else ""
    raise InvalidInput.at(
        "currency",
        f"is {currency}, but subscriptions of this plan are billed in {' and '.join(others)}; amounts of different "
        f"currencies cannot be compared.{way_out}",
    )


@exactly
def _simulate(keys: Sequence[int], price: PriceToTry, result: Simulated) -> None:
    chunk = _Chunk(keys, price, result)
    result.subscriptions += len(chunk.stretches)
    result.left_out += len(keys) - len(chunk.stretches)
    for subscription in chunk.stretches:
        customer = chunk.items[subscription][0].customer_id
        result.by_customer[customer].add(chunk.compare(subscription))


class _Chunk:
    """Subscriptions that are read together, in as many statements as a single one."""

    def __init__(self, keys: Sequence[int], price: PriceToTry, result: Simulated) -> None:
        self._price = price
        self._result = result
        self._zone = billing_zone()
        self.items = read_items(keys)
        self._clocks: dict[int, Clock] = {}
        self.stretches = self._read_stretches()
        self._usage = read_usage_periods(self.stretches)
        self._whole_fees, self._partial_fees = read_fees(self.stretches)
        self._differences = read_differences(keys, from_at=result.from_at)
        self._events = self._count_events()
        self._units = UnitsInAdvance(self.items, self.stretches) if price.of_kind(ComponentKind.PER_UNIT) else None

    def _read_stretches(self) -> dict[int, Stretch]:
        """The time that is compared: the whole periods of each subscription's shortest clock that have ended."""
        turning = {subscription: self._of_shortest_clock(subscription) for subscription in self.items}
        ended = read_ended(
            [item.pk for items in turning.values() for item in items],
            from_at=self._result.from_at,
            until=self._result.until,
        )
        stretches = {}
        for subscription, items in turning.items():
            found = [ended[item.pk] for item in items if item.pk in ended]
            if found and len(found) == len(items):
                stretch = _common_to(found)
                if stretch.start_at < stretch.end_at:
                    stretches[subscription] = stretch
        return stretches

    def _of_shortest_clock(self, subscription: int) -> list[BilledItem]:
        items = [item for item in self.items[subscription] if item.component_id is not None]
        if not items:
            return []
        self._clocks[subscription] = clock = shortest(item.clock for item in items)
        return [item for item in items if item.clock == clock]

    def compare(self, subscription: int) -> Compared:
        """Compare fees and usage of a subscription."""
        compared = Compared(round_cents(self._old_fees(subscription)), round_cents(self._new_fees(subscription)))
        for item in self.items[subscription]:
            for period in self._usage.get(item.pk, ()):
                assert item.metric_id is not None
                compared.add(self._compare_usage(item, item.metric_id, period))
        return compared

    def _old_fees(self, subscription: int) -> Fraction:
        stretch = self.stretches[subscription]
        return self._whole_fees.get(subscription, 0) + sum(
            (
                fee.cents * share(fee.start_at, fee.end_at, stretch.start_at, stretch.end_at)
                for fee in self._partial_fees.get(subscription, ())
            ),
            _NOTHING,
        )

    def _new_fees(self, subscription: int) -> Fraction:
        fees = _NOTHING
        for part in self._price.of_kind(ComponentKind.FIXED):
            fees += (part.amount_cents or 0) * self._turns(part.clock, subscription)
        for part in self._price.of_kind(ComponentKind.PER_UNIT):
            fees += self._fees_of_units(part, subscription)
        return fees

    def _fees_of_units(self, part: PriceComponent, subscription: int) -> Fraction:
        """What units in advance cost: as many as were billed for the same, or the least that can be."""
        assert self._units is not None
        alone = len(self._price.of_kind(ComponentKind.PER_UNIT)) == 1
        billed = self._units.billed_for(part, subscription, alone=alone)
        if billed is None:
            return self._cents_of(part, max(part.minimum_quantity, 1)) * self._turns(part.clock, subscription)
        fees = _NOTHING
        for stretch, quantity in billed:
            cents = self._cents_of(part, max(quantity, part.minimum_quantity))
            fees += cents * self._turns(part.clock, subscription, stretch)
        return fees

    def _cents_of(self, part: PriceComponent, quantity: int) -> int:
        return rate_quantity(part, quantity, currency=self._price.currency).net_cents

    def _turns(self, clock: Clock, subscription: int, within: Stretch | None = None) -> Fraction:
        """How often a clock turns in a part of a subscription's stretch; None for all of it."""
        stretch = within or self.stretches[subscription]
        # Most prices keep the clock, and its periods are stored.
        if clock == self._clocks[subscription] and stretch.number:
            return Fraction(stretch.number)
        return turns(
            clock,
            started_at=self.items[subscription][0].clock_started_at,
            start_at=stretch.start_at,
            end_at=stretch.end_at,
            zone=self._zone,
        )

    def _compare_usage(self, item: BilledItem, metric: int, period: UsagePeriod) -> Compared:
        settled = self._settled(item, period)
        self._result.periods += 1
        rate = self._price.ratings.get(metric)
        if rate is None:
            self._result.free_usage[metric].add(settled)
            return Compared(settled.net_cents, 0)
        if self._price.clocks[metric] != item.clock:
            self._result.other_clocks.add(metric)
        return Compared(settled.net_cents, rate(settled))

    def _settled(self, item: BilledItem, period: UsagePeriod) -> SettledPeriod:
        found = self._differences.get(period.pk, _NOTHING_FOUND)
        return SettledPeriod(
            used=period.usage + found.usage,
            included=period.included + found.included,
            credited=period.credited + found.credited,
            events=self._events.get(period.pk, (period.events or 0) + (found.events or 0)),
            net_cents=(period.net_cents or 0) + found.net_cents,
            component_units=item.included_units,
            feature_units=item.feature_units,
        )

    def _count_events(self) -> dict[int, int]:
        """The events of periods that were settled without their number, where the price asks for it."""
        asking = {metric for metric, charge in self._price.charges.items() if charge.counts_events}
        uncounted = [
            period.pk
            for items in self.items.values()
            for item in items
            if item.metric_id in asking
            for period in self._usage.get(item.pk, ())
            if period.events is None
        ]
        return count_positive_events(list(SubscriptionPeriod.objects.filter(pk__in=uncounted))) if uncounted else {}


def _common_to(stretches: Sequence[Stretch]) -> Stretch:
    """The time that stretches of one clock have in common, with its number of periods where one of them is just it."""
    start_at = max(stretch.start_at for stretch in stretches)
    end_at = min(stretch.end_at for stretch in stretches)
    same = (stretch.number for stretch in stretches if (stretch.start_at, stretch.end_at) == (start_at, end_at))
    return Stretch(start_at, end_at, next(same, 0))
