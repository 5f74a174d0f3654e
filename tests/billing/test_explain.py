"""How each kind of line is explained: sentences that end in its amount, worked out by hand."""

from datetime import timedelta
from decimal import Decimal

import pytest

from billing.models import Invoice
from billing.services.subscribe import subscribe
from billing.services.top_up import buy_pack
from credits.rating import rate
from credits.services.definitions import create_definition
from credits.services.grants import grant_credits
from credits.services.packs import create_pack
from metering.models import UsageEvent
from metering.services.void_event import void_event
from plans.models import SubscriptionPeriod
from tests.billing.explaining import APRIL, AT, BILLED, DAY, Month, month
from tests.factories import (
    START,
    CreditDefinitionFactory,
    CustomerFactory,
    FixedComponentFactory,
    PlanFactory,
    PriceFactory,
    UsageComponentFactory,
)
from tests.pro_plan import make_pro_plan, sweep, use

pytestmark = pytest.mark.django_db

GRADUATED = [{"up_to": "1000", "unit_cost_cents": "5"}, {"up_to": None, "unit_cost_cents": "4"}]
MAY = BILLED + timedelta(days=30)


class TestModels:
    @pytest.mark.parametrize(
        ("events", "terms", "text", "cents"),
        [
            ((12_500,), {}, "12,500 calls × $0.05 = $625.00.", 62_500),
            # 1.5 cents
            ((3,), {"unit_cost_cents": "0.5"}, "3 calls × $0.005 = $0.015, rounded $0.02.", 2),
            (
                (12_500,),
                {"included_units": 2_000},
                "12,500 calls − 2,000 included = 10,500 × $0.05 = $525.00.",
                52_500,
            ),
            (
                (2_500,),
                {"model": "graduated", "tiers": GRADUATED},
                "2,500 calls. 1,000 × $0.05 + 1,500 × $0.04 = $110.00.",
                11_000,
            ),
            # A bound belongs to the tier that it ends.
            ((1_000,), {"model": "graduated", "tiers": GRADUATED}, "1,000 calls × $0.05 = $50.00.", 5_000),
            (
                (10,),
                {
                    "model": "graduated",
                    "tiers": [
                        {"up_to": "5", "unit_cost_cents": "0", "flat_cost_cents": "100"},
                        {"up_to": None, "unit_cost_cents": "2", "flat_cost_cents": "50"},
                    ],
                },
                "10 calls. 5 × $0.00 + $1.00 + 5 × $0.02 + $0.50 = $1.60.",
                160,
            ),
            (
                (2_500,),
                {
                    "model": "volume",
                    "tiers": [
                        {"up_to": "1000", "unit_cost_cents": "5"},
                        {"up_to": None, "unit_cost_cents": "4", "flat_cost_cents": "200"},
                    ],
                },
                "2,500 calls × $0.04 + $2.00 = $102.00. All units cost the price beyond the last bound.",
                10_200,
            ),
            (
                (700,),
                {"model": "volume", "tiers": GRADUATED},
                "700 calls × $0.05 = $35.00. All units cost the price for up to 1,000.",
                3_500,
            ),
            (
                (2_500,),
                {"model": "package", "package_size": 1_000, "package_cost_cents": 1_000},
                "2,500 calls: 3 begun packages of 1,000. 3 packages × $10.00 = $30.00.",
                3_000,
            ),
            (
                (1_500,),
                {"model": "package", "package_size": 1_000, "package_cost_cents": 1_000, "package_round": "down"},
                "1,500 calls: 1 full package of 1,000. 1 package × $10.00 = $10.00.",
                1_000,
            ),
            # 1,234.50 × 2.5 % = 30.8625, and two events of 30 cents.
            (
                ("1000", "234.5"),
                {"model": "percentage", "rate_percent": "2.5", "fixed_cost_cents": "30"},
                "2.5% of $1,234.50 + 2 events × $0.30 = $31.4625, rounded $31.46.",
                3_146,
            ),
            (
                (1_500,),
                {
                    "model": "graduated_percentage",
                    "tiers": [{"up_to": "1000", "rate_percent": "2"}, {"up_to": None, "rate_percent": "1"}],
                },
                "2% of $1,000.00 + 1% of $500.00 = $25.00.",
                2_500,
            ),
            (
                (2_500,),
                {"divide_by": 1_000, "divide_round": "up", "included_units": 1},
                "2,500 calls ÷ 1,000 = 2.5, rounded up: 3 − 1 included = 2 × $0.05 = $0.10.",
                10,
            ),
        ],
    )
    def test_the_sentence_ends_in_the_amount_of_the_line(self, events, terms, text, cents):
        if "model" in terms:
            terms = {"unit_cost_cents": None} | terms

        march = month(*events, **terms)

        (explanation,) = march.explained()
        assert march.text() == text
        assert (explanation.line.amount_cents, explanation.amount_cents, explanation.agrees) == (cents, cents, True)

    def test_a_number_of_the_plan_comes_off_first(self):
        assert month(250, number=100).text() == "250 calls − 100 that the plan includes = 150 × $0.05 = $7.50."

    def test_amounts_without_a_minor_unit_are_rounded_to_whole_ones(self):
        assert month(3, currency="JPY", unit_cost_cents="0.5").text() == "3 calls × ¥0.5 = ¥1.5, rounded ¥2."


class TestCredits:
    def test_a_quota_with_a_line_is_told_there(self):
        march = month(12_500, quotas=[10_000])

        assert march.text(0) == "12,500 calls × $0.05 = $625.00."
        assert march.text(1) == (
            "Quota 1 (from 1 March 2026) paid for 10,000 calls. Without it the price is $625.00, with it $125.00: "
            "−$500.00."
        )

    def test_a_quota_without_a_line_comes_off_the_units(self):
        march = month(12_500, quotas=[10_000], hidden=1)

        assert march.text() == "12,500 calls − 10,000 paid for by Quota 1 = 2,500 × $0.05 = $125.00."

    def test_several_quotas_are_named(self):
        march = month(12_500, quotas=[4_000, 6_000], hidden=2)

        assert march.text() == "12,500 calls − 10,000 paid for by Quota 1 and Quota 2 = 2,500 × $0.05 = $125.00."

    def test_ruling_15_a_credit_is_the_difference_of_rounded_prices(self):
        march = month(124, quotas=[98], unit_cost_cents="0.1")
        usage, credit = march.explained()

        # 12.4 is billed as 12, the 2.6 that are left as 3: the credit is 9, though it is worth 9.8.
        assert (usage.amount_cents, credit.amount_cents) == (12, -9)
        assert (credit.credit.exact_cents, credit.credit.amount_cents) == (Decimal("-9.8"), -9)
        assert march.text(0) == "124 calls × $0.001 = $0.124, rounded $0.12."
        assert march.text(1) == (
            "Quota 1 (from 1 March 2026) paid for 98 calls. Without it the price is $0.124, rounded $0.12, "
            "with it $0.026, rounded $0.03: −$0.09."
        )

    def test_a_hidden_quota_on_a_volume_price_takes_off_its_share(self):
        march = month(2_000, quotas=[500], hidden=1, model="volume", tiers=GRADUATED, unit_cost_cents=None)

        # The tier is that of all 2,000, and 500 of them are a quarter of the price.
        assert march.text() == (
            "2,000 calls × $0.04 = $80.00. All units cost the price beyond the last bound. Quota 1 (from 1 March 2026) "
            "paid for 500 calls. Without it the price is $80.00, with it $60.00: −$20.00. Together that is $60.00."
        )
        assert march.lines[0].amount_cents == 6_000

    def test_shown_and_hidden_quotas_on_tiers_add_up(self):
        march = month(2_500, quotas=[500, 800], hidden=1, model="graduated", tiers=GRADUATED, unit_cost_cents=None)

        # All are 110.00; without the last 500 they are 90.00, and without 800 more 1,000 × 5 + 200 × 4.
        assert march.text(0) == (
            "2,500 calls. 1,000 × $0.05 + 1,500 × $0.04 = $110.00. Quota 1 (from 1 March 2026) paid for 500 calls. "
            "Without it the price is $110.00, with it $90.00: −$20.00. Together that is $90.00."
        )
        assert march.text(1) == (
            "Quota 2 (from 1 March 2026) paid for 800 calls. Without it the price is $90.00, with it $58.00: −$32.00."
        )
        assert [(line.amount_cents, one.adds_up) for line, one in zip(march.lines, march.explained(), strict=True)] == [
            (9_000, True),
            (-3_200, True),
        ]

    def test_the_arithmetic_is_that_of_the_rating(self):
        march = month(2_500, quotas=[500, 800], model="graduated", tiers=GRADUATED, unit_cost_cents=None)
        (first, second) = [one.credit.grant for one in march.explained()[1:]]
        working = march.explained()[0].working

        rated = rate(
            working.charge, used=Decimal(2_500), by_grant={first: Decimal(500), second: Decimal(800)}, hidden=set()
        )

        assert working.charge_cents == rated.line_cents
        assert [credit.amount_cents for credit in working.credits] == [credit.amount_cents for credit in rated.credits]
        assert working.net_cents == rated.net_cents


class TestBounds:
    def test_a_minimum_tells_what_is_missing_to_it(self):
        march = month(10, minimum_cents=2_000)

        assert march.text(1) == (
            "The price comes to $0.50, and a period costs at least $20.00: $20.00 − $0.50 = $19.50."
        )
        assert [one.amount_cents for one in march.explained()] == [50, 1_950]

    def test_a_maximum_tells_what_it_takes_off_after_the_credits(self):
        march = month(3_000, quotas=[500], maximum_cents=10_000)

        # 2,500 × 5 = 125.00
        assert march.text(2) == (
            "The price comes to $125.00, and a period costs at most $100.00: $100.00 − $125.00 = −$25.00."
        )

    def test_a_minimum_without_any_usage_is_explained(self):
        march = month(minimum_cents=2_000)

        (explanation,) = march.explained()
        assert explanation.line.type == "minimum"
        assert march.text() == "The price comes to $0.00, and a period costs at least $20.00: $20.00 − $0.00 = $20.00."
        assert explanation.agrees


class TestInAdvance:
    def seats(self, quantity, **terms):
        plan = PlanFactory()
        price = PriceFactory(plan=plan, fee=None)
        terms = {"unit_cost_cents": None, "amount_cents": 1_000} | terms
        UsageComponentFactory(
            price=price, kind="per_unit", metric=None, label="Seats", unit_label="seat", position=0,
            minimum_quantity=quantity, **terms,
        )  # fmt: skip
        customer = CustomerFactory()
        subscribe(at=AT, customer=customer, plan=plan)
        return Month(customer, None, Invoice.objects.get(customer=customer))

    def test_seats_are_so_many_at_so_much(self):
        march = self.seats(7)

        assert march.text() == "7 seats × $10.00 = $70.00."
        assert march.agreement() == (True, "")

    def test_seats_with_tiers_and_included_ones(self):
        march = self.seats(
            12, included_units=2, amount_cents=None, model="graduated",
            tiers=[{"up_to": "5", "unit_cost_cents": "1000"}, {"up_to": None, "unit_cost_cents": "800"}],
        )  # fmt: skip

        # 5 × 10.00 + 5 × 8.00
        assert march.text() == "12 seats − 2 included = 10. 5 × $10.00 + 5 × $8.00 = $90.00."
        assert march.explained()[0].adds_up

    def test_a_minimum_of_seats(self):
        march = self.seats(2, minimum_cents=5_000)

        assert march.text(1) == (
            "The price comes to $20.00, and a period costs at least $50.00: $50.00 − $20.00 = $30.00."
        )

    def test_a_fee_is_its_amount(self):
        plan = PlanFactory()
        FixedComponentFactory(price=PriceFactory(plan=plan, fee=None))
        customer = CustomerFactory()
        subscribe(at=AT, customer=customer, plan=plan)
        march = Month(customer, None, Invoice.objects.get(customer=customer))

        assert march.text() == "1 × $29.00 = $29.00."
        assert march.agreement() == (True, "")


class TestMoney:
    def goodwill(self, customer, cents):
        definition = create_definition(
            at=START, name="Goodwill", scope="merchant", application_type="monetary", default_amount=Decimal(cents),
            currency="USD",
        )  # fmt: skip
        return grant_credits(at=AT, customer=customer, definition=definition)

    def test_a_monetary_credit_tells_what_it_had_and_what_it_pays_for(self):
        pro, customer = make_pro_plan(quota=None), CustomerFactory()
        subscribe(at=AT, customer=customer, plan=pro.plan)
        self.goodwill(customer, 5_000)
        use(customer, pro.metric, 200, AT + DAY)
        sweep(BILLED)
        march = Month(customer, pro.metric, Invoice.objects.get(customer=customer, closes_at=APRIL))

        # 29.00 and 10.00 are charged.
        assert march.text(2) == (
            "Goodwill had $50.00 left. $39.00 of it pays for this invoice, $11.00 remains. "
            "Credits of money pay here for: Base fee $29.00, Calls $10.00."
        )
        assert march.explained()[2].adds_up

    def test_what_is_below_zero_is_kept(self):
        march = month(12_500)
        march.late(-12_000)
        use(march.customer, march.metric, 1, APRIL + DAY)
        sweep(MAY)
        may = Invoice.objects.get(customer=march.customer, closes_at__gt=BILLED)

        # 5 cents and −600.00
        assert [line.type for line in may.lines.all()] == ["usage", "late_usage", "refund"]
        assert march.text(2, may) == (
            "The other lines come to −$599.95. An invoice is never below zero, so $599.95 is kept as credit for later "
            "ones."
        )
        assert march.explained(MAY, may)[2].agrees

    def test_a_bought_pack_tells_what_it_holds(self):
        pack = create_pack(
            at=AT, name="1,000 calls", definition=CreditDefinitionFactory(scope="merchant", plan=None, name="Calls",
            renew_on_billing=False), amount=Decimal(1_000), price_cents=900, currency="USD",
        )  # fmt: skip
        customer = CustomerFactory()
        invoice = buy_pack(customer=customer, pack=pack, quantity=3, at=AT)
        march = Month(customer, None, invoice)

        assert march.text() == (
            "3 × $9.00 = $27.00. Each holds 1,000 units of Calls, there for use once the invoice is paid."
        )
        assert march.explained()[0].agrees


class TestLateUsage:
    def test_a_difference_tells_the_whole_period_less_what_was_billed(self):
        march = month(12_500, quotas=[10_000])
        march.late(500)
        use(march.customer, march.metric, 1, APRIL + DAY)
        sweep(MAY)
        may = Invoice.objects.get(customer=march.customer, closes_at__gt=BILLED)
        place = [line.type for line in may.lines.all()].index("late_usage")

        # 13,000 − 10,000 at 5 cents are 150.00, of which 125.00 were billed.
        assert march.text(place, may) == (
            "After 1–31 March 2026 had been billed, 500 calls more were found. In all: 13,000 calls − 10,000 paid for "
            "by credits = 3,000 × $0.05 = $150.00. $150.00 − $125.00 billed before = $25.00."
        )
        assert march.explained(MAY, may)[place].agrees

    def test_usage_that_was_voided_comes_back(self):
        march = month(12_500)
        march.late(-500)
        use(march.customer, march.metric, 1_000, APRIL + DAY)
        sweep(MAY)
        may = Invoice.objects.get(customer=march.customer, closes_at__gt=BILLED)
        place = [line.type for line in may.lines.all()].index("late_usage")

        assert march.text(place, may) == (
            "After 1–31 March 2026 had been billed, 500 calls fewer were found. In all: 12,000 calls × $0.05 = $600.00."
            " $600.00 − $625.00 billed before = −$25.00."
        )


class TestAgreement:
    def test_a_line_agrees_right_after_it_was_made(self):
        assert month(12_500, quotas=[10_000]).agreement() == (True, "Recomputed from the events of today: the same.")

    def test_a_late_event_is_told_with_what_it_comes_to(self):
        march = month(12_500, quotas=[10_000])
        march.late(500)

        assert march.agreement(BILLED + DAY) == (
            False,
            "The events of today come to 13,000 calls and not 12,500 calls. Events of its days arrived after it was "
            "billed, or corrections were voided. With them the period costs $150.00; +$25.00 of that is not billed "
            "yet.",
        )

    def test_late_usage_within_the_old_quota_costs_nothing(self):
        march = month(9_000, quotas=[10_000])
        march.late(500)

        # The settlement expired 1,000 units; 500 of them come back.
        agrees, text = march.agreement(BILLED + DAY)
        assert not agrees
        assert "With them the period costs $0.00; nothing of that is not billed yet." in text

    def test_a_void_is_told_with_what_it_comes_to(self):
        march = month(400, 100)
        event = UsageEvent.objects.get(value=100)
        void_event(event_id=event.pk, reason="sent twice", by="tests", at=BILLED + DAY)

        assert march.agreement(BILLED + DAY) == (
            False,
            "The events of today come to 400 calls and not 500 calls. Events of its days were voided after it was "
            "billed, or corrections arrived. With them the period costs $20.00; −$5.00 of that is not billed yet.",
        )

    def test_it_agrees_again_when_a_late_usage_line_took_the_difference_along(self):
        march = month(12_500)
        march.late(500)
        use(march.customer, march.metric, 1, APRIL + DAY)
        sweep(MAY)

        agrees, text = march.agreement(MAY)
        assert agrees
        assert text == (
            "Late usage of this period (+500 calls) is a line of its own of invoice ACME-002: $25.00. Recomputed from "
            "the events of today: the same. Together the lines of the period come to that."
        )

    def test_a_line_keeps_its_arithmetic_when_all_its_usage_is_corrected_away_later(self):
        march = month(150, number=100)
        march.late(-150)
        sweep(MAY)

        (usage, *_) = march.explained(MAY)
        # 150 less the 100 of the plan, × 5.
        assert (usage.line.amount_cents, usage.amount_cents, usage.agrees) == (250, 250, True)

    def test_an_amount_that_the_arithmetic_does_not_give_is_told(self):
        march = month(100)
        SubscriptionPeriod.objects.filter(pk=march.lines[0].period_id).update(settled_usage=90)

        agrees, text = march.agreement()
        assert (agrees, text) == (False, "The arithmetic gives $4.50, not $5.00.")

    def test_a_changed_metric_leaves_old_periods_alone(self, api):
        march = month(500)
        later = BILLED + DAY
        answer = api.post(f"/v1/metrics/{march.metric.public_id}/update", {"eventName": "renamed"})
        assert answer.status == 200

        assert march.agreement(later)[0]
        assert march.explained(later)[0].counted.version.number == 1
