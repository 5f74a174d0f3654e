"""A plan as a pricing table offers it, before it is put into words for the component or for the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from plans.models import ComponentKind, Plan, PlanFeature, Price, PriceComponent, PricingTablePlan
from plans.models.features import USAGE_BASED
from plans.page_words import usage_name
from plans.periods import Clock, shortest
from plans.services.pricing_tables import Offer, fee_cents_of


@dataclass(frozen=True, kw_only=True)
class Quota:
    """Metered units that come with a plan: once, or with `renews` again at each turn of `clock`.

    `units` come first, `later_units` at each further turn. Without a price there is no clock to renew by.
    """

    units: Decimal
    later_units: Decimal
    renews: bool
    clock: Clock | None


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What one metered unit costs beyond what is included, in minor units, and how often it is billed."""

    unit_cost_cents: Decimal
    unit_label: str
    clock: Clock


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

    `given` are its features, `priced_beside` what the price meters without the plan having a feature for it.
    """

    price: Price | None
    given: tuple[Given, ...]
    priced_beside: tuple[Given, ...]

    @property
    def fee_cents(self) -> int:
        """What the fixed components cost together in the longest of their intervals, in minor units."""
        return 0 if self.price is None else fee_cents_of(self.price)

    @property
    def rates(self) -> list[Rate]:
        """What usage costs, whatever is free of charge left out."""
        given = (*self.given, *self.priced_beside)
        return [rate for one in given for rate in one.rates if rate.unit_cost_cents]


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
        if (self.monthly.given, self.monthly.priced_beside) != (self.yearly.given, self.yearly.priced_beside):
            return None
        twelve_months = 12 * self.monthly.fee_cents
        percent = 100 * (twelve_months - self.yearly.fee_cents) // twelve_months
        return percent if percent > 0 else None


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
    given, told = [], set()
    for sold in plan.plan_features.all():
        one = _given(sold, components, usage, quotas)
        if one is not None:
            given.append(one)
            told |= {metric.pk for metric in sold.feature.metrics.all()}
    beside = [
        Given(name=usage_name(component), quotas=_by_clock(quotas.get(metric, ())), rates=(_rate(component),))
        for metric, component in usage.items()
        if metric not in told
    ]
    return Card(price=price, given=tuple(given), priced_beside=tuple(beside))


def _given(
    sold: PlanFeature,
    components: Sequence[PriceComponent],
    usage: Mapping[int, PriceComponent],
    quotas: Mapping[int, Sequence[Quota]],
) -> Given | None:
    """What the plan gives of a feature; None where it gives nothing."""
    name, value = sold.feature.display_name, sold.value
    metrics = [metric.pk for metric in sold.feature.metrics.all()]
    rates = tuple(_rate(usage[metric]) for metric in metrics if metric in usage)
    granted = _by_clock([quota for metric in metrics for quota in quotas.get(metric, ())])
    if granted:
        return Given(name=name, quotas=granted, rates=rates)
    if not value:
        return None
    if value is True or value == USAGE_BASED:
        return Given(name=name, rates=rates)
    if isinstance(value, str):
        return Given(name=name, text=value, rates=rates)
    # A column of JSON gives numbers back as int or float; the shortest text of a float is what was put in.
    number = Decimal(str(value))
    if not metrics:
        return Given(name=name, number=number)
    # A limit of usage begins anew with each period, which is that of the price's shortest clock.
    clock = shortest(component.clock for component in components) if components else None
    limit = Quota(units=number, later_units=number, renews=True, clock=clock)
    return Given(name=name, quotas=(limit,), rates=rates)


def _rate(component: PriceComponent) -> Rate:
    return Rate(
        unit_cost_cents=component.unit_cost_cents or Decimal(0), unit_label=component.unit_label, clock=component.clock
    )


def _by_clock(quotas: Sequence[Quota]) -> tuple[Quota, ...]:
    """Add up the quotas of one clock each; units of different clocks do not add up."""
    summed: dict[tuple[Clock | None, bool], Quota] = {}
    for quota in quotas:
        known = summed.get((quota.clock, quota.renews))
        summed[quota.clock, quota.renews] = Quota(
            units=quota.units + (known.units if known else 0),
            later_units=quota.later_units + (known.later_units if known else 0),
            renews=quota.renews,
            clock=quota.clock,
        )
    # What comes again says more of a plan than what comes once.
    return tuple(sorted(summed.values(), key=lambda quota: quota.clock.approximate_days if quota.clock else 10**6))
