"""Consume: decide and record in one step. Base 29.00, quota 10, 5 cents, one subscription from 1 January."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from billing.services.subscribe import subscribe
from credits.services.grants import grant_credits, revoke_grant
from credits.services.positions import read_positions
from entitlements.services.balances import NotConsumable
from entitlements.services.check import check
from entitlements.services.consume import Consumption, TimestampBeforeOpenPeriod, consume
from metering.models import UsageDay, UsageEvent
from metering.services.metrics import create_metric
from metering.services.record_events import EventConflict
from plans.models import PlanFeature, Seat
from plans.refusals import InvalidInput
from plans.services.customers import CustomerNotFound
from plans.services.features import FeatureNotFound
from tests.factories import (
    CreditDefinitionFactory,
    CreditGrantFactory,
    CustomerFactory,
    FeatureFactory,
    MetricFactory,
    PlanFeatureFactory,
)
from tests.pro_plan import bills, make_pro_plan, sweep, use

pytestmark = pytest.mark.django_db

JAN_1 = datetime(2025, 1, 1, tzinfo=UTC)
JAN_20 = datetime(2025, 1, 20, 12, tzinfo=UTC)
FEB_1 = datetime(2025, 2, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def wanted(units=1, key=None, **more):
    return Consumption(units=Decimal(units), idempotency_key=key or str(uuid4()), key_given=key is not None, **more)


def taken(customer, slug, units=1, key=None, at=JAN_20, **more):
    return consume(customer=customer.public_id, slug=slug, wanted=wanted(units, key, **more), at=at)


def is_allowed(consumed):
    return consumed.event is not None


@pytest.fixture
def pro():
    return make_pro_plan(quota=10)


def subscribed(pro, at=JAN_1, **customer):
    made = CustomerFactory(**customer)
    subscribe(at=at, customer=made, plan=pro.plan)
    return made


@pytest.fixture
def ada(pro):
    return subscribed(pro)


@pytest.fixture
def slug(pro):
    return pro.feature.slug


def with_metric(quota=10, **metric):
    """A plan whose feature is measured by a metric of this kind."""
    pro = make_pro_plan(quota=None, unit_cost_cents=None)
    made = MetricFactory(**metric)
    pro.feature.metrics.set([made])
    if quota is not None:
        CreditDefinitionFactory(plan=pro.plan, feature=pro.feature, default_amount=Decimal(quota))
    return pro, made


class TestDeciding:
    def test_records_what_remains_and_answers_with_the_check_that_follows(self, pro, ada, slug):
        consumed = taken(ada, slug, 4)

        assert UsageEvent.objects.get(pk=consumed.outcome.event_id).value == 4
        assert (consumed.decision.usage, consumed.decision.limit, consumed.decision.remaining) == (4, 10, 6)
        assert consumed.decision == check(customer=ada.public_id, slug=slug, at=JAN_20)

    def test_the_last_unit_is_given_and_nothing_after_it(self, ada, slug):
        last = taken(ada, slug, 10)
        more = taken(ada, slug, "0.000001")

        assert (is_allowed(last), last.decision.entitled, last.decision.remaining) == (True, False, 0)
        assert not is_allowed(more)
        assert more.decision == last.decision
        assert UsageEvent.objects.count() == 1

    def test_more_than_remains_is_refused_whole(self, ada, slug):
        taken(ada, slug, 7)

        refused = taken(ada, slug, 4)

        assert not is_allowed(refused)
        assert refused.decision.remaining == 3
        assert UsageDay.objects.get().total == 7

    def test_steps_of_a_tenth_against_five_admit_exactly_fifty(self):
        pro = make_pro_plan(quota=5)
        ada = subscribed(pro)

        answers = [taken(ada, pro.feature.slug, "0.10") for _ in range(60)]

        assert [is_allowed(answer) for answer in answers] == [True] * 50 + [False] * 10
        assert [str(answer.decision.remaining.normalize()) for answer in answers[47:50]] == ["0.2", "0.1", "0"]
        assert UsageDay.objects.get().total == 5

    def test_events_recorded_without_asking_are_taken_from_the_same_rest(self, pro, ada, slug):
        use(ada, pro.metric, 8, JAN_20)

        assert not is_allowed(taken(ada, slug, 3))
        assert is_allowed(taken(ada, slug, 2))

    def test_the_next_period_has_a_quota_of_its_own_at_its_first_instant(self, ada, slug):
        taken(ada, slug, 10)

        assert not is_allowed(taken(ada, slug, 1, at=FEB_1 - timedelta(microseconds=1)))
        assert is_allowed(taken(ada, slug, 10, at=FEB_1))

    def test_a_goodwill_grant_is_taken_from_too(self, pro, ada, slug):
        extra = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature)
        grant_credits(at=JAN_20, customer=ada, definition=extra, amount=Decimal(5))

        assert is_allowed(taken(ada, slug, 15))
        assert not is_allowed(taken(ada, slug, 1))

    def test_after_a_revoke_its_rest_is_gone(self, pro, ada, slug):
        extra = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature)
        grant = grant_credits(at=JAN_20, customer=ada, definition=extra, amount=Decimal(5))
        taken(ada, slug, 12)

        revoke_grant(grant=grant, at=JAN_20 + HOUR)

        # 10 of the quota, which ends sooner, and 2 of the grant are used; the revoke took the other 3.
        refused = taken(ada, slug, 1, at=JAN_20 + HOUR)
        assert not is_allowed(refused)
        assert refused.decision.remaining == 0

    def test_a_correction_below_zero_takes_up_the_first_units(self, pro, ada, slug):
        use(ada, pro.metric, -5, JAN_20)

        answers = [taken(ada, slug, 5) for _ in range(4)]

        # -5 + 5 is no usage yet; then 5, then 10.
        assert [answer.decision.remaining for answer in answers] == [10, 5, 0, 0]
        assert [is_allowed(answer) for answer in answers] == [True, True, True, False]

    def test_a_grant_alone_entitles(self, pro, slug):
        bob = CustomerFactory()
        extra = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature)
        CreditGrantFactory(customer=bob, definition=extra, amount=Decimal(3), at=JAN_20)

        assert [is_allowed(taken(bob, slug, 2)) for _ in range(2)] == [True, False]

    def test_who_has_neither_subscription_nor_grant_gets_nothing(self, slug):
        refused = taken(CustomerFactory(), slug)

        assert not is_allowed(refused)
        assert (refused.decision.entitled, refused.decision.source) == (False, "default")

    def test_what_was_consumed_is_on_the_invoice_with_everything_else(self, pro, ada, slug):
        PlanFeature.objects.filter(plan=pro.plan).update(overage="block")
        taken(ada, slug, 10)
        use(ada, pro.metric, 2, JAN_20)

        sweep(FEB_1 + 2 * HOUR)

        # 29.00 and 2 units past the quota at 5 cents.
        assert bills(ada)[-1][1] == 2_910


class TestOverage:
    @pytest.fixture
    def generous(self, pro):
        PlanFeature.objects.filter(plan=pro.plan).update(overage="allow")
        return subscribed(pro)

    def test_allow_goes_past_the_quota_and_says_so(self, generous, slug):
        consumed = taken(generous, slug, 12)

        assert is_allowed(consumed)
        assert (consumed.decision.entitled, consumed.decision.overage_allowed) == (True, True)
        assert (consumed.decision.usage, consumed.decision.remaining) == (12, 0)
        assert consumed.decision == check(customer=generous.public_id, slug=slug, at=JAN_20)

    def test_a_call_may_ask_to_stay_within_the_quota(self, generous, slug):
        assert not is_allowed(taken(generous, slug, 12, past_limit=False))
        assert is_allowed(taken(generous, slug, 10, past_limit=False))

    def test_a_call_cannot_ask_for_more_than_was_sold(self, ada, slug):
        assert not is_allowed(taken(ada, slug, 12, past_limit=True))

    def test_pay_as_you_go_has_no_limit(self):
        pro = make_pro_plan(quota=None)
        ada = subscribed(pro)

        consumed = taken(ada, pro.feature.slug, 1_000_000, past_limit=False)

        assert is_allowed(consumed)
        assert (consumed.decision.limit, consumed.decision.remaining, consumed.decision.usage) == (
            None,
            None,
            1_000_000,
        )
        assert consumed.decision == check(customer=ada.public_id, slug=pro.feature.slug, at=JAN_20)

    @pytest.mark.parametrize("on", [True, False])
    def test_a_switch_with_a_metric_gives_everything_or_nothing(self, on):
        pro = make_pro_plan(quota=None)
        PlanFeature.objects.filter(plan=pro.plan).update(value=on)
        ada = subscribed(pro)

        assert is_allowed(taken(ada, pro.feature.slug, 1_000)) is on

    def test_a_number_is_a_hard_cap(self):
        pro = make_pro_plan(quota=None, unit_cost_cents=None)
        PlanFeature.objects.filter(plan=pro.plan).update(value=3)
        ada = subscribed(pro)

        answers = [is_allowed(taken(ada, pro.feature.slug)) for _ in range(4)]

        assert answers == [True, True, True, False]


class TestRepetitions:
    def test_the_same_key_again_answers_with_the_first_event_and_takes_nothing(self, ada, slug):
        first = taken(ada, slug, 4, key="k")
        again = taken(ada, slug, 4, key="k", at=JAN_20 + HOUR)

        assert (first.outcome.deduplicated, again.outcome.deduplicated) == (False, True)
        assert again.outcome.event_id == first.outcome.event_id
        assert again.decision.remaining == 6

    def test_a_repetition_is_allowed_also_when_nothing_remains(self, ada, slug):
        taken(ada, slug, 10, key="k")

        again = taken(ada, slug, 10, key="k")

        assert again.outcome.deduplicated
        assert again.decision.remaining == 0

    def test_a_refused_key_may_be_tried_again(self, pro, ada, slug):
        extra = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature)
        assert not is_allowed(taken(ada, slug, 12, key="k"))

        grant_credits(at=JAN_20, customer=ada, definition=extra, amount=Decimal(2))

        assert is_allowed(taken(ada, slug, 12, key="k"))

    def test_a_key_with_other_content_is_a_conflict_that_names_the_fields(self, ada, slug):
        taken(ada, slug, 4, key="k")

        with pytest.raises(EventConflict, match="eventValue, properties differ") as conflict:
            taken(ada, slug, 3, key="k", properties='{"region": "eu"}')

        assert (conflict.value.status, conflict.value.code) == (409, "idempotency_conflict")
        assert UsageEvent.objects.count() == 1

    def test_a_key_of_an_event_that_was_sent_without_asking_is_a_repetition_of_it(self, pro, ada, slug):
        use(ada, pro.metric, 4, JAN_20, key="k")

        with pytest.raises(EventConflict, match="eventTimestamp"):
            taken(ada, slug, 4, key="k")

    def test_the_same_key_of_another_customer_is_another_call(self, pro, ada, slug):
        bob = subscribed(pro)

        assert not taken(ada, slug, 4, key="k").outcome.deduplicated
        assert not taken(bob, slug, 4, key="k").outcome.deduplicated


class TestTimestamps:
    def test_an_instant_of_the_open_period_is_decided_and_recorded_at_that_instant(self, ada, slug):
        consumed = taken(ada, slug, 4, occurred_at=JAN_1)

        assert UsageEvent.objects.get(pk=consumed.outcome.event_id).occurred_at == JAN_1
        assert consumed.decision == check(customer=ada.public_id, slug=slug, at=JAN_20)
        assert not is_allowed(taken(ada, slug, 7, occurred_at=JAN_1))

    def test_what_is_used_now_is_missing_at_an_earlier_instant_of_the_period(self, ada, slug):
        taken(ada, slug, 8)

        assert not is_allowed(taken(ada, slug, 3, occurred_at=JAN_1 + HOUR))

    def test_a_grant_of_later_gives_nothing_to_an_earlier_instant(self, pro, slug):
        bob = CustomerFactory()
        extra = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature)
        CreditGrantFactory(customer=bob, definition=extra, amount=Decimal(3), at=JAN_20)

        assert not is_allowed(taken(bob, slug, 1, occurred_at=JAN_1 + HOUR))
        assert is_allowed(taken(bob, slug, 1, occurred_at=JAN_20 - HOUR))

    def test_an_instant_before_the_open_period_is_refused_by_name(self, ada, slug):
        for_earlier = wanted(1, occurred_at=FEB_1 - timedelta(microseconds=1))

        with pytest.raises(TimestampBeforeOpenPeriod, match="open period") as refusal:
            consume(customer=ada.public_id, slug=slug, wanted=for_earlier, at=FEB_1 + HOUR)

        assert refusal.value.details[0]["path"] == "timestamp"
        assert UsageEvent.objects.count() == 0

    def test_a_repetition_is_answered_also_when_its_period_is_over(self, ada, slug):
        taken(ada, slug, 4, key="k", occurred_at=JAN_20)

        assert taken(ada, slug, 4, key="k", occurred_at=JAN_20, at=FEB_1 + HOUR).outcome.deduplicated

    def test_without_a_subscription_the_calendar_month_is_open(self, pro, slug):
        bob = CustomerFactory()
        extra = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature)
        CreditGrantFactory(customer=bob, definition=extra, amount=Decimal(3), at=JAN_1)

        assert is_allowed(taken(bob, slug, 1, occurred_at=JAN_1 + HOUR))
        with pytest.raises(TimestampBeforeOpenPeriod):
            taken(bob, slug, 1, occurred_at=JAN_1 - HOUR)


class TestWhatIsCounted:
    def test_a_count_takes_one_at_a_time(self):
        pro, _ = with_metric(quota=2, aggregation_type="COUNT")
        ada = subscribed(pro)

        assert [is_allowed(taken(ada, pro.feature.slug)) for _ in range(3)] == [True, True, False]
        with pytest.raises(InvalidInput, match="value: must be 1"):
            taken(ada, pro.feature.slug, 2)

    @pytest.mark.parametrize("aggregation", ["MAX", "MIN", "AVG", "LAST", "UNIQUE_COUNT"])
    def test_metrics_that_neither_sum_nor_count_are_refused_with_a_reason(self, aggregation):
        pro, _ = with_metric(quota=None, aggregation_type=aggregation)
        ada = subscribed(pro)

        with pytest.raises(NotConsumable, match=f"is a {aggregation}, of which no units"):
            taken(ada, pro.feature.slug)

    def test_a_feature_without_metric_is_refused(self, pro, ada):
        PlanFeatureFactory(plan=pro.plan, feature=FeatureFactory(slug="priority-support"))

        with pytest.raises(NotConsumable, match="Feature priority-support has no metrics"):
            taken(ada, "priority-support")

    def test_a_feature_with_two_metrics_is_refused(self, pro, ada, slug):
        pro.feature.metrics.add(MetricFactory())

        with pytest.raises(NotConsumable, match="has 2 metrics"):
            taken(ada, slug)

    def test_a_deleted_metric_does_not_count(self, pro, ada, slug):
        pro.feature.metrics.add(create_deleted_metric())

        assert is_allowed(taken(ada, slug))

    @pytest.mark.parametrize(
        ("properties", "passes"),
        [
            ('{"region": "eu", "tier": 1}', True),
            ('{"region": "us", "tier": 1.0}', True),
            ('{"region": "us", "tier": 0.10}', True),
            ('{"region": "asia", "tier": 1}', False),
            ('{"tier": 1}', False),
            ('{"region": "eu", "tier": "1"}', False),
            ('{"region": "eu", "tier": true}', False),
            ('{"region": ["eu"], "tier": 1}', False),
            ("{}", False),
        ],
    )
    def test_properties_must_pass_the_metrics_filter(self, properties, passes):
        pro, metric = with_metric(property_filter={"region": ["eu", "us"], "tier": [1, Decimal("0.1")]})
        ada = subscribed(pro)

        if passes:
            assert is_allowed(taken(ada, pro.feature.slug, 3, properties=properties))
            assert UsageDay.objects.get(version=metric.current).total == 3
        else:
            with pytest.raises(InvalidInput, match=r"properties\.(region|tier): must have one of the values"):
                taken(ada, pro.feature.slug, 3, properties=properties)
            assert UsageEvent.objects.count() == 0

    @pytest.mark.parametrize("found", ["3", "3.0", '"3"', '"3.00"', "30e-1"])
    def test_a_summed_property_must_be_what_is_consumed(self, found):
        pro, metric = with_metric(value_property="bytes")
        ada = subscribed(pro)

        taken(ada, pro.feature.slug, 3, properties=f'{{"bytes": {found}}}')

        assert UsageDay.objects.get(version=metric.current).total == 3

    @pytest.mark.parametrize("found", ["4", "3.0000001", '"3e0"', "true", "null", "[3]", '" 3"'])
    def test_another_number_in_the_summed_property_is_refused_by_its_name(self, found):
        pro, _ = with_metric(value_property="bytes")
        ada = subscribed(pro)

        with pytest.raises(InvalidInput, match=r"properties\.bytes: must be 3 as value is"):
            taken(ada, pro.feature.slug, 3, properties=f'{{"bytes": {found}}}')


class TestWho:
    def test_a_feature_that_is_measured_anew_is_taken_from_its_new_balance(self, pro, slug):
        bob = CustomerFactory()
        first = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature)
        CreditGrantFactory(customer=bob, definition=first, amount=Decimal(3), at=JAN_20)
        taken(bob, slug, 3)

        pro.feature.metrics.set([MetricFactory()])
        second = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature)
        CreditGrantFactory(customer=bob, definition=second, amount=Decimal(2), at=JAN_20)

        assert taken(bob, slug, 1).decision.remaining == 1

    def test_an_unknown_customer_and_an_unknown_feature_are_named(self, ada, slug):
        with pytest.raises(CustomerNotFound):
            consume(customer="cus_unknown", slug=slug, wanted=wanted(), at=JAN_20)
        with pytest.raises(FeatureNotFound):
            taken(ada, "unknown-thing")

    def test_an_external_id_is_the_same_customer(self, ada, slug):
        consumed = consume(
            customer=ada.external_customer_id, external=True, slug=slug, wanted=wanted(4, "k"), at=JAN_20
        )

        assert UsageEvent.objects.get(pk=consumed.outcome.event_id).customer == ada
        assert taken(ada, slug, 4, key="k").outcome.deduplicated

    def test_what_a_member_consumes_is_taken_from_the_organization(self, pro, slug):
        organization = subscribed(pro, customer_organization_id="acme", org_role="primary")
        member = CustomerFactory(customer_organization_id="acme", org_role="member")
        Seat.objects.get_or_create(member=member, organization_id="acme")

        consumed = taken(member, slug, 4, key="k")

        recorded = UsageEvent.objects.get(pk=consumed.outcome.event_id)
        assert (recorded.customer, recorded.member) == (organization, member)
        assert read_rest(organization, pro) == 6
        assert consumed.decision == check(customer=organization.public_id, slug=slug, at=JAN_20)
        assert not is_allowed(taken(organization, slug, 7))
        assert taken(member, slug, 4, key="k").outcome.deduplicated


def read_rest(customer, pro):
    pair = (customer.pk, pro.metric.pk)
    return read_positions([pair], at=JAN_20)[pair].remaining(JAN_20)


def create_deleted_metric():
    metric = create_metric(at=JAN_1, name="Old", event_name="old", aggregation_type="SUM", value_type="NUMERIC")
    metric.deleted_at = JAN_1
    metric.save()
    return metric
