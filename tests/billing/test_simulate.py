"""A price on recorded usage: what was billed, and what would have been."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.models import Invoice
from billing.services.close_periods import close_periods, due_subscriptions
from billing.services.simulate import Compared, PriceToTry, simulate
from billing.services.subscribe import subscribe
from credits.models import UsageDifference
from plans.models import Subscription, SubscriptionPeriod
from plans.price_language import read_pricing_data
from plans.refusals import InvalidInput
from plans.services.prices import components_of, create_price
from tests.factories import START, CustomerFactory, MetricFactory, PlanFactory
from tests.pro_plan import make_pro_plan, sweep, use

pytestmark = pytest.mark.django_db

AT = datetime(2026, 1, 31, 10, tzinfo=UTC)
# Three periods of a monthly clock have ended: 28 February, 31 March, 30 April.
NOW = datetime(2026, 5, 15, tzinfo=UTC)
DAY = timedelta(days=1)
MONTHLY = "RRULE:FREQ=MONTHLY;INTERVAL=1"
YEARLY = "RRULE:FREQ=YEARLY;INTERVAL=1"


def fee(cents, rule=MONTHLY):
    return {"type": "fixed", "amount_cents": cents, "recurrence_rule": rule}


def usage(metric, cost="8", rule=MONTHLY, **terms):
    words = {"type": "usage", "metric_id": metric.public_id, "recurrence_rule": rule} | terms
    return words if "model" in terms else words | {"unit_cost_cents": cost}


def seats(cents, **terms):
    return {"type": "per_unit", "component_id": "seats", "amount_cents": cents, "recurrence_rule": MONTHLY} | terms


def tried(*components, currency="USD"):
    words = {"dsl_version": 1, "components": list(components)}
    return PriceToTry(components_of(read_pricing_data(words)), currency)


def sold(plan, *components, currency="USD"):
    terms = read_pricing_data({"dsl_version": 1, "components": list(components)})
    return create_price(at=START, plan=plan, currency=currency, components=terms)


def itself(price):
    return PriceToTry(list(price.components.all()), price.currency)


def subscribed(pro, *calls, started_at=AT):
    """A customer who used so many units in each period; everything up to NOW is billed."""
    customer = CustomerFactory()
    subscribe(at=started_at, customer=customer, plan=pro.plan)
    for month, units in enumerate(calls):
        use(customer, pro.metric, units, started_at + DAY + month * 31 * DAY)
    sweep(NOW)
    return customer


def run(plan, price, *, months=12, at=NOW, **options):
    return simulate(plans=[plan], price=price, months=months, at=at, **options)


def of(simulated, customer):
    compared = simulated.by_customer[customer.pk]
    return compared.old_cents, compared.new_cents, compared.difference_cents


class TestUsage:
    def test_is_priced_anew_with_the_credits_that_paid_for_it(self):
        """12,500, 0 and 10,100 calls, 10,000 of them included in each month.

        Billed: 3 × 2,900 + 2,500 × 5 + 100 × 5. At 19.00 and 8 cents: 3 × 1,900 + 2,500 × 8 + 100 × 8.
        """
        pro = make_pro_plan()
        ada = subscribed(pro, 12_500, 0, 10_100)

        simulated = run(pro.plan, tried(fee(1_900), usage(pro.metric)))

        assert of(simulated, ada) == (21_700, 26_500, 4_800)
        assert (simulated.subscriptions, simulated.periods, simulated.left_out) == (1, 3, 0)

    def test_counts_what_was_found_later(self):
        """Of the first month 600 calls more were found, of which a grant paid for 100: billed 500 × 5 more."""
        pro = make_pro_plan(base_cents=None)
        ada = subscribed(pro, 12_500)
        UsageDifference.objects.create(
            period=SubscriptionPeriod.objects.get(settled_net_cents=12_500), customer=ada, number=1, found_at=NOW,
            usage=600, included=0, credited=100, net_cents=2_500,
        )  # fmt: skip

        simulated = run(pro.plan, tried(usage(pro.metric, "8")))

        # 13,100 − 10,100 = 3,000 × 8
        assert of(simulated, ada) == (15_000, 24_000, 9_000)

    def test_that_the_price_does_not_meter_is_free_and_said(self):
        pro = make_pro_plan()
        ada = subscribed(pro, 12_500)

        simulated = run(pro.plan, tried(fee(2_900)))

        assert of(simulated, ada) == (21_200, 8_700, -12_500)
        free = simulated.free_usage[pro.metric.pk]
        assert (free.used, free.old_cents) == (12_500, 12_500)

    def test_that_was_not_charged_can_be(self):
        """A hard cap without a price: 9,000 calls were included, and stay so; 10,500 were used beyond it by 500."""
        pro = make_pro_plan(unit_cost_cents=None)
        ada = subscribed(pro, 9_000, 10_500)

        simulated = run(pro.plan, tried(fee(2_900), usage(pro.metric, "8")))

        assert of(simulated, ada) == (8_700, 12_700, 4_000)

    def test_is_priced_by_events_that_were_not_asked_for_then(self):
        """Two events of $100.00 and $50.00, and a correction of −$10.00: 1 % of 140.00 and twice 30 cents."""
        pro = make_pro_plan(base_cents=None, quota=None)
        ada = CustomerFactory()
        subscribe(at=AT, customer=ada, plan=pro.plan)
        for number, amount in enumerate((100, 50, -10)):
            use(ada, pro.metric, amount, AT + DAY, key=str(number))
        sweep(NOW)
        price = tried(usage(pro.metric, model="percentage", rate_percent="1", fixed_cost_cents="30"))

        assert of(run(pro.plan, price), ada) == (700, 200, -500)

    def test_of_a_year_is_priced_as_one_period_and_that_is_said(self):
        """15,000 calls in a year at 5 cents, of which the quota paid for 10,000."""
        pro = make_pro_plan(base_cents=None, frequency="YEARLY")
        ada = subscribed(pro, 15_000, started_at=AT - 365 * DAY)

        simulated = run(pro.plan, tried(usage(pro.metric, "1", YEARLY)))
        other = run(pro.plan, tried(usage(pro.metric, "1", MONTHLY)))

        assert of(simulated, ada) == of(other, ada) == (25_000, 5_000, -20_000)
        assert (simulated.other_clocks, other.other_clocks) == (set(), {pro.metric.pk})


class TestFees:
    def test_of_another_clock_count_by_their_share_of_the_time(self):
        """31 Jan 10:00 to 30 Apr are 2,126 of the 8,750 hours of the year that began: 30,000 × 2,126 / 8,750."""
        pro = make_pro_plan(quota=None, unit_cost_cents=None)
        ada = subscribed(pro)

        assert of(run(pro.plan, tried(fee(30_000, YEARLY))), ada) == (8_700, 7_289, -1_411)

    def test_of_a_year_that_was_billed_count_by_their_share_of_the_time(self):
        """12,000 × 2,126 / 8,750 of the yearly fee, and 3 × 1,000."""
        pro = make_pro_plan(base_cents=12_000, base_frequency="YEARLY", quota=None)
        ada = subscribed(pro)

        assert of(run(pro.plan, tried(fee(1_000), usage(pro.metric))), ada) == (2_916, 3_000, 84)

    def test_of_units_in_advance_count_as_many_as_were_billed(self):
        plan = PlanFactory()
        price = sold(plan, seats(500, minimum_quantity=3))
        ada = CustomerFactory()
        subscribe(at=AT, customer=ada, plan=plan, price=price)
        sweep(NOW)

        # three months of 3 seats, at 5.00 and at 7.00, and the first 2 of them for nothing
        assert of(run(plan, tried(seats(700))), ada) == (4_500, 6_300, 1_800)
        assert of(run(plan, tried(seats(700, included_units=2))), ada) == (4_500, 2_100, -2_400)
        assert of(run(plan, tried(seats(700, minimum_quantity=4))), ada) == (4_500, 8_400, 3_900)
        assert of(run(plan, tried(seats(8_760, component_id="x", recurrence_rule=YEARLY))), ada)[1] == 6_385

    def test_of_units_that_were_not_sold_count_the_least(self):
        pro = make_pro_plan(quota=None, unit_cost_cents=None)
        ada = subscribed(pro)

        assert of(run(pro.plan, tried(seats(700))), ada)[1] == 2_100
        assert of(run(pro.plan, tried(seats(700, minimum_quantity=2))), ada)[1] == 4_200


class TestTime:
    def test_is_the_whole_periods_that_ended_in_the_last_months(self):
        pro = make_pro_plan()
        ada = subscribed(pro, 12_500, 10_001, 10_002)
        price = itself(pro.price)

        # The last month's only period ended on 30 April.
        assert of(run(pro.plan, price, months=1), ada)[0] == 2_900 + 10
        assert of(run(pro.plan, price, months=2), ada)[0] == 5_800 + 15
        assert of(run(pro.plan, price, months=24), ada)[0] == 8_700 + 12_515

    def test_ends_with_what_is_settled(self):
        pro = make_pro_plan()
        ada = subscribed(pro, 12_500)
        in_the_grace_time = datetime(2026, 5, 31, 0, 30, tzinfo=UTC)
        close_periods(subscriptions=due_subscriptions(in_the_grace_time), at=in_the_grace_time)

        simulated = run(pro.plan, itself(pro.price), at=in_the_grace_time)

        assert simulated.periods == 3
        assert of(simulated, ada) == (21_200, 21_200, 0)

    def test_leaves_out_subscriptions_without_a_whole_period(self):
        pro = make_pro_plan()
        subscribed(pro, started_at=NOW - DAY)

        simulated = run(pro.plan, itself(pro.price))

        assert (simulated.subscriptions, simulated.left_out, dict(simulated.by_customer)) == (0, 1, {})

    def test_leaves_out_subscriptions_that_ended(self):
        pro = make_pro_plan()
        subscribed(pro)
        Subscription.objects.update(ended_at=NOW)

        assert run(pro.plan, itself(pro.price)).left_out == 0


class TestCurrency:
    def test_that_differs_is_refused(self):
        pro = make_pro_plan(currency="EUR")
        subscribed(pro)

        with pytest.raises(InvalidInput, match="currency: is USD, but subscriptions of this plan are billed in EUR"):
            run(pro.plan, tried(fee(100)))
        with pytest.raises(InvalidInput):
            run(pro.plan, tried(fee(100)), only_currency=True)

    def test_of_several_is_simulated_alone_when_it_is_named(self):
        pro = make_pro_plan()
        in_dollars, in_euros = subscribed(pro), CustomerFactory()
        price = sold(pro.plan, fee(2_500), currency="EUR")
        subscribe(at=AT, customer=in_euros, plan=pro.plan, price=price)

        with pytest.raises(InvalidInput, match="Send currency to simulate those in USD alone"):
            run(pro.plan, tried(fee(100)))

        assert list(run(pro.plan, tried(fee(100)), only_currency=True).by_customer) == [in_dollars.pk]

    def test_without_decimals_is_computed_in_whole_units(self):
        """1 % of ¥12,500 is ¥125."""
        pro = make_pro_plan(base_cents=None, quota=None, currency="JPY")
        ada = subscribed(pro, 12_500)

        price = tried(usage(pro.metric, model="percentage", rate_percent="1"), currency="JPY")

        assert of(run(pro.plan, price), ada) == (62_500, 125, -62_375)


def test_totals_are_those_of_all_customers():
    pro = make_pro_plan()
    subscribed(pro, 12_500)
    subscribed(pro, 10_100)

    simulated = run(pro.plan, tried(fee(2_000), usage(pro.metric, "10")))

    # 6 × 2,900 + 2,600 × 5, and 6 × 2,000 + 2,600 × 10
    assert simulated.total == Compared(30_400, 38_000)
    assert simulated.total.difference_cents == 7_600


def test_two_subscriptions_of_a_customer_are_added_up():
    first, second, ada = make_pro_plan(), make_pro_plan(base_cents=1_000), CustomerFactory()
    for pro in (first, second):
        subscribe(at=AT, customer=ada, plan=pro.plan, beside_others=True)
    sweep(NOW)

    simulated = simulate(plans=[first.plan, second.plan], price=tried(fee(100)), months=12, at=NOW)

    assert of(simulated, ada) == (11_700, 600, -11_100)


def test_more_subscriptions_ask_no_more():
    pro = make_pro_plan()

    def statements():
        with CaptureQueriesContext(connection) as captured:
            run(pro.plan, tried(fee(100), seats(100), usage(pro.metric)))
        return len(captured)

    subscribed(pro, 12_500)
    first = statements()
    for _ in range(4):
        subscribed(pro, 10_100)

    assert statements() == first


def test_nothing_is_written():
    pro = make_pro_plan()
    subscribed(pro, 12_500)
    before = (list(Invoice.objects.values()), list(SubscriptionPeriod.objects.values()))

    run(pro.plan, tried(fee(100), usage(pro.metric)))

    assert (list(Invoice.objects.values()), list(SubscriptionPeriod.objects.values())) == before


COSTS = st.decimals(min_value=0, max_value=100, places=4).map(str)
UP_TO = st.integers(min_value=1, max_value=20_000)
CONVERSIONS = st.fixed_dictionaries(
    {},
    optional={
        "included_units": st.integers(0, 3_000),
        "minimum_cents": st.integers(0, 5_000),
        "maximum_cents": st.integers(5_000, 90_000),
    },
)


@st.composite
def usage_terms(draw):
    """The terms of a usage component, of any model that credits can pay for."""
    model = draw(st.sampled_from(["per_unit", "graduated", "volume", "package"]))
    terms = {"model": model} | draw(CONVERSIONS)
    if model == "per_unit":
        terms["unit_cost_cents"] = draw(COSTS)
    elif model == "package":
        terms |= {"package_size": draw(UP_TO), "package_cost_cents": draw(COSTS)}
        terms |= {"package_round": draw(st.sampled_from(["up", "down"]))}
    else:
        tier = {"unit_cost_cents": draw(COSTS), "flat_cost_cents": draw(COSTS)}
        last = {"up_to": None, "unit_cost_cents": draw(COSTS)}
        terms["tiers"] = [{"up_to": str(draw(UP_TO))} | tier, last]
    if draw(st.booleans()):
        terms |= {"divide_by": draw(st.integers(1, 1_000)), "divide_round": draw(st.sampled_from(["up", "half_up"]))}
    return terms


@given(
    terms=usage_terms(),
    fees=st.tuples(st.integers(0, 9_999), st.sampled_from([MONTHLY, YEARLY])),
    quota=st.sampled_from([None, 98, 10_000]),
    units=st.lists(st.decimals(min_value=0, max_value=30_000, places=2), max_size=3),
    currency=st.sampled_from(["USD", "JPY", "KWD"]),
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_price_simulated_against_itself_makes_no_difference(terms, fees, quota, units, currency):
    pro = make_pro_plan(base_cents=None, unit_cost_cents=None, quota=quota, currency=currency)
    components = [fee(*fees), usage(pro.metric, rule=MONTHLY, **terms), seats(300, minimum_quantity=2)]
    price = sold(pro.plan, *components, currency=currency)
    ada = CustomerFactory()
    subscribe(at=AT, customer=ada, plan=pro.plan, price=price)
    for number, used in enumerate(units):
        use(ada, pro.metric, used, AT + DAY + number * 31 * DAY)
    sweep(NOW)

    simulated = run(pro.plan, itself(price))

    assert simulated.periods == 3
    assert of(simulated, ada)[2] == 0
    billed = sum(
        line.amount_cents
        for invoice in Invoice.objects.filter(customer=ada, closes_at__lt=NOW)
        for line in invoice.lines.all()
        if line.period.end_at <= NOW and line.component.frequency == "MONTHLY"
    )
    yearly = fees[0] if fees[1] == YEARLY else 0
    # The share of the yearly fee is 2,126 of 8,750 hours, rounded once.
    assert of(simulated, ada)[0] == billed + int(Decimal(yearly) * 2_126 / 8_750 + Decimal("0.5"))


def test_metrics_of_the_price_that_nobody_has_used_cost_nothing():
    pro = make_pro_plan()
    ada = subscribed(pro)

    simulated = run(pro.plan, tried(fee(2_900), usage(pro.metric), usage(MetricFactory())))

    assert of(simulated, ada) == (8_700, 8_700, 0)
