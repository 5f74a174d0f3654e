"""The doors of /v1/entitlements."""

import pytest
from django.utils import timezone

from billing.services.subscribe import subscribe
from tests.factories import CustomerFactory
from tests.pro_plan import make_pro_plan, use


@pytest.fixture
def pro(db):
    return make_pro_plan()


@pytest.fixture
def customer(pro):
    customer = CustomerFactory(external_customer_id="team/7")
    subscribe(at=timezone.now(), customer=customer, plan=pro.plan)
    use(customer, pro.metric, 2_500, timezone.now())
    return customer


def test_answers_the_contracts_object_with_the_live_numbers(api, pro, customer):
    answer = api.get(f"/v1/entitlements/{customer.public_id}/feature/{pro.feature.slug}")

    assert answer.status == 200
    body = answer.body
    expiry = body["creditInfo"].pop("nextExpiryDate")
    assert expiry.endswith("T00:00:00.000Z")
    assert body == {
        "entitled": True,
        "feature": {"slug": pro.feature.slug, "name": pro.feature.display_name, "value": "usage_based"},
        "source": "credits",
        "name": pro.feature.display_name,
        "usage": 2_500,
        "limit": 10_000,
        "remaining": 7_500,
        "overageAllowed": False,
        "creditInfo": {"creditAllowance": 10_000, "creditsRemaining": 7_500},
        "usages": [{"metricId": pro.metric.public_id, "usage": 2_500}],
    }


def test_takes_an_external_id_with_a_slash_in_it(api, pro, customer):
    one = api.get(f"/v1/entitlements/team/7/feature/{pro.feature.slug}", {"isExtCustId": "true"})
    all_of_them = api.get("/v1/entitlements/team/7", {"isExtCustId": "true"})

    assert one.body["remaining"] == 7_500
    assert [entry["feature"]["slug"] for entry in all_of_them.body["entitlements"]] == [pro.feature.slug]


def test_a_batch_leaves_out_what_says_no(api, pro, customer):
    answer = api.post(
        f"/v1/entitlements/{customer.public_id}/features", {"featureSlugs": ["unknown-thing", pro.feature.slug]}
    )

    assert [entry["feature"]["slug"] for entry in answer.body["entitlements"]] == [pro.feature.slug]


def test_an_unknown_slug_is_a_plain_no(api, customer):
    answer = api.get(f"/v1/entitlements/{customer.public_id}/feature/unknown-thing")

    assert (answer.status, answer.body["entitled"], answer.body["source"]) == (200, False, "default")
    assert answer.body["creditInfo"] is None


def test_an_unknown_customer_is_404(api, pro):
    answer = api.get(f"/v1/entitlements/cus_unknown/feature/{pro.feature.slug}")

    assert (answer.status, answer.body["code"]) == (404, "customer_not_found")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"featureSlugs": []}, "featureSlugs array cannot be empty"),
        ({}, "featureSlugs: must be a list of 1 to 100 slugs."),
        ({"featureSlugs": "api"}, "featureSlugs: must be a list of 1 to 100 slugs."),
        ({"featureSlugs": [1]}, "featureSlugs[0]: must be lowercase letters, numbers and hyphens."),
        ({"featureSlugs": ["API"]}, "featureSlugs[0]: must be lowercase letters, numbers and hyphens."),
    ],
)
def test_refuses_a_batch_that_names_no_slugs(api, customer, body, sentence):
    answer = api.post(f"/v1/entitlements/{customer.public_id}/features", body)

    assert (answer.status, answer.body["error"]) == (400, sentence)


def test_refuses_a_query_boolean_that_is_none(api, customer):
    answer = api.get(f"/v1/entitlements/{customer.public_id}", {"isExtCustId": "yes"})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "isExtCustId")
