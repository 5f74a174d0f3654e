"""The price of a quantity: how metered units become money. Plain numbers: no clock, no database.

Ruling: the cumulative quantity is converted first (`divide_by`), then what is included is taken off, then the model
prices the rest; credits are worth the difference of two such prices; `minimum_cents` and `maximum_cents` bound what is
left after them. Every result is an exact fraction of minor units and is rounded once, where a line is written.

`steps_of` tells that arithmetic; `price_of` does it in integers, since fractions take many times as long.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, lru_cache

from plans.money import exactly

PER_UNIT, GRADUATED, VOLUME, PACKAGE = "per_unit", "graduated", "volume", "package"
PERCENTAGE, GRADUATED_PERCENTAGE = "percentage", "graduated_percentage"
MODELS = (PER_UNIT, GRADUATED, VOLUME, PACKAGE, PERCENTAGE, GRADUATED_PERCENTAGE)
TIERED = (GRADUATED, VOLUME, GRADUATED_PERCENTAGE)
OF_AMOUNTS = (PERCENTAGE, GRADUATED_PERCENTAGE)
PACKAGE_ROUNDS = ("up", "down")
DIVIDE_ROUNDS = ("none", "up", "down", "half_up")

_ZERO, _NOTHING = Decimal(0), Fraction(0)
# Recorded quantities have no more.
_DECIMALS_OF_QUANTITIES = 6


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


@dataclass(frozen=True)
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

    @cached_property
    def included_metered_units(self) -> Decimal:
        """What is included, in metered units."""
        return self._included_metered_units()

    @exactly
    def _included_metered_units(self) -> Decimal:
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
    price = in_integers(charge)
    if not (price.counts(quantity) and price.counts(free)):
        return sum((step.cents for step in steps_of(charge, quantity, free=free, events=events)), _NOTHING)
    return Fraction(price.of(quantity, free=free, events=events), price.denominator)


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


class IntegerPrice:
    """A charge in integers: each scale says how many of what is counted make one metered unit, one priced unit and one
    minor unit, so that all terms of the charge are whole. `denominator` is the scale of the amounts that `of` returns.
    """

    def __init__(self, charge: Charge) -> None:
        bounds = [tier.up_to for tier in charge.tiers if tier.up_to is not None]
        units = [charge.included_units, charge.package_size, charge.divide_by or _ZERO, *bounds]
        self._charge = charge
        self._metered_scale = 10 ** max(_DECIMALS_OF_QUANTITIES, *map(_decimals, units))
        self._divide_by = None if charge.divide_by is None else _times(charge.divide_by, self._metered_scale)
        keeps_quotient = self._divide_by is not None and charge.divide_round == "none"
        self._unit_scale = self._metered_scale * (self._divide_by or 1) if keeps_quotient else self._metered_scale
        self._included = _times(charge.included_units, self._unit_scale)
        self._package_size = _times(charge.package_size, self._unit_scale)
        # Two decimals more than any cost has: percentages are hundredths.
        self._cost_scale = 100 * 10 ** max(map(_decimals, _costs(charge)))
        self._unit_cost = _times(charge.unit_cost_cents, self._cost_scale)
        self._package_cost = _times(charge.package_cost_cents, self._cost_scale) * self._unit_scale
        self._event_cost = _times(charge.fixed_cost_cents, self._cost_scale) * self._unit_scale
        self._rate = self._rate_of(charge.rate_percent)
        self._tiers = [self._tier(tier) for tier in charge.tiers]
        self.denominator = self._cost_scale * self._unit_scale

    def _rate_of(self, percent: Decimal) -> int:
        return _times(percent, self._cost_scale) * self._charge.minor_per_major // 100

    def _tier(self, tier: Tier) -> tuple[int | None, int, int]:
        """The bound, what each unit costs, and the flat cost."""
        is_rate = self._charge.model == GRADUATED_PERCENTAGE
        return (
            None if tier.up_to is None else _times(tier.up_to, self._unit_scale),
            self._rate_of(tier.rate_percent) if is_rate else _times(tier.unit_cost_cents, self._cost_scale),
            _times(tier.flat_cost_cents, self._cost_scale) * self._unit_scale,
        )

    def counts(self, quantity: Decimal) -> bool:
        """Tell whether a quantity is a whole number of the units in which this counts."""
        return self._metered_scale % quantity.as_integer_ratio()[1] == 0

    def of(self, quantity: Decimal, *, free: Decimal = _ZERO, events: int = 0) -> int:
        """The price of metered units that it counts, before minimum and maximum; see price_of."""
        units = self._priced(max(_times(quantity, self._metered_scale) - _times(free, self._metered_scale), 0))
        model = self._charge.model
        if model == PER_UNIT:
            return units * self._unit_cost
        if model == PACKAGE:
            up = self._charge.package_round == "up"
            return (_divided_up(units, self._package_size) if up else units // self._package_size) * self._package_cost
        if model == PERCENTAGE:
            return units * self._rate + events * self._event_cost
        return self._volume(units) if model == VOLUME else self._graduated(units)

    def _priced(self, metered: int) -> int:
        return max(self._converted(metered) - self._included, 0)

    def _converted(self, metered: int) -> int:
        divisor, rounding = self._divide_by, self._charge.divide_round
        if divisor is None:
            return metered
        if rounding == "none":
            return metered * self._metered_scale
        if rounding == "up":
            return _divided_up(metered, divisor) * self._unit_scale
        if rounding == "down":
            return metered // divisor * self._unit_scale
        return (2 * metered + divisor) // (2 * divisor) * self._unit_scale

    def _volume(self, units: int) -> int:
        cost, flat = next((cost, flat) for bound, cost, flat in self._tiers if bound is None or units <= bound)
        return units * cost + (flat if units or self._charge.first_tier_flat_at_zero else 0)

    def _graduated(self, units: int) -> int:
        price = above = 0
        for number, (bound, cost, flat) in enumerate(self._tiers):
            end = units if bound is None else min(units, bound)
            if end > above or (number == 0 and self._charge.first_tier_flat_at_zero):
                price += (end - above) * cost + flat
            elif number > 0:
                break
            above = end
        return price


@lru_cache(maxsize=1_000)
def in_integers(charge: Charge) -> IntegerPrice:
    """The same price in integers. Thousands of bills go by one price, so it is kept."""
    return IntegerPrice(charge)


def _costs(charge: Charge) -> Iterator[Decimal]:
    yield from (charge.unit_cost_cents, charge.package_cost_cents, charge.rate_percent, charge.fixed_cost_cents)
    for tier in charge.tiers:
        yield from (tier.unit_cost_cents, tier.flat_cost_cents, tier.rate_percent)


def _decimals(number: Decimal) -> int:
    """How many decimals a number has; a trailing zero may count as one."""
    exponent = Decimal(number).as_tuple().exponent
    assert isinstance(exponent, int)
    return max(-exponent, 0)


def _times(number: Decimal, factor: int) -> int:
    """Multiply by a factor that makes a number whole."""
    numerator, denominator = number.as_integer_ratio()
    return numerator * factor // denominator


def _divided_up(number: int, divisor: int) -> int:
    return -(-number // divisor)
