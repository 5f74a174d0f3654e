"""Late usage that is found while others spend the same units, or find it too."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial

import pytest
from django.db import transaction

from billing.books import check_books
from billing.services.late_usage import close_windows, windows_to_close
from billing.services.subscribe import subscribe
from credits.models import CreditTransaction, UsageDifference
from credits.services.grants import grant_credits
from credits.services.late_usage import charged_periods, find_differences
from credits.services.positions import read_positions
from entitlements.services.consume import Consumption, consume
from tests.factories import CreditDefinitionFactory, CustomerFactory
from tests.pro_plan import make_pro_plan, sweep, use

MAY, JUNE = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
JUNE_20 = JUNE + 19 * DAY
JULY_6 = JUNE + 35 * DAY

pytestmark = pytest.mark.django_db(transaction=True)


def offenders(at):
    return [offender for finding in check_books(at=at) for offender in finding.offenders]


def find(period, at):
    with transaction.atomic():
        return find_differences(periods=[period], at=at)


@pytest.mark.parametrize("attempt", range(4))
def test_a_bought_unit_goes_to_late_usage_or_to_a_consumer_but_not_to_both(at_once, attempt):
    pro, customer = make_pro_plan(quota=10), CustomerFactory()
    subscribe(at=MAY, customer=customer, plan=pro.plan)
    extra = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, feature=pro.feature)
    bought = grant_credits(at=MAY, customer=customer, definition=extra, amount=Decimal(100), source="topup")
    use(customer, pro.metric, 10, MAY + DAY)
    sweep(JUNE + HOUR)
    use(customer, pro.metric, 10, JUNE + DAY)
    use(customer, pro.metric, 80, MAY + 2 * DAY)
    may = charged_periods().get(start_at=MAY)

    found, *consumed = at_once(
        [
            partial(find, may, JUNE_20),
            *(
                partial(
                    consume, customer=customer.public_id, slug=pro.feature.slug, at=JUNE_20,
                    wanted=Consumption(units=Decimal(10), idempotency_key=f"{attempt}/{number}", key_given=True),
                )
                for number in range(6)
            ),
        ]
    )  # fmt: skip

    (late,) = found
    spent = 10 * sum(outcome.event is not None for outcome in consumed)
    # Whoever came first was served: late usage took what the consumers had left, and they what it had left.
    assert late.credited + spent <= 100
    assert late.credited == 80 or late.credited + spent == 100
    assert late.net_cents == (80 - late.credited) * 5
    live = read_positions([(customer.pk, pro.metric.pk)], at=JUNE_20)[customer.pk, pro.metric.pk]
    assert live.burn.remaining[bought.pk] == 100 - late.credited - spent
    assert offenders(JUNE_20) == []


def test_two_sweeps_find_a_difference_once(at_once):
    pro = make_pro_plan()
    customers = [CustomerFactory() for _ in range(3)]
    for customer in customers:
        subscribe(at=MAY, customer=customer, plan=pro.plan)
    sweep(JUNE + HOUR)
    for customer in customers:
        use(customer, pro.metric, 10_100, MAY + DAY)
    due = windows_to_close(JULY_6)

    closed = at_once([partial(close_windows, periods=due, at=JULY_6)] * 4)

    assert sum(closed) == 3
    assert list(UsageDifference.objects.values_list("number", "net_cents")) == [(1, 500)] * 3
    assert CreditTransaction.objects.filter(kind="returned").count() == 3


def test_an_invoice_and_the_sweep_find_a_difference_once(at_once):
    pro, customer = make_pro_plan(), CustomerFactory()
    subscribe(at=MAY, customer=customer, plan=pro.plan)
    sweep(JUNE + HOUR)
    use(customer, pro.metric, 10_100, MAY + DAY)
    july = JUNE + 30 * DAY
    may = charged_periods().get(start_at=MAY)

    at_once([partial(sweep, july + HOUR), partial(close_windows, periods=[may.pk], at=july + HOUR)] * 2)

    assert list(UsageDifference.objects.values_list("number", "net_cents")) == [(1, 500)]
    assert offenders(july + HOUR) == []
