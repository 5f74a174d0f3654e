"""What happens to a subscription over the API: change, preview, cancel, pause, resume, trial."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from billing.models import CreditNote, Invoice
from plans.models import Subscription
from tests.factories import CustomerFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan

pytestmark = pytest.mark.django_db

MAY = datetime(2026, 5, 1, tzinfo=UTC)
MAY_11 = datetime(2026, 5, 11, 9, tzinfo=UTC)
JUNE = "2026-06-01T00:00:00.000Z"


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def big(pro):
    return make_pro_plan(base_cents=9_900, quota=20_000, beside=pro)


@pytest.fixture
def customer():
    return CustomerFactory()


@pytest.fixture
def subscription(api, pro, customer):
    with time_machine.travel(MAY, tick=False):
        body = {"customerId": customer.public_id, "planId": pro.plan.public_id}
        return api.post("/v1/subscriptions", body).body["subscription"]


@pytest.fixture(autouse=True)
def now():
    with time_machine.travel(MAY_11, tick=False) as traveller:
        yield traveller
    assert_books_add_up(at=MAY_11 + timedelta(minutes=5))


def path(subscription, rest=""):
    return f"/v1/subscriptions/{subscription['stableSubscriptionId']}{rest}"


def test_a_preview_has_the_lines_of_the_change_and_writes_nothing(api, subscription, big):
    body = {"priceId": big.price.public_id}

    preview = api.post(path(subscription, "/change/preview"), body)

    assert preview.status == 200, preview
    assert preview.body["invoice"]["id"] is None
    assert preview.body["effectiveAt"] == "2026-05-11T09:00:00.000Z"
    assert Subscription.objects.count() == 1
    changed = api.post(path(subscription, "/change"), body)
    amounts = [[line["subtotalCents"] for line in one.body["invoice"]["lineItems"]] for one in (preview, changed)]
    assert amounts == [[6_706, -1_965]] * 2
    assert preview.body["invoice"]["totalAmountCents"] == changed.body["invoice"]["totalAmountCents"] == 4_741


def test_the_list_shows_the_latest_version_and_an_older_one_has_its_own_id(api, subscription, big):
    changed = api.post(path(subscription, "/change"), {"priceId": big.price.public_id}).body["subscription"]

    (listed,) = api.get("/v1/subscriptions").body["subscriptions"]
    assert (listed["id"], listed["versionNumber"]) == (changed["id"], 2)
    assert api.get(path(subscription)).body["subscription"]["id"] == changed["id"]
    before = api.get(f"/v1/subscriptions/{subscription['id']}").body["subscription"]
    assert (before["versionNumber"], before["status"]) == (1, "canceled")


def test_a_scheduled_change_is_shown_and_may_be_taken_back(api, subscription, big):
    body = {"priceId": big.price.public_id, "when": "period_end"}

    answer = api.post(path(subscription, "/change"), body)

    assert answer.body["invoice"] is None
    shown = api.get(path(subscription)).body["subscription"]
    assert shown["scheduledChange"] == answer.body["scheduledChange"]
    assert (shown["scheduledChange"]["kind"], shown["scheduledChange"]["effectiveAt"]) == ("change", JUNE)
    undone = api.delete(path(subscription, "/scheduled-change")).body["subscription"]
    assert undone["scheduledChange"] is None
    again = api.delete(path(subscription, "/scheduled-change"))
    assert (again.status, again.body["code"]) == (409, "nothing_scheduled")


def test_an_end_with_the_period_is_shown(api, subscription):
    answer = api.delete(path(subscription, "?atPeriodEnd=true"))

    assert (answer.status, answer.body["endsAt"]) == (200, JUNE)
    shown = api.get(path(subscription)).body["subscription"]
    assert shown["cancelAtPeriodEnd"] is True
    assert shown["scheduledChange"]["kind"] == "cancel"


def test_a_cancel_answers_in_the_words_of_the_contract(api, subscription):
    answer = api.delete(path(subscription))

    assert answer.body == {
        "success": True,
        "message": "Subscription, associated features, details, and credit grants expired successfully",
    }
    again = api.delete(path(subscription))
    assert (again.status, again.body["error"]) == (404, "Subscription not found or already ended")


def test_a_cancel_refunds_days_only_if_asked(api, subscription):
    both = api.delete(path(subscription, "?prorate=true&atPeriodEnd=true"))
    assert both.status == 400
    assert not CreditNote.objects.exists()

    assert api.delete(path(subscription, "?prorate=true")).status == 200

    assert CreditNote.objects.get().total_cents == 1_965


def test_pause_and_resume_answer_in_the_words_of_the_contract(api, subscription):
    assert api.post(path(subscription, "/pause"), {}).body == {"success": True, "status": "paused"}
    shown = api.get(path(subscription)).body["subscription"]
    assert (shown["status"], shown["pausedAt"]) == ("paused", "2026-05-11T09:00:00.000Z")
    assert api.post(path(subscription, "/pause"), {}).body["code"] == "subscription_not_active"
    assert api.post(path(subscription, "/resume"), {}).body == {"success": True, "status": "active"}
    assert api.post(path(subscription, "/resume"), {}).body["code"] == "subscription_is_active"
    unknown = api.post("/v1/subscriptions/sub_nobody/pause", {})
    assert (unknown.status, unknown.body["error"]) == (404, "Subscription not found or access denied")


def test_a_trial_is_shown_and_charges_nothing(api, pro, customer):
    body = {"customerId": customer.public_id, "planId": pro.plan.public_id, "trialDays": 14}

    answer = api.post("/v1/subscriptions", body)

    assert answer.body["subscription"]["trialEndDate"] == "2026-05-26T00:00:00.000Z"
    assert not Invoice.objects.exists()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"priceId": "price_nobody"}, None),
        ({}, "priceId"),
        ({"when": "tomorrow"}, "when"),
        ({"proration": "half"}, "proration"),
    ],
)
def test_bad_input_is_refused_by_name(api, subscription, big, wrong, field):
    body = ({"priceId": big.price.public_id} | wrong) if wrong else {}

    answer = api.post(path(subscription, "/change"), body)

    assert answer.status in (400, 404)
    assert field is None or field in answer.body["error"]
    assert Subscription.objects.count() == 1


def test_a_change_to_the_same_price_is_refused_by_name(api, subscription, pro):
    answer = api.post(path(subscription, "/change"), {"priceId": pro.price.public_id})

    assert (answer.status, answer.body["code"]) == (409, "same_price")
