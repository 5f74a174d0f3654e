"""Money that plans give: nobody gets more than his days paid for."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.models import Invoice
from billing.services.cancel import cancel_now
from billing.services.subscribe import subscribe
from billing.services.void import void_invoice
from credits.models import CreditGrant, CreditTransaction
from credits.services.definitions import create_definition
from plans.models import Customer
from tests.factories import START, CustomerFactory
from tests.pro_plan import ProPlan, assert_books_add_up, bills, make_pro_plan, sweep, use

pytestmark = pytest.mark.django_db

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
HALF_TIME = datetime(2026, 4, 16, 9, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def money_plan(cents: int, *, base_cents: int = 2900, beside: ProPlan | None = None) -> ProPlan:
    """A plan with a monthly fee and calls for 5 cents that money of the plan pays for."""
    pro = make_pro_plan(quota=None, base_cents=base_cents, beside=beside)
    calls = pro.price.components.get(kind="usage")
    create_definition(
        at=START, name="Credits", scope="component", application_type="monetary", currency="USD",
        default_amount=Decimal(cents), price=pro.price, price_component_id=calls.component_id, renew_on_billing=True,
        billing_visible=True,
    )  # fmt: skip
    return pro


def money_left(customer: Customer, at: datetime) -> list[Decimal]:
    """What the money grants that run at an instant have left."""
    running = CreditGrant.objects.filter(
        customer=customer, metric=None, starts_at__lte=at, expires_at__gt=at, revoked_at=None
    )
    return sorted(running.values_list("ledger_remaining", flat=True))


class TestMoney:
    def test_coming_back_gives_no_second_months_money_for_one_months_days(self):
        # 3,000 cents of 3,000 are spent by 600 calls. One of 30 days was paid for, which is worth 100: 2,900 are owed
        # of the turn that begins, and 100 are left.
        pro, customer = money_plan(3_000), CustomerFactory()
        subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)
        use(customer, pro.metric, 600, APRIL + HOUR)
        cancel_now(subscription=subscription, at=APRIL + DAY, prorate=True)

        subscribe(at=APRIL + DAY + HOUR, customer=customer, plan=pro.plan)

        assert money_left(customer, APRIL + DAY + 2 * HOUR) == [100]
        assert_books_add_up(APRIL + DAY + 2 * HOUR)

    def test_who_spent_nothing_has_the_whole_money_of_the_new_month(self):
        pro, customer = money_plan(3_000), CustomerFactory()
        subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)
        cancel_now(subscription=subscription, at=HALF_TIME, prorate=True)

        subscribe(at=HALF_TIME + HOUR, customer=customer, plan=pro.plan)

        assert money_left(customer, HALF_TIME + 2 * HOUR) == [3_000]

    def test_kept_fees_keep_their_money(self):
        pro, customer = money_plan(3_000), CustomerFactory()
        subscription = subscribe(at=APRIL, customer=customer, plan=pro.plan)
        use(customer, pro.metric, 600, APRIL + HOUR)
        cancel_now(subscription=subscription, at=APRIL + DAY)

        subscribe(at=APRIL + DAY + HOUR, customer=customer, plan=pro.plan)

        assert money_left(customer, APRIL + DAY + 2 * HOUR) == [3_000]


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
