"""A plan as a pricing table offers it, before it is put into words for the component or for the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from plans.charge_words import metered_unit
from plans.models import ComponentKind, Plan, PlanFeature, Price, PriceComponent, PricingTablePlan
from plans.models.features import USAGE_BASED
from plans.money import round_cents
from plans.page_words import usage_name
from plans.periods import Clock, shortest
from plans.pricing import Charge, bounded, price_of
from plans.services.pricing_tables import Offer, fee_cents_of, fee_clock_of


@dataclass(frozen=True, kw_only=True)
class Quota:
    """Metered units that come with a plan: once, or with `renews` again at each turn of `clock`.

    `units` come first, `later_units` at each further turn. Without a price there is no clock to renew by. They come
    with each unit in advance that is called as `per` says; empty: with the subscription.
    """

    units: Decimal
    later_units: Decimal
    renews: bool
    clock: Clock | None
    per: str = ""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What metered units cost beyond what is included, and how often they are billed."""

    charge: Charge
    unit_label: str
    clock: Clock

    @property
    def counted_unit(self) -> str:
        """The name of the unit in which usage and quotas are counted."""
        return metered_unit(self.charge, self.unit_label)


@dataclass(frozen=True, kw_only=True)
class Seats:
    """Units that are paid in advance, such as seats: what they cost, how often, and how many there are at least."""

    name: str
    charge: Charge
    unit_label: str
    clock: Clock
    least: int

    @property
    def first_cents(self) -> int:
        """What the fewest of them cost in one interval, in minor units."""
        return round_cents(bounded(self.charge, price_of(self.charge, Decimal(self.least))))


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a plan gives of a feature: units (those that come most often first), else a number or a text, else just
    the feature. `rates` price its usage."""

    name: str
    quotas: tuple[Quota, ...] = ()
    number: Decimal | None = None
    text: str = ""
    rates: tuple[Rate, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Card:
    """A plan at one of its prices, or at none when it is sold by talking.

    `given` are its features, `priced_beside` what the price meters without the plan having a feature for it, `seats`
    what is paid by the unit in advance.
    """

    price: Price | None
    given: tuple[Given, ...]
    priced_beside: tuple[Given, ...]
    seats: tuple[Seats, ...] = ()

    @property
    def fee_cents(self) -> int:
        """What the fixed components cost together in the longest of their intervals, in minor units."""
        return 0 if self.price is None else fee_cents_of(self.price)

    @property
    def least_cents(self) -> int:
        """What is paid in advance in one interval at least, the fewest seats included, in minor units."""
        if self.price is None:
            return 0
        longest = fee_clock_of(self.price).approximate_days
        seats = (one for one in self.seats if not (one.clock.has_end and self.fee_cents))
        return self.fee_cents + sum(one.first_cents * (longest // one.clock.approximate_days) for one in seats)

    @property
    def rates(self) -> list[Rate]:
        """What usage costs, whatever is free of charge left out."""
        given = (*self.given, *self.priced_beside)
        return [rate for one in given for rate in one.rates if rate.charge.can_charge]

    @property
    def named_by_seats(self) -> Seats | None:
        """The one kind of units that this price is named by: each costs the same, and no lasting fee stands beside."""
        only = self.seats[0] if len(self.seats) == 1 else None
        return only if only is not None and only.charge.is_plain and not self.fee_cents else None


@dataclass(frozen=True, kw_only=True)
class OfferedPlan:
    """A plan on a table, as a card for each price that it is offered at; `shown` is that of the offer."""

    placed: PricingTablePlan
    shown: Card
    monthly: Card | None
    yearly: Card | None

    @property
    def button_text(self) -> str:
        """What stands on the button: the table's words, else the plan's."""
        plan = self.placed.plan
        return (
            self.placed.button_text
            or plan.button_text
            or ("Contact Sales" if plan.is_enterprise_plan else "Get started")
        )

    @property
    def popular_text(self) -> str:
        """What stands on the badge of a popular plan; empty for others without words of their own."""
        return self.placed.popular_text or ("Popular" if self.placed.is_popular else "")

    @property
    def yearly_saving_percent(self) -> int | None:
        """By how many whole percent a year's fee is lower than twelve of a month; None where it is not, or where the
        two prices differ in anything but the fee."""
        if self.monthly is None or self.yearly is None or self.monthly.fee_cents == 0:
            return None
        if _beside_the_fee(self.monthly) != _beside_the_fee(self.yearly):
            return None
        twelve_months = 12 * self.monthly.fee_cents
        percent = 100 * (twelve_months - self.yearly.fee_cents) // twelve_months
        return percent if percent > 0 else None


def _beside_the_fee(card: Card) -> tuple[tuple[Any, ...], ...]:
    components = [] if card.price is None else card.price.components.all()
    ending = tuple((one.amount_cents, one.clock) for one in components if one.clock.has_end)
    return card.given, card.priced_beside, card.seats, ending


def offered_plan(
    placed: PricingTablePlan, *, offer: Offer | None, quotas: Mapping[int | None, Mapping[int, Sequence[Quota]]]
) -> OfferedPlan:
    """Describe a plan on a table. `quotas` has, by the key of a price and then by that of a metric, what a
    subscription begins with; under None that of a plan without a price.

    The plan's features with their metrics, and the prices of the offer with theirs, are to be fetched already.
    """

    def card(price: Price) -> Card:
        return card_of(placed.plan, price, quotas.get(price.pk, {}))

    if offer is None:
        shown = card_of(placed.plan, None, quotas.get(None, {}))
        return OfferedPlan(placed=placed, shown=shown, monthly=None, yearly=None)
    return OfferedPlan(
        placed=placed,
        shown=card(offer.shown),
        monthly=card(offer.monthly) if offer.monthly is not None else None,
        yearly=card(offer.yearly) if offer.yearly is not None else None,
    )


def card_of(plan: Plan, price: Price | None, quotas: Mapping[int, Sequence[Quota]]) -> Card:
    """Describe a plan at one of its prices. `quotas` has, by the key of a metric, what a subscription begins with.

    The plan's features with their metrics, and the price's components with theirs, are to be fetched already.
    """
    components = [] if price is None else list(price.components.all())
    usage = {component.metric_id or 0: component for component in components if component.kind == ComponentKind.USAGE}
    rates = {metric: _rate(component, price) for metric, component in usage.items() if price is not None}
    given, told = [], set()
    for sold in plan.plan_features.all():
        one = _given(sold, components, rates, quotas)
        if one is not None:
            given.append(one)
            told |= {metric.pk for metric in sold.feature.metrics.all()}
    beside = [
        Given(name=usage_name(component), quotas=_quotas([metric], rates, quotas), rates=(rates[metric],))
        for metric, component in usage.items()
        if metric not in told
    ]
    seats = [
        _seats(component, price)
        for component in components
        if component.kind == ComponentKind.PER_UNIT and price is not None
    ]
    return Card(price=price, given=tuple(given), priced_beside=tuple(beside), seats=tuple(seats))


def _given(
    sold: PlanFeature,
    components: Sequence[PriceComponent],
    rates: Mapping[int, Rate],
    quotas: Mapping[int, Sequence[Quota]],
) -> Given | None:
    """What the plan gives of a feature; None where it gives nothing."""
    name, value = sold.feature.display_name, sold.value
    metrics = [metric.pk for metric in sold.feature.metrics.all()]
    own = tuple(rates[metric] for metric in metrics if metric in rates)
    included = _quotas(metrics, rates, quotas)
    if any(metric in quotas for metric in metrics):
        return Given(name=name, quotas=included, rates=own)
    # A column of JSON gives numbers back as int or float; the shortest text of a float is what was put in.
    number = None if isinstance(value, bool | str) or not value else Decimal(str(value))
    if number is not None and metrics:
        # A limit of usage begins anew with each period, which is that of the price's shortest clock.
        clock = shortest(component.clock for component in components) if components else None
        limit = Quota(units=number, later_units=number, renews=True, clock=clock)
        return Given(name=name, quotas=_by_clock([limit, *included]), rates=own)
    if not value:
        return None
    if included:
        return Given(name=name, quotas=included, rates=own)
    if number is not None:
        return Given(name=name, number=number)
    return Given(name=name, text="" if value is True or value == USAGE_BASED else value, rates=own)


def _quotas(
    metrics: Sequence[int], rates: Mapping[int, Rate], quotas: Mapping[int, Sequence[Quota]]
) -> tuple[Quota, ...]:
    """What comes with a subscription: what is granted, and what the price itself includes."""
    granted = [quota for metric in metrics for quota in quotas.get(metric, ())]
    included = [
        Quota(
            units=rate.charge.included_metered_units,
            later_units=rate.charge.included_metered_units,
            renews=True,
            clock=rate.clock,
        )
        for rate in (rates[metric] for metric in metrics if metric in rates)
        if rate.charge.included_units
    ]
    return _by_clock([*granted, *included])


def _rate(component: PriceComponent, price: Price) -> Rate:
    return Rate(charge=component.charge(price.currency), unit_label=component.unit_label, clock=component.clock)


def _seats(component: PriceComponent, price: Price) -> Seats:
    return Seats(
        name=component.title,
        charge=component.charge(price.currency),
        unit_label=component.unit_label,
        clock=component.clock,
        least=max(component.minimum_quantity, 1),
    )


def _by_clock(quotas: Sequence[Quota]) -> tuple[Quota, ...]:
    """Add up the quotas of one clock each; units of different clocks do not add up, nor those of seats."""
    summed: dict[tuple[Clock | None, bool, str], Quota] = {}
    for quota in quotas:
        known = summed.get((quota.clock, quota.renews, quota.per))
        summed[quota.clock, quota.renews, quota.per] = Quota(
            units=quota.units + (known.units if known else 0),
            later_units=quota.later_units + (known.later_units if known else 0),
            renews=quota.renews,
            clock=quota.clock,
            per=quota.per,
        )
    # What comes again says more of a plan than what comes once.
    return tuple(sorted(summed.values(), key=lambda quota: quota.clock.approximate_days if quota.clock else 10**6))
