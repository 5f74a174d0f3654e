"""What a customer has, by feature and currency."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.services.subscribe import subscribe
from credits.models import CreditGrant
from credits.services.balance import read_balances
from credits.services.grants import adjust_grant, grant_credits, revoke_grant
from tests.factories import CreditDefinitionFactory, CustomerFactory, FeatureFactory
from tests.pro_plan import make_pro_plan, sweep, use

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 28, tzinfo=UTC)
DAY = timedelta(days=1)

pytestmark = pytest.mark.django_db


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def customer(pro):
    customer = CustomerFactory()
    subscribe(at=AT, customer=customer, plan=pro.plan)
    return customer


def extra(customer, pro, units, **words):
    definition = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature)
    return grant_credits(at=AT, customer=customer, definition=definition, amount=Decimal(units), **words)


def balance(customer, at):
    (one,) = read_balances(customer=customer, at=at)
    return one


def totals(one):
    return {name: one.total(name) for name in ("granted", "settled", "pending", "remaining")}


def test_adds_up_the_active_grants_in_burn_order(pro, customer):
    last, first = extra(customer, pro, 500), extra(customer, pro, 40, priority=1)
    use(customer, pro.metric, 10_100, AT + DAY)

    one = balance(customer, AT + 2 * DAY)

    # 40 by priority, then the quota, which expires, then 60 of what does not.
    quota = CreditGrant.objects.get(starts_at=AT, period__isnull=False)
    shares = [(share.grant, int(share.granted), int(share.pending), int(share.remaining)) for share in one.shares]
    assert shares == [(first, 40, 40, 0), (quota, 10_000, 10_000, 0), (last, 500, 60, 440)]
    assert totals(one) == {"granted": 10_540, "settled": 10_540, "pending": 10_100, "remaining": 440}
    assert one.features == [pro.feature]


def test_is_what_the_ledger_has_left_once_usage_is_settled(pro, customer):
    goodwill = extra(customer, pro, 500)
    use(customer, pro.metric, 10_100, AT + DAY)
    sweep(FEBRUARY + timedelta(hours=1))
    use(customer, pro.metric, 7, FEBRUARY + DAY)

    one = balance(customer, FEBRUARY + 2 * DAY)

    assert totals(one) == {"granted": 10_500, "settled": 10_400, "pending": 7, "remaining": 10_393}
    assert [share.grant for share in one.shares][1] == goodwill


def test_keeps_periods_apart_in_the_grace_hour(pro, customer):
    use(customer, pro.metric, 12_500, AT + DAY)
    use(customer, pro.metric, 100, FEBRUARY)

    assert totals(balance(customer, FEBRUARY + timedelta(minutes=30)))["remaining"] == 9_900


def test_leaves_out_what_has_not_begun_has_expired_or_was_revoked(pro, customer):
    extra(customer, pro, 1, starts_at=AT + 20 * DAY)
    extra(customer, pro, 2, expires_at=AT + DAY)
    revoke_grant(at=AT + DAY, grant=extra(customer, pro, 4))

    assert totals(balance(customer, AT + 5 * DAY))["granted"] == 10_000


def test_counts_what_was_adjusted(pro, customer):
    adjust_grant(at=AT, grant=CreditGrant.objects.get(starts_at=AT), amount=Decimal(-9_000))

    assert totals(balance(customer, AT))["granted"] == 1_000


def test_names_each_feature_of_a_metric_and_one_without_any(pro, customer):
    also = FeatureFactory(value="usage_based", metrics=[pro.metric])
    assert balance(customer, AT).features == [pro.feature, also]

    also.metrics.clear()
    pro.feature.metrics.clear()

    assert balance(customer, AT).features == []


def test_says_what_the_period_includes_before_any_grant():
    pro = make_pro_plan(quota=None)
    pro.price.components.filter(kind="usage").update(included_units=50)
    customer = CustomerFactory()
    subscribe(at=AT, customer=customer, plan=pro.plan)
    extra(customer, pro, 20)
    use(customer, pro.metric, 55, AT + DAY)

    one = balance(customer, AT + DAY)

    assert (one.included, one.included_left) == (50, 0)
    assert totals(one)["remaining"] == 15


def test_shows_a_rest_that_will_roll_over():
    pro, customer = make_pro_plan(quota=100, rolls_over=True, rollover_cap=Decimal(30)), CustomerFactory()
    subscribe(at=AT, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 60, AT + DAY)

    one = balance(customer, FEBRUARY)

    old = CreditGrant.objects.get(starts_at=AT)
    rolled = [(share.grant, int(share.granted), share.is_rolled_over) for share in one.shares if share.is_rolled_over]
    assert rolled == [(old, 30, True)]
    assert totals(one)["remaining"] == 130


def test_has_money_per_currency():
    customer = CustomerFactory()
    for currency, amount, priority in (("USD", 500, None), ("USD", 70, 1), ("EUR", 9, None)):
        money = CreditDefinitionFactory(
            scope="merchant", plan=None, renew_on_billing=False, feature=None, application_type="monetary",
            currency=currency,
        )  # fmt: skip
        grant_credits(at=AT, customer=customer, definition=money, amount=Decimal(amount), priority=priority)

    euro, dollar = read_balances(customer=customer, at=AT)

    assert (euro.currency, totals(euro)["remaining"]) == ("EUR", 9)
    assert totals(dollar) == {"granted": 570, "settled": 570, "pending": 0, "remaining": 570}
    assert [int(share.granted) for share in dollar.shares] == [70, 500]


def test_of_a_customer_without_credits_is_empty():
    assert read_balances(customer=CustomerFactory(), at=AT) == []


def test_needs_no_more_queries_for_more_grants(pro, customer, django_assert_num_queries):
    read_balances(customer=customer, at=AT)
    for _ in range(5):
        extra(customer, pro, 1)

    with django_assert_num_queries(5):
        read_balances(customer=customer, at=AT)
