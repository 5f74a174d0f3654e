"""The doors of /v1/credits/definitions."""

import pytest
from django.utils import timezone

from credits.models import CreditDefinition, CreditGrant
from tests.factories import FeatureFactory, MetricFactory, PriceFactory, UsageComponentFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def component():
    component = UsageComponentFactory(component_id="comp_usage_xyz")
    FeatureFactory(slug="api-calls", value="usage_based", metrics=[component.metric])
    return component


@pytest.fixture
def guide(component):
    """The body of the guide's curl."""
    return {
        "scope": "plan",
        "applicationType": "usage",
        "planId": component.price.plan.public_id,
        "priceId": component.price.public_id,
        "priceComponentId": "comp_usage_xyz",
        "name": "Monthly API quota",
        "defaultAmount": 10000,
        "refillAmount": 10000,
        "renewOnBilling": True,
        "billingVisible": True,
    }


def test_creates_a_definition_by_the_guides_curl(api, guide):
    answer = api.post("/v1/credits/definitions", guide)

    assert answer.status == 200
    definition = answer.body["definition"]
    assert definition["id"].startswith("cred_def_")
    assert {name: definition[name] for name in guide} == guide
    assert (definition["isActive"], definition["expiryDays"], definition["deletedAt"]) == (True, None, None)


def test_the_older_path_is_the_same_door_and_needs_no_scope(api, guide):
    del guide["scope"]
    created = api.post("/v1/credit-definitions", guide).body["definition"]

    found = api.get(f"/v1/credit-definitions/{created['id']}").body["definition"]

    assert (found["scope"], found["id"]) == ("plan", created["id"])


def test_lists_definitions_by_scope(api, guide):
    api.post("/v1/credits/definitions", guide)

    assert len(api.get("/v1/credits/definitions", {"scope": "plan"}).body["definitions"]) == 1
    assert api.get("/v1/credits/definitions", {"scope": "merchant"}).body["definitions"] == []


def test_links_a_definition_by_the_features_slug(api, component):
    answer = api.post(
        "/v1/credits/definitions",
        {
            "scope": "plan",
            "applicationType": "usage",
            "planId": component.price.plan.public_id,
            "featureSlug": "api-calls",
            "name": "Quota",
            "defaultAmount": 5,
        },
    )

    assert (answer.status, answer.body["definition"]["featureSlug"]) == (200, "api-calls")
    assert CreditDefinition.objects.get().metric == component.metric


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"scope": "galaxy"}, "scope"),
        ({"applicationType": "magic"}, "applicationType"),
        ({"applicationType": "monetary", "priceComponentId": None}, "currency"),
        ({"applicationType": "monetary", "currency": "dollars"}, "currency"),
        ({"applicationType": "monetary", "currency": "EUR", "priceComponentId": None}, "currency"),
        ({"applicationType": "monetary", "currency": "USD"}, "priceComponentId"),
        ({"applicationType": "monetary", "currency": "USD", "billingVisible": False}, "billingVisible"),
        ({"billingVisible": "yes"}, "billingVisible"),
        ({"isActive": 1}, "isActive"),
        ({"expiryDays": 0}, "expiryDays"),
        ({"expiryDays": 1.5}, "expiryDays"),
        ({"priority": "high"}, "priority"),
        ({"rollover": {"cap": 0}}, "rollover.cap"),
        ({"rollover": {"expiresAfterDays": 0}}, "rollover.expiresAfterDays"),
        ({"rollover": {"keeps": 5}}, "rollover.keeps"),
        ({"rollover": "all"}, "rollover"),
        ({"rollover": {}, "renewOnBilling": False}, "rollover"),
        ({"defaultAmount": 0}, "defaultAmount"),
        ({"defaultAmount": -5}, "defaultAmount"),
        ({"defaultAmount": "many"}, "defaultAmount"),
        ({"defaultAmount": 10**30}, "defaultAmount"),
        ({"refillAmount": 0}, "refillAmount"),
        ({"planId": None}, "planId"),
        ({"priceComponentId": "comp_of_another_price"}, "priceComponentId"),
        ({"priceComponentId": None}, "priceComponentId"),
        ({"expiryDays": 40}, "expiryDays"),
        ({"refillRrule": "FREQ=DAILY"}, "refillRrule"),
        ({"refillRrule": "FREQ=SECONDLY", "renewOnBilling": False}, "refillRrule"),
        ({"refillRrule": 7, "renewOnBilling": False}, "refillRrule"),
        ({"renewOnBilling": "perhaps"}, "renewOnBilling"),
    ],
)
def test_refuses_a_definition_at_its_field_and_writes_nothing(api, guide, change, path):
    if change == {"planId": None}:
        change["priceId"] = None
    answer = api.post("/v1/credits/definitions", guide | change)

    assert answer.status == 400
    assert answer.body["details"][0]["path"] == path
    assert not CreditDefinition.objects.exists()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"planId": "plan_int_unknown"}, "plan_not_found"),
        ({"priceId": "price_unknown"}, "price_not_found"),
        ({"featureSlug": "unknown-thing"}, "feature_not_found"),
    ],
)
def test_refuses_links_to_what_does_not_exist(api, guide, change, code):
    answer = api.post("/v1/credits/definitions", guide | change)

    assert (answer.status, answer.body["code"]) == (404, code)


def test_refuses_the_price_of_another_plan(api, guide):
    other = UsageComponentFactory(component_id="comp_usage_xyz")

    answer = api.post("/v1/credits/definitions", guide | {"priceId": other.price.public_id})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "priceId")


def test_refuses_a_feature_that_counts_nothing(api, guide):
    FeatureFactory(slug="switch")
    answer = api.post("/v1/credits/definitions", guide | {"priceComponentId": None, "featureSlug": "switch"})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "featureSlug")


def test_a_definition_made_later_grants_from_the_next_renewal(api, customer, pro):
    before = CreditGrant.objects.filter(customer=customer).count()
    component = pro.price.components.get(kind="usage")
    answer = api.post(
        "/v1/credits/definitions",
        {
            "scope": "plan",
            "applicationType": "usage",
            "planId": pro.plan.public_id,
            "priceId": pro.price.public_id,
            "priceComponentId": component.component_id,
            "name": "Extra",
            "defaultAmount": 100,
            "refillAmount": 50,
            "renewOnBilling": True,
        },
    )

    added = CreditGrant.objects.filter(definition__public_id=answer.body["definition"]["id"])
    assert CreditGrant.objects.filter(customer=customer).count() == before + 1
    assert [(grant.initial_amount, grant.starts_at > timezone.now()) for grant in added] == [(50, True)]


def test_refuses_a_feature_that_the_plan_neither_gives_nor_prices(api, guide):
    FeatureFactory(slug="foreign", value="usage_based", metrics=[MetricFactory()])
    answer = api.post("/v1/credits/definitions", guide | {"priceComponentId": None, "featureSlug": "foreign"})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "featureSlug")
    assert not CreditDefinition.objects.exists()


def test_asks_for_the_price_when_prices_disagree_on_a_component(api, guide, component):
    other = PriceFactory(plan=component.price.plan)
    UsageComponentFactory(price=other, component_id="comp_usage_xyz")
    answer = api.post("/v1/credits/definitions", guide | {"priceId": None})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "priceId")


def test_creates_refills_rollover_and_money_as_they_were_sent(api, guide):
    calendar = {"renewOnBilling": False, "refillRrule": "FREQ=DAILY", "expiryDays": 3}
    rollover = {"rollover": {"cap": 500, "expiresAfterDays": None}}
    money = {
        "applicationType": "monetary", "currency": "usd", "defaultAmount": 5000, "refillAmount": None,
        "priceComponentId": None,
    }  # fmt: skip
    del guide["billingVisible"]

    for change, sent_back in ((calendar, {}), (rollover, {}), (money, {"currency": "USD", "billingVisible": True})):
        answer = api.post("/v1/credits/definitions", guide | change)

        assert answer.status == 200, answer
        definition = answer.body["definition"]
        wanted = guide | change | sent_back
        assert {name: definition[name] for name in wanted} == wanted
        assert api.get(f"/v1/credits/definitions/{definition['id']}").body["definition"] == definition


def test_absent_terms_of_rollover_are_no_limits(api, guide):
    answer = api.post("/v1/credits/definitions", guide | {"rollover": {}})

    assert answer.body["definition"]["rollover"] == {"cap": None, "expiresAfterDays": None}


@pytest.mark.parametrize("query", [{"scope": "galaxy"}, {"applicationType": "magic"}, {"limit": "0"}, {"cursor": "x"}])
def test_refuses_a_list_of_definitions_that_nobody_can_mean(api, query):
    answer = api.get("/v1/credits/definitions", query)

    assert (answer.status, answer.body["details"][0]["path"]) == (400, next(iter(query)))


def test_pages_through_definitions(api, guide):
    made = [api.post("/v1/credits/definitions", guide | {"name": f"{n}"}).body["definition"]["id"] for n in range(3)]

    first = api.get("/v1/credits/definitions", {"limit": "2"}).body
    rest = api.get("/v1/credits/definitions", {"limit": "2", "cursor": first["nextCursor"]}).body

    assert [row["id"] for row in first["definitions"] + rest["definitions"]] == made[::-1]
    assert (first["hasMore"], rest["hasMore"], rest["nextCursor"]) == (True, False, None)


class TestUpdating:
    @pytest.mark.parametrize("path", ["credits/definitions", "credit-definitions"])
    def test_changes_what_is_sent_and_leaves_the_rest(self, api, guide, path):
        made = api.post("/v1/credits/definitions", guide).body["definition"]

        answer = api.post(f"/v1/{path}/{made['id']}/update", {"defaultAmount": 7, "refillAmount": None})

        assert answer.status == 200
        changed = answer.body["definition"]
        assert changed | {"updatedAt": None} == made | {"defaultAmount": 7, "refillAmount": None, "updatedAt": None}

    def test_takes_the_whole_definition_back(self, api, guide):
        made = api.post("/v1/credits/definitions", guide).body["definition"]

        answer = api.post(f"/v1/credits/definitions/{made['id']}/update", made)

        assert answer.status == 200
        assert answer.body["definition"] | {"updatedAt": None} == made | {"updatedAt": None}

    def test_reaches_running_subscriptions_when_asked(self, api, pro, customer):
        address = f"/v1/credits/definitions/{pro.quota.public_id}/update"

        api.post(address, {"defaultAmount": 7})
        assert {grant.initial_amount + grant.adjusted_amount for grant in CreditGrant.objects.all()} == {10_000}
        api.post(address, {"defaultAmount": 8, "applyToExisting": True})

        ahead = CreditGrant.objects.latest("starts_at")
        assert ahead.initial_amount + ahead.adjusted_amount == 8

    @pytest.mark.parametrize(
        ("change", "path"),
        [
            ({"name": ""}, "name"),
            ({"name": None}, "name"),
            ({"defaultAmount": None}, "defaultAmount"),
            ({"defaultAmount": 0}, "defaultAmount"),
            ({"renewOnBilling": None}, "renewOnBilling"),
            ({"isActive": "no"}, "isActive"),
            ({"applyToExisting": "yes"}, "applyToExisting"),
            ({"billingVisible": False}, "billingVisible"),
            ({"currency": "USD"}, "currency"),
            ({"scope": "merchant"}, "scope"),
            ({"expiryDays": 32}, "expiryDays"),
            ({"rollover": {"cap": -1}}, "rollover.cap"),
            ({"renewOnBilling": False, "refillRrule": "FREQ=WEEKLY", "applyToExisting": True}, "applyToExisting"),
        ],
    )
    def test_refuses_at_the_field_and_changes_nothing(self, api, pro, customer, change, path):
        before = CreditDefinition.objects.values().get()

        answer = api.post(f"/v1/credits/definitions/{pro.quota.public_id}/update", change)

        assert (answer.status, answer.body["details"][0]["path"]) == (400, path)
        assert CreditDefinition.objects.values().get() == before

    def test_of_what_is_not_there_is_not_found(self, api):
        for verb in ("update", "delete"):
            answer = api.post(f"/v1/credits/definitions/cred_def_unknown/{verb}", {"name": ""})

            assert (answer.status, answer.body["error"]) == (404, "Credit definition not found")


@pytest.mark.parametrize("path", ["credits/definitions", "credit-definitions"])
def test_deletes_a_definition_softly(api, pro, customer, path):
    address = f"/v1/{path}/{pro.quota.public_id}"
    answer = api.post(f"{address}/delete")

    assert answer.status == 200
    assert answer.body["definition"]["deletedAt"] is not None
    assert api.get(address).status == 404
    assert api.post(f"{address}/delete").status == 404
    assert api.get("/v1/credits/definitions").body["definitions"] == []
    assert CreditGrant.objects.filter(revoked_at=None).count() == 2


def test_refuses_a_feature_that_does_not_count_what_the_component_does(api, guide):
    other = FeatureFactory(slug="uploads", metrics=[MetricFactory()])

    answer = api.post("/v1/credits/definitions", guide | {"featureId": other.public_id})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "featureId")
    assert not CreditDefinition.objects.exists()


def test_takes_the_feature_that_counts_what_the_component_does(api, guide):
    answer = api.post("/v1/credits/definitions", guide | {"featureSlug": "api-calls"})

    assert answer.status == 200
    assert answer.body["definition"]["priceComponentId"] == "comp_usage_xyz"


def test_refuses_an_id_and_a_slug_of_two_features(api, component):
    other = FeatureFactory(slug="uploads", metrics=[component.metric])
    body = {
        "scope": "plan",
        "applicationType": "usage",
        "planId": component.price.plan.public_id,
        "featureId": other.public_id,
        "featureSlug": "api-calls",
        "name": "Quota",
        "defaultAmount": 1,
    }

    answer = api.post("/v1/credits/definitions", body)

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "featureSlug")
    assert api.post("/v1/credits/definitions", body | {"featureSlug": "uploads"}).status == 200
