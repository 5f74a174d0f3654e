"""The lines of a rated period: usage × unit price, less what grants pay for. No clock, no database.

Gross and net are rounded, and each credit is the difference of two successive rounded nets in burn order, so that the
total is the same whether credits are shown or not (124 × 0.1 with 98 credited: 12, −9, net 3).
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from decimal import Decimal

from credits.burn import ZERO
from plans.money import exactly, round_cents
from plans.pricing import price_of


@dataclass(frozen=True, slots=True)
class CreditedUnits:
    """A credit line: units that a shown grant paid for, and what that takes off, in minor units (0 or negative)."""

    grant: int
    units: Decimal
    amount_cents: int


@dataclass(frozen=True, slots=True)
class RatedUsage:
    """A period's usage in money.

    `used` are the metered units, `included` those that were free and `credited` those that grants paid for, shown or
    not. `line_units` and `line_cents` make the usage line: all usage but what was included and what hidden grants paid
    for. `net_cents` is what is left to pay.
    """

    used: Decimal
    included: Decimal
    credited: Decimal
    line_units: Decimal
    line_cents: int
    credits: tuple[CreditedUnits, ...]
    net_cents: int


@exactly
def rate(
    *,
    used: Decimal,
    by_grant: Mapping[int, Decimal],
    hidden: Set[int],
    unit_cost_cents: Decimal,
    included: Decimal = ZERO,
) -> RatedUsage:
    """Price `used` units of which `included` are free and each grant, in burn order, pays for some; `hidden` grants
    get no line."""
    rest = line_units = used - included
    line_cents = net_cents = round_cents(price_of(unit_cost_cents, rest))
    credits = []
    for grant, units in by_grant.items():
        rest -= units
        next_net = round_cents(price_of(unit_cost_cents, rest))
        if grant in hidden:
            line_cents += next_net - net_cents
            line_units -= units
        else:
            credits.append(CreditedUnits(grant=grant, units=units, amount_cents=next_net - net_cents))
        net_cents = next_net
    return RatedUsage(
        used=used,
        included=included,
        credited=sum(by_grant.values(), ZERO),
        line_units=line_units,
        line_cents=line_cents,
        credits=tuple(credits),
        net_cents=net_cents,
    )
