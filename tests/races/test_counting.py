"""Threads record and void events while metrics are made, changed and counted: each day holds what its events say."""

import json
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import partial

import pytest

from billing.books import usage_days_equal_their_events
from metering.models import UsageDay, UsageDayValue, UsageEvent
from metering.services.attribute_events import attribute_events, register_customer
from metering.services.build_metrics import build_next_slice
from metering.services.metrics import create_metric, update_metric
from metering.services.record_events import record_events
from metering.services.void_event import void_event
from plans.models import MetricVersion
from plans.models.metrics import Aggregation
from tests.factories import CustomerFactory
from tests.pro_plan import event

AT = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)

pytestmark = pytest.mark.django_db(transaction=True)


def numbers_of(event, version):
    """The event's number and its value to tell apart, by the words of the version; None when it does not count."""
    wanted = version.property_filter.items()
    if event.event_name != version.event_name or any(event.properties.get(name) not in of for name, of in wanted):
        return None
    if not version.value_property:
        return event.value, event.value
    value = event.properties.get(version.value_property)
    return None if value is None else (Decimal(str(value)), value)


def expected_days(version):
    found = defaultdict(list)
    for happened in UsageEvent.objects.filter(customer__isnull=False, void=None).order_by("occurred_at", "pk"):
        numbers = numbers_of(happened, version)
        if numbers is not None:
            found[happened.customer_id, happened.occurred_at.date()].append(numbers)
    kind = version.metric.aggregation_type
    answers = {
        Aggregation.COUNT: len,
        Aggregation.SUM: lambda rows: sum(number for number, _ in rows),
        Aggregation.MAX: lambda rows: max(number for number, _ in rows),
        Aggregation.MIN: lambda rows: min(number for number, _ in rows),
        Aggregation.AVG: lambda rows: (sum(number for number, _ in rows) / len(rows)).quantize(
            Decimal("0.000001"), ROUND_HALF_UP
        ),
        Aggregation.UNIQUE_COUNT: lambda rows: len({value for _, value in rows}),
        Aggregation.LAST: lambda rows: rows[-1][0],
    }
    return {key: answers[kind](rows) for key, rows in found.items()}


def kept_days(version):
    kind = version.metric.aggregation_type
    different = defaultdict(int)
    for value in UsageDayValue.objects.filter(version=version):
        different[value.customer_id, value.day] += 1
    answers = {
        Aggregation.COUNT: lambda row: row.events,
        Aggregation.SUM: lambda row: row.total,
        Aggregation.MAX: lambda row: row.maximum,
        Aggregation.MIN: lambda row: row.minimum,
        Aggregation.AVG: lambda row: (row.total / row.events).quantize(Decimal("0.000001"), ROUND_HALF_UP),
        Aggregation.UNIQUE_COUNT: lambda row: different[row.customer_id, row.day],
        Aggregation.LAST: lambda row: row.last_value,
    }
    return {(row.customer_id, row.day): answers[kind](row) for row in UsageDay.objects.filter(version=version)}


def send(customers, sender, *, voids, rounds=25):
    chance = random.Random(sender)
    for number in range(rounds):
        sent = [
            event(
                "call",
                chance.choice(["1", "2.5", "-1", "7"]),
                AT + chance.randrange(-2, 2) * DAY + timedelta(minutes=chance.randrange(600)),
                f"{sender}/{number}/{index}",
                properties=json.dumps({"region": chance.choice(["eu", "us"]), "size": chance.randrange(5)}),
                **chance.choice([{"customer": chance.choice(customers).public_id}, {"external": "later"}]),
            )
            for index in range(8)
        ]
        outcomes = record_events(events=sent, at=AT + 5 * DAY)
        if voids:
            void_event(event_id=chance.choice(outcomes).event_id, reason="mistake", by="test", at=AT + 5 * DAY)


def make_metrics():
    for kind in Aggregation:
        terms = {} if kind == "COUNT" else {"value_property": "size"}
        create_metric(at=AT, name=f"{kind} now", event_name="call", aggregation_type=kind)
        create_metric(
            at=AT,
            name=f"{kind} eu",
            event_name="call",
            aggregation_type=kind,
            property_filter={"region": "eu"},
            **terms,
        )


def change_metric_and_count(metric):
    update_metric(metric=metric, at=AT, property_filter={"region": ["us"]})
    while build_next_slice(at=AT):
        pass


def test_every_day_of_every_metric_is_what_its_events_say(at_once, monkeypatch):
    # Small slices, so that counting goes on for many transactions while events come.
    monkeypatch.setattr("metering.services.metrics.EVENTS_COUNTED_AT_ONCE", 2)
    monkeypatch.setattr("metering.services.build_metrics.EVENTS_PER_SLICE", 40)
    customers = [CustomerFactory() for _ in range(3)]
    early = create_metric(at=AT, name="early", event_name="call", aggregation_type="SUM")
    send(customers, 100, voids=True, rounds=5)

    outcomes = at_once(
        [
            partial(send, customers, 1, voids=False),
            partial(send, customers, 2, voids=True),
            partial(send, customers, 3, voids=True),
            partial(send, customers, 4, voids=False),
            make_metrics,
            partial(change_metric_and_count, early),
            partial(register_customer, at=AT, name="Later", email="l@example.com", external_customer_id="later"),
        ]
    )
    attribute_events()
    while build_next_slice(at=AT):
        pass

    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
    versions = MetricVersion.objects.select_related("metric")
    assert versions.count() == 2 + 2 * len(Aggregation)
    for version in versions:
        assert version.built_at is not None
        assert kept_days(version) == expected_days(version), version
    assert usage_days_equal_their_events(AT).offenders == []
