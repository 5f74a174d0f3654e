"""Money is integer minor units; everything before the one rounding per line is an exact Decimal."""

from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact, InvalidOperation, Overflow, localcontext
from fractions import Fraction
from functools import cache, wraps
from typing import ParamSpec, TypeVar

from babel.core import get_global
from babel.numbers import get_currency_precision, get_territory_currencies

P = ParamSpec("P")
R = TypeVar("R")

# Wide enough for a sum of numeric(38,6) times a price of numeric(30,12); anything that would round is an error.
EXACT = Context(prec=200, traps=[InvalidOperation, Overflow, Inexact])
_SMALLEST_QUANTITY = Decimal("0.000001")
_SMALLEST_COST = Decimal("1e-12")
# Minor units by the convention of payment providers (ISO 4217) where the display data of babel differs from it.
_PROVIDER_EXPONENTS = {
    "AFN": 2, "ALL": 2, "IRR": 2, "KPW": 2, "LAK": 2, "LBP": 2, "MMK": 2, "RSD": 2, "SOS": 2, "SYP": 2, "YER": 2,
    "IQD": 3, "MGA": 0, "UGX": 0,
}  # fmt: skip


def exactly(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function compute under `EXACT`, so that Python's default of 28 digits never rounds in silence."""

    @wraps(function)
    def computing_exactly(*args: P.args, **kwargs: P.kwargs) -> R:
        with localcontext(EXACT):
            return function(*args, **kwargs)

    return computing_exactly


def round_cents(amount: Decimal | Fraction) -> int:
    """Round an exact amount of minor units half away from zero: 0.5 → 1, −0.5 → −1. The only rounding of money."""
    return _half_away_from_zero(amount)


def _half_away_from_zero(number: Decimal | Fraction) -> int:
    numerator, denominator = number.as_integer_ratio()
    rounded = (2 * abs(numerator) + denominator) // (2 * denominator)
    return rounded if numerator >= 0 else -rounded


def round_share(cents: int, part: int, whole: int) -> int:
    """Round the share `part / whole` of an amount of minor units, half away from zero: half of 5 is 3."""
    return round_cents(Fraction(cents * part, whole))


def written_exactly(amount: Fraction) -> Decimal:
    """Write an exact amount as a decimal; one that has no end is rounded half away from zero to 12 decimals."""
    with localcontext(EXACT) as context:
        try:
            return Decimal(amount.numerator) / Decimal(amount.denominator)
        except Inexact:
            context.traps[Inexact] = False
            quotient = Decimal(amount.numerator) / Decimal(amount.denominator)
            return quotient.quantize(_SMALLEST_COST, rounding=ROUND_HALF_UP)


def mean_quantity(total: Decimal, count: int) -> Decimal:
    """Divide a sum of quantities by how many they are, rounded half away from zero to the 6 decimals of quantities."""
    with localcontext(EXACT) as context:
        context.traps[Inexact] = False
        return (total / count).quantize(_SMALLEST_QUANTITY, rounding=ROUND_HALF_UP)


@exactly
def share_of_quantity(quantity: Decimal, share: Fraction) -> Decimal:
    """Take a share of a quantity, rounded half away from zero to the 6 decimals of quantities: a third of 10 is
    3.333333."""
    return _half_away_from_zero(Fraction(quantity) * share * 10**6) * _SMALLEST_QUANTITY


@cache
def currencies() -> frozenset[str]:
    """The ISO 4217 codes of the money in use today somewhere."""
    return frozenset(
        code for territory in get_global("territory_currencies") for code in get_territory_currencies(territory)
    )


def is_currency(code: str) -> bool:
    """Tell whether `code` is the code, in upper case, of a currency in use."""
    return code in currencies()


def currency_exponent(code: str) -> int:
    """The number of decimals between a currency's major and minor unit: USD 2, JPY 0, KWD 3."""
    return _PROVIDER_EXPONENTS.get(code, get_currency_precision(code))


@exactly
def minor_units(major: Decimal, currency: str) -> Decimal:
    """Convert an amount in major units to minor ones; the result has a fraction when `major` is finer than that."""
    return major.scaleb(currency_exponent(currency))


@exactly
def major_units(cents: Decimal | int, currency: str) -> Decimal:
    """Convert an amount in minor units to major ones."""
    return Decimal(cents).scaleb(-currency_exponent(currency))


def plain_number(value: Decimal) -> str:
    """Write a Decimal without exponent and without trailing zeros: 12500.000000 → 12500."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def grouped_number(value: Decimal) -> str:
    """Write a Decimal for people: 12500.000000 → 12,500."""
    text = f"{value:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
