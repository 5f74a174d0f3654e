"""The doors that list, count and void events."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from config.keys import create_api_key
from metering.models import EVENT_PREFIX, UsageDay, UsageEvent
from metering.services import list_events as listing
from metering.services.metrics import update_metric
from metering.services.record_events import record_events
from metering.services.void_event import void_event
from plans.ids import public_id_of
from tests.conftest import ApiClient
from tests.factories import CustomerFactory, MetricFactory, SeatFactory, UsageEventFactory
from tests.pro_plan import event

AT = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.django_db


def listed(api, **query):
    answer = api.get("/v1/events", query)
    assert answer.status == 200, answer
    return [one["idempotencyKey"] for one in answer.body["events"]]


def counted(api, **query):
    return api.get("/v1/events/count", query).body["count"]


def happened(customer, key, *, hours=0, name="call", **fields):
    return UsageEventFactory(
        customer=customer, idempotency_key=key, event_name=name, occurred_at=AT + hours * HOUR, **fields
    )


class TestList:
    def test_shows_an_event_as_it_was_answered_when_it_was_sent(self, api):
        customer = CustomerFactory()
        sent = api.post(
            "/v1/events",
            {
                "eventName": "call",
                "customerId": customer.public_id,
                "eventValue": Decimal("0.100000"),
                "idempotencyKey": "k",
                "properties": {"share": Decimal("0.10"), "big": 10**20},
            },
        )

        answer = api.get("/v1/events")

        assert answer.body == {
            "events": [sent.body["event"]],
            "pagination": {"total": 1, "limit": 50, "offset": 0, "hasMore": False, "nextCursor": None},
        }

    def test_shows_a_text_and_who_an_event_waits_for(self, api):
        api.post("/v1/events", {"eventName": "tier", "extCustomerId": "later", "eventString": "gold"})

        (shown,) = api.get("/v1/events").body["events"]

        assert (shown["extCustomerId"], shown["eventString"]) == ("later", "gold")
        assert not {"customerId", "memberCustomerId", "eventValue", "voidedAt", "voidReason"} & shown.keys()

    def test_comes_newest_received_first_whenever_it_happened(self, api):
        customer = CustomerFactory()
        for key, hours in (("a", 2), ("b", 3), ("c", 1)):
            happened(customer, key, hours=hours)

        assert listed(api) == ["c", "b", "a"]

    def test_is_empty_where_there_is_nothing(self, api):
        answer = api.get("/v1/events")

        assert (answer.body["events"], answer.body["pagination"]["total"]) == ([], 0)

    def test_needs_a_key_that_may_read_events(self, api):
        _, text = create_api_key(name="Other", key_type="secret", scopes=["customers:read"], at=AT)
        _, reading = create_api_key(name="Reading", key_type="secret", scopes=["events:read"], at=AT)

        assert ApiClient(text).get("/v1/events").status == 403
        assert ApiClient(text).get("/v1/events/count").status == 403
        assert ApiClient(reading).get("/v1/events").status == 200
        assert ApiClient(reading).post("/v1/events", {}).status == 403
        assert api.put("/v1/events", {}).status == 405

    def test_costs_as_many_queries_for_many_events_as_for_one(self, api):
        def queries():
            with CaptureQueriesContext(connection) as captured:
                api.get("/v1/events")
            return len(captured)

        api.get("/v1/events")
        happened(CustomerFactory(), "a")
        few = queries()
        for number in range(20):
            happened(CustomerFactory(), f"b{number}")

        assert queries() == few


class TestFilters:
    def test_by_event_name(self, api):
        customer = CustomerFactory()
        happened(customer, "a")
        happened(customer, "b", name="upload")

        assert (listed(api, eventName="upload"), counted(api, eventName="upload")) == (["b"], 1)
        assert listed(api, eventName="uplo") == []

    def test_by_customer(self, api):
        one, other = CustomerFactory(), CustomerFactory()
        happened(one, "a")
        happened(other, "b")

        assert (listed(api, customerId=one.public_id), counted(api, customerId=one.public_id)) == (["a"], 1)

    def test_by_metric_are_those_that_it_counts_and_nobody_voided(self, api):
        metric = MetricFactory(event_name="call", property_filter={"region": ["eu"]})
        customer, other = CustomerFactory(), CustomerFactory()
        happened(customer, "eu", properties='{"region": "eu"}')
        happened(customer, "us", properties='{"region": "us"}')
        happened(customer, "upload", name="upload", properties='{"region": "eu"}')
        happened(other, "other", properties='{"region": "eu"}')
        void = happened(customer, "void", properties='{"region": "eu"}')
        void_event(event_id=void.pk, reason="twice", by="tests", at=AT)

        of_one = {"metricId": metric.public_id, "customerId": customer.public_id}
        assert (listed(api, **of_one), counted(api, **of_one)) == (["eu"], 1)
        assert listed(api, metricId=metric.public_id) == ["other", "eu"]
        assert listed(api, **of_one, startTime=(AT + HOUR).isoformat()) == []
        assert listed(api, metricId="met_nothing") == []

    def test_by_an_older_version_of_a_metric(self, api):
        metric = MetricFactory(event_name="call")
        customer = CustomerFactory()
        happened(customer, "old")
        happened(customer, "new", name="renamed")
        update_metric(metric=metric, at=AT, event_name="renamed")

        assert listed(api, metricId=metric.public_id) == ["new"]
        assert listed(api, metricId=metric.public_id, metricVersion="1") == ["old"]
        assert listed(api, metricId=metric.public_id, metricVersion="3") == []

    def test_by_metric_a_members_events_are_the_organizations(self, api):
        organization = CustomerFactory(org_role="primary", customer_organization_id="acme")
        member = SeatFactory().member
        metric = MetricFactory(event_name="call")
        happened(member, "a")

        assert listed(api, customerId=member.public_id) == ["a"]
        assert listed(api, customerId=member.public_id, metricId=metric.public_id) == []
        assert listed(api, customerId=organization.public_id, metricId=metric.public_id) == ["a"]

    @pytest.mark.parametrize("query", [{"metricVersion": "1"}, {"metricId": "met_x", "metricVersion": "x"}])
    def test_a_version_must_be_a_number_of_a_metric(self, api, query):
        answer = api.get("/v1/events", query)

        assert (answer.status, answer.body["code"]) == (400, "invalid_filters")
        assert answer.body["details"][0]["path"] == "metricVersion"

    def test_a_customer_that_nobody_is_has_no_events(self, api):
        happened(CustomerFactory(), "a")

        assert (listed(api, customerId="cus_nobody"), counted(api, customerId="cus_nobody")) == ([], 0)
        assert (listed(api, extCustomerId="nobody"), counted(api, extCustomerId="nobody")) == ([], 0)

    def test_a_deleted_customers_events_are_still_found_by_its_id(self, api):
        customer = CustomerFactory()
        happened(customer, "a")
        customer.deleted_at = AT
        customer.save()

        assert listed(api, customerId=customer.public_id) == ["a"]
        assert listed(api, extCustomerId=customer.external_customer_id) == []

    def test_by_external_id_however_the_customer_was_addressed_and_also_while_nobody_has_it(self, api):
        customer = CustomerFactory(external_customer_id="user-7")
        happened(customer, "a")
        record_events(events=[event("call", 1, AT, "b", external="user-7")], at=AT)
        record_events(events=[event("call", 1, AT, "c", external="later")], at=AT)

        assert listed(api, extCustomerId="user-7") == ["b", "a"]
        assert (listed(api, extCustomerId="later"), counted(api, extCustomerId="later")) == (["c"], 1)

    def test_by_both_ids_of_one_customer_and_of_two(self, api):
        customer, other = CustomerFactory(), CustomerFactory()
        happened(customer, "a")

        assert listed(api, customerId=customer.public_id, extCustomerId=customer.external_customer_id) == ["a"]
        assert listed(api, customerId=customer.public_id, extCustomerId=other.external_customer_id) == []

    def test_a_members_events_are_found_by_the_member_and_by_its_organization(self, api):
        organization = CustomerFactory(org_role="primary", customer_organization_id="acme")
        member, other = (SeatFactory(organization_id="acme").member for _ in range(2))
        happened(organization, "own")
        happened(member, "a")
        happened(other, "b")
        happened(other, "c", name="upload")

        assert listed(api, customerId=organization.public_id) == ["c", "b", "a", "own"]
        assert listed(api, customerId=organization.public_id, eventName="call") == ["b", "a", "own"]
        assert listed(api, customerId=other.public_id) == ["c", "b"]
        assert listed(api, customerId=other.public_id, eventName="upload") == ["c"]
        assert listed(api, extCustomerId=member.external_customer_id) == ["a"]
        (shown,) = api.get("/v1/events", {"customerId": member.public_id}).body["events"]
        assert (shown["customerId"], shown["memberCustomerId"]) == (organization.public_id, member.public_id)

    def test_by_idempotency_key_which_several_customers_may_have_used(self, api):
        one, other = CustomerFactory(), CustomerFactory()
        first, second = happened(one, "k"), happened(other, "k", hours=1)
        happened(one, "other")
        record_events(events=[event("call", 1, AT, "k", external="later")], at=AT)

        shown = api.get("/v1/events", {"idempotencyKey": "k"}).body["events"]

        assert [one["id"] for one in shown][1:] == [second.public_id, first.public_id]
        assert shown[0]["extCustomerId"] == "later"
        assert (counted(api, idempotencyKey="k"), counted(api, idempotencyKey="nothing")) == (3, 0)
        assert counted(api, idempotencyKey="k", customerId=one.public_id) == 1
        assert counted(api, idempotencyKey="k", extCustomerId="later") == 1

    def test_by_when_they_happened_from_the_start_on_and_before_the_end(self, api):
        customer = CustomerFactory()
        for key, hours in (("a", 0), ("b", 1), ("c", 2)):
            happened(customer, key, hours=hours)

        assert listed(api, startTime="2026-03-10T13:00:00Z") == ["c", "b"]
        assert listed(api, endTime="2026-03-10T13:00:00Z") == ["a"]
        assert listed(api, startTime="2026-03-10T14:00:00+01:00", endTime="2026-03-10T14:00:00Z") == ["b"]
        assert counted(api, startTime="2026-03-10T13:00:00Z") == 2

    def test_takes_a_plus_sign_that_was_not_escaped_and_a_date(self, api):
        happened(CustomerFactory(), "a", hours=1)

        assert listed(api, startTime="2026-03-10T14:00:00 01:00") == ["a"]
        assert listed(api, startTime="2026-03-10", endTime="2026-03-11") == ["a"]
        assert listed(api, startTime="2026-03-11") == []

    def test_all_at_once(self, api):
        customer = CustomerFactory()
        happened(customer, "a")
        happened(customer, "b")
        happened(customer, "c", name="upload")

        every = {
            "eventName": "call",
            "customerId": customer.public_id,
            "extCustomerId": customer.external_customer_id,
            "idempotencyKey": "b",
            "startTime": "2026-03-10T12:00:00Z",
            "endTime": "2026-03-10T12:00:01Z",
        }

        assert (listed(api, **every), counted(api, **every)) == (["b"], 1)
        for name, other in {
            "eventName": "upload",
            "customerId": "cus_x",
            "extCustomerId": "x",
            "idempotencyKey": "c",
            "startTime": "2026-03-10T12:00:00.500Z",
        }.items():
            assert listed(api, **every | {name: other}) == []


class TestPages:
    @pytest.fixture(autouse=True)
    def five_events(self):
        customer = CustomerFactory()
        for key in "abcde":
            happened(customer, key)

    def test_by_offset(self, api):
        first = api.get("/v1/events", {"limit": 2}).body["pagination"]
        last = api.get("/v1/events", {"limit": 2, "offset": 4}).body["pagination"]

        assert (first["total"], first["limit"], first["offset"], first["hasMore"]) == (5, 2, 0, True)
        assert (last["total"], last["limit"], last["offset"], last["hasMore"]) == (5, 2, 4, False)
        assert [listed(api, limit=2, offset=offset) for offset in (0, 2, 4, 6)] == [["e", "d"], ["c", "b"], ["a"], []]

    def test_by_cursor_which_events_that_arrive_meanwhile_do_not_shift(self, api):
        first = api.get("/v1/events", {"limit": 2})
        happened(CustomerFactory(), "new")
        second = api.get("/v1/events", {"limit": 2, "cursor": first.body["pagination"]["nextCursor"]})
        third = api.get("/v1/events", {"limit": 2, "cursor": second.body["pagination"]["nextCursor"]})

        keys = [[one["idempotencyKey"] for one in page.body["events"]] for page in (first, second, third)]
        assert keys == [["e", "d"], ["c", "b"], ["a"]]
        assert (third.body["pagination"]["hasMore"], third.body["pagination"]["nextCursor"]) == (False, None)

    @pytest.mark.parametrize("query", [{}, {"eventName": "call"}])
    def test_beyond_what_is_counted_the_total_says_that_it_is_no_less(self, api, monkeypatch, query):
        monkeypatch.setattr(listing, "MOST_COUNTED", 3)

        answer = api.get("/v1/events", query | {"limit": 2, "offset": 1})

        assert answer.body["pagination"]["total"] == 3
        assert answer.body["pagination"]["totalIsAtLeast"] is True
        assert [one["idempotencyKey"] for one in answer.body["events"]] == ["d", "c"]
        second = api.get("/v1/events", query | {"limit": 2, "cursor": answer.body["pagination"]["nextCursor"]})
        assert [one["idempotencyKey"] for one in second.body["events"]] == ["b", "a"]
        assert api.get("/v1/events/count", query).body == {"count": 5}


BAD_FILTERS = [
    ("eventName", ""), ("eventName", "x" * 256), ("eventName", "x" * 10_240),
    ("customerId", ""), ("customerId", "x" * 10_240), ("extCustomerId", ""), ("extCustomerId", "x" * 10_240),
    ("idempotencyKey", ""), ("idempotencyKey", "x" * 10_240),
    ("startTime", ""), ("startTime", "yesterday"), ("startTime", "2026-03-10T12:00:00"), ("startTime", "2026-02-30"),
    ("startTime", "0001-01-01"), ("startTime", "9999-12-31"), ("startTime", "1" * 10_240), ("startTime", "12"),
    ("startTime", "0001-01-01T00:00:00+23:59"), ("endTime", "9999-12-31T23:59:59-23:59"), ("endTime", "1969-01-01"),
    ("endTime", "now"), ("endTime", "2026-03-10T25:00:00Z"), ("endTime", "2026-03-10T12:00:00 Z"),
]  # fmt: skip
BAD_PAGES = [
    ("limit", "0"), ("limit", "201"), ("limit", "-1"), ("limit", "ten"), ("limit", ""), ("limit", "1.5"),
    ("limit", "9" * 5_000), ("limit", "١"), ("offset", "-1"), ("offset", "10001"), ("offset", "9" * 5_000),
    ("offset", ""), ("offset", "1e3"), ("cursor", ""), ("cursor", "evt_"), ("cursor", "x" * 10_240),
    ("cursor", "evt_zzzzzzzzzzzzzzzzzzzzzz"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD_FILTERS + BAD_PAGES)
def test_a_list_with_a_wrong_parameter_is_refused_by_its_name(api, name, value):
    answer = api.get("/v1/events", {name: value})

    assert (answer.status, answer.body["error"]) == (400, "Invalid filters")
    assert [problem["path"] for problem in answer.body["details"]] == [name]


@pytest.mark.parametrize(("name", "value"), BAD_FILTERS)
def test_a_count_with_a_wrong_filter_is_refused_by_its_name(api, name, value):
    answer = api.get("/v1/events/count", {name: value})

    assert (answer.status, answer.body["error"], answer.body["details"][0]["path"]) == (400, "Invalid filters", name)


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/count"])
@pytest.mark.parametrize("end", ["2026-03-10T12:00:00Z", "2026-03-10T11:59:59Z"])
def test_an_end_that_is_not_after_the_start_is_refused(api, path, end):
    answer = api.get(path, {"startTime": "2026-03-10T12:00:00Z", "endTime": end})

    assert (answer.status, answer.body["error"]) == (400, "endTime must be after startTime")
    assert answer.body["details"][0]["path"] == "endTime"


@pytest.mark.parametrize("name", ["eventName", "customerId", "cursor", "startTime"])
def test_a_nul_is_refused(api, name):
    assert api.get("/v1/events", {name: "a\0b"}).status == 400


def test_offset_and_cursor_together_are_refused(api):
    cursor = public_id_of(EVENT_PREFIX, 5)

    answer = api.get("/v1/events", {"offset": "1", "cursor": cursor})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "offset")


class TestVoid:
    @pytest.fixture
    def metric(self):
        return MetricFactory(event_name="call")

    def test_takes_the_event_out_of_the_sums_and_keeps_it_with_its_key(self, api, metric):
        customer = CustomerFactory()
        kept, wrong = happened(customer, "a", value=Decimal(3)), happened(customer, "b", value=Decimal(4))

        answer = api.post(f"/v1/events/{wrong.public_id}/void", {"reason": "  sent twice "})

        assert answer.status == 200
        shown = answer.body["event"]
        assert (shown["id"], shown["voidReason"]) == (wrong.public_id, "sent twice")
        assert shown["voidedAt"].endswith("Z")
        assert UsageDay.objects.get(version=metric.current).total == 3
        assert api.get("/v1/events").body["events"][0] == shown
        assert "voidedAt" not in api.get("/v1/events").body["events"][1]
        assert kept.public_id == api.get("/v1/events").body["events"][1]["id"]

    def test_remembers_the_key_that_asked(self, api):
        wrong = happened(CustomerFactory(), "a")

        api.post(f"/v1/events/{wrong.public_id}/void", {"reason": "x"})

        by = UsageEvent.objects.get(pk=wrong.pk).void.voided_by
        assert by == f"Tests ({api.key[:12]}…)"
        assert api.key not in by

    def test_again_keeps_the_first_word(self, api, metric):
        wrong = happened(CustomerFactory(), "a")
        first = api.post(f"/v1/events/{wrong.public_id}/void", {"reason": "first"})

        second = api.post(f"/v1/events/{wrong.public_id}/void", {"reason": "second"})

        assert (second.status, second.body) == (200, first.body)

    @pytest.mark.parametrize("identifier", ["evt_x", "x", "cus_1", public_id_of(EVENT_PREFIX, 10**12), "e" * 10_240])
    def test_of_an_event_that_is_not_there_is_404(self, api, identifier):
        answer = api.post(f"/v1/events/{identifier}/void", {"reason": "x"})

        assert (answer.status, answer.body["code"]) == (404, "event_not_found")

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"reason": ""},
            {"reason": "  "},
            {"reason": None},
            {"reason": "x" * 501},
            {"reason": 5},
            {"reason": ["x"]},
        ],
    )
    def test_without_a_reason_of_1_to_500_characters_is_refused(self, api, body):
        event = happened(CustomerFactory(), "a")

        answer = api.post(f"/v1/events/{event.public_id}/void", body)

        assert (answer.status, answer.body["details"][0]["path"]) == (400, "reason")
        assert not UsageEvent.objects.filter(void__isnull=False).exists()

    def test_a_reason_with_a_nul_is_refused(self, api):
        event = happened(CustomerFactory(), "a")

        assert api.post(f"/v1/events/{event.public_id}/void", {"reason": "a\0b"}).status == 400

    def test_needs_a_key_that_may_write_events(self, api):
        event = happened(CustomerFactory(), "a")
        _, text = create_api_key(name="Reading", key_type="secret", scopes=["events:read"], at=AT)

        assert ApiClient(text).post(f"/v1/events/{event.public_id}/void", {"reason": "x"}).status == 403
        assert api.get(f"/v1/events/{event.public_id}/void").status == 405
