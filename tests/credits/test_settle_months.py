"""Customers without a subscription are settled by calendar month."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing import jobs
from billing.books import check_books
from billing.services.months import months_to_settle
from billing.services.subscribe import subscribe
from credits.models import CalendarMonth, CreditGrant, CreditTransaction
from credits.services.grants import grant_credits, revoke_grant
from credits.services.movements import list_movements
from credits.services.positions import read_positions
from credits.services.settle import settle_periods
from metering.models import UsageEvent
from metering.services.void_event import void_event
from plans.models import SubscriptionPeriod
from tests.factories import CreditDefinitionFactory, CustomerFactory
from tests.pro_plan import make_pro_plan, remaining, sweep, use

JANUARY, FEBRUARY, MARCH, APRIL = (datetime(2026, month, 1, tzinfo=UTC) for month in (1, 2, 3, 4))
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

pytestmark = pytest.mark.django_db


@pytest.fixture
def pro():
    return make_pro_plan(quota=None)


@pytest.fixture
def customer(pro):
    return CustomerFactory()


def bought(pro, customer, units, at=JANUARY, **terms):
    extra = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature)
    return grant_credits(
        at=at, customer=customer, definition=extra, amount=Decimal(units), source="topup", starts_at=at, **terms
    )


def ledger(**of):
    """The settled rows: kind, units, and the month by its start and end."""
    rows = CreditTransaction.objects.filter(month__isnull=False, **of).order_by("month__end_at", "month__number", "pk")
    return [(row.kind, int(row.amount), row.month.start_at, row.month.end_at) for row in rows.select_related("month")]


def months():
    """Settled months: start, end, usage and what was credited."""
    rows = CalendarMonth.objects.filter(settled_at__isnull=False).order_by("end_at", "number")
    return [(row.start_at, row.end_at, int(row.usage), int(row.credited)) for row in rows]


def burned_of_periods():
    return [int(row.amount) for row in CreditTransaction.objects.filter(period__isnull=False, kind="burned")]


def offenders(at):
    return [offender for finding in check_books(at=at) for offender in finding.offenders]


class TestWithoutASubscription:
    def test_bought_units_are_burned_month_by_month(self, pro, customer):
        grant = bought(pro, customer, 1_000)
        for month, units in ((JANUARY, 300), (FEBRUARY, 250), (MARCH, 600)):
            use(customer, pro.metric, units, month + 9 * DAY)

        for month in (FEBRUARY, MARCH, APRIL):
            jobs.settle_months(month + HOUR)

        # In March 450 of 600 are left to burn; nobody is charged for the other 150.
        assert ledger() == [
            ("burned", -300, JANUARY, FEBRUARY),
            ("burned", -250, FEBRUARY, MARCH),
            ("burned", -450, MARCH, APRIL),
        ]
        assert months() == [(JANUARY, FEBRUARY, 300, 300), (FEBRUARY, MARCH, 250, 250), (MARCH, APRIL, 600, 450)]
        assert CreditGrant.objects.get(pk=grant.pk).ledger_remaining == 0
        assert offenders(APRIL + HOUR) == []

    def test_live_numbers_stay_as_they_are(self, pro, customer):
        bought(pro, customer, 1_000)
        use(customer, pro.metric, 300, JANUARY + DAY)
        use(customer, pro.metric, 50, FEBRUARY)
        before = remaining(customer, pro.metric, FEBRUARY + 2 * HOUR)

        jobs.settle_months(FEBRUARY + 2 * HOUR)

        assert remaining(customer, pro.metric, FEBRUARY + 2 * HOUR) == before == 650

    def test_a_month_waits_for_its_grace_hour(self, pro, customer):
        bought(pro, customer, 1_000)
        use(customer, pro.metric, 300, JANUARY + DAY)

        assert jobs.settle_months(FEBRUARY + HOUR - timedelta(seconds=1)).done == 0
        assert jobs.settle_months(FEBRUARY + HOUR).done == 1

    def test_settling_twice_does_nothing(self, pro, customer):
        bought(pro, customer, 1_000)
        use(customer, pro.metric, 300, JANUARY + DAY)
        jobs.settle_months(FEBRUARY + HOUR)

        assert jobs.settle_months(FEBRUARY + HOUR).done == 0
        assert len(ledger()) == 1

    def test_one_jump_writes_the_rows_of_many_steps(self, pro, customer):
        other = CustomerFactory()
        for one in (customer, other):
            bought(pro, one, 1_000, expires_at=MARCH + 14 * DAY)
            for month, units in ((JANUARY, 300), (MARCH, 100)):
                use(one, pro.metric, units, month + 9 * DAY)

        for month in (FEBRUARY, MARCH, APRIL):
            jobs.settle_months(month + HOUR)
            CalendarMonth.objects.filter(customer=other, settled_at=None).delete()
        stepped = ledger(customer=customer)
        CalendarMonth.objects.exclude(settled_at__isnull=False).delete()

        assert stepped == ledger(customer=other)
        # February was idle. What is left in the middle of March expires with March.
        assert stepped == [
            ("burned", -300, JANUARY, FEBRUARY),
            ("burned", -100, MARCH, APRIL),
            ("expired", -600, MARCH, APRIL),
        ]

    def test_three_years_are_caught_up_in_one_go(self, pro, customer):
        days = [datetime(year, month, 11, tzinfo=UTC) for year in (2023, 2024, 2025) for month in range(1, 13)]
        bought(pro, customer, 1_000, at=days[0])
        for day in days:
            use(customer, pro.metric, 10, day)

        assert jobs.settle_months(APRIL + HOUR).done == 1

        # The three months since are idle.
        assert len(months()) == 36 + 3
        assert remaining(customer, pro.metric, APRIL + HOUR) == 640

    def test_a_month_belongs_to_the_billing_zone(self, pro, customer, in_billing_zone):
        in_billing_zone("Europe/Berlin")
        bought(pro, customer, 1_000)
        use(customer, pro.metric, 1, FEBRUARY - HOUR - timedelta(microseconds=1))
        use(customer, pro.metric, 10, FEBRUARY - HOUR)

        jobs.settle_months(FEBRUARY)

        (month,) = months()
        assert month[1:] == (FEBRUARY - HOUR, 1, 1)

    def test_a_correction_counts_in_its_own_month(self, pro, customer):
        bought(pro, customer, 1_000)
        use(customer, pro.metric, 300, JANUARY + DAY)
        use(customer, pro.metric, -100, FEBRUARY + DAY)
        use(customer, pro.metric, 30, FEBRUARY + 2 * DAY)
        before = remaining(customer, pro.metric, MARCH)

        jobs.settle_months(MARCH + HOUR)

        # February comes to -70, so to nothing.
        assert months() == [(JANUARY, FEBRUARY, 300, 300), (FEBRUARY, MARCH, 0, 0)]
        assert remaining(customer, pro.metric, MARCH) == before == 700

    def test_a_peak_counts_once_a_month(self, customer):
        pro = make_pro_plan(quota=None)
        pro.metric.aggregation_type = "MAX"
        pro.metric.save()
        bought(pro, customer, 100)
        for at, units in ((JANUARY, 3), (JANUARY + DAY, 9), (FEBRUARY + DAY, 4), (FEBRUARY + 2 * DAY, 2)):
            use(customer, pro.metric, units, at)

        assert remaining(customer, pro.metric, MARCH) == 100 - 9 - 4
        jobs.settle_months(MARCH + HOUR)

        assert months() == [(JANUARY, FEBRUARY, 9, 9), (FEBRUARY, MARCH, 4, 4)]
        assert remaining(customer, pro.metric, MARCH) == 87

    def test_pending_burns_become_rows_of_the_ledger(self, pro, customer):
        bought(pro, customer, 1_000)
        use(customer, pro.metric, 30, JANUARY + DAY)
        use(customer, pro.metric, 5, FEBRUARY + DAY)
        jobs.settle_months(FEBRUARY + HOUR)

        listed = list_movements(customer=customer, at=FEBRUARY + 2 * DAY, limit=10)

        assert [(one.kind, int(one.amount), one.pending) for one in listed] == [
            ("burned", -5, True),
            ("burned", -30, False),
            ("granted", 1_000, False),
        ]

    def test_what_a_revoked_grant_burned_is_settled(self, pro, customer):
        grant = bought(pro, customer, 100)
        use(customer, pro.metric, 30, JANUARY + DAY)
        revoke_grant(at=JANUARY + 2 * DAY, grant=grant)

        jobs.settle_months(FEBRUARY + HOUR)

        assert ledger() == [("burned", -30, JANUARY, FEBRUARY)]
        assert offenders(FEBRUARY + HOUR) == []

    def test_units_given_again_go_on_where_the_last_month_ended(self, pro, customer):
        bought(pro, customer, 10)
        use(customer, pro.metric, 30, JANUARY + DAY)
        jobs.settle_months(MARCH + HOUR)
        assert not CalendarMonth.objects.filter(settled_at=None).exists()

        bought(pro, customer, 100, at=JANUARY)
        use(customer, pro.metric, 40, MARCH + DAY)
        before = remaining(customer, pro.metric, APRIL)
        jobs.settle_months(APRIL + HOUR)

        # January is settled: what was given afterwards does not pay for the 20 of it that nobody paid.
        assert ledger(kind="burned") == [("burned", -10, JANUARY, FEBRUARY), ("burned", -40, MARCH, APRIL)]
        assert remaining(customer, pro.metric, APRIL) == before == 60

    def test_without_units_left_nothing_waits(self, pro, customer):
        use(customer, pro.metric, 30, JANUARY + DAY)

        assert jobs.settle_months(MARCH + HOUR).done == 0
        assert not CalendarMonth.objects.exists()

    def test_a_settled_month_is_out_of_sight(self, pro, customer):
        bought(pro, customer, 1_000)
        for number in range(59):
            use(customer, pro.metric, 1, JANUARY + number * DAY)
        jobs.settle_months(MARCH + HOUR)
        use(customer, pro.metric, 2, MARCH + DAY)

        position = read_positions([(customer.pk, pro.metric.pk)], at=MARCH + DAY)[customer.pk, pro.metric.pk]

        assert position.usage == ((MARCH + DAY, Decimal(2)),)
        assert position.remaining(MARCH + DAY) == 939

    def test_parked_customers_wait(self, pro, customer):
        bought(pro, customer, 1_000)
        jobs.settle_months(JANUARY)
        type(customer).objects.filter(pk=customer.pk).update(parked_at=JANUARY, parked_reason="x")

        assert months_to_settle(FEBRUARY + HOUR) == []

    def test_many_customers_take_no_more_statements_than_one(self, pro):
        def settled_with(customers):
            for one in customers:
                bought(pro, one, 100)
                use(one, pro.metric, 30, JANUARY + DAY)
            with CaptureQueriesContext(connection) as queries:
                jobs.settle_months(FEBRUARY + HOUR)
            return len(queries)

        settled_with([CustomerFactory()])

        assert settled_with([CustomerFactory()]) == settled_with([CustomerFactory() for _ in range(8)])


class TestBesideASubscription:
    def test_usage_before_the_subscription_is_a_month_of_its_own(self, pro, customer):
        bought(pro, customer, 1_000)
        tenth = JANUARY + 9 * DAY + 14 * HOUR
        use(customer, pro.metric, 70, tenth - timedelta(microseconds=1))
        use(customer, pro.metric, 500, tenth)
        subscribe(at=tenth, customer=customer, plan=pro.plan)
        at = FEBRUARY + 10 * DAY
        before = remaining(customer, pro.metric, at)

        jobs.settle_months(FEBRUARY + HOUR)
        assert months() == [(JANUARY, tenth, 70, 70)]
        sweep(at)

        assert burned_of_periods() == [-500]
        assert remaining(customer, pro.metric, at) == before == 430
        assert offenders(at) == []

    def test_a_period_is_settled_after_the_gap_before_it(self, pro, customer):
        weekly = make_pro_plan(quota=None, frequency="WEEKLY")
        bought(weekly, customer, 60)
        jobs.settle_months(JANUARY)
        use(customer, weekly.metric, 50, JANUARY + DAY)
        use(customer, weekly.metric, 50, JANUARY + 10 * DAY)
        subscribe(at=JANUARY + 9 * DAY, customer=customer, plan=weekly.plan)

        sweep(JANUARY + 16 * DAY + HOUR)

        # The week ends before the month does, and takes what the days before it left: 10 of 60.
        assert ledger() == [("burned", -50, JANUARY, JANUARY + 9 * DAY)]
        assert burned_of_periods() == [-10]
        jobs.settle_months(FEBRUARY + HOUR)
        assert len(ledger()) == 1

    def test_a_month_waits_for_a_period_that_ended_in_it(self, pro, customer):
        weekly = make_pro_plan(quota=None, frequency="WEEKLY")
        bought(weekly, customer, 100)
        subscribe(at=JANUARY + 9 * DAY, customer=customer, plan=weekly.plan)

        assert jobs.settle_months(FEBRUARY + HOUR).done == 0
        sweep(FEBRUARY + HOUR)
        assert jobs.settle_months(FEBRUARY + HOUR).done == 1

    def test_usage_after_the_end_goes_to_the_rest_of_the_month(self, pro, customer):
        bought(pro, customer, 1_000)
        subscription = subscribe(at=JANUARY, customer=customer, plan=pro.plan)
        for at, units in ((JANUARY, 100), (FEBRUARY + 10 * DAY, 200), (FEBRUARY + 20 * DAY, 30), (MARCH, 4)):
            use(customer, pro.metric, units, at)
        sweep(FEBRUARY + HOUR)
        jobs.settle_months(FEBRUARY + HOUR)

        settle_periods(periods=[end(subscription, FEBRUARY + 19 * DAY)], at=FEBRUARY + 19 * DAY)
        jobs.settle_months(MARCH + HOUR)

        assert burned_of_periods() == [-100, -200]
        assert ledger() == [("burned", -30, FEBRUARY + 19 * DAY, MARCH)]
        assert remaining(customer, pro.metric, MARCH + HOUR) == 1_000 - 334

    def test_a_subscription_in_the_past_takes_its_usage_over(self, pro, customer):
        bought(pro, customer, 100)
        use(customer, pro.metric, 40, JANUARY + DAY)
        use(customer, pro.metric, 50, JANUARY + 20 * DAY)
        jobs.settle_months(FEBRUARY + HOUR)
        assert remaining(customer, pro.metric, FEBRUARY + HOUR) == 10

        subscribe(at=FEBRUARY + 2 * HOUR, customer=customer, plan=pro.plan, started_at=JANUARY + 9 * DAY)

        # The month gives 50 back, and the period that covers them by now burns them.
        assert months() == [(JANUARY, FEBRUARY, 90, 90), (JANUARY, FEBRUARY, -50, -50)]
        assert remaining(customer, pro.metric, FEBRUARY + 2 * HOUR) == 10
        sweep(FEBRUARY + 9 * DAY + HOUR)
        assert burned_of_periods() == [-50]
        assert offenders(FEBRUARY + 9 * DAY + HOUR) == []


def end(subscription, at):
    """End a subscription during a period of its usage, as a cancel will, and give that period."""
    SubscriptionPeriod.objects.filter(subscription=subscription, start_at__gte=at).delete()
    open_period = SubscriptionPeriod.objects.get(subscription=subscription, metric__isnull=False, end_at__gt=at)
    open_period.end_at = open_period.bill_at = at
    open_period.save()
    return open_period


class TestLateUsage:
    CLOSED = FEBRUARY + 35 * DAY

    def late(self, pro, customer, units):
        use(customer, pro.metric, units, JANUARY + 3 * DAY, key="late")

    def test_more_units_are_taken_from_what_is_left(self, pro, customer):
        bought(pro, customer, 100)
        use(customer, pro.metric, 30, JANUARY + DAY)
        jobs.settle_months(FEBRUARY + HOUR)
        use(customer, pro.metric, 50, FEBRUARY + DAY)
        self.late(pro, customer, 45)
        assert remaining(customer, pro.metric, FEBRUARY + 2 * DAY) == 20

        jobs.settle_months(MARCH + HOUR)
        jobs.look_for_late_usage(self.CLOSED)

        # Of the 45, 20 are left; 25 are dropped.
        assert ledger() == [
            ("burned", -30, JANUARY, FEBRUARY),
            ("burned", -20, JANUARY, FEBRUARY),
            ("burned", -50, FEBRUARY, MARCH),
        ]
        assert months()[1] == (JANUARY, FEBRUARY, 45, 20)
        assert offenders(self.CLOSED) == []

    def test_an_idle_month_burns_what_arrives_late(self, pro, customer):
        bought(pro, customer, 100)
        jobs.settle_months(FEBRUARY + HOUR)
        assert months() == [(JANUARY, FEBRUARY, 0, 0)]
        self.late(pro, customer, 45)

        jobs.look_for_late_usage(self.CLOSED)

        assert months() == [(JANUARY, FEBRUARY, 0, 0), (JANUARY, FEBRUARY, 45, 45)]
        assert ledger() == [("burned", -45, JANUARY, FEBRUARY)]
        assert remaining(customer, pro.metric, self.CLOSED) == 55
        assert offenders(self.CLOSED) == []

    def test_a_month_before_any_units_has_nothing_to_burn(self, pro, customer):
        bought(pro, customer, 100, at=MARCH)
        jobs.settle_months(MARCH + HOUR)

        assert months() == []

    def test_a_month_between_two_grants_has_nothing_to_burn(self, pro, customer):
        bought(pro, customer, 100)
        bought(pro, customer, 50, at=MARCH)
        use(customer, pro.metric, 100, JANUARY + DAY)

        jobs.settle_months(APRIL + HOUR)

        assert months() == [(JANUARY, FEBRUARY, 100, 100), (MARCH, APRIL, 0, 0)]

    def test_a_month_after_the_last_unit_has_nothing_to_burn(self, pro, customer):
        bought(pro, customer, 100)
        use(customer, pro.metric, 100, JANUARY + DAY)
        use(customer, pro.metric, 5, FEBRUARY + DAY)

        jobs.settle_months(MARCH + HOUR)

        assert months() == [(JANUARY, FEBRUARY, 100, 100)]

    def test_fewer_units_come_back(self, pro, customer):
        bought(pro, customer, 100)
        use(customer, pro.metric, 30, JANUARY + DAY)
        use(customer, pro.metric, 80, JANUARY + 2 * DAY, key="mistake")
        jobs.settle_months(FEBRUARY + HOUR)
        mistake = UsageEvent.objects.get(idempotency_key="mistake")
        void_event(event_id=mistake.pk, reason="Sent by mistake", by="operator", at=FEBRUARY + DAY)

        jobs.look_for_late_usage(self.CLOSED)

        # 10 of the 110 had nobody to pay for them.
        assert ledger() == [("burned", -100, JANUARY, FEBRUARY), ("returned", 70, JANUARY, FEBRUARY)]
        assert months() == [(JANUARY, FEBRUARY, 110, 100), (JANUARY, FEBRUARY, -80, -70)]
        assert remaining(customer, pro.metric, self.CLOSED) == 70
        assert offenders(self.CLOSED) == []

    def test_expired_units_are_burned_first(self, pro, customer):
        bought(pro, customer, 100, expires_at=JANUARY + 20 * DAY)
        bought(pro, customer, 500)
        use(customer, pro.metric, 30, JANUARY + DAY)
        jobs.settle_months(FEBRUARY + HOUR)
        self.late(pro, customer, 90)

        jobs.look_for_late_usage(self.CLOSED)

        assert [row[:2] for row in ledger()] == [
            ("burned", -30), ("expired", -70), ("returned", 70), ("burned", -70), ("burned", -20),
        ]  # fmt: skip
        assert remaining(customer, pro.metric, self.CLOSED) == 480
        assert offenders(self.CLOSED) == []

    def test_what_comes_back_to_an_ended_grant_expires_again(self, pro, customer):
        bought(pro, customer, 100, expires_at=JANUARY + 20 * DAY)
        use(customer, pro.metric, 30, JANUARY + DAY)
        jobs.settle_months(FEBRUARY + HOUR)
        self.late(pro, customer, -10)

        jobs.look_for_late_usage(self.CLOSED)

        assert [row[:2] for row in ledger()] == [("burned", -30), ("expired", -70), ("returned", 10), ("expired", -10)]
        assert remaining(customer, pro.metric, self.CLOSED) == 0

    def test_each_month_is_looked_at_once(self, pro, customer):
        bought(pro, customer, 100)
        use(customer, pro.metric, 30, JANUARY + DAY)
        jobs.settle_months(FEBRUARY + HOUR)

        assert jobs.look_for_late_usage(self.CLOSED - timedelta(seconds=1)).done == 0
        assert jobs.look_for_late_usage(self.CLOSED).done == 1
        self.late(pro, customer, 45)
        assert jobs.look_for_late_usage(self.CLOSED + DAY).done == 0
        assert len(months()) == 1
