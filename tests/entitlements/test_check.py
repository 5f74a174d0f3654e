"""The check: who decides, what is left, and when. Base 29.00, quota 10,000, 5 cents."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing.services.subscribe import subscribe
from credits.models import CreditDefinition, CreditGrant
from credits.services.definitions import create_definition
from credits.services.grants import grant_credits, revoke_grant
from entitlements.decisions import Decision
from entitlements.services.check import check, check_many, list_entitlements
from plans.models import Customer, PlanFeature, Subscription
from plans.services.customers import CustomerNotFound
from tests.factories import CustomerFactory, FeatureFactory, PlanFactory, PlanFeatureFactory, PriceFactory
from tests.pro_plan import ProPlan, bills, make_pro_plan, sweep, use

pytestmark = pytest.mark.django_db

JAN_1 = datetime(2025, 1, 1, tzinfo=UTC)
JAN_20 = datetime(2025, 1, 20, 12, tzinfo=UTC)
FEB_1 = datetime(2025, 2, 1, tzinfo=UTC)


def subscribed(pro: ProPlan, at: datetime = JAN_1) -> Customer:
    customer = CustomerFactory()
    subscribe(at=at, customer=customer, plan=pro.plan)
    return customer


def checked(customer: Customer, pro: ProPlan, at: datetime = JAN_20) -> Decision:
    return check(customer=customer.public_id, slug=pro.feature.slug, at=at)


def test_says_yes_at_9999_used():
    pro = make_pro_plan()
    customer = subscribed(pro)
    use(customer, pro.metric, 9_999, JAN_20)

    decision = checked(customer, pro)

    assert decision.entitled
    assert (decision.usage, decision.limit, decision.remaining) == (9_999, 10_000, 1)
    assert decision.source == "credits"


def test_says_no_at_10000_used():
    pro = make_pro_plan()
    customer = subscribed(pro)
    use(customer, pro.metric, 10_000, JAN_20)

    decision = checked(customer, pro)

    assert not decision.entitled
    assert (decision.usage, decision.limit, decision.remaining) == (10_000, 10_000, 0)


def test_overuse_counts_as_usage_and_never_makes_the_rest_negative():
    pro = make_pro_plan()
    customer = subscribed(pro)
    use(customer, pro.metric, 12_500, JAN_20)

    decision = checked(customer, pro)

    assert (decision.usage, decision.limit, decision.remaining) == (12_500, 10_000, 0)


def test_the_next_period_starts_with_a_full_quota_at_its_first_instant_before_any_sweep():
    pro = make_pro_plan()
    customer = subscribed(pro)
    use(customer, pro.metric, 12_500, JAN_20)

    last = checked(customer, pro, FEB_1 - timedelta(microseconds=1))
    first = checked(customer, pro, FEB_1)

    assert (last.entitled, last.remaining) == (False, 0)
    assert (first.entitled, first.usage, first.remaining, first.limit) == (True, 0, 10_000, 10_000)


def test_in_the_grace_hour_last_periods_overage_does_not_eat_the_new_quota():
    pro = make_pro_plan()
    customer = subscribed(pro)
    use(customer, pro.metric, 12_500, JAN_20)
    use(customer, pro.metric, 100, FEB_1 + timedelta(minutes=10))

    decision = checked(customer, pro, FEB_1 + timedelta(minutes=30))

    assert (decision.usage, decision.remaining) == (100, 9_900)


def test_gives_the_same_numbers_before_and_after_the_settlement():
    pro = make_pro_plan()
    customer = subscribed(pro)
    use(customer, pro.metric, 12_500, JAN_20)
    use(customer, pro.metric, 100, FEB_1 + timedelta(minutes=10))
    at = FEB_1 + timedelta(hours=2)
    before = checked(customer, pro, at)

    sweep(at)

    assert checked(customer, pro, at) == before


def test_overage_allow_stays_entitled_and_says_so():
    pro = make_pro_plan()
    PlanFeature.objects.filter(plan=pro.plan).update(overage="allow")
    customer = subscribed(pro)
    use(customer, pro.metric, 10_001, JAN_20)

    decision = checked(customer, pro)

    assert (decision.entitled, decision.overage_allowed, decision.remaining) == (True, True, 0)


def test_pay_as_you_go_has_no_limit_and_no_credit():
    pro = make_pro_plan(quota=None)
    customer = subscribed(pro)
    use(customer, pro.metric, 5_000, JAN_20)

    decision = checked(customer, pro)

    assert decision.entitled
    assert (decision.usage, decision.limit, decision.remaining) == (5_000, None, None)
    assert (decision.source, decision.credit_info) == ("plan", None)


def test_a_goodwill_grant_never_puts_a_limit_on_pay_as_you_go():
    pro = make_pro_plan(quota=None)
    customer = subscribed(pro)
    goodwill = definition_for(pro)
    grant_credits(at=JAN_20, customer=customer, definition=goodwill, amount=Decimal(10))
    use(customer, pro.metric, 50, JAN_20)

    decision = checked(customer, pro)

    assert (decision.entitled, decision.limit) == (True, None)
    assert decision.credit_info is not None
    assert decision.credit_info.remaining == 0


def definition_for(pro: ProPlan) -> CreditDefinition:
    return CreditDefinition.objects.create(
        name="Goodwill",
        scope="merchant",
        application_type="usage",
        metric=pro.metric,
        feature=pro.feature,
        default_amount=Decimal(500),
        created_at=JAN_1,
    )


def test_a_goodwill_grant_raises_the_limit_of_this_period():
    pro = make_pro_plan()
    customer = subscribed(pro)
    use(customer, pro.metric, 10_200, JAN_20)
    grant_credits(at=JAN_20, customer=customer, definition=definition_for(pro))

    decision = checked(customer, pro)

    # 10,000 + 500 granted; 10,200 used, of which all are covered now.
    assert (decision.entitled, decision.limit, decision.remaining) == (True, 10_500, 300)


def test_a_revoked_quota_leaves_nothing_and_not_everything():
    pro = make_pro_plan()
    customer = subscribed(pro)
    use(customer, pro.metric, 300, JAN_20)
    revoke_grant(at=JAN_20 + timedelta(minutes=1), grant=CreditGrant.objects.get(customer=customer, starts_at=JAN_1))

    decision = checked(customer, pro, JAN_20 + timedelta(minutes=2))

    assert not decision.entitled
    assert decision.remaining == 0
    assert decision.credit_info is not None


def test_a_hard_cap_without_a_price_says_no_at_the_quota():
    pro = make_pro_plan(unit_cost_cents=None)
    customer = subscribed(pro)
    use(customer, pro.metric, 10_000, JAN_20)

    decision = checked(customer, pro)

    assert (decision.entitled, decision.remaining) == (False, 0)


def test_a_number_limits_the_usage_of_each_period():
    pro = make_pro_plan(quota=None, unit_cost_cents=None)
    PlanFeature.objects.filter(plan=pro.plan).update(value=100)
    customer = subscribed(pro)
    use(customer, pro.metric, 100, JAN_20)

    used_up, renewed = checked(customer, pro), checked(customer, pro, FEB_1)

    assert (used_up.entitled, used_up.usage, used_up.limit, used_up.remaining) == (False, 100, 100, 0)
    assert (renewed.entitled, renewed.limit, renewed.remaining) == (True, 100, 100)
    assert used_up.credit_info is None


def test_a_number_is_used_before_a_goodwill_grant():
    pro = make_pro_plan(quota=None, unit_cost_cents=None)
    PlanFeature.objects.filter(plan=pro.plan).update(value=100)
    customer = subscribed(pro)
    use(customer, pro.metric, 120, JAN_20)
    grant = grant_credits(at=JAN_20, customer=customer, definition=definition_for(pro), amount=Decimal(50))

    decision = checked(customer, pro)
    sweep(FEB_1 + timedelta(hours=1))
    grant.refresh_from_db()

    # 100 of the number and 20 of the grant; 30 are left, live and in the ledger.
    assert (decision.limit, decision.remaining) == (150, 30)
    assert grant.ledger_remaining == 30


@pytest.mark.parametrize(
    ("value", "entitled"), [(True, True), (False, False), (3, True), (0, False), ("gold", True), ("", False)]
)
def test_a_feature_without_a_metric_is_decided_by_its_value(value, entitled):
    plan = PlanFactory()
    feature = FeatureFactory(value=value)
    PlanFeatureFactory(plan=plan, feature=feature)
    PriceFactory(plan=plan)
    customer = CustomerFactory()
    subscribe(at=JAN_1, customer=customer, plan=plan)

    decision = check(customer=customer.public_id, slug=feature.slug, at=JAN_20)

    assert (decision.entitled, decision.value, decision.source) == (entitled, value, "plan")
    assert (decision.usage, decision.limit, decision.credit_info) == (None, None, None)


def test_a_feature_that_was_not_sold_is_a_no():
    pro = make_pro_plan()
    customer = CustomerFactory()

    decision = checked(customer, pro)

    assert (decision.entitled, decision.source, decision.value) == (False, "default", None)


def test_a_grant_without_a_subscription_entitles():
    pro = make_pro_plan()
    customer = CustomerFactory()
    grant_credits(at=JAN_20, customer=customer, definition=definition_for(pro))
    use(customer, pro.metric, 100, JAN_20)

    decision = checked(customer, pro)

    assert (decision.entitled, decision.source, decision.remaining, decision.limit) == (True, "credits", 400, 500)


@pytest.mark.parametrize("status", ["paused", "unpaid", "canceled"])
def test_a_subscription_that_does_not_run_entitles_to_nothing(status):
    pro = make_pro_plan(quota=None)
    customer = subscribed(pro)
    paused_at = JAN_1 if status == "paused" else None
    Subscription.objects.filter(customer=customer).update(status=status, paused_at=paused_at)

    assert not checked(customer, pro).entitled


def test_a_subscription_in_the_future_entitles_from_its_start():
    pro = make_pro_plan()
    customer = CustomerFactory()
    subscribe(at=JAN_1, customer=customer, plan=pro.plan, started_at=JAN_20)

    before = checked(customer, pro, JAN_20 - timedelta(seconds=1))
    from_then = checked(customer, pro, JAN_20)

    assert (before.entitled, from_then.entitled, from_then.remaining) == (False, True, 10_000)


def test_reads_the_copy_that_was_sold_and_not_the_plan():
    pro = make_pro_plan(quota=None, unit_cost_cents=None)
    PlanFeature.objects.filter(plan=pro.plan).update(value=100)
    customer = subscribed(pro)
    PlanFeature.objects.filter(plan=pro.plan).update(value=5)

    assert checked(customer, pro).limit == 100


def test_an_unknown_slug_is_a_no_and_an_unknown_customer_a_refusal():
    customer = CustomerFactory()

    assert check(customer=customer.public_id, slug="no-such", at=JAN_20).entitled is False
    with pytest.raises(CustomerNotFound):
        check(customer="cus_unknown", slug="no-such", at=JAN_20)


def test_finds_the_customer_by_external_id():
    pro = make_pro_plan()
    customer = subscribed(pro)

    assert check(customer=customer.external_customer_id, external=True, slug=pro.feature.slug, at=JAN_20).entitled


def test_a_check_costs_two_queries_whatever_the_history():
    pro = make_pro_plan()
    customer = subscribed(pro)
    for month in range(1, 7):
        at = datetime(2025, month, 20, tzinfo=UTC)
        use(customer, pro.metric, 8_000, at)
        sweep(at)

    with CaptureQueriesContext(connection) as queries:
        decision = checked(customer, pro, datetime(2025, 6, 21, tzinfo=UTC))

    assert decision.remaining == 2_000
    assert len(queries) == 2


def test_lists_what_was_sold_and_what_grants_give_by_slug():
    pro, other = make_pro_plan(), make_pro_plan()
    customer = subscribed(pro)
    grant_credits(at=JAN_20, customer=customer, definition=definition_for(other), amount=Decimal(7))

    decisions = list_entitlements(customer=customer.public_id, at=JAN_20)

    assert {decision.slug: decision.remaining for decision in decisions} == {
        pro.feature.slug: 10_000,
        other.feature.slug: 7,
    }


def test_decides_many_in_the_order_asked():
    pro = make_pro_plan()
    customer = subscribed(pro)

    decisions = check_many(customer=customer.public_id, slugs=["zzz", pro.feature.slug, "zzz"], at=JAN_20)

    assert [(decision.slug, decision.entitled) for decision in decisions] == [("zzz", False), (pro.feature.slug, True)]


def test_a_number_is_the_allowance_of_a_priced_metric_too():
    pro = make_pro_plan(quota=None)
    PlanFeature.objects.filter(plan=pro.plan).update(value=100)
    customer = subscribed(pro)
    before = checked(customer, pro)
    use(customer, pro.metric, 130, JAN_20)

    after = checked(customer, pro)
    sweep(FEB_1 + timedelta(hours=1))

    assert (before.entitled, before.limit, before.remaining) == (True, 100, 100)
    assert (after.entitled, after.usage, after.remaining) == (False, 130, 0)
    # 30 of 130 calls are beyond the 100 that are included: 30 × 5 cents, and the next base fee.
    assert bills(customer)[-1] == ("issued", 3_050, [("fixed", 1, 2_900), ("usage", 30, 150)])


def test_a_quota_takes_the_place_of_a_number():
    pro = make_pro_plan(quota=10_000)
    PlanFeature.objects.filter(plan=pro.plan).update(value=500)
    customer = subscribed(pro)

    decision = checked(customer, pro)

    assert (decision.limit, decision.remaining) == (10_000, 10_000)


def test_a_switch_with_a_quota_says_no_when_the_quota_is_used_up():
    pro = make_pro_plan(quota=100)
    PlanFeature.objects.filter(plan=pro.plan).update(value=True)
    customer = subscribed(pro)
    use(customer, pro.metric, 150, JAN_20)

    assert not checked(customer, pro).entitled


def test_a_quota_that_comes_later_takes_the_place_of_the_number_from_the_next_period_on():
    pro = make_pro_plan(quota=None)
    PlanFeature.objects.filter(plan=pro.plan).update(value=1_000)
    customer = subscribed(pro)
    create_definition(
        at=JAN_20,
        name="Quota",
        scope="plan",
        application_type="usage",
        plan=pro.plan,
        feature=pro.feature,
        default_amount=Decimal(500),
        renew_on_billing=True,
    )

    assert (checked(customer, pro).limit, checked(customer, pro, FEB_1).limit) == (1_000, 500)


def test_lists_nothing_of_a_subscription_that_has_not_begun():
    pro = make_pro_plan()
    customer = CustomerFactory()
    subscribe(at=JAN_1, customer=customer, plan=pro.plan, started_at=JAN_20)

    assert list_entitlements(customer=customer.public_id, at=JAN_20 - timedelta(seconds=1)) == []
    assert len(list_entitlements(customer=customer.public_id, at=JAN_20)) == 1


class TestWhatWasNotSoldCapsNothing:
    """A customer who pays as he goes goes on so until credits of his own begin."""

    def define(self, pro: ProPlan, **terms: Any) -> None:
        create_definition(
            at=JAN_1 + timedelta(days=2),
            name="Calls",
            application_type="usage",
            default_amount=Decimal(100),
            plan=pro.plan,
            feature=pro.feature,
            **{"scope": "plan", "renew_on_billing": True} | terms,
        )

    @pytest.mark.parametrize(
        "terms",
        [{}, {"is_active": False}, {"renew_on_billing": False}, {"scope": "price"}, {"scope": "merchant"}],
        ids=["from the next renewal", "switched off", "once", "of another price", "of the merchant"],
    )
    def test_a_definition_that_gives_him_nothing_yet(self, terms):
        pro = make_pro_plan(quota=None)
        customer = subscribed(pro)
        self.define(pro, **terms | ({"price": PriceFactory(plan=pro.plan)} if "price" in terms.values() else {}))

        decision = checked(customer, pro)

        assert (decision.entitled, decision.limit) == (True, None)

    def test_a_later_quota_caps_from_the_renewal_that_grants_it(self):
        pro = make_pro_plan(quota=None)
        customer = subscribed(pro)
        self.define(pro)

        decision = checked(customer, pro, at=FEB_1)

        assert (decision.entitled, decision.limit) == (True, 100)
