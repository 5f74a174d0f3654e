"""May this customer do this right now? The decision, from what was read. No clock, no database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from credits.burn import ZERO
from credits.positions import Position
from plans.money import exactly


@dataclass(frozen=True, slots=True)
class SoldFeature:
    """A feature as a customer has it. `metrics` are those that measure it: the key and the public id of each.

    `value`, `overage` and `source` are those of the copy that was sold with a live subscription; without one `source`
    is None. `quota` tells whether the plan version has a credit definition for a metric of it, `sold_units` are the
    units that a whole period of each metric includes by the plan's number, by the metrics' keys, and `is_suspended`
    tells whether it was sold with a subscription that is paused or unpaid, so that nobody may use it, whatever grants
    are left.
    """

    key: int
    slug: str
    name: str
    value: Any
    overage: str | None
    source: str | None
    metrics: tuple[tuple[int, str], ...]
    quota: bool
    is_suspended: bool = False
    sold_units: Mapping[int, Decimal] = field(default_factory=dict)

    @property
    def numeric_limit(self) -> Decimal | None:
        """The limit of a numeric value."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float | Decimal):
            return None
        return Decimal(str(self.value))

    @property
    def is_capped(self) -> bool:
        """Tell whether something limits it: a quota or a number. Pay as you go is not capped."""
        return self.quota or self.numeric_limit is not None


@dataclass(frozen=True, slots=True)
class CreditInfo:
    """The live numbers of the credits behind a decision, in metered units."""

    allowance: Decimal
    remaining: Decimal
    next_expiry_at: datetime | None


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to a check. `limit` and `remaining` are None when nothing limits the feature."""

    entitled: bool
    slug: str
    name: str
    value: Any
    source: str
    usages: tuple[tuple[str, Decimal], ...] = ()
    usage: Decimal | None = None
    limit: Decimal | None = None
    remaining: Decimal | None = None
    overage_allowed: bool = False
    credit_info: CreditInfo | None = None


def unknown_feature(slug: str) -> Decision:
    """The answer for a slug that nobody has defined: no."""
    return Decision(entitled=False, slug=slug, name=slug, value=None, source="default")


@exactly
def decide(feature: SoldFeature, positions: Sequence[Position], at: datetime) -> Decision:
    """Decide a check of `feature` at `at`; `positions` are the customer's in the feature's metrics, in their order.

    A number that no quota takes the place of is the limit of the period that `at` lies in, whatever units the period
    includes before it is billed: these stay what was sold when an override, or a change of the feature, says another
    number.
    """
    if feature.numeric_limit is not None and not feature.quota:
        limit = max(feature.numeric_limit, ZERO)
        positions = [
            _limited(position, limit, at, sold=feature.sold_units.get(key))
            for (key, _), position in zip(feature.metrics, positions, strict=True)
        ]
    granted = [grant for position in positions for grant in position.active_grants(at)]
    sold = feature.source is not None
    source = "credits" if granted else feature.source or "default"
    usages = tuple(
        (public_id, _usage(position, at)) for (_, public_id), position in zip(feature.metrics, positions, strict=True)
    )
    common: dict[str, Any] = {
        "slug": feature.slug,
        "name": feature.name,
        "value": feature.value if sold else None,
        "source": source,
        "usages": usages,
        "usage": sum((units for _, units in usages), ZERO) if usages else None,
        "overage_allowed": sold and feature.overage == "allow",
    }
    if feature.is_suspended:
        return Decision(entitled=False, remaining=ZERO, **common)
    credit_info = _credit_info(positions, at) if granted or (sold and feature.quota) else None
    is_switch = isinstance(feature.value, bool) and not feature.quota
    if not positions or (sold and is_switch and not granted):
        return Decision(entitled=sold and _is_on(feature.value), **common)
    if sold and not feature.is_capped and not is_switch:
        # Pay as you go: grants only reduce the charge.
        return Decision(entitled=_is_on(feature.value), credit_info=credit_info, **common)
    remaining = sum((position.remaining(at) for position in positions), ZERO)
    return Decision(
        entitled=remaining > 0 or common["overage_allowed"] or (sold and is_switch and _is_on(feature.value)),
        limit=_covered(positions, at) + remaining,
        remaining=remaining,
        credit_info=credit_info,
        **common,
    )


def _limited(position: Position, limit: Decimal, at: datetime, *, sold: Decimal | None) -> Position:
    """The position as if the plan's feature gave `limit` units in the period at `at`. Where that is a part of a turn,
    with other units than the `sold` ones of a whole, it keeps them, and what the limit is above or below these comes
    on top."""
    current = position.period_at(at)
    if current is None:
        return position
    if sold is not None and current.feature_units != sold:
        limit = max(current.feature_units + limit - sold, ZERO)
    if current.feature_units == limit:
        return position
    return replace(
        position,
        periods=tuple(
            replace(period, feature_units=limit) if period is current else period for period in position.periods
        ),
    )


def _is_on(value: Any) -> bool:
    """Tell whether a value without a count says yes: a switch that is on, a number above zero, any text."""
    return bool(value)


def _usage(position: Position, at: datetime) -> Decimal:
    start_at = position.window_start(at)
    return ZERO if start_at is None else position.used_since(start_at)


def _covered(positions: Sequence[Position], at: datetime) -> Decimal:
    starts = ((position, position.window_start(at)) for position in positions)
    return sum((position.covered_since(start_at) for position, start_at in starts if start_at is not None), ZERO)


def _credit_info(positions: Sequence[Position], at: datetime) -> CreditInfo:
    remaining = sum((position.remaining(at) for position in positions), ZERO)
    ends = [grant.ends_at for position in positions for grant in position.active_grants(at) if grant.ends_at]
    return CreditInfo(
        allowance=_covered(positions, at) + remaining, remaining=remaining, next_expiry_at=min(ends, default=None)
    )
