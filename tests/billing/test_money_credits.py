"""Monetary credits on invoices, and what becomes of an invoice below zero. Numbers by hand."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.books import check_books
from billing.models import Invoice, InvoiceLine
from billing.services.subscribe import subscribe
from credits.models import CreditDefinition, CreditGrant, CreditTransaction
from credits.services.definitions import create_definition
from credits.services.grants import grant_credits
from tests.factories import START, CustomerFactory, FixedComponentFactory
from tests.pro_plan import bills, make_pro_plan, sweep, use

AT = datetime(2026, 3, 1, tzinfo=UTC)
APRIL, MAY, JUNE = (datetime(2026, month, 1, tzinfo=UTC) for month in (4, 5, 6))
DAY, HOUR = timedelta(days=1), timedelta(hours=1)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def books():
    yield
    assert [finding for finding in check_books(at=AT) if finding.offenders] == []


def money(cents, *, scope="merchant", currency="USD", **details):
    return create_definition(
        at=START, name="Goodwill", scope=scope, application_type="monetary", default_amount=Decimal(cents),
        currency=currency, **details,
    )  # fmt: skip


def give(customer, cents, *, at=AT, definition=None, **details):
    return grant_credits(
        at=at, customer=customer, definition=definition or money(cents), amount=Decimal(cents), **details
    )


def subscribed(*, at=AT, customer=None, beside_others=False, **plan):
    pro, customer = make_pro_plan(**plan), customer or CustomerFactory()
    subscribe(at=at, customer=customer, plan=pro.plan, beside_others=beside_others)
    return pro, customer


def ledger(grant):
    grant.refresh_from_db()
    return [(row.kind, row.amount) for row in grant.transactions.order_by("pk")], grant.ledger_remaining


def paid_by_money(customer, closes_at):
    invoice = Invoice.objects.get(customer=customer, closes_at=closes_at)
    return [line.monetary_credit_cents for line in invoice.lines.all()]


class TestPaying:
    def test_5_000_pay_part_of_a_fee_and_of_the_usage_that_a_quota_leaves(self):
        pro, customer = subscribed()
        grant = give(customer, 5_000)
        use(customer, pro.metric, 12_500, AT + DAY)

        sweep(APRIL + HOUR)

        # The lines charge 2,900 and 62,500 − 50,000 = 12,500; 5,000 over them are 942 and 4,058.
        assert bills(customer)[-1] == (
            "issued", 10_400,
            [("fixed", 1, 2_900), ("usage", 12_500, 62_500), ("credit", 10_000, -50_000), ("credit", 1, -5_000)],
        )  # fmt: skip
        assert paid_by_money(customer, APRIL) == [942, 4_058, 0, 0]
        assert ledger(grant) == ([("granted", 5_000), ("burned", -5_000)], 0)

    def test_the_credit_line_says_what_was_booked(self):
        _, customer = subscribed()
        grant = give(customer, 1_000, definition=money(1, billing_description="Sorry for the outage"))

        sweep(APRIL + HOUR)

        line = InvoiceLine.objects.get(type="credit")
        assert (line.description, line.quantity, line.unit_amount_cents, line.amount_cents) == (
            "Sorry for the outage", 1, -1_000, -1_000,
        )  # fmt: skip
        assert (line.grant, line.period, line.component) == (grant, None, None)
        assert (line.credit_transaction.kind, line.credit_transaction.amount) == ("burned", -1_000)

    def test_an_invoice_that_credits_pay_in_full_is_paid_at_once(self):
        _, customer = subscribed()
        grant = give(customer, 10_000)

        sweep(APRIL + HOUR)

        invoice = Invoice.objects.get(customer=customer, closes_at=APRIL)
        assert (invoice.status, invoice.total_cents, invoice.send_at) == ("paid", 0, None)
        assert ledger(grant)[1] == 7_100

    def test_the_rest_pays_the_next_invoice(self):
        _, customer = subscribed()
        grant = give(customer, 5_000)

        sweep(MAY + HOUR)

        assert [total for _, total, _ in bills(customer)] == [2_900, 0, 800]
        assert ledger(grant)[0] == [("granted", 5_000), ("burned", -2_900), ("burned", -2_100)]

    def test_bounds_come_before_money(self):
        pro, customer = subscribed(base_cents=None, quota=900)
        pro.price.components.update(minimum_cents=2_000)
        give(customer, 700)
        use(customer, pro.metric, 1_000, AT + DAY)

        sweep(APRIL + HOUR)

        # 5,000 − 4,500 = 500 and 1,500 up to the minimum: 700 over them are 175 and 525.
        assert bills(customer)[-1] == (
            "issued", 1_300,
            [("usage", 1_000, 5_000), ("credit", 900, -4_500), ("minimum", 1, 1_500), ("credit", 1, -700)],
        )  # fmt: skip
        assert paid_by_money(customer, APRIL) == [175, 0, 525, 0]

    def test_nothing_to_pay_spends_nothing(self):
        _, customer = subscribed(base_cents=None)
        grant = give(customer, 700)

        sweep(APRIL + HOUR)

        assert bills(customer)[-1] == ("skipped", 0, [])
        assert ledger(grant)[1] == 700

    # 2,900 + 5 − 1,000; fils are charged in tens.
    @pytest.mark.parametrize(("currency", "total"), [("JPY", 1_905), ("KWD", 1_910)])
    def test_money_is_counted_in_minor_units_of_its_currency(self, currency, total):
        pro, customer = subscribed(currency=currency)
        give(customer, 1_000, definition=money(1, currency=currency))
        give(customer, 9_000, definition=money(1, currency="EUR"))
        use(customer, pro.metric, 10_001, AT + DAY)

        sweep(APRIL + HOUR)

        assert bills(customer)[-1][1] == total


class TestWhichGrants:
    def test_the_one_that_expires_sooner_pays_first(self):
        _, customer = subscribed()
        lasting = give(customer, 2_000)
        ending = give(customer, 2_000, expires_at=MAY)

        sweep(APRIL + HOUR)

        assert (ledger(ending)[1], ledger(lasting)[1]) == (0, 1_100)

    def test_one_that_expired_within_the_arrears_period_still_pays(self):
        pro, customer = subscribed(base_cents=None, quota=None)
        give(customer, 300, expires_at=AT + 10 * DAY)
        use(customer, pro.metric, 100, AT + 20 * DAY)

        sweep(APRIL + HOUR)

        assert bills(customer)[-1][1] == 200

    def test_one_that_expired_before_it_pays_nothing_and_its_rest_expires_in_the_ledger(self):
        pro, customer = subscribed(base_cents=None, quota=None)
        grant = give(customer, 300, expires_at=APRIL)
        use(customer, pro.metric, 100, APRIL + DAY)

        sweep(MAY + HOUR)

        assert bills(customer)[-1][1] == 500
        assert ledger(grant) == ([("granted", 300), ("expired", -300)], 0)

    def test_what_an_earlier_invoice_may_still_need_does_not_expire(self):
        """The first fee of another subscription is billed before the month in which the grant was active."""
        pro, customer = subscribed(base_cents=None, quota=None)
        grant = give(customer, 300, expires_at=AT + 10 * DAY)
        use(customer, pro.metric, 100, AT + DAY)

        subscribed(at=AT + 14 * DAY, customer=customer, beside_others=True)
        assert (bills(customer)[0][1], ledger(grant)[1]) == (2_900, 300)
        sweep(APRIL + HOUR)

        assert Invoice.objects.get(customer=customer, closes_at=APRIL).total_cents == 200

    def test_one_that_starts_at_the_closing_instant_pays(self):
        _, customer = subscribed()
        give(customer, 900, starts_at=APRIL)

        sweep(APRIL + HOUR)

        assert bills(customer)[-1][1] == 2_000

    def test_one_that_starts_later_does_not(self):
        _, customer = subscribed()
        give(customer, 900, starts_at=APRIL + DAY)

        sweep(APRIL + HOUR)

        assert bills(customer)[-1][1] == 2_900

    def test_a_revoked_one_does_not(self):
        _, customer = subscribed()
        grant = give(customer, 900)
        CreditGrant.objects.filter(pk=grant.pk).update(revoked_at=AT)

        sweep(APRIL + HOUR)

        assert bills(customer)[-1][1] == 2_900

    def test_a_plans_allowance_of_money_pays_for_the_first_fee_and_renews(self):
        pro = make_pro_plan(quota=None)
        money(1_000, scope="plan", plan=pro.plan, renew_on_billing=True)
        customer = CustomerFactory()

        subscribe(at=AT, customer=customer, plan=pro.plan)
        sweep(APRIL + HOUR)

        # March's allowance was spent by the first fee; April's is active at the close of March.
        assert [total for _, total, _ in bills(customer)] == [1_900, 1_900]

    def test_a_plans_allowance_pays_for_the_subscription_that_it_came_with(self):
        price = FixedComponentFactory(amount_cents=1_000).price
        money(1_400, scope="plan", plan=price.plan)
        customer = CustomerFactory()

        for _ in range(2):
            subscribe(at=AT, customer=customer, plan=price.plan, beside_others=True)
        subscribed(customer=customer, beside_others=True, base_cents=1_000, quota=None)

        # What the first one's allowance has left pays neither for the second nor for another plan.
        assert [invoice.total_cents for invoice in Invoice.objects.order_by("pk")] == [0, 0, 1_000]
        assert list(CreditGrant.objects.values_list("ledger_remaining", flat=True)) == [400, 400]

    def test_one_for_a_component_pays_for_nothing_else(self):
        pro, customer = make_pro_plan(quota=None), CustomerFactory()
        calls = pro.price.components.get(kind="usage")
        money(5_000, scope="component", plan=pro.plan, price=pro.price, price_component_id=calls.component_id)
        subscribe(at=AT, customer=customer, plan=pro.plan)
        use(customer, pro.metric, 100, AT + DAY)

        sweep(APRIL + HOUR)

        assert bills(customer) == [
            ("issued", 2_900, [("fixed", 1, 2_900)]),
            ("issued", 2_900, [("fixed", 1, 2_900), ("usage", 100, 500), ("credit", 1, -500)]),
        ]  # fmt: skip

    def test_two_invoices_of_one_close_share_what_there_is(self):
        _, customer = subscribed(base_cents=1_000, quota=None)
        subscribed(customer=customer, beside_others=True, base_cents=2_000, quota=None)
        grant = give(customer, 1_500)

        sweep(APRIL + HOUR)

        closed = Invoice.objects.filter(customer=customer, closes_at=APRIL).order_by("pk")
        assert [invoice.total_cents for invoice in closed] == [0, 1_500]
        assert ledger(grant)[0] == [("granted", 1_500), ("burned", -1_000), ("burned", -500)]


class TestBelowZero:
    @pytest.fixture
    def ada(self):
        """1,000 calls in March, of which 900 are taken back in April, which has 20: −4,500 + 100 = −4,400."""
        pro, customer = subscribed(base_cents=None, quota=None)
        use(customer, pro.metric, 1_000, AT + DAY)
        sweep(APRIL + HOUR)
        use(customer, pro.metric, -900, AT + DAY)
        use(customer, pro.metric, 20, APRIL + DAY)
        sweep(MAY + HOUR)
        return pro, customer

    def test_the_invoice_is_issued_at_zero_and_the_rest_is_kept(self, ada):
        _, customer = ada

        assert bills(customer)[-1] == (
            "paid", 0, [("usage", 20, 100), ("late_usage", -900, -4_500), ("refund", 1, 4_400)],
        )  # fmt: skip
        grant = CreditGrant.objects.get(customer=customer, source="refund")
        assert (grant.initial_amount, grant.currency, grant.starts_at, grant.expires_at) == (4_400, "USD", MAY, None)
        invoice = Invoice.objects.get(customer=customer, closes_at=MAY)
        assert grant.reference_code == f"refund:{invoice.public_id}"
        line = invoice.lines.get(type="refund")
        assert (line.grant, line.credit_transaction) == (grant, grant.transactions.get())

    def test_the_next_invoice_uses_what_is_kept(self, ada):
        pro, customer = ada
        use(customer, pro.metric, 1_000, MAY + DAY)

        sweep(JUNE + HOUR)

        assert bills(customer)[-1] == ("issued", 600, [("usage", 1_000, 5_000), ("credit", 1, -4_400)])
        assert InvoiceLine.objects.get(type="credit").description == "Credit from earlier invoices"

    def test_no_credit_is_spent_on_it(self):
        pro, customer = subscribed(base_cents=None, quota=None)
        use(customer, pro.metric, 1_000, AT + DAY)
        sweep(APRIL + HOUR)
        goodwill = give(customer, 5_000)
        use(customer, pro.metric, -900, AT + DAY)

        sweep(MAY + HOUR)

        assert ledger(goodwill)[1] == 5_000

    def test_all_refunds_of_a_currency_are_of_one_definition(self, ada):
        pro, customer = subscribed(base_cents=None, quota=None)
        use(customer, pro.metric, 100, AT + DAY)
        sweep(APRIL + HOUR)
        use(customer, pro.metric, -50, AT + DAY)
        sweep(MAY + HOUR)

        (definition,) = {grant.definition for grant in CreditGrant.objects.filter(source="refund")}
        assert CreditGrant.objects.filter(source="refund").count() == 2
        assert (definition.scope, definition.currency, definition.billing_visible) == ("merchant", "USD", True)
        assert CreditDefinition.objects.count() == 1

    def test_a_negative_line_lowers_what_credits_pay(self):
        pro, customer = subscribed(base_cents=2_900, quota=None)
        use(customer, pro.metric, 1_000, AT + DAY)
        sweep(APRIL + HOUR)
        goodwill = give(customer, 10_000)
        use(customer, pro.metric, -100, AT + DAY)

        sweep(MAY + HOUR)

        # 2,900 − 500 = 2,400 are due, and no more than that is taken.
        assert bills(customer)[-1] == (
            "paid", 0, [("fixed", 1, 2_900), ("late_usage", -100, -500), ("credit", 1, -2_400)],
        )  # fmt: skip
        assert paid_by_money(customer, MAY) == [2_400, 0, 0]
        assert ledger(goodwill)[1] == 7_600
        assert CreditTransaction.objects.filter(kind="burned").count() == 1
