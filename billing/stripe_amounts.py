"""Amounts as Stripe counts them, by its documentation of currencies and minimum amounts."""

# The least that Stripe charges at once, in our minor units.
MINIMUM_CHARGES = {
    "AED": 200, "AUD": 50, "BGN": 100, "BRL": 50, "CAD": 50, "CHF": 50, "CZK": 1500, "DKK": 250, "EUR": 50, "GBP": 30,
    "HKD": 400, "HUF": 17500, "INR": 50, "JPY": 50, "MXN": 1000, "MYR": 200, "NOK": 300, "NZD": 50, "PLN": 200,
    "RON": 200, "SEK": 300, "SGD": 50, "THB": 1000, "USD": 50,
}  # fmt: skip
# Currencies without minor unit that Stripe goes on writing with two decimals: 5 krónur are 500. Payouts in HUF and TWD
# must be whole, too, but we make none: charges in them have two decimals.
_HUNDREDFOLD = frozenset({"ISK", "UGX"})
# Currencies with three decimals, of which the last one must be 0 in all that is charged or given back.
_IN_TENS = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})


def charge_step(currency: str) -> int:
    """The step, in our minor units, in which a currency is charged and given back."""
    return 10 if currency in _IN_TENS else 1


def least_charge(currency: str) -> int:
    """The least that can be charged at once, in our minor units; one step where Stripe names no minimum."""
    return MINIMUM_CHARGES.get(currency, charge_step(currency))


def is_chargeable(amount_cents: int, currency: str) -> bool:
    """Tell whether exactly this amount can be charged at once."""
    return amount_cents >= least_charge(currency) and amount_cents % charge_step(currency) == 0


def rounding_cents(total_cents: int, currency: str) -> int:
    """What brings a total to the nearest step, half away from zero, in our minor units. One below the least that can be
    charged stays exact: it is carried, or is nothing."""
    step = charge_step(currency)
    rest = total_cents % step
    if not rest or total_cents < least_charge(currency):
        return 0
    return step - rest if 2 * rest >= step else -rest


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
