"""Parts of periods: what a change or a pause cut out of a turn of a clock, and what that does to its price.

Ruling: fees and allowances are shared by the local days of the whole turn. The day on which something changes belongs
to what comes then.
"""

import math
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from plans.models import PeriodKind, PriceComponent, SubscriptionPeriod
from plans.money import exactly, round_cents
from plans.periods import local_day
from plans.pricing import Charge
from plans.services.time_zone import billing_zone

_MICRO = Decimal("0.000001")


def days_between(start_at: datetime, end_at: datetime) -> int:
    """Count the local days from the one on which `start_at` falls up to, and without, that of `end_at`."""
    zone = billing_zone()
    return (local_day(end_at, zone) - local_day(start_at, zone)).days


def share_from(period: SubscriptionPeriod, at: datetime) -> Fraction:
    """The share that the days from `at` to the end of a period have of the turn that it belongs to; 0 after its end."""
    return share_of_days(max(at, period.start_at), period.end_at, whole=period.whole)


def share_of_days(start_at: datetime, end_at: datetime, *, whole: tuple[datetime, datetime]) -> Fraction:
    """The share that the days from one instant to another have of those of a turn."""
    days = days_between(*whole)
    return Fraction(max(days_between(start_at, end_at), 0), days) if days else Fraction(0)


def share_of(period: SubscriptionPeriod) -> Fraction:
    """The share that a period has of the turn that it belongs to: 1 for a whole one."""
    return share_from(period, period.start_at) if is_part(period) else Fraction(1)


def is_part(period: SubscriptionPeriod) -> bool:
    """Tell whether a period is only a part of a turn of its clock."""
    return period.whole_start_at is not None


def charge_of(period: SubscriptionPeriod, currency: str) -> Charge:
    """The price of a period's usage. For a part minimum and maximum are shared by days, and what is included is what
    the part was given. The period's item, component and price must be loaded."""
    component = period.item.component
    assert component is not None
    charge = component.charge(currency)
    if period.included_units is not None:
        charge = replace(charge, included_units=_priced(period.included_units, charge))
    if not is_part(period):
        return charge
    share = share_of(period)
    return replace(
        charge,
        minimum_cents=_shared_cents(charge.minimum_cents, share),
        maximum_cents=_shared_cents(charge.maximum_cents, share),
    )


def included_in_share(component: PriceComponent, share: Fraction) -> Decimal:
    """What a usage component includes in a share of its period, in metered units; rounded up."""
    charge = component.charge(component.price.currency)
    included = Fraction(charge.included_units) * share
    if charge.divide_round != "none":
        return Decimal(math.ceil(included)) * (charge.divide_by or 1)
    return rounded_up(included * Fraction(charge.divide_by or 1))


@exactly
def rounded_up(units: Fraction) -> Decimal:
    """Round units up to the decimals that are stored."""
    return Decimal(math.ceil(units * 10**6)) * _MICRO


def is_charged(period: SubscriptionPeriod) -> bool:
    """Tell whether anything is charged for a period: neither for a trial nor for a pause."""
    return period.kind == PeriodKind.REGULAR


@exactly
def _priced(metered: Decimal, charge: Charge) -> Decimal:
    return metered if charge.divide_by is None else metered / charge.divide_by


def _shared_cents(cents: int | None, share: Fraction) -> int | None:
    return None if cents is None else round_cents(cents * share)
