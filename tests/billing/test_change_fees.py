"""Ruling 28: what a change credits and charges in advance. 29.00 a month becomes 99.00, unless a test says so."""

from datetime import UTC, datetime, timedelta

import pytest
from django.apps import apps

from billing.models import Invoice
from billing.services.change import OtherCurrency, Proration, SamePrice, change_now, preview_change
from billing.services.change_quantity import change_quantity
from billing.services.credit_notes import credit_invoice
from billing.services.pause import pause
from billing.services.subscribe import PlanNoLongerOffered, subscribe
from billing.services.void import void_invoice
from billing.services.wind_down import CustomerIsParked
from credits.models import CreditGrant
from plans.models import Customer, SubscriptionItem
from plans.services.subscriptions import MetricAlreadyPriced, SubscriptionEnded, SubscriptionNotActive
from tests.billing.lives import in_advance, invoices, lines_of, live, run_sweeps
from tests.factories import CustomerFactory, FixedComponentFactory, PlanFactory, PriceFactory
from tests.pro_plan import assert_books_add_up, make_pro_plan, use
from tests.seat_plan import make_seat_plan

pytestmark = pytest.mark.django_db

MAY = datetime(2026, 5, 1, tzinfo=UTC)
MAY_11 = datetime(2026, 5, 11, 9, tzinfo=UTC)
MAY_21 = datetime(2026, 5, 21, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def pro():
    return make_pro_plan()


@pytest.fixture
def big(pro):
    return make_pro_plan(base_cents=9_900, quota=20_000, unit_cost_cents="4", beside=pro)


@pytest.fixture
def customer():
    return CustomerFactory(invoice_prefix="ADA")


@pytest.fixture(autouse=True)
def books_add_up():
    yield
    assert_books_add_up(at=datetime(2029, 1, 1, tzinfo=UTC))


def fee_plan(*components):
    """A plan of fees alone."""
    plan = PlanFactory()
    price = PriceFactory(plan=plan, fee=None)
    for position, terms in enumerate(components):
        FixedComponentFactory(price=price, position=position, **terms)
    return plan, price


@pytest.mark.parametrize(
    ("first", "credited", "charged"),
    [
        # 14 days used: 14 of 28 days are left, 15 of 29, 16 of 30, 17 of 31.
        (datetime(2026, 2, 1, tzinfo=UTC), 1_450, 4_950),
        (datetime(2028, 2, 1, tzinfo=UTC), 1_500, 5_121),
        (datetime(2026, 4, 1, tzinfo=UTC), 1_547, 5_280),
        (datetime(2026, 5, 1, tzinfo=UTC), 1_590, 5_429),
    ],
)
def test_ruling_28_fees_are_shared_by_the_days_of_their_month(pro, big, customer, first, credited, charged):
    subscription = subscribe(at=first, customer=customer, plan=pro.plan)

    change = change_now(subscription=subscription, price=big.price, at=first + timedelta(days=14, hours=13))

    assert in_advance(change.invoice) == [("fixed", charged), ("proration", -credited)]
    assert change.invoice.total_cents == charged - credited


def test_the_day_of_the_change_belongs_to_the_new_plan_whatever_the_hour(pro, big, customer):
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)

    change = change_now(subscription=subscription, price=big.price, at=datetime(2026, 5, 31, 23, 59, tzinfo=UTC))

    # 2,900 / 31 = 93.55 and 9,900 / 31 = 319.35
    assert in_advance(change.invoice) == [("fixed", 319), ("proration", -94)]


def test_a_change_at_the_instant_of_subscription_credits_all_of_it(pro, big, customer):
    subscription = subscribe(at=MAY_11, customer=customer, plan=pro.plan)

    change = change_now(subscription=subscription, price=big.price, at=MAY_11)

    assert in_advance(change.invoice) == [("fixed", 9_900), ("proration", -2_900)]


def test_changes_at_one_instant_net_to_zero(pro, big, customer):
    first = subscribe(at=MAY, customer=customer, plan=pro.plan)
    there = change_now(subscription=first, price=big.price, at=MAY_11)
    back = change_now(subscription=there.subscription, price=pro.price, at=MAY_11)
    again = change_now(subscription=back.subscription, price=big.price, at=MAY_11)

    # 21 of 31 days: 6,706 and 1,965
    assert in_advance(there.invoice) == [("fixed", 6_706), ("proration", -1_965)]
    assert in_advance(back.invoice)[:2] == [("fixed", 1_965), ("proration", -6_706)]
    assert in_advance(again.invoice) == [("fixed", 6_706), ("proration", -1_965)]


def test_the_credit_is_no_more_than_what_credit_notes_left(pro, big, customer):
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    credit_invoice(invoice=Invoice.objects.get(number="ADA-001"), reason="Sorry", amount_cents=2_000, at=MAY + DAY)

    change = change_now(subscription=subscription, price=big.price, at=MAY_11)

    # 900 are left of the 1,965
    assert in_advance(change.invoice) == [("fixed", 6_706), ("proration", -900)]


def test_a_void_invoice_is_not_credited(pro, big, customer):
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    void_invoice(invoice=Invoice.objects.get(number="ADA-001"), reason="Wrong", at=MAY + DAY)

    change = change_now(subscription=subscription, price=big.price, at=MAY_11)

    assert in_advance(change.invoice) == [("fixed", 6_706)]


def test_an_invoice_in_place_of_a_void_one_is_credited(pro, big, customer):
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    void_invoice(invoice=Invoice.objects.get(number="ADA-001"), reason="Wrong", at=MAY + DAY, rebill=True)

    change = change_now(subscription=subscription, price=big.price, at=MAY_11)

    assert in_advance(change.invoice) == [("fixed", 6_706), ("proration", -1_965)]


def test_several_changes_in_a_month_credit_each_fee_once(pro, big, customer):
    middle = make_pro_plan(base_cents=5_000, quota=15_000, beside=pro)
    first = subscribe(at=MAY, customer=customer, plan=pro.plan)

    second = change_now(subscription=first, price=big.price, at=MAY_11)
    third = change_now(subscription=second.subscription, price=middle.price, at=MAY_21)

    # 11 of 31 days: 9,900 × 11 / 31 = 3,512.90 and 5,000 × 11 / 31 = 1,774.19
    assert in_advance(third.invoice) == [("fixed", 1_774), ("proration", -3_513)]
    assert third.invoice.total_cents == 0
    kept = CreditGrant.objects.get(customer=customer, source="refund")
    assert kept.initial_amount == 3_513 - 1_774


def test_without_proration_the_new_fee_begins_with_the_next_month(pro, big, customer):
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)

    change_now(subscription=subscription, price=big.price, at=MAY_11, proration=Proration.NONE)
    run_sweeps(JUNE + HOUR)

    assert invoices(customer) == [("cycle", MAY, 2_900), ("cycle", JUNE, 9_900)]


def test_a_change_after_one_without_proration_credits_what_the_first_version_paid(pro, big, customer):
    middle = make_pro_plan(base_cents=5_000, quota=15_000, beside=pro)
    first = subscribe(at=MAY, customer=customer, plan=pro.plan)
    second = change_now(subscription=first, price=big.price, at=MAY_11, proration=Proration.NONE)

    third = change_now(subscription=second.subscription, price=middle.price, at=MAY_21)

    # 2,900 × 11 / 31 = 1,029.03
    assert in_advance(third.invoice) == [("fixed", 1_774), ("proration", -1_029)]


def test_two_changes_without_proration_wait_for_the_same_month(pro, big, customer):
    middle = make_pro_plan(base_cents=5_000, quota=15_000, beside=pro)
    first = subscribe(at=MAY, customer=customer, plan=pro.plan)
    second = change_now(subscription=first, price=big.price, at=MAY_11, proration=Proration.NONE)

    change_now(subscription=second.subscription, price=middle.price, at=MAY_21, proration=Proration.NONE)
    run_sweeps(JUNE + HOUR)

    assert invoices(customer) == [("cycle", MAY, 2_900), ("cycle", JUNE, 5_000)]


def test_another_interval_of_the_fee_starts_a_new_anchor(pro, customer):
    yearly = make_pro_plan(base_cents=29_000, base_frequency="YEARLY", beside=pro)
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)

    change = change_now(subscription=subscription, price=yearly.price, at=MAY_11)

    assert in_advance(change.invoice) == [("fixed", 29_000), ("proration", -1_965)]
    fee = change.subscription.items.get(component__kind="fixed")
    ends = list(fee.periods.order_by("start_at").values_list("start_at", "end_at"))
    assert ends[0] == (MAY_11, datetime(2027, 5, 11, tzinfo=UTC))


def test_a_free_plan_becomes_a_paid_one_at_its_full_price(pro, customer):
    free = make_pro_plan(base_cents=None, unit_cost_cents=None, quota=100, beside=pro)
    # Without components there is no price to subscribe to, so the free plan has a fee of nothing.
    FixedComponentFactory(price=free.price, amount_cents=0)
    subscription = subscribe(at=MAY, customer=customer, plan=free.plan)

    change = change_now(subscription=subscription, price=pro.price, at=MAY_11)

    # The fee of nothing turned monthly, so the anchor stays: 2,900 × 21 / 31.
    assert in_advance(change.invoice) == [("fixed", 1_965)]


def test_a_fee_for_the_set_up_is_neither_credited_nor_charged_again(customer):
    set_up = {"label": "Set-up", "amount_cents": 5_000, "recurrence_count": 1, "component_id": "comp_set_up"}
    plan, _ = fee_plan({"amount_cents": 2_900}, set_up)
    _, other = fee_plan({"amount_cents": 9_900})
    _, big = fee_plan({"amount_cents": 9_900}, set_up)
    first = subscribe(at=MAY, customer=customer, plan=plan)

    there = change_now(subscription=first, price=other, at=MAY_11)
    third = change_now(subscription=there.subscription, price=big, at=MAY_21)

    assert in_advance(there.invoice) == [("fixed", 6_706), ("proration", -1_965)]
    assert in_advance(third.invoice) == [("fixed", 3_513), ("proration", -3_513)]
    run_sweeps(JUNE)
    assert invoices(customer)[-1] == ("cycle", JUNE, 9_900)


def test_units_in_advance_go_on_and_are_shared_by_days(customer):
    seats, dear = make_seat_plan(), make_seat_plan(amount_cents=1_500)
    subscription = subscribe(at=MAY, customer=customer, plan=seats.plan)
    change_quantity(at=MAY + HOUR, subscription=subscription, component_id="comp_seats", quantity=3)

    change = change_now(subscription=subscription, price=dear.price, at=MAY_11)

    # 3 × 1,500 × 21 / 31 = 3,048.39; 1,000 × 21 / 31 = 677.42, and 2 × 1,000 × 21 / 31 = 1,354.84
    assert in_advance(change.invoice) == [("per_unit", 3_048), ("proration", -677), ("proration", -1_355)]
    assert SubscriptionItem.objects.get(subscription=change.subscription).quantity == 3
    run_sweeps(JUNE)
    assert invoices(customer)[-1] == ("cycle", JUNE, 4_500)


def test_units_that_wait_for_the_next_invoice_are_billed_with_the_change(customer):
    seats = make_seat_plan(bill_immediately=False)
    dear = make_seat_plan(amount_cents=1_500)
    subscription = subscribe(at=MAY, customer=customer, plan=seats.plan)
    change_quantity(at=MAY + HOUR, subscription=subscription, component_id="comp_seats", quantity=2)

    change = change_now(subscription=subscription, price=dear.price, at=MAY_11)

    assert in_advance(change.invoice) == [("per_unit", 2_032), ("proration", -677), ("proration", -677)]
    assert sum(cents for _, _, cents in invoices(customer)) == 1_000 + 1_000 + 2_032 - 2 * 677


def test_a_change_of_a_subscription_that_has_not_begun_bills_nothing_before_its_start(pro, big, customer):
    future = subscribe(at=MAY, customer=customer, plan=pro.plan, started_at=JUNE)

    change = change_now(subscription=future, price=big.price, at=MAY_11)
    again = change_now(subscription=change.subscription, price=pro.price, at=MAY_11 + DAY)
    change_now(subscription=again.subscription, price=big.price, at=MAY_11 + DAY)

    assert change.invoice is None
    assert invoices(customer) == []
    run_sweeps(JUNE)
    assert invoices(customer) == [("cycle", JUNE, 9_900)]
    assert live(customer).started_at == JUNE


def rows():
    """How many rows each table has."""
    return {model._meta.label: model._default_manager.count() for model in apps.get_models()}


@pytest.mark.parametrize(
    ("price_of", "refusal"),
    [
        (lambda pro: pro.price, SamePrice),
        (lambda pro: make_pro_plan(currency="EUR", beside=pro).price, OtherCurrency),
        (lambda pro: _archived(make_pro_plan(beside=pro)).price, PlanNoLongerOffered),
    ],
)
def test_a_change_that_cannot_be_is_refused_and_writes_nothing(pro, customer, price_of, refusal):
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 12_000, MAY + DAY)
    price = price_of(pro)
    before = rows()

    with pytest.raises(refusal):
        change_now(subscription=subscription, price=price, at=JUNE + DAY)

    assert rows() == before


def _archived(sold):
    sold.plan.deleted_at = MAY
    sold.plan.save()
    return sold


def test_a_paused_subscription_is_not_changed(pro, big, customer):
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    pause(subscription=subscription, at=MAY_11)

    with pytest.raises(SubscriptionNotActive, match="Resume it first"):
        change_now(subscription=subscription, price=big.price, at=MAY_21)


def test_a_superseded_version_is_not_changed(pro, big, customer):
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    change_now(subscription=subscription, price=big.price, at=MAY_11)

    with pytest.raises(SubscriptionEnded):
        change_now(subscription=subscription, price=big.price, at=MAY_21)


def test_a_subscription_of_a_parked_customer_is_not_changed(pro, big, customer):
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    Customer.objects.filter(pk=customer.pk).update(parked_at=MAY)

    with pytest.raises(CustomerIsParked):
        change_now(subscription=subscription, price=big.price, at=MAY_11)


def test_a_second_subscription_that_would_meter_the_same_metric_is_refused(pro, big, customer):
    subscribe(at=MAY, customer=customer, plan=pro.plan)
    plan, _ = fee_plan({"amount_cents": 500})
    beside = subscribe(at=MAY, customer=customer, plan=plan, beside_others=True)
    before = rows()

    with pytest.raises(MetricAlreadyPriced):
        change_now(subscription=beside, price=big.price, at=MAY_11)

    assert rows() == before


def test_a_preview_is_what_the_change_then_does_and_writes_nothing(pro, big, customer):
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 12_000, MAY + DAY)
    before = rows()

    preview = preview_change(subscription=subscription, price=big.price, at=MAY_11)

    assert rows() == before
    change = change_now(subscription=subscription, price=big.price, at=MAY_11)
    assert [(line.type, line.amount_cents) for line in preview.lines] == lines_of(change.invoice)
    assert preview.invoice.total_cents == change.invoice.total_cents


def test_a_preview_of_the_periods_end_says_what_is_billed_then(pro, big, customer):
    subscription = subscribe(at=MAY, customer=customer, plan=pro.plan)
    use(customer, pro.metric, 12_000, MAY + DAY)
    before = rows()

    preview = preview_change(subscription=subscription, price=big.price, at=MAY_11, at_period_end=True)

    assert rows() == before
    assert preview.at == JUNE
    assert [(line.type, line.amount_cents) for line in preview.lines] == [
        ("fixed", 9_900),
        ("usage", 60_000),
        ("credit", -50_000),
    ]
