"""The price language: reading and checking it. No clock, no database.

A price is `{"dsl_version": 1, "components": […]}`. A `fixed` component is a fee in advance, a `per_unit` one units in
advance such as seats, and a `usage` component charges metered units in arrears. The contract's other shapes are read as
a price of one component.
"""

from itertools import combinations
from typing import Any

from plans.periods import nests
from plans.price_language.components import LARGEST_MINIMUM_QUANTITY, read_component
from plans.price_language.numbers import LARGEST_AMOUNT_CENTS, LARGEST_UNIT_COST_CENTS, UNIT_COST_DECIMALS
from plans.price_language.other_shapes import FLAT_FIELDS, is_other_shape, read_flat_fields, read_other_shape
from plans.price_language.terms import ComponentTerms
from plans.price_language.tiers import MOST_TIERS
from plans.refusals import InvalidInput

__all__ = [
    "DSL_VERSION",
    "FLAT_FIELDS",
    "LARGEST_AMOUNT_CENTS",
    "LARGEST_MINIMUM_QUANTITY",
    "LARGEST_UNIT_COST_CENTS",
    "MOST_COMPONENTS",
    "MOST_TIERS",
    "UNIT_COST_DECIMALS",
    "ComponentTerms",
    "read_flat_fields",
    "read_pricing_data",
]

DSL_VERSION = 1
MOST_COMPONENTS = 50


def read_pricing_data(data: Any, *, path: str = "pricingData") -> list[ComponentTerms]:
    """Read and check a price. Raises InvalidInput with the path of the first field that cannot be accepted."""
    if not isinstance(data, dict):
        raise InvalidInput.at(path, 'must be an object like {"dsl_version": 1, "components": […]}.')
    if is_other_shape(data):
        return [read_other_shape(data, path)]
    unknown = sorted(set(data) - {"dsl_version", "components"})
    if unknown:
        raise InvalidInput.at(f"{path}.{unknown[0]}", "is not a key of a price; the keys are dsl_version, components.")
    if data.get("dsl_version") != DSL_VERSION or isinstance(data.get("dsl_version"), bool):
        raise InvalidInput.at(f"{path}.dsl_version", "must be 1.")
    components = data.get("components")
    if not isinstance(components, list) or not 1 <= len(components) <= MOST_COMPONENTS:
        raise InvalidInput.at(f"{path}.components", f"must be a list of 1 to {MOST_COMPONENTS} components.")
    terms = [read_component(entry, f"{path}.components[{index}]") for index, entry in enumerate(components)]
    _check_together(terms, path)
    return terms


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
