"""POST /v1/plans/{id}/migrate: subscribers of a version move with the end of what they paid for."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from billing.jobs import apply_scheduled_changes
from billing.services.cancel import cancel_at_period_end
from billing.services.pause import pause
from billing.services.subscribe import subscribe
from plans.models import ScheduledChange, Subscription
from tests.factories import CustomerFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, sweep, use

pytestmark = pytest.mark.django_db

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
APRIL = datetime(2026, 4, 1, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
NOW = datetime(2026, 4, 10, tzinfo=UTC)


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def next_pro(pro):
    return make_pro_plan(base_cents=3900, quota=12_000, beside=pro)


@pytest.fixture
def ada(pro):
    customer = CustomerFactory(name="Ada")
    subscription = subscribe(at=MARCH, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 11_000, MARCH + timedelta(days=3))
    sweep(APRIL + timedelta(hours=1))
    return subscription


@pytest.fixture(autouse=True)
def now():
    with time_machine.travel(NOW, tick=False):
        yield


def body(pro, next_pro):
    return {"toPlanId": next_pro.plan.public_id, "priceMap": {pro.price.public_id: next_pro.price.public_id}}


def test_tells_who_would_have_paid_what_and_writes_nothing(api, pro, next_pro, ada):
    answer = api.post(f"/v1/plans/{pro.plan.public_id}/migrate/preview", body(pro, next_pro))

    assert answer.status == 200, answer
    assert (answer.body["moving"], answer.body["staying"]) == (1, 0)
    (row,) = answer.body["subscriptions"]
    # March: 2,900 + 1,000 beyond the quota × 5; the new fee is 3,900, with the credits that paid for it then.
    assert (row["oldCents"], row["newCents"], row["differenceCents"]) == (7_900, 8_900, 1_000)
    assert row["effectiveAt"] == "2026-05-01T00:00:00.000Z"
    assert not ScheduledChange.objects.exists()


def test_subscribers_change_with_the_end_of_their_period(api, pro, next_pro, ada):
    answer = api.post(f"/v1/plans/{pro.plan.public_id}/migrate", body(pro, next_pro))

    assert (answer.status, answer.body["moving"]) == (200, 1), answer
    sweep(MAY)
    apply_scheduled_changes(MAY)
    assert Subscription.objects.live().get(customer=ada.customer).price == next_pro.price
    assert_books_add_up(at=MAY)


def test_migrating_twice_schedules_once(api, pro, next_pro, ada):
    for _ in range(2):
        answer = api.post(f"/v1/plans/{pro.plan.public_id}/migrate", body(pro, next_pro))
        assert (answer.status, answer.body["moving"]) == (200, 1), answer

    assert ScheduledChange.objects.count() == 1


def test_who_is_paused_or_leaves_stays_with_the_reason(api, pro, next_pro, ada):
    leaving = subscribe(at=APRIL, customer=CustomerFactory(), plan=pro.plan)
    cancel_at_period_end(subscription=leaving, at=NOW)
    pause(subscription=ada, at=NOW)

    answer = api.post(f"/v1/plans/{pro.plan.public_id}/migrate", body(pro, next_pro))

    reasons = {row["subscriptionId"]: row["staysBecause"] for row in answer.body["subscriptions"]}
    assert reasons == {
        ada.public_id: "This subscription is paused. Resume it first, then change it.",
        leaving.public_id: "It ends on 2026-05-01 already.",
    }


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"priceMap": {}}, "priceMap"),
        ({"priceMap": ["x"]}, "priceMap"),
        ({"priceMap": {"price_x": 5}}, "priceMap"),
        ({"when": "now"}, "when"),
        ({"toPlanId": None}, "toPlanId"),
    ],
)
def test_refuses_terms_that_cannot_be_followed_and_writes_nothing(api, pro, next_pro, ada, change, path):
    answer = api.post(f"/v1/plans/{pro.plan.public_id}/migrate", body(pro, next_pro) | change)

    assert answer.status == 400, answer
    assert answer.body["details"][0]["path"] == path
    assert not ScheduledChange.objects.exists()


def test_refuses_a_map_that_leaves_a_price_out(api, pro, next_pro, ada):
    other = make_pro_plan(beside=pro)
    terms = {"toPlanId": next_pro.plan.public_id, "priceMap": {other.price.public_id: next_pro.price.public_id}}

    answer = api.post(f"/v1/plans/{pro.plan.public_id}/migrate", terms)

    assert (answer.status, answer.body["details"][0]["path"]) == (400, f"priceMap.{other.price.public_id}")


def test_refuses_another_currency(api, pro, ada):
    euros = make_pro_plan(currency="EUR", beside=pro)

    answer = api.post(f"/v1/plans/{pro.plan.public_id}/migrate", body(pro, euros))

    assert answer.status == 400
    assert answer.body["details"][0]["message"] == "must be a price in USD; a subscription keeps its currency."
