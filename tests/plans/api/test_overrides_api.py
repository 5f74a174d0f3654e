"""PUT and DELETE /v1/subscriptions/{id}/features/{slug}: a customer has a feature otherwise than its plan gives it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.books import check_books
from billing.services.subscribe import subscribe
from entitlements.services.check import check
from plans.models import PlanFeature, Subscription, SubscriptionFeature, SubscriptionItem, SubscriptionPeriod
from plans.services.overrides import override_feature
from tests.factories import CustomerFactory, FeatureFactory, MetricFactory, PlanFeatureFactory
from tests.pro_plan import bills, make_pro_plan, sweep, use

NOON = datetime(2025, 3, 10, 12, tzinfo=UTC)
MARCH_1 = datetime(2025, 3, 1, tzinfo=UTC)
APRIL_1 = datetime(2025, 4, 1, tzinfo=UTC)


class Sold:
    """A subscription since 1 March to a plan that gives one feature with a value, and the API to change it."""

    def __init__(self, api, value, *, metered=True, quota=None, unit_cost_cents="5"):
        self.api = api
        self.pro = make_pro_plan(quota=quota, unit_cost_cents=unit_cost_cents)
        self.feature = self.pro.feature if metered else FeatureFactory(value=value)
        if metered:
            PlanFeature.objects.filter(plan=self.pro.plan).update(value=value)
        else:
            PlanFeatureFactory(plan=self.pro.plan, feature=self.feature)
        self.customer = CustomerFactory()
        self.subscription = subscribe(at=MARCH_1, customer=self.customer, plan=self.pro.plan)

    def path(self, slug=None):
        return f"/v1/subscriptions/{self.subscription.public_id}/features/{slug or self.feature.slug}"

    def put(self, slug=None, **body):
        return self.api.put(self.path(slug), {"reason": "signed by Ann"} | body)

    def check(self, slug=None):
        return self.api.get(f"/v1/entitlements/{self.customer.public_id}/feature/{slug or self.feature.slug}").body


@pytest.fixture
def sell(api):
    return lambda value, **terms: Sold(api, value, **terms)


def overrides():
    return SubscriptionFeature.objects.filter(source="override")


def test_answers_the_feature_as_sold_with_the_override(sell):
    sold = sell(100)

    answer = sold.put(value=250, effectiveUntil="2025-06-01T00:00:00Z")

    override = overrides().get()
    assert answer.status == 200
    assert answer.body == {
        "feature": {
            "id": override.public_id,
            "subscriptionId": sold.subscription.public_id,
            "featureId": sold.feature.public_id,
            "featureName": sold.feature.display_name,
            "slug": sold.feature.slug,
            "featureType": "number",
            "featureValue": 250,
            "overage": "block",
            "source": "override",
            "reason": "signed by Ann",
            "effectiveFrom": None,
            "effectiveUntil": "2025-06-01T00:00:00.000Z",
            "sold": {"value": 100, "overage": "block"},
            "override": {
                "featureSlug": sold.feature.slug,
                "value": 250,
                "overage": "block",
                "reason": "signed by Ann",
                "effectiveFrom": None,
                "effectiveUntil": "2025-06-01T00:00:00.000Z",
            },
        }
    }


@pytest.mark.parametrize(("sold_value", "number", "limit"), [(100, 250, 250), (100, 40, 40), (100, 0, 0)])
def test_a_number_is_the_limit_of_the_check(sell, sold_value, number, limit):
    sold = sell(sold_value)
    use(sold.customer, sold.pro.metric, 50, NOON - timedelta(days=1))

    sold.put(value=number)

    checked = sold.check()
    assert (checked["source"], checked["feature"]["value"], checked["usage"]) == ("override", number, 50)
    # With 40 and 0 the 50 used are more than there is: all of the limit is used up, and the numbers never lie below.
    assert (checked["limit"], checked["remaining"]) == (limit, max(limit - 50, 0))
    assert checked["entitled"] is (limit > 50)


def test_a_number_never_changes_what_is_billed(sell):
    sold = sell(100)
    sold.put(value=250)
    use(sold.customer, sold.pro.metric, 200, NOON)

    assert sold.check()["remaining"] == 50
    sweep(APRIL_1 + timedelta(hours=2))

    # 100 were sold with the plan; the other 100 cost 5 cents each, and the next base fee is 29.00.
    assert bills(sold.customer)[-1] == ("issued", 3_400, [("fixed", 1, 2_900), ("usage", 100, 500)])
    assert not any(finding.offenders for finding in check_books(at=APRIL_1 + timedelta(hours=3)))


def test_a_number_over_the_sold_one_adds_to_other_grants_as_ever(sell, api):
    sold = sell(100)
    definition = {"name": "Goodwill", "scope": "merchant", "applicationType": "usage", "defaultAmount": 30}
    goodwill = api.post("/v1/credits/definitions", definition | {"featureSlug": sold.feature.slug}).body["definition"]
    api.post("/v1/credits/grants", {"creditDefinitionId": goodwill["id"], "customerId": sold.customer.public_id})
    sold.put(value=250)
    use(sold.customer, sold.pro.metric, 120, NOON)

    # 250 and 30 granted, of which 120 are used.
    assert (sold.check()["limit"], sold.check()["remaining"]) == (280, 160)


def test_a_quota_is_the_allowance_so_a_number_over_it_is_refused(sell):
    sold = sell("usage_based", quota=10_000)

    answer = sold.put(value=20_000)

    assert (answer.status, answer.body["code"]) == (409, "quota_is_the_allowance")
    assert "/v1/credits/grants" in answer.body["error"]
    assert not overrides().exists()
    assert sold.check()["limit"] == 10_000


def test_overage_alone_keeps_the_value_and_lets_the_customer_past_the_quota(sell):
    sold = sell("usage_based", quota=100)
    use(sold.customer, sold.pro.metric, 100, NOON)
    assert sold.check()["entitled"] is False

    answer = sold.put(overage="allow")

    assert (answer.body["feature"]["featureValue"], answer.body["feature"]["override"]["value"]) == (
        "usage_based",
        None,
    )
    checked = sold.check()
    assert (checked["entitled"], checked["overageAllowed"], checked["remaining"]) == (True, True, 0)
    assert checked["feature"]["value"] == "usage_based"


def test_overage_alone_follows_the_plans_value_when_that_changes(sell, api):
    sold = sell(100)
    sold.feature.value = 100
    sold.feature.save()
    sold.put(overage="allow")

    api.put(f"/v1/features/{sold.feature.slug}", {"featureValue": 300})

    assert (sold.check()["feature"]["value"], sold.check()["limit"]) == (300, 300)


def test_a_value_alone_keeps_the_overage_of_the_plan(sell):
    sold = sell(100)
    SubscriptionFeature.objects.update(overage="allow")

    assert sold.put(value=5).body["feature"]["overage"] == "allow"


def test_a_number_may_cap_what_is_pay_as_you_go_and_the_word_lifts_a_cap(sell):
    capped, lifted = sell("usage_based"), sell(100)

    capped.put(value=70)
    lifted.put(value="usage_based")

    assert (capped.check()["limit"], lifted.check()["limit"], lifted.check()["entitled"]) == (70, None, True)


@pytest.mark.parametrize(
    ("sold_value", "value", "entitled"), [(False, True, True), (True, False, False), (3, 0, False), ("a", "b", True)]
)
def test_an_override_decides_a_feature_without_a_metric(sell, sold_value, value, entitled):
    sold = sell(sold_value, metered=False)

    sold.put(value=value)

    checked = sold.check()
    assert (checked["entitled"], checked["feature"]["value"], checked["source"]) == (entitled, value, "override")


def test_is_effective_from_its_start_until_just_before_its_end(sell, api):
    sold = sell(100)
    sold.put(value=7, effectiveFrom="2025-03-12T00:00:00Z", effectiveUntil="2025-03-14T00:00:00Z")

    def limit(at):
        decision = check(customer=sold.customer.public_id, slug=sold.feature.slug, at=at)
        return (decision.source, decision.limit)

    start, end, instant = (
        datetime(2025, 3, 12, tzinfo=UTC),
        datetime(2025, 3, 14, tzinfo=UTC),
        timedelta(microseconds=1),
    )
    assert [limit(start - instant), limit(start)] == [("plan", 100), ("override", 7)]
    assert [limit(end - instant), limit(end)] == [("override", 7), ("plan", 100)]


def test_one_that_is_not_effective_yet_is_told_beside_what_holds_now(sell):
    sold = sell(100)

    feature = sold.put(value=7, effectiveFrom="2025-03-12T00:00:00Z").body["feature"]

    assert (feature["featureValue"], feature["source"], feature["override"]["value"]) == (100, "plan", 7)


def test_putting_it_again_replaces_all_of_it(sell):
    sold = sell(100)
    sold.put(value=250, overage="allow", effectiveUntil="2025-06-01T00:00:00Z")

    sold.put(value=300, reason="more")

    override = overrides().get()
    assert (override.value, override.overage, override.reason) == (300, "block", "more")
    assert override.effective_until is None


def test_the_list_and_the_batch_know_it_too(sell, api):
    sold = sell(False, metered=False)
    sold.put(value=True)
    address = f"/v1/entitlements/{sold.customer.public_id}"

    listed = {entry["feature"]["slug"]: entry for entry in api.get(address).body["entitlements"]}
    batch = api.post(f"{address}/features", {"featureSlugs": [sold.feature.slug]}).body["entitlements"]

    assert listed[sold.feature.slug] == batch[0]
    assert (batch[0]["entitled"], batch[0]["source"]) == (True, "override")


def test_the_subscription_shows_it_among_its_features(sell, api):
    sold = sell(100)
    sold.put(overage="allow")

    shown = api.get(f"/v1/subscriptions/{sold.subscription.public_id}", {"includeFeatures": "true"}).body
    features = shown["subscription"]["subscriptionFeatures"]

    assert [(one["source"], one["featureValue"], one["overage"]) for one in features] == [
        ("plan", 100, "block"),
        ("override", 100, "allow"),
    ]
    assert features[1]["reason"] == "signed by Ann"


def test_gives_a_feature_that_the_plan_does_not_have(sell):
    sold = sell(100)
    extra = FeatureFactory(value=False)

    sold.put(extra.slug, value=True)

    assert sold.check(extra.slug)["entitled"] is True


def test_counts_in_the_plans_periods_what_an_override_alone_gives(sell):
    sold, metric = sell(100), MetricFactory()
    extra = FeatureFactory(value="usage_based", metrics=[metric])
    use(sold.customer, metric, 9, MARCH_1 - timedelta(hours=1))
    use(sold.customer, metric, 20, NOON - timedelta(days=2))

    sold.put(extra.slug, value=50)

    checked = sold.check(extra.slug)
    assert (checked["usage"], checked["limit"], checked["remaining"]) == (20, 50, 30)
    item = SubscriptionItem.objects.get(metric=metric)
    assert (item.component, item.included_units) == (None, 0)
    periods = SubscriptionPeriod.objects.filter(item=item).order_by("number")
    assert [(period.number, period.start_at, period.bill_at) for period in periods] == [
        (0, MARCH_1, APRIL_1),
        (1, APRIL_1, datetime(2025, 5, 1, tzinfo=UTC)),
    ]


def test_an_override_begins_to_meter_with_the_period_that_runs(sell):
    sold = sell(100)
    sweep(APRIL_1 + timedelta(hours=2))
    extra = FeatureFactory(value="usage_based", metrics=[MetricFactory()])

    override_feature(
        at=APRIL_1 + timedelta(days=9), subscription=sold.subscription, feature=extra, reason="r", value=50
    )

    periods = SubscriptionPeriod.objects.filter(metric__in=extra.metrics.all()).order_by("number")
    assert [(period.number, period.start_at) for period in periods] == [
        (1, APRIL_1),
        (2, datetime(2025, 5, 1, tzinfo=UTC)),
    ]


def test_what_an_override_alone_gives_is_never_billed_and_starts_anew_each_period(sell):
    sold, metric = sell(100), MetricFactory()
    extra = FeatureFactory(value="usage_based", metrics=[metric])
    sold.put(extra.slug, value=50)
    use(sold.customer, metric, 80, NOON)

    sweep(APRIL_1 + timedelta(hours=2))

    april = check(customer=sold.customer.public_id, slug=extra.slug, at=APRIL_1 + timedelta(hours=3))
    assert (april.usage, april.remaining) == (0, 50)
    assert bills(sold.customer)[-1] == ("issued", 2_900, [("fixed", 1, 2_900)])
    assert not any(finding.offenders for finding in check_books(at=APRIL_1 + timedelta(hours=3)))


def test_does_not_meter_twice_what_another_subscription_meters(sell):
    sold, other = sell(100), make_pro_plan(quota=None)
    subscribe(at=MARCH_1, customer=sold.customer, plan=other.plan, beside_others=True)

    assert sold.put(other.feature.slug, value=50).status == 200

    assert SubscriptionItem.objects.filter(metric=other.metric).count() == 1
    assert sold.check(other.feature.slug)["limit"] == 50


def test_taking_it_back_gives_what_was_sold(sell, api):
    sold = sell(100)
    sold.put(value=250)

    answer = api.delete(sold.path())

    assert (answer.status, answer.body["feature"]["featureValue"], answer.body["feature"]["source"]) == (
        200,
        100,
        "plan",
    )
    assert answer.body["feature"]["override"] is None
    assert (sold.check()["limit"], sold.check()["source"]) == (100, "plan")


def test_taking_back_what_an_override_alone_gave_leaves_nothing_of_it(sell, api):
    sold, metric = sell(100), MetricFactory()
    extra = FeatureFactory(value="usage_based", metrics=[metric])
    sold.put(extra.slug, value=50)

    feature = api.delete(sold.path(extra.slug)).body["feature"]

    assert (feature["featureValue"], feature["source"], feature["sold"]) == (None, "default", None)
    assert (sold.check(extra.slug)["entitled"], sold.check(extra.slug)["source"]) == (False, "default")


def test_there_is_nothing_to_take_back_twice(sell, api):
    sold = sell(100)

    answer = api.delete(sold.path())

    assert (answer.status, answer.body["code"]) == (404, "override_not_found")


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("value", {}),
        ("value", {"value": None}),
        ("value", {"value": []}),
        ("value", {"value": {"a": 1}}),
        ("value", {"value": True}),
        ("value", {"value": "much"}),
        ("value", {"value": -1}),
        ("value", {"value": 10**20}),
        ("overage", {"overage": "maybe"}),
        ("overage", {"overage": 1}),
        ("reason", {"value": 1, "reason": ""}),
        ("reason", {"value": 1, "reason": "  "}),
        ("reason", {"value": 1, "reason": None}),
        ("reason", {"value": 1, "reason": 5}),
        ("reason", {"value": 1, "reason": "x" * 501}),
        ("effectiveFrom", {"value": 1, "effectiveFrom": "soon"}),
        ("effectiveFrom", {"value": 1, "effectiveFrom": 5}),
        ("effectiveFrom", {"value": 1, "effectiveFrom": "0001-01-01T00:00:00+14:00"}),
        ("effectiveFrom", {"value": 1, "effectiveFrom": "1000-01-01T00:00:00Z"}),
        ("effectiveUntil", {"value": 1, "effectiveUntil": "2025-03-10T12:00:00Z"}),
        ("effectiveUntil", {"value": 1, "effectiveUntil": "2020-01-01T00:00:00Z"}),
        ("effectiveUntil", {"value": 1, "effectiveUntil": "9999-12-31T23:59:59-14:00"}),
        (
            "effectiveUntil",
            {"value": 1, "effectiveFrom": "2025-04-02T00:00:00Z", "effectiveUntil": "2025-04-01T00:00:00Z"},
        ),
        (
            "effectiveUntil",
            {"value": 1, "effectiveFrom": "2025-04-02T00:00:00Z", "effectiveUntil": "2025-04-02T00:00:00Z"},
        ),
    ],
)
def test_refuses_a_wrong_field_by_its_name_and_writes_nothing(sell, field, body):
    sold = sell(100)

    answer = sold.put(**body)

    assert (answer.status, answer.body["details"][0]["path"]) == (400, field), answer
    assert not overrides().exists()


@pytest.mark.parametrize(
    ("sold_value", "value"), [(True, 1), (True, "yes"), (3, True), (3, "3"), ("a", 1), ("a", False)]
)
def test_the_kind_of_a_value_stays(sell, sold_value, value):
    sold = sell(sold_value, metered=False)

    answer = sold.put(value=value)

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "value")
    assert not overrides().exists()


def test_refuses_a_missing_reason(sell, api):
    sold = sell(100)

    answer = api.put(sold.path(), {"value": 1})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "reason")


def test_needs_a_value_where_the_plan_has_none(sell):
    sold = sell(100)

    answer = sold.put(FeatureFactory().slug, overage="allow")

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "value")


def test_refuses_an_ended_subscription(sell, api):
    sold = sell(100)
    sold.put(value=5)
    Subscription.objects.update(ended_at=NOON)

    answers = [sold.put(value=6), api.delete(sold.path())]

    assert [(answer.status, answer.body["code"]) for answer in answers] == [(409, "subscription_ended")] * 2
    assert overrides().get().value == 5


def test_answers_404_for_an_unknown_subscription_or_feature(sell, api):
    sold = sell(100)

    assert sold.put("no-such-thing", value=1).body["code"] == "feature_not_found"
    answer = api.put(f"/v1/subscriptions/sub_x/features/{sold.feature.slug}", {"value": 1, "reason": "r"})
    assert (answer.status, answer.body["code"]) == (404, "subscription_not_found")


def test_keeps_a_decimal_exactly(sell):
    sold = sell(100)

    sold.put(value=Decimal("0.25"))

    assert sold.check()["limit"] == Decimal("0.25")
