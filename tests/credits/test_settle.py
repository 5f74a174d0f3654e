from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.services.close_periods import close_periods
from billing.services.subscribe import subscribe
from credits.models import CreditGrant, CreditTransaction
from credits.services.grants import grant_credits
from credits.services.settle import BooksDoNotAddUp, settle_periods
from plans.models import SubscriptionPeriod
from tests.factories import CreditDefinitionFactory, CustomerFactory
from tests.pro_plan import make_pro_plan, use

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 28, tzinfo=UTC)
MARCH = datetime(2026, 3, 31, tzinfo=UTC)
DAY = timedelta(days=1)

pytestmark = pytest.mark.django_db


def subscribed(**plan):
    pro, customer = make_pro_plan(**plan), CustomerFactory()
    subscription = subscribe(at=AT, customer=customer, plan=pro.plan)
    for at in (FEBRUARY, MARCH):
        close_periods(subscriptions=[subscription.pk], at=at)
    return pro, customer


def periods(customer):
    return list(SubscriptionPeriod.objects.filter(customer=customer, metric__isnull=False).order_by("number"))


def ledger(grant):
    return list(grant.transactions.order_by("pk").values_list("kind", "amount"))


def test_books_what_was_burned_and_expires_the_rest():
    pro, customer = subscribed()
    use(customer, pro.metric, 8_000, AT + DAY)
    first = periods(customer)[0]

    settled = settle_periods(at=FEBRUARY, periods=[first])

    grant = CreditGrant.objects.get(period=first)
    assert (settled[first.pk].used, settled[first.pk].by_grant) == (8_000, {grant.pk: 8_000})
    assert ledger(grant) == [("granted", 10_000), ("burned", -8_000), ("expired", -2_000)]
    assert grant.ledger_remaining == 0
    first.refresh_from_db()
    assert (first.settled_at, first.settled_usage, first.settled_credited) == (FEBRUARY, 8_000, 8_000)


def test_overage_is_used_but_not_credited():
    pro, customer = subscribed()
    use(customer, pro.metric, 12_500, AT + DAY)
    first = periods(customer)[0]

    settle_periods(at=FEBRUARY, periods=[first])

    first.refresh_from_db()
    assert (first.settled_usage, first.settled_credited) == (12_500, 10_000)


def test_usage_of_the_next_month_stays_open():
    pro, customer = subscribed()
    use(customer, pro.metric, 700, FEBRUARY)

    settle_periods(at=FEBRUARY + DAY, periods=periods(customer)[:1])

    assert not CreditTransaction.objects.filter(kind="burned").exists()
    second = CreditGrant.objects.get(customer=customer, starts_at=FEBRUARY)
    assert second.ledger_remaining == 10_000


def test_a_grant_that_goes_on_keeps_its_rest():
    pro, customer = subscribed(quota=None)
    quota = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature)
    forever = grant_credits(at=AT, customer=customer, definition=quota, amount=Decimal(100))
    ends_in_march = grant_credits(
        at=AT, customer=customer, definition=quota, amount=Decimal(100), expires_at=datetime(2026, 3, 5, tzinfo=UTC)
    )
    ends_in_february = grant_credits(
        at=AT, customer=customer, definition=quota, amount=Decimal(100), expires_at=datetime(2026, 2, 5, tzinfo=UTC)
    )
    use(customer, pro.metric, 30, AT + DAY)

    settle_periods(at=FEBRUARY, periods=periods(customer)[:1])

    assert ledger(ends_in_february) == [("granted", 100), ("burned", -30), ("expired", -70)]
    assert ledger(ends_in_march) == ledger(forever) == [("granted", 100)]


def test_out_of_order_is_refused_and_writes_nothing():
    _, customer = subscribed()

    with pytest.raises(BooksDoNotAddUp):
        settle_periods(at=MARCH, periods=[periods(customer)[1]])

    assert not CreditTransaction.objects.exclude(kind="granted").exists()


def test_twice_is_refused():
    _, customer = subscribed()
    first = periods(customer)[0]
    settle_periods(at=FEBRUARY, periods=[first])

    with pytest.raises(BooksDoNotAddUp):
        settle_periods(at=FEBRUARY, periods=[first])


def test_fees_have_nothing_to_settle(django_assert_num_queries):
    _, customer = subscribed()
    fees = list(SubscriptionPeriod.objects.filter(customer=customer, metric=None))

    with django_assert_num_queries(0):
        assert settle_periods(at=FEBRUARY, periods=fees) == {}


def test_many_customers_are_settled_at_once():
    several = [subscribed() for _ in range(3)]
    for number, (pro, customer) in enumerate(several, start=1):
        use(customer, pro.metric, number, AT + DAY)

    settled = settle_periods(at=FEBRUARY, periods=[periods(customer)[0] for _, customer in several])

    assert sorted(usage.used for usage in settled.values()) == [1, 2, 3]
    assert CreditTransaction.objects.filter(kind="expired").count() == 3


def test_usage_before_the_subscription_keeps_what_it_burned_of_a_grant_that_expires():
    pro, customer = make_pro_plan(quota=None), CustomerFactory()
    quota = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature)
    grant = grant_credits(
        at=AT - 3 * DAY, customer=customer, definition=quota, amount=Decimal(100), expires_at=AT + 3 * DAY
    )
    use(customer, pro.metric, 60, AT - 2 * DAY)
    subscription = subscribe(at=AT, customer=customer, plan=pro.plan)
    close_periods(subscriptions=[subscription.pk], at=FEBRUARY)

    settle_periods(at=FEBRUARY, periods=periods(customer)[:1])

    assert ("expired", -40) in ledger(grant)
