"""How usage is asked for and shown over the wire: as JSON, and as CSV for spreadsheets."""

import csv
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

from metering.parameters import instant_parameter, read_instant, read_number
from metering.services.metrics import LONGEST_PROPERTY
from metering.services.read_usage import MOST_DAYS, USUAL_DAYS, UsageByDay, UsageByProperty, usual_window
from metering.windows import ALL_TIME, EARLIEST, Window
from plans.exact_json import InvalidJSON, decode_object, number_text
from plans.models import Customer, Metric
from plans.refusals import InvalidInput
from plans.serializers.metrics import metric_summary
from plans.services.time_zone import billing_zone

BY_DAY = "day"
_PROPERTY_PREFIX = "properties."
LONGEST_LOOK_BACK_DAYS = 36_500
# What a spreadsheet takes for a formula when a cell begins with it.
_BEGINS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_PLAIN_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


class InvalidTimeframe(InvalidInput):
    """The value of a metric was asked for in a timeframe that cannot be read; `details` names what is wrong."""

    code = "invalid_timeframe"


def read_window(query: Mapping[str, str], *, customer: Customer, metric: Metric, at: datetime) -> Window:
    """Read `start` and `end`. With neither it is the usual window; a missing end is now, a missing start 30 days before
    the end. Raises InvalidInput."""
    start_at = instant_parameter(query, "start", billing_zone())
    end_at = instant_parameter(query, "end", billing_zone())
    if start_at is None and end_at is None:
        return usual_window(customer=customer, metric=metric, at=at)
    if end_at is None:
        end_at = at
    if start_at is None:
        start_at = end_at - timedelta(days=USUAL_DAYS)
    if end_at <= start_at:
        if "end" in query:
            raise InvalidInput.at("end", "must be after start.")
        raise InvalidInput.at("start", "must lie before end, which is now where it is not sent.")
    window = Window(start_at, end_at)
    if end_at - start_at > timedelta(days=MOST_DAYS):
        raise InvalidInput.at("end", f"must lie at most {MOST_DAYS} days after start. Ask for less at a time.")
    return window


def read_grouping(query: Mapping[str, str]) -> str | None:
    """Read `groupBy`: the name of a property, or None for days. `properties.` may stand before a name, and has to
    before that of a property called day. Raises InvalidInput."""
    text = query.get("groupBy", BY_DAY)
    if text == BY_DAY:
        return None
    name = text.removeprefix(_PROPERTY_PREFIX)
    if not 1 <= len(name) <= LONGEST_PROPERTY:
        raise InvalidInput.at("groupBy", f"must be day, or the name of a property of 1 to {LONGEST_PROPERTY} letters.")
    return name


def usage_words(usage: UsageByDay | UsageByProperty, *, customer: Customer, metric: Metric, window: Window) -> Any:
    """Show usage of a window, with its days or its groups."""
    words = {
        "customerId": customer.public_id,
        "metric": metric_summary(metric),
        "start": window.start_at,
        "end": window.end_at,
        "timeZone": billing_zone().key,
        "total": usage.total,
    }
    if isinstance(usage, UsageByDay):
        words["series"] = [{"day": day.day, "value": day.value, "events": day.events} for day in usage.days]
    else:
        words["groups"] = [
            {"value": group.text, "usage": group.value, "events": group.events} for group in usage.groups
        ]
        other = usage.other
        words["other"] = other and {"groups": other.groups, "usage": other.value, "events": other.events}
    return words | {"building": building_words(metric)}


def building_words(metric: Metric) -> dict[str, Any] | None:
    """Say how much of a metric has been counted while its events are still being counted, so that sums lack some."""
    version = metric.current
    if version is None or version.built_at is not None:
        return None
    return {"version": version.number, "percent": version.percent_built}


def usage_csv(usage: UsageByDay | UsageByProperty) -> str:
    """Write usage as CSV with a line of names: one line a day, or one a group; the last of groups may stand for
    several values."""
    lines = StringIO()
    writer = csv.writer(lines)
    if isinstance(usage, UsageByDay):
        writer.writerow(["day", "value", "events"])
        writer.writerows([day.day, _number(day.value), day.events] for day in usage.days)
    else:
        writer.writerow(["value", "groups", "usage", "events"])
        writer.writerows(
            [_harmless(group.text or ""), group.groups, _number(group.value), group.events]
            for group in [*usage.groups, *([usage.other] if usage.other else [])]
        )
    return lines.getvalue()


def _number(value: Decimal | None) -> str:
    return "" if value is None else number_text(value)


def _harmless(text: str) -> str:
    """Keep a spreadsheet from running a text of a stranger as a formula: an apostrophe makes it a text there."""
    if text.startswith(_BEGINS_A_FORMULA) and not _PLAIN_NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def read_timeframe(query: Mapping[str, str], *, at: datetime) -> tuple[Window, dict[str, Any]]:
    """Read the timeframe of a metric's value, and give its window and its words.

    It may be the JSON text of an object in `timeframe`, or its type there with `days`, or `start` and `end`, beside it,
    or each of them like `timeframe[days]`. Raises InvalidTimeframe.
    """
    try:
        fields = _timeframe_fields(query)
        kind = str(fields.get("type", "ALL")).upper()
        if kind == "ALL":
            return ALL_TIME, {"type": kind}
        if kind == "RELATIVE":
            path = "timeframe.days"
            days = read_number(_required(fields, "days"), path, least=1, most=LONGEST_LOOK_BACK_DAYS)
            return Window(max(at - timedelta(days=days), EARLIEST), at), {"type": kind, "days": days}
        if kind == "ABSOLUTE":
            start_at = read_instant(_required(fields, "start"), "timeframe.start", billing_zone())
            end_at = read_instant(_required(fields, "end"), "timeframe.end", billing_zone())
            if end_at <= start_at:
                raise InvalidInput.at("timeframe.end", "must be after timeframe.start.")
            return Window(start_at, end_at), {"type": kind, "start": start_at, "end": end_at}
        raise InvalidInput.at("timeframe", "must be ALL, RELATIVE (with days) or ABSOLUTE (with start and end).")
    except InvalidInput as refusal:
        raise InvalidTimeframe(
            "Invalid timeframe parameters for the specified timeframe type", details=refusal.details
        ) from None


def _timeframe_fields(query: Mapping[str, str]) -> dict[str, str]:
    """The fields of a timeframe as texts, in whichever way they were sent."""
    text = query.get("timeframe", "")
    if text.startswith("{"):
        try:
            fields = decode_object(text.encode())
        except InvalidJSON as error:
            raise InvalidInput.at("timeframe", f"cannot be read: {error.message}") from None
        return {name: _plain_text(value) for name, value in fields.items() if value is not None}
    sent = {"type": text} if text else {}
    for name in ("type", "days", "start", "end"):
        for spelling in (f"timeframe[{name}]", name):
            if spelling in query:
                sent.setdefault(name, query[spelling])
    return sent


def _plain_text(value: Any) -> str:
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    return number_text(Decimal(value)) if is_number else str(value)


def _required(fields: Mapping[str, str], name: str) -> str:
    if name not in fields:
        raise InvalidInput.at(f"timeframe.{name}", "is required.")
    return fields[name]
