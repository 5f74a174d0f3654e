from dataclasses import dataclass, field
from decimal import Decimal

from plans.periods import Clock
from plans.pricing import PER_UNIT, Tier

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class ComponentTerms:
    """One component as the price language states it; what the terms of its model mean says `plans.pricing.Charge`.

    Money in minor units; `metric_id` is the metric's public id, and `metric_path` where it was named, for refusals that
    come after the reading.
    """

    kind: str
    clock: Clock
    component_id: str | None = None
    component_name: str = ""
    label: str = ""
    unit_label: str = ""
    metric_id: str | None = None
    amount_cents: int | None = None
    model: str = PER_UNIT
    unit_cost_cents: Decimal | None = None
    tiers: tuple[Tier, ...] = ()
    first_tier_flat_at_zero: bool = False
    package_size: Decimal | None = None
    package_cost_cents: Decimal | None = None
    package_round: str = "up"
    rate_percent: Decimal | None = None
    fixed_cost_cents: Decimal = ZERO
    divide_by: Decimal | None = None
    divide_round: str = "none"
    included_units: Decimal = ZERO
    minimum_cents: int | None = None
    maximum_cents: int | None = None
    minimum_quantity: int = 0
    bill_immediately: bool = True
    metric_path: str = field(default="", compare=False)
