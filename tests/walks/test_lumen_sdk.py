"""The published client library lumen-python-sdk against our own server, over real HTTP.

It never raises: whatever goes wrong is an answer with `error`, or a no.
"""

import asyncio
from datetime import timedelta

import lumen
import pytest
from django.utils import timezone

from billing.services.subscribe import subscribe
from config.keys import create_api_key
from metering.models import UsageEvent
from tests.factories import CustomerFactory, FeatureFactory, PlanFeatureFactory
from tests.pro_plan import make_pro_plan, use

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def server(live_server, monkeypatch):
    """A running server, and the two variables by which the library finds it."""
    _, key = create_api_key(name="The application", key_type="secret", at=timezone.now())
    monkeypatch.setenv("LUMEN_API_URL", live_server.url)
    monkeypatch.setenv("LUMEN_API_KEY", key)
    # Not through a proxy: the server is on this machine.
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    return live_server


@pytest.fixture
def pro():
    """10,000 calls a month, and a switch that is on."""
    pro = make_pro_plan()
    PlanFeatureFactory(plan=pro.plan, feature=FeatureFactory(slug="priority-support"))
    return pro


@pytest.fixture
def jane(pro):
    customer = CustomerFactory(name="Jane", email="jane@x.io", external_customer_id="user_1")
    subscribe(at=timezone.now() - timedelta(days=1), customer=customer, plan=pro.plan)
    return customer


def send(name, value=None, **who):
    return asyncio.run(lumen.send_event(name=name, value=value, **who))


def entitled(feature, **who):
    return asyncio.run(lumen.is_feature_entitled(feature, **who))


def addressed(customer, by):
    """Say who is meant, by the application's id or by ours."""
    return {"user_id": customer.external_customer_id} if by == "theirs" else {"lumen_customer_id": customer.public_id}


@pytest.mark.parametrize("by", ["theirs", "ours"])
class TestByEitherId:
    def test_an_event_is_counted_at_once(self, pro, jane, by):
        answer = send(pro.metric.event_name, 25, **addressed(jane, by))

        assert (answer.status_code, answer.json()["message"]) == (202, "Event accepted")
        (usage,) = [one for one in get_usage(jane, by) if one["feature"]["slug"] == pro.feature.slug]
        assert (usage["usage"], usage["limit"], usage["remaining"]) == (25, 10_000, 9_975)

    def test_an_event_sent_twice_with_one_key_counts_once(self, pro, jane, by):
        first = send(pro.metric.event_name, 25, idempotency_key="call-1", **addressed(jane, by))
        again = send(pro.metric.event_name, 25, idempotency_key="call-1", **addressed(jane, by))

        assert (first.status_code, again.status_code) == (202, 202)
        assert (first.json()["deduplicated"], again.json()["deduplicated"]) == (False, True)
        assert UsageEvent.objects.count() == 1

    def test_the_check_says_no_once_the_quota_is_used(self, pro, jane, by):
        send(pro.metric.event_name, 9_999, **addressed(jane, by))
        below = entitled(pro.feature.slug, **addressed(jane, by))
        send(pro.metric.event_name, **addressed(jane, by))
        at_quota = entitled(pro.feature.slug, **addressed(jane, by))
        beyond = send(pro.metric.event_name, **addressed(jane, by))

        assert (below, at_quota, beyond.status_code) == (True, False, 202)

    def test_all_features_as_switches(self, pro, jane, by):
        before = asyncio.run(lumen.get_features(**addressed(jane, by)))
        use(jane, pro.metric, 10_000, timezone.now())
        after = asyncio.run(lumen.get_features(**addressed(jane, by)))

        assert before == {pro.feature.slug: True, "priority-support": True}
        assert after == {pro.feature.slug: False, "priority-support": True}


def get_usage(customer, by="theirs"):
    return asyncio.run(lumen.get_usage(**addressed(customer, by)))["entitlements"]


def test_an_event_of_text_is_taken(jane):
    answer = send("feature-used", "export", user_id="user_1")

    assert answer.status_code == 202
    assert UsageEvent.objects.get().text_value == "export"


def test_an_event_of_a_user_who_is_not_known_yet_is_kept(pro):
    answer = send(pro.metric.event_name, 5, user_id="user_of_tomorrow")

    assert answer.status_code == 202
    assert UsageEvent.objects.get().customer is None


def test_the_subscription_status(pro, jane):
    status = asyncio.run(lumen.get_subscription_status("user_1"))

    assert status["hasActiveSubscription"] is True
    assert status["customer"] == {"id": jane.public_id, "name": "Jane", "email": "jane@x.io"}
    assert (status["subscription"]["status"], status["subscription"]["planName"]) == ("active", pro.plan.name)


def test_the_customer_overview(jane):
    overview = asyncio.run(lumen.get_customer_overview("user_1"))

    assert "error" not in overview
    assert [invoice["totalAmountCents"] for invoice in overview["portal"]["invoices"]] == [2_900]


class TestFailsClosed:
    def test_an_unknown_user_is_entitled_to_nothing(self, pro, jane):
        assert entitled(pro.feature.slug, user_id="user_2") is False
        assert asyncio.run(lumen.get_features(user_id="user_2")) == {}
        assert "error" in asyncio.run(lumen.get_usage(user_id="user_2"))

    def test_an_unknown_user_has_no_status_and_no_overview(self, jane):
        assert asyncio.run(lumen.get_subscription_status("user_2")) == {"error": "Customer not found"}
        assert "error" in asyncio.run(lumen.get_customer_overview("user_2"))

    def test_our_id_is_not_taken_for_theirs(self, pro, jane):
        assert entitled(pro.feature.slug, user_id=jane.public_id) is False
        assert entitled(pro.feature.slug, lumen_customer_id="user_1") is False

    def test_an_unknown_feature_is_no(self, jane):
        assert entitled("no-such-feature", user_id="user_1") is False

    def test_a_user_without_a_subscription_is_no(self, pro):
        CustomerFactory(external_customer_id="user_3")

        assert entitled(pro.feature.slug, user_id="user_3") is False

    def test_a_wrong_key_is_no(self, pro, jane, monkeypatch):
        monkeypatch.setenv("LUMEN_API_KEY", "sk_test_somebody_elses")

        assert entitled(pro.feature.slug, user_id="user_1") is False
        assert send(pro.metric.event_name, user_id="user_1").status_code == 401
        assert UsageEvent.objects.count() == 0

    def test_ids_with_special_characters_reach_the_right_customer(self, pro, jane):
        odd = CustomerFactory(external_customer_id="user|1&x=ä b")
        subscribe(at=timezone.now(), customer=odd, plan=pro.plan)

        assert entitled(pro.feature.slug, user_id="user|1&x=ä b") is True
        assert entitled(pro.feature.slug, user_id="user|1") is False
