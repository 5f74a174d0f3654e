"""GET /v1/usage/{customerId}: every way of making events one number, whose events count, and what is refused."""

from datetime import timedelta
from decimal import Decimal

import pytest

from config.keys import create_api_key
from metering.services.record_events import record_events
from metering.services.void_event import void_event
from tests.conftest import ApiClient
from tests.factories import CustomerFactory, MetricFactory, SeatFactory
from tests.metering.usage_calls import ask, days_with_events, used, utc
from tests.pro_plan import event

pytestmark = pytest.mark.django_db


class TestAggregations:
    # 10 March: 5, 2 and 2; 12 March: 9 (in the morning) and 4; an event in April is outside.
    @pytest.mark.parametrize(
        ("aggregation", "total", "tenth", "twelfth", "nothing"),
        [
            ("COUNT", 5, 3, 2, 0),
            ("SUM", 22, 9, 13, 0),
            ("MAX", 9, 5, 9, None),
            ("MIN", 2, 2, 4, None),
            ("AVG", Decimal("4.4"), 3, Decimal("6.5"), None),
            ("UNIQUE_COUNT", 4, 2, 2, 0),
            ("LAST", 4, 2, 4, None),
        ],
    )
    @pytest.mark.parametrize("start", ["2026-03-09", "2026-03-10T03:00:00Z"])
    def test_is_made_of_all_events_of_the_window_and_not_of_its_days(
        self, api, aggregation, total, tenth, twelfth, nothing, start
    ):
        customer, metric = CustomerFactory(), MetricFactory(aggregation_type=aggregation)
        for value, at in ((2, utc(10, 9)), (5, utc(10, 3)), (2, utc(10, 5)), (4, utc(12, 20)), (9, utc(12, 8))):
            used(customer, metric, value, at)
        used(customer, metric, 1000, utc(31, 23) + timedelta(hours=1))

        body = ask(api, customer, metric, start)

        shown = {day["day"]: day["value"] for day in body["series"]}
        assert body["total"] == total
        assert (shown["2026-03-10"], shown["2026-03-11"], shown["2026-03-12"]) == (tenth, nothing, twelfth)

    def test_an_average_is_rounded_half_away_from_zero_to_six_decimals(self, api):
        customer, metric = CustomerFactory(), MetricFactory(aggregation_type="AVG")
        for value in ("-0.000001", "0", "-1", "-1"):
            used(customer, metric, value, utc(10))

        # −2.000001 / 4 = −0.50000025
        assert ask(api, customer, metric)["total"] == Decimal("-0.500000")
        used(customer, metric, "-0.000001", utc(10))
        used(customer, metric, "-0.000001", utc(10))
        # −2.000003 / 6 = −0.3333338…
        assert ask(api, customer, metric)["total"] == Decimal("-0.333334")

    def test_of_no_events_is_none_for_those_that_need_one(self, api):
        customer = CustomerFactory()
        totals = {
            aggregation: ask(api, customer, MetricFactory(aggregation_type=aggregation))["total"]
            for aggregation in ("COUNT", "SUM", "MAX", "MIN", "AVG", "UNIQUE_COUNT", "LAST")
        }

        assert totals == {
            "COUNT": 0, "SUM": 0, "MAX": None, "MIN": None, "AVG": None, "UNIQUE_COUNT": 0, "LAST": None,
        }  # fmt: skip

    def test_writes_quantities_exactly(self, api):
        customer, metric = CustomerFactory(), MetricFactory()
        used(customer, metric, "999999999999999999.999999", utc(10))
        used(customer, metric, "0.000002", utc(10))

        answer = api.get(
            f"/v1/usage/{customer.public_id}",
            {"metricId": metric.public_id, "start": "2026-03-10", "end": "2026-03-11"},
        )

        assert b'"total":1000000000000000000.000001,' in answer.response.content

    def test_counts_only_what_passes_the_filter_and_by_the_property(self, api):
        customer = CustomerFactory()
        metric = MetricFactory(property_filter={"region": ["eu", "us"]}, value_property="bytes")
        for properties in (
            '{"region": "eu", "bytes": 10}', '{"region": "us", "bytes": "2.5"}', '{"region": "asia", "bytes": 100}',
            '{"region": "eu"}', '{"region": "eu", "bytes": "many"}', '{"bytes": 1000}',
        ):  # fmt: skip
            used(customer, metric, 7, utc(10, 1), properties)

        for start in ("2026-03-10", "2026-03-10T00:00:01Z"):
            body = ask(api, customer, metric, start)
            assert (body["total"], days_with_events(body)) == (Decimal("12.5"), {"2026-03-10": (Decimal("12.5"), 2)})

    def test_tells_texts_apart(self, api):
        customer, metric = CustomerFactory(), MetricFactory(aggregation_type="UNIQUE_COUNT", value_type="STRING")
        for text, day in (("gold", 10), ("gold", 11), ("silver", 11)):
            used(customer, metric, None, utc(day, 4), text=text)

        body = ask(api, customer, metric, "2026-03-10T01:00:00Z")

        assert (body["total"], days_with_events(body)) == (2, {"2026-03-10": (1, 1), "2026-03-11": (2, 2)})


class TestWhoseEvents:
    def test_voided_ones_never_count(self, api):
        customer, metric = CustomerFactory(), MetricFactory(aggregation_type="MAX")
        used(customer, metric, 5, utc(10, 5))
        wrong = used(customer, metric, 9, utc(10, 5))
        void_event(event_id=wrong.pk, reason="a mistake", by="tests", at=utc(11))

        for start in ("2026-03-10", "2026-03-10T00:00:01Z"):
            assert ask(api, customer, metric, start)["total"] == 5
            assert ask(api, customer, metric, start, groupBy="region")["groups"][0]["usage"] == 5

    def test_of_an_organization_are_those_of_its_members_too_and_of_a_member_its_own(self, api):
        metric = MetricFactory()
        organization = CustomerFactory(org_role="primary", customer_organization_id="acme")
        member, other = (SeatFactory(organization_id="acme").member for _ in range(2))
        for customer, value in ((organization, 1), (member, 2), (other, 4), (CustomerFactory(), 8)):
            used(customer, metric, value, utc(10, 5))

        assert ask(api, organization, metric)["total"] == 7
        assert ask(api, member, metric)["total"] == 2
        assert days_with_events(ask(api, member, metric)) == {"2026-03-10": (2, 1)}
        assert ask(api, other, metric, groupBy="x")["total"] == 4

    def test_of_other_customers_and_other_metrics_do_not_count(self, api):
        customer, metric = CustomerFactory(), MetricFactory()
        used(CustomerFactory(), metric, 1, utc(10, 5))
        used(customer, MetricFactory(), 2, utc(10, 5))
        record_events(events=[event(metric.event_name, 4, utc(10), "k", external="later")], at=utc(10))

        for query in ({}, {"groupBy": "region"}):
            assert ask(api, customer, metric, "2026-03-09T00:00:01Z", **query)["total"] == 0

    def test_are_found_by_the_external_id(self, api):
        customer, metric = CustomerFactory(external_customer_id="user-9"), MetricFactory()
        used(customer, metric, 3, utc(10))
        query = {"metricId": metric.public_id, "start": "2026-03-01", "end": "2026-04-01", "isExtCustId": "true"}

        answer = api.get("/v1/usage/user-9", query)

        assert (answer.body["total"], answer.body["customerId"]) == (3, customer.public_id)

    def test_a_metric_that_is_being_built_says_how_far_it_is(self, api):
        customer, metric = CustomerFactory(), MetricFactory()
        assert ask(api, customer, metric)["building"] is None
        type(metric.current).objects.update(built_at=None, events_built=30, events_to_build=120)

        assert ask(api, customer, metric)["building"] == {"version": 1, "percent": 25}


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("start", ""), ("start", "yesterday"), ("start", "2026-03-01T00:00:00"), ("start", "2026-02-30"),
            ("start", "0001-01-01"), ("start", "9999-12-31"), ("start", "9" * 10_240), ("start", "2026-04-01"),
            ("end", ""), ("end", "2026-03-01"), ("end", "2026-02-28T12:00:00Z"), ("end", "2027-06-01"),
            ("end", "x" * 10_240), ("end", "0001-01-01T00:00:00Z"), ("groupBy", ""), ("groupBy", "x" * 256),
            ("groupBy", "properties."), ("groupBy", "x" * 10_240), ("isExtCustId", "yes"), ("metricId", None),
        ],
    )  # fmt: skip
    def test_name_the_parameter_that_is_wrong(self, api, name, value):
        customer, metric = CustomerFactory(), MetricFactory()
        query = {"metricId": metric.public_id, "start": "2026-03-01", "end": "2026-04-01"} | {name: value}

        answer = api.get(
            f"/v1/usage/{customer.public_id}", {key: text for key, text in query.items() if text is not None}
        )

        assert answer.status == 400
        wanted = "end" if (name, value) == ("start", "2026-04-01") else name
        assert [problem["path"] for problem in answer.body["details"]] == [wanted]

    def test_a_start_after_now_without_an_end_is_refused(self, api):
        customer, metric = CustomerFactory(), MetricFactory()

        answer = api.get(f"/v1/usage/{customer.public_id}", {"metricId": metric.public_id, "start": "2999-01-01"})

        assert (answer.status, answer.body["details"][0]["path"]) == (400, "start")

    @pytest.mark.parametrize("identifier", ["cus_x", "x" * 10_240])
    def test_of_a_customer_that_nobody_is_are_404(self, api, identifier):
        answer = api.get(f"/v1/usage/{identifier}", {"metricId": MetricFactory().public_id})

        assert (answer.status, answer.body["code"]) == (404, "customer_not_found")

    @pytest.mark.parametrize("identifier", ["", "met_x", "x" * 10_240])
    def test_of_a_metric_that_is_none_are_404(self, api, identifier):
        answer = api.get(f"/v1/usage/{CustomerFactory().public_id}", {"metricId": identifier})

        assert (answer.status, answer.body["code"]) == (404, "metric_not_found")

    @pytest.mark.parametrize("name", ["metricId", "start", "end", "groupBy", "isExtCustId"])
    def test_a_nul_is_refused(self, api, name):
        metric, customer = MetricFactory(), CustomerFactory()
        query = {"metricId": metric.public_id} | {name: "a\0b"}

        assert api.get(f"/v1/usage/{customer.public_id}", query).status == 400

    def test_a_key_that_may_not_read_usage_is_refused(self, api):
        _, text = create_api_key(name="Other", key_type="secret", scopes=["events:read"], at=utc(1))

        assert ApiClient(text).get("/v1/usage/cus_x", {"metricId": "x"}).status == 403
        assert api.post("/v1/usage/cus_x", {}).status == 405
