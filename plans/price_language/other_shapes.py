"""The shapes of a price that the contract's pages show beside the language: each is read as one component."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from plans.periods import Clock, parse_recurrence
from plans.price_language.numbers import read_amount, read_whole_number
from plans.price_language.terms import ComponentTerms
from plans.price_language.tiers import TierKeys, read_tiers
from plans.pricing import GRADUATED
from plans.refusals import InvalidInput

FLAT_FIELDS = ("unitAmountCents", "billingInterval", "pricingModel", "metricId")
_LENGTH_KEYS = ("interval", "intervalCount")
_KEYS = {
    "recurring": ("type", "amountCents", *_LENGTH_KEYS),
    "flat_rate": ("type", "amount", *_LENGTH_KEYS),
    "tiered": ("type", "tiers", "metricId", *_LENGTH_KEYS),
}
_TIER_KEYS = TierKeys(up_to="upTo", unit_cost="unitAmount", flat_cost=None)
_FREQUENCIES = {"week": "WEEKLY", "month": "MONTHLY", "year": "YEARLY"}
_MODELS = ("flat", "per_seat", "tiered", "usage")


def is_other_shape(data: Mapping[str, Any]) -> bool:
    """Tell whether a price is written in one of these shapes rather than in the language."""
    return not data.keys() & {"dsl_version", "components"} and bool(data.keys() & {"type", *FLAT_FIELDS})


def read_other_shape(data: Mapping[str, Any], path: str) -> ComponentTerms:
    """Read a price written as recurring, flat_rate or tiered, or by flat fields. Raises InvalidInput with the path."""
    if "type" not in data:
        return read_flat_fields(data, path=f"{path}.")
    shape = data["type"]
    if not isinstance(shape, str) or shape not in _KEYS:
        raise InvalidInput.at(
            f"{path}.type",
            'must be recurring, flat_rate or tiered; or write {"dsl_version": 1, "components": […]} instead.',
        )
    _check_keys(data, _KEYS[shape], f"{path}.")
    clock = _clock(data, path)
    if shape == "recurring":
        return ComponentTerms("fixed", clock, amount_cents=read_amount(data.get("amountCents"), f"{path}.amountCents"))
    if shape == "flat_rate":
        return ComponentTerms("fixed", clock, amount_cents=read_amount(data.get("amount"), f"{path}.amount"))
    metric_id = _metric_id(data, f"{path}.")
    return ComponentTerms(
        "per_unit" if metric_id is None else "usage",
        clock,
        metric_id=metric_id,
        metric_path=f"{path}.metricId",
        model=GRADUATED,
        tiers=read_tiers(data.get("tiers"), f"{path}.tiers", _TIER_KEYS),
    )


def read_flat_fields(fields: Mapping[str, Any], *, path: str = "") -> ComponentTerms:
    """Read `unitAmountCents` each `billingInterval` (default month) as `pricingModel` (default flat) says.

    `path` stands before the names of the fields. Raises InvalidInput with the path of what is wrong.
    """
    _check_keys(fields, FLAT_FIELDS, path)
    model = fields.get("pricingModel") or "flat"
    if not isinstance(model, str) or model not in _MODELS:
        raise InvalidInput.at(f"{path}pricingModel", f"must be one of {', '.join(_MODELS)}.")
    if model == "tiered":
        raise InvalidInput.at(
            f"{path}pricingModel", "cannot be tiered without tiers; write them as components of pricingData."
        )
    interval = fields.get("billingInterval") or "month"
    if interval not in ("month", "year"):
        raise InvalidInput.at(f"{path}billingInterval", "must be month or year.")
    amount_cents = read_amount(fields.get("unitAmountCents"), f"{path}unitAmountCents")
    clock, metric_id = Clock(_FREQUENCIES[interval]), _metric_id(fields, path)
    if model == "flat":
        if metric_id is not None:
            raise InvalidInput.at(f"{path}metricId", "cannot be used with pricingModel flat, which counts nothing.")
        return ComponentTerms("fixed", clock, amount_cents=amount_cents)
    metric_path = f"{path}metricId"
    if model == "per_seat":
        return ComponentTerms(
            "per_unit", clock, amount_cents=amount_cents, metric_id=metric_id, metric_path=metric_path
        )
    if metric_id is None:
        raise InvalidInput.at(
            metric_path,
            "is required with pricingModel usage: the id of the metric that counts the usage. Or write a usage "
            "component in pricingData.",
        )
    return ComponentTerms(
        "usage", clock, unit_cost_cents=Decimal(amount_cents), metric_id=metric_id, metric_path=metric_path
    )


def _check_keys(data: Mapping[str, Any], keys: tuple[str, ...], path: str) -> None:
    unknown = sorted(set(data) - set(keys))
    if unknown:
        raise InvalidInput.at(f"{path}{unknown[0]}", f"is not a key of this price; the keys are {', '.join(keys)}.")


def _clock(data: Mapping[str, Any], path: str) -> Clock:
    interval = data.get("interval") or "month"
    if not isinstance(interval, str) or interval not in _FREQUENCIES:
        raise InvalidInput.at(f"{path}.interval", "must be week, month or year.")
    given = data.get("intervalCount")
    count = 1 if given is None else read_whole_number(given, f"{path}.intervalCount", largest=60, of="intervals")
    return parse_recurrence(f"FREQ={_FREQUENCIES[interval]};INTERVAL={count}", path=f"{path}.intervalCount")


def _metric_id(data: Mapping[str, Any], path: str) -> str | None:
    value = data.get("metricId") or None
    if value is not None and (not isinstance(value, str) or len(value) > 80):
        raise InvalidInput.at(f"{path}metricId", "must be the id of a metric.")
    return value
