"""Versions of a plan: copied with all that it takes to sell them, and nobody who has the old one notices."""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing.services.subscribe import subscribe
from credits.models import CreditDefinition, CreditGrant
from credits.services.definitions import create_definition
from credits.services.plan_versions import publish_version, update_plan
from credits.services.publish_plan import QuotaTerms, SwitchTerms, UsageTerms, publish_plan
from plans.models import Overage, Plan, Price, PriceComponent, PricingTable, SubscriptionFeature
from plans.refusals import InvalidInput
from plans.services.plans import FeatureConfig, PlanNotFound, delete_plan
from tests.factories import (
    START,
    CustomerFactory,
    FeatureFactory,
    MetricFactory,
    PlanFeatureFactory,
    PriceFactory,
    PricingTableFactory,
    PricingTablePlanFactory,
)

pytestmark = pytest.mark.django_db

LATER = START + timedelta(days=10)


@pytest.fixture
def pro():
    """29.00 a month or 290.00 a year, calls at 5 cents of which 10,000 are included, single sign-on; on a table."""
    calls = UsageTerms(
        slug="api-calls",
        name="API calls",
        unit_label="call",
        unit_cost_cents=Decimal(5),
        overage=Overage.ALLOW,
        quota=QuotaTerms(units=Decimal(10_000)),
    )
    return publish_plan(
        at=START,
        name="Pro",
        description="For teams",
        currency="USD",
        monthly_amount_cents=2900,
        yearly_amount_cents=29_000,
        usage_components=[calls],
        features=[SwitchTerms(slug="sso", name="SSO")],
        on_pricing_table=True,
    )


def components(price):
    return [
        (part.component_id, part.kind, part.amount_cents, part.unit_cost_cents, part.metric_id)
        for part in price.components.order_by("position")
    ]


def test_a_version_has_the_looks_features_and_prices_of_the_one_before(pro):
    version = publish_version(at=LATER, base=pro)

    assert (version.stable_plan_id, version.version_number) == (pro.stable_plan_id, 2)
    assert (version.name, version.description, version.created_at) == ("Pro", "For teams", LATER)
    assert version.commit_message == "Version 2"
    given = [(sold.feature.slug, sold.value, sold.overage) for sold in version.plan_features.order_by("pk")]
    assert given == [("sso", True, "block"), ("api-calls", "usage_based", "allow")]
    before, after = pro.prices.order_by("pk"), version.prices.order_by("pk")
    assert [components(price) for price in after] == [components(price) for price in before]
    assert [price.cloned_from for price in after] == list(before)
    assert not set(before) & set(after)


def test_quotas_are_copied_and_linked_to_the_component_of_the_copied_price(pro):
    version = publish_version(at=LATER, base=pro)

    before = list(CreditDefinition.objects.filter(plan=pro).order_by("pk"))
    after = list(CreditDefinition.objects.filter(plan=version).order_by("pk"))
    assert [quota.price.cloned_from for quota in after] == [quota.price for quota in before]
    for quota in after:
        component = PriceComponent.objects.get(price=quota.price, component_id=quota.price_component_id)
        assert (component.price.plan, component.metric) == (version, quota.metric)
        assert (quota.default_amount, quota.renew_on_billing, quota.created_at) == (10_000, True, LATER)
    assert not {quota.public_id for quota in before} & {quota.public_id for quota in after}


def test_who_has_the_old_version_keeps_it_and_who_subscribes_now_gets_the_new_one(pro):
    monthly = pro.prices.order_by("pk").first()
    old = subscribe(at=START, customer=CustomerFactory(), plan=pro, price=monthly)
    grants = set(CreditGrant.objects.values_list("pk", flat=True))

    version = publish_version(
        at=LATER,
        base=pro,
        features=[FeatureConfig(feature=one.feature) for one in pro.plan_features.filter(feature__slug="api-calls")],
    )
    CreditDefinition.objects.filter(plan=version).update(default_amount=20_000)
    new = subscribe(at=LATER, customer=CustomerFactory(), plan=version, price=version.prices.get(cloned_from=monthly))

    old.refresh_from_db()
    assert (old.plan, old.price) == (pro, monthly)
    assert set(CreditGrant.objects.exclude(customer=new.customer).values_list("pk", flat=True)) == grants
    assert {grant.initial_amount for grant in CreditGrant.objects.filter(customer=old.customer)} == {10_000}
    assert {grant.initial_amount for grant in CreditGrant.objects.filter(customer=new.customer)} == {20_000}
    slugs = SubscriptionFeature.objects.order_by("pk").values_list("subscription", "feature__slug")
    assert list(slugs) == [(old.pk, "sso"), (old.pk, "api-calls"), (new.pk, "api-calls")]


def test_named_prices_alone_are_copied_with_their_own_quotas(pro):
    _, yearly = pro.prices.order_by("pk")

    version = publish_version(at=LATER, base=pro, prices=[yearly])

    assert version.prices.get().cloned_from == yearly
    assert CreditDefinition.objects.get(plan=version).price == version.prices.get()


def test_a_deleted_price_and_one_agreed_with_a_customer_are_not_copied(pro):
    monthly, yearly = pro.prices.order_by("pk")
    Price.objects.filter(pk=monthly.pk).update(deleted_at=START)
    PriceFactory(plan=pro, is_override_price=True)

    assert publish_version(at=LATER, base=pro).prices.get().cloned_from == yearly


def test_a_quota_of_the_plan_itself_is_copied_for_a_feature_that_stays(pro):
    mails = FeatureFactory(slug="mails", value="usage_based", metrics=[MetricFactory()])
    PlanFeatureFactory(plan=pro, feature=mails)
    terms = {"at": START, "plan": pro, "scope": "plan", "application_type": "usage", "default_amount": Decimal(7)}
    create_definition(name="Mails", feature=mails, **terms)

    kept = publish_version(at=LATER, base=pro)
    dropped = publish_version(
        at=LATER,
        base=pro,
        features=[FeatureConfig(feature=one.feature) for one in pro.plan_features.exclude(feature=mails)],
    )

    assert CreditDefinition.objects.get(plan=kept, name="Mails").price is None
    assert not CreditDefinition.objects.filter(plan=dropped, name="Mails").exists()


def test_money_that_comes_with_the_plan_is_copied(pro):
    create_definition(
        at=START,
        name="Welcome",
        plan=pro,
        scope="plan",
        application_type="monetary",
        currency="USD",
        default_amount=Decimal(500),
        billing_visible=True,
    )

    version = publish_version(at=LATER, base=pro, prices=[], features=[])

    (copy,) = CreditDefinition.objects.filter(plan=version)
    assert (copy.name, copy.currency, copy.default_amount) == ("Welcome", "USD", 500)


def test_a_deleted_definition_stays_behind(pro):
    CreditDefinition.objects.filter(plan=pro).update(deleted_at=START)

    assert not CreditDefinition.objects.filter(plan=publish_version(at=LATER, base=pro)).exists()


def test_a_table_shows_the_new_version_where_it_showed_the_old_one(pro):
    default = PricingTable.objects.get()
    default.table_plans.update(is_popular=True, display_order=3)
    other = PricingTableFactory()

    version = publish_version(at=LATER, base=pro)

    placed = default.table_plans.get()
    assert (placed.plan, placed.is_popular, placed.display_order) == (version, True, 3)
    assert not other.table_plans.exists()


def test_a_table_that_shows_two_versions_keeps_the_older_one(pro):
    second = publish_version(at=LATER, base=pro)
    PricingTablePlanFactory(plan=pro, pricing_table=PricingTable.objects.get())

    third = publish_version(at=LATER, base=pro)

    assert set(PricingTable.objects.get().table_plans.values_list("plan", flat=True)) == {pro.pk, third.pk}
    assert third.version_number == second.version_number + 1


def test_a_version_that_waits_for_its_price_is_not_shown_yet(pro):
    publish_version(at=LATER, base=pro, prices=[])

    assert PricingTable.objects.get().table_plans.get().plan == pro


def test_cosmetic_changes_are_made_in_place(pro):
    update_plan(at=LATER, identifier=pro.public_id, name="Pro+", button_text="Go", commit_message="Renamed")

    plan = Plan.objects.get()
    assert (plan.name, plan.button_text, plan.commit_message, plan.version_number) == ("Pro+", "Go", "Renamed", 1)


def test_a_stable_id_means_the_latest_version(pro):
    publish_version(at=LATER, base=pro)

    third = update_plan(at=LATER, identifier=pro.stable_plan_id, is_stable_id=True, price_ids=[], name="Third")
    renamed = update_plan(at=LATER, identifier=pro.stable_plan_id, is_stable_id=True, name="Fourth")

    assert (third.version_number, renamed.pk) == (3, third.pk)
    pro.refresh_from_db()
    assert pro.name == "Pro"


def test_numbers_go_on_after_a_deleted_version(pro):
    delete_plan(plan=publish_version(at=LATER, base=pro), at=LATER)

    assert publish_version(at=LATER, base=pro).version_number == 3


def test_a_stable_id_of_nothing_is_not_found(pro):
    with pytest.raises(PlanNotFound):
        update_plan(at=LATER, identifier=pro.public_id, is_stable_id=True, name="Other")


def test_a_price_of_another_plan_is_refused_and_nothing_is_written(pro):
    stranger = PriceFactory()

    with pytest.raises(InvalidInput) as refused:
        update_plan(at=LATER, identifier=pro.public_id, price_ids=[pro.prices.first().public_id, stranger.public_id])

    assert [problem["path"] for problem in refused.value.details] == ["priceIds[1]"]
    assert Plan.objects.filter(stable_plan_id=pro.stable_plan_id).count() == 1


def test_a_feature_that_stays_is_given_as_before_unless_it_is_said_otherwise(pro):
    calls = pro.plan_features.get(feature__slug="api-calls").feature
    seats = FeatureFactory(slug="seats", value=5)

    version = publish_version(
        at=LATER,
        base=pro,
        features=[FeatureConfig(feature=calls), FeatureConfig(feature=seats, value=7, overage="allow")],
    )

    given = [(sold.feature.slug, sold.value, sold.overage) for sold in version.plan_features.order_by("pk")]
    assert given == [("api-calls", "usage_based", "allow"), ("seats", 7, "allow")]
