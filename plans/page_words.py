"""Amounts, units and days as the pages of visitors and customers write them."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from babel.dates import format_date

from plans.models import PriceComponent
from plans.money import grouped_number
from plans.periods import Clock, local_day
from plans.services.pricing_tables import interval_text

_LOCALE = "en_US"
_SIBILANTS = ("x", "z", "ch", "sh")


def number_text(quantity: Decimal) -> str:
    """Write a quantity for people, with a true minus sign: 12,500."""
    return grouped_number(quantity).replace("-", "−")


def units_text(quantity: Decimal, unit_label: str) -> str:
    """Write a quantity with its unit where there is one: 12,500 calls, 1 call, 120 GB, 12,500."""
    if not unit_label:
        return number_text(quantity)
    return f"{number_text(quantity)} {unit_label if quantity == 1 else plural(unit_label)}"


def counted_text(quantity: Decimal, name: str, unit_label: str) -> str:
    """Write a quantity of something that has a name: 12,500 API calls, 1 API call, Storage: 120 GB."""
    for ending in {plural(unit_label), unit_label} if unit_label else ():
        stem = name[: -len(ending)]
        if name.casefold().endswith(ending.casefold()) and (not stem or stem.endswith(" ")):
            return f"{number_text(quantity)} {stem}{unit_label if quantity == 1 else plural(unit_label)}"
    if unit_label or not name.endswith("s"):
        return f"{name}: {units_text(quantity, unit_label)}"
    return f"{number_text(quantity)} {name}"


def usage_name(component: PriceComponent) -> str:
    """Name what a component meters: "API calls" for the title "API calls usage"."""
    return component.title.removesuffix(" usage") or component.title


def plural(unit_label: str) -> str:
    """Write a unit for several: calls, queries, batches; abbreviations such as GB or kWh have no plural."""
    last = unit_label.rpartition(" ")[2]
    if len(last) < 3 or not (last.isascii() and last.isalpha() and last.islower()) or last.endswith("s"):
        return unit_label
    if last.endswith("y") and last[-2] not in "aeiou":
        return f"{unit_label[:-1]}ies"
    return f"{unit_label}es" if last.endswith(_SIBILANTS) else f"{unit_label}s"


def each_text(clock: Clock) -> str:
    """Write how often a clock turns, and until when: each month, every 3 months, once, each day until 31 March 2027."""
    if clock.count == 1:
        return "once"
    length = interval_text(clock)
    often = f"every {length}" if length[0].isdigit() else f"each {length}"
    if clock.count is not None:
        return f"{often}, {clock.count:,} times"
    return f"{often} until {_date_text(date.fromisoformat(clock.until[:8]))}" if clock.until is not None else often


def day_text(at: datetime, zone: ZoneInfo) -> str:
    """Write the local day of an instant: 31 January 2027."""
    return _date_text(local_day(at, zone))


def moment_text(at: datetime, zone: ZoneInfo) -> str:
    """Write an instant in local time: 1 February 2027, 01:00."""
    return f"{day_text(at, zone)}, {at.astimezone(zone):%H:%M}"


def period_text(start_at: datetime, end_at: datetime, zone: ZoneInfo) -> str:
    """Write the local days of `[start_at, end_at)`, the last one included: 1–31 January 2027."""
    first, last = local_day(start_at, zone), local_day(end_at - timedelta(microseconds=1), zone)
    if first >= last:
        return _date_text(last)
    if first.year != last.year:
        return f"{_date_text(first)} – {_date_text(last)}"
    if first.month != last.month:
        return f"{_date_text(first, 'd MMMM')} – {_date_text(last)}"
    return f"{first.day}–{_date_text(last)}"


def _date_text(day: date, pattern: str = "d MMMM y") -> str:
    return format_date(day, pattern, locale=_LOCALE)
