"""The price of a quantity: how metered units become money. Plain numbers: no clock, no database.

Ruling: the cumulative quantity is converted first (`divide_by`), then what is included is taken off, then the model
prices the rest; credits are worth the difference of two such prices; `minimum_cents` and `maximum_cents` bound what is
left after them. Every result is an exact fraction of minor units and is rounded once, where a line is written.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from plans.money import exactly

PER_UNIT, GRADUATED, VOLUME, PACKAGE = "per_unit", "graduated", "volume", "package"
PERCENTAGE, GRADUATED_PERCENTAGE = "percentage", "graduated_percentage"
MODELS = (PER_UNIT, GRADUATED, VOLUME, PACKAGE, PERCENTAGE, GRADUATED_PERCENTAGE)
TIERED = (GRADUATED, VOLUME, GRADUATED_PERCENTAGE)
OF_AMOUNTS = (PERCENTAGE, GRADUATED_PERCENTAGE)
PACKAGE_ROUNDS = ("up", "down")
DIVIDE_ROUNDS = ("none", "up", "down", "half_up")

_ZERO, _NOTHING = Decimal(0), Fraction(0)


@dataclass(frozen=True, slots=True)
class Tier:
    """The price of units from the tier before up to and including `up_to`; None is the open end.

    `rate_percent` takes the place of `unit_cost_cents` where amounts are priced. The flat cost falls due once any unit
    reaches the tier.
    """

    up_to: Decimal | None
    unit_cost_cents: Decimal = _ZERO
    flat_cost_cents: Decimal = _ZERO
    rate_percent: Decimal = _ZERO


@dataclass(frozen=True, slots=True)
class Charge:
    """How a component makes money of metered units. Costs are minor units and may have decimals.

    `included_units`, tiers and packages count priced units: metered ones divided by `divide_by` and rounded as
    `divide_round` says. For percentages the metered units are an amount in major units, and `minor_per_major` converts
    it. `fixed_cost_cents` is due per event of positive value.
    """

    model: str = PER_UNIT
    unit_cost_cents: Decimal = _ZERO
    tiers: tuple[Tier, ...] = ()
    first_tier_flat_at_zero: bool = False
    package_size: Decimal = Decimal(1)
    package_cost_cents: Decimal = _ZERO
    package_round: str = "up"
    rate_percent: Decimal = _ZERO
    fixed_cost_cents: Decimal = _ZERO
    divide_by: Decimal | None = None
    divide_round: str = "none"
    included_units: Decimal = _ZERO
    minimum_cents: int | None = None
    maximum_cents: int | None = None
    minor_per_major: int = 100

    @property
    @exactly
    def included_metered_units(self) -> Decimal:
        """What is included, in metered units."""
        return self.included_units * (self.divide_by or 1)

    @property
    def counts_events(self) -> bool:
        """Tell whether the number of events matters beside the units."""
        return self.fixed_cost_cents > 0

    @property
    def can_charge(self) -> bool:
        """Tell whether any quantity could cost anything."""
        costs = (self.unit_cost_cents, self.package_cost_cents, self.rate_percent, self.fixed_cost_cents)
        tiers = (
            cost for tier in self.tiers for cost in (tier.unit_cost_cents, tier.flat_cost_cents, tier.rate_percent)
        )
        return self.maximum_cents != 0 and bool(self.minimum_cents or any(costs) or any(tiers))

    @property
    def is_plain(self) -> bool:
        """Tell whether each charged metered unit simply costs `unit_cost_cents`."""
        return self.model == PER_UNIT and self.divide_by is None


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a price: `units` above `above` cost `unit_cost_cents` each, or `rate_percent` of them, and a flat cost.

    For packages `units` is how many of them are billed; for the fee per event, the events.
    """

    units: Fraction
    above: Fraction
    up_to: Decimal | None
    cents: Fraction
    unit_cost_cents: Decimal | None = None
    rate_percent: Decimal | None = None
    flat_cost_cents: Decimal = _ZERO
    of: str = "units"


def price_of(charge: Charge, quantity: Decimal, *, free: Decimal = _ZERO, events: int = 0) -> Fraction:
    """The exact price in minor units of `quantity` metered units, before minimum and maximum; a negative quantity costs
    what 0 costs.

    `free` metered units, those that the plan's feature includes, are taken off first. `events` is the number of events
    of positive value.
    """
    return sum((step.cents for step in steps_of(charge, quantity, free=free, events=events)), _NOTHING)


def net_of(
    charge: Charge,
    *,
    used: Decimal,
    credited: Decimal,
    included: Decimal = _ZERO,
    free: Decimal = _ZERO,
    events: int = 0,
) -> Fraction:
    """The exact price of `used` metered units of which credits pay for `credited`, before minimum and maximum.

    `included` are the units, `free` ones among them, that cost nothing before any credit is asked. A volume price stays
    in the tier of all that was used, so each credited unit takes off an equal part of it.
    """
    if not credited:
        return price_of(charge, used, free=free, events=events)
    if charge.model != VOLUME:
        return price_of(charge, used - credited, free=free, events=events)
    beyond = Fraction(used) - Fraction(included)
    return price_of(charge, used, free=free) * (beyond - Fraction(credited)) / beyond


def bounded(charge: Charge, cents: Fraction) -> Fraction:
    """Bring the price of a period within the charge's minimum and maximum."""
    if charge.minimum_cents is not None:
        cents = max(cents, Fraction(charge.minimum_cents))
    if charge.maximum_cents is not None:
        cents = min(cents, Fraction(charge.maximum_cents))
    return cents


def steps_of(charge: Charge, quantity: Decimal, *, free: Decimal = _ZERO, events: int = 0) -> list[Step]:
    """Tell the arithmetic of a price, part by part; the parts add up to it."""
    units = priced_units(charge, quantity, free=free)
    if charge.model == PER_UNIT:
        return [_step(charge, units, _NOTHING, None, unit_cost_cents=charge.unit_cost_cents)]
    if charge.model == PACKAGE:
        return [_packages(charge, units)]
    if charge.model == PERCENTAGE:
        rate = _step(charge, units, _NOTHING, None, rate_percent=charge.rate_percent)
        return [rate, _event_fee(charge, events)] if charge.counts_events else [rate]
    if charge.model == VOLUME:
        return [_volume(charge, units)]
    return list(_graduated(charge, units))


def priced_units(charge: Charge, quantity: Decimal, *, free: Decimal = _ZERO) -> Fraction:
    """Convert metered units into those that the model prices, and take off what is included."""
    metered = max(Fraction(quantity) - Fraction(free), _NOTHING)
    converted = metered if charge.divide_by is None else _rounded(metered / Fraction(charge.divide_by), charge)
    return max(converted - Fraction(charge.included_units), _NOTHING)


def _rounded(units: Fraction, charge: Charge) -> Fraction:
    if charge.divide_round == "up":
        return Fraction(math.ceil(units))
    if charge.divide_round == "down":
        return Fraction(math.floor(units))
    if charge.divide_round == "half_up":
        return Fraction(math.floor(units + Fraction(1, 2)))
    return units


def _step(
    charge: Charge,
    units: Fraction,
    above: Fraction,
    up_to: Decimal | None,
    *,
    unit_cost_cents: Decimal | None = None,
    rate_percent: Decimal | None = None,
    flat_cost_cents: Decimal = _ZERO,
) -> Step:
    if rate_percent is not None:
        cents = units * charge.minor_per_major * Fraction(rate_percent) / 100
    else:
        cents = units * Fraction(unit_cost_cents or 0)
    return Step(
        units=units,
        above=above,
        up_to=up_to,
        cents=cents + Fraction(flat_cost_cents),
        unit_cost_cents=unit_cost_cents,
        rate_percent=rate_percent,
        flat_cost_cents=flat_cost_cents,
    )


def _packages(charge: Charge, units: Fraction) -> Step:
    filled = units / Fraction(charge.package_size)
    packages = Fraction(math.ceil(filled) if charge.package_round == "up" else math.floor(filled))
    cents = packages * Fraction(charge.package_cost_cents)
    return Step(packages, _NOTHING, None, cents, unit_cost_cents=charge.package_cost_cents, of="packages")


def _event_fee(charge: Charge, events: int) -> Step:
    cents = events * Fraction(charge.fixed_cost_cents)
    return Step(Fraction(events), _NOTHING, None, cents, unit_cost_cents=charge.fixed_cost_cents, of="events")


def _volume(charge: Charge, units: Fraction) -> Step:
    """Price all units at the tier that the last of them reaches."""
    tier = next(tier for tier in charge.tiers if tier.up_to is None or units <= tier.up_to)
    flat = tier.flat_cost_cents if units or charge.first_tier_flat_at_zero else _ZERO
    return _step(charge, units, _NOTHING, tier.up_to, unit_cost_cents=tier.unit_cost_cents, flat_cost_cents=flat)


def _graduated(charge: Charge, units: Fraction) -> Iterator[Step]:
    """Price each unit at the tier that it reaches itself."""
    above = _NOTHING
    for number, tier in enumerate(charge.tiers):
        end = units if tier.up_to is None else min(units, Fraction(tier.up_to))
        reached = end > above or (number == 0 and charge.first_tier_flat_at_zero)
        if not reached and number > 0:
            return
        costs = (
            {"rate_percent": tier.rate_percent}
            if charge.model == GRADUATED_PERCENTAGE
            else {"unit_cost_cents": tier.unit_cost_cents}
        )
        flat = tier.flat_cost_cents if reached else _ZERO
        yield _step(charge, end - above, above, tier.up_to, flat_cost_cents=flat, **costs)
        above = end
