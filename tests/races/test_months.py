"""Calendar months that are settled while others take, give or subscribe."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial

import pytest

from billing import jobs
from billing.books import check_books
from billing.services.months import months_to_settle, settle
from billing.services.subscribe import subscribe
from credits.models import CalendarMonth, CreditGrant, CreditTransaction
from credits.services.grants import grant_credits, revoke_grant
from credits.services.positions import read_positions
from credits.services.settle_months import begin_months
from entitlements.services.consume import Consumption, consume
from tests.factories import CreditDefinitionFactory, CustomerFactory
from tests.pro_plan import make_pro_plan, use

JANUARY, FEBRUARY = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOW = FEBRUARY + 2 * HOUR

pytestmark = pytest.mark.django_db(transaction=True)


def offenders():
    return [offender for finding in check_books(at=NOW) for offender in finding.offenders]


def bought(pro, customer, units):
    extra = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature)
    return grant_credits(at=JANUARY, customer=customer, definition=extra, amount=Decimal(units), source="topup")


def test_workers_settle_a_month_once(at_once):
    pro = make_pro_plan(quota=None)
    customers = [CustomerFactory() for _ in range(5)]
    for customer in customers:
        bought(pro, customer, 100)
        use(customer, pro.metric, 30, JANUARY + DAY)

    at_once([partial(jobs.settle_months, NOW)] * 4)

    assert [int(row.amount) for row in CreditTransaction.objects.filter(kind="burned")] == [-30] * 5
    assert CalendarMonth.objects.filter(settled_at__isnull=False).count() == 5
    assert offenders() == []


@pytest.mark.parametrize("attempt", range(3))
def test_a_unit_is_burned_by_the_month_or_taken_by_a_consumer(at_once, attempt):
    pro, customer = make_pro_plan(quota=None), CustomerFactory()
    grant = bought(pro, customer, 100)
    use(customer, pro.metric, 60, JANUARY + DAY)

    def take(number):
        wanted = Consumption(units=Decimal(10), idempotency_key=f"{attempt}/{number}", key_given=True)
        return consume(customer=customer.public_id, slug=pro.feature.slug, at=NOW, wanted=wanted)

    _, *consumed = at_once([partial(jobs.settle_months, NOW), *(partial(take, number) for number in range(6))])

    # 40 are left before and after the settlement.
    assert sum(outcome.event is not None for outcome in consumed) == 4
    assert CreditGrant.objects.get(pk=grant.pk).ledger_remaining == 40
    assert offenders() == []


@pytest.mark.parametrize("attempt", range(3))
def test_a_revoke_leaves_what_the_month_burned(at_once, attempt):
    pro, customer = make_pro_plan(quota=None), CustomerFactory()
    grant = bought(pro, customer, 100)
    use(customer, pro.metric, 60, JANUARY + DAY)

    at_once([partial(jobs.settle_months, NOW), partial(revoke_grant, at=NOW, grant=grant)])
    jobs.settle_months(NOW)

    rows = CreditTransaction.objects.filter(grant=grant).order_by("kind")
    assert [(row.kind, int(row.amount)) for row in rows] == [("burned", -60), ("granted", 100), ("revoked", -40)]
    assert offenders() == []


@pytest.mark.parametrize("attempt", range(3))
def test_a_subscription_in_the_past_and_the_month_burn_a_unit_once(at_once, attempt):
    pro, customer = make_pro_plan(quota=None), CustomerFactory()
    bought(pro, customer, 100)
    use(customer, pro.metric, 20, JANUARY + DAY)
    use(customer, pro.metric, 50, JANUARY + 20 * DAY)
    begin_months()

    at_once(
        [
            partial(settle, months=months_to_settle(NOW), at=NOW),
            partial(subscribe, at=NOW, customer=customer, plan=pro.plan, started_at=JANUARY + 9 * DAY),
        ]
    )

    position = read_positions([(customer.pk, pro.metric.pk)], at=NOW)[customer.pk, pro.metric.pk]
    assert position.remaining(NOW) == 30
    jobs.settle_months(NOW)
    position = read_positions([(customer.pk, pro.metric.pk)], at=NOW)[customer.pk, pro.metric.pk]
    assert position.remaining(NOW) == 30
    assert sum(row.amount for row in CreditTransaction.objects.filter(month__isnull=False)) == -20
    assert offenders() == []
