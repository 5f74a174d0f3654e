"""Definitions that are changed or deleted: whom that reaches."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.services.subscribe import subscribe
from credits.models import CreditDefinition, CreditGrant, SubscriptionCredit
from credits.services.definitions import create_definition, delete_definition, update_definition
from credits.services.grants import adjust_grant, grant_credits, revoke_grant
from entitlements.services.check import check
from plans.models import PlanFeature
from plans.refusals import InvalidInput
from tests.factories import START, CreditDefinitionFactory, CustomerFactory, FeatureFactory, PlanFactory
from tests.pro_plan import bills, make_pro_plan, remaining, sweep, use

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
LATER = AT + timedelta(days=5)
HOUR = timedelta(hours=1)
FEBRUARY, MARCH, APRIL = (datetime(2026, month, day, tzinfo=UTC) for month, day in ((2, 28), (3, 31), (4, 30)))

pytestmark = pytest.mark.django_db


@pytest.fixture
def pro():
    return make_pro_plan(quota=100, refill_amount=80)


@pytest.fixture
def customer(pro):
    customer = CustomerFactory()
    subscribe(at=AT, customer=customer, plan=pro.plan)
    return customer


def update(pro, *, to_existing=False, at=LATER, **changes):
    return update_definition(at=at, definition=pro.quota, changes=changes, apply_to_existing=to_existing)


def path_refused(pro, **changes):
    before = CreditDefinition.objects.values().get()
    with pytest.raises(InvalidInput) as refused:
        update(pro, **changes)
    assert CreditDefinition.objects.values().get() == before
    return refused.value.details[0]["path"]


def granted(customer):
    """When each grant starts and what it comes to."""
    grants = CreditGrant.objects.filter(customer=customer).order_by("starts_at", "pk")
    return [(grant.starts_at, int(grant.initial_amount + grant.adjusted_amount)) for grant in grants]


def ledger_agrees():
    return all(
        grant.ledger_remaining == sum(grant.transactions.values_list("amount", flat=True))
        for grant in CreditGrant.objects.all()
    )


class TestUpdating:
    def test_reaches_new_subscriptions_only(self, pro, customer):
        update(pro, default_amount=Decimal(7), refill_amount=None)
        newcomer = CustomerFactory()
        subscribe(at=LATER, customer=newcomer, plan=pro.plan)
        sweep(FEBRUARY)

        assert granted(customer) == [(AT, 100), (FEBRUARY, 80), (MARCH, 80)]
        assert [units for _, units in granted(newcomer)] == [7, 7]

    def test_with_apply_to_existing_reaches_what_has_not_begun(self, pro, customer):
        update(pro, default_amount=Decimal(7), refill_amount=Decimal(200), priority=3, to_existing=True)
        sweep(FEBRUARY)

        assert granted(customer) == [(AT, 100), (FEBRUARY, 200), (MARCH, 200)]
        assert list(CreditGrant.objects.order_by("starts_at").values_list("priority", flat=True)) == [None, 3, 3]
        assert remaining(customer, pro.metric, FEBRUARY) == 200
        assert ledger_agrees()

    def test_lowers_what_has_not_begun(self, pro, customer):
        update(pro, refill_amount=Decimal(5), to_existing=True)

        ahead = CreditGrant.objects.get(starts_at=FEBRUARY)
        assert (ahead.ledger_remaining, ahead.initial_amount, ahead.adjusted_amount) == (5, 80, -75)
        assert list(ahead.transactions.order_by("pk").values_list("kind", "amount")) == [
            ("granted", 80),
            ("adjusted", -75),
        ]

    def test_twice_moves_nothing_the_second_time(self, pro, customer):
        update(pro, refill_amount=Decimal(5), to_existing=True)
        update(pro, refill_amount=Decimal(5), to_existing=True)

        assert CreditGrant.objects.get(starts_at=FEBRUARY).transactions.count() == 2

    def test_brings_rollover_to_what_has_not_begun(self, pro, customer):
        update(pro, rolls_over=True, rollover_cap=Decimal(50), rollover_days=None, to_existing=True)

        terms = CreditGrant.objects.order_by("starts_at").values_list("rolls_over", "rollover_cap")
        assert list(terms) == [(False, None), (True, 50)]

    def test_leaves_alone_what_an_operator_has_revoked(self, pro, customer):
        revoke_grant(at=LATER, grant=CreditGrant.objects.get(starts_at=FEBRUARY))

        update(pro, refill_amount=Decimal(5), to_existing=True)

        revoked = CreditGrant.objects.get(starts_at=FEBRUARY)
        assert (revoked.ledger_remaining, revoked.revoked_at) == (0, FEBRUARY)

    def test_leaves_other_subscriptions_and_grants_alone(self, pro, customer):
        other = make_pro_plan(quota=100)
        somebody = CustomerFactory()
        subscribe(at=AT, customer=somebody, plan=other.plan)

        update(pro, refill_amount=Decimal(5), to_existing=True)

        assert granted(somebody) == [(AT, 100), (FEBRUARY, 100)]

    def test_of_a_subscription_that_has_not_begun_changes_all_of_it(self, pro):
        customer = CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan, started_at=FEBRUARY)

        update(pro, default_amount=Decimal(7), refill_amount=None, to_existing=True)

        assert [units for _, units in granted(customer)] == [7, 7]

    def test_changes_names_at_once_for_all(self, pro, customer):
        update(pro, name="Calls", billing_description="Free calls")

        assert CreditGrant.objects.latest("pk").definition.billing_description == "Free calls"

    @pytest.mark.parametrize(
        ("change", "path"),
        [
            ({"scope": "price"}, "scope"),
            ({"application_type": "monetary"}, "applicationType"),
            ({"plan": None}, "planId"),
            ({"price_component_id": "comp"}, "priceComponentId"),
            ({"feature": None}, "featureSlug"),
            ({"currency": "USD"}, "currency"),
            ({"billing_visible": False}, "billingVisible"),
            ({"expiry_days": 32}, "expiryDays"),
            ({"refill_rrule": "FREQ=DAILY"}, "refillRrule"),
            ({"renew_on_billing": False, "refill_rrule": "DAILY"}, "refillRrule"),
        ],
    )
    def test_refuses_at_the_field_and_changes_nothing(self, pro, customer, change, path):
        assert path_refused(pro, **change) == path

    def test_may_link_a_definition_anew_that_nobody_was_granted(self, pro):
        feature = FeatureFactory(value="usage_based", metrics=[pro.metric])
        assert update(pro, feature=feature).feature == feature
        assert path_refused(pro, feature=FeatureFactory()) == "featureSlug"

    def test_of_the_way_of_renewal_reaches_new_subscriptions_only(self, pro, customer):
        by_calendar = {"renew_on_billing": False, "refill_rrule": "FREQ=WEEKLY"}
        assert path_refused(pro, to_existing=True, **by_calendar) == "applyToExisting"

        update(pro, **by_calendar)
        newcomer = CustomerFactory()
        subscribe(at=LATER, customer=newcomer, plan=pro.plan)

        assert [start for start, _ in granted(newcomer)] == [LATER, datetime(2026, 2, 12, tzinfo=UTC)]
        assert granted(customer) == [(AT, 100), (FEBRUARY, 80)]


class TestStopping:
    @pytest.mark.parametrize("how", ["delete", "switch off"])
    def test_leaves_what_was_sold(self, pro, customer, how):
        if how == "delete":
            delete_definition(at=LATER, definition=pro.quota)
        else:
            update(pro, is_active=False)
        sweep(FEBRUARY)

        assert granted(customer) == [(AT, 100), (FEBRUARY, 80), (MARCH, 80)]

    @pytest.mark.parametrize("how", ["delete", "switch off"])
    def test_with_apply_to_existing_ends_with_the_current_period(self, pro, customer, how):
        if how == "delete":
            delete_definition(at=LATER, definition=pro.quota, apply_to_existing=True)
        else:
            update(pro, is_active=False, to_existing=True)
        assert remaining(customer, pro.metric, LATER) == 100
        sweep(MARCH)

        assert granted(customer) == [(AT, 100), (FEBRUARY, 0)]
        assert CreditGrant.objects.get(starts_at=FEBRUARY).revoked_at == FEBRUARY
        assert remaining(customer, pro.metric, FEBRUARY) == 0
        assert not SubscriptionCredit.objects.exists()
        assert ledger_agrees()

    def test_is_undone_from_the_next_period_on(self, pro, customer):
        update(pro, is_active=False, to_existing=True)
        update(pro, is_active=True, to_existing=True)
        sweep(FEBRUARY)

        assert granted(customer) == [(AT, 100), (FEBRUARY, 80), (MARCH, 80)]
        assert remaining(customer, pro.metric, FEBRUARY) == 80
        assert ledger_agrees()

    def test_is_not_undone_for_what_an_operator_has_revoked(self, pro, customer):
        revoke_grant(at=LATER, grant=CreditGrant.objects.get(starts_at=FEBRUARY))
        update(pro, is_active=False, to_existing=True)
        update(pro, is_active=True, to_existing=True)

        assert remaining(customer, pro.metric, FEBRUARY) == 0

    @pytest.mark.parametrize("terms", [{}, {"refill_rrule": "FREQ=WEEKLY"}])
    def test_is_undone_for_a_subscription_that_has_not_begun(self, terms):
        pro = make_pro_plan(quota=100, renew_on_billing=False, **terms)
        customer = CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan, started_at=FEBRUARY)

        update(pro, is_active=False, to_existing=True)
        assert remaining(customer, pro.metric, FEBRUARY) == 0
        update(pro, is_active=True, to_existing=True)

        assert remaining(customer, pro.metric, FEBRUARY) == 100
        assert remaining(customer, pro.metric, FEBRUARY + timedelta(days=8)) == 100
        assert ledger_agrees()


class TestCalendars:
    """100 units a week on a monthly plan."""

    @pytest.fixture
    def weekly(self):
        return make_pro_plan(quota=100, renew_on_billing=False, refill_rrule="FREQ=WEEKLY")

    @pytest.fixture
    def subscriber(self, weekly):
        customer = CustomerFactory()
        subscribe(at=AT, customer=customer, plan=weekly.plan)
        return customer

    def test_another_calendar_goes_on_after_what_is_written_ahead(self, weekly, subscriber):
        update(weekly, refill_rrule="FREQ=MONTHLY", to_existing=True)
        sweep(FEBRUARY)

        # The week that began on 31 January ends on 7 February; what follows it lives until the month turns.
        rows = CreditGrant.objects.order_by("starts_at").values_list("starts_at", "expires_at")
        assert list(rows) == [
            (AT, datetime(2026, 2, 7, tzinfo=UTC)),
            (datetime(2026, 2, 7, tzinfo=UTC), FEBRUARY),
            (FEBRUARY, MARCH),
            (MARCH, APRIL),
        ]

    def test_an_end_that_is_taken_away_lets_refills_go_on(self):
        pro = make_pro_plan(quota=100, renew_on_billing=False, refill_rrule="FREQ=MONTHLY;COUNT=1")
        customer = CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan)
        assert granted(customer) == [(AT, 100)]

        update(pro, refill_rrule="FREQ=MONTHLY", to_existing=True)

        assert granted(customer) == [(AT, 100), (FEBRUARY, 100)]

    def test_a_stopped_calendar_goes_on_with_its_next_turn(self, weekly, subscriber):
        update(weekly, is_active=False, to_existing=True)
        sweep(AT + timedelta(days=20))
        assert granted(subscriber) == [(AT, 100), (datetime(2026, 2, 7, tzinfo=UTC), 0)]

        update(weekly, is_active=True, to_existing=True, at=AT + timedelta(days=20))

        assert granted(subscriber)[2:] == [(datetime(2026, 2, 21, tzinfo=UTC), 100)]
        assert ledger_agrees()

    def test_one_made_later_begins_with_the_next_turn(self, pro, customer):
        create_definition(
            at=LATER, name="Weekly", scope="plan", application_type="usage", plan=pro.plan, feature=pro.feature,
            default_amount=Decimal(30), refill_amount=Decimal(9), refill_rrule="FREQ=WEEKLY",
        )  # fmt: skip
        sweep(datetime(2026, 2, 7, tzinfo=UTC))

        weekly = CreditGrant.objects.exclude(refill_number=None).order_by("starts_at")
        assert [(grant.refill_number, grant.starts_at.day, int(grant.initial_amount)) for grant in weekly] == [
            (1, 7, 9),
            (2, 14, 9),
        ]


def test_a_definition_that_is_switched_off_when_made_reaches_nobody(pro, customer):
    before = granted(customer)
    create_definition(
        at=LATER, name="Later", scope="plan", application_type="usage", plan=pro.plan, feature=pro.feature,
        default_amount=Decimal(30), renew_on_billing=True, is_active=False,
    )  # fmt: skip

    assert granted(customer) == before


def test_what_an_operator_added_to_a_coming_grant_stays_when_other_terms_change(pro, customer):
    (coming,) = CreditGrant.objects.filter(customer=customer, starts_at=FEBRUARY)
    adjust_grant(at=LATER, grant=coming, amount=Decimal(50), notes="goodwill")

    update(pro, to_existing=True, priority=3)
    assert granted(customer) == [(AT, 100), (FEBRUARY, 130)]

    update(pro, to_existing=True, refill_amount=Decimal(90))
    assert granted(customer) == [(AT, 100), (FEBRUARY, 140)]


def test_neither_kind_nor_plan_of_a_definition_changes(pro):
    assert path_refused(pro, application_type="monetary") == "applicationType"
    assert path_refused(pro, plan=PlanFactory()) == "planId"


def test_what_was_deleted_for_new_subscriptions_can_still_be_stopped_for_all(api, pro, customer):
    path = f"/v1/credits/definitions/{pro.quota.public_id}/delete"
    assert api.post(path, {}).status == 200
    assert SubscriptionCredit.objects.count() == 1

    assert api.post(path, {"applyToExisting": True}).status == 200
    assert SubscriptionCredit.objects.count() == 0


class TestWhatHoldsWithoutAQuota:
    """A definition that is taken away from what was sold (`applyToExisting`)."""

    def without(self, value="usage_based", **plan):
        """A subscriber who has used 30 of 100, and loses the quota with its period; the check in the next one."""
        pro = make_pro_plan(quota=100, **plan)
        PlanFeature.objects.filter(plan=pro.plan).update(value=value)
        customer = CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan)
        use(customer, pro.metric, 30, LATER)
        delete_definition(at=LATER, definition=pro.quota, apply_to_existing=True)
        return pro, customer

    def decision(self, pro, customer, at):
        return check(customer=customer.public_id, slug=pro.feature.slug, at=at)

    @pytest.mark.parametrize("value", ["usage_based", True])
    def test_a_hard_cap_is_never_opened(self, value):
        pro, customer = self.without(value, unit_cost_cents=None)

        now = self.decision(pro, customer, LATER)
        sweep(FEBRUARY + HOUR)
        then = self.decision(pro, customer, FEBRUARY + HOUR)

        assert (now.entitled, now.limit, now.remaining) == (True, 100, 70)
        assert (then.entitled, then.limit, then.remaining) == (False, 0, 0)

    def test_other_grants_go_on_under_a_hard_cap(self):
        pro, customer = self.without(unit_cost_cents=None)
        bought = CreditDefinitionFactory(
            scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature, default_amount=Decimal(5)
        )
        grant_credits(at=LATER, customer=customer, definition=bought, starts_at=FEBRUARY)
        sweep(FEBRUARY + HOUR)

        then = self.decision(pro, customer, FEBRUARY + HOUR)

        assert (then.entitled, then.remaining) == (True, 5)

    def test_what_is_charged_is_pay_as_you_go(self):
        pro, customer = self.without()
        sweep(FEBRUARY + HOUR)
        use(customer, pro.metric, 40, FEBRUARY + HOUR)

        then = self.decision(pro, customer, FEBRUARY + HOUR)
        sweep(MARCH + HOUR)

        assert (then.entitled, then.limit) == (True, None)
        assert bills(customer)[-1][2][1:] == [("usage", 40, 200)]

    def test_the_number_that_was_sold_with_the_feature_is_included_again(self):
        pro, customer = self.without(25)

        now = self.decision(pro, customer, LATER)
        sweep(FEBRUARY + HOUR)
        use(customer, pro.metric, 40, FEBRUARY + HOUR)
        then = self.decision(pro, customer, FEBRUARY + HOUR)
        sweep(MARCH + HOUR)

        assert (now.limit, now.remaining) == (100, 70)
        assert (then.entitled, then.limit, then.remaining) == (False, 25, 0)
        # February's 30 were paid by the quota; of March's 40 the number includes 25.
        assert [lines[1:] for _, _, lines in bills(customer)[1:]] == [
            [("usage", 30, 150), ("credit", 30, -150)], [("usage", 15, 75)],
        ]  # fmt: skip

    def test_a_quota_that_comes_back_takes_its_place_again(self):
        pro, customer = self.without(unit_cost_cents=None)
        CreditDefinition.objects.update(deleted_at=None)
        update(pro, to_existing=True, is_active=True)
        sweep(FEBRUARY + HOUR)

        assert self.decision(pro, customer, FEBRUARY + HOUR).remaining == 100

    def test_another_quota_of_the_metric_goes_on(self):
        pro = make_pro_plan(quota=100, unit_cost_cents=None)
        create_definition(
            at=START, name="More", scope="plan", application_type="usage", plan=pro.plan, feature=pro.feature,
            default_amount=Decimal(7), renew_on_billing=True,
        )  # fmt: skip
        customer = CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan)
        delete_definition(at=LATER, definition=pro.quota, apply_to_existing=True)
        sweep(FEBRUARY + HOUR)

        assert self.decision(pro, customer, FEBRUARY + HOUR).limit == 7
