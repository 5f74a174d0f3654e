"""A price times a quantity may come to more than a column holds: then somebody hears what it is of."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing import jobs
from billing.models import Invoice, InvoiceLine
from billing.services.close_periods import close_periods, due_subscriptions
from billing.services.subscribe import subscribe
from billing.services.upcoming import upcoming_invoice
from metering.services.record_events import record_events
from plans.models import Customer
from plans.services.storable_amounts import LARGEST_STORED_CENTS, AmountTooLarge, check_amount
from tests.factories import CustomerFactory, PlanFactory
from tests.pro_plan import bills, event, make_pro_plan, sweep, use

AT = datetime(2026, 1, 1, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
UNITS = Decimal("999999999999999999")
SENTENCE = (
    "Calls, 2026-01-01 to 2026-01-31, comes to 999999999999999999000000000 minor units; at most 9000000000000000000 "
    "can be billed."
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def customer():
    """Somebody who used far too much of what costs far too much in January."""
    pro, customer = make_pro_plan(unit_cost_cents="1000000000", quota=None), CustomerFactory()
    subscribe(at=AT, customer=customer, plan=pro.plan)
    use(customer, pro.metric, UNITS, AT + HOUR)
    return customer


def test_parks_the_customer_with_component_days_and_amount(customer):
    other_plan, other = make_pro_plan(), CustomerFactory()
    subscribe(at=AT, customer=other, plan=other_plan.plan)
    close_periods(subscriptions=due_subscriptions(FEBRUARY), at=FEBRUARY)

    jobs.finalize_drafts(FEBRUARY + HOUR)

    parked = Customer.objects.get(parked_at__isnull=False)
    assert parked == customer
    assert parked.parked_reason.startswith(f"AmountTooLarge: {SENTENCE}")
    assert bills(other)[-1] == ("issued", 2_900, [("fixed", 1, 2_900)])


def test_the_upcoming_invoice_says_the_same(customer):
    with pytest.raises(AmountTooLarge) as refused:
        upcoming_invoice(customer=customer, at=AT + 2 * HOUR)

    assert refused.value.message.startswith(SENTENCE)


def test_a_subscription_whose_first_fees_are_beyond_it_is_refused(api):
    seats = {
        "type": "per_unit",
        "amount_cents": 10**12,
        "minimum_quantity": 10**6,
        "recurrence_rule": "RRULE:FREQ=MONTHLY;INTERVAL=1",
    }
    plan, customer = PlanFactory(), CustomerFactory()
    data = {"dsl_version": 1, "components": [seats] * 10}
    price = api.post("/v1/prices", {"planId": plan.public_id, "currency": "USD", "pricingData": data}).body["price"]

    answer = api.post("/v1/subscriptions", {"customerId": customer.public_id, "priceId": price["id"]})

    assert (answer.status, answer.body["code"]) == (400, "amount_too_large")
    # Ten times 10^6 seats at 10^12 each.
    assert "comes to 10000000000000000000 minor units" in answer.body["error"]
    assert not Invoice.objects.exists()


def test_late_usage_beyond_it_parks_the_customer():
    pro, late = make_pro_plan(unit_cost_cents="1000000000", quota=None), CustomerFactory()
    subscribe(at=AT, customer=late, plan=pro.plan)
    sweep(FEBRUARY + HOUR)
    sent = event(pro.metric.event_name, UNITS, AT + HOUR, "late", customer=late.public_id)
    record_events(events=[sent], at=FEBRUARY + 2 * HOUR)
    march = datetime(2026, 3, 1, tzinfo=UTC)
    close_periods(subscriptions=due_subscriptions(march), at=march)

    jobs.finalize_drafts(march + HOUR)

    late.refresh_from_db()
    assert late.parked_reason.startswith(f"AmountTooLarge: {SENTENCE}")
    assert not InvoiceLine.objects.filter(type="late_usage").exists()


def test_the_largest_amount_is_taken_and_one_more_is_not():
    check_amount(LARGEST_STORED_CENTS, title="Calls")
    check_amount(-LARGEST_STORED_CENTS, title="Calls")

    for cents in (LARGEST_STORED_CENTS + 1, -LARGEST_STORED_CENTS - 1):
        with pytest.raises(AmountTooLarge, match=r"^Calls comes to"):
            check_amount(cents, title="Calls")
