"""GET and POST /v1/merchants/dunning-config."""

import pytest

from billing.models import DunningConfig

PATH = "/v1/merchants/dunning-config"
TERMS = {"gracePeriodDays": 14, "endOfDunningAction": "cancel_subscription", "retrySchedule": [2, 5]}

pytestmark = pytest.mark.django_db


def shown(answer):
    return {name: answer.body["config"][name] for name in TERMS}


def test_asking_makes_the_usual_terms_once(api):
    first, second = api.get(PATH), api.get(PATH)

    assert first.status == 200
    assert shown(first) == {
        "gracePeriodDays": 7, "retrySchedule": [1, 3, 7], "endOfDunningAction": "pause_subscription"
    }  # fmt: skip
    assert first.body["config"]["id"].startswith("dunning_")
    assert first.body == second.body


def test_the_first_terms_are_created_and_the_next_ones_change_them(api):
    first = api.post(PATH, TERMS)
    second = api.post(PATH, {"gracePeriodDays": 0, "endOfDunningAction": "mark_as_unpaid"})

    assert (first.status, shown(first)) == (201, TERMS)
    # A schedule that is not sent is kept.
    assert (second.status, shown(second)) == (
        200,
        {"gracePeriodDays": 0, "endOfDunningAction": "mark_as_unpaid", "retrySchedule": [2, 5]},
    )
    assert first.body["config"]["id"] == second.body["config"]["id"]


@pytest.mark.parametrize("days", [0, 365])
def test_the_bounds_of_the_grace_time_are_taken(api, days):
    assert api.post(PATH, TERMS | {"gracePeriodDays": days}).status == 201


def test_a_schedule_may_be_empty(api):
    assert shown(api.post(PATH, TERMS | {"retrySchedule": []}))["retrySchedule"] == []


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"gracePeriodDays": -1}, "gracePeriodDays"),
        ({"gracePeriodDays": 366}, "gracePeriodDays"),
        ({"gracePeriodDays": 1.5}, "gracePeriodDays"),
        ({"gracePeriodDays": "7"}, "gracePeriodDays"),
        ({"gracePeriodDays": True}, "gracePeriodDays"),
        ({"gracePeriodDays": None}, "gracePeriodDays"),
        ({"endOfDunningAction": "delete"}, "endOfDunningAction"),
        ({"endOfDunningAction": None}, "endOfDunningAction"),
        ({"retrySchedule": [3, 1]}, "retrySchedule"),
        ({"retrySchedule": [1, 1]}, "retrySchedule"),
        ({"retrySchedule": [0, 1]}, "retrySchedule[0]"),
        ({"retrySchedule": [1, 366]}, "retrySchedule[1]"),
        ({"retrySchedule": [1, "3"]}, "retrySchedule[1]"),
        ({"retrySchedule": [1, None]}, "retrySchedule[1]"),
        ({"retrySchedule": [1, 10**30]}, "retrySchedule[1]"),
        ({"retrySchedule": list(range(1, 12))}, "retrySchedule"),
        ({"retrySchedule": "1,3,7"}, "retrySchedule"),
        ({"retrySchedule": {"0": 1}}, "retrySchedule"),
        ({"retrySchedule": None}, "retrySchedule"),
        ({"retryScedule": [1]}, "retryScedule"),
    ],
)
def test_wrong_terms_are_refused_by_their_path_and_change_nothing(api, changes, path):
    answer = api.post(PATH, TERMS | changes)

    assert answer.status == 400
    assert path in [detail["path"] for detail in answer.body["details"]]
    assert not DunningConfig.objects.exists()


@pytest.mark.parametrize("missing", ["gracePeriodDays", "endOfDunningAction"])
def test_what_the_contract_wants_is_required(api, missing):
    answer = api.post(PATH, {name: value for name, value in TERMS.items() if name != missing})

    assert (answer.status, [detail["path"] for detail in answer.body["details"]]) == (400, [missing])


@pytest.mark.parametrize("body", [[], "x", 7, None])
def test_what_is_no_object_is_refused(api, body):
    assert api.post(PATH, body).status == 400
