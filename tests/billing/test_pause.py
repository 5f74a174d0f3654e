"""Ruling 30: pause and resume. 29.00 a month, 10,000 calls, 5 cents each beyond, from 1 May on."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.services.cancel import cancel_at_period_end, undo_scheduled
from billing.services.change import change_at_period_end, change_now
from billing.services.pause import SubscriptionIsActive, pause, resume
from billing.services.subscribe import subscribe
from billing.services.wind_down import ScheduledChangeIsDue
from credits.models import CreditTransaction
from credits.services.grants import grant_credits
from entitlements.services.check import check
from entitlements.services.consume import Consumption, consume
from plans.models import PlanFeature, Subscription
from plans.services.subscriptions import SubscriptionEnded, SubscriptionNotActive
from tests.billing.lives import invoices, lines_of, live, run_sweeps
from tests.factories import (
    CreditDefinitionFactory,
    CustomerFactory,
    FixedComponentFactory,
    UsageComponentFactory,
)
from tests.pro_plan import assert_books_add_up, make_pro_plan, remaining, use

pytestmark = pytest.mark.django_db

MAY = datetime(2026, 5, 1, tzinfo=UTC)
MAY_11 = datetime(2026, 5, 11, 9, tzinfo=UTC)
MAY_21 = datetime(2026, 5, 21, 12, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
JUNE_11 = datetime(2026, 6, 11, 15, tzinfo=UTC)
JULY = datetime(2026, 7, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def customer():
    return CustomerFactory()


@pytest.fixture
def subscription(pro, customer):
    return subscribe(at=MAY, customer=customer, plan=pro.plan)


@pytest.fixture(autouse=True)
def books_add_up():
    yield
    run_sweeps(datetime(2026, 8, 1, tzinfo=UTC))
    assert_books_add_up(at=datetime(2026, 8, 1, tzinfo=UTC))


def answer(customer, pro, at):
    return check(customer=customer.public_id, slug=pro.feature.slug, at=at)


def test_ruling_30_a_pause_bills_usage_and_refunds_nothing(pro, customer, subscription):
    use(customer, pro.metric, 12_000, MAY + DAY)

    invoice = pause(subscription=subscription, at=MAY_11)
    run_sweeps(MAY_11 + HOUR)

    assert lines_of(invoice) == [("usage", 60_000), ("credit", -50_000)]


def test_ruling_30_nobody_is_entitled_while_paused_whatever_is_left(pro, customer, subscription):
    pool = CreditDefinitionFactory(at=MAY, scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature)
    grant_credits(at=MAY, customer=customer, definition=pool, amount=700)

    pause(subscription=subscription, at=MAY_11)

    decision = answer(customer, pro, MAY_11 + HOUR)
    assert (decision.entitled, decision.remaining) == (False, 0)
    wanted = Consumption(units=Decimal(1), idempotency_key="one", key_given=True)
    consumed = consume(customer=customer.public_id, slug=pro.feature.slug, wanted=wanted, at=MAY_11 + HOUR)
    assert consumed.event is None
    resume(subscription=subscription, at=MAY_21)
    assert answer(customer, pro, MAY_21 + HOUR).remaining == 10_700


def test_ruling_30_usage_of_a_pause_is_shown_and_burns_and_bills_nothing(pro, customer, subscription):
    pause(subscription=subscription, at=MAY_11)
    use(customer, pro.metric, 50_000, MAY_11 + DAY)

    resume(subscription=subscription, at=MAY_21)
    run_sweeps(JUNE + HOUR)
    run_sweeps(JULY + 35 * DAY)

    assert invoices(customer)[:3] == [("cycle", MAY, 2_900), ("cycle", JUNE, 2_900), ("cycle", JULY, 2_900)]
    assert not CreditTransaction.objects.filter(kind="burned").exists()


def test_ruling_30_resume_within_what_is_paid_goes_on_with_the_same_grants(pro, customer, subscription):
    use(customer, pro.metric, 4_000, MAY + DAY)
    pause(subscription=subscription, at=MAY_11)

    resume(subscription=subscription, at=MAY_21)

    assert remaining(customer, pro.metric, MAY_21 + HOUR) == 6_000
    use(customer, pro.metric, 7_000, MAY_21 + DAY)
    run_sweeps(JUNE + HOUR)
    assert [one for one in invoices(customer) if one[2]] == [("cycle", MAY, 2_900), ("cycle", JUNE, 2_900 + 5_000)]


def test_ruling_30_resume_after_what_is_paid_is_a_new_period_with_fee_and_fresh_grants(pro, customer, subscription):
    use(customer, pro.metric, 4_000, MAY + DAY)
    pause(subscription=subscription, at=MAY_11)
    run_sweeps(JUNE_11)

    resume(subscription=subscription, at=JUNE_11)

    assert remaining(customer, pro.metric, JUNE_11 + HOUR) == 10_000
    assert invoices(customer)[-1] == ("cycle", JUNE_11, 2_900)
    run_sweeps(datetime(2026, 7, 11, 1, tzinfo=UTC))
    assert invoices(customer)[-1] == ("cycle", datetime(2026, 7, 11, tzinfo=UTC), 2_900)


def test_nothing_is_billed_while_paused(customer, subscription):
    pause(subscription=subscription, at=MAY_11)

    run_sweeps(JULY + 90 * DAY)

    assert invoices(customer) == [("cycle", MAY, 2_900)]


def test_a_pause_at_the_boundary_bills_no_fee_for_what_comes_then(pro, customer, subscription):
    use(customer, pro.metric, 12_000, MAY + DAY)

    pause(subscription=subscription, at=JUNE)
    run_sweeps(JUNE + HOUR)

    assert [one[2] for one in invoices(customer)] == [2_900, 10_000]


def test_pause_and_resume_at_one_instant_change_nothing(pro, customer, subscription):
    use(customer, pro.metric, 4_000, MAY + DAY)
    for _ in range(3):
        pause(subscription=subscription, at=MAY_11)
        resume(subscription=subscription, at=MAY_11)

    assert remaining(customer, pro.metric, MAY_11 + HOUR) == 6_000
    run_sweeps(JUNE + HOUR)
    assert [one for one in invoices(customer) if one[2]] == [("cycle", MAY, 2_900), ("cycle", JUNE, 2_900)]


def test_pausing_twice_and_resuming_the_active_is_refused(subscription):
    with pytest.raises(SubscriptionIsActive):
        resume(subscription=subscription, at=MAY_11)
    pause(subscription=subscription, at=MAY_11)

    with pytest.raises(SubscriptionNotActive):
        pause(subscription=subscription, at=MAY_11 + HOUR)


def test_several_pauses_of_a_month_leave_one_allowance(pro, customer, subscription):
    use(customer, pro.metric, 3_000, MAY + DAY)
    pause(subscription=subscription, at=MAY_11)
    resume(subscription=subscription, at=MAY_11 + DAY)
    use(customer, pro.metric, 3_000, MAY_11 + 2 * DAY)
    pause(subscription=subscription, at=MAY_21)
    resume(subscription=subscription, at=MAY_21 + DAY)

    assert remaining(customer, pro.metric, MAY_21 + 2 * DAY) == 4_000


def test_a_number_of_the_plans_feature_is_no_more_after_a_change_and_a_pause(customer):
    pro = make_pro_plan(quota=None)
    big = make_pro_plan(base_cents=9_900, quota=None, beside=pro)
    PlanFeature.objects.filter(plan__in=[pro.plan, big.plan]).update(value=3_100)
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 2_000, MAY + DAY)
    following = change_now(subscription=subscription, price=big.price, at=MAY_11).subscription
    use(customer, pro.metric, 100, MAY_11 + HOUR)

    pause(subscription=following, at=MAY_21)
    resume(subscription=following, at=MAY_21 + DAY)

    # 3,100 - 2,000 - 100
    assert answer(customer, pro, MAY_21 + 2 * DAY).remaining == 1_000


@pytest.mark.parametrize("status", ["past_due", "unpaid"])
def test_ruling_30_resuming_what_is_unpaid_forgives_nothing(customer, subscription, status):
    Subscription.objects.filter(pk=subscription.pk).update(status=status)

    resumed = resume(subscription=subscription, at=MAY_11)

    assert resumed.status == "active"
    assert invoices(customer) == [("cycle", MAY, 2_900)]
    assert customer.invoices.get().open_cents == 2_900


def test_a_promised_end_outlives_a_pause(subscription, customer):
    cancel_at_period_end(subscription=subscription, at=MAY + DAY)

    pause(subscription=subscription, at=MAY_11)
    resume(subscription=subscription, at=MAY_21)

    assert live(customer).cancel_at_period_end is True
    run_sweeps(JUNE + DAY)
    ended = Subscription.objects.get(customer=customer)
    assert (ended.status, ended.ended_at) == ("canceled", JUNE)
    assert [one for one in invoices(customer) if one[2]] == [("cycle", MAY, 2_900)]


def test_a_promised_end_comes_during_a_pause(subscription, customer):
    cancel_at_period_end(subscription=subscription, at=MAY + DAY)
    pause(subscription=subscription, at=MAY_11)

    run_sweeps(JUNE + DAY)

    ended = Subscription.objects.get(customer=customer)
    assert (ended.status, ended.ended_at, ended.paused_at) == ("canceled", JUNE, None)
    with pytest.raises(SubscriptionEnded):
        resume(subscription=subscription, at=JUNE_11)


def test_who_resumes_after_the_promised_end_is_told_that_it_comes_first(subscription, customer):
    cancel_at_period_end(subscription=subscription, at=MAY + DAY)
    pause(subscription=subscription, at=MAY_11)

    with pytest.raises(ScheduledChangeIsDue):
        resume(subscription=subscription, at=JUNE_11)


def test_a_promised_end_is_taken_back_during_a_pause(subscription, customer):
    cancel_at_period_end(subscription=subscription, at=MAY + DAY)
    pause(subscription=subscription, at=MAY_11)

    undo_scheduled(subscription=subscription, at=MAY_11 + HOUR)
    run_sweeps(JUNE + DAY)

    assert (live(customer).status, live(customer).cancel_at_period_end) == ("paused", False)


def test_a_change_that_waits_comes_if_the_subscription_runs_again_by_then(pro, subscription, customer):
    big = make_pro_plan(base_cents=9_900, quota=20_000, beside=pro)
    change_at_period_end(subscription=subscription, price=big.price, at=MAY + DAY)
    pause(subscription=subscription, at=MAY_11)

    resume(subscription=subscription, at=MAY_21)
    run_sweeps(JUNE + DAY)

    assert live(customer).price == big.price


def test_a_change_that_waits_is_withdrawn_with_the_reason_if_the_pause_lasts(pro, subscription, customer):
    big = make_pro_plan(base_cents=9_900, quota=20_000, beside=pro)
    scheduled = change_at_period_end(subscription=subscription, price=big.price, at=MAY + DAY)
    pause(subscription=subscription, at=MAY_11)

    run_sweeps(JUNE + DAY)

    scheduled.refresh_from_db()
    assert "Resume it first" in scheduled.refusal
    assert (live(customer).price, live(customer).status) == (pro.price, "paused")


def test_a_pause_of_what_has_not_begun_is_refused(pro, customer):
    future = subscribe(at=MAY, customer=customer, plan=pro.plan, started_at=JUNE)

    with pytest.raises(SubscriptionNotActive, match="has not begun"):
        pause(subscription=future, at=MAY_11)


def test_a_trial_goes_on_after_a_pause_and_is_not_charged(pro, customer):
    trial = subscribe(at=MAY, customer=customer, plan=pro.plan, trial_days=30)
    use(customer, pro.metric, 4_000, MAY + DAY)
    pause(subscription=trial, at=MAY_11)
    resume(subscription=trial, at=MAY_21)

    assert remaining(customer, pro.metric, MAY_21 + HOUR) == 6_000
    run_sweeps(datetime(2026, 5, 31, 1, tzinfo=UTC))
    assert invoices(customer) == [("cycle", datetime(2026, 5, 31, tzinfo=UTC), 2_900)]


def test_who_resumes_after_the_trial_pays_from_then_on(pro, customer):
    trial = subscribe(at=MAY, customer=customer, plan=pro.plan, trial_days=14)
    pause(subscription=trial, at=MAY + DAY)
    run_sweeps(JUNE)

    resume(subscription=trial, at=JUNE_11)

    assert invoices(customer) == [("cycle", JUNE_11, 2_900)]
    assert remaining(customer, pro.metric, JUNE_11 + HOUR) == 10_000


def test_instalments_go_on_where_they_were_after_a_pause(customer):
    pro = make_pro_plan()
    FixedComponentFactory(price=pro.price, position=2, amount_cents=300, recurrence_count=3, label="Device")
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    pause(subscription=subscription, at=MAY_11)
    run_sweeps(JUNE_11)

    resume(subscription=subscription, at=JUNE_11)
    run_sweeps(datetime(2026, 8, 1, tzinfo=UTC))

    fees = [cents for invoice in customer.invoices.order_by("closes_at") for _, cents in lines_of(invoice)]
    # 20 of June's 30 days of the second one.
    assert sorted(cents for cents in fees if cents <= 300) == [200, 300, 300]


def test_usage_of_a_pause_is_shown(pro, customer, subscription):
    pause(subscription=subscription, at=MAY_11)

    use(customer, pro.metric, 500, MAY_11 + DAY)

    assert answer(customer, pro, MAY_11 + 2 * DAY).usage == 500


def test_who_resumes_in_a_later_month_of_a_paid_year_gets_that_months_quota_and_pays_nothing(customer):
    pro = make_pro_plan(base_cents=29_000, base_frequency="YEARLY")
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 9_000, MAY + DAY)
    pause(subscription=subscription, at=MAY_11)
    run_sweeps(JULY)

    resume(subscription=subscription, at=JULY + 14 * DAY)

    assert remaining(customer, pro.metric, JULY + 15 * DAY) == 10_000
    assert [one for one in invoices(customer) if one[2]] == [("cycle", MAY, 29_000)]


def test_late_usage_of_the_part_before_a_pause_does_not_find_the_features_number_twice(customer):
    pro = make_pro_plan(quota=None)
    PlanFeature.objects.filter(plan=pro.plan).update(value=3_100)
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 1_000, MAY + DAY)
    pause(subscription=subscription, at=MAY_11)
    resume(subscription=subscription, at=MAY_21)
    use(customer, pro.metric, 2_100, MAY_21 + HOUR)

    use(customer, pro.metric, 2_500, MAY + 2 * DAY, key="late")
    run_sweeps(JUNE + HOUR)

    # 3,100 of 5,600 calls are free, 2,500 × 5 are charged.
    assert lines_of(customer.invoices.order_by("closes_at").last())[-1] == ("late_usage", 12_500)


def test_late_usage_of_the_part_before_a_pause_does_not_find_included_units_twice(customer):
    pro = make_pro_plan(unit_cost_cents=None, quota=None)
    UsageComponentFactory(price=pro.price, metric=pro.metric, included_units=300)
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 100, MAY + DAY)
    pause(subscription=subscription, at=MAY_11)
    resume(subscription=subscription, at=MAY_21)
    use(customer, pro.metric, 200, MAY_21 + HOUR)

    use(customer, pro.metric, 150, MAY + 2 * DAY, key="late")
    run_sweeps(JUNE + HOUR)

    assert lines_of(customer.invoices.order_by("closes_at").last())[-1] == ("late_usage", 750)


def test_units_of_a_price_that_rounds_them_stay_whole_before_a_pause(customer):
    pro = make_pro_plan(unit_cost_cents=None, quota=None)
    UsageComponentFactory(
        price=pro.price, metric=pro.metric, included_units=5, divide_by=Decimal(1_000), divide_round="up"
    )
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 1_500, MAY + DAY)
    pause(subscription=subscription, at=MAY_11)

    resume(subscription=subscription, at=MAY_21)

    # 1,500 bytes are 2 KB of the 5 that are included.
    parts = subscription.periods.filter(kind="regular", metric=pro.metric).order_by("start_at")
    assert [part.units_in_price for part in parts][:2] == [2_000, 3_000]


def test_several_pauses_leave_what_the_last_part_had_left(customer):
    pro = make_pro_plan(quota=None)
    PlanFeature.objects.filter(plan=pro.plan).update(value=3_100)
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    for day in (1, 5, 9):
        use(customer, pro.metric, 500, MAY + day * DAY)
        pause(subscription=subscription, at=MAY + (day + 1) * DAY)
        resume(subscription=subscription, at=MAY + (day + 2) * DAY)

    # 3,100 - 3 × 500
    assert remaining(customer, pro.metric, MAY + 12 * DAY) == 1_600


@pytest.mark.parametrize("quota", [10_000, None])
def test_a_month_that_began_in_a_pause_gives_the_share_that_its_fee_is_charged_for(customer, quota):
    pro = make_pro_plan(quota=quota)
    if quota is None:
        PlanFeature.objects.filter(plan=pro.plan).update(value=10_000)
    FixedComponentFactory(price=pro.price, position=2, amount_cents=29_000, frequency="YEARLY")
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 9_000, MAY + DAY)
    pause(subscription=subscription, at=MAY_11)
    run_sweeps(JUNE_11)

    resume(subscription=subscription, at=datetime(2026, 6, 16, 12, tzinfo=UTC))

    # 15 of 30 days: 2,900 / 2 and 10,000 / 2
    assert invoices(customer)[-1][2] == 1_450
    assert remaining(customer, pro.metric, datetime(2026, 6, 17, tzinfo=UTC)) == 5_000


def test_a_change_after_a_pause_counts_the_days_that_were_paid_for(customer):
    pro = make_pro_plan(base_cents=36_500, base_frequency="YEARLY")
    big = make_pro_plan(base_cents=73_000, base_frequency="YEARLY", quota=20_000, beside=pro)
    subscription = subscribe(at=datetime(2026, 1, 1, tzinfo=UTC), customer=customer, plan=pro.plan)
    pause(subscription=subscription, at=MAY_11)
    resume(subscription=subscription, at=datetime(2026, 6, 11, tzinfo=UTC))

    change_now(subscription=subscription, price=big.price, at=datetime(2026, 6, 16, tzinfo=UTC))

    # June began in the pause and was given whole: 15 of its days are worth 5,000, the other 15 are worth 10,000.
    assert remaining(customer, pro.metric, datetime(2026, 6, 17, tzinfo=UTC)) == 15_000
