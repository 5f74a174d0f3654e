from datetime import UTC, datetime, timedelta

import pytest

from billing.models import Invoice
from billing.services.subscribe import PlanHasNoPrice, subscribe
from credits.models import CreditGrant
from plans.models import Subscription, SubscriptionFeature, SubscriptionPeriod
from plans.refusals import InvalidInput
from plans.services.subscriptions import AlreadySubscribed, MetricAlreadyPriced, current_periods
from tests.factories import CustomerFactory, PlanFactory, PriceFactory, UsageComponentFactory
from tests.pro_plan import bills, make_pro_plan, remaining, sweep, use

AT = datetime(2026, 1, 31, 14, 46, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def bounds(subscription, *, metric):
    return [
        (period.start_at, period.end_at, period.bill_at)
        for period in SubscriptionPeriod.objects.filter(subscription=subscription, metric=metric).order_by("number")
    ]


def test_bills_the_first_fee_in_full_at_once():
    pro, customer = make_pro_plan(), CustomerFactory()

    subscribe(at=AT, customer=customer, plan=pro.plan)

    invoice = Invoice.objects.get(customer=customer)
    assert bills(customer) == [("issued", 2900, [("fixed", 1, 2900)])]
    assert (invoice.closes_at, invoice.finalized_at, invoice.number) == (AT, AT, f"{customer.invoice_prefix}-001")
    assert (invoice.period_start_at, invoice.period_end_at) == (AT, datetime(2026, 2, 28, tzinfo=UTC))


def test_stores_the_current_period_and_the_one_after_it():
    pro = make_pro_plan()

    subscription = subscribe(at=AT, customer=CustomerFactory(), plan=pro.plan)

    february, march = datetime(2026, 2, 28, tzinfo=UTC), datetime(2026, 3, 31, tzinfo=UTC)
    assert bounds(subscription, metric=pro.metric) == [(AT, february, february), (february, march, march)]
    assert bounds(subscription, metric=None) == [(AT, february, AT), (february, march, february)]


def test_grants_the_quota_of_both_stored_periods():
    pro, customer = make_pro_plan(refill_amount=8_000), CustomerFactory()

    subscribe(at=AT, customer=customer, plan=pro.plan)

    grants = CreditGrant.objects.filter(customer=customer).order_by("starts_at")
    assert [(grant.starts_at, grant.expires_at, grant.initial_amount) for grant in grants] == [
        (AT, datetime(2026, 2, 28, tzinfo=UTC), 10_000),
        (datetime(2026, 2, 28, tzinfo=UTC), datetime(2026, 3, 31, tzinfo=UTC), 8_000),
    ]
    assert remaining(customer, pro.metric, AT - timedelta(seconds=1)) == 0
    assert remaining(customer, pro.metric, AT) == 10_000


def test_a_quota_that_does_not_renew_is_granted_once_and_expires_at_the_midnight_after_its_days():
    pro, customer = make_pro_plan(renew_on_billing=False, expiry_days=90), CustomerFactory()

    subscribe(at=AT, customer=customer, plan=pro.plan)

    grant = CreditGrant.objects.get(customer=customer)
    assert (grant.starts_at, grant.expires_at) == (AT, datetime(2026, 5, 2, tzinfo=UTC))
    assert grant.period is None


def test_copies_the_features_that_were_sold():
    pro = make_pro_plan()

    subscription = subscribe(at=AT, customer=CustomerFactory(), plan=pro.plan)

    sold = SubscriptionFeature.objects.get(subscription=subscription)
    assert (sold.feature, sold.value, sold.overage, sold.source) == (pro.feature, "usage_based", "block", "plan")


def test_without_a_fee_there_is_no_invoice_yet():
    pro, customer = make_pro_plan(base_cents=None), CustomerFactory()

    subscribe(at=AT, customer=customer, plan=pro.plan)

    assert bills(customer) == []


def test_a_free_plan_gives_a_skipped_draft_without_number():
    pro, customer = make_pro_plan(base_cents=0), CustomerFactory()

    subscribe(at=AT, customer=customer, plan=pro.plan)

    assert bills(customer) == [("skipped", 0, [])]
    customer.refresh_from_db()
    assert customer.last_invoice_number == 0


def test_a_start_in_the_future_bills_nothing_before_it():
    pro, customer = make_pro_plan(), CustomerFactory()
    start = AT + timedelta(days=40)

    subscription = subscribe(at=AT, customer=customer, plan=pro.plan, started_at=start)

    assert bills(customer) == []
    assert bounds(subscription, metric=pro.metric)[0][0] == start
    assert len(bounds(subscription, metric=pro.metric)) == 2
    assert (remaining(customer, pro.metric, AT), remaining(customer, pro.metric, start)) == (0, 10_000)


def test_a_start_in_the_past_stores_every_period_since_and_bills_the_first_fee():
    pro, customer = make_pro_plan(), CustomerFactory()

    subscription = subscribe(at=AT, customer=customer, plan=pro.plan, started_at=AT - timedelta(days=92))

    # 31 October, then 30 November, 31 December, 31 January, 28 February.
    assert [begin.date().isoformat() for begin, *_ in bounds(subscription, metric=pro.metric)] == [
        "2025-10-31", "2025-11-30", "2025-12-31", "2026-01-31", "2026-02-28",
    ]  # fmt: skip
    assert bills(customer) == [("issued", 2900, [("fixed", 1, 2900)])]


def test_a_start_in_the_past_leaves_ended_periods_of_usage_to_the_next_sweep():
    pro, customer = make_pro_plan(base_cents=None, quota=None), CustomerFactory()
    use(customer, pro.metric, 100, AT - timedelta(days=80))

    subscribe(at=AT, customer=customer, plan=pro.plan, started_at=AT - timedelta(days=92))
    assert bills(customer) == []

    # What was sent meanwhile is on the same invoice.
    use(customer, pro.metric, 20, AT - timedelta(days=79), key="sent after it")
    sweep(AT)
    assert bills(customer)[0] == ("issued", 600, [("usage", 120, 600)])
    # Nothing was used in December and January.
    assert [status for status, *_ in bills(customer)[1:]] == ["skipped", "skipped"]


def test_the_current_period_is_that_of_the_shortest_clock():
    pro = make_pro_plan(base_frequency="YEARLY")

    subscription = subscribe(at=AT, customer=CustomerFactory(), plan=pro.plan)

    assert current_periods([subscription], AT)[subscription.pk].end_at == datetime(2026, 2, 28, tzinfo=UTC)


class TestRefusals:
    def test_a_plan_without_price(self):
        with pytest.raises(PlanHasNoPrice):
            subscribe(at=AT, customer=CustomerFactory(), plan=PlanFactory())

    def test_a_choice_between_prices_left_open(self):
        plan = PlanFactory()
        PriceFactory(plan=plan)
        PriceFactory(plan=plan)

        with pytest.raises(InvalidInput):
            subscribe(at=AT, customer=CustomerFactory(), plan=plan)

    def test_a_price_of_another_plan(self):
        with pytest.raises(InvalidInput):
            subscribe(at=AT, customer=CustomerFactory(), plan=PlanFactory(), price=PriceFactory())

    def test_a_second_subscription(self):
        pro, customer = make_pro_plan(), CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan)

        with pytest.raises(AlreadySubscribed):
            subscribe(at=AT, customer=customer, plan=make_pro_plan().plan)

    def test_a_second_subscription_to_the_same_metric_even_when_several_are_wanted(self):
        pro, customer = make_pro_plan(), CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan)
        other = PriceFactory(fee=None)
        UsageComponentFactory(price=other, metric=pro.metric)

        with pytest.raises(MetricAlreadyPriced):
            subscribe(at=AT, customer=customer, plan=other.plan, beside_others=True)

        assert Subscription.objects.filter(customer=customer).count() == 1

    @pytest.mark.parametrize("days", [-(3 * 366 + 1), 5 * 366 + 1])
    def test_a_start_too_far_away(self, days):
        with pytest.raises(InvalidInput):
            subscribe(
                at=AT, customer=CustomerFactory(), plan=make_pro_plan().plan, started_at=AT + timedelta(days=days)
            )

    def test_nothing_is_written(self):
        pro, customer = make_pro_plan(), CustomerFactory()
        with pytest.raises(InvalidInput):
            subscribe(at=AT, customer=customer, plan=pro.plan, started_at=AT - timedelta(days=4000))

        assert not Subscription.objects.exists()
        assert not CreditGrant.objects.exists()


def test_a_second_subscription_to_another_metric_may_be_wanted():
    customer = CustomerFactory()
    subscribe(at=AT, customer=customer, plan=make_pro_plan().plan)

    subscribe(at=AT, customer=customer, plan=make_pro_plan().plan, beside_others=True)

    assert [total for _, total, _ in bills(customer)] == [2900, 2900]
