"""Amounts as Stripe counts them, by its documentation of currencies and minimum amounts."""

# The least that Stripe charges at once, in our minor units.
MINIMUM_CHARGES = {
    "AED": 200, "AUD": 50, "BGN": 100, "BRL": 50, "CAD": 50, "CHF": 50, "CZK": 1500, "DKK": 250, "EUR": 50, "GBP": 30,
    "HKD": 400, "HUF": 17500, "INR": 50, "JPY": 50, "MXN": 1000, "MYR": 200, "NOK": 300, "NZD": 50, "PLN": 200,
    "RON": 200, "SEK": 300, "SGD": 50, "THB": 1000, "USD": 50,
}  # fmt: skip
# Currencies without minor unit that Stripe goes on writing with two decimals: 5 krónur are 500.
_HUNDREDFOLD = frozenset({"ISK", "UGX"})


def is_chargeable(amount_cents: int, currency: str) -> bool:
    """Tell whether an amount can be charged at all; a currency that the table lacks has no known minimum."""
    return amount_cents >= MINIMUM_CHARGES.get(currency, 1)


def to_stripe(amount_cents: int, currency: str) -> int:
    """Convert an amount of ours into Stripe's units."""
    return amount_cents * 100 if currency.upper() in _HUNDREDFOLD else amount_cents


def from_stripe(amount: int, currency: str) -> int:
    """Convert an amount of Stripe's into our minor units. Raises ValueError for one that is not whole in them."""
    if currency.upper() not in _HUNDREDFOLD:
        return amount
    whole, rest = divmod(amount, 100)
    if rest:
        raise ValueError(f"{amount} is no whole amount of {currency.upper()}")
    return whole
