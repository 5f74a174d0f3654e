"""Whether an event would count exactly the units that somebody wants to use: what its metric asks of it. No clock, no
database."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from plans.money import plain_number
from plans.refusals import InvalidInput

# A text is counted as a number in this form only; see metering.measure_sql.
_NUMBER_TEXT = re.compile(r"-?[0-9]{1,18}(\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Counting:
    """How a metric counts: the sum of its events (`aggregation` SUM) or their number (COUNT), of which name, with which
    properties, by the value or by a property."""

    aggregation: str
    event_name: str
    property_filter: Mapping[str, Any]
    value_property: str


def check_counts_exactly(counting: Counting, units: Decimal, properties: Mapping[str, Any]) -> None:
    """Raise InvalidInput, with the path of the field, unless an event of this value and with these properties counts as
    exactly `units`."""
    check_value(counting, units)
    _check_filter(counting.property_filter, properties)
    if counting.aggregation == "SUM":
        _check_summed_property(counting.value_property, units, properties)


def check_value(counting: Counting, units: Decimal) -> None:
    """Raise InvalidInput for units that no event can count as."""
    if counting.aggregation == "COUNT" and units != 1:
        raise InvalidInput.at("value", "must be 1, because the feature's metric counts events and not their values.")


def _check_filter(property_filter: Mapping[str, Any], properties: Mapping[str, Any]) -> None:
    for name, wanted in property_filter.items():
        found = properties.get(name)
        if not any(_is_same(found, value) for value in wanted):
            raise InvalidInput.at(
                f"properties.{name}", "must have one of the values that the feature's metric counts: " + _listed(wanted)
            )


def _is_same(found: Any, wanted: Any) -> bool:
    """Tell whether two JSON values are equal: 1 and 1.0 are, 1 and "1" or true are not."""
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    return bool(found == wanted)


def _listed(values: list[Any]) -> str:
    return ", ".join(f'"{value}"' if isinstance(value, str) else str(value).lower() for value in values) + "."


def _check_summed_property(name: str, units: Decimal, properties: Mapping[str, Any]) -> None:
    if name and _number_of(properties.get(name)) != units:
        raise InvalidInput.at(
            f"properties.{name}",
            f"must be {plain_number(units)} as value is, because the feature's metric sums this property.",
        )


def _number_of(found: Any) -> Decimal | None:
    if isinstance(found, str):
        return Decimal(found) if _NUMBER_TEXT.fullmatch(found) else None
    return None if isinstance(found, bool) or not isinstance(found, int | Decimal) else Decimal(found)
