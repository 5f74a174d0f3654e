"""Explanations of lines as the pages of an invoice show them: one for all lines that bill the same period."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from zoneinfo import ZoneInfo

from billing.explain_text import agreement_sentences, events_query, explanation_sentences
from billing.models import InvoiceKind, InvoiceLine, LineType
from billing.services.explain import Explanation
from billing.services.recompute import CountedUsage
from metering.services.read_usage import UsageOfDay
from plans.charge_words import charge_text, metered_unit
from plans.models import PriceComponent
from plans.money import exactly
from plans.page_words import day_text, number_text, units_text
from plans.periods import local_midnight
from plans.pricing import OF_AMOUNTS
from plans.words import money_text

# Lines that are one amount, without units of anything.
_AMOUNTS_ALONE = (LineType.MINIMUM, LineType.MAXIMUM, LineType.REFUND)


@dataclass(frozen=True, kw_only=True)
class HowComputed:
    """How lines were computed, all of it text.

    `days` are those of the period with events: day, usage, number of events. `check` says how many events they were and
    whether a recompute gives the same, and `query` is the address at which the API lists them.
    """

    sentences: list[str]
    days: list[tuple[str, str, str]]
    check: str
    query: str
    agrees: bool


def how_computed(explanations: Iterable[Explanation], zone: ZoneInfo) -> dict[int, HowComputed]:
    """Put explanations, in the order of their lines, into words: for each run of lines that belong together, by the key
    of the last of them. A line whose columns say it all needs none."""
    told = {}
    for _, run in groupby(explanations, key=_belonging):
        of_run = list(run)
        if len(of_run) > 1 or not _is_told_by_its_columns(of_run[0]):
            told[of_run[-1].line.pk] = _together(of_run, zone)
    return told


def _belonging(explanation: Explanation) -> tuple[int | None, ...]:
    line = explanation.line
    if line.period_id is None:
        return (None, None, line.pk)
    return (line.period_id, None if explanation.late is None else explanation.late.difference.pk, None)


def _is_told_by_its_columns(explanation: Explanation) -> bool:
    """Tell whether a line is nothing but its quantity at its price."""
    line, working = explanation.line, explanation.working
    is_exact = line.unit_amount_cents is not None and line.quantity * line.unit_amount_cents == line.amount_cents
    if working is None:
        return line.type == LineType.FIXED or (is_exact and line.invoice.kind == InvoiceKind.MANUAL)
    return line.type == LineType.PER_UNIT and is_exact and working.units.used == line.quantity


def _together(explanations: Sequence[Explanation], zone: ZoneInfo) -> HowComputed:
    first = explanations[0]
    counted, recomputed = first.counted, first.recomputed
    unit = unit_of(first.component, first.line.invoice.currency)
    days = [] if counted is None else [day for day in counted.by_day.days if day.events]
    return HowComputed(
        sentences=[sentence for one in explanations for sentence in explanation_sentences(one, zone)],
        days=[_day(day, unit, zone) for day in days],
        check=" ".join([*_counted(counted), *_agreement(explanations)]),
        query="" if counted is None or recomputed is None else events_query(counted, recomputed.account.period),
        agrees=all(one.agrees for one in explanations),
    )


def _counted(counted: CountedUsage | None) -> list[str]:
    if counted is None:
        return []
    told = [f"Counted from {_events_text(counted.events)}."]
    return told if counted.version.metric.is_additive else [*told, _NOT_A_SUM]


def _agreement(explanations: Iterable[Explanation]) -> Iterable[str]:
    """What is said of lines that belong together, once."""
    return dict.fromkeys(sentence for one in explanations for sentence in agreement_sentences(one))


_NOT_A_SUM = "The number of the period is not the sum of its days."


def _day(day: UsageOfDay, unit: str, zone: ZoneInfo) -> tuple[str, str, str]:
    value = "" if day.value is None else units_text(day.value, unit)
    return day_text(local_midnight(day.day, zone), zone), value, _events_text(day.events)


def _events_text(count: int) -> str:
    return f"{count:,} {'event' if count == 1 else 'events'}"


def unit_of(component: PriceComponent | None, currency: str) -> str:
    """Name the unit in which a component's usage is counted; empty where it has no name or is an amount."""
    if component is None:
        return ""
    charge = component.charge(currency)
    return "" if charge.model in OF_AMOUNTS else metered_unit(charge, component.unit_label)


def terms_text(line: InvoiceLine) -> str:
    """Write the price of a line whose units do not all cost the same: its tiers, packages or percentage."""
    component = line.component
    if component is None or line.unit_amount_cents is not None or line.type == LineType.CREDIT:
        return ""
    currency = line.invoice.currency
    return charge_text(component.charge(currency), currency=currency, unit_label=component.unit_label)


@exactly
def quantity_text(line: InvoiceLine) -> str:
    """Write how much a line is of: 12,500 calls, $1,234.00 of a percentage, nothing where it is an amount alone."""
    component, currency = line.component, line.invoice.currency
    if line.type in _AMOUNTS_ALONE or line.credit_transaction_id is not None:
        return ""
    if component is None or line.type == LineType.FIXED:
        return number_text(line.quantity)
    charge = component.charge(currency)
    if charge.model in OF_AMOUNTS:
        return money_text(line.quantity * charge.minor_per_major, currency)
    return units_text(line.quantity, unit_of(component, currency))


def each_text(line: InvoiceLine) -> str:
    """Write what each unit of a line costs; empty where they do not all cost the same, or there are none."""
    if line.unit_amount_cents is None or not quantity_text(line):
        return ""
    return money_text(line.unit_amount_cents, line.invoice.currency)
