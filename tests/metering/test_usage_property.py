"""Whatever happens, usage is what a plain recomputation from the events says."""

import json
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from itertools import count, pairwise, product
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.events import NewEvent
from metering.services.read_usage import read_usage, read_usage_by_day, read_usage_by_property
from metering.services.record_events import record_events
from metering.services.void_event import void_event
from metering.windows import ALL_TIME, Window
from plans.models.metrics import Aggregation
from tests.factories import CustomerFactory, MetricFactory, SeatFactory

# A zone, and an instant around which it sets its clocks: never, from 1:00 back to 0:00 of the same day (twice), in
# Newfoundland from 0:01 of a day back to 23:01 of the day before, and in Samoa a whole day ahead.
ZONES = [
    ("UTC", datetime(2025, 3, 10, tzinfo=UTC)),
    ("America/Havana", datetime(2025, 11, 2, 5, tzinfo=UTC)),
    ("Atlantic/Azores", datetime(2025, 10, 26, 1, tzinfo=UTC)),
    ("America/St_Johns", datetime(2010, 11, 7, 2, 31, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
]
SIX_DECIMALS = Decimal("0.000001")
NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]+)?")
numbers_of_examples = count()


@dataclass(frozen=True)
class Happened:
    """What the test remembers of an event; `key` is that of its row."""

    after: timedelta
    value: Decimal | None
    text: str | None
    properties: dict[str, Any]
    by_member: bool
    voided: bool
    at: datetime = ALL_TIME.start_at
    key: int = 0


@dataclass(frozen=True)
class Terms:
    """What a metric counts, and how."""

    aggregation: str
    wanted: dict[str, list[Any]]
    value_property: str


def instants(first_day, last_day):
    """Instants that matter: local midnights in Havana and the like, the hours around them, and some of no meaning."""
    return st.builds(
        lambda days, within, micro: timedelta(days=days, microseconds=micro) + within,
        days=st.integers(first_day, last_day),
        within=st.sampled_from(
            [timedelta(minutes=number) for number in (-61, -60, -31, -30, -1, 0, 29, 60, 90)]
            + [timedelta(hours=10, minutes=17, seconds=33), timedelta(hours=15, minutes=30)]
        ),
        micro=st.sampled_from([0, 0, -1, 1]),
    )


numbers = st.sampled_from(["1", "1", "2", "-1", "0.5", "10.000001", "-0.000001", "999999999999999999.999999"])
plain = st.sampled_from(["eu", "eu", "us", "", "1", "2.50", "x1", 1, 1, 2.5, True, None, -3, 0.0000019])
happenings = st.builds(
    Happened,
    after=instants(-2, 2),
    value=st.none() | numbers.map(Decimal) | numbers.map(Decimal),
    text=st.sampled_from(["gold", "1", "0.5"]),
    properties=st.fixed_dictionaries({}, optional={"region": plain, "size": plain}),
    by_member=st.booleans(),
    voided=st.sampled_from([False, False, True]),
)
wanted_regions = st.lists(st.sampled_from(["eu", "1", 1, True]), min_size=1, max_size=2)


@pytest.mark.django_db
@pytest.mark.parametrize(("zone", "around"), ZONES, ids=[zone for zone, _ in ZONES])
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sent=st.lists(happenings, min_size=10, max_size=25),
    wanted=st.just({}) | wanted_regions.map(lambda regions: {"region": regions}),
    value_property=st.sampled_from(["", "size"]),
    cuts=st.lists(instants(-3, 3), min_size=3, max_size=3, unique=True),
)
def test_usage_is_what_its_events_say(in_billing_zone, zone, around, sent, wanted, value_property, cuts):
    in_billing_zone(zone)
    organization, member, name = make_organization()
    happened = record(sent, around, organization, member, name)
    bounds = sorted(around + after for after in cuts)
    windows = [ALL_TIME, *(Window(*pair) for pair in pairwise(bounds))]

    for aggregation in Aggregation.values:
        terms = Terms(aggregation, wanted, "" if aggregation == "COUNT" else value_property)
        metric = MetricFactory(
            event_name=name,
            aggregation_type=aggregation,
            property_filter=terms.wanted,
            value_property=terms.value_property,
        )
        for window, customer in product(windows, (organization, member)):
            events = [
                event
                for event in happened
                if window.start_at <= event.at < window.end_at and (customer is organization or event.by_member)
            ]
            counted = list(counted_events(events, terms))
            where = {"customer": customer, "metric": metric, "window": window}
            assert read_usage(**where) == number_of(counted, terms)
            check_groups(read_usage_by_property(**where, property_name="region", most=2), counted, terms)
            if window is not ALL_TIME:
                check_days(read_usage_by_day(**where), counted, terms, ZoneInfo(zone))


def make_organization():
    number = next(numbers_of_examples)
    organization = CustomerFactory(org_role="primary", customer_organization_id=f"organization-{number}")
    member = SeatFactory(organization_id=f"organization-{number}").member
    return organization, member, f"happening-{number}"


def record(sent, around, organization, member, name):
    """Record what was sent, void some of it, and tell of each when it happened and the key of its row."""
    happened = [replace(event, at=around + event.after) for event in sent]
    events = [
        NewEvent(
            event_name=name,
            customer_id=(member if event.by_member else organization).public_id,
            external_customer_id=None,
            value=event.value,
            text_value=None if event.value is not None else event.text,
            occurred_at=event.at,
            idempotency_key=f"k{number}",
            properties=json.dumps(event.properties),
        )
        for number, event in enumerate(happened)
    ]
    outcomes = record_events(events=events, at=around + timedelta(days=9))
    for event, outcome in zip(happened, outcomes, strict=True):
        if event.voided:
            void_event(event_id=outcome.event_id, reason="a mistake", by="tests", at=around)
    return [replace(event, key=outcome.event_id) for event, outcome in zip(happened, outcomes, strict=True)]


@dataclass(frozen=True)
class Counted:
    """An event as a metric sees it."""

    at: datetime
    key: int
    number: Decimal | None
    told_apart_by: str | None
    region: str | None


def counted_events(events, wanted):
    for event in events:
        passes = all(
            any(same(event.properties.get(name), value) for value in listed) for name, listed in wanted.wanted.items()
        )
        number = number_in(event, wanted)
        text = text_in(event, wanted)
        has_what_is_needed: dict[str, Callable[[], bool]] = {
            "COUNT": lambda: True,
            "UNIQUE_COUNT": lambda text=text: text is not None,
        }
        if not event.voided and passes and has_what_is_needed.get(wanted.aggregation, lambda n=number: n is not None)():
            yield Counted(event.at, event.key, number, text, as_text(event.properties.get("region")))


def same(value, wanted):
    """1 is 1.0, but neither "1" nor true."""
    is_number = [isinstance(one, int | float) and not isinstance(one, bool) for one in (value, wanted)]
    return value == wanted if all(is_number) else type(value) is type(wanted) and value == wanted


def number_in(event, wanted):
    if not wanted.value_property:
        return event.value
    text = as_text(event.properties.get(wanted.value_property))
    if text is None or not NUMBER.fullmatch(text):
        return None
    return Decimal(text).quantize(SIX_DECIMALS, rounding=ROUND_DOWN)


def text_in(event, wanted):
    if wanted.value_property:
        value = event.properties.get(wanted.value_property)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return f"{Decimal(as_text(value)).normalize():f}" if is_number else as_text(value)
    return event.text if event.value is None else f"{event.value.normalize():f}"


def as_text(value):
    """A property as PostgreSQL writes it as text."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool | int) else f"{Decimal(repr(value)):f}"


def number_of(counted, wanted):
    numbers = [event.number for event in counted]
    if wanted.aggregation == "COUNT":
        return len(counted)
    if wanted.aggregation == "SUM":
        return sum(numbers, Decimal(0))
    if wanted.aggregation == "UNIQUE_COUNT":
        return len({event.told_apart_by for event in counted})
    if not counted:
        return None
    if wanted.aggregation == "AVG":
        return (sum(numbers) / len(numbers)).quantize(SIX_DECIMALS, rounding=ROUND_HALF_UP)
    if wanted.aggregation == "LAST":
        return max(counted, key=lambda event: (event.at, event.key)).number
    return max(numbers) if wanted.aggregation == "MAX" else min(numbers)


def check_days(usage, counted, wanted, zone):
    assert usage.total == number_of(counted, wanted)
    by_day = defaultdict(list)
    for event in counted:
        by_day[event.at.astimezone(zone).date()].append(event)
    assert [day.day for day in usage.days] == sorted({day.day for day in usage.days})
    assert by_day.keys() <= {day.day for day in usage.days}
    for day in usage.days:
        assert (day.value, day.events) == (number_of(by_day[day.day], wanted), len(by_day[day.day]))


def check_groups(usage, counted, wanted):
    assert usage.total == number_of(counted, wanted)
    by_region = defaultdict(list)
    for event in counted:
        by_region[event.region].append(event)
    listed = [group.text for group in usage.groups]
    assert len(listed) == min(len(by_region), 2)
    for group in usage.groups:
        assert (group.value, group.events) == (number_of(by_region[group.text], wanted), len(by_region[group.text]))
    rest = [event for region, events in by_region.items() if region not in listed for event in events]
    if len(by_region) <= 2:
        assert usage.other is None
    else:
        assert (usage.other.groups, usage.other.events) == (len(by_region) - 2, len(rest))
        assert usage.other.value == number_of(rest, wanted)
        assert min(group.events for group in usage.groups) >= max(
            len(events) for region, events in by_region.items() if region not in listed
        )
