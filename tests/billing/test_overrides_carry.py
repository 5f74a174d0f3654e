"""What an override promised goes on with the next version of a subscription, where it still says something."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.services.change import change_at_period_end, change_now, preview_change
from billing.services.subscribe import subscribe
from entitlements.services.check import check
from plans.models import PlanFeature, SubscriptionFeature
from plans.services.overrides import override_feature, remove_override
from tests.billing.lives import live, run_sweeps
from tests.factories import CustomerFactory, FeatureFactory, MetricFactory, PlanFeatureFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, use

pytestmark = pytest.mark.django_db

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
APRIL_16 = datetime(2026, 4, 16, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SIGNED = "signed by Ann"


class Sold:
    """A customer who leaves a plan that gives its metered feature as `before`, for one that gives it as `after`: a
    quota, or a value; None for not at all."""

    def __init__(self, before="usage_based", after="usage_based", *, quota_after=None):
        self.pro = make_pro_plan(quota=None)
        self.next = make_pro_plan(quota=quota_after, base_cents=9_900, beside=self.pro)
        self.feature = self.pro.feature
        PlanFeature.objects.filter(plan=self.pro.plan).update(value=before)
        if after is None:
            PlanFeature.objects.filter(plan=self.next.plan).delete()
            self.next.price.components.filter(kind="usage").delete()
        else:
            PlanFeature.objects.filter(plan=self.next.plan).update(value=after)
        self.customer = CustomerFactory()
        self.subscription = subscribe(at=APRIL, customer=self.customer, plan=self.pro.plan)

    def override(self, feature=None, **terms):
        terms = {"reason": SIGNED} | terms
        override_feature(at=APRIL + DAY, subscription=self.subscription, feature=feature or self.feature, **terms)

    def change(self):
        change_now(subscription=self.subscription, price=self.next.price, at=APRIL_16)
        return self

    def check(self, feature=None, at=APRIL_16 + HOUR):
        return check(customer=self.customer.public_id, slug=(feature or self.feature).slug, at=at)

    def overrides(self):
        carried = SubscriptionFeature.objects.filter(subscription=live(self.customer), source="override")
        return [(one.value, one.overage) for one in carried]


@pytest.fixture(autouse=True)
def books_add_up():
    yield
    run_sweeps(MAY + HOUR)
    assert_books_add_up(at=MAY + HOUR)


def test_a_switch_stays_on_that_neither_plan_has():
    support = FeatureFactory(value=False)
    sold = Sold()
    sold.override(support, value=True)

    assert sold.change().check(support).entitled is True
    assert sold.check(support).source == "override"


def test_reason_and_times_stay_and_so_does_the_row_of_the_version_before():
    support, until = FeatureFactory(value=False), MAY + 9 * DAY
    sold = Sold()
    sold.override(support, value=True, effective_from=APRIL_16 + 2 * DAY, effective_until=until)

    sold.change()

    before, after = SubscriptionFeature.objects.filter(source="override").order_by("pk")
    assert (before.subscription, after.subscription) == (sold.subscription, live(sold.customer))
    assert (after.reason, after.effective_from, after.effective_until) == (SIGNED, APRIL_16 + 2 * DAY, until)
    assert before.public_id != after.public_id
    assert [sold.check(support, at=at).entitled for at in (APRIL_16 + DAY, APRIL_16 + 3 * DAY, until)] == [
        False, True, False
    ]  # fmt: skip


def test_one_whose_time_is_over_does_not():
    support = FeatureFactory(value=False)
    sold = Sold()
    sold.override(support, value=True, effective_until=APRIL_16)

    assert sold.change().overrides() == []


def test_a_number_stays_the_limit_where_the_next_plan_has_a_number():
    sold = Sold(before=1_000, after=2_000)
    sold.override(value=5_000)

    sold.change()
    run_sweeps(MAY + HOUR)

    assert sold.overrides() == [(5_000, "block")]
    assert sold.check(at=MAY + HOUR).limit == 5_000


def test_a_number_stays_the_limit_of_a_feature_that_the_next_plan_does_not_have():
    sold = Sold(before=1_000, after=None)
    sold.override(value=5_000)
    sold.change()
    run_sweeps(MAY + HOUR)

    use(sold.customer, sold.pro.metric, 4_999, MAY + DAY)

    answer = sold.check(at=MAY + 2 * DAY)
    assert (answer.entitled, answer.remaining, answer.source) == (True, 1, "override")


def test_a_number_gives_way_to_a_quota():
    sold = Sold(before=1_000, quota_after=20_000)
    sold.override(value=5_000)

    assert sold.change().overrides() == []
    # 1,000 × 15/30 + 20,000 × 15/30
    assert sold.check().limit == 10_500


def test_what_was_promised_beyond_the_quota_stays():
    sold = Sold(before=1_000, quota_after=20_000)
    sold.override(value=5_000, overage="allow")

    assert sold.change().overrides() == [(None, "allow")]
    answer = sold.check()
    assert (answer.limit, answer.overage_allowed) == (10_500, True)


def test_no_limit_gives_way_to_nothing():
    sold = Sold(before=1_000, after=2_000)
    sold.override(value="usage_based")

    assert sold.change().overrides() == [("usage_based", "block")]
    assert sold.check().limit is None


def test_a_value_of_another_kind_than_the_next_plans_goes():
    seats = FeatureFactory(value=3)
    sold = Sold()
    PlanFeatureFactory(plan=sold.pro.plan, feature=seats)
    PlanFeatureFactory(plan=sold.next.plan, feature=seats, value="unlimited")
    sold.override(seats, value=10)

    assert sold.change().overrides() == []
    assert sold.check(seats).value == "unlimited"


def test_an_overage_that_was_only_the_plans_becomes_that_of_the_next_plan():
    sold = Sold(before=1_000, after=2_000)
    PlanFeature.objects.filter(plan=sold.next.plan).update(overage="allow")
    sold.override(value=5_000)

    assert sold.change().overrides() == [(5_000, "allow")]


@pytest.mark.parametrize(("after", "carried"), [("block", [(None, "allow")]), ("allow", [])])
def test_an_overage_stays_unless_the_next_plan_says_the_same(after, carried):
    sold = Sold(before=1_000, after=2_000)
    PlanFeature.objects.filter(plan=sold.next.plan).update(overage=after)
    sold.override(overage="allow")

    assert sold.change().overrides() == carried
    assert sold.check().overage_allowed is True


def test_one_of_a_deleted_feature_goes():
    support = FeatureFactory(value=False)
    sold = Sold()
    sold.override(support, value=True)
    support.deleted_at = APRIL + 2 * DAY
    support.save()

    assert sold.change().overrides() == []


def test_the_metric_of_an_override_goes_on_being_counted():
    extra = FeatureFactory(value="usage_based", metrics=[MetricFactory()])
    (metric,) = extra.metrics.all()
    sold = Sold()
    sold.override(extra, value=100)
    use(sold.customer, metric, 30, APRIL + 2 * DAY)

    sold.change()
    use(sold.customer, metric, 25, APRIL_16 + DAY)

    answer = sold.check(extra, at=APRIL_16 + 2 * DAY)
    assert (answer.usage, answer.limit, answer.remaining) == (Decimal(25), 100, 75)


def test_it_goes_on_with_a_change_at_the_end_of_the_period_and_with_the_one_after():
    support = FeatureFactory(value=False)
    sold = Sold()
    sold.override(support, value=True)
    change_at_period_end(subscription=sold.subscription, price=sold.next.price, at=APRIL_16)

    run_sweeps(MAY + HOUR)
    change_now(subscription=live(sold.customer), price=sold.pro.price, at=MAY + DAY)

    assert sold.check(support, at=MAY + 2 * DAY).entitled is True


def test_a_preview_carries_nothing():
    sold = Sold()
    sold.override(FeatureFactory(value=False), value=True)

    preview_change(subscription=sold.subscription, price=sold.next.price, at=APRIL_16)

    assert SubscriptionFeature.objects.filter(source="override").count() == 1


def test_it_can_be_taken_back_afterwards():
    support = FeatureFactory(value=False)
    sold = Sold()
    sold.override(support, value=True)
    sold.change()

    remove_override(subscription=live(sold.customer), feature=support)

    assert sold.check(support).entitled is False
