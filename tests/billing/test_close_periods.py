from datetime import UTC, datetime, timedelta

import pytest

from billing.models import Invoice
from billing.services.close_periods import close_periods, due_subscriptions
from billing.services.subscribe import subscribe
from credits.models import CreditGrant
from plans.models import SubscriptionPeriod
from tests.factories import CustomerFactory
from tests.pro_plan import make_pro_plan, sweep

AT = datetime(2026, 1, 31, 14, 46, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 28, tzinfo=UTC)
MARCH = datetime(2026, 3, 31, tzinfo=UTC)
SECOND = timedelta(seconds=1)

pytestmark = pytest.mark.django_db


def subscribed(**plan):
    pro, customer = make_pro_plan(**plan), CustomerFactory()
    return pro, customer, subscribe(at=AT, customer=customer, plan=pro.plan)


def test_nothing_is_due_before_the_boundary():
    subscribed()

    assert due_subscriptions(FEBRUARY - SECOND) == []


def test_a_period_is_due_at_its_boundary():
    _, _, subscription = subscribed()

    assert due_subscriptions(FEBRUARY) == [subscription.pk]


def test_opens_a_draft_that_waits_out_the_grace_hour():
    _, customer, subscription = subscribed()

    assert close_periods(subscriptions=[subscription.pk], at=FEBRUARY + SECOND) == 1

    draft = Invoice.objects.get(customer=customer, status="draft")
    assert (draft.closes_at, draft.finalize_at) == (FEBRUARY, FEBRUARY + timedelta(hours=1))
    assert (draft.kind, draft.number, draft.total_cents) == ("cycle", None, 0)
    # The invoice is for the fee's month ahead; its usage is of the month behind.
    assert (draft.period_start_at, draft.period_end_at) == (FEBRUARY, MARCH)
    assert not draft.lines.exists()


def test_a_close_of_fees_alone_has_no_grace():
    _, customer, subscription = subscribed(unit_cost_cents=None, quota=None, base_frequency="MONTHLY")
    SubscriptionPeriod.objects.filter(subscription=subscription, metric__isnull=False).delete()

    close_periods(subscriptions=[subscription.pk], at=FEBRUARY)

    assert Invoice.objects.get(customer=customer, status="draft").finalize_at == FEBRUARY


def test_marks_what_it_gathered_and_stores_one_period_and_its_grant_ahead():
    pro, customer, subscription = subscribed()

    close_periods(subscriptions=[subscription.pk], at=FEBRUARY)

    closed = SubscriptionPeriod.objects.filter(subscription=subscription, closed_at=FEBRUARY)
    assert {(period.metric_id, period.number) for period in closed} == {(None, 1), (pro.metric.pk, 0)}
    newest = SubscriptionPeriod.objects.filter(subscription=subscription).order_by("-start_at")[0]
    assert newest.start_at == MARCH
    assert CreditGrant.objects.filter(customer=customer, starts_at=MARCH, initial_amount=10_000).count() == 1


def test_closing_again_at_the_same_instant_does_nothing():
    _, customer, subscription = subscribed()
    close_periods(subscriptions=[subscription.pk], at=FEBRUARY)

    assert close_periods(subscriptions=[subscription.pk], at=FEBRUARY) == 0

    assert Invoice.objects.filter(customer=customer, closes_at=FEBRUARY).count() == 1
    assert due_subscriptions(FEBRUARY) == []


def test_a_late_close_takes_one_boundary_at_a_time():
    _, customer, subscription = subscribed()
    late = datetime(2026, 5, 15, tzinfo=UTC)

    assert [close_periods(subscriptions=[subscription.pk], at=late) for _ in range(4)] == [1, 1, 1, 0]

    closes = Invoice.objects.filter(customer=customer).order_by("closes_at").values_list("closes_at", flat=True)
    assert [close.date().isoformat() for close in closes] == ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]


def test_yearly_fee_and_monthly_usage_close_each_at_their_own_boundaries():
    _, customer, _ = subscribed(base_frequency="YEARLY")

    sweep(datetime(2027, 2, 1, tzinfo=UTC))

    fees = Invoice.objects.filter(customer=customer, lines__type="fixed").order_by("closes_at")
    assert [fee.closes_at for fee in fees] == [AT, datetime(2027, 1, 31, tzinfo=UTC)]
    assert Invoice.objects.filter(customer=customer).count() == 13
    assert due_subscriptions(datetime(2027, 2, 1, tzinfo=UTC)) == []


def test_weekly_periods_close_each_week():
    _, customer, _ = subscribed(frequency="WEEKLY")

    sweep(AT + timedelta(days=22))

    closes = Invoice.objects.filter(customer=customer).order_by("closes_at").values_list("closes_at", flat=True)
    assert [close.date().isoformat() for close in closes] == ["2026-01-31", "2026-02-07", "2026-02-14", "2026-02-21"]


def test_a_parked_customer_is_not_due():
    _, customer, _ = subscribed()
    customer.parked_at = AT
    customer.save()

    assert due_subscriptions(FEBRUARY) == []


def test_an_ended_subscription_is_not_closed():
    _, _, subscription = subscribed()
    subscription.ended_at = AT
    subscription.save()

    assert close_periods(subscriptions=[subscription.pk], at=FEBRUARY) == 0


def test_closes_many_subscriptions_at_once():
    pro = make_pro_plan()
    subscriptions = [subscribe(at=AT, customer=CustomerFactory(), plan=pro.plan) for _ in range(5)]

    assert close_periods(subscriptions=due_subscriptions(FEBRUARY), at=FEBRUARY) == 5

    assert Invoice.objects.filter(subscription__in=subscriptions, closes_at=FEBRUARY).count() == 5


def test_the_earliest_due_come_first_within_the_limit():
    pro = make_pro_plan()
    late = subscribe(at=AT, customer=CustomerFactory(), plan=pro.plan)
    early = subscribe(at=AT - timedelta(days=10), customer=CustomerFactory(), plan=pro.plan)

    assert due_subscriptions(MARCH, limit=1) == [early.pk]
    assert set(due_subscriptions(MARCH)) == {early.pk, late.pk}


def test_periods_of_ended_subscriptions_do_not_crowd_out_live_ones():
    pro = make_pro_plan()
    ended = subscribe(at=AT - timedelta(days=10), customer=CustomerFactory(), plan=pro.plan)
    ended.ended_at = AT
    ended.save()
    live = subscribe(at=AT, customer=CustomerFactory(), plan=pro.plan)

    assert due_subscriptions(FEBRUARY, limit=1) == [live.pk]
