"""The doors of /v1/events."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from billing.services.subscribe import subscribe
from metering.models import UsageDay, UsageEvent
from tests.factories import CustomerFactory, MetricFactory
from tests.pro_plan import make_pro_plan

pytestmark = pytest.mark.django_db


@pytest.fixture
def customer():
    return CustomerFactory(external_customer_id="user-1")


@pytest.fixture
def metric():
    return MetricFactory(event_name="api-call")


def post(api, **fields):
    return api.post("/v1/events", {"eventName": "api-call"} | fields)


def test_accepts_an_event_and_echoes_it(api, customer, metric):
    answer = post(
        api,
        customerId=customer.public_id,
        eventValue=Decimal("2.5"),
        idempotencyKey="k1",
        eventTimestamp="2025-02-20T18:00:00Z",
        properties={"region": "eu", "share": Decimal("0.10")},
    )

    assert answer.status == 202
    event = answer.body["event"]
    assert event.pop("id").startswith("evt_")
    assert event.pop("createdAt")
    assert answer.body == {
        "message": "Event accepted",
        "deduplicated": False,
        "event": {
            "eventName": "api-call",
            "customerId": customer.public_id,
            "eventValue": Decimal("2.5"),
            "eventTimestamp": "2025-02-20T18:00:00.000Z",
            "idempotencyKey": "k1",
            "properties": {"region": "eu", "share": Decimal("0.10")},
        },
    }
    assert UsageDay.objects.get().total == Decimal("2.5")


def test_a_value_that_is_not_given_counts_as_one(api, customer, metric):
    post(api, extCustomerId="user-1")

    assert UsageDay.objects.get().total == 1


def test_a_repetition_answers_the_first_event_and_counts_nothing(api, customer, metric):
    first = post(api, customerId=customer.public_id, eventValue=3, idempotencyKey="k1")
    again = post(api, customerId=customer.public_id, eventValue=Decimal("3.0"), idempotencyKey="k1")

    assert (again.status, again.body["deduplicated"]) == (202, True)
    assert again.body["event"] == first.body["event"]
    assert UsageDay.objects.get().total == 3


def test_the_same_key_with_another_content_is_a_conflict_that_names_the_fields(api, customer, metric):
    post(api, customerId=customer.public_id, eventValue=3, idempotencyKey="k1", properties={"a": 1})
    answer = post(api, customerId=customer.public_id, eventValue=4, idempotencyKey="k1", properties={"a": 2})

    assert (answer.status, answer.body["code"]) == (409, "idempotency_conflict")
    assert answer.body["details"] == {"fields": ["eventValue", "properties"]}
    assert UsageDay.objects.get().total == 3


def test_keeps_the_event_of_an_external_id_that_nobody_has(api, metric):
    answer = post(api, extCustomerId="later")

    assert answer.status == 202
    assert UsageEvent.objects.get().customer_id is None


def test_an_unknown_customer_id_is_404_and_records_nothing(api, metric):
    answer = post(api, customerId="cus_unknown")

    assert (answer.status, answer.body["code"]) == (404, "customer_not_found")
    assert not UsageEvent.objects.exists()


def test_the_idempotency_header_is_not_needed_and_does_no_harm(api, customer, metric):
    body = {"eventName": "api-call", "extCustomerId": "user-1"}

    first, second = (api.post("/v1/events", body, idempotency_key="same") for _ in range(2))

    assert (first.body["deduplicated"], second.body["deduplicated"]) == (False, False)


def test_a_number_in_a_text_is_a_number(api, customer, metric):
    post(api, extCustomerId="user-1", eventValue="0.000001")

    assert UsageDay.objects.get().total == Decimal("0.000001")


def test_a_negative_value_is_a_correction(api, customer, metric):
    post(api, extCustomerId="user-1", eventValue=5)
    post(api, extCustomerId="user-1", eventValue=-2)

    assert UsageDay.objects.get().total == 3


def test_a_text_event_counts_no_units(api, customer, metric):
    answer = post(api, extCustomerId="user-1", eventString="gold")

    assert answer.body["event"]["eventString"] == "gold"
    assert not UsageDay.objects.exists()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"eventName": None}, "invalid_event"),
        ({"eventName": ""}, "invalid_event"),
        ({"eventName": "x" * 256}, "invalid_event"),
        ({"extCustomerId": None}, "invalid_event"),
        ({"extCustomerId": ""}, "invalid_event"),
        ({"extCustomerId": "x" * 256}, "invalid_event"),
        ({"eventValue": 1, "eventString": "x"}, "invalid_event"),
        ({"eventValue": "many"}, "invalid_event"),
        ({"eventValue": "NaN"}, "invalid_event"),
        ({"eventValue": "1e999999999"}, "invalid_event"),
        ({"eventValue": True}, "invalid_event"),
        ({"eventValue": []}, "invalid_event"),
        ({"eventValue": 10**18}, "invalid_event"),
        ({"eventValue": Decimal("0.0000001")}, "invalid_event"),
        ({"eventTimestamp": "yesterday"}, "invalid_event"),
        ({"eventTimestamp": "2025-02-20T18:00:00"}, "invalid_event"),
        ({"eventTimestamp": "1969-12-31T23:59:59Z"}, "invalid_event"),
        ({"eventTimestamp": "9999-12-31T23:59:59Z"}, "timestamp_in_future"),
        ({"idempotencyKey": ""}, "invalid_event"),
        ({"idempotencyKey": "k" * 256}, "invalid_event"),
        ({"idempotencyKey": "a\u0000b"}, "invalid_event"),
        ({"properties": []}, "invalid_event"),
        ({"properties": "x"}, "invalid_event"),
        ({"properties": {"x": "y" * 16_384}}, "invalid_event"),
        ({"properties": {"x": "a\u0000b"}}, "invalid_event"),
    ],
)
def test_refuses_bad_input_and_records_nothing(api, customer, metric, fields, code):
    answer = post(api, **{"extCustomerId": "user-1"} | fields)

    assert (answer.status, answer.body["code"]) == (400, code)
    assert answer.body["error"]
    assert not UsageEvent.objects.exists()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 100_000, b'{"eventName": NaN}'])
def test_refuses_what_is_no_event_at_all(api, body):
    answer = api.client.post(
        "/v1/events", body, content_type="application/json", headers={"Authorization": f"Bearer {api.key}"}
    )

    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_event"


@pytest.mark.parametrize(
    "properties",
    [b'{"a": 1e400000}', b'{"a": 1e-400000}', b'{"a": "\xff"}', b'{"a": "\xed\xa0\x80"}'],
)
def test_a_strange_property_rejects_its_own_entry_and_no_other(api, customer, metric, properties):
    good = b'{"eventName": "api-call", "extCustomerId": "user-1"}'
    strange = good[:-1] + b', "properties": ' + properties + b"}"
    answer = api.client.post(
        "/v1/events/batch",
        b'{"events": [' + good + b", " + strange + b"]}",
        content_type="application/json",
        headers={"Authorization": f"Bearer {api.key}"},
    )

    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    assert [error["index"] for error in answer.json()["errors"]] == [1]


def test_takes_any_offset_of_a_timestamp(api, customer, metric):
    answer = post(api, extCustomerId="user-1", eventTimestamp="2025-02-20T18:00:00+23:59")

    assert answer.body["event"]["eventTimestamp"] == "2025-02-19T18:01:00.000Z"


def test_takes_a_clock_that_runs_five_minutes_ahead(api, customer, metric):
    ahead = (timezone.now() + timedelta(minutes=4)).isoformat()

    assert post(api, extCustomerId="user-1", eventTimestamp=ahead).status == 202


def test_a_batch_judges_each_entry_alone(api, customer, metric):
    entry = {"eventName": "api-call", "extCustomerId": "user-1", "eventValue": 2}
    answer = api.post(
        "/v1/events/batch",
        {
            "events": [
                entry | {"idempotencyKey": "a"},
                entry | {"idempotencyKey": "b", "eventValue": "many"},
                entry | {"idempotencyKey": "a"},
                entry | {"idempotencyKey": "a", "eventValue": 9},
                {"eventName": "api-call", "customerId": "cus_unknown"},
                "nonsense",
                entry | {"idempotencyKey": "c", "eventTimestamp": "9999-01-01T00:00:00Z"},
            ]
        },
    )

    assert (answer.status, answer.body["accepted"], answer.body["rejected"]) == (202, 2, 5)
    assert [(error["index"], error["code"]) for error in answer.body["errors"]] == [
        (1, "invalid_event"),
        (3, "idempotency_conflict"),
        (4, "customer_not_found"),
        (5, "invalid_event"),
        (6, "timestamp_in_future"),
    ]
    assert UsageDay.objects.get().total == 2


@pytest.mark.parametrize("body", [{}, {"events": []}, {"events": 5}, {"events": [{}] * 1001}])
def test_refuses_an_envelope_that_is_none(api, body):
    answer = api.post("/v1/events/batch", body)

    assert (answer.status, answer.body["code"]) == (400, "invalid_batch")


def test_needs_the_scope_for_writing_events(api):
    from config.keys import create_api_key

    _, api.key = create_api_key(name="Reader", key_type="secret", scopes=["events:read"], at=timezone.now())

    answer = post(api, extCustomerId="user-1")

    assert (answer.status, answer.body["code"]) == (403, "insufficient_scope")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("eventName", []),
        ("eventName", None),
        ("eventValue", {}),
        ("eventValue", "1_0"),
        ("eventValue", " 1"),
        ("eventValue", "0x10"),
        ("eventValue", True),
        ("eventTimestamp", "yesterday"),
        ("idempotencyKey", "a\0b"),
        ("properties", {"a": "\0"}),
    ],
)
def test_names_the_field_that_cannot_be_read(api, field, value):
    answer = api.post("/v1/events", {"eventName": "call", "extCustomerId": "user-1", field: value})
    batch = api.post("/v1/events/batch", {"events": [{"eventName": "call", "extCustomerId": "user-1", field: value}]})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, field)
    assert batch.body["errors"][0]["details"][0]["path"] == field
    assert not UsageEvent.objects.exists()


def test_a_backslash_before_u0000_is_a_text_like_any_other(api):
    answer = api.post("/v1/events", {"eventName": "call", "extCustomerId": "user-1", "idempotencyKey": r"a\u0000"})

    assert (answer.status, UsageEvent.objects.get().idempotency_key) == (202, r"a\u0000")


MARCH = {"eventTimestamp": "2025-03-10T10:00:00Z"}


class TestPeriodNegative:
    @pytest.fixture
    def pro(self):
        pro, customer = make_pro_plan(), CustomerFactory(external_customer_id="pro")
        subscribe(at=datetime(2025, 3, 1, tzinfo=UTC), customer=customer, plan=pro.plan)
        return pro

    def send(self, api, pro, value, **fields):
        said = {"eventName": pro.metric.event_name, "extCustomerId": "pro", "eventValue": value} | MARCH
        return api.post("/v1/events", said | fields)

    def test_a_correction_below_zero_is_kept_and_warned_of(self, api, pro):
        self.send(api, pro, 5)

        answer = self.send(api, pro, -6)

        assert answer.status == 202
        (warning,) = answer.body["warnings"]
        assert (warning["code"], pro.metric.public_id in warning["message"]) == ("period_negative", True)

    def test_down_to_zero_is_nothing_to_warn_of(self, api, pro):
        self.send(api, pro, 5)

        assert "warnings" not in self.send(api, pro, -5).body

    def test_it_is_the_period_of_the_timestamp(self, api, pro):
        self.send(api, pro, 5)

        before = self.send(api, pro, -1, eventTimestamp="2025-02-28T10:00:00Z")
        within = self.send(api, pro, -6, eventTimestamp="2025-03-09T10:00:00Z")

        assert ("warnings" in before.body, "warnings" in within.body) == (False, True)

    def test_a_batch_names_the_entry(self, api, pro):
        said = {"eventName": pro.metric.event_name, "extCustomerId": "pro"} | MARCH

        answer = api.post("/v1/events/batch", {"events": [said, {**said, "eventValue": -2}]})

        assert (answer.body["accepted"], [warning["index"] for warning in answer.body["warnings"]]) == (2, [1])
