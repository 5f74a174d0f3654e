"""The least that Stripe charges at once, in minor units, by the table in its documentation of minimum amounts."""

MINIMUM_CHARGES = {
    "AED": 200, "AUD": 50, "BGN": 100, "BRL": 50, "CAD": 50, "CHF": 50, "CZK": 1500, "DKK": 250, "EUR": 50, "GBP": 30,
    "HKD": 400, "HUF": 17500, "INR": 50, "JPY": 50, "MXN": 1000, "MYR": 200, "NOK": 300, "NZD": 50, "PLN": 200,
    "RON": 200, "SEK": 300, "SGD": 50, "THB": 1000, "USD": 50,
}  # fmt: skip


def is_chargeable(amount_cents: int, currency: str) -> bool:
    """Tell whether an amount can be charged at all; a currency that the table lacks has no known minimum."""
    return amount_cents >= MINIMUM_CHARGES.get(currency, 1)
