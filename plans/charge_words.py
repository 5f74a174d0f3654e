"""What a price model charges, in sentences for people. No clock, no database.

A unit label names the metered unit ("byte"), or, where a price divides, a unit that is known to be made of it ("GB").
"""

from dataclasses import dataclass, replace
from decimal import Decimal

from plans.money import exactly, minor_units, plain_number
from plans.page_words import each_text, number_text, plural, units_text
from plans.periods import Clock
from plans.pricing import GRADUATED_PERCENTAGE, OF_AMOUNTS, PACKAGE, PERCENTAGE, TIERED, VOLUME, Charge, Tier
from plans.words import money_text

FREE = "free of charge"
# A price that divides by one of these counts in a unit that people have a name for.
_MADE_OF = {
    ("byte", 10**3): "KB", ("byte", 10**6): "MB", ("byte", 10**9): "GB", ("byte", 10**12): "TB",
    ("byte", 2**10): "KiB", ("byte", 2**20): "MiB", ("byte", 2**30): "GiB", ("byte", 2**40): "TiB",
    ("millisecond", 1000): "second", ("second", 60): "minute", ("second", 3600): "hour", ("minute", 60): "hour",
}  # fmt: skip
_MOST_TIERS_IN_A_LINE = 2


@dataclass(frozen=True, kw_only=True)
class TierTable:
    """The tiers of a price as a small table. `rule` says which of its prices a unit costs."""

    heading: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    rule: str


@dataclass(frozen=True, slots=True)
class _Units:
    """How units are called: `size` metered ones make a priced one, whose `name` is empty where there is none."""

    metered: str
    name: str
    size: Decimal

    @property
    def one(self) -> str:
        """A priced unit after "per": call, GB, 1,000 calls."""
        return self.name or self.count(Decimal(1))

    @exactly
    def count(self, quantity: Decimal) -> str:
        """Priced units with their name: 1,000 calls, 10 GB."""
        if self.name:
            return units_text(quantity, self.name)
        return units_text(quantity * self.size, self.metered)

    @property
    def several(self) -> str:
        """The units that bounds of tiers count."""
        return plural(self.name or self.metered)

    @property
    def note(self) -> str:
        """What a named unit is made of: 1,000,000,000 bytes."""
        return units_text(self.size, self.metered) if self.name and self.size != 1 else ""


def metered_unit(charge: Charge, unit_label: str) -> str:
    """Name the unit in which usage and quotas are counted; empty where it has no name."""
    return _units(charge, unit_label).metered if unit_label else ""


def charge_text(charge: Charge, *, currency: str, unit_label: str) -> str:
    """Write what units cost, every tier of it: "$0.05 per call for the first 1,000, then $0.04 per call"."""
    if not _has_cost(charge):
        return FREE
    units = _units(charge, unit_label)
    if charge.model in OF_AMOUNTS:
        return _percentage_text(charge, currency, unit_label)
    if charge.model in TIERED:
        texts = [_tier_cost(tier, charge, currency, units) for tier in charge.tiers]
        text = _volume_text(charge, units, texts) if charge.model == VOLUME else _graduated_text(charge, units, texts)
        return text + _flat_at_zero(charge, currency) + _made_of(charge, units)
    if charge.model == PACKAGE:
        return _package_text(charge, currency, units) + _made_of(charge, units)
    each = _each(charge.unit_cost_cents, charge, currency, units)
    note = f" ({units.note})" if units.note else ""
    return each + note + _half_up(charge, units)


def short_charge_text(charge: Charge, *, currency: str, unit_label: str) -> str:
    """Write what units cost in a line that leaves more than two tiers to their table: "$0.02 to $0.05 per call,
    by tier"."""
    if tier_table(charge, currency=currency, unit_label=unit_label) is None:
        return charge_text(charge, currency=currency, unit_label=unit_label)
    by = "by the whole quantity" if charge.model == VOLUME else "by tier"
    if charge.model == GRADUATED_PERCENTAGE:
        rates = sorted(tier.rate_percent for tier in charge.tiers)
        return f"{_range(_percent(rates[0]), _percent(rates[-1]))} of the amount, {by}"
    costs = sorted(tier.unit_cost_cents for tier in charge.tiers)
    if not costs[-1]:
        return f"priced {by}"
    money = _range(money_text(costs[0], currency), money_text(costs[-1], currency))
    return f"{money} per {_priced_one(charge, _units(charge, unit_label))}, {by}"


def tier_table(charge: Charge, *, currency: str, unit_label: str) -> TierTable | None:
    """Lay out the tiers of a price that has more than a line can say; None for any other."""
    if charge.model not in TIERED or len(charge.tiers) <= _MOST_TIERS_IN_A_LINE or not _has_cost(charge):
        return None
    units = _units(charge, unit_label)
    has_flat = any(tier.flat_cost_cents for tier in charge.tiers)
    is_percentage = charge.model == GRADUATED_PERCENTAGE
    above, rows = None, []
    for tier in charge.tiers:
        each = _percent(tier.rate_percent) if is_percentage else money_text(tier.unit_cost_cents, currency)
        flat = (money_text(tier.flat_cost_cents, currency),) if has_flat else ()
        rows.append((_reach(tier, above, charge, currency, units), each, *flat))
        above = tier.up_to
    counted = "Amount" if is_percentage else _capital(units.several)
    price = "Share" if is_percentage else f"Per {_priced_one(charge, units)}"
    return TierTable(
        heading=(counted, price, *(("Flat fee",) if has_flat else ())), rows=tuple(rows), rule=_rule(charge, units)
    )


def rate_text(charge: Charge, *, currency: str, unit_label: str, clock: Clock, is_short: bool = False) -> str:
    """Write what usage costs with the bounds of a period: "$0.05 per call, at least $10.00 each month"."""
    write = short_charge_text if is_short else charge_text
    cost = write(charge, currency=currency, unit_label=unit_label)
    bounds = _bounds(charge, currency, clock)
    return ", ".join(bounds if bounds and cost == FREE else [cost, *bounds])


def advance_text(
    charge: Charge, *, currency: str, unit_label: str, clock: Clock, least: int, is_short: bool = False
) -> str:
    """Write what units in advance cost, such as seats: "$10.00 per seat each month, at least 3 seats"."""
    write = short_charge_text if is_short else charge_text
    cost = write(charge, currency=currency, unit_label=unit_label)
    comma = "" if charge.is_plain else ","
    free = [f"the first {number_text(charge.included_metered_units)} free"] if charge.included_units else []
    minimum = [f"at least {units_text(Decimal(least), unit_label or 'unit')}"] if least > 1 else []
    return ", ".join([f"{cost}{comma} {each_text(clock)}", *free, *minimum, *_bounds(charge, currency, clock)])


def _has_cost(charge: Charge) -> bool:
    """Tell whether units themselves cost anything, whatever the bounds of a period."""
    return charge.can_charge and replace(charge, minimum_cents=None, maximum_cents=None).can_charge


def _units(charge: Charge, unit_label: str) -> _Units:
    label = unit_label or "unit"
    if charge.divide_by is None or charge.divide_by == 1:
        return _Units(metered=label, name=label, size=Decimal(1))
    for (small, size), big in _MADE_OF.items():
        if size == charge.divide_by and label.casefold() in (small, plural(small), big.casefold(), plural(big)):
            return _Units(metered=small, name=big, size=charge.divide_by)
    return _Units(metered=label, name="", size=charge.divide_by)


def _priced_one(charge: Charge, units: _Units) -> str:
    """One priced unit as it is counted: call, GB begun, full 1,000 calls."""
    if charge.divide_round == "up":
        return f"{units.one} begun"
    return f"full {units.one}" if charge.divide_round == "down" else units.one


def _each(cents: Decimal, charge: Charge, currency: str, units: _Units) -> str:
    return f"{money_text(cents, currency)} per {_priced_one(charge, units)}"


def _made_of(charge: Charge, units: _Units) -> str:
    note = f" (1 {units.name} is {units.note})" if units.note else ""
    return note + _half_up(charge, units)


def _half_up(charge: Charge, units: _Units) -> str:
    return f", rounded to the nearest {units.one}" if charge.divide_round == "half_up" else ""


def _package_text(charge: Charge, currency: str, units: _Units) -> str:
    package = units.one if charge.package_size == 1 else units.count(charge.package_size)
    counted = f"{package} begun" if charge.package_round == "up" else f"full {package}"
    return f"{money_text(charge.package_cost_cents, currency)} for every {counted}"


def _percentage_text(charge: Charge, currency: str, unit_label: str) -> str:
    if charge.model == PERCENTAGE:
        fee = f"{money_text(charge.fixed_cost_cents, currency)} per {unit_label or 'event'}"
        rate = _percent(charge.rate_percent)
        if not charge.counts_events:
            return f"{rate} of the amount"
        return f"{rate} + {fee}" if charge.rate_percent else fee
    texts = []
    for number, tier in enumerate(charge.tiers):
        of = " of the amount" if number == 0 else ""
        flat = [money_text(tier.flat_cost_cents, currency)] if tier.flat_cost_cents else []
        share = [_percent(tier.rate_percent) + of] if tier.rate_percent or not flat else []
        texts.append(" plus ".join([*flat, *share]))
    bounds = [_amount(tier.up_to, currency) for tier in charge.tiers if tier.up_to is not None]
    return _slices(texts, bounds) + _flat_at_zero(charge, currency)


def _graduated_text(charge: Charge, units: _Units, texts: list[str]) -> str:
    bounds = [tier.up_to for tier in charge.tiers if tier.up_to is not None]
    told = [_bound(bound, units, is_told=" per " in text) for bound, text in zip(bounds, texts, strict=False)]
    return _slices(texts, told)


def _slices(texts: list[str], bounds: list[str]) -> str:
    """Write prices of which each holds for its own slice of a quantity."""
    if len(texts) == 1:
        return texts[0]
    first, *between = bounds
    middle = [f"{text} up to {bound}" for text, bound in zip(texts[1:-1], between, strict=True)]
    return ", ".join([f"{texts[0]} for the first {first}", *middle, f"then {texts[-1]}"])


def _volume_text(charge: Charge, units: _Units, texts: list[str]) -> str:
    """Write prices of which one holds for the whole quantity."""
    if len(texts) == 1:
        return texts[0]
    parts, bounds = [], [tier.up_to for tier in charge.tiers if tier.up_to is not None]
    for number, text in enumerate(texts):
        whole = f"{text} for every one" if charge.tiers[number].unit_cost_cents else text
        if number == 0:
            parts.append(f"{text} up to {_bound(bounds[0], units, is_told=' per ' in text)} in all")
        elif number < len(bounds):
            parts.append(f"up to {_bound(bounds[number], units, is_told=True)}, {whole}")
        else:
            parts.append(f"with more, {whole}")
    return "; ".join(parts)


def _tier_cost(tier: Tier, charge: Charge, currency: str, units: _Units) -> str:
    flat = [money_text(tier.flat_cost_cents, currency)] if tier.flat_cost_cents else []
    each = [_each(tier.unit_cost_cents, charge, currency, units)] if tier.unit_cost_cents else []
    return " plus ".join([*flat, *each]) or FREE


def _flat_at_zero(charge: Charge, currency: str) -> str:
    flat = charge.tiers[0].flat_cost_cents
    return (
        f" (the {money_text(flat, currency)} also without any use)" if charge.first_tier_flat_at_zero and flat else ""
    )


def _bound(quantity: Decimal, units: _Units, *, is_told: bool) -> str:
    """A bound of a tier; without its unit where the text before has told it and counts in it."""
    return number_text(quantity) if is_told and units.name else units.count(quantity)


@exactly
def _reach(tier: Tier, above: Decimal | None, charge: Charge, currency: str, units: _Units) -> str:
    """The first column of a table: First 1,000, Next 4,000, Beyond 5,000; of a volume price Up to 1,000 in all."""

    def quantity(number: Decimal) -> str:
        if charge.model == GRADUATED_PERCENTAGE:
            return _amount(number, currency)
        return number_text(number if units.name else number * units.size)

    if tier.up_to is None:
        return f"More than {quantity(above)}" if above is not None else "All"
    if charge.model == VOLUME:
        return f"Up to {quantity(tier.up_to)}"
    return f"First {quantity(tier.up_to)}" if above is None else f"Next {quantity(tier.up_to - above)}"


def _rule(charge: Charge, units: _Units) -> str:
    if charge.model == VOLUME:
        return f"The number of all {units.several} decides, and each of them costs the price of its row."
    what = "part of the amount" if charge.model == GRADUATED_PERCENTAGE else units.name or units.metered
    return f"Each {what} costs the price of the row that it falls into."


def _bounds(charge: Charge, currency: str, clock: Clock) -> list[str]:
    """Write between what amounts a period comes to."""
    least, most = charge.minimum_cents, charge.maximum_cents
    bounds = [f"at least {money_text(least, currency)}"] if least else []
    bounds += [f"at most {money_text(most, currency)}"] if most else []
    return [*bounds[:-1], f"{bounds[-1]} {each_text(clock)}"] if bounds else []


def _amount(major: Decimal, currency: str) -> str:
    return money_text(minor_units(major, currency), currency)


def _percent(rate: Decimal) -> str:
    return f"{plain_number(rate)}%"


def _range(least: str, most: str) -> str:
    return least if least == most else f"{least} to {most}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
