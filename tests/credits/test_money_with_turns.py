"""Money that plans give with their turns, at a change and at the end."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.models import Invoice
from billing.services.cancel import cancel_now
from billing.services.change import change_now
from billing.services.subscribe import subscribe
from billing.services.void import void_invoice
from credits.models import CreditGrant, CreditTransaction
from credits.services.definitions import create_definition
from credits.services.grants import adjust_grant
from plans.models import Customer, PriceComponent
from tests.factories import START, CustomerFactory, MetricFactory, UsageComponentFactory
from tests.pro_plan import ProPlan, assert_books_add_up, bills, make_pro_plan, sweep, use

pytestmark = pytest.mark.django_db

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
HALF_TIME = datetime(2026, 4, 16, 9, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def money_plan(cents: int, *, base_cents: int = 2900, beside: ProPlan | None = None) -> ProPlan:
    """A plan with a monthly fee and calls for 5 cents that money of the plan pays for."""
    pro = make_pro_plan(quota=None, base_cents=base_cents, beside=beside)
    give_money(pro, pro.price.components.get(kind="usage"), cents)
    return pro


def give_money(pro: ProPlan, component: PriceComponent, cents: int) -> None:
    """Let a plan give money for a component, with each of its turns."""
    create_definition(
        at=START, name="Credits", scope="component", application_type="monetary", currency="USD",
        default_amount=Decimal(cents), price=pro.price, price_component_id=component.component_id,
        renew_on_billing=True, billing_visible=True,
    )  # fmt: skip


def money_left(customer: Customer, at: datetime) -> list[Decimal]:
    """What the money grants that run at an instant have left."""
    running = CreditGrant.objects.filter(
        customer=customer, metric=None, starts_at__lte=at, expires_at__gt=at, revoked_at=None
    )
    return sorted(running.values_list("ledger_remaining", flat=True))


def with_storage(pro: ProPlan, cents: int) -> ProPlan:
    """Add storage to a plan, and money of its own for that."""
    storage = UsageComponentFactory(
        price=pro.price, metric=MetricFactory(), component_id="comp_storage", label="Storage", position=9
    )
    give_money(pro, storage, cents)
    return pro


class TestAChange:
    def test_each_component_goes_on_with_its_own_money(self):
        # 15 of 30 days of each plan, the same for each: 3,000 and 1,000, as if nothing had happened.
        small = with_storage(money_plan(3_000), 1_000)
        big, customer = with_storage(money_plan(3_000, beside=small), 1_000), CustomerFactory()
        subscription = subscribe(at=APRIL, customer=customer, plan=small.plan)

        change_now(subscription=subscription, price=big.price, at=HALF_TIME)

        assert money_left(customer, HALF_TIME + HOUR) == [1_000, 3_000]
        assert_books_add_up(HALF_TIME + HOUR)

    def test_what_was_spent_beyond_the_days_is_taken_off_the_next_one(self):
        # Calls: 1,500 of 3,000 and 500 of 1,000, of which 3,000 are spent: 1,000 too many. Storage: 4,000 less these.
        small = with_storage(money_plan(3_000), 4_000)
        big, customer = with_storage(money_plan(1_000, beside=small), 4_000), CustomerFactory()
        subscription = subscribe(at=APRIL, customer=customer, plan=small.plan)
        use(customer, small.metric, 600, APRIL + HOUR)

        change_now(subscription=subscription, price=big.price, at=HALF_TIME)

        assert money_left(customer, HALF_TIME + HOUR) == [3_000]

    def test_what_an_operator_added_is_kept(self):
        # 3,000 and 1,500 more, of which 1,500 are spent by 300 calls.
        small = money_plan(3_000)
        big, customer = money_plan(3_000, beside=small), CustomerFactory()
        subscription = subscribe(at=APRIL, customer=customer, plan=small.plan)
        (grant,) = CreditGrant.objects.filter(customer=customer, starts_at=APRIL)
        adjust_grant(at=APRIL + HOUR, grant=grant, amount=Decimal(1_500))
        use(customer, small.metric, 300, APRIL + HOUR)

        change_now(subscription=subscription, price=big.price, at=HALF_TIME)

        assert money_left(customer, HALF_TIME + HOUR) == [3_000]

    def test_without_proration_the_new_money_comes_with_the_new_fee(self):
        # The fee of 29.00 is paid to the end of April, and so is its money.
        small = money_plan(3_000)
        big, customer = money_plan(30_000, base_cents=29_000, beside=small), CustomerFactory()
        subscription = subscribe(at=APRIL, customer=customer, plan=small.plan)

        change_now(subscription=subscription, price=big.price, at=HALF_TIME, proration="none")

        assert money_left(customer, HALF_TIME + HOUR) == [3_000]
        assert money_left(customer, datetime(2026, 5, 1, 1, tzinfo=UTC)) == [30_000]


class TestTheLastInvoice:
    def test_usage_before_a_cancel_is_paid_by_the_plans_money(self):
        # 400 calls for 2,000 cents, of which the plan's 1,500 pay most; what is used afterwards finds none.
        pro, customer = money_plan(1_500), CustomerFactory()
        subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)
        use(customer, pro.metric, 400, APRIL + HOUR)

        cancel_now(subscription=subscription, at=HALF_TIME)
        sweep(HALF_TIME + 2 * HOUR)

        assert [total for _, total, _ in bills(customer)] == [2_900, 500]
        assert_books_add_up(HALF_TIME + 2 * HOUR)

    def test_what_is_left_of_it_expires_with_that_invoice(self):
        pro, customer = money_plan(1_500), CustomerFactory()
        subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)
        use(customer, pro.metric, 100, APRIL + HOUR)

        cancel_now(subscription=subscription, at=HALF_TIME)
        sweep(HALF_TIME + 2 * HOUR)

        rows = CreditTransaction.objects.filter(customer=customer, grant__metric=None).order_by("pk")
        assert [(row.kind, row.amount) for row in rows] == [("granted", 1_500), ("burned", -500), ("expired", -1_000)]

    def test_it_pays_again_for_the_invoice_that_takes_the_place_of_a_voided_one(self):
        pro, customer = money_plan(1_500), CustomerFactory()
        subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)
        use(customer, pro.metric, 400, APRIL + HOUR)
        cancel_now(subscription=subscription, at=HALF_TIME)
        sweep(HALF_TIME + 2 * HOUR)

        void_invoice(invoice=Invoice.objects.get(kind="final"), reason="wrong address", at=HALF_TIME + DAY, rebill=True)

        assert [(status, total) for status, total, _ in bills(customer)] == [
            ("issued", 2_900), ("void", 500), ("issued", 500),
        ]  # fmt: skip
        assert_books_add_up(HALF_TIME + DAY)
