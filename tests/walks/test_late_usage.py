"""Usage that arrives after its period was billed: what the next invoice says, with numbers worked out by hand.

29.00 a month, 10,000 calls included, 5 cents a call beyond, from the 1st of May on. Every story ends with the books.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.books import check_books
from billing.jobs import look_for_late_usage
from billing.models import Invoice, InvoiceLine
from billing.services.late_usage import bill_differences, bill_with_next_invoice
from billing.services.subscribe import subscribe
from credits.models import CreditGrant, UsageDifference
from credits.services.grants import grant_credits
from credits.services.late_usage import look_again, periods_to_look_at
from metering.models import UsageEvent
from metering.services.record_events import record_events
from metering.services.void_event import void_event
from plans.models import PriceComponent, SubscriptionPeriod
from tests.factories import CreditDefinitionFactory, CustomerFactory
from tests.pro_plan import bills, event, make_pro_plan, sweep

pytestmark = pytest.mark.django_db

MAY, JUNE, JULY, AUGUST = (datetime(2026, month, 1, tzinfo=UTC) for month in (5, 6, 7, 8))
SEPTEMBER = datetime(2026, 9, 1, tzinfo=UTC)
MAY_9, JUNE_10, JUNE_20 = MAY + timedelta(days=8), JUNE + timedelta(days=9), JUNE + timedelta(days=19)
# The 35 days after the end of May are over.
JULY_6 = JUNE + timedelta(days=35)
HOUR = timedelta(hours=1)


class Story:
    """A customer with a plan, from the 1st of May on."""

    def __init__(self, terms=None, **plan):
        self.pro, self.customer = make_pro_plan(**plan), CustomerFactory()
        self.component = PriceComponent.objects.filter(price=self.pro.price, kind="usage")
        if terms:
            self.component.update(**terms)
        self.events = 0
        subscribe(at=MAY, customer=self.customer, plan=self.pro.plan)

    def use(self, units, occurred_at=MAY_9, *, arrives_at=None):
        """Record usage; without `arrives_at` it arrives at once."""
        self.events += 1
        name, key = self.pro.metric.event_name, f"{self.customer.pk}/{self.events}"
        sent = event(name, units, occurred_at, key, customer=self.customer.public_id)
        (outcome,) = record_events(events=[sent], at=arrives_at or occurred_at)
        return outcome.event_id

    def billed(self, at):
        """Finalize what is due an hour after a month's end; give the last invoice's total and its late lines."""
        sweep(at + HOUR)
        _, total, lines = bills(self.customer)[-1]
        return total, [amount for line, _, amount in lines if line == "late_usage"]

    def may(self):
        return SubscriptionPeriod.objects.get(customer=self.customer, metric__isnull=False, start_at=MAY)

    def ledger(self, **of_grant):
        grant = CreditGrant.objects.get(customer=self.customer, **of_grant)
        return list(grant.transactions.order_by("pk").values_list("kind", "amount"))

    def found(self):
        rows = UsageDifference.objects.filter(customer=self.customer).order_by("period_id", "number")
        return list(rows.values_list("number", "usage", "credited", "net_cents"))


@pytest.fixture(autouse=True)
def books_close():
    yield
    assert [offender for finding in check_books(at=SEPTEMBER) for offender in finding.offenders] == []


class TestWhatItCosts:
    def test_inside_the_old_quota_nothing(self):
        acme = Story()
        acme.use(7_000)
        acme.billed(JUNE)
        acme.use(500, arrives_at=JUNE_10)

        assert acme.billed(JULY) == (2_900, [0])
        assert acme.found() == [(1, 500, 500, 0)]
        assert acme.ledger(starts_at=MAY) == [
            ("granted", 10_000), ("burned", -7_000), ("expired", -3_000), ("returned", 500), ("burned", -500),
        ]  # fmt: skip

    def test_beyond_it_each_unit_its_price(self):
        acme = Story()
        acme.use(9_900)
        acme.billed(JUNE)
        acme.use(300, arrives_at=JUNE_10)

        # 100 are in the quota, 200 × 5.
        assert acme.billed(JULY) == (2_900 + 1_000, [1_000])
        line = InvoiceLine.objects.get(type="late_usage")
        assert (line.period, line.usage_period_start_at, line.usage_period_end_at) == (acme.may(), MAY, JUNE)
        assert line.description == "Late usage, 1–31 May (Calls)"

    def test_less_usage_is_taken_off(self):
        acme = Story()
        acme.use(12_500)
        acme.billed(JUNE)
        acme.use(-300, arrives_at=JUNE_10)

        assert acme.billed(JULY) == (2_900 - 1_500, [-1_500])
        assert acme.found() == [(1, -300, 0, -1_500)]

    def test_more_than_the_invoice_is_kept_as_credit(self):
        acme = Story()
        acme.use(12_500)
        acme.billed(JUNE)
        acme.use(-1_000, arrives_at=JUNE_10)

        # 2,900 − 5,000: 2,100 are kept, and pay for the next base fee.
        assert acme.billed(JULY) == (0, [-5_000])
        assert CreditGrant.objects.get(customer=acme.customer, source="refund").initial_amount == 2_100
        assert acme.billed(AUGUST)[0] == 800

    def test_a_void_after_settlement(self):
        acme = Story()
        acme.use(12_000)
        mistake = acme.use(500)
        acme.billed(JUNE)
        void_event(event_id=mistake, reason="sent twice", by="operator", at=JUNE_10)

        assert acme.billed(JULY) == (2_900 - 2_500, [-2_500])

    def test_units_that_come_back_to_a_quota_that_is_over_expire(self):
        acme = Story()
        acme.use(7_000)
        acme.billed(JUNE)
        acme.use(-600, arrives_at=JUNE_10)

        assert acme.billed(JULY) == (2_900, [0])
        assert acme.ledger(starts_at=MAY)[-2:] == [("returned", 600), ("expired", -600)]

    def test_hidden_credits_cost_the_same(self):
        acme = Story(shown=False)
        acme.use(9_900)
        acme.billed(JUNE)
        acme.use(300, arrives_at=JUNE_10)

        assert acme.billed(JULY) == (3_900, [1_000])

    def test_the_whole_period_is_rounded_once(self):
        acme = Story(unit_cost_cents="0.1", quota=None)
        acme.use(14)
        assert acme.billed(JUNE)[0] == 2_900 + 1
        acme.use(4, arrives_at=JUNE_10)

        # 1.8 → 2, of which 1.4 → 1 is billed.
        assert acme.billed(JULY) == (2_901, [1])

    def test_nothing_late_makes_no_line(self):
        acme = Story()
        acme.use(12_500)
        acme.billed(JUNE)

        assert acme.billed(JULY) == (2_900, [])
        assert acme.found() == []


class TestModels:
    TIERS = [
        {"up_to": "1000", "unit_cost_cents": "5", "flat_cost_cents": "0"},
        {"up_to": None, "unit_cost_cents": "2", "flat_cost_cents": "0"},
    ]

    def test_graduated_across_a_bound(self):
        acme = Story(quota=None, terms={"model": "graduated", "unit_cost_cents": None, "tiers": self.TIERS})
        acme.use(900)
        assert acme.billed(JUNE)[0] == 2_900 + 4_500
        acme.use(300, arrives_at=JUNE_10)

        # 1,000 × 5 + 200 × 2 = 5,400, of which 4,500 are billed.
        assert acme.billed(JULY) == (2_900 + 900, [900])

    def test_over_the_cliff_of_a_volume_price(self):
        acme = Story(quota=None, terms={"model": "volume", "unit_cost_cents": None, "tiers": self.TIERS})
        acme.use(900)
        acme.billed(JUNE)
        acme.use(200, arrives_at=JUNE_10)

        # 1,100 × 2 = 2,200, of which 4,500 are billed.
        assert acme.billed(JULY) == (2_900 - 2_300, [-2_300])

    def test_below_and_above_a_minimum(self):
        acme = Story(quota=None, terms={"minimum_cents": 5_000})
        acme.use(400)
        assert acme.billed(JUNE)[0] == 2_900 + 5_000
        acme.use(300, arrives_at=JUNE_10)
        first = acme.billed(JULY)
        acme.use(500, arrives_at=JULY + timedelta(days=2))
        look_for_late_usage(JULY_6)

        # 700 × 5 = 3,500 is below it; 1,200 × 5 = 6,000 is 1,000 more. July has its own minimum, as June has.
        assert first == (2_900 + 5_000, [0])
        assert acme.billed(AUGUST) == (2_900 + 5_000 + 1_000, [1_000])

    def test_a_fee_per_event(self):
        terms = {"model": "percentage", "unit_cost_cents": None, "rate_percent": Decimal("2.9"), "fixed_cost_cents": 30}
        acme = Story(quota=None, terms=terms)
        acme.use(100)
        # 2.9 % of 100.00 and 0.30.
        assert acme.billed(JUNE)[0] == 2_900 + 290 + 30
        acme.use(50, arrives_at=JUNE_10)
        acme.use(-50, arrives_at=JUNE_10)

        # The same amount, but one more event.
        assert acme.billed(JULY) == (2_900 + 30, [30])


class TestGrants:
    def test_rolled_over_units_are_burned_where_they_are_now(self):
        acme = Story(quota=1_000, rolls_over=True)
        acme.use(700)
        acme.billed(JUNE)
        acme.use(1_200, JUNE_10)
        acme.use(250, arrives_at=JUNE_20)

        # June: 1,000 of its quota and 200 of the 300 that rolled over. May: the other 100, and 150 × 5.
        assert acme.billed(JULY) == (2_900 + 750, [750])
        may = CreditGrant.objects.get(customer=acme.customer, period=acme.may())
        assert acme.ledger(rolled_from=may) == [("granted", 300), ("burned", -100), ("burned", -200)]
        assert acme.ledger(pk=may.pk) == [("granted", 1_000), ("burned", -700), ("expired", -300)]

    def test_what_the_cap_let_expire_comes_before_what_rolled_over(self):
        acme = Story(quota=1_000, rolls_over=True, rollover_cap=Decimal(200))
        acme.use(700)
        acme.billed(JUNE)
        acme.use(1_160, JUNE_10)
        acme.use(250, arrives_at=JUNE_20)

        # 300 were left of May, 200 rolled over, of which June used 160: 100 + 40, and 110 × 5.
        assert acme.billed(JULY) == (2_900 + 550, [550])
        assert acme.found() == [(1, 250, 140, 550)]

    def test_bought_units_pay_with_what_the_open_period_left_of_them(self):
        acme = Story()
        extra = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, feature=acme.pro.feature)
        bought = grant_credits(at=MAY, customer=acme.customer, definition=extra, amount=Decimal(100), source="topup")
        acme.use(10_030)
        acme.billed(JUNE)
        acme.use(10_050, JUNE_10)
        acme.use(60, arrives_at=JUNE_20)

        # May took 30 of 100, June 50; 20 are left, and 40 × 5.
        assert acme.billed(JULY) == (2_900 + 200, [200])
        assert acme.ledger(pk=bought.pk) == [("granted", 100), ("burned", -30), ("burned", -20), ("burned", -50)]

    def test_what_rolled_over_pays_before_it_expires_with_the_next_period(self):
        acme = Story(quota=1_000, rolls_over=True, rollover_days=30)
        acme.use(700)
        acme.billed(JUNE)
        acme.use(250, arrives_at=JUNE_20)

        # 300 of May rolled into June, which used none of them; 250 late units are among them.
        assert acme.billed(JULY) == (2_900, [0])
        may = CreditGrant.objects.get(customer=acme.customer, period=acme.may())
        assert acme.ledger(rolled_from=may) == [("granted", 300), ("burned", -250), ("expired", -50)]

    def test_bought_units_that_come_back_may_be_used_again(self):
        acme = Story()
        extra = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, feature=acme.pro.feature)
        bought = grant_credits(at=MAY, customer=acme.customer, definition=extra, amount=Decimal(100), source="topup")
        acme.use(10_080)
        acme.billed(JUNE)
        acme.use(-50, arrives_at=JUNE_20)
        acme.billed(JULY)

        assert acme.ledger(pk=bought.pk) == [("granted", 100), ("burned", -80), ("returned", 50)]
        acme.use(10_070, JULY + HOUR)
        assert acme.billed(AUGUST) == (2_900, [])

    def test_goodwill_given_later_changes_no_old_bill(self):
        acme = Story()
        acme.use(12_500)
        acme.billed(JUNE)
        extra = CreditDefinitionFactory(scope="merchant", plan=None, renew_on_billing=False, feature=acme.pro.feature)
        grant_credits(at=JUNE_10, customer=acme.customer, definition=extra, amount=Decimal(500), starts_at=MAY)

        assert acme.billed(JULY) == (2_900, [])


class TestTime:
    def test_twice_finds_nothing_more(self):
        acme = Story()
        acme.use(9_900)
        acme.billed(JUNE)
        acme.use(300, arrives_at=JUNE_10)
        acme.billed(JULY)

        look_for_late_usage(JULY_6)
        look_for_late_usage(JULY_6)

        assert acme.found() == [(1, 300, 100, 1_000)]
        assert acme.billed(AUGUST) == (2_900, [])

    def test_a_period_is_looked_at_for_the_last_time_once(self):
        acme = Story()
        acme.billed(JUNE)

        before, then, after = (look_for_late_usage(at).done for at in (JULY_6 - HOUR, JULY_6, JULY_6 + HOUR))

        assert (before, then, after) == (0, 1, 0)
        assert acme.may().late_usage_closed_at == JULY_6

    def test_two_findings_of_one_period_are_two_lines(self):
        acme = Story()
        acme.use(9_900)
        acme.billed(JUNE)
        acme.use(300, arrives_at=JUNE_10)
        assert acme.billed(JULY) == (3_900, [1_000])
        acme.use(40, arrives_at=JULY + timedelta(days=2))
        void_event(event_id=UsageEvent.objects.earliest("pk").pk, reason="test", by="operator", at=JULY + HOUR)
        look_for_late_usage(JULY_6)

        # 340 in all, all of it in the quota: the 1,000 come back.
        assert acme.found() == [(1, 300, 100, 1_000), (2, -9_860, -9_660, -1_000)]
        assert acme.billed(AUGUST) == (1_900, [-1_000])

    def test_a_yearly_plan_bills_what_the_sweep_found_with_its_next_invoice(self):
        acme = Story(frequency="YEARLY")
        acme.use(12_000)
        end = datetime(2027, 5, 1, tzinfo=UTC)
        acme.billed(end)
        acme.use(100, arrives_at=end + timedelta(days=9))
        look_for_late_usage(end + timedelta(days=35))

        assert acme.found() == [(1, 100, 0, 500)]
        assert UsageDifference.objects.get().billed_at is None
        assert acme.billed(datetime(2028, 5, 1, tzinfo=UTC)) == (2_900 + 500, [500])

    def test_after_the_window_an_operator_decides(self):
        acme = Story()
        acme.use(12_000)
        acme.billed(JUNE)
        acme.billed(JULY)
        look_for_late_usage(JULY_6)
        acme.use(100, arrives_at=JULY_6 + HOUR)

        assert acme.billed(AUGUST) == (2_900, [])
        assert acme.found() == []
        (may,) = periods_to_look_at()
        assert look_again([may], at=AUGUST + HOUR)[may.pk].net_cents == 500
        bill_with_next_invoice(periods=[may], at=AUGUST + 2 * HOUR)
        assert not periods_to_look_at().exists()
        assert acme.billed(SEPTEMBER) == (2_900 + 500, [500])

    def test_after_the_window_a_void_is_listed_too(self):
        acme = Story()
        mistake = acme.use(12_000)
        acme.billed(JUNE)
        look_for_late_usage(JULY_6)
        void_event(event_id=mistake, reason="test", by="operator", at=JULY_6 + HOUR)

        assert list(periods_to_look_at()) == [acme.may()]

    def test_what_arrived_within_the_window_is_not_listed(self):
        acme = Story()
        acme.billed(JUNE)
        acme.use(100, arrives_at=JULY + HOUR)
        look_for_late_usage(JULY_6)

        assert not periods_to_look_at().exists()

    def test_each_close_looks_back_by_its_own_window(self, settings):
        settings.LATE_USAGE_DAYS = 10
        early, late = Story(quota=None), Story(quota=None)
        for acme in (early, late):
            acme.use(10)
            acme.billed(JUNE)
            acme.use(100, arrives_at=JUNE_10)
        closes = [(early, JUNE_10), (late, JUNE + timedelta(days=11))]
        drafts = [Invoice(subscription_id=acme.may().subscription_id, closes_at=at) for acme, at in closes]

        found = bill_differences(drafts, at=JUNE_20)

        assert list(found) == [early.may().subscription_id]
        found[early.may().subscription_id][0].delete()

    def test_the_days_of_the_window_are_a_setting(self, settings):
        settings.LATE_USAGE_DAYS = 10
        acme = Story()
        acme.use(12_000)
        acme.billed(JUNE)
        look_for_late_usage(JUNE + timedelta(days=10))
        acme.use(100, arrives_at=JUNE_20)

        assert acme.billed(JULY) == (2_900, [])
        assert list(periods_to_look_at()) == [acme.may()]
