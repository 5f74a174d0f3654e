"""PUT and DELETE /v1/features/{id}, POST /v1/features/checkSlug."""

from datetime import UTC, datetime, timedelta

import pytest

from billing.services.subscribe import subscribe
from config.keys import create_api_key
from plans.models import Feature, PlanFeature, SubscriptionFeature, SubscriptionItem
from tests.conftest import ApiClient
from tests.factories import CustomerFactory, FeatureFactory, MetricFactory, PlanFeatureFactory
from tests.pro_plan import bills, make_pro_plan, sweep, use

NOON = datetime(2025, 3, 10, 12, tzinfo=UTC)
MARCH_1 = datetime(2025, 3, 1, tzinfo=UTC)
APRIL_1 = datetime(2025, 4, 1, tzinfo=UTC)


def sold(value, **terms):
    """A customer since 1 March with a plan whose feature has this value."""
    pro = make_pro_plan(quota=None, **terms)
    Feature.objects.filter(pk=pro.feature.pk).update(value=value)
    PlanFeature.objects.filter(plan=pro.plan).update(value=value)
    customer = CustomerFactory()
    subscribe(at=MARCH_1, customer=customer, plan=pro.plan)
    return pro, customer


def checked(api, customer, slug):
    return api.get(f"/v1/entitlements/{customer.public_id}/feature/{slug}").body


def test_changes_only_what_is_sent(api):
    feature = FeatureFactory(slug="api-calls", description="Calls", value=3)

    answer = api.put("/v1/features/api-calls", {"displayName": "API calls"})

    body = answer.body["feature"]
    assert (answer.status, body["displayName"], body["description"]) == (200, "API calls", "Calls")
    assert (body["slug"], body["featureValue"], body["id"]) == ("api-calls", 3, feature.public_id)
    assert api.get("/v1/features/api-calls").body == answer.body


def test_a_new_slug_is_that_of_what_was_sold_too(api):
    pro, customer = sold(100)

    api.put(f"/v1/features/{pro.feature.public_id}", {"slug": "renamed"})

    assert checked(api, customer, "renamed")["limit"] == 100
    assert checked(api, customer, pro.feature.slug)["source"] == "default"


def test_a_new_value_goes_on_to_plans_and_to_what_was_sold(api):
    pro, customer = sold(100)
    use(customer, pro.metric, 120, NOON - timedelta(days=1))

    api.put(f"/v1/features/{pro.feature.slug}", {"featureValue": 150})

    assert (PlanFeature.objects.get().value, SubscriptionFeature.objects.get().value) == (150, 150)
    body = checked(api, customer, pro.feature.slug)
    assert (body["limit"], body["remaining"], body["source"]) == (150, 30, "plan")


def test_text_of_a_number_is_a_limit_too(api):
    pro, customer = sold(100)

    api.put(f"/v1/features/{pro.feature.slug}", {"featureValue": "150"})
    assert checked(api, customer, pro.feature.slug)["limit"] == 150

    answer = api.put(f"/v1/features/{pro.feature.slug}", {"featureValue": "plenty"})
    assert (answer.status, answer.body["details"][0]["path"]) == (400, "featureValue")


def test_a_feature_of_text_that_gets_a_metric_gives_its_number(api):
    feature = FeatureFactory(value="100")
    PlanFeatureFactory(feature=feature, value="100")

    body = api.put(f"/v1/features/{feature.slug}", {"metricIds": [MetricFactory().public_id]}).body

    assert (body["feature"]["featureValue"], PlanFeature.objects.get().value) == (100, 100)


def test_a_new_value_leaves_the_invoice_as_it_was_sold(api):
    pro, customer = sold(100)
    use(customer, pro.metric, 120, NOON - timedelta(days=1))

    api.put(f"/v1/features/{pro.feature.slug}", {"featureValue": 0})
    sweep(APRIL_1 + timedelta(hours=2))

    # 100 were sold with the plan, so 20 cost 5 cents each.
    assert bills(customer)[-1] == ("issued", 3_000, [("fixed", 1, 2_900), ("usage", 20, 100)])


def test_a_new_value_leaves_overrides_and_what_plans_say_on_their_own(api):
    pro, customer = sold(100)
    own = PlanFeatureFactory(feature=pro.feature, value=777)
    subscription = SubscriptionFeature.objects.get().subscription
    api.put(f"/v1/subscriptions/{subscription.public_id}/features/{pro.feature.slug}", {"value": 100, "reason": "r"})

    api.put(f"/v1/features/{pro.feature.slug}", {"featureValue": 150})

    own.refresh_from_db()
    assert own.value == 777
    assert checked(api, customer, pro.feature.slug)["limit"] == 100


@pytest.mark.parametrize(("old", "new"), [(True, False), (False, True), (3, 4), ("a", "b"), (1, True)])
def test_a_value_of_any_kind_goes_on(api, old, new):
    feature = FeatureFactory(value=old)
    PlanFeatureFactory(feature=feature)

    api.put(f"/v1/features/{feature.slug}", {"featureValue": new})

    value = PlanFeature.objects.get().value
    assert (value, type(value)) == (new, type(new))


def test_metric_ids_replace_the_set(api):
    kept, gone, new = MetricFactory(), MetricFactory(), MetricFactory()
    feature = FeatureFactory(value="usage_based", metrics=[kept, gone])

    answer = api.put(f"/v1/features/{feature.slug}", {"metricIds": [new.public_id, kept.public_id]})

    assert [metric["id"] for metric in answer.body["metricIds"]] == [kept.public_id, new.public_id]


def test_a_metric_that_comes_later_is_counted_in_the_periods_of_those_who_have_the_feature(api):
    pro, customer = sold(100)
    later = MetricFactory()
    use(customer, later, 30, NOON - timedelta(days=2))

    api.put(f"/v1/features/{pro.feature.slug}", {"metricIds": [later.public_id]})

    body = checked(api, customer, pro.feature.slug)
    assert (body["usage"], body["limit"], body["remaining"]) == (30, 100, 70)


def test_what_a_feature_no_longer_measures_is_billed_all_the_same(api):
    pro, customer = sold("usage_based")
    use(customer, pro.metric, 40, NOON - timedelta(days=1))

    api.put(f"/v1/features/{pro.feature.slug}", {"metricIds": []})
    sweep(APRIL_1 + timedelta(hours=2))

    assert bills(customer)[-1] == ("issued", 3_100, [("fixed", 1, 2_900), ("usage", 40, 200)])


def test_takes_back_its_own_slug_and_refuses_anothers(api):
    FeatureFactory(slug="taken")
    FeatureFactory(slug="mine")

    assert api.put("/v1/features/mine", {"slug": "mine"}).status == 200
    answer = api.put("/v1/features/mine", {"slug": "taken"})

    assert (answer.status, answer.body["error"]) == (409, "Feature with this slug already exists")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("slug", "No"),
        ("slug", None),
        ("slug", 5),
        ("displayName", ""),
        ("displayName", None),
        ("featureValue", None),
        ("featureValue", []),
        ("featureValue", -1),
        ("featureValue", 10**20),
        ("isOverrideFeature", "true"),
        ("isOverrideFeature", None),
        ("metricIds", "met_1"),
        ("metricIds", None),
    ],
)
def test_refuses_a_field_of_the_wrong_kind_and_changes_nothing(api, field, value):
    feature = FeatureFactory(value=3, display_name="Old", metrics=[MetricFactory()])

    answer = api.put(f"/v1/features/{feature.slug}", {"description": "new", field: value})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, field)
    feature.refresh_from_db()
    assert (feature.display_name, feature.description, feature.value) == ("Old", "", 3)


def test_refuses_an_unknown_metric(api):
    feature = FeatureFactory()

    answer = api.put(f"/v1/features/{feature.slug}", {"metricIds": ["met_x"]})

    assert (answer.status, answer.body["error"]) == (400, "metricIds[0]: is not the id of a metric.")


def test_refuses_a_metric_for_a_negative_number(api):
    feature = FeatureFactory(value=-1)

    answer = api.put(f"/v1/features/{feature.slug}", {"metricIds": [MetricFactory().public_id]})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "featureValue")
    assert not feature.metrics.exists()


def test_a_deleted_feature_is_gone_from_plans_lists_and_checks(api):
    pro, customer = sold(100)

    answer = api.delete(f"/v1/features/{pro.feature.public_id}")

    assert answer.body == {"success": True, "message": "Feature and all its references deleted successfully"}
    assert api.get(f"/v1/features/{pro.feature.slug}").status == 404
    assert checked(api, customer, pro.feature.slug)["source"] == "default"
    assert api.get(f"/v1/entitlements/{customer.public_id}").body == {"entitlements": []}
    assert not PlanFeature.objects.exists()
    subscription = api.get("/v1/subscriptions", {"includeFeatures": "true"}).body["subscriptions"][0]
    assert subscription["subscriptionFeatures"] == []


def test_usage_of_a_deleted_feature_stays_metered_and_billed(api):
    pro, customer = sold(100)
    use(customer, pro.metric, 120, NOON - timedelta(days=1))

    api.delete(f"/v1/features/{pro.feature.slug}")
    sweep(APRIL_1 + timedelta(hours=2))

    assert SubscriptionItem.objects.get(metric=pro.metric).feature_units == 100
    assert bills(customer)[-1] == ("issued", 3_000, [("fixed", 1, 2_900), ("usage", 20, 100)])


def test_a_feature_of_the_same_slug_that_comes_after_is_another_one(api):
    pro, customer = sold(100)
    api.delete(f"/v1/features/{pro.feature.slug}")

    FeatureFactory(slug=pro.feature.slug)

    assert checked(api, customer, pro.feature.slug)["entitled"] is False


def test_answers_404_for_an_unknown_or_deleted_feature(api):
    deleted = FeatureFactory(deleted_at=NOON)

    for identifier in ("feat_x", deleted.public_id, deleted.slug):
        assert api.put(f"/v1/features/{identifier}", {"displayName": "A"}).status == 404
        assert api.delete(f"/v1/features/{identifier}").status == 404


@pytest.mark.parametrize(("slug", "conflict"), [("taken", True), ("free", False), ("deleted", False)])
def test_tells_whether_a_slug_is_taken(api, slug, conflict):
    FeatureFactory(slug="taken")
    FeatureFactory(slug="deleted", deleted_at=NOON)

    assert api.post("/v1/features/checkSlug", {"slug": slug}).body == {"conflict": conflict}


@pytest.mark.parametrize("body", [{}, {"slug": None}, {"slug": 5}, {"slug": "ab"}, {"slug": "A B"}, {"slug": "x" * 51}])
def test_refuses_to_look_for_what_cannot_be_a_slug(api, body):
    answer = api.post("/v1/features/checkSlug", body)

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "slug")


@pytest.mark.django_db
def test_a_key_that_may_read_features_may_look_for_a_slug():
    _, key = create_api_key(name="R", key_type="secret", scopes=["features:read"], at=NOON)

    assert ApiClient(key).post("/v1/features/checkSlug", {"slug": "free"}).status == 200
    assert ApiClient(key).put("/v1/features/free", {}).status == 403
