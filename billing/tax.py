"""What tax comes to: each line's is rounded once, half away from zero. Amounts are minor units, rates shares of the net
amount: 0.19 is 19 %."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from plans.money import plain_number, round_cents


@dataclass(frozen=True, slots=True)
class Taxable:
    """An amount with its rate. What credits gives back is negative, and so is its tax."""

    cents: int
    rate: Decimal


def tax_of(taxable: Taxable, *, included: bool) -> int:
    """Compute the tax of one amount: on top of it, or, where it is `included`, the part of it that is tax.

    19 % on 2,900 are 551; 19 % in 11,900 are 1,900.
    """
    rate = Fraction(taxable.rate)
    return round_cents(taxable.cents * (rate / (1 + rate) if included else rate))


def taxes_of(amounts: Sequence[Taxable], *, included: bool) -> list[int]:
    """Compute the tax of each amount of one bill, in their order.

    Together they are never negative: where they would be, the tax of what is given back is cut. Amounts that come to 0
    at a rate have no tax at it, so that rounding leaves none on what cancels out.
    """
    sums: dict[Decimal, int] = defaultdict(int)
    for one in amounts:
        sums[one.rate] += one.cents
    taxes = [tax_of(one, included=included) if sums[one.rate] else 0 for one in amounts]
    return _never_negative(taxes)


def _never_negative(taxes: list[int]) -> list[int]:
    lacking = -sum(taxes)
    for key in sorted(range(len(taxes)), key=taxes.__getitem__):
        if lacking <= 0:
            break
        cut = min(lacking, -taxes[key])
        taxes[key] += cut
        lacking -= cut
    return taxes


def percent_text(rate: Decimal) -> str:
    """Write a rate for people: 0.0875 → 8.75%."""
    return f"{plain_number(rate * 100)}%"


def tax_text(rate: Decimal) -> str:
    """What a bill calls the tax at a rate: Tax (8.75%)."""
    return f"Tax ({percent_text(rate)})"
