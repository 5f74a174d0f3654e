from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.models import Invoice, InvoiceLine
from billing.services.close_periods import close_periods
from billing.services.finalize import drafts_to_finalize, finalize
from billing.services.subscribe import subscribe
from credits.models import CreditGrant, CreditTransaction
from plans.models import SubscriptionPeriod
from tests.factories import CustomerFactory
from tests.pro_plan import bills, make_pro_plan, remaining, sweep, use

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 28, tzinfo=UTC)
MARCH = datetime(2026, 3, 31, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

pytestmark = pytest.mark.django_db


def subscribed(*, at=AT, started_at=None, **plan):
    pro, customer = make_pro_plan(**plan), CustomerFactory()
    subscribe(at=at, customer=customer, plan=pro.plan, started_at=started_at)
    return pro, customer


def month_with(units, **plan):
    """Use units in the first month and finalize its invoice; give the last bill."""
    pro, customer = subscribed(**plan)
    if units:
        use(customer, pro.metric, units, AT + 2 * DAY)
    sweep(FEBRUARY + HOUR)
    return pro, customer, bills(customer)[-1]


class TestWorkedNumbers:
    def test_12_500_calls_cost_154_dollars(self):
        _, _, bill = month_with(12_500)

        assert bill == (
            "issued", 15_400, [("fixed", 1, 2_900), ("usage", 12_500, 62_500), ("credit", 10_000, -50_000)],
        )  # fmt: skip

    def test_8_000_calls_cost_the_base_fee(self):
        _, _, bill = month_with(8_000)

        assert bill == (
            "issued", 2_900, [("fixed", 1, 2_900), ("usage", 8_000, 40_000), ("credit", 8_000, -40_000)],
        )  # fmt: skip

    def test_hidden_credits_print_one_net_line_and_the_same_totals(self):
        _, customer, bill = month_with(12_500, shown=False)

        assert bill == ("issued", 15_400, [("fixed", 1, 2_900), ("usage", 2_500, 12_500)])
        line = InvoiceLine.objects.get(invoice__customer=customer, type="usage")
        assert line.description == "Calls (12,500 used, 10,000 included)"

    def test_hidden_credits_within_the_quota_cost_the_base_fee(self):
        _, _, bill = month_with(8_000, shown=False)

        assert bill == ("issued", 2_900, [("fixed", 1, 2_900), ("usage", 0, 0)])

    def test_no_usage_costs_the_base_fee_alone(self):
        _, _, bill = month_with(0)

        assert bill == ("issued", 2_900, [("fixed", 1, 2_900)])

    def test_the_first_call_over_the_quota_costs_5_cents(self):
        _, _, bill = month_with(10_001)

        assert bill[1] == 2_905

    def test_without_a_quota_every_call_is_charged(self):
        _, _, bill = month_with(300, quota=None)

        assert bill == ("issued", 4_400, [("fixed", 1, 2_900), ("usage", 300, 1_500)])

    def test_sub_cent_prices_round_once_per_line(self):
        # 124 × 0.1 = 12.4 → 12; 26 × 0.1 = 2.6 → 3; the credit is the difference.
        _, _, bill = month_with(124, quota=98, unit_cost_cents="0.1", base_cents=None)

        assert bill == ("carried", 3, [("usage", 124, 12), ("credit", 98, -9)])

    def test_usage_worth_less_than_half_a_cent_is_not_billed(self):
        _, customer, bill = month_with(4, quota=None, unit_cost_cents="0.1", base_cents=None)

        assert bill == ("skipped", 0, [])
        settled = SubscriptionPeriod.objects.get(customer=customer, settled_at__isnull=False)
        assert (settled.settled_usage, settled.settled_credited) == (4, 0)

    def test_usage_of_which_credits_pay_all_is_paid_at_once(self):
        _, customer, bill = month_with(50, base_cents=None)

        assert bill == ("paid", 0, [("usage", 50, 250), ("credit", 50, -250)])
        invoice = Invoice.objects.get(customer=customer)
        assert (invoice.paid_at, invoice.send_at) == (FEBRUARY + HOUR, None)

    def test_fractions_of_units_are_exact(self):
        _, _, bill = month_with("12500.000001", unit_cost_cents="500000")

        # 0.000001 of a unit at 500,000 cents is half a cent.
        assert bill[1] == 2_900 + 2_500 * 500_000 + 1

    def test_usage_below_zero_is_floored(self):
        pro, customer, bill = month_with(-40)

        assert bill == ("issued", 2_900, [("fixed", 1, 2_900)])
        assert SubscriptionPeriod.objects.get(customer=customer, settled_at__isnull=False).settled_usage == 0
        assert remaining(customer, pro.metric, FEBRUARY + HOUR) == 10_000

    def test_a_correction_in_the_period_lowers_its_bill(self):
        pro, customer = subscribed()
        use(customer, pro.metric, 12_500, AT + 2 * DAY)
        use(customer, pro.metric, -1_500, AT + 9 * DAY)

        sweep(FEBRUARY + HOUR)

        assert bills(customer)[-1][1] == 2_900 + 1_000 * 5

    def test_a_zero_decimal_currency_is_counted_in_its_minor_unit(self):
        _, customer, bill = month_with(12_500, currency="JPY")

        assert bill[1] == 15_400
        assert Invoice.objects.filter(customer=customer, currency="JPY").count() == 2


class TestPlansWithoutAPrice:
    def test_a_free_plan_gives_skipped_drafts_and_settles(self):
        _, customer, bill = month_with(500, base_cents=0, unit_cost_cents=None)

        assert bill == ("skipped", 0, [])
        assert SubscriptionPeriod.objects.filter(customer=customer, settled_usage=500).count() == 1
        assert Invoice.objects.shown().filter(customer=customer).count() == 0

    def test_an_unpriced_metric_with_a_hard_cap_settles_and_burns(self):
        _, customer, bill = month_with(700, unit_cost_cents=None, quota=1_000)

        assert bill == ("issued", 2_900, [("fixed", 1, 2_900)])
        settled = SubscriptionPeriod.objects.get(customer=customer, settled_usage=700)
        assert settled.settled_credited == 700
        movements = CreditTransaction.objects.filter(period=settled).order_by("pk").values_list("kind", "amount")
        assert list(movements) == [("burned", -700), ("expired", -300)]

    def test_usage_beyond_a_hard_cap_is_neither_credited_nor_charged(self):
        _, customer, bill = month_with(1_200, unit_cost_cents=None, quota=1_000)

        assert bill == ("issued", 2_900, [("fixed", 1, 2_900)])
        settled = SubscriptionPeriod.objects.get(customer=customer, settled_usage=1_200)
        assert settled.settled_credited == 1_000


class TestWhen:
    def test_a_draft_waits_for_its_grace_hour(self):
        _, customer = subscribed()
        close_periods(subscriptions=[customer.subscriptions.get().pk], at=FEBRUARY)

        assert drafts_to_finalize(FEBRUARY + HOUR - timedelta(microseconds=1)) == []
        assert len(drafts_to_finalize(FEBRUARY + HOUR)) == 1

    def test_an_event_of_the_grace_hour_counts_for_the_month_it_happened_in(self):
        pro, customer = subscribed(quota=None)
        sweep(FEBRUARY)
        use(customer, pro.metric, 100, FEBRUARY - timedelta(microseconds=1))
        use(customer, pro.metric, 7, FEBRUARY)

        sweep(FEBRUARY + HOUR)
        sweep(MARCH + HOUR)

        assert [total for _, total, _ in bills(customer)] == [2_900, 3_400, 2_935]

    def test_an_event_after_settlement_changes_no_balance_of_the_new_month(self):
        pro, customer, _ = month_with(12_500)

        use(customer, pro.metric, 300, FEBRUARY - DAY)

        assert remaining(customer, pro.metric, FEBRUARY + 2 * HOUR) == 10_000

    def test_finalizing_again_does_nothing(self):
        _, customer, bill = month_with(12_500)
        drafts = list(Invoice.objects.filter(customer=customer).values_list("pk", flat=True))

        assert finalize(invoices=drafts, at=FEBRUARY + 2 * HOUR) == 0

        assert bills(customer)[-1] == bill

    def test_a_draft_comes_after_the_one_before(self):
        _, customer = subscribed()
        subscription = customer.subscriptions.get()
        late = datetime(2026, 4, 2, tzinfo=UTC)
        assert [close_periods(subscriptions=[subscription.pk], at=late) for _ in range(2)] == [1, 1]

        ready = drafts_to_finalize(late)

        assert [Invoice.objects.get(pk=key).closes_at for key in ready] == [FEBRUARY, MARCH]

    def test_a_draft_waits_while_an_earlier_boundary_is_not_closed(self):
        _, customer = subscribed()
        close_periods(subscriptions=[customer.subscriptions.get().pk], at=FEBRUARY)
        SubscriptionPeriod.objects.filter(customer=customer, closed_at=AT).update(closed_at=None)

        assert drafts_to_finalize(FEBRUARY + HOUR) == []

    def test_alone_the_later_draft_is_left_for_a_later_turn(self):
        _, customer = subscribed()
        subscription = customer.subscriptions.get()
        for _ in range(2):
            close_periods(subscriptions=[subscription.pk], at=MARCH)
        later = Invoice.objects.get(customer=customer, closes_at=MARCH)

        assert finalize(invoices=[later.pk], at=MARCH + HOUR) == 0
        assert Invoice.objects.get(pk=later.pk).status == "draft"

    def test_a_parked_customer_is_left_alone(self):
        _, customer = subscribed()
        close_periods(subscriptions=[customer.subscriptions.get().pk], at=FEBRUARY)
        customer.parked_at = FEBRUARY
        customer.save()

        assert drafts_to_finalize(FEBRUARY + HOUR) == []


class TestNumbers:
    def test_count_up_per_customer_without_gaps_over_skipped_drafts(self):
        pro, customer = subscribed(base_cents=None, quota=None)
        other = CustomerFactory()
        subscribe(at=AT, customer=other, plan=make_pro_plan().plan)
        use(customer, pro.metric, 10, AT + DAY)
        use(customer, pro.metric, 10, MARCH + DAY)

        sweep(datetime(2026, 5, 1, tzinfo=UTC))

        invoices = Invoice.objects.filter(customer=customer).order_by("closes_at").values_list("status", "number")
        prefix = customer.invoice_prefix
        assert list(invoices) == [("issued", f"{prefix}-001"), ("skipped", None), ("issued", f"{prefix}-002")]


class TestManyMonths:
    def test_settlement_burns_and_expires_in_the_ledger(self):
        _, customer, _ = month_with(8_000)

        grant = CreditGrant.objects.get(customer=customer, starts_at=AT)
        assert grant.ledger_remaining == 0
        assert list(grant.transactions.order_by("pk").values_list("kind", "amount")) == [
            ("granted", 10_000), ("burned", -8_000), ("expired", -2_000),
        ]  # fmt: skip

    def test_a_backdated_start_bills_ended_periods_one_by_one(self):
        started = datetime(2025, 11, 30, 9, tzinfo=UTC)
        pro, customer = subscribed(at=AT, started_at=started)
        use(customer, pro.metric, 11_000, started + DAY)
        use(customer, pro.metric, 10_002, datetime(2026, 1, 5, tzinfo=UTC))

        sweep(AT)

        assert [total for _, total, _ in bills(customer)] == [2_900, 2_900 + 5_000, 2_900 + 10]
        closes = [invoice.closes_at for invoice in Invoice.objects.filter(customer=customer).order_by("closes_at")]
        assert [close.date().isoformat() for close in closes] == ["2025-11-30", "2025-12-30", "2026-01-30"]

    def test_one_jump_over_six_periods_equals_six_small_steps(self):
        usage = [12_500, 0, 9_000, 10_001, 25_000, -5]
        months = [datetime(2026, month, 3, 17, 5, tzinfo=UTC) for month in range(2, 8)]
        outcomes = []
        for stops in ([datetime(2026, 8, 5, tzinfo=UTC)], [AT + n * 3 * DAY for n in range(1, 63)]):
            pro, customer = subscribed()
            for units, at in zip(usage, months, strict=True):
                use(customer, pro.metric, units, at)
            for stop in stops:
                sweep(stop)
            outcomes.append(
                (
                    bills(customer),
                    [
                        (
                            grant.starts_at,
                            grant.ledger_remaining,
                            list(grant.transactions.order_by("pk").values_list("kind", "amount")),
                        )
                        for grant in CreditGrant.objects.filter(customer=customer).order_by("starts_at")
                    ],
                )
            )

        assert outcomes[0] == outcomes[1]
        # 2,500, 0, 0, 1, 15,000 and 0 units over the quota, at 5 cents, each beside the fee of the next month.
        assert [total - 2_900 for _, total, _ in outcomes[0][0]] == [0, 12_500, 0, 0, 5, 75_000, 0]

    def test_a_quota_without_renewal_lasts_over_several_months(self):
        pro, customer = subscribed(renew_on_billing=False, quota=1_000)
        use(customer, pro.metric, 700, AT + DAY)
        use(customer, pro.metric, 700, FEBRUARY + DAY)

        sweep(MARCH + HOUR)

        assert [total - 2_900 for _, total, _ in bills(customer)] == [0, 0, 400 * 5]
        assert CreditGrant.objects.get(customer=customer).ledger_remaining == Decimal(0)
