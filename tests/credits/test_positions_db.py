"""The one statement behind every balance: what it reads of days that are cut, in zones of all kinds."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing.services.close_periods import close_periods
from billing.services.subscribe import subscribe
from credits.services.grants import grant_credits, revoke_grant
from credits.services.positions import read_positions
from plans.models import SubscriptionPeriod
from plans.services.time_zone import billing_zone
from tests.factories import CreditDefinitionFactory, CustomerFactory, MetricFactory
from tests.pro_plan import make_pro_plan, remaining, sweep, use

START = datetime(2026, 1, 31, 14, 46, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 28, tzinfo=UTC)
HOUR = timedelta(hours=1)
INSTANT = timedelta(microseconds=1)

pytestmark = pytest.mark.django_db


def position_of(customer, metric, at=FEBRUARY):
    return read_positions([(customer.pk, metric.pk)], at=at)[customer.pk, metric.pk]


def subscribed(**plan):
    pro, customer = make_pro_plan(**plan), CustomerFactory()
    subscribe(at=START, customer=customer, plan=pro.plan)
    return pro, customer


def manual_definition(metric):
    definition = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False)
    type(definition).objects.filter(pk=definition.pk).update(metric=metric)
    definition.refresh_from_db()
    return definition


class TestCutDays:
    def test_usage_before_the_instant_of_subscription_is_not_of_its_first_period(self):
        pro, customer = subscribed()
        use(customer, pro.metric, 1_000, START - INSTANT)
        use(customer, pro.metric, 20, START)
        use(customer, pro.metric, 3, START + 9 * HOUR)

        position = position_of(customer, pro.metric)

        first = SubscriptionPeriod.objects.get(customer=customer, metric=pro.metric, number=0)
        assert position.used_in(first.pk) == 23
        assert position.remaining(START + 9 * HOUR) == 9_977

    def test_count_metrics_are_cut_the_same_way(self):
        pro, customer = subscribed()
        pro.metric.aggregation_type = "COUNT"
        pro.metric.save()
        use(customer, pro.metric, 1_000, START - INSTANT)
        use(customer, pro.metric, 20, START)
        use(customer, pro.metric, 3, START + 30 * HOUR)

        assert remaining(customer, pro.metric, START + 30 * HOUR) == 9_998

    def test_a_grant_that_is_revoked_during_a_day_pays_for_what_came_before(self):
        pro, customer = subscribed()
        extra = grant_credits(at=START, customer=customer, definition=manual_definition(pro.metric), priority=1)
        noon = datetime(2026, 2, 10, 12, tzinfo=UTC)
        use(customer, pro.metric, 300, noon - HOUR)

        revoke_grant(at=noon, grant=extra)
        use(customer, pro.metric, 50, noon + HOUR)

        position = position_of(customer, pro.metric)
        assert position.burn.by_grant(position.periods[0].key) == {extra.pk: 300, position.grants[0].key: 50}
        assert position.remaining(noon + HOUR) == 9_950

    def test_an_event_of_the_instant_of_revocation_is_not_paid_by_the_grant(self):
        metric, customer = MetricFactory(), CustomerFactory()
        noon = datetime(2026, 2, 10, 12, tzinfo=UTC)
        grant = grant_credits(at=noon - 3 * HOUR, customer=customer, definition=manual_definition(metric))
        use(customer, metric, 10, noon - INSTANT)
        revoke_grant(at=noon, grant=grant)
        use(customer, metric, 10, noon, key="late")

        assert sum(share.units for share in position_of(customer, metric).burn.shares) == 10


class TestGraceHour:
    @pytest.mark.parametrize("closed", [False, True])
    def test_overage_of_the_old_month_takes_nothing_from_the_new_one(self, closed):
        # Ruling 5: 9,900, not 7,400; whether or not the close has run.
        pro, customer = subscribed()
        use(customer, pro.metric, 12_500, FEBRUARY - HOUR)
        use(customer, pro.metric, 100, FEBRUARY)
        if closed:
            close_periods(subscriptions=[customer.subscriptions.get().pk], at=FEBRUARY)

        assert remaining(customer, pro.metric, FEBRUARY - INSTANT) == 0
        assert remaining(customer, pro.metric, FEBRUARY) == 9_900

    def test_settlement_changes_no_live_number(self):
        pro, customer = subscribed()
        use(customer, pro.metric, 12_500, FEBRUARY - HOUR)
        use(customer, pro.metric, 100, FEBRUARY)
        before = remaining(customer, pro.metric, FEBRUARY + HOUR)

        sweep(FEBRUARY + HOUR)

        assert remaining(customer, pro.metric, FEBRUARY + HOUR) == before == 9_900

    def test_a_grant_without_end_is_burned_once_by_each_month(self):
        pro, customer = subscribed(quota=1_000)
        grant_credits(at=START, customer=customer, definition=manual_definition(pro.metric), amount=500)
        use(customer, pro.metric, 1_200, START + HOUR)
        use(customer, pro.metric, 1_100, FEBRUARY + HOUR)
        before = remaining(customer, pro.metric, FEBRUARY + 2 * HOUR)

        sweep(FEBRUARY + 2 * HOUR)

        assert remaining(customer, pro.metric, FEBRUARY + 2 * HOUR) == before == 500 - 200 - 100


class TestSince:
    def test_without_it_a_settled_period_is_out_of_sight(self):
        pro, customer = subscribed()
        use(customer, pro.metric, 12_500, START + HOUR)
        sweep(FEBRUARY + HOUR)

        assert [period.number for period in stored_periods(position_of(customer, pro.metric))] == [1, 2]

    def test_reads_settled_periods_with_their_grants_and_usage_again(self):
        pro, customer = subscribed()
        use(customer, pro.metric, 12_500, START + HOUR)
        use(customer, pro.metric, 100, FEBRUARY + HOUR)
        sweep(FEBRUARY + HOUR)
        pair = (customer.pk, pro.metric.pk)

        position = read_positions([pair], at=FEBRUARY + HOUR, since={pair: START})[pair]

        first, second, _ = stored_periods(position)
        assert (first.number, position.used_in(first.pk), position.used_in(second.pk)) == (0, 12_500, 100)
        assert (position.grants[0].period, position.grants[0].ledger_remaining) == (first.pk, 0)
        assert position.burn.by_grant(first.pk) == {}
        assert position.remaining(FEBRUARY + HOUR) == 9_900

    def test_a_later_instant_hides_nothing(self):
        pro, customer = subscribed()
        use(customer, pro.metric, 100, START + HOUR)
        pair = (customer.pk, pro.metric.pk)

        position = read_positions([pair], at=START + HOUR, since={pair: FEBRUARY})[pair]

        assert position.remaining(START + HOUR) == 9_900


def stored_periods(position):
    return list(SubscriptionPeriod.objects.filter(pk__in=[one.key for one in position.periods]).order_by("number"))


class TestOneStatement:
    def test_reads_all_pairs_at_once(self):
        pairs = []
        for units in (1, 2, 3):
            pro, customer = subscribed()
            use(customer, pro.metric, units, START)
            pairs.append((customer.pk, pro.metric.pk))
        # The kind of a metric, which never changes, is asked for once.
        read_positions(pairs, at=FEBRUARY)

        with CaptureQueriesContext(connection) as queries:
            positions = read_positions(pairs, at=FEBRUARY)

        assert len(queries) == 1
        assert [positions[pair].remaining(START) for pair in pairs] == [9_999, 9_998, 9_997]

    def test_other_customers_and_metrics_are_left_out(self):
        pro, customer = subscribed()
        other = CustomerFactory()
        subscribe(at=START, customer=other, plan=pro.plan)
        use(other, pro.metric, 500, START)
        use(customer, MetricFactory(), 500, START)

        assert remaining(customer, pro.metric, START) == 10_000

    def test_a_customer_without_anything_has_an_empty_position(self):
        position = position_of(CustomerFactory(), MetricFactory())

        assert (position.periods, position.grants, position.usage) == ((), (), ())
        assert position.remaining(START) == 0

    def test_no_pairs_ask_nothing(self, django_assert_num_queries):
        with django_assert_num_queries(0):
            assert read_positions([], at=START) == {}


class TestBillingZone:
    def test_days_and_boundaries_are_those_of_the_zone(self, in_billing_zone):
        in_billing_zone("America/New_York")
        pro, customer = subscribed()
        boundary = datetime(2026, 2, 28, 5, tzinfo=UTC)
        use(customer, pro.metric, 12_500, boundary - INSTANT)
        use(customer, pro.metric, 100, boundary)

        assert SubscriptionPeriod.objects.get(customer=customer, metric=pro.metric, number=0).end_at == boundary
        assert remaining(customer, pro.metric, boundary) == 9_900
        sweep(boundary + HOUR)
        assert remaining(customer, pro.metric, boundary + HOUR) == 9_900

    @pytest.mark.parametrize(
        ("zone", "start", "boundary"),
        [
            ("Pacific/Kiritimati", datetime(2026, 1, 10, 12, tzinfo=UTC), datetime(2026, 2, 10, 10, tzinfo=UTC)),
            ("Pacific/Pago_Pago", datetime(2026, 1, 10, 12, tzinfo=UTC), datetime(2026, 2, 10, 11, tzinfo=UTC)),
            ("Asia/Kathmandu", datetime(2026, 1, 10, 12, tzinfo=UTC), datetime(2026, 2, 9, 18, 15, tzinfo=UTC)),
            # The boundary is a midnight that is skipped …
            ("Asia/Beirut", datetime(2025, 2, 28, 12, tzinfo=UTC), datetime(2025, 3, 27, 22, tzinfo=UTC)),
            ("America/Asuncion", datetime(2023, 9, 1, 12, tzinfo=UTC), datetime(2023, 10, 1, 4, tzinfo=UTC)),
            ("America/Santiago", datetime(2025, 8, 7, 12, tzinfo=UTC), datetime(2025, 9, 7, 4, tzinfo=UTC)),
            ("America/Havana", datetime(2025, 2, 9, 12, tzinfo=UTC), datetime(2025, 3, 9, 5, tzinfo=UTC)),
            # … or comes twice.
            ("America/Havana", datetime(2025, 10, 2, 12, tzinfo=UTC), datetime(2025, 11, 2, 4, tzinfo=UTC)),
            ("Atlantic/Azores", datetime(2025, 9, 26, 12, tzinfo=UTC), datetime(2025, 10, 26, tzinfo=UTC)),
        ],
    )
    def test_no_unit_around_a_boundary_is_lost_or_counted_twice(self, in_billing_zone, zone, start, boundary):
        in_billing_zone(zone)
        pro, customer = make_pro_plan(), CustomerFactory()
        subscribe(at=start, customer=customer, plan=pro.plan)
        for minutes in (-121, -61, -31, -1, 0, 1, 30, 59, 60, 61, 120):
            use(customer, pro.metric, 1, boundary + timedelta(minutes=minutes), key=f"k{minutes}")

        position = position_of(customer, pro.metric)

        old, new = (stored.key for stored in position.periods[:2])
        assert position.periods[0].end_at == boundary
        assert (position.used_in(old), position.used_in(new)) == (4, 7)
        assert position.remaining(boundary + 3 * HOUR) == 9_993

    def test_another_zone_than_the_one_the_database_was_set_up_with_is_refused(self, in_billing_zone, settings):
        in_billing_zone("Europe/Berlin")
        settings.BILLING_TIME_ZONE = "UTC"

        with pytest.raises(ImproperlyConfigured, match="Set BILLING_TIME_ZONE=Europe/Berlin"):
            billing_zone()
