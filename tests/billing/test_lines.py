"""What each kind and model of component makes of a month: the lines of the invoice, worked out by hand."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.models import Invoice, InvoiceLine
from billing.services.subscribe import subscribe
from credits.services.definitions import create_definition
from plans.models import SubscriptionItem, SubscriptionPeriod
from tests.factories import (
    START,
    CustomerFactory,
    FeatureFactory,
    MetricFactory,
    PlanFactory,
    PlanFeatureFactory,
    PriceFactory,
    SeatFactory,
    UsageComponentFactory,
)
from tests.pro_plan import bills, sweep, use

AT = datetime(2026, 3, 1, tzinfo=UTC)
APRIL = datetime(2026, 4, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)

pytestmark = pytest.mark.django_db


def bill_of(*events, quota=None, shown=True, currency="USD", **terms):
    """Use a month of a plan that has one usage component; give its bill and the settled period."""
    metric = MetricFactory()
    feature = FeatureFactory(value="usage_based", metrics=[metric])
    plan = PlanFactory()
    PlanFeatureFactory(plan=plan, feature=feature)
    price = PriceFactory(plan=plan, fee=None, currency=currency)
    terms = {"unit_cost_cents": None} | terms
    UsageComponentFactory(price=price, metric=metric, label="Calls", position=0, **terms)
    if quota is not None:
        create_definition(
            at=START, name="Included", scope="plan", application_type="usage", default_amount=Decimal(quota),
            plan=plan, feature=feature, billing_visible=shown, renew_on_billing=True,
        )  # fmt: skip
    customer = CustomerFactory()
    subscribe(at=AT, customer=customer, plan=plan)
    for number, units in enumerate(events):
        use(customer, metric, units, AT + DAY + number * HOUR)
    sweep(APRIL + HOUR)
    period = SubscriptionPeriod.objects.get(customer=customer, settled_at__isnull=False)
    return bills(customer)[0], period


def lines():
    return [
        (line.type, line.description, line.quantity, line.unit_amount_cents, line.amount_cents)
        for line in InvoiceLine.objects.order_by("position")
    ]


TIERS = [{"up_to": "1000", "unit_cost_cents": "5"}, {"up_to": None, "unit_cost_cents": "2"}]


class TestUsage:
    def test_graduated_tiers_price_each_unit_at_its_own_tier(self):
        bill, period = bill_of(1_500, model="graduated", tiers=TIERS)

        # 1,000 × 5 + 500 × 2. There is no single unit price to show.
        assert bill == ("issued", 6_000, [("usage", 1_500, 6_000)])
        assert lines() == [("usage", "Calls", 1_500, None, 6_000)]
        assert period.settled_net_cents == 6_000

    def test_credits_beside_tiers_take_the_last_units(self):
        bill, period = bill_of(1_500, quota=700, model="graduated", tiers=TIERS)

        # 800 are left: 4,000; so the credit is worth 500 × 2 + 200 × 5.
        assert bill == ("issued", 4_000, [("usage", 1_500, 6_000), ("credit", 700, -2_000)])
        assert period.settled_net_cents == 4_000

    def test_hidden_credits_come_to_the_same_total(self):
        bill, _ = bill_of(1_500, quota=700, shown=False, model="graduated", tiers=TIERS)

        assert bill == ("issued", 4_000, [("usage", 800, 4_000)])

    def test_a_minimum_has_its_own_line_after_the_credits(self):
        bill, period = bill_of(1_000, quota=900, unit_cost_cents=5, minimum_cents=2_000)

        assert bill == ("issued", 2_000, [("usage", 1_000, 5_000), ("credit", 900, -4_500), ("minimum", 1, 1_500)])
        assert lines()[2] == ("minimum", "Minimum charge: Calls", 1, 1_500, 1_500)
        assert period.settled_net_cents == 2_000

    def test_a_minimum_is_billed_without_usage(self):
        bill, period = bill_of(unit_cost_cents=5, minimum_cents=2_000)

        assert bill == ("issued", 2_000, [("minimum", 1, 2_000)])
        assert period.settled_net_cents == 2_000

    def test_a_maximum_takes_off_what_is_above_it_after_the_credits(self):
        bill, _ = bill_of(1_000, quota=100, unit_cost_cents=5, maximum_cents=3_000)

        assert bill == ("issued", 3_000, [("usage", 1_000, 5_000), ("credit", 100, -500), ("maximum", 1, -1_500)])
        assert lines()[2] == ("maximum", "Maximum charge: Calls", 1, -1_500, -1_500)

    def test_a_maximum_of_zero_leaves_an_invoice_of_zero(self):
        bill, _ = bill_of(10, unit_cost_cents=5, maximum_cents=0)

        assert bill == ("paid", 0, [("usage", 10, 50), ("maximum", 1, -50)])

    def test_a_flat_cost_at_zero_makes_a_line_without_usage(self):
        tiers = [{"up_to": None, "unit_cost_cents": "5", "flat_cost_cents": "900"}]
        bill, _ = bill_of(model="volume", tiers=tiers, first_tier_flat_at_zero=True)

        assert bill == ("issued", 900, [("usage", 0, 900)])

    def test_no_usage_at_a_plain_price_bills_nothing(self):
        bill, period = bill_of(unit_cost_cents=5)

        assert bill == ("skipped", 0, [])
        assert period.settled_net_cents == 0

    def test_packages_round_up_on_the_usage_of_the_whole_period(self):
        bill, _ = bill_of(150, 60, model="package", package_size=100, package_cost_cents=900)

        assert bill == ("issued", 2_700, [("usage", 210, 2_700)])

    def test_percentages_charge_the_amount_and_each_event_of_positive_value(self):
        # 2.9 % of 100.00 + 50.00 is 435; two positive events at 30; the correction of −10.00 takes 29 off, no fee.
        bill, period = bill_of(
            100, 50, -10, model="percentage", rate_percent=Decimal("2.9"), fixed_cost_cents=Decimal(30)
        )

        assert bill == ("issued", 466, [("usage", 140, 466)])
        assert (period.settled_events, period.settled_net_cents) == (2, 466)

    def test_included_units_of_the_component_are_free_before_the_quota(self):
        bill, period = bill_of(100, quota=50, unit_cost_cents=5, included_units=30)

        assert bill == ("issued", 100, [("usage", 70, 350), ("credit", 50, -250)])
        assert lines()[0][1] == "Calls (100 used, 30 included)"
        assert (period.settled_included, period.settled_credited) == (30, 50)

    def test_divided_units_are_counted_in_metered_ones(self):
        bill, _ = bill_of(2_500, quota=600, unit_cost_cents=10, divide_by=1_000, divide_round="up")

        # 3 GB, and 2 GB for the 1,900 MB that are not credited.
        assert bill == ("carried", 20, [("usage", 2_500, 30), ("credit", 600, -10)])
        assert lines()[0][3] is None

    @pytest.mark.parametrize(("currency", "cents"), [("JPY", 3), ("KWD", 2_900)])
    def test_percentages_count_the_minor_units_of_the_currency(self, currency, cents):
        # 2.9 % of 100 yen are 2.9 → 3 yen; of 100 dinars 2.900, which are 2,900 fils.
        bill, _ = bill_of(100, currency=currency, model="percentage", rate_percent=Decimal("2.9"))

        assert bill[1] == cents


class TestUnitsInAdvance:
    def bill_seats(self, *, customer=None, at=AT, **terms):
        price = PriceFactory(fee=None)
        component = UsageComponentFactory(
            price=price, kind="per_unit", metric=None, label="Seats", position=0,
            **{"unit_cost_cents": None} | terms,
        )  # fmt: skip
        customer = customer or CustomerFactory()
        subscribe(at=at, customer=customer, plan=price.plan)
        return component, customer

    def test_are_billed_at_the_start_by_their_price(self):
        _, customer = self.bill_seats(amount_cents=1_500, minimum_quantity=3)

        assert bills(customer) == [("issued", 4_500, [("per_unit", 3, 4_500)])]
        invoice = Invoice.objects.get()
        line = invoice.lines.get()
        assert (line.description, line.unit_amount_cents) == ("Seats", 1_500)
        assert (line.billing_period_start_at, line.billing_period_end_at) == (AT, APRIL)
        assert (line.usage_period_start_at, line.metric) == (None, None)

    def test_the_next_period_bills_the_quantity_of_then(self):
        _, customer = self.bill_seats(amount_cents=1_500)
        SubscriptionItem.objects.update(quantity=7)

        sweep(APRIL)

        assert [total for _, total, _ in bills(customer)] == [1_500, 10_500]

    def test_an_organization_pays_its_seats_at_the_periods_start(self):
        acme = CustomerFactory(org_role="primary", customer_organization_id="acme")
        for started_at, ended_at in [
            (None, None), (AT - DAY, None), (AT, APRIL), (AT - DAY, AT), (AT + DAY, None), (AT + DAY, AT + 2 * DAY),
        ]:  # fmt: skip
            SeatFactory(started_at=started_at, ended_at=ended_at)
        SeatFactory(organization_id="another")

        self.bill_seats(customer=acme, amount_cents=1_500)
        sweep(APRIL)

        # On 1 March the first three; on 1 April the first two and the one that came on 2 March. For the two who came on
        # that day, 30 of 31 days: 2 × 1,500 × 30 / 31 = 2,903.2.
        assert [lines for _, _, lines in bills(acme)] == [
            [("per_unit", 3, 4_500)],
            [("per_unit", 3, 4_500), ("per_unit", 2, 2_903)],
        ]

    def test_an_organization_pays_at_least_the_minimum(self):
        acme = CustomerFactory(org_role="primary", customer_organization_id="acme")
        SeatFactory()

        self.bill_seats(customer=acme, amount_cents=1_500, minimum_quantity=5)

        assert bills(acme) == [("issued", 7_500, [("per_unit", 5, 7_500)])]

    def test_an_organization_that_has_lost_all_its_seats_pays_none(self):
        acme = CustomerFactory(org_role="primary", customer_organization_id="acme")
        SeatFactory(started_at=AT - 2 * DAY, ended_at=AT - DAY)

        self.bill_seats(customer=acme, amount_cents=1_500)

        assert bills(acme) == [("skipped", 0, [])]

    def test_may_have_tiers_and_included_units(self):
        # 12 seats, 2 of them included: 5 × 1,000 + 5 × 800.
        tiers = [{"up_to": "5", "unit_cost_cents": "1000"}, {"up_to": None, "unit_cost_cents": "800"}]
        _, customer = self.bill_seats(model="graduated", tiers=tiers, included_units=2, minimum_quantity=12)

        assert bills(customer) == [("issued", 9_000, [("per_unit", 10, 9_000)])]

    def test_their_metric_is_not_metered_by_them(self):
        metric = MetricFactory()
        component, _ = self.bill_seats(amount_cents=1_500)
        component.metric = metric
        component.save()
        other = CustomerFactory()
        subscribe(at=AT, customer=other, plan=component.price.plan)
        use(other, metric, 40, AT + DAY)

        sweep(APRIL + HOUR)

        assert [total for _, total, _ in bills(other)] == [1_500, 1_500]
