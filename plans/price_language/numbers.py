"""Numbers of the price language: JSON numbers or texts of them, read exactly and within what columns can hold."""

import re
from dataclasses import dataclass
from decimal import Decimal, Inexact, InvalidOperation, localcontext
from typing import Any

from plans.money import EXACT
from plans.refusals import InvalidInput

LARGEST_AMOUNT_CENTS = 10**12
LARGEST_UNIT_COST_CENTS = Decimal(10**9)
UNIT_COST_DECIMALS = 12
_PLAIN_DECIMAL = re.compile(r"[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?")
_MOST_DIGITS_BEFORE_THE_POINT = 40


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a number counts (`of`), how large it may be, and how many decimals it may have."""

    of: str
    largest: Decimal
    decimals: int


UNIT_COSTS = Bounds("minor units", LARGEST_UNIT_COST_CENTS, UNIT_COST_DECIMALS)
LUMP_COSTS = Bounds("minor units", Decimal(LARGEST_AMOUNT_CENTS), UNIT_COST_DECIMALS)
PERCENT = Bounds("percent", Decimal(10**6), UNIT_COST_DECIMALS)
UNITS = Bounds("units", Decimal("999999999999999999.999999"), 6)
# A period's usage is a sum of such units.
USED_UNITS = Bounds("units", Decimal("99999999999999999999999999999999.999999"), 6)


def read_number(value: Any, path: str, bounds: Bounds, *, above_zero: bool = False) -> Decimal:
    """Read a number that is not negative, and with `above_zero` not 0. Raises InvalidInput at `path`."""
    number = exact_number(value, decimals=bounds.decimals)
    if number is None or not 0 <= number <= bounds.largest or (above_zero and not number):
        least = "more than 0, at most" if above_zero else "from 0 to"
        raise InvalidInput.at(
            path, f"must be a number of {bounds.of} {least} {bounds.largest}, with at most {bounds.decimals} decimals."
        )
    return number


def exact_number(value: Any, *, decimals: int) -> Decimal | None:
    """The number that a JSON value states, if it is one (or the text of one, without a sign) with no more decimals."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        return None
    if isinstance(value, str) and not _PLAIN_DECIMAL.fullmatch(value):
        return None
    number = Decimal(value)
    # Judged by its first digit: arithmetic on a number like 1e999999999 would overflow.
    if not number.is_finite() or number.adjusted() > _MOST_DIGITS_BEFORE_THE_POINT:
        return None
    if not number:
        return Decimal(0)
    try:
        with localcontext(EXACT):
            return number.quantize(Decimal(1).scaleb(-decimals))
    except (Inexact, InvalidOperation):
        return None


def read_amount(value: Any, path: str) -> int:
    """Read a fee: a JSON number without a fraction. Raises InvalidInput in the words of the contract."""
    whole = None if isinstance(value, str) else _whole(value)
    rule = f"must be a whole number of minor units from 0 to {LARGEST_AMOUNT_CENTS}."
    if whole is None or whole < 0:
        raise InvalidInput(
            "Invalid pricing data: amount must be a non-negative integer", details=[{"path": path, "message": rule}]
        )
    if whole > LARGEST_AMOUNT_CENTS:
        raise InvalidInput.at(path, rule)
    return whole


def read_whole_number(value: Any, path: str, *, largest: int, of: str) -> int:
    """Read a number without a fraction, not negative. Raises InvalidInput at `path`."""
    whole = _whole(value)
    if whole is None or not 0 <= whole <= largest:
        raise InvalidInput.at(path, f"must be a whole number of {of} from 0 to {largest}.")
    return whole


def _whole(value: Any) -> int | None:
    number = exact_number(value, decimals=0)
    return None if number is None else int(number)
