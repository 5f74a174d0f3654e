"""Events, and calls of GET /v1/usage, for the tests of usage."""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import count

from tests.factories import UsageEventFactory

keys = count()


def utc(day, hour=0, minute=0, second=0, micro=0):
    return datetime(2026, 3, day, hour, minute, second, micro, tzinfo=UTC)


def used(customer, metric, value, at, properties="{}", *, text=None):
    """Record an event of a number, or of a text."""
    return UsageEventFactory(
        customer=customer,
        event_name=metric.event_name,
        at=at,
        value=None if text else Decimal(value),
        text_value=text,
        properties=properties,
        idempotency_key=f"u{next(keys)}",
    )


def ask(api, customer, metric, start="2026-03-01", end="2026-04-01", **query):
    sent = {"metricId": metric.public_id, "start": start, "end": end} | query
    answer = api.get(f"/v1/usage/{customer.public_id}", sent)
    assert answer.status == 200, answer
    return answer.body


def days_with_events(body):
    return {day["day"]: (day["value"], day["events"]) for day in body["series"] if day["events"]}
