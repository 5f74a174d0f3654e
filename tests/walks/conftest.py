from datetime import timedelta

import pytest
from django.utils import timezone

from billing.services.subscribe import subscribe
from tests.factories import CustomerFactory, UsageEventFactory
from tests.pro_plan import make_pro_plan
from tests.walks.fuzzing import Target


@pytest.fixture
def target(api):
    at = timezone.now() - timedelta(minutes=1)
    pro, customer = make_pro_plan(), CustomerFactory(external_customer_id="user/1")
    subscription = subscribe(at=at, customer=customer, plan=pro.plan)
    event = UsageEventFactory(customer=customer, event_name=pro.metric.event_name, at=at)
    names = {
        "customer": customer.public_id,
        "metric": pro.metric.public_id,
        "event_name": pro.metric.event_name,
        "slug": pro.feature.slug,
        "subscription": subscription.public_id,
        "event": event.public_id,
    }
    path = "/v1/entitlements/{customer}/feature/{slug}/reserve".format(**names)
    names["reservation"] = api.post(path, {"value": 5, "ttlSeconds": 3600}).body["reservation"]["id"]
    return Target(api.client, api.key, names)
