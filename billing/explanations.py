"""How the price of a period came about, step by step, from what it was settled with. No clock, no database.

The steps are those of `plans.pricing` and `credits.rating`, so whoever follows them by hand comes to the lines.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from plans.money import exactly, round_cents
from plans.pricing import VOLUME, Charge, Step, bounded, net_of, priced_units, steps_of

_ZERO, _NOTHING = Decimal(0), Fraction(0)


@dataclass(frozen=True, slots=True)
class Conversion:
    """How metered units became those that the model prices.

    Of `used` metered units grants without a line paid for `credited`, and of the others the plan's feature gives
    `free`; what is left is divided (and rounded) to `divided` priced units, of which the component includes `included`,
    so that `priced` are left. Where grants take amounts off instead of units, `credited` is 0.
    """

    used: Decimal
    credited: Decimal
    free: Decimal
    divided: Fraction
    included: Fraction
    priced: Fraction


@dataclass(frozen=True, slots=True)
class PaidByGrant:
    """Units that a grant paid for, and the price before and after it, in minor units.

    `amount_cents`, 0 or less, is what it takes off: the difference of the rounded prices. A grant that is not `shown`
    has no line of its own, the usage line is lower by that.
    """

    grant: int
    units: Decimal
    before: Fraction
    after: Fraction
    shown: bool

    @property
    def exact_cents(self) -> Fraction:
        """What it takes off before anything is rounded."""
        return self.after - self.before

    @property
    def amount_cents(self) -> int:
        return round_cents(self.after) - round_cents(self.before)


@dataclass(frozen=True, slots=True)
class Working:
    """The price of a period: its units, the steps that price them, and what grants and bounds make of that.

    The steps add up to `stepped`; where `units.credited` is 0 that is the exact price of all units that are not
    included, before any grant. `credits` stand in the order in which they were burned. A minimum and a maximum of the
    charge apply to what is left after them.
    """

    charge: Charge
    units: Conversion
    steps: tuple[Step, ...]
    gross: Fraction
    credits: tuple[PaidByGrant, ...]

    @property
    def stepped(self) -> Fraction:
        return sum((step.cents for step in self.steps), _NOTHING)

    @property
    def taken_off(self) -> list[PaidByGrant]:
        """The grants without a line whose amounts come off the sum of the steps."""
        return [] if self.units.credited else [credit for credit in self.credits if not credit.shown]

    @property
    def charge_cents(self) -> int:
        """What the line of the units comes to."""
        return round_cents(self.stepped) + sum(credit.amount_cents for credit in self.taken_off)

    @property
    def unbounded(self) -> Fraction:
        """What is left after the grants."""
        return self.credits[-1].after if self.credits else self.gross

    @property
    def net_cents(self) -> int:
        """What is to pay."""
        return round_cents(bounded(self.charge, self.unbounded))

    @property
    def bound_cents(self) -> int:
        """What a minimum adds, or a maximum takes off."""
        return self.net_cents - round_cents(self.unbounded)

    def credit_of(self, grant: int | None) -> PaidByGrant | None:
        """What a grant paid, if it did."""
        return next((credit for credit in self.credits if credit.grant == grant), None)


@exactly
def work_out(
    charge: Charge,
    *,
    used: Decimal,
    included: Decimal,
    free: Decimal = _ZERO,
    events: int = 0,
    by_grant: Mapping[int, Decimal] | None = None,
    hidden: Set[int] = frozenset(),
) -> Working:
    """Work out the price of `used` metered units; the terms are those of `credits.rating.rate`."""
    before = gross = net_of(charge, used=used, credited=_ZERO, included=included, free=free, events=events)
    credited, credits = _ZERO, []
    for grant, units in (by_grant or {}).items():
        credited += units
        after = net_of(charge, used=used, credited=credited, included=included, free=free, events=events)
        credits.append(PaidByGrant(grant, units, before, after, shown=grant not in hidden))
        before = after
    # A volume price stays in the tier of all that was used, so there grants cannot come off the units.
    comes_off_units = charge.model != VOLUME and not any(credit.shown for credit in credits)
    off = credited if comes_off_units else _ZERO
    return Working(
        charge=charge,
        units=_convert(charge, used, off, free),
        steps=tuple(steps_of(charge, used - off, free=free, events=events)),
        gross=gross,
        credits=tuple(credits),
    )


def _convert(charge: Charge, used: Decimal, credited: Decimal, free: Decimal) -> Conversion:
    rest = used - credited
    priced = priced_units(charge, rest, free=free)
    divided = priced_units(replace(charge, included_units=_ZERO), rest, free=free)
    return Conversion(
        used=used, credited=credited, free=min(rest, free), divided=divided, included=divided - priced, priced=priced
    )
