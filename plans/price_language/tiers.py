"""Tiers: reading a list of them, and what makes it a price for every quantity."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from plans.price_language.numbers import LUMP_COSTS, PERCENT, UNIT_COSTS, UNITS, read_number
from plans.pricing import GRADUATED_PERCENTAGE, Tier
from plans.refusals import InvalidInput

MOST_TIERS = 100


@dataclass(frozen=True, slots=True)
class TierKeys:
    """How a tier's terms are called; None where it cannot have one."""

    up_to: str = "up_to"
    unit_cost: str | None = "unit_cost_cents"
    rate: str | None = None
    flat_cost: str | None = "flat_cost_cents"

    @property
    def all(self) -> list[str]:
        """The keys that a tier may have."""
        return [key for key in (self.up_to, self.unit_cost, self.rate, self.flat_cost) if key is not None]


def keys_of(model: str) -> TierKeys:
    """How the terms of the tiers of a model are called."""
    return TierKeys(unit_cost=None, rate="rate_percent") if model == GRADUATED_PERCENTAGE else TierKeys()


def read_tiers(value: Any, path: str, keys: TierKeys) -> tuple[Tier, ...]:
    """Read tiers whose bounds rise up to an open end. Raises InvalidInput with the path of what is wrong."""
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_TIERS:
        raise InvalidInput.at(path, f"must be a list of 1 to {MOST_TIERS} tiers, the last one without an upper bound.")
    tiers = tuple(_read_tier(entry, f"{path}[{index}]", keys) for index, entry in enumerate(value))
    _check_bounds(tiers, path, keys.up_to)
    return tiers


def _read_tier(entry: Any, path: str, keys: TierKeys) -> Tier:
    if not isinstance(entry, dict):
        raise InvalidInput.at(path, "must be an object.")
    unknown = sorted(set(entry) - set(keys.all))
    if unknown:
        raise InvalidInput.at(f"{path}.{unknown[0]}", f"is not a key of this tier; the keys are {', '.join(keys.all)}.")
    price = keys.unit_cost or keys.rate
    if entry.get(price) is None and (keys.flat_cost is None or entry.get(keys.flat_cost) is None):
        raise InvalidInput.at(f"{path}.{price}", "is required.")
    up_to = entry.get(keys.up_to)
    return Tier(
        up_to=None if up_to is None else read_number(up_to, f"{path}.{keys.up_to}", UNITS, above_zero=True),
        unit_cost_cents=_cost(entry, path, keys.unit_cost, UNIT_COSTS),
        rate_percent=_cost(entry, path, keys.rate, PERCENT),
        flat_cost_cents=_cost(entry, path, keys.flat_cost, LUMP_COSTS),
    )


def _cost(entry: dict[str, Any], path: str, key: str | None, bounds: Any) -> Decimal:
    value = None if key is None else entry.get(key)
    return Decimal(0) if value is None else read_number(value, f"{path}.{key}", bounds)


def _check_bounds(tiers: tuple[Tier, ...], path: str, key: str) -> None:
    before = Decimal(0)
    for index, tier in enumerate(tiers[:-1]):
        here = f"{path}[{index}].{key}"
        if tier.up_to is None:
            raise InvalidInput.at(here, "must be a bound: only the last tier has an open end.")
        if tier.up_to <= before:
            raise InvalidInput.at(here, f"must be above {before:f}, the bound of the tier before.")
        before = tier.up_to
    if tiers[-1].up_to is not None:
        raise InvalidInput.at(
            f"{path}[{len(tiers) - 1}].{key}",
            "must be null: the last tier has an open end, so that each unit has a price.",
        )
