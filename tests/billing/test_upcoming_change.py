"""The upcoming invoice while a change waits for the end of the period: 29.00 a month with 5 a call becomes 99.00."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from billing.models import Invoice
from billing.services.change import change_at_period_end
from billing.services.park import park_customer
from billing.services.subscribe import subscribe
from billing.services.upcoming import upcoming_invoice
from billing.services.wind_down import CustomerIsParked
from tests.billing.lives import run_sweeps
from tests.billing.test_upcoming import rows, seen
from tests.factories import CustomerFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, use

pytestmark = pytest.mark.django_db

MAY = datetime(2026, 5, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
MAY_2027 = datetime(2027, 5, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MAY_11 = MAY + 10 * DAY


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def big(pro):
    return make_pro_plan(base_cents=9_900, quota=20_000, unit_cost_cents="4", beside=pro)


@pytest.fixture
def customer():
    return CustomerFactory()


@pytest.fixture
def subscription(pro, customer):
    return subscribe(at=MAY, customer=customer, plan=pro.plan)


def test_it_has_the_usage_of_the_old_price_and_the_fee_of_the_new_one(pro, big, customer, subscription):
    use(customer, pro.metric, 12_000, MAY + DAY)
    change_at_period_end(subscription=subscription, price=big.price, at=MAY_11)

    tried = upcoming_invoice(customer=customer, at=MAY_11)

    # 12,000 × 5 less the quota of 10,000
    assert sorted(seen(tried)) == [("credit", 10_000, -50_000), ("fixed", 1, 9_900), ("usage", 12_000, 60_000)]
    assert tried.invoice.total_cents == 19_900
    run_sweeps(JUNE + HOUR)
    billed = Invoice.objects.get(customer=customer, closes_at=JUNE)
    lines = list(billed.lines.order_by("position"))
    assert [(line.type, line.quantity, line.amount_cents, line.description) for line in lines] == [
        (line.type, line.quantity, line.amount_cents, line.description) for line in tried.lines
    ]
    assert billed.total_cents == 19_900
    assert_books_add_up(at=JUNE + HOUR)


def test_it_is_a_draft_of_the_subscription_as_it_is(big, customer, subscription):
    change_at_period_end(subscription=subscription, price=big.price, at=MAY_11)

    invoice = upcoming_invoice(customer=customer, at=MAY_11).invoice

    assert (invoice.status, invoice.number, invoice.pk, invoice.public_id) == ("draft", None, None, None)
    assert (invoice.finalized_at, invoice.due_at, invoice.closes_at) == (None, None, JUNE)
    assert (invoice.kind, invoice.subscription) == ("change", subscription)


def test_it_writes_nothing(pro, big, customer, subscription):
    use(customer, pro.metric, 12_000, MAY + DAY)
    change_at_period_end(subscription=subscription, price=big.price, at=MAY_11)
    before = rows()

    upcoming_invoice(customer=customer, at=MAY_11)

    assert rows() == before


def test_a_boundary_before_the_change_is_billed_as_ever(customer):
    yearly = make_pro_plan(base_frequency="YEARLY", frequency="MONTHLY")
    big = make_pro_plan(base_frequency="YEARLY", frequency="MONTHLY", base_cents=99_900, beside=yearly)
    subscription = subscribe(at=MAY, customer=customer, plan=yearly.plan)
    use(customer, yearly.metric, 12_000, MAY + DAY)
    change = change_at_period_end(subscription=subscription, price=big.price, at=MAY_11)

    tried = upcoming_invoice(customer=customer, at=MAY_11)

    assert change.effective_at == MAY_2027
    assert (tried.invoice.closes_at, tried.invoice.kind) == (JUNE, "cycle")
    assert seen(tried) == [("usage", 12_000, 60_000), ("credit", 10_000, -50_000)]


def test_a_change_that_will_be_refused_leaves_the_fee_as_it_is(big, customer, subscription):
    change_at_period_end(subscription=subscription, price=big.price, at=MAY_11)
    big.plan.deleted_at = MAY_11
    big.plan.save()

    assert seen(upcoming_invoice(customer=customer, at=MAY_11)) == [("fixed", 1, 2_900)]


def test_one_whose_instant_has_come_is_shown_until_a_sweep_does_it(big, customer, subscription):
    change_at_period_end(subscription=subscription, price=big.price, at=MAY_11)

    tried = upcoming_invoice(customer=customer, at=JUNE + HOUR)

    assert (tried.invoice.closes_at, seen(tried)) == (JUNE, [("fixed", 1, 9_900)])


def test_of_a_parked_customer_nobody_can_say(big, customer, subscription):
    change_at_period_end(subscription=subscription, price=big.price, at=MAY_11)
    park_customer(customers=[customer.pk], reason="It does not add up.", at=MAY_11)

    with pytest.raises(CustomerIsParked):
        upcoming_invoice(customer=customer, at=MAY_11)


def test_over_the_api_it_is_the_change(api, pro, big, customer):
    subscription = subscribe(at=timezone.now(), customer=customer, plan=pro.plan)
    change_at_period_end(subscription=subscription, price=big.price, at=timezone.now())

    answer = api.get(f"/v1/invoices/upcoming?customerId={customer.public_id}")

    assert answer.status == 200
    invoice = answer.body["invoice"]
    assert (invoice["id"], invoice["status"], invoice["kind"], invoice["totalAmountCents"]) == (
        None, "draft", "change", 9_900
    )  # fmt: skip
    assert invoice["subscription"]["id"] == subscription.public_id
    assert [line["id"] for line in invoice["lineItems"]] == [None]
