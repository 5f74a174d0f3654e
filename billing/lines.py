"""The lines that periods make on an invoice: what was used or sold, by its price. No clock; nothing is stored here."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from billing.models import Invoice, InvoiceLine, LineType
from credits.models import CreditGrant, UsageDifference
from credits.rating import RatedUsage, rate
from credits.services.settle import SettledUsage
from plans.bulk_rows import new_row
from plans.models import AddedUnits, ComponentKind, PriceComponent, SubscriptionPeriod
from plans.money import grouped_number, round_cents
from plans.periods import local_day
from plans.pricing import Charge
from plans.services.parts import charge_of, is_charged, is_part, share_from, share_of
from plans.services.time_zone import billing_zone

_ONE = Decimal(1)


@dataclass(frozen=True, slots=True)
class BilledPeriod:
    """A stored period with what it bills: its `usage` if a metric counts it, its `quantity` if units of it are billed
    in advance. The period's item and component must be loaded."""

    period: SubscriptionPeriod
    usage: SettledUsage | None = None
    quantity: int | None = None


def lines_of(invoice: Invoice, billed: BilledPeriod, grants: Mapping[int, CreditGrant]) -> list[InvoiceLine]:
    """Make the lines of a period. `grants` are those that its usage burned, with their definitions, by key.

    Together the lines of a metered period come to its rated net. What no component prices makes no line.
    """
    period = billed.period
    component = period.item.component
    if component is None or not is_charged(period):
        return []
    if component.kind == ComponentKind.FIXED:
        return _fee_lines(invoice, period, component)
    if component.kind == ComponentKind.PER_UNIT:
        assert billed.quantity is not None
        return _quantity_lines(invoice, period, component, billed.quantity)
    assert billed.usage is not None
    charge = charge_of(period, invoice.currency)
    rated = rate_usage(charge, billed.usage, grants)
    return _rated_lines(LineType.USAGE, component, charge, rated, grants, _in_arrears(invoice, period, component))


def rate_usage(charge: Charge, usage: SettledUsage, grants: Mapping[int, CreditGrant]) -> RatedUsage:
    """Price the usage of a period; grants whose definition is not shown on bills get no line."""
    return rate(
        charge,
        used=usage.used,
        included=usage.included,
        free=usage.free,
        events=usage.events,
        by_grant=usage.by_grant,
        hidden={key for key in usage.by_grant if not grants[key].definition.billing_visible},
    )


def rate_quantity(component: PriceComponent, quantity: Decimal | int, *, currency: str) -> RatedUsage:
    """Price units billed in advance, such as seats. No usage credit pays for them."""
    charge = component.charge(currency)
    units = Decimal(quantity)
    included = min(units, charge.included_metered_units)
    return rate(charge, used=units, included=included, by_grant={}, hidden=set())


def added_units_line(invoice: Invoice, added: AddedUnits) -> InvoiceLine:
    """Make the line of units that were added within a period: the share of its days that is left then, of what they add
    to the price. Never below 0: where many units cost less than a few, an added one gives nothing back. The period's
    item, component and price must be loaded."""
    period = added.period
    component = period.item.component
    assert component is not None
    return new_row(
        InvoiceLine,
        type=LineType.PER_UNIT,
        effective_at=added.effective_at,
        description=f"{component.title}: {added.units} added, {_days_left_text(added, year_of=invoice.closes_at)}",
        quantity=Decimal(added.units),
        amount_cents=added_cents(added, currency=invoice.currency),
        **_in_advance(invoice, period, component) | {"billing_period_start_at": added.needed_at},
    )


def added_cents(added: AddedUnits, *, currency: str) -> int:
    """What units that were added within a period cost, in minor units. The period's item, component and price must be
    loaded."""
    component = added.period.item.component
    assert component is not None
    before, after = (
        rate_quantity(component, quantity, currency=currency).unrounded_net
        for quantity in (added.from_quantity, added.to_quantity)
    )
    return max(round_cents((after - before) * share_from(added.period, added.needed_at)), 0)


def late_usage_line(invoice: Invoice, difference: UsageDifference) -> InvoiceLine:
    """Make the line of what was found of an earlier period: what it comes to now, less what was billed for it. Its unit
    price stands there where all of its units cost the same. The period's item, component and price must be loaded."""
    period = difference.period
    component = period.item.component
    assert component is not None
    days = _days_text(period, year_of=invoice.closes_at)
    return new_row(
        InvoiceLine,
        type=LineType.LATE_USAGE,
        difference=difference,
        description=f"Late usage, {days} ({component.title})",
        quantity=difference.usage,
        unit_amount_cents=_unit_cost_of(difference, charge_of(period, invoice.currency)),
        amount_cents=difference.net_cents,
        **_in_arrears(invoice, period, component),
    )


def brought_forward_line(invoice: Invoice, carried: Invoice) -> InvoiceLine:
    """Make the line that takes along what is open of an invoice which was too little to be charged by itself."""
    cents = carried.open_cents
    return InvoiceLine(
        invoice=invoice,
        type=LineType.BROUGHT_FORWARD,
        carried_invoice=carried,
        description=f"Balance brought forward from {carried.number}",
        quantity=_ONE,
        unit_amount_cents=Decimal(cents),
        amount_cents=cents,
        billing_period_start_at=carried.period_start_at or carried.closes_at,
        billing_period_end_at=carried.period_end_at or carried.closes_at,
    )


def credit_words(grant: CreditGrant) -> str:
    """What a bill calls a grant."""
    return grant.definition.billing_description or grant.definition.name


def _in_advance(invoice: Invoice, period: SubscriptionPeriod, component: PriceComponent) -> dict[str, Any]:
    return {
        "invoice": invoice,
        "component": component,
        "period": period,
        "billing_period_start_at": period.start_at,
        "billing_period_end_at": period.end_at,
    }


def _in_arrears(invoice: Invoice, period: SubscriptionPeriod, component: PriceComponent) -> dict[str, Any]:
    return {
        "invoice": invoice,
        "component": component,
        "metric_id": period.metric_id,
        "period": period,
        "billing_period_start_at": invoice.period_start_at,
        "billing_period_end_at": invoice.period_end_at,
        "usage_period_start_at": period.start_at,
        "usage_period_end_at": period.end_at,
    }


def _unit_cost_of(difference: UsageDifference, charge: Charge) -> Decimal | None:
    """What each of the units costs, where none is included or credited, by a plain price without bounds."""
    is_bounded = charge.minimum_cents is not None or charge.maximum_cents is not None
    if difference.included or difference.credited or is_bounded or not charge.is_plain:
        return None
    return charge.unit_cost_cents


def _days_text(period: SubscriptionPeriod, *, year_of: datetime) -> str:
    """The local days of a period as people write them; see _stretch_text."""
    return _stretch_text(period.start_at, period.end_at, year_of)


def _days_left_text(added: AddedUnits, *, year_of: datetime) -> str:
    """The local days of a period that units were added for."""
    return _stretch_text(added.needed_at, added.period.end_at, year_of)


def _stretch_text(start_at: datetime, end_at: datetime, year_of: datetime) -> str:
    """Local days as people write them: 1–31 May, 15 May – 14 June; with the year where it is another one than
    `year_of`'s."""
    zone = billing_zone()
    first = local_day(start_at, zone)
    last = max(local_day(end_at - timedelta(microseconds=1), zone), first)
    year = local_day(year_of, zone).year
    if first == last:
        return _day_text(last, year)
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}–{_day_text(last, year)}"
    return f"{_day_text(first, year)} – {_day_text(last, year)}"


def _day_text(day: date, year: int) -> str:
    return f"{day.day} {day:%B}" if day.year == year else f"{day.day} {day:%B %Y}"


def _fee_lines(invoice: Invoice, period: SubscriptionPeriod, component: PriceComponent) -> list[InvoiceLine]:
    cents = round_cents((component.amount_cents or 0) * share_of(period))
    if not cents:
        return []
    title = component.title + _note_of_part(invoice, period)
    return [_one_of(LineType.FIXED, title, cents, _in_advance(invoice, period, component))]


def _quantity_lines(
    invoice: Invoice, period: SubscriptionPeriod, component: PriceComponent, quantity: int
) -> list[InvoiceLine]:
    """The lines of units billed in advance; for a part of a period one line, of its share of what the whole costs."""
    common = _in_advance(invoice, period, component)
    rated = rate_quantity(component, quantity, currency=invoice.currency)
    if not is_part(period):
        charge = component.charge(invoice.currency)
        return _rated_lines(LineType.PER_UNIT, component, charge, rated, {}, common)
    cents = round_cents(rated.unrounded_net * share_of(period))
    if not cents:
        return []
    return [
        new_row(
            InvoiceLine,
            type=LineType.PER_UNIT,
            description=component.title + _note_of_part(invoice, period),
            quantity=Decimal(quantity),
            amount_cents=cents,
            **common,
        )
    ]


def _note_of_part(invoice: Invoice, period: SubscriptionPeriod) -> str:
    return f", {_days_text(period, year_of=invoice.closes_at)}" if is_part(period) else ""


def _one_of(line_type: LineType, description: str, cents: int, common: Mapping[str, Any]) -> InvoiceLine:
    return new_row(
        InvoiceLine,
        type=line_type,
        description=description,
        quantity=_ONE,
        unit_amount_cents=Decimal(cents),
        amount_cents=cents,
        **common,
    )


def _rated_lines(
    line_type: LineType,
    component: PriceComponent,
    charge: Charge,
    rated: RatedUsage,
    grants: Mapping[int, CreditGrant],
    common: Mapping[str, Any],
) -> list[InvoiceLine]:
    """The line of all units, one per shown grant, and one where a minimum or maximum holds."""
    unit_cost = charge.unit_cost_cents if charge.is_plain else None
    lines = []
    if rated.used > 0 or rated.line_cents:
        lines.append(
            new_row(
                InvoiceLine,
                type=line_type,
                description=component.title + _note_of_included(rated),
                quantity=rated.line_units,
                unit_amount_cents=unit_cost,
                amount_cents=rated.line_cents,
                **common,
            )
        )
    lines += [
        new_row(
            InvoiceLine,
            type=LineType.CREDIT,
            grant=grants[credit.grant],
            description=credit_words(grants[credit.grant]),
            quantity=credit.units,
            unit_amount_cents=None if unit_cost is None else -unit_cost,
            amount_cents=credit.amount_cents,
            **common,
        )
        for credit in rated.credits
    ]
    if rated.minimum_cents:
        lines.append(_one_of(LineType.MINIMUM, f"Minimum charge: {component.title}", rated.minimum_cents, common))
    if rated.maximum_cents:
        lines.append(_one_of(LineType.MAXIMUM, f"Maximum charge: {component.title}", rated.maximum_cents, common))
    return lines


def _note_of_included(rated: RatedUsage) -> str:
    included = rated.used - rated.line_units
    return f" ({grouped_number(rated.used)} used, {grouped_number(included)} included)" if included else ""
