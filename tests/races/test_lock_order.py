"""Whoever bills a customer takes its locks in one order, so that none waits for one that waits for it: the customer's
row, its metrics, its money.

Each test holds one up in the middle of its work, lets a second one start, and lets both go on.
"""

from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Thread

import pytest
from django.db import connection, transaction

from billing.books import check_books
from billing.models import Invoice
from billing.services.close_periods import close_periods, due_subscriptions
from billing.services.finalize import drafts_to_finalize, finalize
from billing.services.late_usage import bill_with_next_invoice, close_windows
from billing.services.subscribe import subscribe
from credits.models import UsageDifference
from credits.services.late_usage import charged_periods
from credits.services.spend_money import lock_money
from plans.models import Subscription
from tests.factories import (
    CustomerFactory,
    FeatureFactory,
    MetricFactory,
    PlanFactory,
    PlanFeatureFactory,
    PriceFactory,
    UsageComponentFactory,
)
from tests.pro_plan import make_pro_plan, sweep, use

MAY, JUNE, JULY, AUGUST = (datetime(2026, month, 1, tzinfo=UTC) for month in (5, 6, 7, 8))
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
JULY_6 = JUNE + 35 * DAY

pytestmark = pytest.mark.django_db(transaction=True)


def waiting_for_locks():
    with connection.cursor() as cursor:
        # Else the activity of this transaction's first look is seen for as long as it lasts.
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return cursor.fetchone()[0]


def one_behind_the_other(hold, calls):
    """Take locks by `hold`, start each call once those before it wait, let go; give what each returned or raised."""
    outcomes = [None] * len(calls)

    def work(index, call):
        try:
            outcomes[index] = call()
        except Exception as error:
            outcomes[index] = error
        finally:
            connection.close()

    threads = [Thread(target=work, args=pair) for pair in enumerate(calls)]
    with transaction.atomic():
        hold()
        for number, thread in enumerate(threads, start=1):
            thread.start()
            while thread.is_alive() and waiting_for_locks() < number:
                pass
        assert waiting_for_locks() == len(calls)
    for thread in threads:
        thread.join()
    return outcomes


def close_all(at):
    while close_periods(subscriptions=due_subscriptions(at), at=at):
        pass


def offenders(at):
    return [offender for finding in check_books(at=at) for offender in finding.offenders]


def sell_two_metrics():
    """Sell a plan of 5 cents a unit that bills one metric every three months and another one each month."""
    plan = PlanFactory()
    price = PriceFactory(plan=plan, fee=None)
    quarterly, monthly = (MetricFactory() for _ in range(2))
    for position, (metric, interval) in enumerate(((quarterly, 3), (monthly, 1))):
        PlanFeatureFactory(plan=plan, feature=FeatureFactory(value="usage_based", metrics=[metric]))
        UsageComponentFactory(price=price, metric=metric, interval=interval, position=position)
    customer = CustomerFactory()
    subscribe(at=MAY, customer=customer, plan=plan)
    return customer, quarterly, monthly


@pytest.mark.parametrize("other", ["the sweep of late usage", "an operator"])
def test_an_invoice_and_whoever_looks_for_late_usage_of_two_metrics(other):
    customer, quarterly, monthly = sell_two_metrics()
    sweep(JUNE + HOUR)
    sweep(JULY + HOUR)
    may, june = charged_periods().filter(metric=monthly, settled_at__isnull=False).order_by("start_at")
    use(customer, monthly, 10, MAY + DAY)
    close_windows(periods=[may.pk], at=JULY_6)
    use(customer, monthly, 7, JUNE + DAY)
    use(customer, quarterly, 4, JUNE + DAY)
    close_all(AUGUST)
    at = AUGUST + DAY
    looking = {
        "the sweep of late usage": partial(close_windows, periods=[june.pk], at=at),
        "an operator": partial(bill_with_next_invoice, periods=[may], at=at),
    }

    # The invoice waits between what it finds of the one metric and its settlement of both.
    outcomes = one_behind_the_other(
        lambda: UsageDifference.objects.select_for_update(no_key=True).get(),
        [partial(finalize, invoices=drafts_to_finalize(at), at=at), looking[other]],
    )

    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
    # (10 + 7 + 4) × 5.
    assert Invoice.objects.get(closes_at=AUGUST).total_cents == 105
    assert offenders(at) == []


def test_an_invoice_and_a_second_subscription():
    pro, second, customer = make_pro_plan(), make_pro_plan(), CustomerFactory()
    subscribe(at=MAY, customer=customer, plan=pro.plan)
    close_all(JUNE)
    at = JUNE + HOUR

    # The invoice waits between its metrics and its number, which is in the customer's row.
    outcomes = one_behind_the_other(
        lambda: lock_money([customer.pk]),
        [
            partial(finalize, invoices=drafts_to_finalize(at), at=at),
            partial(subscribe, at=at, customer=customer, plan=second.plan, beside_others=True),
        ],
    )

    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
    assert (outcomes[0], Subscription.objects.count()) == (1, 2)
    numbers = Invoice.objects.filter(customer=customer).values_list("number", flat=True)
    assert sorted(number[-3:] for number in numbers) == ["001", "002", "003"]
    assert offenders(at) == []
