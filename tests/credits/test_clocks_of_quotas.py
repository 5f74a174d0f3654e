"""Quotas renew with the clock that counts their metric."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import import_module

import pytest
from django.db import connection

from billing.services.cancel import cancel_now
from billing.services.change import change_now
from billing.services.subscribe import subscribe
from credits.models import CreditGrant, SubscriptionCredit
from tests.factories import CustomerFactory
from tests.pro_plan import (
    ProPlan,
    assert_books_add_up,
    make_pro_plan,
    remaining,
    renew_by_the_shortest_clock,
    sweep,
    use,
)

pytestmark = pytest.mark.django_db

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
HALF_TIME = datetime(2026, 4, 16, 9, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def yearly_calls(quota: int, *, beside: ProPlan | None = None, base_cents: int = 2900) -> ProPlan:
    """A plan with a monthly fee and calls that are billed once a year; its quota names no component."""
    return make_pro_plan(
        frequency="YEARLY", base_frequency="MONTHLY", base_cents=base_cents, quota=quota, beside=beside
    )


class TestQuotasRenewWithTheirMetric:
    def test_a_quota_without_a_component_follows_the_clock_that_counts_its_metric(self):
        pro, customer = yearly_calls(10_000), CustomerFactory()

        subscribe(at=APRIL, customer=customer, plan=pro.plan)

        grants = CreditGrant.objects.filter(customer=customer).order_by("starts_at")
        assert [(one.starts_at.year, one.initial_amount) for one in grants] == [(2026, 10_000), (2027, 10_000)]

    def test_an_upgrade_shares_the_year_by_its_days(self):
        # 15 of 365 days of 10,000 and 350 of 20,000: 410.96 + 19,178.08, rounded up to six decimals.
        small = yearly_calls(10_000)
        big, customer = yearly_calls(20_000, beside=small, base_cents=5800), CustomerFactory()
        subscription = subscribe(at=APRIL, customer=customer, plan=small.plan)
        use(customer, small.metric, 400, APRIL + HOUR)

        change_now(subscription=subscription, price=big.price, at=HALF_TIME)

        assert remaining(customer, small.metric, HALF_TIME + HOUR) == Decimal("19189.041096")
        assert_books_add_up(HALF_TIME + HOUR)

    def test_who_used_each_months_part_owes_nothing_when_he_comes_back(self):
        # 5,000 of 10,000 used in 183 of 365 days, which are worth 5,013.7.
        pro, customer = yearly_calls(10_000), CustomerFactory()
        subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)
        use(customer, pro.metric, 5_000, APRIL + HOUR)
        october = datetime(2026, 10, 1, 9, tzinfo=UTC)
        sweep(october)

        cancel_now(subscription=subscription, at=october, prorate=True)
        subscribe(at=october + HOUR, customer=customer, plan=pro.plan)

        assert remaining(customer, pro.metric, october + 2 * HOUR) == 10_000

    def test_what_quotas_of_another_clock_paid_for_is_no_debt_of_the_year(self):
        # 350 of 365 days of 20,000; the month's 10,000, of which 8,000 were used, are no part of the year.
        small = yearly_calls(10_000)
        big, customer = yearly_calls(20_000, beside=small, base_cents=5800), CustomerFactory()
        subscription = subscribe(at=APRIL, customer=customer, plan=small.plan)
        renew_by_the_shortest_clock(subscription)
        use(customer, small.metric, 8_000, APRIL + HOUR)

        change_now(subscription=subscription, price=big.price, at=HALF_TIME)

        assert remaining(customer, small.metric, HALF_TIME + HOUR) == Decimal("19178.082192")
        assert_books_add_up(HALF_TIME + HOUR)

    def test_what_was_sold_by_the_shortest_clock_goes_on_by_it(self):
        pro, customer = yearly_calls(10_000), CustomerFactory()
        subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)
        SubscriptionCredit.objects.filter(subscription=subscription).update(renews_by_shortest_clock=True)

        sweep(MAY + 2 * HOUR)

        monthly = CreditGrant.objects.filter(customer=customer, period__metric=None)
        assert [one.starts_at for one in monthly] == [datetime(2026, 6, 1, tzinfo=UTC)]


def test_what_was_sold_before_keeps_its_clock_where_that_was_another_one():
    yearly, monthly = yearly_calls(10_000), make_pro_plan()
    for plan in (yearly.plan, monthly.plan):
        subscribe(at=APRIL, customer=CustomerFactory(), plan=plan)

    with connection.cursor() as cursor:
        cursor.execute(import_module("credits.migrations.0009_quotas_renew_with_their_metric").KEEP)

    kept = SubscriptionCredit.objects.filter(renews_by_shortest_clock=True)
    assert [one.subscription.plan for one in kept] == [yearly.plan]
