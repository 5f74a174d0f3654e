"""/v1/plans: both create bodies, get, list."""

from decimal import Decimal

import pytest

from plans.models import Feature, Merchant, Metric, Plan, Price
from tests.factories import (
    CustomerFactory,
    FeatureFactory,
    MetricFactory,
    PlanFactory,
    PlanFeatureFactory,
    PriceFactory,
    SubscriptionFactory,
)

NOON = "2025-03-10T12:00:00.000Z"
ONE_SHOT = {
    "planName": "Pro",
    "planDescription": "For teams",
    "currency": "USD",
    "monthlyPrice": Decimal("29.99"),
    "hasYearlyPrice": False,
    "showInPricingTable": True,
    "features": [
        {"featureName": "SSO", "slug": "single_sign_on", "isUsageBased": False},
        {"featureName": "API access", "slug": "api_access", "isUsageBased": True},
    ],
}


def assert_nothing_is_written():
    assert not Plan.objects.exists()
    assert not Price.objects.exists()
    assert not Feature.objects.exists()
    assert not Metric.objects.exists()


def test_creates_a_plan_from_the_simple_body(api):
    answer = api.post(
        "/v1/plans",
        {"planName": "Pro", "planDescription": "For teams", "versionNumber": 1, "commitMessage": "First"},
    )

    plan = Plan.objects.get()
    words = {
        "id": plan.public_id,
        "stablePlanId": plan.stable_plan_id,
        "merchantId": Merchant.objects.get().public_id,
        "versionNumber": 1,
        "planName": "Pro",
        "planDescription": "For teams",
        "commitMessage": "First",
        "isTrialPlan": False,
        "trialParentPlanId": None,
        "trialDays": None,
        "pspPlanId": None,
        "isVisibleInPricingTable": False,
        "isEnterprisePlan": False,
        "buttonText": None,
        "enterpriseRedirectUrl": None,
        "createdAt": NOON,
        "deletedAt": None,
        "features": [],
        "prices": [],
    }
    assert answer.status == 200
    assert answer.body == {"plan": words, "plans": [words]}


def test_creates_all_that_the_one_shot_body_names(api):
    answer = api.post("/v1/plans", ONE_SHOT)

    plan = answer.body["plan"]
    assert answer.status == 200
    assert answer.body["plans"] == [plan]
    assert (plan["commitMessage"], plan["isVisibleInPricingTable"]) == ("Initial version", True)
    sso, access = Feature.objects.get(slug="single-sign-on"), Feature.objects.get(slug="api-access")
    assert plan["features"] == [
        {
            "id": sso.public_id,
            "slug": "single-sign-on",
            "displayName": "SSO",
            "featureType": "boolean",
            "featureValue": True,
            "overage": "block",
        },
        {
            "id": access.public_id,
            "slug": "api-access",
            "displayName": "API access",
            "featureType": "string",
            "featureValue": "usage_based",
            "overage": "block",
        },
    ]
    metric = access.metrics.get()
    assert (metric.event_name, metric.aggregation_type, metric.name) == ("api-access", "SUM", "API access")
    (price,) = plan["prices"]
    (fee,) = price["pricingData"]["components"]
    assert price["currency"] == "USD"
    assert (fee["amount_cents"], fee["recurrence_rule"]) == (2999, "RRULE:FREQ=MONTHLY;INTERVAL=1")


def test_creates_a_yearly_price_beside_the_monthly_one(api):
    answer = api.post("/v1/plans", ONE_SHOT | {"hasYearlyPrice": True, "yearlyPrice": 290})

    fees = [price["pricingData"]["components"][0] for price in answer.body["plan"]["prices"]]
    assert [(fee["amount_cents"], fee["recurrence_rule"]) for fee in fees] == [
        (2999, "RRULE:FREQ=MONTHLY;INTERVAL=1"),
        (29000, "RRULE:FREQ=YEARLY;INTERVAL=1"),
    ]


@pytest.mark.parametrize(
    ("currency", "amount", "cents"),
    [("usd", "29.99", 2999), ("JPY", 500, 500), ("KWD", Decimal("1.234"), 1234), ("EUR", 0, 0)],
)
def test_reads_amounts_in_major_units_exactly(api, currency, amount, cents):
    plan = api.post("/v1/plans", {"planName": "P", "currency": currency, "monthlyPrice": amount}).body["plan"]

    assert plan["prices"][0]["currency"] == currency.upper()
    assert plan["prices"][0]["pricingData"]["components"][0]["amount_cents"] == cents


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"monthlyPrice": Decimal("29.999")}, "monthlyPrice"),
        ({"currency": "JPY", "monthlyPrice": Decimal("0.5")}, "monthlyPrice"),
        ({"monthlyPrice": -1}, "monthlyPrice"),
        ({"monthlyPrice": "a lot"}, "monthlyPrice"),
        ({"monthlyPrice": True}, "monthlyPrice"),
        ({"monthlyPrice": 10**390}, "monthlyPrice"),
        ({"monthlyPrice": 10**11}, "monthlyPrice"),
        ({"monthlyPrice": None}, "monthlyPrice"),
        ({"currency": None}, "currency"),
        ({"currency": "ABC"}, "currency"),
        ({"hasYearlyPrice": True}, "yearlyPrice"),
        ({"hasYearlyPrice": True, "yearlyPrice": Decimal("0.001")}, "yearlyPrice"),
        ({"hasYearlyPrice": "true"}, "hasYearlyPrice"),
        ({"showInPricingTable": 1}, "showInPricingTable"),
        ({"planName": "x" * 201}, "planName"),
        ({"planName": 5}, "planName"),
        ({"enterpriseRedirectUrl": "javascript:alert(1)"}, "enterpriseRedirectUrl"),
        ({"isTrialPlan": True}, "isTrialPlan"),
        ({"trialDays": 14}, "trialDays"),
        ({"features": {}}, "features"),
        ({"features": [5]}, "features[0]"),
        ({"features": [{"slug": "Ab!"}]}, "features[0].slug"),
        ({"features": [{"featureName": "x"}]}, "features[0].slug"),
        ({"features": [{"slug": "abc"}, {"slug": "abc"}]}, "features[1].slug"),
        ({"features": [{"slug": "a_c"}, {"slug": "a-c"}]}, "features[1].slug"),
        ({"features": [{"slug": "abc", "isUsageBased": "yes"}]}, "features[0].isUsageBased"),
        ({"featureIds": ["feat_x"]}, "featureIds[0]"),
        ({"featureIds": "feat_x"}, "featureIds"),
        ({"featureConfigs": [{"slug": "unknown"}]}, "featureConfigs[0]"),
        ({"featureConfigs": [{}]}, "featureConfigs[0].featureId"),
        ({"featureConfigs": [{"slug": "abc", "overage": "maybe"}]}, "featureConfigs[0].overage"),
        ({"featureConfigs": [{"slug": "abc", "value": []}]}, "featureConfigs[0].value"),
    ],
)
def test_refuses_a_body_by_the_path_of_its_field_and_writes_nothing(api, changes, path):
    answer = api.post("/v1/plans", ONE_SHOT | changes)

    assert answer.status == 400, answer
    assert answer.body["details"][0]["path"] == path
    assert_nothing_is_written()


@pytest.mark.parametrize("body", [{}, {"planName": ""}, {"planName": None}, {"planDescription": "x"}])
def test_refuses_a_plan_without_name_in_the_words_of_the_contract(api, body):
    answer = api.post("/v1/plans", body)

    assert (answer.status, answer.body["error"]) == (400, "Plan name is required")


def test_refuses_unknown_feature_ids_in_the_words_of_the_contract(api):
    answer = api.post("/v1/plans", {"planName": "P", "featureIds": [FeatureFactory().public_id, "feat_x"]})

    assert answer.body["error"] == "One or more feature IDs are invalid or do not belong to this merchant"
    assert not Plan.objects.exists()


def test_reuses_features_and_metrics_that_exist(api):
    calls = MetricFactory(event_name="api_calls")
    feature = FeatureFactory(slug="api-access", value="usage_based", display_name="Ours", metrics=[calls])

    plan = api.post("/v1/plans", ONE_SHOT).body["plan"]

    assert plan["features"][1]["id"] == feature.public_id
    assert plan["features"][1]["displayName"] == "Ours"
    assert list(feature.metrics.all()) == [calls]
    assert Metric.objects.count() == 1


def test_gives_existing_features_with_their_own_or_another_value(api):
    seats = FeatureFactory(slug="seats", value=5)
    calls = FeatureFactory(slug="calls", value="usage_based")
    sso = FeatureFactory(slug="sso", value=True)

    plan = api.post(
        "/v1/plans",
        {
            "planName": "P",
            "featureIds": [sso.public_id, seats.public_id, sso.public_id],
            "featureConfigs": [
                {"featureId": seats.public_id, "value": 20},
                {"slug": "calls", "overage": "allow"},
            ],
        },
    ).body["plan"]

    given = {feature["slug"]: (feature["featureValue"], feature["overage"]) for feature in plan["features"]}
    assert given == {"sso": (True, "block"), "seats": (20, "block"), "calls": ("usage_based", "allow")}
    assert plan["features"][2]["id"] == calls.public_id


def test_refuses_a_feature_that_is_configured_twice(api):
    feature = FeatureFactory(slug="calls")
    configs = [{"slug": "calls"}, {"featureId": feature.public_id}]

    answer = api.post("/v1/plans", {"planName": "P", "featureConfigs": configs})

    assert (answer.status, answer.body["error"]) == (400, "featureConfigs: names a feature twice.")
    assert not Plan.objects.exists()


def test_a_config_has_the_last_word_on_a_feature_of_the_one_shot_body(api):
    FeatureFactory(slug="api-access", value="usage_based")

    plan = api.post(
        "/v1/plans", ONE_SHOT | {"featureConfigs": [{"slug": "api-access", "value": 500, "overage": "allow"}]}
    ).body["plan"]

    assert [(given["slug"], given["featureValue"], given["overage"]) for given in plan["features"]] == [
        ("single-sign-on", True, "block"),
        ("api-access", 500, "allow"),
    ]


def test_a_config_of_text_is_a_number_where_usage_is_counted(api):
    counted = FeatureFactory(slug="api-access", value="usage_based", metrics=[MetricFactory()])
    configs = {"featureConfigs": [{"slug": counted.slug, "value": "500"}]}

    plan = api.post("/v1/plans", ONE_SHOT | configs).body["plan"]
    configs["featureConfigs"][0]["value"] = "plenty"
    answer = api.post("/v1/plans", ONE_SHOT | configs)

    assert plan["features"][-1]["featureValue"] == 500
    assert (answer.status, answer.body["details"][0]["path"]) == (400, "featureConfigs")


def test_a_repeated_request_makes_one_plan(api):
    first = api.post("/v1/plans", ONE_SHOT, idempotency_key="plan-1")
    second = api.post("/v1/plans", ONE_SHOT, idempotency_key="plan-1")

    assert first.body == second.body
    assert Plan.objects.count() == 1


def test_lists_plans_with_what_was_asked_for(api, now):
    older, newer = PlanFactory(), PlanFactory(created_at=now)
    PlanFactory(deleted_at=now)
    PlanFeatureFactory(plan=older, feature__slug="sso")
    PriceFactory(plan=older)
    PriceFactory(plan=older, deleted_at=now)

    bare = api.get("/v1/plans").body
    full = api.get("/v1/plans", {"includeFeatures": "true", "includePrices": "true", "includeTrials": "true"}).body

    assert [plan["id"] for plan in bare["plans"]] == [newer.public_id, older.public_id]
    assert not {"features", "prices"} & bare["plans"][0].keys()
    assert [feature["slug"] for feature in full["plans"][1]["features"]] == ["sso"]
    assert [price["planId"] for price in full["plans"][1]["prices"]] == [older.public_id]


def test_lists_with_a_constant_number_of_queries(api, django_assert_num_queries):
    for _ in range(3):
        plan = PlanFactory()
        PlanFeatureFactory(plan=plan)
        PriceFactory(plan=plan)

    # The key, plans, features, prices, components, the merchant (metrics only where usage is priced).
    with django_assert_num_queries(6):
        api.get("/v1/plans", {"includeFeatures": "true", "includePrices": "true"})


def test_shows_a_version_by_id_and_the_latest_by_stable_id(api):
    first = PlanFactory()
    second = PlanFactory(stable_plan_id=first.stable_plan_id, version_number=2)

    one = api.get(f"/v1/plans/{first.public_id}").body
    latest = api.get(f"/v1/plans/{first.stable_plan_id}").body
    every = api.get(f"/v1/plans/{first.stable_plan_id}", {"isStableId": "true"}).body

    assert [plan["id"] for plan in one["plans"]] == [first.public_id]
    assert one["plan"] == one["plans"][0]
    assert [plan["id"] for plan in latest["plans"]] == [second.public_id]
    assert [plan["versionNumber"] for plan in every["plans"]] == [1, 2]
    assert every["plan"]["id"] == second.public_id


@pytest.mark.parametrize("query", [{}, {"isStableId": "true"}])
def test_answers_404_for_an_unknown_plan(api, query):
    answer = api.get("/v1/plans/plan_int_x", query)

    assert (answer.status, answer.body["error"]) == (404, "Plan not found or access denied")


def test_a_deleted_plan_is_gone_for_buyers_and_stays_with_those_who_have_it(api):
    subscription = SubscriptionFactory()
    plan = subscription.plan

    deleted = api.delete(f"/v1/plans/{plan.public_id}")
    again = api.delete(f"/v1/plans/{plan.public_id}")
    bought = api.post("/v1/subscriptions", {"customerId": CustomerFactory().public_id, "planId": plan.public_id})

    assert deleted.body == {"success": True, "message": "Plan deleted successfully"}
    assert (again.status, bought.status) == (404, 404)
    kept = api.get(f"/v1/subscriptions/{subscription.public_id}").body["subscription"]
    assert (kept["planId"], kept["status"]) == (plan.public_id, "active")
