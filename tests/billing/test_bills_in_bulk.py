"""Many bills ask the database no more than one does."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing.services.close_periods import close_periods, due_subscriptions
from billing.services.finalize import drafts_to_finalize, finalize
from billing.services.subscribe import subscribe
from billing.services.upcoming import upcoming_invoice
from tests.factories import CustomerFactory
from tests.pro_plan import bills, make_pro_plan, sweep, use

MAY, JUNE, JULY = (datetime(2026, month, 1, tzinfo=UTC) for month in (5, 6, 7))
HOUR, MINUTE, DAY = timedelta(hours=1), timedelta(minutes=1), timedelta(days=1)
# Whether there is anything of a kind, and not how much of it, may cost a query.
FEW = 2

pytestmark = pytest.mark.django_db


def queries(call):
    with CaptureQueriesContext(connection) as captured:
        call()
    return len(captured)


def bill_customers(count):
    """Bill a second month of some customers, with late usage of the first; give how many queries that takes."""
    pro, customers = make_pro_plan(), [CustomerFactory() for _ in range(count)]
    for customer in customers:
        subscribe(at=MAY, customer=customer, plan=pro.plan)
        use(customer, pro.metric, 12_500, MAY + DAY)
    sweep(JUNE + HOUR)
    for customer in customers:
        use(customer, pro.metric, 100, MAY + 2 * DAY)
        use(customer, pro.metric, 10_001, JUNE + DAY)
    close_periods(subscriptions=due_subscriptions(JULY), at=JULY)
    due = drafts_to_finalize(JULY + HOUR)
    asked = queries(lambda: finalize(invoices=due, at=JULY + HOUR))
    # 2,900 and a call of 5, and 100 late ones.
    assert [bills(customer)[-1][1] for customer in customers] == [3_405] * count
    return asked


def test_twenty_drafts_are_finalized_with_the_queries_of_one():
    one = bill_customers(1)

    assert bill_customers(20) <= one + FEW


def ask_for_upcoming(count):
    """The queries of a customer's upcoming invoice that comes after drafts of other subscriptions."""
    customer = CustomerFactory()
    subscriptions = [
        subscribe(at=MAY, customer=customer, plan=make_pro_plan().plan, beside_others=True) for _ in range(count)
    ]
    close_periods(subscriptions=[subscription.pk for subscription in subscriptions], at=JUNE)
    asked = partial(upcoming_invoice, customer=customer, subscription=subscriptions[0].public_id, at=JUNE + MINUTE)
    asked()
    return queries(asked)


def test_an_upcoming_invoice_after_ten_drafts_asks_no_more_than_after_one():
    one = ask_for_upcoming(1)

    assert ask_for_upcoming(10) <= one + FEW
