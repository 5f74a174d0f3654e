"""Every price model on the pricing page, at the checkout, and in what the pricing table component reads."""

import re
from decimal import Decimal
from html import unescape

import pytest

from billing.checkout_pages import order_summary
from billing.models import Invoice
from billing.services.first_bill import first_bill, needs_card
from billing.services.subscribe import subscribe
from billing.services.tax import AppliedTax
from credits.services.offered_plans import read_card, read_offered_plans
from plans.models import Price
from plans.serializers.pricing_tables import card_words
from plans.services.pricing_tables import ensure_default_table
from tests.factories import (
    START,
    CreditDefinitionFactory,
    CustomerFactory,
    FeatureFactory,
    FixedComponentFactory,
    PlanFeatureFactory,
    PriceFactory,
    PricingTablePlanFactory,
    UsageComponentFactory,
)

pytestmark = pytest.mark.django_db

TIERS = [
    {"up_to": "1000", "unit_cost_cents": "5", "flat_cost_cents": "0"},
    {"up_to": None, "unit_cost_cents": "4", "flat_cost_cents": "0"},
]
THREE = [
    TIERS[0],
    {"up_to": "5000", "unit_cost_cents": "4", "flat_cost_cents": "0"},
    TIERS[1] | {"unit_cost_cents": "3"},
]


@pytest.fixture
def table():
    """The default table."""
    return ensure_default_table()


@pytest.fixture
def read(client, table):
    """Puts the plan of a price on the table and reads the page as its text, tags left out."""

    def reading(price, address="/pricing"):
        PricingTablePlanFactory(plan=price.plan, pricing_table=table)
        page = client.get(address).content.decode()
        return unescape(" ".join(re.sub(r"<[^>]+>", " ", page).split()))

    return reading


def usage(price=None, **terms):
    """A price whose usage is charged by a model; without `price` there is no fee."""
    if terms.get("model", "per_unit") != "per_unit":
        terms["unit_cost_cents"] = None
    price = price or PriceFactory(fee=None)
    UsageComponentFactory(price=price, label="API calls usage", **terms)
    return price


def seats(price=None, **terms):
    """A price of 10.00 per seat each month, at least 3 seats."""
    price = price or PriceFactory(fee=None)
    component = {
        "kind": "per_unit",
        "label": "Seats",
        "unit_label": "seat",
        "amount_cents": 1000,
        "minimum_quantity": 3,
    }
    FixedComponentFactory(price=price, position=2, **component | terms)
    return price


def words_of(price, table):
    PricingTablePlanFactory(plan=price.plan, pricing_table=table)
    (offered,) = read_offered_plans(table)
    return card_words(offered)


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        ({}, "$0.05 per call"),
        ({"model": "graduated", "tiers": TIERS}, "$0.05 per call for the first 1,000, then $0.04 per call"),
        (
            {"model": "volume", "tiers": TIERS},
            "$0.05 per call up to 1,000 in all; with more, $0.04 per call for every one",
        ),
        ({"model": "package", "package_size": 100, "package_cost_cents": 500}, "$5.00 for every 100 calls begun"),
        ({"model": "percentage", "rate_percent": "2.9", "fixed_cost_cents": 30}, "2.9% + $0.30 per call"),
        ({"unit_label": "byte", "divide_by": 10**9}, "$0.05 per GB (1,000,000,000 bytes)"),
        ({"minimum_cents": 1000}, "$0.05 per call, at least $10.00 each month"),
        ({"frequency": "DAILY", "recurrence_count": 30, "maximum_cents": 99}, "at most $0.99 each day, 30 times"),
    ],
)
def test_a_card_says_what_usage_costs_by_every_model(read, terms, sentence):
    text = read(usage(**terms))

    assert "Pay as you go No fee." in text
    assert f"API calls {sentence}" in text or sentence in text
    assert "Free" not in text


def test_many_tiers_stand_in_a_table_below_their_line(read):
    text = read(usage(model="graduated", tiers=THREE))

    assert "API calls $0.03 to $0.05 per call, by tier See each price : API calls" in text
    assert "Calls Per call First 1,000 $0.05 Next 4,000 $0.04 More than 5,000 $0.03" in text
    assert "Each call costs the price of the row that it falls into." in text


def test_a_table_beside_a_quota_counts_beyond_it(read):
    text = read(usage(model="graduated", tiers=THREE, included_units=1000))

    assert "Each call costs the price of the row that it falls into. Counted beyond what is included." in text


def test_what_the_price_includes_is_told_with_what_is_granted(read):
    price = usage(included_units=1000)
    component = price.components.get()
    feature = FeatureFactory(display_name="API calls", value="usage_based", metrics=[component.metric])
    PlanFeatureFactory(plan=price.plan, feature=feature)
    CreditDefinitionFactory(
        plan=price.plan, price=price, price_component_id=component.component_id, feature=feature,
        default_amount=Decimal(10_000),
    )  # fmt: skip

    assert "11,000 API calls included each month then $0.05 per call" in read(price)


def test_included_units_of_usage_without_a_feature_are_told(read):
    assert "1,000 API calls included each month then $0.05 per call" in read(usage(included_units=1000))


def test_included_gigabytes_are_told_in_the_unit_that_is_counted(read):
    text = read(usage(included_units=2, divide_by=10**9, unit_label="GB"))

    assert "API calls: 2,000,000,000 bytes included each month then $0.05 per GB (1,000,000,000 bytes)" in text


def test_a_plan_by_the_seat_is_named_by_its_seat(read):
    text = read(seats())

    assert "$10 per seat per month Seats $10.00 per seat each month, at least 3 seats" in text


def test_seats_beside_a_fee_say_what_is_paid_at_least(read):
    text = read(seats(PriceFactory()))

    # 29.00 + 3 × 10.00
    assert "From $59 per month You pay $29.00 each month and $10.00 per seat each month, in advance." in text


def test_seats_in_tiers_say_what_the_fewest_cost(read):
    tiers = [
        {"up_to": "2", "unit_cost_cents": "1000", "flat_cost_cents": "0"},
        {"up_to": None, "unit_cost_cents": "800", "flat_cost_cents": "0"},
    ]

    text = read(seats(model="graduated", amount_cents=None, tiers=tiers))

    # 2 × 10.00 + 8.00
    assert "From $28 per month" in text
    assert "$10.00 per seat for the first 2, then $8.00 per seat, each month, at least 3 seats" in text


def test_a_fee_that_is_paid_once_stands_beside_the_price_and_not_in_it(read):
    price = PriceFactory()
    FixedComponentFactory(price=price, position=1, label="Set-up", amount_cents=10_000, recurrence_count=1)

    assert "$29 per month You pay $29.00 each month and $100.00 once, in advance." in read(price)


def test_a_plan_that_is_paid_once_is_neither_free_nor_monthly(read):
    price = PriceFactory(fee=None)
    FixedComponentFactory(price=price, amount_cents=50_000, recurrence_count=1)

    assert "$500 once Not offered by the month: it is paid once. Get started" in read(price)


def test_a_daily_fee_says_until_when(read):
    price = PriceFactory(fee=None)
    FixedComponentFactory(price=price, amount_cents=100, frequency="DAILY", recurrence_count=30)

    text = read(price)

    assert "$1 per day" in text
    assert "You pay $1.00 each day, 30 times, in advance." in text


def test_usage_in_free_tiers_leaves_a_plan_free(read):
    free = [tier | {"unit_cost_cents": "0"} for tier in TIERS]

    text = read(usage(model="graduated", tiers=free))

    assert "Free API calls free of charge" in text


def test_a_saving_is_not_claimed_where_only_one_price_has_a_set_up_fee(client, table):
    price = PriceFactory()
    yearly = PriceFactory(plan=price.plan, fee=None)
    FixedComponentFactory(price=yearly, frequency="YEARLY", amount_cents=29_000)
    FixedComponentFactory(price=yearly, position=1, amount_cents=10_000, recurrence_count=1)
    PricingTablePlanFactory(plan=price.plan, pricing_table=table)

    assert "Save" not in client.get("/pricing?interval=year").content.decode()


def test_the_component_reads_seats(table):
    words = words_of(seats(), table)

    assert (words["price"], words["priceMonthly"], words["interval"], words["minSeats"]) == (
        Decimal(10),
        Decimal(10),
        "month per seat",
        3,
    )


def test_the_component_reads_a_fee_beside_seats(table):
    words = words_of(seats(PriceFactory()), table)

    assert (words["price"], words["interval"], words["minSeats"]) == (Decimal(29), "month", 3)


@pytest.mark.parametrize(
    "terms",
    [
        {"model": "graduated", "tiers": THREE},
        {"model": "volume", "tiers": TIERS},
        {"model": "package", "package_size": 100, "package_cost_cents": 500},
        {"model": "percentage", "rate_percent": "2.9"},
        {"model": "graduated_percentage", "tiers": [{"up_to": None, "rate_percent": "2.9", "flat_cost_cents": "0"}]},
    ],
)
def test_the_component_reads_every_model(table, terms):
    words = words_of(usage(**terms), table)

    assert (words["price"], words["interval"], words["minSeats"]) == (0, "month", None)
    (component,) = words["pricingData"]["components"]
    assert component["model"] == terms["model"]


@pytest.mark.parametrize("model", ["graduated", "volume"])
def test_tiers_need_a_card_and_are_not_called_free_at_the_checkout(model):
    price = usage(model=model, tiers=TIERS)

    order = order_summary(price)

    assert needs_card(price)
    assert order.sentences == ["Usage beyond what is included is billed afterwards, each month."]
    assert order.consent == "Your card is kept for what is due later. Nothing is charged today."
    assert "$0.05 per call" in order.lines[0].beyond


def test_the_checkout_adds_up_fee_seats_and_set_up():
    price = seats(PriceFactory())
    FixedComponentFactory(price=price, position=3, label="Set-up", amount_cents=10_000, recurrence_count=1)

    order = order_summary(price)

    # 29.00 + 3 × 10.00 + 100.00
    assert first_bill(price, AppliedTax()).total_cents == 15_900
    assert order.rows == [
        ("Base fee", "$29.00 each month"),
        ("3 seats", "$30.00 each month"),
        ("Set-up", "$100.00 once"),
        ("Due today", "$159.00"),
    ]
    assert order.sentences == [
        "The fee is paid in advance and renews by itself until you cancel. Set-up: paid once.",
    ]


def test_what_the_checkout_adds_up_is_what_the_first_invoice_bills():
    price = seats(PriceFactory())
    FixedComponentFactory(price=price, position=3, label="Set-up", amount_cents=10_000, recurrence_count=1)
    customer = CustomerFactory()

    subscribe(at=START, customer=customer, plan=price.plan, price=price)

    assert Invoice.objects.get(customer=customer).total_cents == first_bill(price, AppliedTax()).total_cents == 15_900


def test_the_checkout_says_of_a_plan_that_is_paid_once_that_nothing_renews():
    price = PriceFactory(fee=None)
    FixedComponentFactory(price=price, amount_cents=50_000, recurrence_count=1)

    assert order_summary(price).sentences == ["It is paid once, in advance."]


def test_free_tiers_need_no_card():
    price = usage(model="graduated", tiers=[tier | {"unit_cost_cents": "0"} for tier in TIERS])

    assert not needs_card(price)
    assert order_summary(price).sentences == ["Nothing is charged, now or later."]


def test_a_card_knows_the_fewest_seats_and_their_cost():
    price = Price.objects.prefetch_related("components__metric").get(pk=seats().pk)

    (one,) = read_card(price).seats

    assert (one.least, one.first_cents) == (3, 3000)
