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
    own = [move for move in moves if move["creditGrantId"] == grant.public_id]
    assert [(move["kind"], move["amount"], move["pending"]) for move in own] == [
        ("revoked", -9_700, False),
        ("burned", -300, True),
        ("granted", 10_000, False),
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


class TestAdjusting:
    @pytest.fixture
    def grant(self, pro, customer):
        return CreditGrant.objects.earliest("starts_at")

    @pytest.mark.parametrize("path", ["credits/grants", "credit-grants"])
    def test_answers_with_the_live_grant(self, api, pro, customer, grant, path):
        use(customer, pro.metric, 300, timezone.now())

        answer = api.post(f"/v1/{path}/{grant.public_id}/adjust", {"amount": -200, "notes": "Too many"})

        assert answer.status == 200
        body = answer.body["grant"]
        amounts = (body["initialAmount"], body["adjustedAmount"], body["settled"], body["remainingAmount"])
        assert amounts == (10_000, -200, 9_800, 9_500)
        moves = api.get(f"/v1/credits/customers/{customer.public_id}/transactions").body["transactions"]
        assert [(move["amount"], move["notes"]) for move in moves if move["kind"] == "adjusted"] == [(-200, "Too many")]

    def test_says_how_much_is_left_when_more_is_taken(self, api, pro, customer, grant):
        use(customer, pro.metric, 300, timezone.now())

        answer = api.post(f"/v1/credits/grants/{grant.public_id}/adjust", {"amount": -9_701})

        assert (answer.status, answer.body["code"]) == (409, "adjust_exceeds_remaining")
        assert answer.body["details"] == {"remaining": 9_700}
        assert "9700" in answer.body["error"]

    def test_is_done_once_per_idempotency_key(self, api, grant):
        address, body = f"/v1/credits/grants/{grant.public_id}/adjust", {"amount": 5}

        first = api.post(address, body, idempotency_key="a")
        again = api.post(address, body, idempotency_key="a")

        assert first.body == again.body
        grant.refresh_from_db()
        assert grant.adjusted_amount == 5

    @pytest.mark.parametrize("amount", [0, None, "many", "NaN", Decimal("0.0000001"), 10**18])
    def test_refuses_what_is_no_amount(self, api, grant, amount):
        answer = api.post(f"/v1/credits/grants/{grant.public_id}/adjust", {"amount": amount})

        assert (answer.status, answer.body["details"][0]["path"]) == (400, "amount")
        assert not grant.transactions.filter(kind="adjusted").exists()

    def test_of_a_revoked_or_unknown_grant_is_refused(self, api, grant):
        api.post(f"/v1/credits/grants/{grant.public_id}/revoke", {})

        revoked = api.post(f"/v1/credits/grants/{grant.public_id}/adjust", {"amount": 5})
        unknown = api.post("/v1/credits/grants/cred_unknown/adjust", {"amount": 5})

        assert (revoked.status, revoked.body["code"]) == (409, "credit_grant_ended")
        assert (unknown.status, unknown.body["code"]) == (404, "credit_grant_not_found")


def test_shows_the_balance_by_feature_and_currency(api, pro, customer):
    use(customer, pro.metric, 300, timezone.now())
    money = api.post(
        "/v1/credits/definitions",
        {"scope": "merchant", "applicationType": "monetary", "currency": "usd", "name": "Gift", "defaultAmount": 5000},
    ).body["definition"]
    gift = api.post("/v1/credits/grants", {"customerId": customer.public_id, "creditDefinitionId": money["id"]}).body[
        "grant"
    ]
    assert (gift["currency"], gift["applicationType"], gift["remainingAmount"]) == ("USD", "monetary", 5000)

    answer = api.get(f"/v1/credits/customers/{customer.external_customer_id}/balance", {"isExtCustId": "true"})

    assert answer.status == 200
    balance = answer.body["balance"]
    (feature,) = balance["features"]
    assert (feature["featureSlug"], feature["metricId"]) == (pro.feature.slug, pro.metric.public_id)
    numbers = {"granted": 10_000, "settled": 10_000, "pending": 300, "remaining": 9_700}
    assert {name: feature[name] for name in numbers} == numbers
    (share,) = feature["grants"]
    assert {name: share[name] for name in numbers} == numbers
    assert (share["name"], share["rolledOver"]) == ("Included calls", False)
    (dollars,) = balance["money"]
    assert (dollars["currency"], dollars["remaining"]) == ("USD", 5000)
    assert [share["grantId"] for share in dollars["grants"]] == [gift["id"]]


def test_lists_pending_burn_among_the_transactions(api, pro, customer):
    use(customer, pro.metric, 300, timezone.now())

    moves = api.get(f"/v1/credits/customers/{customer.public_id}/transactions").body["transactions"]

    assert [(move["kind"], move["amount"], move["pending"]) for move in moves if move["pending"]] == [
        ("burned", -300, True)
    ]
    assert len(moves) == 3


def test_filters_and_pages_grants(api, pro, customer):
    address = f"/v1/credits/customers/{customer.public_id}/grants"
    body = {"customerId": customer.public_id, "creditDefinitionId": pro.quota.public_id}
    made = [api.post("/v1/credits/grants", body | {"initialAmount": n}).body["grant"]["id"] for n in (1, 2, 3)]
    api.post(f"/v1/credits/grants/{made[0]}/revoke", {})

    first = api.get(address, {"status": "ACTIVE", "limit": "2"}).body
    rest = api.get(address, {"status": "ACTIVE", "limit": "2", "cursor": first["nextCursor"]}).body

    assert [grant["id"] for grant in first["grants"]] == [made[2], made[1]]
    assert (len(rest["grants"]), rest["hasMore"]) == (2, False)
    assert [grant["id"] for grant in api.get(address, {"status": "REVOKED"}).body["grants"]] == [made[0]]
    assert api.get(address, {"applicationType": "monetary"}).body["grants"] == []
    for wrong in ({"status": "active"}, {"applicationType": "x"}):
        answer = api.get(address, wrong)
        assert (answer.status, answer.body["details"][0]["path"]) == (400, next(iter(wrong)))
