"""Amounts in minor units, and the least that Stripe charges."""

import re
from decimal import ROUND_HALF_UP, Decimal

from billing.sandbox.amounts import IN_THOUSANDTHS
from billing.sandbox.errors import Refusal

LARGEST_AMOUNT = 99_999_999

MINIMUM_CHARGE = {
    "usd": 50, "aed": 200, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1_500, "dkk": 250, "eur": 50,
    "gbp": 30, "hkd": 400, "huf": 17_500, "inr": 50, "jpy": 50, "mxn": 1_000, "myr": 200, "nok": 300, "nzd": 50,
    "pln": 200, "ron": 200, "sek": 300, "sgd": 50, "thb": 1_000,
}  # fmt: skip
"""Stripe's published minimum per currency, in minor units (yen have none smaller than one)."""


IN_HUNDREDS = frozenset({"isk", "ugx"})
"""Currencies that are written with two decimals although there are none: amounts are multiples of 100."""


def check_step(amount: int, currency: str, *, param: str = "amount") -> None:
    """Raise Refusal (400) for an amount that is finer than what can be charged or given back in this currency."""
    step = step_of(currency)
    if amount % step:
        message = f"Invalid amount: {amount}. Amounts in {currency} must be evenly divisible by {step}."
        raise Refusal(message, code="parameter_invalid_integer", param=param)


def step_of(currency: str) -> int:
    """Return what every charge, refund and dispute in this currency is a multiple of, in Stripe's units."""
    return 100 if currency in IN_HUNDREDS else 10 if currency in IN_THOUSANDTHS else 1


def minimum_charge(currency: str) -> int:
    """Return the least amount in minor units that a card can be charged in this currency; 1 where none is published."""
    return MINIMUM_CHARGE.get(currency, 1)


def currency_of(code: str) -> str:
    """Return the currency code in lower case. Raises Refusal (400) for what is not three letters."""
    if not re.fullmatch(r"[A-Za-z]{3}", code):
        raise Refusal(f"Invalid currency: {code}.", param="currency")
    return code.lower()


def check_chargeable(amount: int, currency: str) -> None:
    """Raise Refusal (400) for an amount in minor units that Stripe would not charge."""
    least = minimum_charge(currency)
    if amount < 1:
        message = "This value must be greater than or equal to 1."
        raise Refusal(message, code="parameter_invalid_integer", param="amount")
    if amount < least:
        message = f"Amount must be at least {least} in the minor unit of {currency}."
        raise Refusal(message, code="amount_too_small", param="amount")
    check_step(amount, currency)
    if amount > LARGEST_AMOUNT:
        raise Refusal(f"Amount must be no more than {LARGEST_AMOUNT}.", code="amount_too_large", param="amount")


def multiply(unit_amount: str, quantity: int) -> int:
    """Return decimal minor units times a quantity, rounded half away from zero to whole minor units."""
    return int((Decimal(unit_amount) * quantity).quantize(Decimal(1), rounding=ROUND_HALF_UP))
