"""Amounts of money that columns can hold: far beyond any bill, but a price times a quantity may come to more."""

from datetime import datetime, timedelta

from plans.periods import local_day
from plans.refusals import Refusal
from plans.services.time_zone import billing_zone

# A bigint holds a little more; the rest is room for a minimum or a balance brought forward.
LARGEST_STORED_CENTS = 9 * 10**18


class AmountTooLarge(Refusal):
    """What was used or sold comes to more minor units than can be stored."""

    code = "amount_too_large"


def check_amount(cents: int, *, title: str, start_at: datetime | None = None, end_at: datetime | None = None) -> None:
    """Raise AmountTooLarge for an amount of minor units that no column holds, naming what it is of and its days."""
    if abs(cents) <= LARGEST_STORED_CENTS:
        return
    raise AmountTooLarge(
        f"{title}{_days(start_at, end_at)} comes to {cents} minor units; at most {LARGEST_STORED_CENTS} can be "
        "billed. Look at the price and at the quantity: one of them is wrong, or events have to be voided."
    )


def _days(start_at: datetime | None, end_at: datetime | None) -> str:
    if start_at is None or end_at is None:
        return ""
    zone = billing_zone()
    first = local_day(start_at, zone)
    return f", {first} to {max(local_day(end_at - timedelta(microseconds=1), zone), first)},"
