"""Amounts as people read them."""

from decimal import Decimal

from babel.numbers import format_currency, get_currency_symbol

from plans.money import currency_exponent, exactly, major_units

_LOCALE = "en_US"


@exactly
def money_text(cents: Decimal | int, currency: str) -> str:
    """Write minor units with all their decimals, and at least those of the currency: $29.00, $0.0005, −$500.00."""
    least = "0" * currency_exponent(currency)
    amount = f"{major_units(cents, currency):f}"
    whole, _, decimals = amount.partition(".")
    decimals = decimals.rstrip("0").ljust(len(least), "0")
    # A code of letters stands apart from its figures, a sign does not: CHF 5.00, $5.00.
    space = "\u00a0" if get_currency_symbol(currency, _LOCALE)[-1].isalpha() else ""
    return format_currency(
        Decimal(f"{whole}.{decimals}" if decimals else whole),
        currency,
        format=f"¤{space}#,##0{'.' if least else ''}{least}",
        locale=_LOCALE,
        currency_digits=False,
        decimal_quantization=False,
    ).replace("-", "−")
