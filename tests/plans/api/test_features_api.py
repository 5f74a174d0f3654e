"""/v1/features: create, get, list."""

from decimal import Decimal

import pytest

from plans.models import Feature, Merchant
from tests.factories import FeatureFactory, MetricFactory

NOON = "2025-03-10T12:00:00.000Z"
VALID = {"slug": "api-calls", "displayName": "API calls", "featureValue": "usage_based"}


def test_creates_a_feature_joined_to_metrics(api):
    metric = MetricFactory(name="Calls", event_name="api-calls")

    answer = api.post("/v1/features", VALID | {"description": "Calls", "metricIds": [metric.public_id]})

    feature = Feature.objects.get()
    assert answer.status == 200
    assert answer.body == {
        "feature": {
            "id": feature.public_id,
            "merchantId": Merchant.objects.get().public_id,
            "slug": "api-calls",
            "displayName": "API calls",
            "description": "Calls",
            "featureType": "string",
            "featureValue": "usage_based",
            "isOverrideFeature": False,
            "createdAt": NOON,
            "updatedAt": NOON,
            "deletedAt": None,
        },
        "metricIds": [
            {
                "id": metric.public_id,
                "name": "Calls",
                "description": None,
                "queryType": "simple",
                "eventName": "api-calls",
                "aggregationType": "SUM",
                "valueType": "NUMERIC",
            }
        ],
    }
    assert api.get(f"/v1/features/{feature.public_id}").body == answer.body
    assert api.get("/v1/features/api-calls").body == answer.body


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "boolean"),
        (False, "boolean"),
        (0, "number"),
        (123_456_789_012_345, "number"),
        (Decimal("0.5"), "number"),
        (-1, "number"),
        ("gold", "string"),
        ("", "string"),
    ],
)
def test_derives_the_type_from_the_value(api, value, kind):
    created = api.post("/v1/features", VALID | {"featureValue": value}).body["feature"]

    assert (created["featureValue"], created["featureType"]) == (value, kind)
    assert api.get("/v1/features/api-calls").body["feature"] == created


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("slug", None),
        ("slug", 5),
        ("displayName", ""),
        ("displayName", "x" * 201),
        ("featureValue", None),
        ("featureValue", []),
        ("featureValue", {"a": 1}),
        ("featureValue", 1_234_567_890_123_456),
        ("featureValue", 10**390),
        ("featureValue", Decimal("0.1234567890123456")),
        ("featureValue", "x" * 1001),
        ("isOverrideFeature", "false"),
        ("metricIds", "met_1"),
        ("metricIds", {}),
    ],
)
def test_refuses_a_field_of_the_wrong_kind_and_writes_nothing(api, field, value):
    answer = api.post("/v1/features", VALID | {field: value})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, field)
    assert not Feature.objects.exists()


@pytest.mark.parametrize(("text", "number"), [("100", 100), ("0", 0), ("2.50", Decimal("2.5")), ("usage_based",) * 2])
def test_text_of_a_number_is_the_number_where_usage_is_counted(api, text, number):
    made = api.post("/v1/features", VALID | {"featureValue": text, "metricIds": [MetricFactory().public_id]}).body

    assert made["feature"]["featureValue"] == number
    assert made["feature"]["featureType"] == ("string" if number == "usage_based" else "number")


@pytest.mark.parametrize("text", ["many", "", "100 GB", "1e3", "-5", "NaN", "١٠", " 5", "9" * 16])
def test_other_text_is_refused_where_usage_is_counted(api, text):
    answer = api.post("/v1/features", VALID | {"featureValue": text, "metricIds": [MetricFactory().public_id]})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "featureValue")
    assert not Feature.objects.exists()


def test_refuses_a_missing_value(api):
    answer = api.post("/v1/features", {"slug": "abc", "displayName": "Abc"})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "featureValue")


@pytest.mark.parametrize("slug", ["ab", "x" * 51, "API", "api_calls", "api calls", "ａpi", "api\ncalls"])
def test_refuses_a_slug_that_cannot_be_one(api, slug):
    answer = api.post("/v1/features", VALID | {"slug": slug})

    assert answer.status == 400
    assert answer.body["error"] == "Slug must contain only lowercase letters, numbers, and hyphens"
    assert answer.body["details"][0]["path"] == "slug"


def test_refuses_a_slug_in_use_but_not_that_of_a_deleted_feature(api, now):
    FeatureFactory(slug="api-calls", deleted_at=now)
    assert api.post("/v1/features", VALID).status == 200

    answer = api.post("/v1/features", VALID)

    assert (answer.status, answer.body["error"]) == (409, "Feature with this slug already exists")


def test_refuses_an_unknown_metric(api):
    answer = api.post("/v1/features", VALID | {"metricIds": [MetricFactory().public_id, "met_x"]})

    assert (answer.status, answer.body["error"]) == (400, "metricIds[1]: is not the id of a metric.")
    assert not Feature.objects.exists()


def test_lists_the_newest_first_and_searches_case_sensitively(api, now):
    by_slug = FeatureFactory(slug="api-calls", display_name="Calls")
    by_name = FeatureFactory(slug="other", display_name="The api", created_at=now)
    FeatureFactory(slug="third", display_name="API")
    FeatureFactory(slug="percent", display_name="100%")

    found = api.get("/v1/features", {"search": "api"}).body

    assert list(found) == ["features"]
    assert [feature["id"] for feature in found["features"]] == [by_name.public_id, by_slug.public_id]
    assert [feature["slug"] for feature in api.get("/v1/features", {"search": "%"}).body["features"]] == ["percent"]
    assert len(api.get("/v1/features").body["features"]) == 4


def test_answers_404_for_an_unknown_or_deleted_feature(api, now):
    deleted = FeatureFactory(deleted_at=now)

    for identifier in ("feat_x", deleted.public_id, deleted.slug):
        answer = api.get(f"/v1/features/{identifier}")
        assert (answer.status, answer.body["error"]) == (404, "Feature not found or access denied")
