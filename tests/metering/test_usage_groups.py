"""GET /v1/usage/{customerId}: grouped by a property, and as CSV."""

import csv
from io import StringIO

import pytest

from metering.services.record_events import record_events
from tests.factories import CustomerFactory, MetricFactory
from tests.metering.usage_calls import ask, used, utc
from tests.pro_plan import event

pytestmark = pytest.mark.django_db


class TestGroups:
    def test_by_a_property_with_the_most_events_first(self, api):
        customer, metric = CustomerFactory(), MetricFactory()
        for properties, value in (
            ('{"region": "us"}', 100), ('{"region": "eu"}', 1), ('{"region": "eu"}', 2), ('{"region": "1"}', 3),
            ('{"region": 1}', 4), ('{"region": 1}', 5), ("{}", 6), ('{"region": null}', 7), ('{"region": ""}', 8),
        ):  # fmt: skip
            used(customer, metric, value, utc(10, 5), properties)

        body = ask(api, customer, metric, groupBy="region")

        assert body["groups"] == [
            {"value": "1", "usage": 12, "events": 3},
            {"value": None, "usage": 13, "events": 2},
            {"value": "eu", "usage": 3, "events": 2},
            {"value": "", "usage": 8, "events": 1},
            {"value": "us", "usage": 100, "events": 1},
        ]
        assert (body["other"], body["total"]) == (None, 136)
        assert "series" not in body

    def test_is_exact_to_the_instant(self, api):
        customer, metric = CustomerFactory(), MetricFactory()
        used(customer, metric, 1, utc(10, 10, 17, 32), '{"region": "eu"}')
        used(customer, metric, 2, utc(10, 10, 17, 33), '{"region": "eu"}')
        used(customer, metric, 4, utc(10, 15, 30), '{"region": "eu"}')

        body = ask(api, customer, metric, "2026-03-10T10:17:33Z", "2026-03-10T15:30:00Z", groupBy="region")

        assert (body["total"], body["groups"]) == (2, [{"value": "eu", "usage": 2, "events": 1}])

    def test_beyond_a_thousand_are_added_up(self, api):
        customer, metric = CustomerFactory(), MetricFactory()
        sent = [
            event(metric.event_name, 2, utc(10), f"g{n}", customer=customer.public_id, properties=f'{{"user": {n}}}')
            for n in range(1_003)
        ]
        record_events(events=sent, at=utc(10))

        body = ask(api, customer, metric, groupBy="user")

        assert len(body["groups"]) == 1_000
        assert (body["other"], body["total"]) == ({"groups": 3, "usage": 6, "events": 3}, 2_006)

    def test_a_property_called_day_is_named_with_its_place(self, api):
        customer, metric = CustomerFactory(), MetricFactory()
        used(customer, metric, 1, utc(10), '{"day": "monday"}')

        body = ask(api, customer, metric, groupBy="properties.day")

        assert body["groups"] == [{"value": "monday", "usage": 1, "events": 1}]


class TestCsv:
    def lines(self, api, customer, metric, **query):
        sent = {"metricId": metric.public_id, "start": "2026-03-10", "end": "2026-03-12"} | query
        headers = {"Authorization": f"Bearer {api.key}", "Accept": "text/csv"}
        response = api.client.get(f"/v1/usage/{customer.public_id}", sent, headers=headers)
        assert (response.status_code, response["Content-Type"]) == (200, "text/csv; charset=utf-8")
        return list(csv.reader(StringIO(response.content.decode())))

    def test_has_a_line_for_each_day(self, api):
        customer, metric = CustomerFactory(), MetricFactory()
        used(customer, metric, "-2.50", utc(10))

        assert self.lines(api, customer, metric) == [
            ["day", "value", "events"],
            ["2026-03-10", "-2.5", "1"],
            ["2026-03-11", "0", "0"],
        ]

    def test_leaves_empty_what_has_no_number(self, api):
        customer, metric = CustomerFactory(), MetricFactory(aggregation_type="LAST")

        assert self.lines(api, customer, metric)[1] == ["2026-03-10", "", "0"]

    def test_has_a_line_for_each_group_and_no_formulas(self, api):
        customer, metric = CustomerFactory(), MetricFactory()
        for text in ("=1+1", "+x", "-x", "@SUM(A1)", "\\tx", "-5", "a,b", 'say \\"hi\\"', "ä"):
            used(customer, metric, 1, utc(10), f'{{"region": "{text}"}}')

        header, *rows = self.lines(api, customer, metric, groupBy="region")

        assert header == ["value", "groups", "usage", "events"]
        assert {row[0] for row in rows} == {
            "'=1+1", "'+x", "'-x", "'@SUM(A1)", "'\tx", "-5", "a,b", 'say "hi"', "ä",
        }  # fmt: skip
        assert {tuple(row[1:]) for row in rows} == {("1", "1", "1")}

    def test_refusals_are_json_all_the_same(self, api):
        answer = api.get("/v1/usage/cus_x", {"metricId": "met_x"}, accept="text/csv")

        assert (answer.status, answer.body["code"]) == (404, "customer_not_found")
