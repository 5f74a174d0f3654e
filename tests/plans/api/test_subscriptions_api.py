"""/v1/subscriptions: create, get, list."""

from datetime import timedelta

import pytest

from billing.models import Invoice, PaymentMethod
from plans.models import Merchant, Subscription
from tests.factories import (
    CustomerFactory,
    MetricFactory,
    PlanFactory,
    PlanFeatureFactory,
    PriceFactory,
    SubscriptionFactory,
    UsageComponentFactory,
)

NOON = "2025-03-10T12:00:00.000Z"
APRIL = "2025-04-10T00:00:00.000Z"


@pytest.fixture
def customer(db):
    return CustomerFactory(name="Jane", email="j@x.io", external_customer_id="user_1")


@pytest.fixture
def price(db):
    """29.00 a month and 5 cents a call."""
    price = PriceFactory(plan__name="Pro")
    usage = UsageComponentFactory(price=price)
    PlanFeatureFactory(
        plan=price.plan,
        feature__slug="calls",
        feature__display_name="Calls",
        feature__value="usage_based",
        feature__metrics=[usage.metric],
    )
    return price


def body(customer, price, **more):
    return {"customerId": customer.public_id, "planId": price.plan.public_id, "priceId": price.public_id} | more


def test_subscribes_a_customer(api, customer, price):
    answer = api.post("/v1/subscriptions", body(customer, price, status="active", metadata={"seats": 2}, trialDays=0))

    subscription = Subscription.objects.get()
    sold = subscription.subscription_features.get()
    fee, usage = price.components.all()
    assert answer.status == 200
    assert answer.body == {
        "subscription": {
            "id": subscription.public_id,
            "stableSubscriptionId": subscription.stable_subscription_id,
            "merchantId": Merchant.objects.get().public_id,
            "customerId": customer.public_id,
            "planId": price.plan.public_id,
            "priceId": price.public_id,
            "effectivePriceId": price.public_id,
            "status": "active",
            "startTimestamp": NOON,
            "endTimestamp": None,
            "currentPeriodStart": NOON,
            "currentPeriodEnd": APRIL,
            "cancelAtPeriodEnd": False,
            "scheduledChange": None,
            "trialEndDate": None,
            "pausedAt": None,
            "gracePeriodEndsAt": None,
            "versionNumber": 1,
            "stripeSubscriptionId": None,
            "paymentMethodId": None,
            "metadata": {"seats": 2},
            "createdAt": NOON,
            "deletedAt": None,
            "customer": {
                "id": customer.public_id,
                "name": "Jane",
                "email": "j@x.io",
                "externalCustomerId": "user_1",
            },
            "plan": {"id": price.plan.public_id, "planName": "Pro", "planDescription": None},
            "price": {
                "id": price.public_id,
                "currency": "USD",
                "pricingData": {
                    "dsl_version": 1,
                    "components": [
                        {
                            "type": "fixed",
                            "component_id": fee.component_id,
                            "label": "Base fee",
                            "amount_cents": 2900,
                            "recurrence_rule": "RRULE:FREQ=MONTHLY;INTERVAL=1",
                        },
                        {
                            "type": "usage",
                            "component_id": usage.component_id,
                            "label": "Usage",
                            "unit_label": "call",
                            "metric_id": usage.metric.public_id,
                            "unit_cost_cents": 5,
                            "recurrence_rule": "RRULE:FREQ=MONTHLY;INTERVAL=1",
                        },
                    ],
                },
            },
            "subscriptionDetails": [
                {
                    "subscriptionId": subscription.public_id,
                    "componentId": fee.component_id,
                    "previousBillingDate": NOON,
                    "nextBillingDate": APRIL,
                    "createdAt": NOON,
                    "updatedAt": NOON,
                },
                {
                    "subscriptionId": subscription.public_id,
                    "componentId": usage.component_id,
                    "previousBillingDate": None,
                    "nextBillingDate": APRIL,
                    "createdAt": NOON,
                    "updatedAt": NOON,
                },
            ],
            "subscriptionFeatures": [
                {
                    "id": sold.public_id,
                    "subscriptionId": subscription.public_id,
                    "featureId": sold.feature.public_id,
                    "featureName": "Calls",
                    "slug": "calls",
                    "featureType": "string",
                    "featureValue": "usage_based",
                    "overage": "block",
                    "source": "plan",
                }
            ],
        }
    }
    assert Invoice.objects.get().total_cents == 2900


def test_finds_the_customer_by_external_id(api, customer, price):
    answer = api.post("/v1/subscriptions?isExtCustId=true", body(customer, price, customerId="user_1"))

    assert answer.body["subscription"]["customerId"] == customer.public_id


@pytest.mark.parametrize(
    "keys", [{"priceId"}, {"effectivePriceId"}, {"planId"}, {"planId", "effectivePriceId"}, {"stablePlanId"}]
)
def test_takes_plan_or_price_under_each_of_their_names(api, customer, price, keys):
    names = {
        "planId": price.plan.public_id,
        "priceId": price.public_id,
        "effectivePriceId": price.public_id,
    }
    sent = {name: value for name, value in names.items() if name in keys}
    if "stablePlanId" in keys:
        sent = {"planId": price.plan.stable_plan_id}

    answer = api.post("/v1/subscriptions", {"customerId": customer.public_id} | sent)

    assert answer.body["subscription"]["priceId"] == price.public_id


def test_begins_in_the_past_or_the_future(api, customer, price):
    past = api.post("/v1/subscriptions", body(customer, price, startTimestamp="2025-01-31T08:00:00+02:00"))
    future = api.post("/v1/subscriptions", body(CustomerFactory(), price, startTimestamp="2025-05-31T00:00:00Z"))

    assert past.body["subscription"]["startTimestamp"] == "2025-01-31T06:00:00.000Z"
    # Of 31 January: 28 February, then 31 March; today is the 10th.
    assert past.body["subscription"]["currentPeriodStart"] == "2025-02-28T00:00:00.000Z"
    assert past.body["subscription"]["currentPeriodEnd"] == "2025-03-31T00:00:00.000Z"
    assert future.body["subscription"]["currentPeriodStart"] == "2025-05-31T00:00:00.000Z"
    assert future.body["subscription"]["subscriptionDetails"][0]["previousBillingDate"] is None


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"customerId": None}, "customerId"),
        ({"customerId": 5}, "customerId"),
        ({"planId": None, "priceId": None}, "planId"),
        ({"effectivePriceId": "price_other"}, "effectivePriceId"),
        ({"status": "trialing"}, "status"),
        ({"trialDays": 731}, "trialDays"),
        ({"trialDays": -1}, "trialDays"),
        ({"trialDays": "14"}, "trialDays"),
        ({"startTimestamp": "tomorrow"}, "startTimestamp"),
        ({"startTimestamp": 1735689600}, "startTimestamp"),
        ({"startTimestamp": "2001-01-01T00:00:00Z"}, "startTimestamp"),
        ({"startTimestamp": "9999-12-31T23:59:59-12:00"}, "startTimestamp"),
        ({"metadata": "x"}, "metadata"),
        ({"dangerouslyAllowMultipleSubscriptions": "true"}, "dangerouslyAllowMultipleSubscriptions"),
    ],
)
def test_refuses_a_field_of_the_wrong_kind_and_writes_nothing(api, customer, price, changes, path):
    answer = api.post("/v1/subscriptions", body(customer, price) | changes)

    assert answer.status == 400, answer
    assert answer.body["details"][0]["path"] == path
    assert not Subscription.objects.exists()
    assert not Invoice.objects.exists()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"customerId": "cus_x"}, "Customer not found or access denied"),
        ({"planId": "plan_int_x"}, "Plan not found or access denied"),
        ({"priceId": "price_x"}, "Price not found or access denied"),
    ],
)
def test_answers_404_for_what_is_not_there(api, customer, price, changes, error):
    answer = api.post("/v1/subscriptions", body(customer, price) | changes)

    assert (answer.status, answer.body["error"]) == (404, error)


def test_refuses_a_price_of_another_plan(api, customer, price):
    answer = api.post("/v1/subscriptions", body(customer, price, planId=PlanFactory().public_id))

    assert (answer.status, answer.body["error"]) == (400, "priceId: is a price of another plan.")


def test_refuses_the_price_of_a_deleted_plan(api, customer, now):
    price = PriceFactory(plan__deleted_at=now)

    answer = api.post("/v1/subscriptions", {"customerId": customer.public_id, "priceId": price.public_id})

    assert (answer.status, answer.body["code"]) == (404, "plan_not_found")


def test_refuses_a_plan_without_price(api, customer):
    answer = api.post("/v1/subscriptions", {"customerId": customer.public_id, "planId": PlanFactory().public_id})

    assert (answer.status, answer.body["code"]) == (400, "plan_has_no_price")


def test_refuses_a_plan_with_several_prices_unless_one_is_named(api, customer, price):
    PriceFactory(plan=price.plan)

    answer = api.post("/v1/subscriptions", {"customerId": customer.public_id, "planId": price.plan.public_id})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "priceId")


def test_refuses_a_second_subscription_unless_it_is_wished(api, customer, price):
    api.post("/v1/subscriptions", body(customer, price))
    other = PriceFactory()

    refused = api.post("/v1/subscriptions", body(customer, other))

    assert refused.status == 409
    assert refused.body["error"] == (
        "Customer already has an active subscription. Use dangerouslyAllowMultipleSubscriptions to override."
    )
    assert Subscription.objects.count() == 1
    wished = body(customer, other, dangerouslyAllowMultipleSubscriptions=True)
    assert api.post("/v1/subscriptions", wished).status == 200


def test_refuses_to_meter_a_metric_twice_even_so(api, customer, price):
    api.post("/v1/subscriptions", body(customer, price))
    other = PriceFactory()
    UsageComponentFactory(price=other, metric=price.components.get(kind="usage").metric)

    answer = api.post("/v1/subscriptions", body(customer, other, dangerouslyAllowMultipleSubscriptions=True))

    assert (answer.status, answer.body["code"]) == (409, "metric_already_priced")
    assert Subscription.objects.count() == 1


def test_shows_a_subscription_by_either_id(api, now):
    subscription = SubscriptionFactory(at=now)
    PaymentMethod.objects.create(
        public_id="pm_x", customer=subscription.customer, external_id="pm_1", is_default=True, created_at=now
    )

    by_id = api.get(f"/v1/subscriptions/{subscription.public_id}").body["subscription"]
    by_stable_id = api.get(
        f"/v1/subscriptions/{subscription.stable_subscription_id}", {"includeFeatures": "true"}
    ).body["subscription"]

    assert by_stable_id == by_id | {"subscriptionFeatures": []}
    assert by_id["paymentMethodId"] == "pm_x"


def test_the_clock_of_a_metric_without_price_is_no_detail(api, now):
    plan_feature = PlanFeatureFactory(feature__metrics=[MetricFactory()])
    subscription = SubscriptionFactory(at=now, price__plan=plan_feature.plan)

    shown = api.get(f"/v1/subscriptions/{subscription.public_id}").body["subscription"]

    assert subscription.items.count() == 2
    assert len(shown["subscriptionDetails"]) == 1


def test_an_ended_subscription_keeps_its_last_period(api, now):
    subscription = SubscriptionFactory()
    subscription.periods.filter(start_at__gt=now).delete()
    last = subscription.periods.order_by("-end_at").first()
    ended_at = last.start_at + timedelta(days=3)
    subscription.periods.filter(pk=last.pk).update(end_at=ended_at)
    subscription.items.update(ended_at=ended_at)
    Subscription.objects.update(status="canceled", ended_at=ended_at)

    shown = api.get(f"/v1/subscriptions/{subscription.public_id}").body["subscription"]

    assert shown["currentPeriodStart"] == last.start_at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    assert shown["currentPeriodEnd"] == shown["endTimestamp"]
    assert shown["subscriptionDetails"][0]["nextBillingDate"] is None


def test_answers_404_for_an_unknown_or_deleted_subscription(api, now):
    deleted = SubscriptionFactory()
    Subscription.objects.update(deleted_at=now)

    for identifier in ("sub_x", deleted.public_id, deleted.stable_subscription_id):
        answer = api.get(f"/v1/subscriptions/{identifier}")
        assert (answer.status, answer.body["error"]) == (404, "Subscription not found or access denied")


def test_lists_the_newest_first_and_those_of_one_customer(api, customer, now):
    older, newer = SubscriptionFactory(customer=customer), SubscriptionFactory(at=now)

    everything = api.get("/v1/subscriptions").body
    ours = api.get("/v1/subscriptions", {"customerId": "user_1", "isExtCustId": "true"}).body

    assert list(everything) == ["subscriptions"]
    assert [listed["id"] for listed in everything["subscriptions"]] == [newer.public_id, older.public_id]
    assert "subscriptionFeatures" not in everything["subscriptions"][0]
    assert [listed["id"] for listed in ours["subscriptions"]] == [older.public_id]
    assert api.get("/v1/subscriptions", {"customerId": "cus_x"}).status == 404


@pytest.mark.parametrize("count", [1, 4])
def test_lists_with_a_constant_number_of_queries(api, now, count, django_assert_num_queries):
    for _ in range(count):
        price = PriceFactory()
        UsageComponentFactory(price=price)
        PlanFeatureFactory(plan=price.plan)
        SubscriptionFactory(at=now, price=price)

    # The key, subscriptions, customers, plans, prices, components, metrics, items, features, three for the current
    # periods, billing dates, payment methods, the merchant, scheduled changes.
    with django_assert_num_queries(16):
        body = api.get("/v1/subscriptions", {"includeFeatures": "true"}).body

    assert len(body["subscriptions"]) == count


@pytest.mark.parametrize("named", ["priceId", "planId"])
def test_refuses_a_price_without_any_component(api, customer, named):
    price = PriceFactory(fee=None)
    identifier = {"priceId": price.public_id, "planId": price.plan.public_id}[named]

    answer = api.post("/v1/subscriptions", {"customerId": customer.public_id, named: identifier})

    assert (answer.status, answer.body["code"]) == (400, "price_has_no_components")
    assert answer.body["details"][0]["path"] == "priceId"
    assert not Subscription.objects.exists()
