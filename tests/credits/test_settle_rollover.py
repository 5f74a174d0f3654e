"""What settlement writes when a quota rolls over: 1,000 calls a month from January 2026 on, 5 cents a call beyond."""

from datetime import UTC, datetime, timedelta

import pytest

from billing.books import check_books
from billing.services.close_periods import close_periods
from billing.services.subscribe import subscribe
from credits.models import CreditDefinition, CreditGrant, CreditTransaction
from credits.services.grants import revoke_grant
from credits.services.settle import settle_periods
from plans.models import SubscriptionPeriod
from tests.factories import CustomerFactory
from tests.pro_plan import bills, make_pro_plan, remaining, renew_by_the_shortest_clock, sweep, use

JANUARY, FEBRUARY, MARCH, APRIL = (datetime(2026, month, 1, tzinfo=UTC) for month in range(1, 5))
NEXT_YEAR = datetime(2027, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

pytestmark = pytest.mark.django_db


def subscribed(*, cap=None, days=None, until=(), **plan):
    """Subscribe to a quota that rolls over, and close the boundaries in `until`."""
    pro, customer = make_pro_plan(**{"quota": 1_000} | plan), CustomerFactory()
    CreditDefinition.objects.filter(pk=pro.quota.pk).update(rolls_over=True, rollover_cap=cap, rollover_days=days)
    subscription = subscribe(at=JANUARY, customer=customer, plan=pro.plan)
    for at in until:
        close_periods(subscriptions=[subscription.pk], at=at)
    return pro, customer


def periods(customer):
    metered = SubscriptionPeriod.objects.filter(customer=customer, metric__isnull=False)
    return list(metered.select_related("item__component").order_by("number"))


def quota_of(customer, start_at):
    return CreditGrant.objects.get(customer=customer, starts_at=start_at, period__isnull=False)


def rolled_of(customer):
    return list(CreditGrant.objects.filter(customer=customer, rolled_from__isnull=False).order_by("pk"))


def ledger(grant):
    return list(grant.transactions.order_by("pk").values_list("kind", "amount"))


def books_add_up(at):
    return [offender for finding in check_books(at=at) for offender in finding.offenders] == []


def test_the_rest_expires_whole_and_what_rolls_over_is_a_grant_of_its_own():
    pro, customer = subscribed(cap=250, days=10, priority=3)
    use(customer, pro.metric, 400, JANUARY + DAY)

    sweep(FEBRUARY + HOUR)

    old = quota_of(customer, JANUARY)
    (rolled,) = rolled_of(customer)
    assert ledger(old) == [("granted", 1_000), ("burned", -400), ("expired", -600)]
    assert ledger(rolled) == [("granted", 250)]
    assert (rolled.rolled_from, rolled.definition, rolled.subscription) == (old, old.definition, old.subscription)
    assert (rolled.source, rolled.priority, rolled.period, rolled.rolls_over) == ("subscription", 3, None, False)
    assert (rolled.starts_at, rolled.expires_at) == (FEBRUARY, FEBRUARY + 10 * DAY)
    assert books_add_up(FEBRUARY + HOUR)


def test_the_grace_hour_and_the_settlement_say_the_same():
    pro, customer = subscribed()
    use(customer, pro.metric, 400, JANUARY + DAY)
    use(customer, pro.metric, 1_150, FEBRUARY)
    before = remaining(customer, pro.metric, FEBRUARY + HOUR)

    sweep(FEBRUARY + HOUR)

    assert remaining(customer, pro.metric, FEBRUARY + HOUR) == before == 450


def test_the_settlement_of_a_month_leaves_the_next_one_open():
    pro, customer = subscribed()
    use(customer, pro.metric, 400, JANUARY + DAY)
    use(customer, pro.metric, 1_150, FEBRUARY)

    sweep(FEBRUARY + HOUR)

    (rolled,) = rolled_of(customer)
    assert ledger(rolled) == [("granted", 600)]
    assert ledger(quota_of(customer, FEBRUARY)) == [("granted", 1_000)]


def test_the_next_month_burns_and_bills_what_rolled_over():
    pro, customer = subscribed(base_cents=None, cap=100)
    use(customer, pro.metric, 400, JANUARY + DAY)
    use(customer, pro.metric, 1_150, FEBRUARY)

    sweep(MARCH + HOUR)

    # 1,150 calls less 1,000 and the 100 that rolled over: 50 at 5 cents.
    assert bills(customer)[-1] == (
        "issued",
        250,
        [("usage", 1_150, 5_750), ("credit", 1_000, -5_000), ("credit", 100, -500)],
    )
    (rolled,) = rolled_of(customer)
    assert ledger(rolled) == [("granted", 100), ("burned", -100)]
    assert books_add_up(MARCH + HOUR)


def test_several_months_settled_at_once_are_as_one_after_the_other():
    entries = []
    for together in (True, False):
        pro, customer = subscribed(cap=500, days=45, until=(FEBRUARY, MARCH, APRIL))
        use(customer, pro.metric, 400, JANUARY + DAY)
        use(customer, pro.metric, 1_150, FEBRUARY)
        use(customer, pro.metric, 1_700, MARCH)
        ended = periods(customer)[:3]

        for batch in [ended] if together else [[period] for period in ended]:
            settle_periods(at=APRIL + HOUR, periods=batch)

        rows = CreditTransaction.objects.filter(customer=customer).exclude(kind="granted", grant__starts_at__gte=APRIL)
        entries.append(
            sorted(
                (
                    row.grant.starts_at,
                    row.grant.rolled_from is not None,
                    row.kind,
                    row.amount,
                    row.period and row.period.number,
                )
                for row in rows.select_related("grant__rolled_from", "period")
            )
        )

    # January leaves 600, of which 500 roll. February burns its 1,000 and then 150 of them. The 350 that are left end on
    # the 18th of March, before March's quota does, so March burns them first; of its own rest nothing is left.
    assert entries[0] == entries[1]
    assert [(kind, amount, number) for _, rolled, kind, amount, number in entries[0] if rolled] == [
        ("burned", -350, 2),
        ("burned", -150, 1),
        ("granted", 500, None),
    ]


def test_a_yearly_bill_has_the_rests_of_its_months():
    pro, customer = subscribed(frequency="YEARLY", base_frequency="MONTHLY", base_cents=0, days=10)
    renew_by_the_shortest_clock(customer.subscriptions.get())
    use(customer, pro.metric, 400, JANUARY + DAY)
    use(customer, pro.metric, 1_150, FEBRUARY)
    assert remaining(customer, pro.metric, FEBRUARY + HOUR) == 1_600 - 1_150

    sweep(NEXT_YEAR + HOUR)

    # Each of the other months leaves 1,000, which nobody uses within ten days.
    january, february, *others = rolled_of(customer)
    assert ledger(january) == [("granted", 600), ("burned", -600)]
    assert ledger(february) == [("granted", 450), ("expired", -450)]
    assert [ledger(grant) for grant in others[:-1]] == [[("granted", 1_000), ("expired", -1_000)]] * 9
    assert ledger(others[-1]) == [("granted", 1_000)]
    year = periods(customer)[0]
    assert (year.settled_usage, year.settled_credited) == (1_550, 1_550)
    assert books_add_up(NEXT_YEAR + HOUR)


def test_a_grant_that_somebody_ended_does_not_roll_over():
    # 600 are revoked. The 100 that a correction gives back later were ended with them.
    pro, customer = subscribed()
    use(customer, pro.metric, 400, JANUARY + DAY)
    revoke_grant(at=JANUARY + 2 * DAY, grant=quota_of(customer, JANUARY))
    use(customer, pro.metric, -100, JANUARY + DAY)

    assert remaining(customer, pro.metric, FEBRUARY) == 1_000
    sweep(FEBRUARY + HOUR)
    assert rolled_of(customer) == []
    assert ledger(quota_of(customer, JANUARY))[1:] == [("revoked", -600), ("burned", -300), ("expired", -100)]


def test_to_revoke_a_quota_that_has_ended_takes_nothing_of_what_rolls_over():
    pro, customer = subscribed()
    use(customer, pro.metric, 400, JANUARY + DAY)
    use(customer, pro.metric, 1_150, FEBRUARY)

    revoke_grant(at=FEBRUARY + HOUR / 2, grant=quota_of(customer, JANUARY))

    assert remaining(customer, pro.metric, FEBRUARY + HOUR / 2) == 450
    sweep(FEBRUARY + HOUR)
    assert remaining(customer, pro.metric, FEBRUARY + HOUR) == 450


def test_the_days_are_those_of_the_billing_zone(in_billing_zone):
    in_billing_zone("Europe/Berlin")
    pro, customer = make_pro_plan(quota=1_000), CustomerFactory()
    CreditDefinition.objects.filter(pk=pro.quota.pk).update(rolls_over=True, rollover_days=31)
    subscribe(at=datetime(2026, 1, 31, 23, tzinfo=UTC), customer=customer, plan=pro.plan)
    # In Berlin the first of March begins at 23:00 UTC, the first of April, 31 days later, at 22:00 UTC.
    end = datetime(2026, 2, 28, 23, tzinfo=UTC)

    sweep(end + HOUR)

    (rolled,) = rolled_of(customer)
    assert (rolled.starts_at, rolled.expires_at) == (end, datetime(2026, 3, 31, 22, tzinfo=UTC))
