"""/v1/metrics: create, get, list, change, delete."""

import pytest

from metering.models import UsageDay
from plans.models import Merchant, Metric
from tests.factories import CustomerFactory, MetricFactory, UsageEventFactory

NOON = "2025-03-10T12:00:00.000Z"
VALID = {"name": "API calls", "eventName": "api-calls", "aggregationType": "SUM"}


def test_creates_a_metric_and_answers_it_bare(api):
    answer = api.post("/v1/metrics", VALID | {"description": "All calls", "queryType": "simple"})

    metric = Metric.objects.get()
    assert answer.status == 200
    assert answer.body == {
        "id": metric.public_id,
        "name": "API calls",
        "description": "All calls",
        "queryType": "simple",
        "eventName": "api-calls",
        "aggregationType": "SUM",
        "valueType": "NUMERIC",
        "merchantId": Merchant.objects.get().public_id,
        "filter": {},
        "valueProperty": None,
        "version": 1,
        "building": None,
        "sqlDefinition": None,
        "createdAt": NOON,
        "updatedAt": NOON,
        "deletedAt": None,
    }
    assert api.get(f"/v1/metrics/{metric.public_id}").body == answer.body


def test_counts_text_events(api):
    answer = api.post("/v1/metrics", VALID | {"aggregationType": "COUNT", "valueType": "STRING"})

    assert (answer.body["aggregationType"], answer.body["valueType"]) == ("COUNT", "STRING")


def test_counts_the_events_that_are_there_already(api):
    customer = CustomerFactory()
    UsageEventFactory(customer=customer, event_name="api-calls")
    UsageEventFactory(customer=customer, event_name="api-calls")

    api.post("/v1/metrics", VALID)

    assert UsageDay.objects.get().total == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 101),
        ("name", 1),
        ("eventName", None),
        ("eventName", "x" * 256),
        ("aggregationType", None),
        ("aggregationType", "sum"),
        ("aggregationType", 1),
        ("valueType", "TEXT"),
        ("valueType", ["NUMERIC"]),
        ("description", {"a": 1}),
    ],
)
def test_refuses_a_field_of_the_wrong_kind_and_writes_nothing(api, field, value):
    answer = api.post("/v1/metrics", VALID | {field: value})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, field)
    assert not Metric.objects.exists()


@pytest.mark.parametrize("aggregation", ["MAX", "MIN", "AVG", "UNIQUE_COUNT", "LAST"])
def test_aggregates_a_property_of_events_that_pass_a_filter(api, aggregation):
    said = {"aggregationType": aggregation, "filter": {"region": "eu", "tier": [1, 2]}, "valueProperty": "size"}

    answer = api.post("/v1/metrics", VALID | said)

    assert answer.body["aggregationType"] == aggregation
    assert (answer.body["filter"], answer.body["valueProperty"]) == ({"region": ["eu"], "tier": [1, 2]}, "size")


def test_refuses_other_aggregations_naming_those_there_are(api):
    answer = api.post("/v1/metrics", VALID | {"aggregationType": "MEDIAN"})

    assert answer.status == 400
    assert answer.body["error"] == (
        "aggregationType: must be one of COUNT, SUM, MAX, MIN, AVG, UNIQUE_COUNT, LAST; not MEDIAN."
    )
    assert not Metric.objects.exists()


@pytest.mark.parametrize("query_type", ["indexed", "complex"])
def test_refuses_sql_metrics_naming_the_filter_as_the_way(api, query_type):
    answer = api.post("/v1/metrics", VALID | {"queryType": query_type, "sqlDefinition": "SELECT 1 AS value"})

    assert answer.status == 400
    assert answer.body["error"].startswith("queryType: must be simple: SQL is not run. Say which events count by")
    assert [detail["path"] for detail in answer.body["details"]] == ["queryType", "sqlDefinition"]


@pytest.mark.parametrize("said", [["region"], "region", 7, {"region": None}, {"region": {"eu": 1}}])
def test_refuses_a_filter_that_cannot_be(api, said):
    answer = api.post("/v1/metrics", VALID | {"filter": said})

    assert answer.status == 400
    assert answer.body["details"][0]["path"].startswith("filter")
    assert not Metric.objects.exists()


def test_changes_what_is_sent_and_leaves_the_rest(api):
    metric = MetricFactory(name="Calls", event_name="call")
    path = f"/v1/metrics/{metric.public_id}"

    answer = api.post(f"{path}/update", {"description": "All", "filter": {"live": True}})

    assert (answer.body["name"], answer.body["eventName"], answer.body["description"]) == ("Calls", "call", "All")
    assert (answer.body["filter"], answer.body["version"]) == ({"live": [True]}, 2)
    assert api.get(path).body == answer.body


def test_an_empty_filter_takes_it_away(api):
    metric = MetricFactory(property_filter={"live": True}, value_property="size")

    answer = api.post(f"/v1/metrics/{metric.public_id}/update", {"filter": None, "valueProperty": ""})

    assert (answer.body["filter"], answer.body["valueProperty"]) == ({}, None)


@pytest.mark.parametrize(("field", "value"), [("aggregationType", "COUNT"), ("valueType", "STRING"), ("name", "")])
def test_refuses_a_change_of_what_stays_for_ever(api, field, value):
    metric = MetricFactory()

    answer = api.post(f"/v1/metrics/{metric.public_id}/update", {field: value})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, field)


def test_deletes_a_metric_that_nothing_uses(api):
    metric = MetricFactory()

    assert api.post(f"/v1/metrics/{metric.public_id}/delete").body["success"] is True
    assert api.get(f"/v1/metrics/{metric.public_id}").status == 404
    assert api.post(f"/v1/metrics/{metric.public_id}/delete").status == 404


def test_refuses_the_sum_of_texts(api):
    answer = api.post("/v1/metrics", VALID | {"valueType": "STRING"})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "valueType")


def test_lists_a_bare_array_the_newest_first(api, now):
    first, second = MetricFactory(), MetricFactory(at=now)
    MetricFactory()
    Metric.objects.exclude(pk__in=[first.pk, second.pk]).update(deleted_at=now)

    body = api.get("/v1/metrics").body

    assert [metric["id"] for metric in body] == [second.public_id, first.public_id]


def test_a_page_of_metrics_stands_in_an_object(api):
    metric = MetricFactory()

    body = api.get("/v1/metrics", {"limit": "1"}).body

    assert [listed["id"] for listed in body["metrics"]] == [metric.public_id]
    assert (body["hasMore"], body["nextCursor"]) == (False, None)


def test_answers_404_for_an_unknown_metric(api):
    answer = api.get("/v1/metrics/met_x")

    assert (answer.status, answer.body) == (
        404,
        {"error": "Metric not found", "code": "metric_not_found", "details": None},
    )
