"""GET /v1/metrics/{id}/value: a customer's usage of a metric as one number."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine

from tests.factories import CustomerFactory, MetricFactory, SeatFactory, UsageEventFactory

NOW = datetime(2026, 3, 31, 15, 30, tzinfo=UTC)
DAY = timedelta(days=1)

pytestmark = pytest.mark.django_db


@pytest.fixture
def customer():
    return CustomerFactory(external_customer_id="user-1")


@pytest.fixture
def metric(customer):
    """A sum of 1 right at the end of 1969 in Samoa, 2 of 31 days ago, 4 of exactly 30 days ago, and 8 of now."""
    metric = MetricFactory(event_name="call")
    for value, at in (
        (1, datetime(1969, 12, 31, 0, 1, tzinfo=UTC)), (2, NOW - 31 * DAY), (4, NOW - 30 * DAY), (8, NOW - DAY),
    ):  # fmt: skip
        UsageEventFactory(customer=customer, event_name="call", value=Decimal(value), at=at)
    return metric


def ask(api, metric, customer, **query):
    with time_machine.travel(NOW, tick=False):
        return api.get(f"/v1/metrics/{metric.public_id}/value", {"customerId": customer.public_id} | query)


def test_is_of_all_time_unless_a_timeframe_is_said(api, metric, customer):
    answer = ask(api, metric, customer)

    assert answer.body == {
        "id": metric.public_id,
        "name": metric.name,
        "customerId": customer.public_id,
        "value": 15,
        "queryType": "simple",
        "timeframe": {"type": "ALL"},
        "building": None,
    }


RELATIVE = {"type": "RELATIVE", "days": 30}
ABSOLUTE = {"type": "ABSOLUTE", "start": "2026-02-28T15:30:00Z", "end": "2026-03-30T15:30:00Z"}


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ({"timeframe": "ALL"}, 15),
        ({"timeframe": "all"}, 15),
        ({"timeframe": '{"type": "ALL"}'}, 15),
        ({"timeframe": json.dumps(RELATIVE)}, 12),
        ({"timeframe": '{"type": "RELATIVE", "days": "30"}'}, 12),
        ({"timeframe": '{"type": "RELATIVE", "days": 30.0}'}, 12),
        ({"timeframe": "RELATIVE", "days": "30"}, 12),
        ({"timeframe": "relative", "timeframe[days]": "30"}, 12),
        ({"timeframe[type]": "RELATIVE", "timeframe[days]": "30"}, 12),
        ({"timeframe": "RELATIVE", "days": "31"}, 14),
        ({"timeframe": "RELATIVE", "days": "36500"}, 15),
        ({"timeframe": json.dumps(ABSOLUTE)}, 6),
        ({"timeframe": "ABSOLUTE", "start": ABSOLUTE["start"], "end": ABSOLUTE["end"]}, 6),
        ({"timeframe": "ABSOLUTE", "start": "2026-03-01", "end": "2026-03-31"}, 12),
        ({"timeframe[type]": "ABSOLUTE", "timeframe[start]": "2020-01-01", "timeframe[end]": "2026-03-31"}, 14),
    ],
)
def test_is_of_the_timeframe_however_it_is_spelled(api, metric, customer, query, value):
    answer = ask(api, metric, customer, **query)

    assert (answer.status, answer.body["value"]) == (200, value)


def test_says_which_timeframe_it_is_of(api, metric, customer):
    relative = ask(api, metric, customer, timeframe=json.dumps(RELATIVE)).body["timeframe"]
    absolute = ask(api, metric, customer, timeframe=json.dumps(ABSOLUTE)).body["timeframe"]

    assert relative == {"type": "RELATIVE", "days": 30}
    assert absolute == {"type": "ABSOLUTE", "start": "2026-02-28T15:30:00.000Z", "end": "2026-03-30T15:30:00.000Z"}


def test_of_a_customer_by_external_id_and_of_a_member(api, metric, customer):
    with time_machine.travel(NOW, tick=False):
        path = f"/v1/metrics/{metric.public_id}/value"
        assert api.get(path, {"customerId": "user-1", "isExtCustId": "true"}).body["value"] == 15
    organization = CustomerFactory(org_role="primary", customer_organization_id="acme")
    member = SeatFactory(organization_id="acme").member
    UsageEventFactory(customer=member, event_name="call", value=Decimal(5), at=NOW)

    assert ask(api, metric, organization).body["value"] == 5
    assert ask(api, metric, member).body["value"] == 5
    assert ask(api, metric, CustomerFactory()).body["value"] == 0


def test_is_null_where_it_takes_an_event_to_have_one(api, customer):
    assert ask(api, MetricFactory(aggregation_type="MAX"), customer).body["value"] is None


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({"timeframe": "SOMETIMES"}, "timeframe"),
        ({"timeframe": "x" * 10_240}, "timeframe"),
        ({"timeframe": "{"}, "timeframe"),
        ({"timeframe": "{" * 5_000}, "timeframe"),
        ({"timeframe": '{"type": []}'}, "timeframe"),
        ({"timeframe": '{"type": "RELATIVE", "days": 1e400}'}, "timeframe.days"),
        ({"timeframe": '{"type": "RELATIVE", "days": NaN}'}, "timeframe"),
        ({"timeframe": '{"type": "RELATIVE"}'}, "timeframe.days"),
        ({"timeframe": '{"type": "RELATIVE", "days": null}'}, "timeframe.days"),
        ({"timeframe": '{"type": "RELATIVE", "days": true}'}, "timeframe.days"),
        ({"timeframe": '{"type": "RELATIVE", "days": {}}'}, "timeframe.days"),
        ({"timeframe": "RELATIVE"}, "timeframe.days"),
        ({"timeframe": "RELATIVE", "days": "0"}, "timeframe.days"),
        ({"timeframe": "RELATIVE", "days": "-1"}, "timeframe.days"),
        ({"timeframe": "RELATIVE", "days": "1.5"}, "timeframe.days"),
        ({"timeframe": "RELATIVE", "days": "36501"}, "timeframe.days"),
        ({"timeframe": "RELATIVE", "days": "9" * 10_240}, "timeframe.days"),
        ({"timeframe": "ABSOLUTE"}, "timeframe.start"),
        ({"timeframe": "ABSOLUTE", "start": "2026-03-01"}, "timeframe.end"),
        ({"timeframe": "ABSOLUTE", "start": "soon", "end": "2026-03-01"}, "timeframe.start"),
        ({"timeframe": "ABSOLUTE", "start": "2026-03-01", "end": "2026-03-01"}, "timeframe.end"),
        ({"timeframe": "ABSOLUTE", "start": "2026-03-01", "end": "2026-03-02T00:00:00"}, "timeframe.end"),
        ({"timeframe": '{"type": "ABSOLUTE", "start": 5, "end": "2026-03-01"}'}, "timeframe.start"),
    ],
)
def test_a_timeframe_that_cannot_be_read_is_refused_by_its_field(api, metric, customer, query, path):
    answer = ask(api, metric, customer, **query)

    assert answer.status == 400
    assert answer.body["error"] == "Invalid timeframe parameters for the specified timeframe type"
    assert [problem["path"] for problem in answer.body["details"]] == [path]


def test_without_a_customer_is_refused(api, metric):
    answer = api.get(f"/v1/metrics/{metric.public_id}/value")

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "customerId")


@pytest.mark.parametrize("identifier", ["", "cus_x", "x" * 10_240])
def test_of_a_customer_that_nobody_is_is_404(api, metric, identifier):
    answer = api.get(f"/v1/metrics/{metric.public_id}/value", {"customerId": identifier})

    assert (answer.status, answer.body["code"]) == (404, "customer_not_found")


def test_of_a_metric_that_is_none_is_404(api, customer):
    answer = api.get("/v1/metrics/met_x/value", {"customerId": customer.public_id})

    assert (answer.status, answer.body["error"]) == (404, "Metric not found")
