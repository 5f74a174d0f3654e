"""What a plan gives and costs beyond its fee, in lines for pages."""

from collections.abc import Sequence
from dataclasses import dataclass

from plans.cards import Card, Given, Quota, Rate
from plans.models import Price
from plans.page_words import counted_text, each_text, number_text
from plans.words import money_text


@dataclass(frozen=True, kw_only=True)
class FeatureLine:
    """A line of a card: what comes with the plan, and what it costs beyond that."""

    text: str
    beyond: str


def feature_lines(card: Card) -> list[FeatureLine]:
    """Write a line for each feature of a card, and for what its price meters beside them; what is counted first."""
    given = sorted((*card.given, *card.priced_beside), key=lambda one: not (one.quotas or one.rates))
    return [_feature_line(one, card.price) for one in given]


def _feature_line(given: Given, price: Price | None) -> FeatureLine:
    unit = given.rates[0].unit_label if len(given.rates) == 1 else ""
    # Units that cost nothing end with what is included, unless nothing is.
    rated = [rate for rate in given.rates if rate.unit_cost_cents or not given.quotas]
    rates = _rates_text(rated, price.currency) if price is not None else ""
    if given.quotas:
        included = ", and ".join(_quota_text(quota, given.name, unit) for quota in given.quotas)
        return FeatureLine(text=included, beyond=f"then {rates}" if rates else "")
    text = f"{given.name}: {number_text(given.number) if given.number is not None else given.text}"
    return FeatureLine(text=text if given.number is not None or given.text else given.name, beyond=rates)


def _quota_text(quota: Quota, name: str, unit_label: str) -> str:
    """Write what a quota includes: 10,000 API calls included each month."""
    included = f"{counted_text(quota.units, name, unit_label)} included"
    if not quota.renews:
        return f"{included} once"
    if quota.clock is None:
        return included
    often = each_text(quota.clock)
    if quota.later_units == quota.units:
        return f"{included} {often}"
    return f"{included} at first, {number_text(quota.later_units)} {often} after that"


def _rates_text(rates: Sequence[Rate], currency: str) -> str:
    """Write what usage costs: $0.05 per call."""
    return ", ".join(
        f"{money_text(rate.unit_cost_cents, currency)} per {rate.unit_label or 'unit'}"
        if rate.unit_cost_cents
        else "free of charge"
        for rate in rates
    )
