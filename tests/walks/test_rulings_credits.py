"""The rulings on credits, live and settled, with worked numbers: 1,000 calls a month, 5 cents a call beyond."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.books import check_books
from billing.services.subscribe import subscribe
from credits.models import CreditDefinition, CreditGrant
from credits.services.grants import grant_credits
from credits.services.positions import read_positions
from entitlements.services.check import check
from metering.services.metrics import create_metric
from tests.factories import CreditDefinitionFactory, CustomerFactory
from tests.pro_plan import bills, make_pro_plan, remaining, sweep, use

pytestmark = pytest.mark.django_db

JAN_1, FEB_1, MARCH_1, APRIL_1 = (datetime(2027, month, 1, tzinfo=UTC) for month in range(1, 5))
SOON, DAY = timedelta(hours=2), timedelta(days=1)


def sold(*, rollover=None, **plan):
    pro, customer = make_pro_plan(**{"quota": 1_000, "base_cents": None} | plan), CustomerFactory()
    if rollover is not None:
        cap, days = rollover
        CreditDefinition.objects.filter(pk=pro.quota.pk).update(rolls_over=True, rollover_cap=cap, rollover_days=days)
    subscribe(at=JAN_1, customer=customer, plan=pro.plan)
    return pro, customer


def granted(pro, customer, units, *, at=JAN_1, expires_at=None, priority=None, starts_at=None):
    definition = CreditDefinitionFactory(
        scope="merchant",
        plan=None,
        renew_on_billing=False,
        feature=pro.feature,
        priority=priority,
        billing_visible=True,
    )
    return grant_credits(
        at=at,
        customer=customer,
        definition=definition,
        amount=Decimal(units),
        expires_at=expires_at,
        starts_at=starts_at,
    )


def ledger(grant):
    return list(grant.transactions.order_by("pk").values_list("kind", "amount"))


def burned_by(customer, pro, at):
    pair = (customer.pk, pro.metric.pk)
    position = read_positions([pair], at=at)[pair]
    return position.burn.by_grant(position.period_at(at).key)


def books_add_up(at):
    return [offender for finding in check_books(at=at) for offender in finding.offenders] == []


class TestRuling7BurnOrder:
    def test_priority_then_expiry_then_start_then_id(self):
        pro, customer = sold(quota=None)
        later, never = granted(pro, customer, 10, expires_at=MARCH_1), granted(pro, customer, 10)
        soon = granted(pro, customer, 10, expires_at=FEB_1)
        again = granted(pro, customer, 10, expires_at=FEB_1)
        first, second = granted(pro, customer, 10, priority=-1), granted(pro, customer, 10, priority=5)
        use(customer, pro.metric, 60, JAN_1 + DAY)

        order = list(burned_by(customer, pro, JAN_1 + 2 * DAY))

        assert order == [grant.pk for grant in (first, second, soon, again, later, never)]

    def test_a_unit_burns_only_what_was_active_when_it_was_used(self):
        # 30 before the grant began and 20 after it ended are charged; 40 of its 100 are burned between.
        pro, customer = sold(quota=None)
        grant = granted(pro, customer, 100, starts_at=JAN_1 + 10 * DAY, expires_at=JAN_1 + 20 * DAY)
        for units, day in ((30, 9), (40, 10), (20, 20)):
            use(customer, pro.metric, units, JAN_1 + day * DAY)

        sweep(FEB_1 + SOON)

        assert ledger(grant) == [("granted", 100), ("burned", -40), ("expired", -60)]
        assert bills(customer)[-1][1] == 50 * 5

    def test_a_correction_cancels_the_latest_usage_of_its_period_first(self):
        # 1,000 burned the quota and 60 the extra; taking 60 back gives them to the extra, which was burned last.
        pro, customer = sold()
        extra = granted(pro, customer, 100)
        use(customer, pro.metric, 1_000, JAN_1 + DAY)
        use(customer, pro.metric, 60, JAN_1 + 2 * DAY)
        use(customer, pro.metric, -60, JAN_1 + 3 * DAY)

        assert remaining(customer, pro.metric, JAN_1 + 4 * DAY) == 100
        sweep(FEB_1 + SOON)
        assert ledger(extra) == [("granted", 100)]


class TestRuling8OnePeriodOneNumber:
    def test_the_highest_value_counts_on_the_last_day_and_live_today(self):
        # 120 are the month's maximum from the 2nd on. A grant of 100 until the 11th pays for them while it lasts; on
        # the month's last day it is over.
        metric = create_metric(at=JAN_1, name="Disk", event_name="disk", aggregation_type="MAX", value_type="NUMERIC")
        pro, customer = make_pro_plan(quota=None, base_cents=None), CustomerFactory()
        pro.feature.metrics.set([metric])
        pro.price.components.update(metric=metric)
        subscribe(at=JAN_1, customer=customer, plan=pro.plan)
        grant = granted(pro, customer, 100, expires_at=JAN_1 + 10 * DAY)
        use(customer, metric, 120, JAN_1 + DAY)
        use(customer, metric, 70, JAN_1 + 2 * DAY)
        pair = (customer.pk, metric.pk)
        live = [read_positions([pair], at=JAN_1 + day * DAY)[pair].burn.shares for day in (9, 10)]

        sweep(FEB_1 + SOON)

        assert [[share.units for share in shares] for shares in live] == [[100], []]
        assert ledger(grant) == [("granted", 100), ("expired", -100)]
        assert bills(customer)[-1][1] == 120 * 5


class TestRuling10Settlement:
    @pytest.mark.parametrize("plan", [{"unit_cost_cents": None, "base_cents": 0}, {"unit_cost_cents": "0"}])
    def test_where_nothing_is_billed_a_period_is_settled_all_the_same(self, plan):
        pro, customer = sold(**plan)
        use(customer, pro.metric, 300, JAN_1 + DAY)

        sweep(FEB_1 + SOON)

        quota = CreditGrant.objects.get(customer=customer, starts_at=JAN_1)
        assert ledger(quota) == [("granted", 1_000), ("burned", -300), ("expired", -700)]
        assert books_add_up(FEB_1 + SOON)


class TestRuling12Rollover:
    def test_600_left_of_january_are_there_in_the_grace_hour_and_after_it(self):
        pro, customer = sold(rollover=(None, None))
        use(customer, pro.metric, 400, JAN_1 + DAY)
        in_grace = FEB_1 + SOON / 4

        before = check(customer=customer.public_id, slug=pro.feature.slug, at=in_grace)
        sweep(FEB_1 + SOON)

        assert (before.usage, before.limit, before.remaining) == (0, 1_600, 1_600)
        assert before.credit_info.allowance == 1_600
        assert check(customer=customer.public_id, slug=pro.feature.slug, at=FEB_1 + SOON) == before

    def test_a_cap_of_250_keeps_250_of_600_for_ten_days(self):
        pro, customer = sold(rollover=(250, 10))
        use(customer, pro.metric, 400, JAN_1 + DAY)

        before = [remaining(customer, pro.metric, FEB_1 + day * DAY) for day in (0, 9, 10)]
        sweep(FEB_1 + SOON)

        assert (
            [remaining(customer, pro.metric, FEB_1 + day * DAY) for day in (0, 9, 10)]
            == before
            == [1_250, 1_250, 1_000]
        )

    def test_the_rest_of_january_pays_for_the_overage_of_february(self):
        # 1,700 calls less 1,000 of February and 600 of January: 100 at 5 cents. Of neither month anything is left.
        pro, customer = sold(rollover=(None, None))
        use(customer, pro.metric, 400, JAN_1 + DAY)
        use(customer, pro.metric, 1_700, FEB_1 + DAY)

        sweep(MARCH_1 + SOON)

        assert bills(customer)[-1] == (
            "issued",
            500,
            [("usage", 1_700, 8_500), ("credit", 1_000, -5_000), ("credit", 600, -3_000)],
        )
        assert remaining(customer, pro.metric, MARCH_1 + SOON) == 1_000
        assert books_add_up(MARCH_1 + SOON)


class TestRuling13ManualGrants:
    def test_one_that_outlives_three_months_is_right_in_each_of_them_live_and_settled(self):
        # Granted on 20 January, it counts from the month's first day and has no end. Beyond the 1,000 of each month
        # 200, 150 and 400 calls are used: it pays for 200, 150, and of the last 400 for the 150 that are left of 500.
        pro, customer = sold()
        goodwill = granted(pro, customer, 500, at=JAN_1 + 19 * DAY)
        assert goodwill.starts_at == JAN_1
        months = [
            (JAN_1, FEB_1, 1_200, 300, 0),
            (FEB_1, MARCH_1, 1_150, 150, 0),
            (MARCH_1, APRIL_1, 1_400, 0, 250 * 5),
        ]

        for start_at, end_at, units, left, _ in months:
            use(customer, pro.metric, units, start_at + 5 * DAY)
            before_end, in_grace = end_at - DAY, end_at + SOON / 4
            assert remaining(customer, pro.metric, before_end) == left
            assert remaining(customer, pro.metric, in_grace) == 1_000 + left
            sweep(end_at + SOON)
            goodwill.refresh_from_db()
            assert goodwill.ledger_remaining == left
            assert remaining(customer, pro.metric, end_at + SOON) == 1_000 + left

        assert ledger(goodwill) == [("granted", 500), ("burned", -200), ("burned", -150), ("burned", -150)]
        assert [total for _, total, _ in bills(customer)] == [0, 0, 1_250]
        assert books_add_up(APRIL_1 + SOON)

    def test_the_same_three_months_settled_at_one_go_come_to_the_same(self):
        pro, customer = sold()
        goodwill = granted(pro, customer, 500, at=JAN_1 + 19 * DAY)
        for start_at, units in ((JAN_1, 1_200), (FEB_1, 1_150), (MARCH_1, 1_400)):
            use(customer, pro.metric, units, start_at + 5 * DAY)
        live = [remaining(customer, pro.metric, at) for at in (JAN_1 + 6 * DAY, MARCH_1 + 6 * DAY)]

        sweep(APRIL_1 + SOON)

        # Of what was used later the earlier month knows, too: nothing of the 500 may be taken there any more.
        assert live == [0, 0]
        assert ledger(goodwill) == [("granted", 500), ("burned", -200), ("burned", -150), ("burned", -150)]
        assert [total for _, total, _ in bills(customer)] == [0, 0, 1_250]
