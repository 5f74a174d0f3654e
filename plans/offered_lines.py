"""What a plan gives and costs beyond its fee, in lines for pages."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from plans.cards import Card, Given, Quota, Rate, Seats
from plans.charge_words import TierTable, advance_text, rate_text, tier_table
from plans.models import Price
from plans.page_words import counted_text, each_text, number_text
from plans.pricing import VOLUME


@dataclass(frozen=True, kw_only=True)
class FeatureLine:
    """A line of a card: what comes with the plan, what it costs beyond that, and tables of prices with many tiers."""

    text: str
    beyond: str
    tables: tuple[TierTable, ...] = ()


def feature_lines(card: Card) -> list[FeatureLine]:
    """Write a line for each feature of a card, and for what its price meters beside them: what is paid in advance
    first, then what is counted."""
    given = sorted((*card.given, *card.priced_beside), key=lambda one: not (one.quotas or one.rates))
    seats = [_seats_line(one, card.price) for one in card.seats if card.price is not None]
    return [*seats, *(_feature_line(one, card.price) for one in given)]


def _seats_line(seats: Seats, price: Price) -> FeatureLine:
    terms = {"currency": price.currency, "unit_label": seats.unit_label}
    cost = advance_text(seats.charge, **terms, clock=seats.clock, least=seats.least, is_short=True)
    table = tier_table(seats.charge, **terms)
    return FeatureLine(text=seats.name, beyond=cost, tables=(table,) if table else ())


def _feature_line(given: Given, price: Price | None) -> FeatureLine:
    unit = given.rates[0].counted_unit if len(given.rates) == 1 else ""
    # Units that cost nothing end with what is included, unless nothing is.
    rated = [rate for rate in given.rates if rate.charge.can_charge or not given.quotas]
    rates = _rates_text(rated, price.currency) if price is not None else ""
    tables = _tables(rated, price.currency, has_quota=bool(given.quotas)) if price is not None else ()
    if given.quotas:
        included = ", and ".join(_quota_text(quota, given.name, unit) for quota in given.quotas)
        return FeatureLine(text=included, beyond=f"then {rates}" if rates else "", tables=tables)
    text = f"{given.name}: {number_text(given.number) if given.number is not None else given.text}"
    text = text if given.number is not None or given.text else given.name
    return FeatureLine(text=text, beyond=rates, tables=tables)


def _quota_text(quota: Quota, name: str, unit_label: str) -> str:
    """Write what a quota includes: 10,000 API calls included each month, 1,000 API calls per seat included."""
    per = f" per {quota.per}" if quota.per else ""
    included = f"{counted_text(quota.units, name, unit_label)}{per} included"
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
        rate_text(rate.charge, currency=currency, unit_label=rate.unit_label, clock=rate.clock, is_short=True)
        for rate in rates
    )


def _tables(rates: Sequence[Rate], currency: str, *, has_quota: bool) -> tuple[TierTable, ...]:
    tables = []
    for rate in rates:
        table = tier_table(rate.charge, currency=currency, unit_label=rate.unit_label)
        if table is not None and has_quota and rate.charge.model != VOLUME:
            table = replace(table, rule=f"{table.rule} Counted beyond what is included.")
        if table is not None:
            tables.append(table)
    return tuple(tables)
