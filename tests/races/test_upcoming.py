"""The upcoming invoice beside a writer: it is of one instant, and reads alone."""

from datetime import UTC, datetime, timedelta

import pytest

from billing.services.subscribe import subscribe
from billing.services.upcoming import upcoming_invoice
from tests.factories import CustomerFactory
from tests.pro_plan import make_pro_plan, sweep, use

AT = datetime(2026, 3, 1, tzinfo=UTC)
APRIL = datetime(2026, 4, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.django_db(transaction=True)


def test_is_that_of_before_or_after_a_close_that_comes_meanwhile(at_once):
    pro, customer = make_pro_plan(), CustomerFactory()
    subscribe(at=AT, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 12_500, AT + HOUR)
    use(customer, pro.metric, 10_002, APRIL)

    asked = [lambda: upcoming_invoice(customer=customer, at=APRIL + HOUR) for _ in range(4)]
    *outcomes, _ = at_once([*asked, lambda: sweep(APRIL + HOUR)])

    assert {outcome.invoice.total_cents for outcome in outcomes} <= {15_400, 2_910}
    assert upcoming_invoice(customer=customer, at=APRIL + HOUR).invoice.total_cents == 2_910
