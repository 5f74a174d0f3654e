"""The lines of a rated period: usage by its price, less what grants pay for, within its bounds. No clock, no database.

Gross and net are rounded, and each credit is the difference of two successive rounded nets in burn order, so that the
total is the same whether credits are shown or not (124 × 0.1 with 98 credited: 12, −9, net 3). Minimum and maximum
bound the net.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from credits.burn import ZERO
from plans.money import exactly, round_cents
from plans.pricing import Charge, bounded, net_of


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
    for. `minimum_cents` is what a minimum adds, `maximum_cents` what a maximum takes off (0 or negative), and
    `net_cents` is what is left to pay after them. `unrounded_net` is the exact price within the bounds.
    """

    used: Decimal
    included: Decimal
    credited: Decimal
    line_units: Decimal
    line_cents: int
    credits: tuple[CreditedUnits, ...]
    minimum_cents: int
    maximum_cents: int
    net_cents: int
    unrounded_net: Fraction


@exactly
def rate(
    charge: Charge,
    *,
    used: Decimal,
    by_grant: Mapping[int, Decimal],
    hidden: Set[int],
    included: Decimal = ZERO,
    free: Decimal = ZERO,
    events: int = 0,
) -> RatedUsage:
    """Price `used` units of which `included` are free and each grant, in burn order, pays for some; `hidden` grants
    get no line.

    `free` are those of the included units that the plan's feature gives, the rest comes with the charge. `events` is
    the number of events of positive value.
    """
    credited = ZERO
    exact = net_of(charge, used=used, credited=credited, included=included, free=free, events=events)
    line_units = used - included
    line_cents = net_cents = round_cents(exact)
    credits = []
    for grant, units in by_grant.items():
        credited += units
        exact = net_of(charge, used=used, credited=credited, included=included, free=free, events=events)
        next_net = round_cents(exact)
        if grant in hidden:
            line_cents += next_net - net_cents
            line_units -= units
        else:
            credits.append(CreditedUnits(grant=grant, units=units, amount_cents=next_net - net_cents))
        net_cents = next_net
    unrounded = bounded(charge, exact)
    # The bounds are whole minor units, so bounding before or after the rounding comes to the same.
    adjustment = round_cents(unrounded) - net_cents
    return RatedUsage(
        used=used,
        included=included,
        credited=credited,
        line_units=line_units,
        line_cents=line_cents,
        credits=tuple(credits),
        minimum_cents=max(adjustment, 0),
        maximum_cents=min(adjustment, 0),
        net_cents=net_cents + adjustment,
        unrounded_net=unrounded,
    )
