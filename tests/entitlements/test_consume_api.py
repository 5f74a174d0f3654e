"""The doors of consume and of reservations: shapes, scopes, and every field wrong in every way."""

from datetime import timedelta

import pytest
from django.utils import timezone

from billing.services.subscribe import subscribe
from config.keys import create_api_key
from credits.models import Reservation
from metering.models import UsageEvent
from tests.conftest import ApiClient
from tests.factories import CustomerFactory
from tests.pro_plan import make_pro_plan

UNKNOWN_RESERVATION = "/v1/reservations/rsv_0000000000000000000000"
LONG = "x" * 256


@pytest.fixture
def pro(db):
    return make_pro_plan(quota=10)


@pytest.fixture
def customer(pro):
    customer = CustomerFactory(external_customer_id="team/7")
    subscribe(at=timezone.now(), customer=customer, plan=pro.plan)
    return customer


@pytest.fixture
def feature_path(pro, customer):
    return f"/v1/entitlements/{customer.public_id}/feature/{pro.feature.slug}"


def test_a_consume_answers_with_the_event_and_the_check_that_follows(api, pro, customer, feature_path):
    answer = api.post(f"{feature_path}/consume", {"value": "2.50", "idempotencyKey": "k", "properties": {"a": 1.10}})

    assert answer.status == 200
    event = answer.body.pop("event")
    assert answer.body == {"allowed": True, "deduplicated": False, "entitlement": api.get(feature_path).body}
    assert answer.body["entitlement"]["remaining"] * 2 == 15
    assert event.pop("id").startswith("evt_")
    assert event.pop("eventTimestamp") == event.pop("createdAt")
    assert {name: str(value) for name, value in event.items() if name != "properties"} == {
        "eventName": pro.metric.event_name,
        "customerId": customer.public_id,
        "eventValue": "2.5",
        "idempotencyKey": "k",
    }
    assert str(event["properties"]["a"]) == "1.1"


def test_a_no_is_200_too_and_records_nothing(api, feature_path):
    answer = api.post(f"{feature_path}/consume", {"value": 11})

    assert (answer.status, answer.body["allowed"], sorted(answer.body)) == (200, False, ["allowed", "entitlement"])
    assert UsageEvent.objects.count() == 0


def test_without_a_body_one_unit_is_consumed(api, feature_path):
    assert api.post(f"{feature_path}/consume").body["event"]["eventValue"] == 1


def test_a_repeated_key_is_told_and_another_content_is_409(api, feature_path):
    first = api.post(f"{feature_path}/consume", {"value": 4, "idempotencyKey": "k"})
    again = api.post(f"{feature_path}/consume", {"value": "4.0", "idempotencyKey": "k"})
    other = api.post(f"{feature_path}/consume", {"value": 5, "idempotencyKey": "k"})

    assert (again.status, again.body["deduplicated"]) == (200, True)
    assert again.body["event"] == first.body["event"]
    assert (other.status, other.body["code"], other.body["details"]) == (
        409,
        "idempotency_conflict",
        {"fields": ["eventValue"]},
    )


def test_an_external_id_with_a_slash_in_it(api, pro, customer):
    path = f"/v1/entitlements/team/7/feature/{pro.feature.slug}"

    assert api.post(f"{path}/consume?isExtCustId=true", {"value": 3}).body["entitlement"]["remaining"] == 7
    assert api.post(f"{path}/reserve?isExtCustId=true", {"value": 3}).body["entitlement"]["remaining"] == 4


def test_a_reservation_is_made_shown_committed_and_shown_again(api, customer, pro, feature_path):
    made = api.post(f"{feature_path}/reserve", {"value": 4, "ttlSeconds": 600, "idempotencyKey": "r"})
    reservation = made.body["reservation"]
    path = f"/v1/reservations/{reservation['id']}"
    shown = api.get(path)
    committed = api.post(f"{path}/commit", {"value": 3})
    again = api.post(f"{path}/commit", {"value": 3})

    assert (made.status, made.body["allowed"], made.body["deduplicated"]) == (200, True, False)
    assert {name: reservation[name] for name in ("customerId", "featureSlug", "value", "status", "idempotencyKey")} == {
        "customerId": customer.public_id,
        "featureSlug": pro.feature.slug,
        "value": 4,
        "status": "held",
        "idempotencyKey": "r",
    }
    assert shown.body == {"reservation": reservation}
    assert committed.body["reservation"] == reservation | {"status": "committed", "committedValue": 3}
    assert (committed.body["overQuota"], committed.body["deduplicated"]) == (False, False)
    assert committed.body["event"]["eventTimestamp"] == reservation["reservedAt"]
    assert committed.body["entitlement"] == api.get(feature_path).body
    assert again.body == committed.body | {"deduplicated": True}
    assert api.post(f"{path}/release").status == 409


def test_a_reservation_is_released(api, feature_path):
    reservation = api.post(f"{feature_path}/reserve", {"value": 10}).body["reservation"]
    refused = api.post(f"{feature_path}/reserve", {"value": 1})
    released = api.post(f"/v1/reservations/{reservation['id']}/release")

    assert refused.body == {"allowed": False, "reservation": None, "entitlement": refused.body["entitlement"]}
    assert released.body["reservation"]["status"] == "released"
    assert api.post(f"/v1/reservations/{reservation['id']}/commit").body["code"] == "reservation_released"
    assert api.post(f"{feature_path}/reserve", {"value": 10}).body["allowed"] is True


def test_more_than_was_reserved_is_said_to_be_over(api, feature_path):
    reservation = api.post(f"{feature_path}/reserve", {"value": 4}).body["reservation"]

    committed = api.post(f"/v1/reservations/{reservation['id']}/commit", {"value": 12})

    assert (committed.status, committed.body["overQuota"]) == (200, True)


def test_a_commit_after_the_expiry_is_409_by_its_name(api, feature_path):
    reservation = api.post(f"{feature_path}/reserve", {"value": 4}).body["reservation"]
    Reservation.objects.update(expires_at=timezone.now(), reserved_at=timezone.now() - timedelta(minutes=1))

    answer = api.post(f"/v1/reservations/{reservation['id']}/commit")

    assert (answer.status, answer.body["code"]) == (409, "reservation_expired")
    assert api.get(f"/v1/reservations/{reservation['id']}").body["reservation"]["status"] == "expired"
    assert api.get(feature_path).body["remaining"] == 10


WRONG_VALUES = [0, -1, "0", "abc", "", "1_0", " 1", "NaN", "Infinity", "1e400", True, [], {}, 10**18, "0.0000001"]
WRONG_KEYS = ["", LONG, 5, True, [], {}]
WRONG_PROPERTIES = [[], "text", 5, True, {"a": "x" * 17_000}]
WRONG = {
    "consume": [
        *(("value", value) for value in WRONG_VALUES),
        *(("idempotencyKey", key) for key in WRONG_KEYS),
        *(("properties", properties) for properties in WRONG_PROPERTIES),
        *(
            ("timestamp", text)
            for text in ["", "yesterday", "2026-01-31", "2026-01-31T18:00:00", "1969-12-31T23:59:59Z",
                         "2999-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-01-01T00:00:00Z", 5, True, [], {}]
        ),
        *(("overage", overage) for overage in ["", "ALLOW", "yes", True, 1, [], {}]),
    ],
    "reserve": [
        *(("value", value) for value in [None, *WRONG_VALUES]),
        *(("idempotencyKey", key) for key in WRONG_KEYS),
        *(("ttlSeconds", seconds) for seconds in [0, -1, 3_601, "60", 1.5, True, [], {}]),
        *(("overage", overage) for overage in ["", "none", False, 0, []]),
    ],
    "commit": [
        *(("value", value) for value in WRONG_VALUES),
        *(("properties", properties) for properties in WRONG_PROPERTIES),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("call", "field", "wrong"), [(call, *case) for call, cases in WRONG.items() for case in cases], ids=repr
)
def test_a_wrong_field_is_400_with_its_path_and_nothing_is_written(api, feature_path, call, field, wrong):
    path = f"{feature_path}/{call}"
    if call == "commit":
        held = api.post(f"{feature_path}/reserve", {"value": 1}).body["reservation"]
        path = f"/v1/reservations/{held['id']}/commit"
    before = Reservation.objects.count()

    answer = api.post(path, {"value": 1} | {field: wrong})

    assert answer.status == 400, answer
    assert answer.body["details"][0]["path"] == field
    assert answer.body["error"].startswith(field)
    assert (UsageEvent.objects.count(), Reservation.objects.count()) == (0, before)
    assert not Reservation.objects.filter(committed_at__isnull=False).exists()


@pytest.mark.parametrize("call", ["consume", "reserve", "commit"])
@pytest.mark.parametrize("body", [b"[]", b"5", b"{", b'{"value": NaN}', b'{"idempotencyKey": "a\\u0000"}', b"\xff"])
def test_a_body_that_is_no_object_is_400(api, feature_path, call, body):
    path = UNKNOWN_RESERVATION + "/commit" if call == "commit" else f"{feature_path}/{call}"

    response = api.client.post(
        path, body, content_type="application/json", headers={"authorization": f"Bearer {api.key}"}
    )

    assert (response.status_code, response.json()["code"]) == (400, "invalid_json")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/entitlements/cus_unknown/feature/{slug}/{call}", "customer_not_found"),
        ("/v1/entitlements/{customer}/feature/unknown-thing/{call}", "feature_not_found"),
    ],
)
@pytest.mark.parametrize("call", ["consume", "reserve"])
def test_an_unknown_customer_or_feature_is_404(api, pro, customer, path, code, call):
    path = path.format(slug=pro.feature.slug, customer=customer.public_id, call=call)

    answer = api.post(path, {"value": 1})

    assert (answer.status, answer.body["code"]) == (404, code)


@pytest.mark.parametrize("call", ["", "/commit", "/release"])
def test_an_unknown_reservation_is_404(api, call):
    answer = api.post(UNKNOWN_RESERVATION + call) if call else api.get(UNKNOWN_RESERVATION)

    assert (answer.status, answer.body["code"]) == (404, "reservation_not_found")


def test_consuming_and_reserving_need_the_scope_to_write(db, feature_path):
    _, key = create_api_key(name="Reader", key_type="secret", scopes=["entitlements:read"], at=timezone.now())
    reader = ApiClient(key)

    writes = [
        reader.post(f"{feature_path}/consume", {"value": 1}),
        reader.post(f"{feature_path}/reserve", {"value": 1}),
        reader.post(f"{UNKNOWN_RESERVATION}/commit"),
        reader.post(f"{UNKNOWN_RESERVATION}/release"),
    ]

    assert [answer.status for answer in writes] == [403] * 4
    assert reader.get(UNKNOWN_RESERVATION).status == 404
