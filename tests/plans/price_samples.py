"""A component of each kind and model, in the price language, and ways to read it."""

import pytest

from plans.periods import Clock
from plans.price_language import read_pricing_data
from plans.pricing import GRADUATED, GRADUATED_PERCENTAGE, PACKAGE, PERCENTAGE, VOLUME
from plans.refusals import InvalidInput

FIXED = {"type": "fixed", "amount_cents": 2900, "recurrence_rule": "RRULE:FREQ=MONTHLY;INTERVAL=1"}
SEATS = {"type": "per_unit", "amount_cents": 1500, "recurrence_rule": "FREQ=MONTHLY"}
BARE_USAGE = {"type": "usage", "metric_id": "met_1", "recurrence_rule": "FREQ=MONTHLY"}
USAGE = BARE_USAGE | {"unit_cost_cents": 5}
TIERS = [{"up_to": "1000", "unit_cost_cents": "5", "flat_cost_cents": "0"}, {"up_to": None, "unit_cost_cents": "4"}]
RATES = [{"up_to": 1000, "rate_percent": 3}, {"up_to": None, "rate_percent": "2.5"}]
BY_TIERS = BARE_USAGE | {"model": GRADUATED, "tiers": TIERS}
BY_VOLUME = BARE_USAGE | {"model": VOLUME, "tiers": TIERS}
BY_RATES = BARE_USAGE | {"model": GRADUATED_PERCENTAGE, "tiers": RATES}
BY_PACKAGE = BARE_USAGE | {"model": PACKAGE, "package_size": 1000, "package_cost_cents": 250}
BY_PERCENT = BARE_USAGE | {"model": PERCENTAGE, "rate_percent": "2.9"}
MONTHLY = Clock("MONTHLY")


def data(*components, **changes):
    """A price of these components."""
    return {"dsl_version": 1, "components": list(components)} | changes


def path_refused(value, **words):
    """The path of the field that a price is refused for."""
    with pytest.raises(InvalidInput) as refused:
        read_pricing_data(value, **words)
    (detail,) = refused.value.details
    assert detail["message"]
    return detail["path"]


def field_refused(component):
    """The path of the refused field of a component that stands second."""
    path = path_refused(data(FIXED, component))
    assert path.startswith("pricingData.components[1].")
    return path.removeprefix("pricingData.components[1].")


def read_one(component):
    """The terms of a price of this component alone."""
    (terms,) = read_pricing_data(data(component))
    return terms


def tier(up_to, **terms):
    """A tier at 1 up to a bound."""
    return {"up_to": up_to, "unit_cost_cents": 1} | terms
