"""Amounts as people read them."""

from decimal import Decimal

from babel.numbers import format_currency

from plans.money import major_units


def money_text(cents: int | Decimal, currency: str) -> str:
    """Write an amount of minor units in full: $1,234.50, −$500.00, ¥1,200."""
    return format_currency(major_units(cents, currency), currency, locale="en_US").replace("-", "−")
