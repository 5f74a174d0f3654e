"""The price language: reading and checking it. No clock, no database.

A price is `{"dsl_version": 1, "components": […]}`. A `fixed` component is a fee in advance; a `usage` component charges
`unit_cost_cents` for each metered unit in arrears.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations
from typing import Any

from plans.periods import Clock, nests, parse_recurrence
from plans.refusals import InvalidInput

DSL_VERSION = 1
MOST_COMPONENTS = 50
LARGEST_AMOUNT_CENTS = 10**12
LARGEST_UNIT_COST_CENTS = Decimal(10**9)
UNIT_COST_DECIMALS = 12
_SMALLEST_COST = Decimal(10) ** -UNIT_COST_DECIMALS
_PLAIN_DECIMAL = re.compile(r"[0-9]{1,10}(\.[0-9]{1,30})?([eE]-?[0-9]{1,2})?")
_COMMON_KEYS = {"type", "component_id", "component_name", "label", "recurrence_rule"}
_KEYS = {
    "fixed": _COMMON_KEYS | {"amount_cents"},
    "usage": _COMMON_KEYS | {"unit_label", "metric_id", "unit_cost_cents", "model"},
}


@dataclass(frozen=True, slots=True)
class ComponentTerms:
    """One component as the price language states it. Money in minor units; `metric_id` is the metric's public id."""

    kind: str
    clock: Clock
    component_id: str | None = None
    component_name: str = ""
    label: str = ""
    unit_label: str = ""
    metric_id: str | None = None
    amount_cents: int | None = None
    unit_cost_cents: Decimal | None = None


def read_pricing_data(data: Any, *, path: str = "pricingData") -> list[ComponentTerms]:
    """Read and check a price. Raises InvalidInput with the path of the first field that cannot be accepted."""
    if not isinstance(data, dict):
        raise InvalidInput.at(path, 'must be an object like {"dsl_version": 1, "components": […]}.')
    if data and not data.keys() & {"dsl_version", "components"}:
        raise InvalidInput.at(
            path,
            'must be written in the price language, {"dsl_version": 1, "components": […]}; other shapes are not read.',
        )
    unknown = sorted(set(data) - {"dsl_version", "components"})
    if unknown:
        raise InvalidInput.at(f"{path}.{unknown[0]}", "is not a key of a price; the keys are dsl_version, components.")
    if data.get("dsl_version") != DSL_VERSION or isinstance(data.get("dsl_version"), bool):
        raise InvalidInput.at(f"{path}.dsl_version", "must be 1.")
    components = data.get("components")
    if not isinstance(components, list) or not 1 <= len(components) <= MOST_COMPONENTS:
        raise InvalidInput.at(f"{path}.components", f"must be a list of 1 to {MOST_COMPONENTS} components.")
    terms = [_read_component(entry, f"{path}.components[{index}]") for index, entry in enumerate(components)]
    _check_together(terms, path)
    return terms


def _read_component(entry: Any, path: str) -> ComponentTerms:
    if not isinstance(entry, dict):
        raise InvalidInput.at(path, "must be an object.")
    kind = entry.get("type")
    if not isinstance(kind, str) or kind not in _KEYS:
        raise InvalidInput.at(f"{path}.type", "must be fixed or usage.")
    unknown = sorted(set(entry) - _KEYS[kind])
    if unknown:
        known = ", ".join(sorted(_KEYS[kind]))
        raise InvalidInput.at(f"{path}.{unknown[0]}", f"is not a key of a {kind} component; the keys are {known}.")
    terms: dict[str, Any] = {
        "kind": kind,
        "clock": parse_recurrence(entry.get("recurrence_rule"), path=f"{path}.recurrence_rule"),
        "component_id": _text(entry, "component_id", path, 80) or None,
        "component_name": _text(entry, "component_name", path, 120),
        "label": _text(entry, "label", path, 200),
    }
    if kind == "fixed":
        return ComponentTerms(**terms, amount_cents=_read_amount(entry.get("amount_cents"), f"{path}.amount_cents"))
    if entry.get("model", "per_unit") != "per_unit":
        raise InvalidInput.at(f"{path}.model", "must be per_unit.")
    metric_id = _text(entry, "metric_id", path, 80)
    if not metric_id:
        raise InvalidInput.at(f"{path}.metric_id", "is required: the id of the metric that counts the usage.")
    return ComponentTerms(
        **terms,
        unit_label=_text(entry, "unit_label", path, 60),
        metric_id=metric_id,
        unit_cost_cents=_read_unit_cost(entry.get("unit_cost_cents"), f"{path}.unit_cost_cents"),
    )


def _text(entry: dict[str, Any], key: str, path: str, longest: int) -> str:
    value = entry.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > longest:
        raise InvalidInput.at(f"{path}.{key}", f"must be text of at most {longest} characters.")
    return value


def _read_amount(value: Any, path: str) -> int:
    if isinstance(value, Decimal) and value == value.to_integral_value():
        value = int(value)
    rule = f"must be a whole number of minor units from 0 to {LARGEST_AMOUNT_CENTS}."
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        # The wire contract has this sentence.
        raise InvalidInput(
            "Invalid pricing data: amount must be a non-negative integer", details=[{"path": path, "message": rule}]
        )
    if value > LARGEST_AMOUNT_CENTS:
        raise InvalidInput.at(path, rule)
    return value


def _read_unit_cost(value: Any, path: str) -> Decimal:
    refusal = InvalidInput.at(
        path,
        f"must be a number of minor units from 0 to {LARGEST_UNIT_COST_CENTS} with at most "
        f"{UNIT_COST_DECIMALS} decimals.",
    )
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise refusal
    if isinstance(value, str) and not _PLAIN_DECIMAL.fullmatch(value):
        raise refusal
    cost = Decimal(value)
    # Judged by its first digit: arithmetic on a number like 1e999999999 would overflow.
    if not cost.is_finite() or (cost.is_signed() and cost) or cost.adjusted() > 9 or cost > LARGEST_UNIT_COST_CENTS:
        raise refusal
    rounded = cost.quantize(_SMALLEST_COST) if cost else Decimal(0)
    if rounded != cost:
        raise refusal
    return rounded


def _check_together(terms: list[ComponentTerms], path: str) -> None:
    for (first_index, first), (second_index, second) in combinations(enumerate(terms), 2):
        here = f"{path}.components[{second_index}]"
        if first.component_id and first.component_id == second.component_id:
            raise InvalidInput.at(f"{here}.component_id", f"is that of components[{first_index}] too.")
        if first.metric_id and first.metric_id == second.metric_id:
            raise InvalidInput.at(
                f"{here}.metric_id", f"is priced by components[{first_index}] already; a price prices a metric once."
            )
        if not nests(first.clock, second.clock) and not nests(second.clock, first.clock):
            raise InvalidInput.at(
                f"{here}.recurrence_rule",
                f"does not nest with components[{first_index}]: each boundary of the longer clock must be one of the "
                "shorter.",
            )
