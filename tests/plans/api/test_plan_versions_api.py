"""POST /v1/plans/{id}: looks change in place, prices and features make a new version."""

from decimal import Decimal

import pytest

from plans.models import Plan, PlanFeature
from tests.factories import (
    FeatureFactory,
    MetricFactory,
    PlanFactory,
    PlanFeatureFactory,
    PriceFactory,
    UsageComponentFactory,
)


@pytest.fixture
def pro(db):
    """A plan with a feature and a price."""
    plan = PlanFactory(name="Pro", description="For teams")
    PlanFeatureFactory(plan=plan, feature__slug="seats", value=5, overage="allow")
    UsageComponentFactory(price=PriceFactory(plan=plan))
    return plan


def post(api, plan, body, **query):
    suffix = "".join(f"?{name}={value}" for name, value in query.items())
    return api.post(f"/v1/plans/{plan if isinstance(plan, str) else plan.public_id}{suffix}", body)


def test_cosmetic_fields_change_in_place(api, pro):
    answer = post(
        api,
        pro,
        {
            "planName": "Pro+",
            "planDescription": None,
            "commitMessage": "Renamed",
            "isVisibleInPricingTable": True,
            "isEnterprisePlan": True,
            "enterpriseRedirectUrl": "https://example.com/sales",
            "buttonText": "Talk to us",
        },
    )

    (plan,) = answer.body["plans"]
    assert (answer.status, answer.body["plan"]) == (200, plan)
    assert (plan["id"], plan["versionNumber"]) == (pro.public_id, 1)
    assert (plan["planName"], plan["planDescription"], plan["commitMessage"]) == ("Pro+", None, "Renamed")
    assert (plan["isVisibleInPricingTable"], plan["isEnterprisePlan"]) == (True, True)
    assert (plan["enterpriseRedirectUrl"], plan["buttonText"]) == ("https://example.com/sales", "Talk to us")
    assert Plan.objects.count() == 1


def test_what_is_not_sent_stays(api, pro):
    (plan,) = post(api, pro, {"buttonText": "Go"}).body["plans"]

    assert (plan["planName"], plan["planDescription"], plan["buttonText"]) == ("Pro", "For teams", "Go")


def test_prices_make_a_new_version_with_the_features_of_the_one_before(api, pro):
    price = pro.prices.get()

    answer = post(api, pro, {"priceIds": [price.public_id], "planName": "Pro 2", "commitMessage": "Dearer"})

    (plan,) = answer.body["plans"]
    assert answer.status == 200
    assert (plan["stablePlanId"], plan["versionNumber"], plan["planName"]) == (pro.stable_plan_id, 2, "Pro 2")
    assert plan["id"] != pro.public_id
    assert [(one["slug"], one["featureValue"], one["overage"]) for one in plan["features"]] == [("seats", 5, "allow")]
    (copied,) = plan["prices"]
    assert (copied["clonedFromPriceId"], copied["planId"]) == (price.public_id, plan["id"])
    before = api.get(f"/v1/prices/{price.public_id}").body["price"]
    assert copied["pricingData"] == before["pricingData"]
    pro.refresh_from_db()
    assert pro.name == "Pro"


def test_features_make_a_new_version_with_all_its_prices(api, pro):
    exports = FeatureFactory(slug="exports", value=True)
    seats = pro.plan_features.get().feature

    (plan,) = post(api, pro, {"featureIds": [seats.public_id, exports.public_id]}).body["plans"]

    given = [(one["slug"], one["featureValue"], one["overage"]) for one in plan["features"]]
    assert given == [("seats", 5, "allow"), ("exports", True, "block")]
    assert [price["clonedFromPriceId"] for price in plan["prices"]] == [pro.prices.get().public_id]


def test_a_configured_feature_keeps_what_is_not_said_of_it(api, pro):
    (plan,) = post(api, pro, {"featureConfigs": [{"slug": "seats", "value": 8}]}).body["plans"]

    assert [(one["featureValue"], one["overage"]) for one in plan["features"]] == [(8, "allow")]


def test_a_stable_id_is_changed_at_its_latest_version(api, pro):
    second = PlanFactory(stable_plan_id=pro.stable_plan_id, version_number=2, name="Second")

    (plan,) = post(api, pro.stable_plan_id, {"featureIds": []}, isStableId="true").body["plans"]
    (renamed,) = post(api, pro.stable_plan_id, {"planName": "New"}, isStableId="true").body["plans"]

    assert (plan["versionNumber"], plan["planName"]) == (3, "Second")
    assert (renamed["id"], renamed["planName"]) == (plan["id"], "New")
    second.refresh_from_db()
    assert second.name == "Second"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"featureIds": ["feat_x"]}, "featureIds[0]"),
        ({"featureConfigs": [{"slug": "nowhere"}]}, "featureConfigs[0]"),
    ],
)
def test_an_unknown_feature_is_refused_in_the_words_of_the_contract(api, pro, body, path):
    answer = post(api, pro, body)

    assert answer.status == 400
    assert answer.body["error"] == "One or more feature IDs are invalid or do not belong to this merchant"
    assert [problem["path"] for problem in answer.body["details"]] == [path]
    assert Plan.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"priceIds": ["price_x"]}, "priceIds[0]"),
        ({"priceIds": "price_x"}, "priceIds"),
        ({"planName": ""}, "planName"),
        ({"planName": "x" * 201}, "planName"),
        ({"enterpriseRedirectUrl": "javascript:alert(1)"}, "enterpriseRedirectUrl"),
        ({"isVisibleInPricingTable": "yes"}, "isVisibleInPricingTable"),
        ({"monthlyPrice": 0}, "monthlyPrice"),
        ({"currency": "EUR"}, "currency"),
        ({"features": [{"slug": "sso"}]}, "features"),
        ({"trialDays": 14}, "trialDays"),
        ({"featureConfigs": [{"slug": "seats", "overage": "perhaps"}]}, "featureConfigs[0].overage"),
        ({"featureConfigs": [{"slug": "seats"}, {"slug": "seats"}]}, "featureConfigs"),
    ],
)
def test_what_cannot_be_is_refused_at_its_field(api, pro, body, path):
    answer = post(api, pro, body)

    assert answer.status == 400
    assert [problem["path"] for problem in answer.body["details"]] == [path]
    assert Plan.objects.get().name == "Pro"


def test_a_negative_limit_of_usage_is_refused(api, pro):
    counted = FeatureFactory(slug="calls", value="usage_based", metrics=[MetricFactory()])

    answer = post(api, pro, {"featureConfigs": [{"featureId": counted.public_id, "value": Decimal(-1)}]})

    assert answer.status == 400
    assert (Plan.objects.count(), PlanFeature.objects.count()) == (1, 1)


@pytest.mark.parametrize("query", [{}, {"isStableId": "true"}])
def test_an_unknown_plan_is_not_found(api, db, query):
    answer = post(api, "plan_int_x", {"planName": "Pro"}, **query)

    assert (answer.status, answer.body["error"]) == (404, "Plan not found or access denied")


def test_a_body_that_says_nothing_changes_nothing(api, pro):
    answer = post(api, pro, {"showInPricingTable": False, "isTrialPlan": False, "features": []})

    assert (answer.status, Plan.objects.get().name) == (200, "Pro")
