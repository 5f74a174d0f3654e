"""Ruling 28: usage and allowances when a plan changes. 10,000 calls at 5 become 20,000 at 4, unless a test says so."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.models import Invoice
from billing.services.change import change_now
from billing.services.pause import pause, resume
from billing.services.subscribe import subscribe
from credits.models import CreditGrant
from credits.services.definitions import create_definition
from credits.services.grants import grant_credits
from entitlements.services.check import check
from plans.models import PlanFeature, SubscriptionPeriod
from plans.services.overrides import override_feature
from tests.billing.lives import lines_of, run_sweeps
from tests.factories import CreditDefinitionFactory, CustomerFactory, UsageComponentFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, remaining, use

pytestmark = pytest.mark.django_db

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
APRIL_11 = datetime(2026, 4, 11, 9, tzinfo=UTC)
APRIL_16 = datetime(2026, 4, 16, 12, tzinfo=UTC)
APRIL_21 = datetime(2026, 4, 21, 12, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def big(pro):
    return make_pro_plan(base_cents=9_900, quota=20_000, unit_cost_cents="4", beside=pro)


@pytest.fixture
def customer():
    return CustomerFactory()


@pytest.fixture(autouse=True)
def books_add_up():
    yield
    assert_books_add_up(at=JUNE + DAY)


def usage_lines(invoice):
    """What an invoice bills of usage, without what credits of money pay."""
    lines = invoice.lines.filter(credit_transaction=None).exclude(type__in=["fixed", "proration"]).order_by("position")
    return [(line.type, line.amount_cents) for line in lines]


def checked(customer, pro, at):
    return check(customer=customer.public_id, slug=pro.feature.slug, at=at)


def invoice_at(closes_at):
    return Invoice.objects.shown().get(closes_at=closes_at)


def test_a_downgrade_leaves_no_allowance_where_more_is_used_and_charges_nothing_for_the_past(pro, big, customer):
    subscription = subscribe(at=APRIL, customer=customer, plan=big.plan)
    use(customer, pro.metric, 18_000, APRIL + DAY)

    change = change_now(subscription=subscription, price=pro.price, at=APRIL_16)

    # 20,000 / 2 + 10,000 / 2 - 18,000 is below 0
    assert remaining(customer, pro.metric, APRIL_16 + HOUR) == 0
    assert usage_lines(change.invoice) == [("usage", 72_000), ("credit", -72_000)]
    use(customer, pro.metric, 100, APRIL_16 + DAY)
    run_sweeps(MAY + HOUR)
    assert usage_lines(invoice_at(MAY)) == [("usage", 500)]


def test_usage_on_each_side_has_the_price_of_its_side(pro, big, customer):
    subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 12_000, APRIL + DAY)

    change = change_now(subscription=subscription, price=big.price, at=APRIL_16)
    use(customer, pro.metric, 6_000, APRIL_16 + DAY)
    run_sweeps(MAY + HOUR)

    # 12,000 × 5 less 10,000 × 5; then 6,000 × 4 less the 5,000 that 15,000 - 10,000 leave
    assert usage_lines(change.invoice) == [("usage", 60_000), ("credit", -50_000)]
    assert usage_lines(invoice_at(MAY)) == [("usage", 24_000), ("credit", -20_000)]


def test_bought_credits_pay_on_both_sides_and_are_not_counted_as_the_plans(pro, big, customer):
    subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)
    pool = CreditDefinitionFactory(at=APRIL, scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature)
    grant_credits(at=APRIL, customer=customer, definition=pool, amount=3_000)
    use(customer, pro.metric, 12_000, APRIL + DAY)

    change_now(subscription=subscription, price=big.price, at=APRIL_16)

    # 15,000 - 10,000 of the plans, and 1,000 that were bought
    assert remaining(customer, pro.metric, APRIL_16 + HOUR) == 6_000


def test_several_changes_share_the_days_of_the_month(pro, big, customer):
    small = make_pro_plan(base_cents=900, quota=3_000, beside=pro)
    first = subscribe(at=APRIL, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 1_000, APRIL + DAY)
    second = change_now(subscription=first, price=big.price, at=APRIL_11)
    use(customer, pro.metric, 2_000, APRIL_11 + DAY)

    change_now(subscription=second.subscription, price=small.price, at=APRIL_21)

    # A third each: 3,333.33 + 6,666.67 + 1,000 - 3,000
    assert remaining(customer, pro.metric, APRIL_21 + HOUR) == 8_000


def test_allowances_are_rounded_up(customer):
    pro = make_pro_plan(quota=1_000)
    other = make_pro_plan(quota=1_001, beside=pro)
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)

    change_now(subscription=subscription, price=other.price, at=MAY + 10 * DAY)

    # 1,000 × 10 / 31 + 1,001 × 21 / 31 = 1,000.677419
    left = remaining(customer, pro.metric, MAY + 11 * DAY)
    assert Decimal("1000.677419") <= left <= 1_001


def test_late_usage_of_the_part_before_takes_the_new_allowance_and_no_more_than_the_shared_one(pro, big, customer):
    subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 10_000, APRIL + DAY)
    change_now(subscription=subscription, price=big.price, at=APRIL_16)
    use(customer, pro.metric, 2_000, APRIL_16 + DAY)

    use(customer, pro.metric, 4_000, APRIL + 2 * DAY, key="late")
    run_sweeps(MAY + HOUR)

    # 5,000 were left: 2,000 calls take theirs, the late ones 3,000; 1,000 × 5 are charged.
    assert usage_lines(invoice_at(MAY)) == [("usage", 8_000), ("credit", -8_000), ("late_usage", 5_000)]


def test_late_usage_of_the_part_before_is_billed_with_the_next_invoice_once(pro, big, customer):
    subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 10_000, APRIL + DAY)
    change_now(subscription=subscription, price=big.price, at=APRIL_16)
    use(customer, pro.metric, 6_000, APRIL + 2 * DAY, key="late")

    run_sweeps(MAY + HOUR)
    run_sweeps(JUNE + HOUR)

    # The 5,000 that are left pay; 1,000 × 5.
    assert usage_lines(invoice_at(MAY)) == [("late_usage", 5_000)]
    assert usage_lines(invoice_at(JUNE)) == []


def test_a_new_anchor_gives_nobody_units_that_he_had_already(pro, customer):
    free = make_pro_plan(base_cents=None, quota=1_000, beside=pro)
    first = subscribe(at=APRIL, customer=customer, plan=free.plan)
    use(customer, pro.metric, 1_000, APRIL + HOUR)

    there = change_now(subscription=first, price=pro.price, at=APRIL + 2 * HOUR)
    back = change_now(subscription=there.subscription, price=free.price, at=APRIL + 3 * HOUR)

    # No day belongs to the first two, and the 1,000 of the last one are used.
    assert remaining(customer, pro.metric, APRIL + 4 * HOUR) == 0
    assert back.subscription.version_number == 3


def test_a_yearly_fee_beside_a_monthly_quota_is_shared_by_the_days_of_the_year(customer):
    pro = make_pro_plan(base_cents=36_500, base_frequency="YEARLY")
    big = make_pro_plan(base_cents=73_000, base_frequency="YEARLY", quota=20_000, beside=pro)
    subscription = subscribe(at=datetime(2026, 1, 1, tzinfo=UTC), customer=customer, plan=pro.plan)
    run_sweeps(APRIL + HOUR)

    change = change_now(subscription=subscription, price=big.price, at=APRIL_16)

    # 260 of 365 days are left from 16 April on; 15 of April's 30.
    assert [one for one in lines_of(change.invoice) if one[0] != "refund"] == [
        ("fixed", 52_000),
        ("proration", -26_000),
    ]
    assert remaining(customer, pro.metric, APRIL_16 + HOUR) == 15_000


def test_a_number_of_the_plans_feature_is_shared_like_a_quota_and_an_override_adds_its_difference(customer):
    pro = make_pro_plan(quota=None, unit_cost_cents="5")
    PlanFeature.objects.filter(plan=pro.plan).update(value=3_000)
    big = make_pro_plan(quota=None, unit_cost_cents="4", beside=pro)
    PlanFeature.objects.filter(plan=big.plan).update(value=6_000)
    subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 2_000, APRIL + DAY)

    change = change_now(subscription=subscription, price=big.price, at=APRIL_16)

    # 1,500 + 3,000 - 2,000
    assert checked(customer, pro, APRIL_16 + HOUR).remaining == 2_500
    override_feature(at=APRIL_16, subscription=change.subscription, feature=pro.feature, value=7_000, reason="Deal")
    assert checked(customer, pro, APRIL_16 + HOUR).remaining == 3_500
    use(customer, pro.metric, 2_600, APRIL_16 + DAY)
    run_sweeps(MAY + HOUR)
    # The override governs answers; 100 × 4 are charged.
    assert usage_lines(invoice_at(MAY)) == [("usage", 400)]
    assert checked(customer, pro, MAY + HOUR).remaining == 7_000


def test_included_units_minimum_and_maximum_are_shared_by_days(customer):
    pro = make_pro_plan(base_cents=2_900, unit_cost_cents=None, quota=None)
    other = make_pro_plan(base_cents=5_800, unit_cost_cents=None, quota=None, beside=pro)
    UsageComponentFactory(price=pro.price, metric=pro.metric, included_units=300, minimum_cents=3_000)
    UsageComponentFactory(price=other.price, metric=pro.metric, included_units=600, maximum_cents=6_000)
    subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 200, APRIL + DAY)

    change = change_now(subscription=subscription, price=other.price, at=APRIL_11)
    use(customer, pro.metric, 2_400, APRIL_11 + DAY)
    run_sweeps(MAY + HOUR)

    # Ten days: 200 - 100 are 500, at least 1,000. Twenty days: 2,400 - 400 are 10,000, at most 4,000.
    assert usage_lines(change.invoice) == [("usage", 500), ("minimum", 500)]
    assert usage_lines(invoice_at(MAY)) == [("usage", 10_000), ("maximum", -6_000)]


def test_included_units_that_were_used_before_a_pause_are_not_included_again_by_a_change(customer):
    pro = make_pro_plan(unit_cost_cents=None, quota=None)
    other = make_pro_plan(base_cents=5_800, unit_cost_cents=None, quota=None, beside=pro)
    UsageComponentFactory(price=pro.price, metric=pro.metric, included_units=300)
    UsageComponentFactory(price=other.price, metric=pro.metric, included_units=300)
    subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 300, APRIL + DAY)
    pause(subscription=subscription, at=APRIL_11)
    resume(subscription=subscription, at=APRIL_11 + HOUR)
    use(customer, pro.metric, 10, APRIL_11 + 2 * HOUR)

    change = change_now(subscription=subscription, price=other.price, at=APRIL_21)

    # 20 days include 200, of which nothing is left.
    assert usage_lines(change.invoice) == [("usage", 50)]


def test_a_grant_that_a_plan_gives_once_is_not_given_again_by_changing_back(pro, big, customer):
    create_definition(
        at=APRIL, name="Welcome", scope="plan", application_type="usage", default_amount=Decimal(500), plan=pro.plan,
        feature=pro.feature, renew_on_billing=False,
    )  # fmt: skip
    first = subscribe(at=APRIL, customer=customer, plan=pro.plan)
    there = change_now(subscription=first, price=big.price, at=APRIL_11)

    change_now(subscription=there.subscription, price=pro.price, at=APRIL_11 + HOUR)

    assert CreditGrant.objects.filter(definition__name="Welcome").count() == 1
    assert remaining(customer, pro.metric, APRIL_11 + 2 * HOUR) == 10_500


def test_closing_the_parts_is_done_once_however_often_the_sweep_runs(pro, big, customer):
    subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 12_000, APRIL + DAY)
    change_now(subscription=subscription, price=big.price, at=APRIL_16)
    run_sweeps(MAY + HOUR)
    before = [lines_of(invoice) for invoice in Invoice.objects.order_by("pk")]

    run_sweeps(MAY + HOUR)

    assert [lines_of(invoice) for invoice in Invoice.objects.order_by("pk")] == before
    assert not SubscriptionPeriod.objects.filter(end_at__lte=MAY, metric__isnull=False, settled_at=None).exists()


def test_changing_to_yearly_and_back_on_one_day_gives_nothing_new(pro, customer):
    yearly = make_pro_plan(frequency="YEARLY", base_cents=29_000, quota=120_000, beside=pro)
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 10_000, MAY + HOUR)

    there = change_now(subscription=subscription, price=yearly.price, at=MAY + 9 * HOUR)
    change_now(subscription=there.subscription, price=pro.price, at=MAY + 15 * HOUR)

    assert remaining(customer, pro.metric, MAY + 16 * HOUR) == 0
    assert_books_add_up(at=MAY + 16 * HOUR)


def test_a_plan_without_the_metric_in_between_gives_nothing_new(pro, customer):
    other = make_pro_plan()
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 10_000, MAY + HOUR)

    there = change_now(subscription=subscription, price=other.price, at=MAY + 9 * HOUR)
    change_now(subscription=there.subscription, price=pro.price, at=MAY + 15 * HOUR)

    assert remaining(customer, pro.metric, MAY + 16 * HOUR) == 0
    assert_books_add_up(at=MAY + 16 * HOUR)
