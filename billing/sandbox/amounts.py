"""Amounts as people read them, for the sandbox's own pages."""

from decimal import Decimal

from babel.numbers import format_currency

# As Stripe's documentation of currencies lists them.
WITHOUT_MINOR_UNIT = frozenset(
    {"bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"}
)
IN_THOUSANDTHS = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})


def readable(amount: int, currency: str) -> str:
    """Return an amount of Stripe's (in the currency's minor unit) with its currency, such as `$29.00`."""
    digits = 0 if currency in WITHOUT_MINOR_UNIT else 3 if currency in IN_THOUSANDTHS else 2
    return format_currency(Decimal(amount).scaleb(-digits), currency.upper(), locale="en_US")
