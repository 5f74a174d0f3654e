"""The doors of /v1/credits."""

from decimal import Decimal

import pytest
from django.utils import timezone

from billing.services.subscribe import subscribe
from credits.models import CreditDefinition, CreditGrant
from tests.factories import CustomerFactory, FeatureFactory, MetricFactory, PriceFactory, UsageComponentFactory
from tests.pro_plan import make_pro_plan, use

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
        ({"applicationType": "monetary"}, "applicationType"),
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


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def customer(pro):
    customer = CustomerFactory()
    subscribe(at=timezone.now(), customer=customer, plan=pro.plan)
    return customer


def test_grants_and_lists_with_live_numbers(api, pro, customer):
    use(customer, pro.metric, 10_100, timezone.now())
    granted = api.post(
        "/v1/credits/grants",
        {"customerId": customer.public_id, "creditDefinitionId": pro.quota.public_id, "initialAmount": 500},
    )

    assert granted.status == 200
    grant = granted.body["grant"]
    assert (grant["initialAmount"], grant["source"], grant["status"]) == (500, "manual", "ACTIVE")
    listed = api.get(f"/v1/credits/customers/{customer.public_id}/grants").body["grants"]
    by_id = {row["id"]: (row["remainingAmount"], row["settled"], row["status"]) for row in listed}
    # The quota ends first, so it is burned first: 10,000 of it and 100 of the goodwill.
    assert by_id[grant["id"]] == (400, 500, "ACTIVE")
    assert sorted(by_id.values()) == [(0, 10_000, "DEPLETED"), (400, 500, "ACTIVE"), (10_000, 10_000, "ACTIVE")]


def test_filters_grants_by_status(api, pro, customer):
    use(customer, pro.metric, 10_000, timezone.now())

    grants = api.get(f"/v1/credits/customers/{customer.public_id}/grants", {"status": "DEPLETED"}).body["grants"]

    assert [grant["remainingAmount"] for grant in grants] == [0]


def test_the_same_reference_code_grants_once(api, pro, customer):
    body = {"customerId": customer.public_id, "creditDefinitionId": pro.quota.public_id, "referenceCode": "T-1"}

    first, again = api.post("/v1/credit-grants", body), api.post("/v1/credit-grants", body)
    other = api.post("/v1/credit-grants", body | {"initialAmount": 7})

    assert first.body["grant"]["id"] == again.body["grant"]["id"]
    assert (other.status, other.body["code"]) == (409, "reference_code_conflict")


def test_revokes_what_is_left_and_keeps_what_was_burned(api, pro, customer):
    use(customer, pro.metric, 300, timezone.now())
    grant = CreditGrant.objects.filter(customer=customer).order_by("starts_at")[0]

    answer = api.post(f"/v1/credits/grants/{grant.public_id}/revoke", {"notes": "Sold by mistake"})
    again = api.post(f"/v1/credits/grants/{grant.public_id}/revoke", {})

    assert (answer.body["grant"]["remainingAmount"], answer.body["grant"]["status"]) == (0, "REVOKED")
    assert answer.body["grant"]["settled"] == 300
    assert again.body["grant"]["settled"] == 300
    moves = api.get(f"/v1/credits/customers/{customer.public_id}/transactions").body["transactions"]
    assert [(move["kind"], move["amount"]) for move in moves if move["creditGrantId"] == grant.public_id] == [
        ("revoked", -9_700),
        ("granted", 10_000),
    ]


@pytest.mark.parametrize(
    ("change", "status", "path"),
    [
        ({"customerId": None}, 400, "customerId"),
        ({"customerId": "cus_unknown"}, 404, None),
        ({"creditDefinitionId": "cred_def_unknown"}, 404, None),
        ({"initialAmount": 0}, 400, "initialAmount"),
        ({"initialAmount": Decimal("0.0000001")}, 400, "initialAmount"),
        ({"source": "theft"}, 400, "source"),
        ({"expiryDate": "2001-01-01T00:00:00Z"}, 400, "expiryDate"),
        ({"expiryDate": "soon"}, 400, "expiryDate"),
    ],
)
def test_refuses_a_grant_at_its_field_and_writes_nothing(api, pro, customer, change, status, path):
    before = CreditGrant.objects.count()
    body = {"customerId": customer.public_id, "creditDefinitionId": pro.quota.public_id} | change

    answer = api.post("/v1/credits/grants", body)

    assert answer.status == status
    if path:
        assert answer.body["details"][0]["path"] == path
    assert CreditGrant.objects.count() == before


def test_an_unknown_grant_cannot_be_revoked(api):
    answer = api.post("/v1/credits/grants/cred_unknown/revoke", {})

    assert (answer.status, answer.body["error"]) == (404, "Credit grant not found")


@pytest.mark.parametrize("limit", ["0", "1001", "x"])
def test_refuses_a_limit_out_of_bounds(api, customer, limit):
    answer = api.get(f"/v1/credits/customers/{customer.public_id}/transactions", {"limit": limit})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "limit")


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


def test_metrics_of_grants_stay_apart(api, pro, customer):
    other = MetricFactory()
    use(customer, other, 999, timezone.now())

    grants = api.get(f"/v1/credits/customers/{customer.public_id}/grants").body["grants"]

    assert {grant["remainingAmount"] for grant in grants} == {10_000}


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
