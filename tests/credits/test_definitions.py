from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.services.subscribe import subscribe
from credits.models import CreditDefinition, CreditGrant
from credits.services.definitions import CreditDefinitionNotFound, create_definition, find_definition
from plans.refusals import InvalidInput
from tests.factories import (
    CreditDefinitionFactory,
    CustomerFactory,
    FeatureFactory,
    MetricFactory,
    PlanFactory,
    PriceFactory,
    UsageComponentFactory,
)
from tests.pro_plan import make_pro_plan, remaining, sweep

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 28, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def define(**words):
    return create_definition(
        **{
            "at": AT,
            "name": "Quota",
            "scope": "plan",
            "application_type": "usage",
            "default_amount": Decimal(100),
        }
        | words
    )


def path_refused(**words):
    with pytest.raises(InvalidInput) as refused:
        define(**words)
    return refused.value.details[0]["path"]


class TestLinks:
    def test_counts_the_units_of_the_linked_component(self):
        pro = make_pro_plan(quota=None)
        component = pro.price.components.get(kind="usage")

        definition = define(scope="component", price=pro.price, price_component_id=component.component_id)

        assert (definition.metric, definition.plan) == (pro.metric, pro.plan)

    def test_counts_the_units_of_the_features_metric(self):
        pro = make_pro_plan(quota=None)

        assert define(plan=pro.plan, feature=pro.feature).metric == pro.metric

    @pytest.mark.parametrize(
        ("words", "path"),
        [
            ({"scope": "plan"}, "planId"),
            ({"scope": "price"}, "priceId"),
            ({"scope": "component"}, "priceId"),
            ({"scope": "merchant"}, "priceComponentId"),
        ],
    )
    def test_that_are_missing_are_refused(self, words, path):
        assert path_refused(**words) == path

    def test_a_price_of_another_plan_is_refused(self):
        assert path_refused(plan=PlanFactory(), price=PriceFactory(), price_component_id="x") == "priceId"

    def test_a_component_that_does_not_exist_is_refused(self):
        pro = make_pro_plan()

        assert path_refused(plan=pro.plan, price_component_id="nothing") == "priceComponentId"

    def test_a_fixed_component_is_refused(self):
        pro = make_pro_plan()
        fee = pro.price.components.get(kind="fixed")

        assert path_refused(plan=pro.plan, price_component_id=fee.component_id) == "priceComponentId"

    @pytest.mark.parametrize("metrics", [0, 2])
    def test_a_feature_without_one_metric_is_refused(self, metrics):
        feature = FeatureFactory(metrics=[MetricFactory() for _ in range(metrics)])

        assert path_refused(plan=PlanFactory(), feature=feature) == "featureSlug"

    def test_nothing_is_written_when_refused(self):
        path_refused(scope="plan")

        assert not CreditDefinition.objects.exists()


class TestUsageTerms:
    """Terms of a quota on a plan whose usage is billed monthly."""

    @pytest.mark.parametrize(
        ("words", "path"),
        [
            ({"renew_on_billing": True, "refill_rrule": "FREQ=WEEKLY"}, "refillRrule"),
            ({"refill_rrule": "FREQ=SECONDLY"}, "refillRrule"),
            ({"rolls_over": True}, "rollover"),
            ({"rolls_over": True, "refill_rrule": "FREQ=MONTHLY"}, "rollover"),
            ({"renew_on_billing": True, "rolls_over": True, "expiry_days": 5}, "expiryDays"),
            # A longer life than the period has is what rollover is for.
            ({"renew_on_billing": True, "expiry_days": 32}, "expiryDays"),
        ],
    )
    def test_that_do_not_go_together_are_refused(self, words, path):
        pro = make_pro_plan(quota=None)

        assert path_refused(plan=pro.plan, feature=pro.feature, **words) == path
        assert not CreditDefinition.objects.exists()

    @pytest.mark.parametrize(("frequency", "days"), [("WEEKLY", 7), ("MONTHLY", 31), ("YEARLY", 366)])
    def test_expiry_days_may_be_as_long_as_the_period(self, frequency, days):
        pro = make_pro_plan(quota=None, frequency=frequency)
        common = {"plan": pro.plan, "feature": pro.feature, "renew_on_billing": True}

        assert define(expiry_days=days, **common).expiry_days == days
        assert path_refused(expiry_days=days + 1, **common) == "expiryDays"

    def test_expiry_days_end_a_renewed_grant_before_its_period(self):
        pro, customer = make_pro_plan(quota=10, expiry_days=30), CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan)

        # 30 days from 31 January, 10:00, are after the period's end; from 28 February they end a day before it.
        ends = CreditGrant.objects.order_by("starts_at").values_list("expires_at", flat=True)
        assert list(ends) == [FEBRUARY, datetime(2026, 3, 30, tzinfo=UTC)]

    def test_a_daily_refill_needs_no_end(self):
        pro = make_pro_plan(quota=None)

        assert define(plan=pro.plan, feature=pro.feature, refill_rrule="FREQ=DAILY").refill_rrule == "FREQ=DAILY"

    @pytest.mark.parametrize("link", ["component", "feature"])
    def test_units_cannot_pay_for_usage_with_a_fee_per_event(self, link):
        pro = make_pro_plan(quota=None, unit_cost_cents=None)
        component = UsageComponentFactory(
            price=pro.price, metric=pro.metric, model="percentage", unit_cost_cents=None, rate_percent=Decimal("2.9"),
            fixed_cost_cents=Decimal(30),
        )  # fmt: skip
        by = {"price_component_id": component.component_id} if link == "component" else {"feature": pro.feature}

        assert path_refused(plan=pro.plan, **by) == ("priceComponentId" if link == "component" else "featureSlug")

    def test_units_may_pay_for_a_percentage_without_a_fee(self):
        pro = make_pro_plan(quota=None, unit_cost_cents=None)
        UsageComponentFactory(
            price=pro.price, metric=pro.metric, model="percentage", unit_cost_cents=None, rate_percent=Decimal(2)
        )

        assert define(plan=pro.plan, feature=pro.feature).metric == pro.metric


class TestMoney:
    def money(self, **words):
        return {"application_type": "monetary", "default_amount": Decimal(5000), "currency": "USD"} | words

    def test_needs_no_metric_and_is_always_visible(self):
        pro = make_pro_plan(quota=None)

        definition = define(**self.money(plan=pro.plan))

        assert (definition.metric, definition.currency, definition.billing_visible) == (None, "USD", True)

    def test_of_the_merchant_hangs_on_nothing(self):
        definition = define(**self.money(scope="merchant"))

        assert (definition.plan, definition.price, definition.price_component_id) == (None, None, None)

    def test_of_a_component_may_name_a_fee(self):
        pro = make_pro_plan(quota=None)
        fee = pro.price.components.get(kind="fixed")

        definition = define(**self.money(scope="component", price=pro.price, price_component_id=fee.component_id))

        assert (definition.plan, definition.price_component_id) == (pro.plan, fee.component_id)

    @pytest.mark.parametrize(
        ("words", "path"),
        [
            ({"currency": ""}, "currency"),
            ({"currency": "XXX"}, "currency"),
            ({"currency": "EUR", "scope": "price"}, "currency"),
            ({"billing_visible": False}, "billingVisible"),
            ({"scope": "merchant"}, "planId"),
            ({"scope": "price", "price_component_id": "comp"}, "priceComponentId"),
            ({"scope": "component", "price_component_id": "nothing"}, "priceComponentId"),
            ({"default_amount": Decimal("0.5")}, "defaultAmount"),
            ({"default_amount": Decimal(10) ** 17}, "defaultAmount"),
            ({"refill_amount": Decimal("10.5"), "renew_on_billing": True}, "refillAmount"),
            ({"renew_on_billing": True, "rolls_over": True}, "rollover"),
        ],
    )
    def test_that_does_not_fit_is_refused_at_its_field(self, words, path):
        pro = make_pro_plan(quota=None)

        assert path_refused(**self.money(plan=pro.plan, price=pro.price) | words) == path
        assert not CreditDefinition.objects.exists()

    def test_names_no_feature(self):
        pro = make_pro_plan(quota=None)

        assert path_refused(**self.money(plan=pro.plan, feature=pro.feature)) == "featureSlug"

    def test_comes_with_each_period_to_those_who_pay_in_its_currency(self):
        pro = make_pro_plan(quota=None)
        euro = PriceFactory(plan=pro.plan, currency="EUR")
        define(**self.money(plan=pro.plan, renew_on_billing=True, refill_amount=Decimal(2000)))
        one, another = CustomerFactory(), CustomerFactory()

        subscribe(at=AT, customer=one, plan=pro.plan, price=pro.price)
        subscribe(at=AT, customer=another, plan=pro.plan, price=euro)

        grants = CreditGrant.objects.order_by("starts_at")
        assert [(grant.customer, grant.currency, grant.metric, int(grant.initial_amount)) for grant in grants] == [
            (one, "USD", None, 5000),
            (one, "USD", None, 2000),
        ]
        assert [(grant.starts_at, grant.expires_at) for grant in grants] == [
            (AT, FEBRUARY),
            (FEBRUARY, datetime(2026, 3, 31, tzinfo=UTC)),
        ]


def test_finds_definitions_that_are_not_deleted():
    definition = CreditDefinitionFactory()
    assert find_definition(definition.public_id) == definition

    definition.deleted_at = AT
    definition.save()

    with pytest.raises(CreditDefinitionNotFound):
        find_definition(definition.public_id)


def test_one_made_later_grants_from_the_next_renewal():
    pro, customer = make_pro_plan(quota=None), CustomerFactory()
    subscribe(at=AT, customer=customer, plan=pro.plan)

    define(at=AT + timedelta(days=5), plan=pro.plan, feature=pro.feature, renew_on_billing=True)

    assert remaining(customer, pro.metric, AT + timedelta(days=6)) == 0
    assert remaining(customer, pro.metric, FEBRUARY) == 100
    sweep(FEBRUARY)
    assert CreditGrant.objects.filter(customer=customer).count() == 2


def test_one_of_a_single_price_grants_to_its_subscribers_only():
    pro = make_pro_plan(quota=None)
    other = PriceFactory(plan=pro.plan)
    one, another = CustomerFactory(), CustomerFactory()
    subscribe(at=AT, customer=one, plan=pro.plan, price=pro.price)
    subscribe(at=AT, customer=another, plan=pro.plan, price=other)

    define(scope="price", price=pro.price, feature=pro.feature, renew_on_billing=True)

    assert set(CreditGrant.objects.values_list("customer", flat=True)) == {one.pk}


def test_one_of_the_merchant_grants_to_nobody_by_itself():
    pro, customer = make_pro_plan(quota=None), CustomerFactory()
    define(scope="merchant", feature=pro.feature, renew_on_billing=True)

    subscribe(at=AT, customer=customer, plan=pro.plan)

    assert not CreditGrant.objects.exists()
