"""What would be billed if the period closed now: the same as the close then bills, and nothing is written."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.apps import apps

from billing.models import Invoice
from billing.services.close_periods import close_periods
from billing.services.subscribe import subscribe
from billing.services.upcoming import NothingUpcoming, draft_as_it_stands, upcoming_invoice
from credits.models import Reservation
from credits.services.definitions import create_definition
from credits.services.grants import grant_credits
from plans.refusals import InvalidInput
from plans.services.subscriptions import SubscriptionNotFound
from tests.factories import START, CustomerFactory
from tests.pro_plan import bills, make_pro_plan, sweep, use

AT = datetime(2026, 3, 1, 10, tzinfo=UTC)
APRIL, MAY = (datetime(2026, month, 1, tzinfo=UTC) for month in (4, 5))
DAY, HOUR = timedelta(days=1), timedelta(hours=1)

pytestmark = pytest.mark.django_db


def subscribed(*, customer=None, beside_others=False, **plan):
    pro, customer = make_pro_plan(**plan), customer or CustomerFactory()
    subscribe(at=AT, customer=customer, plan=pro.plan, beside_others=beside_others)
    return pro, customer


def give_money(customer, cents, **details):
    definition = create_definition(
        at=START, name="Goodwill", scope="merchant", application_type="monetary", default_amount=Decimal(cents),
        currency="USD",
    )  # fmt: skip
    return grant_credits(at=AT, customer=customer, definition=definition, **details)


def seen(tried):
    return [(line.type, line.quantity, line.amount_cents) for line in tried.lines]


def rows():
    models = [
        model
        for label in ("plans", "metering", "credits", "billing")
        for model in apps.get_app_config(label).get_models()
    ]
    return {model.__name__: list(model.objects.order_by("pk").values()) for model in models}


def test_is_the_usage_so_far_less_the_quota_and_the_next_fee():
    pro, customer = subscribed()
    use(customer, pro.metric, 12_500, AT + DAY)

    tried = upcoming_invoice(customer=customer, at=AT + 2 * DAY)

    assert seen(tried) == [("fixed", 1, 2_900), ("usage", 12_500, 62_500), ("credit", 10_000, -50_000)]
    invoice = tried.invoice
    assert (invoice.status, invoice.number, invoice.total_cents, invoice.closes_at) == ("draft", None, 15_400, APRIL)
    assert (invoice.period_start_at, invoice.period_end_at) == (APRIL, MAY)
    assert [line.position for line in tried.lines] == [1, 2, 3]


def test_before_any_usage_it_is_the_next_fee():
    _, customer = subscribed()

    assert seen(upcoming_invoice(customer=customer, at=AT)) == [("fixed", 1, 2_900)]


def test_nothing_to_bill_has_no_lines():
    _, customer = subscribed(base_cents=None)

    tried = upcoming_invoice(customer=customer, at=AT)

    assert (seen(tried), tried.invoice.total_cents) == ([], 0)


def test_writes_nothing():
    pro, customer = subscribed()
    give_money(customer, 1_000)
    use(customer, pro.metric, 12_500, AT + DAY)
    before = rows()

    upcoming_invoice(customer=customer, at=AT + 2 * DAY)

    assert rows() == before


def test_what_reservations_keep_back_is_not_used():
    pro, customer = subscribed(quota=12)
    use(customer, pro.metric, 10, AT + DAY)
    Reservation.objects.create(
        customer=customer, feature=pro.feature, metric=pro.metric, units=5, reserved_at=AT + DAY,
        expires_at=AT + 9 * DAY, idempotency_key="k",
    )  # fmt: skip

    assert seen(upcoming_invoice(customer=customer, at=AT + 2 * DAY))[1:] == [("usage", 10, 50), ("credit", 10, -50)]


def test_credits_of_money_pay_in_it():
    _, customer = subscribed()
    grant = give_money(customer, 1_000)

    tried = upcoming_invoice(customer=customer, at=AT + DAY)

    assert seen(tried) == [("fixed", 1, 2_900), ("credit", 1, -1_000)]
    assert (tried.lines[1].grant, tried.lines[0].monetary_credit_cents) == (grant, 1_000)


class TestDrafts:
    @pytest.fixture
    def closed(self):
        """March is closed and waits out its hour: 12,500 calls; April has 10,002."""
        pro, customer = subscribed()
        use(customer, pro.metric, 12_500, AT + DAY)
        close_periods(subscriptions=[customer.subscriptions.get().pk], at=APRIL)
        use(customer, pro.metric, 10_002, APRIL + timedelta(minutes=5))
        return pro, customer

    def test_one_in_its_grace_time_is_shown_as_it_stands(self, closed):
        pro, customer = closed
        draft = Invoice.objects.get(customer=customer, status="draft")
        use(customer, pro.metric, 1, APRIL - HOUR)

        tried = draft_as_it_stands(draft=draft, at=APRIL + timedelta(minutes=10))

        assert seen(tried) == [("fixed", 1, 2_900), ("usage", 12_501, 62_505), ("credit", 10_000, -50_000)]
        assert (tried.invoice.pk, tried.invoice.total_cents) == (draft.pk, 15_405)

    def test_the_upcoming_one_is_that_of_the_next_close(self, closed):
        _, customer = closed

        tried = upcoming_invoice(customer=customer, at=APRIL + timedelta(minutes=10))

        assert tried.invoice.closes_at == MAY
        assert seen(tried) == [("fixed", 1, 2_900), ("usage", 10_002, 50_010), ("credit", 10_000, -50_000)]

    def test_they_take_their_credits_of_money_first(self, closed):
        _, customer = closed
        give_money(customer, 16_000)

        tried = upcoming_invoice(customer=customer, at=APRIL + timedelta(minutes=10))

        # 15,400 for March; 600 are left for 2,910.
        assert tried.invoice.total_cents == 2_310

    def test_one_that_was_finalized_a_moment_ago_has_its_lines(self, closed):
        _, customer = closed
        draft = Invoice.objects.get(customer=customer, status="draft")
        sweep(APRIL + HOUR)

        tried = draft_as_it_stands(draft=draft, at=APRIL + HOUR)

        assert (tried.invoice.status, tried.invoice.total_cents, len(tried.lines)) == ("issued", 15_400, 3)


class TestLateUsage:
    def test_of_an_earlier_period_is_in_it(self):
        pro, customer = subscribed(quota=None)
        use(customer, pro.metric, 100, AT + DAY)
        sweep(APRIL + HOUR)
        use(customer, pro.metric, 7, AT + DAY)

        tried = upcoming_invoice(customer=customer, at=APRIL + DAY)
        sweep(MAY + HOUR)

        assert seen(tried) == [("fixed", 1, 2_900), ("late_usage", 7, 35)]
        assert bills(customer)[-1] == ("issued", 2_935, seen(tried))

    def test_that_takes_it_below_zero_would_be_kept(self):
        pro, customer = subscribed(base_cents=None, quota=None)
        use(customer, pro.metric, 100, AT + DAY)
        sweep(APRIL + HOUR)
        use(customer, pro.metric, -100, AT + DAY)

        tried = upcoming_invoice(customer=customer, at=APRIL + DAY)

        assert seen(tried) == [("late_usage", -100, -500), ("refund", 1, 500)]
        assert (tried.invoice.total_cents, tried.lines[1].grant) == (0, None)


class TestWhichSubscription:
    def test_without_a_live_one_nothing_is_upcoming(self):
        with pytest.raises(NothingUpcoming):
            upcoming_invoice(customer=CustomerFactory(), at=AT)

    def test_of_several_one_is_to_be_named(self):
        _, customer = subscribed()
        subscribed(customer=customer, beside_others=True, base_cents=500, quota=None)
        second = customer.subscriptions.latest("pk")

        with pytest.raises(InvalidInput):
            upcoming_invoice(customer=customer, at=AT)

        for identifier in (second.public_id, second.stable_subscription_id):
            tried = upcoming_invoice(customer=customer, subscription=identifier, at=AT)
            assert seen(tried) == [("fixed", 1, 500)]

    def test_another_customers_is_not_found(self):
        _, customer = subscribed()
        _, other = subscribed()

        with pytest.raises(SubscriptionNotFound):
            upcoming_invoice(customer=customer, subscription=other.subscriptions.get().public_id, at=AT)

    def test_one_that_has_not_begun_has_its_first_fee(self):
        pro, customer = make_pro_plan(), CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan, started_at=APRIL)

        tried = upcoming_invoice(customer=customer, at=AT)

        assert (tried.invoice.closes_at, seen(tried)) == (APRIL, [("fixed", 1, 2_900)])
