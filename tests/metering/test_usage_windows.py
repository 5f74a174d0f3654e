"""GET /v1/usage/{customerId}: which events are in a window, and which window is meant."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from metering.models import UsageDay
from metering.windows import Window, cut_at_midnights
from plans.services.time_zone import billing_zone
from tests.factories import CustomerFactory, MetricFactory, SubscriptionFactory
from tests.metering.usage_calls import ask, days_with_events, used, utc
from tests.pro_plan import make_pro_plan

pytestmark = pytest.mark.django_db


class TestWindows:
    def test_two_that_adjoin_within_a_day_count_each_event_once(self, api):
        customer, metric = CustomerFactory(), MetricFactory()
        for value, at in (
            (1, utc(9, 23)), (2, utc(10, 10, 17, 32, 999_999)), (4, utc(10, 10, 17, 33)), (8, utc(10, 12)),
            (16, utc(10, 15, 30)), (32, utc(11)), (64, utc(12, 15, 29, 59, 999_999)), (128, utc(12, 15, 30)),
        ):  # fmt: skip
            used(customer, metric, value, at)

        before = ask(api, customer, metric, "2026-03-09", "2026-03-10T10:17:33Z")
        between = ask(api, customer, metric, "2026-03-10T10:17:33Z", "2026-03-12T15:30:00Z")
        after = ask(api, customer, metric, "2026-03-12T15:30:00Z", "2026-03-13")

        assert [one["total"] for one in (before, between, after)] == [3, 124, 128]
        assert days_with_events(before) == {"2026-03-09": (1, 1), "2026-03-10": (2, 1)}
        assert days_with_events(between) == {"2026-03-10": (28, 3), "2026-03-11": (32, 1), "2026-03-12": (64, 1)}
        assert ask(api, customer, metric, "2026-03-10T10:17:33Z", "2026-03-10T15:30:00Z")["total"] == 12
        assert ask(api, customer, metric, "2026-03-09", "2026-03-13")["total"] == 3 + 124 + 128

    def test_whole_days_are_read_from_the_sums_and_pieces_from_the_events(self, api):
        customer, metric = CustomerFactory(), MetricFactory()
        used(customer, metric, 5, utc(10, 12))
        UsageDay.objects.update(total=700)

        assert ask(api, customer, metric, "2026-03-10", "2026-03-11")["total"] == 700
        assert ask(api, customer, metric, "2026-03-10T00:00:01Z", "2026-03-11")["total"] == 5

    def test_an_event_at_the_very_start_is_in_and_one_at_the_very_end_is_not(self, api):
        customer, metric = CustomerFactory(), MetricFactory()
        used(customer, metric, 1, utc(10))
        used(customer, metric, 2, utc(11))

        assert ask(api, customer, metric, "2026-03-10", "2026-03-11")["total"] == 1

    def test_every_day_of_the_window_is_listed(self, api):
        customer, metric = CustomerFactory(), MetricFactory()
        used(customer, metric, 1, utc(10, 5))

        body = ask(api, customer, metric, "2026-03-09T12:00:00Z", "2026-03-11T00:00:00.000001Z")

        assert body["series"] == [
            {"day": "2026-03-09", "value": 0, "events": 0},
            {"day": "2026-03-10", "value": 1, "events": 1},
            {"day": "2026-03-11", "value": 0, "events": 0},
        ]

    @pytest.mark.parametrize(
        ("zone", "day", "first_midnight"),
        [
            # Clocks go from 1:00 back to 0:00, so that there are two midnights an hour apart, and 25 hours.
            ("America/Havana", "2025-11-02", datetime(2025, 11, 2, 4, tzinfo=UTC)),
            ("Atlantic/Azores", "2025-10-26", datetime(2025, 10, 26, 0, tzinfo=UTC)),
        ],
    )
    def test_where_midnight_comes_twice_the_day_begins_with_the_first(
        self, api, in_billing_zone, zone, day, first_midnight
    ):
        in_billing_zone(zone)
        customer, metric = CustomerFactory(), MetricFactory()
        instant, hour = timedelta(microseconds=1), timedelta(hours=1)
        for value, at in (
            (1, -instant), (2, 0 * hour), (4, hour - instant), (8, hour), (16, 25 * hour - instant), (32, 25 * hour)
        ):  # fmt: skip
            used(customer, metric, value, first_midnight + at)
        start = datetime.fromisoformat(day).date()

        whole = ask(api, customer, metric, str(start - timedelta(days=2)), str(start + timedelta(days=3)))
        only = ask(api, customer, metric, day, str(start + timedelta(days=1)))
        second = (first_midnight + hour).isoformat()

        assert days_with_events(whole)[day] == (30, 4)
        assert whole["total"] == 63
        assert (only["total"], only["timeZone"]) == (30, zone)
        assert ask(api, customer, metric, day, second)["total"] == 6
        assert ask(api, customer, metric, second, str(start + timedelta(days=1)))["total"] == 24

    def test_days_around_a_change_of_clocks_are_pieces_and_all_others_are_whole(self, in_billing_zone):
        in_billing_zone("America/Havana")
        window = Window(datetime(2025, 11, 2, 4, tzinfo=UTC), datetime(2025, 12, 1, 5, tzinfo=UTC))

        cut = cut_at_midnights(window, billing_zone())

        # The change is on the 2nd at 5:00 UTC; the midnight of the 3rd comes a day later, and clocks run evenly again.
        assert (str(cut.first_day), str(cut.end_day)) == ("2025-11-03", "2025-12-01")
        assert cut.pieces == [Window(window.start_at, datetime(2025, 11, 3, 5, tzinfo=UTC))]

    def test_the_usual_one_is_the_customers_current_period(self, api):
        pro, customer = make_pro_plan(), CustomerFactory()
        SubscriptionFactory(customer=customer, price=pro.price, at=utc(5, 14, 46))
        used(customer, pro.metric, 100, utc(5, 14, 45))
        used(customer, pro.metric, 7, utc(5, 14, 46))

        with time_machine.travel(utc(20), tick=False):
            body = api.get(f"/v1/usage/{customer.public_id}", {"metricId": pro.metric.public_id}).body

        assert (body["start"], body["end"]) == ("2026-03-05T14:46:00.000Z", "2026-04-05T00:00:00.000Z")
        assert (body["total"], len(body["series"])) == (7, 31)

    def test_without_a_period_the_usual_one_is_the_last_30_days(self, api):
        customer, metric = CustomerFactory(), MetricFactory()

        with time_machine.travel(utc(31, 15, 30), tick=False):
            body = api.get(f"/v1/usage/{customer.public_id}", {"metricId": metric.public_id}).body

        assert (body["start"], body["end"]) == ("2026-03-02T00:00:00.000Z", "2026-03-31T15:30:00.000Z")
        assert len(body["series"]) == 30

    def test_a_missing_end_is_now_and_a_missing_start_30_days_earlier(self, api):
        customer, metric = CustomerFactory(), MetricFactory()

        with time_machine.travel(utc(31, 15, 30), tick=False):
            path, query = f"/v1/usage/{customer.public_id}", {"metricId": metric.public_id}
            from_start = api.get(path, query | {"start": "2026-03-30"}).body
            until_end = api.get(path, query | {"end": "2026-03-31"}).body

        assert from_start["end"] == "2026-03-31T15:30:00.000Z"
        assert until_end["start"] == "2026-03-01T00:00:00.000Z"

    def test_costs_the_same_number_of_queries_for_a_day_and_for_a_year(self, api):
        customer, metric = CustomerFactory(), MetricFactory()

        def queries(*window):
            with CaptureQueriesContext(connection) as captured:
                ask(api, customer, metric, *window)
            return len(captured)

        queries("2026-03-01", "2026-03-02")

        assert queries("2025-03-01", "2026-03-02") == queries("2026-03-01", "2026-03-02") == 4
