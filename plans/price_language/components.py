"""One component of a price: which terms its kind and its model take, and reading them."""

from collections.abc import Collection
from decimal import Decimal
from typing import Any

from plans.money import exactly
from plans.periods import parse_recurrence
from plans.price_language.numbers import (
    LARGEST_AMOUNT_CENTS,
    LUMP_COSTS,
    PERCENT,
    UNIT_COSTS,
    UNITS,
    exact_number,
    read_amount,
    read_number,
    read_whole_number,
)
from plans.price_language.terms import ComponentTerms
from plans.price_language.tiers import keys_of, read_tiers
from plans.pricing import (
    DIVIDE_ROUNDS,
    MODELS,
    OF_AMOUNTS,
    PACKAGE,
    PACKAGE_ROUNDS,
    PER_UNIT,
    PERCENTAGE,
    TIERED,
)
from plans.refusals import InvalidInput

LARGEST_MINIMUM_QUANTITY = 10**6
_COMMON_KEYS = {"type", "component_id", "component_name", "label", "recurrence_rule"}
_PRICED_KEYS = _COMMON_KEYS | {
    "model", "unit_label", "metric_id", "tiers", "first_tier_flat_at_zero", "package_size", "package_cost_cents",
    "package_round", "divide_by", "divide_round", "included_units", "minimum_cents", "maximum_cents",
}  # fmt: skip
# The contract does not show the name of the first; the pricing table calls it as the last.
_MINIMUM_QUANTITY_KEYS = ("minimum_quantity", "min_seats", "minSeats")
_KEYS = {
    "fixed": _COMMON_KEYS | {"amount_cents"},
    "per_unit": _PRICED_KEYS | {"amount_cents", "bill_immediately", *_MINIMUM_QUANTITY_KEYS},
    "usage": _PRICED_KEYS | {"unit_cost_cents", "rate_percent", "fixed_cost_cents"},
}
_UNIT_PRICE_KEYS = {"per_unit": "amount_cents", "usage": "unit_cost_cents"}
_TIER_KEYS = ("tiers", "first_tier_flat_at_zero")
_PACKAGE_KEYS = ("package_size", "package_cost_cents", "package_round")
_PERCENTAGE_KEYS = ("rate_percent", "fixed_cost_cents")
_KEYS_OF_MODELS = {*_UNIT_PRICE_KEYS.values(), *_TIER_KEYS, *_PACKAGE_KEYS, *_PERCENTAGE_KEYS}


def read_component(entry: Any, path: str) -> ComponentTerms:
    """Read one component. Raises InvalidInput with the path of the first field that cannot be accepted."""
    if not isinstance(entry, dict):
        raise InvalidInput.at(path, "must be an object.")
    kind = entry.get("type")
    if not isinstance(kind, str) or kind not in _KEYS:
        raise InvalidInput.at(f"{path}.type", "must be fixed, per_unit or usage.")
    unknown = sorted(set(entry) - _KEYS[kind])
    if unknown:
        known = ", ".join(sorted(_KEYS[kind]))
        raise InvalidInput.at(f"{path}.{unknown[0]}", f"is not a key of a {kind} component; the keys are {known}.")
    # Null says nothing, so it is the same as leaving the key out.
    entry = {key: value for key, value in entry.items() if value is not None}
    terms: dict[str, Any] = {
        "kind": kind,
        "clock": parse_recurrence(entry.get("recurrence_rule"), path=f"{path}.recurrence_rule"),
        "component_id": _text(entry, "component_id", path, 80) or None,
        "component_name": _text(entry, "component_name", path, 120),
        "label": _text(entry, "label", path, 200),
    }
    if kind == "fixed":
        return ComponentTerms(**terms, amount_cents=read_amount(entry.get("amount_cents"), f"{path}.amount_cents"))
    terms |= {"unit_label": _text(entry, "unit_label", path, 60)} | _read_metric(entry, path, kind)
    terms |= _read_model(entry, path, kind) | _read_conversion(entry, path) | _read_limits(entry, path)
    if kind == "per_unit":
        terms |= {
            "minimum_quantity": _read_minimum_quantity(entry, path),
            "bill_immediately": _switch(entry, "bill_immediately", path, default=True),
        }
    return ComponentTerms(**terms)


def _read_metric(entry: dict[str, Any], path: str, kind: str) -> dict[str, Any]:
    metric_id = _text(entry, "metric_id", path, 80) or None
    if kind == "usage" and metric_id is None:
        raise InvalidInput.at(f"{path}.metric_id", "is required: the id of the metric that counts the usage.")
    return {"metric_id": metric_id, "metric_path": f"{path}.metric_id"}


def _read_model(entry: dict[str, Any], path: str, kind: str) -> dict[str, Any]:
    """Read the model and the terms that belong to it alone."""
    model = _choice(entry, "model", path, MODELS, default=PER_UNIT)
    if model in OF_AMOUNTS and kind != "usage":
        raise InvalidInput.at(
            f"{path}.model", f"cannot be {model}: percentages are taken of metered amounts, by usage."
        )
    keys = _keys_of_model(model, kind)
    others = sorted(_KEYS_OF_MODELS & set(entry) - set(keys))
    if others:
        raise InvalidInput.at(
            f"{path}.{others[0]}", f"cannot be used with the model {model}, which takes {', '.join(keys)}."
        )
    terms: dict[str, Any] = {"model": model}
    if model in TIERED:
        return terms | {
            "tiers": read_tiers(entry.get("tiers"), f"{path}.tiers", keys_of(model)),
            "first_tier_flat_at_zero": _switch(entry, "first_tier_flat_at_zero", path, default=False),
        }
    if model == PACKAGE:
        return terms | {
            "package_size": read_number(entry.get("package_size"), f"{path}.package_size", UNITS, above_zero=True),
            "package_cost_cents": read_number(
                entry.get("package_cost_cents"), f"{path}.package_cost_cents", LUMP_COSTS
            ),
            "package_round": _choice(entry, "package_round", path, PACKAGE_ROUNDS, default="up"),
        }
    if model == PERCENTAGE:
        return terms | {
            "rate_percent": read_number(entry.get("rate_percent"), f"{path}.rate_percent", PERCENT),
            "fixed_cost_cents": read_number(entry.get("fixed_cost_cents", 0), f"{path}.fixed_cost_cents", UNIT_COSTS),
        }
    if kind == "per_unit":
        return terms | {"amount_cents": read_amount(entry.get("amount_cents"), f"{path}.amount_cents")}
    return terms | {"unit_cost_cents": read_number(entry.get("unit_cost_cents"), f"{path}.unit_cost_cents", UNIT_COSTS)}


def _keys_of_model(model: str, kind: str) -> tuple[str, ...]:
    if model in TIERED:
        return _TIER_KEYS
    if model == PACKAGE:
        return _PACKAGE_KEYS
    return _PERCENTAGE_KEYS if model == PERCENTAGE else (_UNIT_PRICE_KEYS[kind],)


def _read_conversion(entry: dict[str, Any], path: str) -> dict[str, Any]:
    """Read what happens to metered units before the model sees them."""
    divide_by = None
    if "divide_by" in entry:
        divide_by = read_number(entry["divide_by"], f"{path}.divide_by", UNITS, above_zero=True)
    divide_round = _choice(entry, "divide_round", path, DIVIDE_ROUNDS, default="none")
    if divide_by is None and divide_round != "none":
        raise InvalidInput.at(f"{path}.divide_round", "needs divide_by.")
    included = read_number(entry.get("included_units", 0), f"{path}.included_units", UNITS)
    _check_included(included, divide_by, path)
    if divide_round != "none" and included % 1:
        # Rounded units come whole, so that a part of one would be charged however much of it was credited.
        raise InvalidInput.at(f"{path}.included_units", f"must be whole with divide_round {divide_round}.")
    return {"divide_by": divide_by, "divide_round": divide_round, "included_units": included}


@exactly
def _check_included(included: Decimal, divide_by: Decimal | None, path: str) -> None:
    """Refuse what cannot be written as metered units, which is what allowances and ledgers count in."""
    metered = exact_number(included * (divide_by or 1), decimals=UNITS.decimals)
    if metered is None or metered > UNITS.largest:
        raise InvalidInput.at(
            f"{path}.included_units",
            f"must come to at most {UNITS.largest} metered units, with at most {UNITS.decimals} decimals, when "
            "multiplied by divide_by.",
        )


def _read_limits(entry: dict[str, Any], path: str) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    for key in ("minimum_cents", "maximum_cents"):
        if key in entry:
            limits[key] = read_whole_number(entry[key], f"{path}.{key}", largest=LARGEST_AMOUNT_CENTS, of="minor units")
    if limits.get("minimum_cents", 0) > limits.get("maximum_cents", LARGEST_AMOUNT_CENTS):
        raise InvalidInput.at(f"{path}.maximum_cents", "must not be below minimum_cents.")
    return limits


def _read_minimum_quantity(entry: dict[str, Any], path: str) -> int:
    found = {
        key: read_whole_number(entry[key], f"{path}.{key}", largest=LARGEST_MINIMUM_QUANTITY, of="units")
        for key in _MINIMUM_QUANTITY_KEYS
        if key in entry
    }
    if len(set(found.values())) > 1:
        raise InvalidInput.at(
            f"{path}.{list(found)[1]}", f"is another name of {next(iter(found))} and says another number."
        )
    return next(iter(found.values()), 0)


def _text(entry: dict[str, Any], key: str, path: str, longest: int) -> str:
    value = entry.get(key, "")
    if not isinstance(value, str) or len(value) > longest:
        raise InvalidInput.at(f"{path}.{key}", f"must be text of at most {longest} characters.")
    return value


def _switch(entry: dict[str, Any], key: str, path: str, *, default: bool) -> bool:
    value = entry.get(key, default)
    if not isinstance(value, bool):
        raise InvalidInput.at(f"{path}.{key}", "must be true or false.")
    return value


def _choice(entry: dict[str, Any], key: str, path: str, words: Collection[str], *, default: str) -> str:
    value = entry.get(key, default)
    if not isinstance(value, str) or value not in words:
        raise InvalidInput.at(f"{path}.{key}", f"must be one of {', '.join(words)}.")
    return value
