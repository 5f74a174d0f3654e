"""What a price model charges, in exact sentences."""

from decimal import Decimal

import pytest

from plans.charge_words import FREE, advance_text, charge_text, metered_unit, rate_text, short_charge_text, tier_table
from plans.page_words import each_text
from plans.periods import Clock
from plans.pricing import Charge, Tier

MONTHLY = Clock("MONTHLY")


def tiers(*terms):
    """Tiers of (bound, cost of a unit, flat cost)."""
    return tuple(
        Tier(
            up_to=None if up_to is None else Decimal(up_to),
            unit_cost_cents=Decimal(cost),
            flat_cost_cents=Decimal(flat[0]) if flat else Decimal(0),
        )
        for up_to, cost, *flat in terms
    )


def rates(*terms):
    return tuple(Tier(up_to=None if up_to is None else Decimal(up_to), rate_percent=Decimal(r)) for up_to, r in terms)


def say(unit="call", currency="USD", **terms):
    decimals = {
        name: Decimal(value) if isinstance(value, str) and value[0].isdigit() else value
        for name, value in terms.items()
    }
    return charge_text(Charge(**decimals), currency=currency, unit_label=unit)


TWO = tiers(("1000", "5"), (None, "4"))
THREE = tiers(("1000", "5"), ("5000", "4"), (None, "3"))


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        ({"unit_cost_cents": "5"}, "$0.05 per call"),
        ({"unit_cost_cents": "5", "unit": ""}, "$0.05 per unit"),
        ({"unit_cost_cents": "0.05"}, "$0.0005 per call"),
        ({"unit_cost_cents": "0.000000000001"}, "$0.00000000000001 per call"),
        ({"unit_cost_cents": "5", "currency": "JPY"}, "¥5 per call"),
        ({"unit_cost_cents": "0"}, FREE),
        ({"unit_cost_cents": "5", "maximum_cents": 0}, FREE),
    ],
)
def test_says_the_price_of_a_unit(terms, sentence):
    assert say(**terms) == sentence


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        (TWO, "$0.05 per call for the first 1,000, then $0.04 per call"),
        (THREE, "$0.05 per call for the first 1,000, $0.04 per call up to 5,000, then $0.03 per call"),
        (tiers((None, "5")), "$0.05 per call"),
        (tiers((None, "5", "900")), "$9.00 plus $0.05 per call"),
        (tiers(("1000", "0"), (None, "4")), "free of charge for the first 1,000 calls, then $0.04 per call"),
        (tiers(("1000", "0", "500"), (None, "4")), "$5.00 for the first 1,000 calls, then $0.04 per call"),
        (
            tiers(("1000", "5"), (None, "4", "500")),
            "$0.05 per call for the first 1,000, then $5.00 plus $0.04 per call",
        ),
        (tiers(("1000", "5"), (None, "0")), "$0.05 per call for the first 1,000, then free of charge"),
        (tiers(("0.5", "5"), (None, "4")), "$0.05 per call for the first 0.5, then $0.04 per call"),
        (tiers(("1000", "0"), (None, "0")), FREE),
    ],
)
def test_graduated_prices_each_slice_by_itself(terms, sentence):
    assert say(model="graduated", tiers=terms) == sentence


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        (TWO, "$0.05 per call up to 1,000 in all; with more, $0.04 per call for every one"),
        (
            THREE,
            "$0.05 per call up to 1,000 in all; up to 5,000, $0.04 per call for every one; "
            "with more, $0.03 per call for every one",
        ),
        (tiers(("1000", "0", "500"), (None, "0", "900")), "$5.00 up to 1,000 calls in all; with more, $9.00"),
        (
            tiers(("1000", "5"), (None, "4", "900")),
            "$0.05 per call up to 1,000 in all; with more, $9.00 plus $0.04 per call for every one",
        ),
        (tiers((None, "4")), "$0.04 per call"),
    ],
)
def test_volume_says_that_all_units_get_the_price(terms, sentence):
    assert say(model="volume", tiers=terms) == sentence


def test_a_flat_cost_that_is_due_without_use_says_so():
    terms = tiers(("1000", "5", "500"), (None, "4"))

    assert say(model="graduated", tiers=terms, first_tier_flat_at_zero=True) == (
        "$5.00 plus $0.05 per call for the first 1,000, then $0.04 per call (the $5.00 also without any use)"
    )


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        ({}, "$5.00 for every 100 calls begun"),
        ({"package_round": "down"}, "$5.00 for every full 100 calls"),
        ({"package_size": "1"}, "$5.00 for every call begun"),
        ({"unit": "byte", "divide_by": "1000000000"}, "$5.00 for every 100 GB begun (1 GB is 1,000,000,000 bytes)"),
        ({"divide_by": "1000"}, "$5.00 for every 100,000 calls begun"),
    ],
)
def test_packages_say_what_is_begun(terms, sentence):
    package = {"model": "package", "package_size": "100", "package_cost_cents": "500"}

    assert say(**package | terms) == sentence


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        ({"rate_percent": "2.9", "fixed_cost_cents": "30"}, "2.9% + $0.30 per payment"),
        ({"rate_percent": "2.9"}, "2.9% of the amount"),
        ({"rate_percent": "0", "fixed_cost_cents": "30"}, "$0.30 per payment"),
        ({"rate_percent": "2.9", "fixed_cost_cents": "30", "unit": ""}, "2.9% + $0.30 per event"),
        ({"rate_percent": "0"}, FREE),
    ],
)
def test_a_percentage_says_its_rate_and_its_fee(terms, sentence):
    assert say(**{"model": "percentage", "unit": "payment"} | terms) == sentence


def test_a_graduated_percentage_has_amounts_as_bounds():
    terms = rates(("1000", "2.9"), ("50000", "2.5"), (None, "2"))

    assert say(model="graduated_percentage", tiers=terms) == (
        "2.9% of the amount for the first $1,000.00, 2.5% up to $50,000.00, then 2%"
    )
    assert short_charge_text(Charge(model="graduated_percentage", tiers=terms), currency="USD", unit_label="") == (
        "2% to 2.9% of the amount, by tier"
    )


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        ({"unit": "byte", "divide_by": "1000000000"}, "$0.05 per GB (1,000,000,000 bytes)"),
        ({"unit": "GB", "divide_by": "1000000000.000000"}, "$0.05 per GB (1,000,000,000 bytes)"),
        ({"unit": "GiB", "divide_by": "1073741824"}, "$0.05 per GiB (1,073,741,824 bytes)"),
        ({"unit": "second", "divide_by": "3600", "divide_round": "up"}, "$0.05 per hour begun (3,600 seconds)"),
        ({"divide_by": "1000"}, "$0.05 per 1,000 calls"),
        ({"divide_by": "1000", "divide_round": "up"}, "$0.05 per 1,000 calls begun"),
        ({"divide_by": "1000", "divide_round": "down"}, "$0.05 per full 1,000 calls"),
        ({"divide_by": "1000", "divide_round": "half_up"}, "$0.05 per 1,000 calls, rounded to the nearest 1,000 calls"),
        ({"divide_by": "1"}, "$0.05 per call"),
    ],
)
def test_a_price_that_divides_says_of_what_its_unit_is_made(terms, sentence):
    assert say(**{"unit_cost_cents": "5"} | terms) == sentence


def test_bounds_of_tiers_count_the_unit_that_is_priced():
    gigabytes = {"model": "graduated", "tiers": TWO, "divide_by": "1000000000"}

    assert say(unit="byte", **gigabytes) == (
        "$0.05 per GB for the first 1,000, then $0.04 per GB (1 GB is 1,000,000,000 bytes)"
    )
    assert say(model="graduated", tiers=TWO, divide_by="100") == (
        "$0.05 per 100 calls for the first 100,000 calls, then $0.04 per 100 calls"
    )


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        ({"minimum_cents": 1000}, "$0.05 per call, at least $10.00 each month"),
        ({"maximum_cents": 50_000}, "$0.05 per call, at most $500.00 each month"),
        (
            {"minimum_cents": 1000, "maximum_cents": 50_000},
            "$0.05 per call, at least $10.00, at most $500.00 each month",
        ),
        ({"minimum_cents": 1000, "unit_cost_cents": Decimal(0)}, "at least $10.00 each month"),
        ({}, "$0.05 per call"),
    ],
)
def test_usage_says_between_what_a_period_lies(terms, sentence):
    charge = Charge(**{"unit_cost_cents": Decimal(5)} | terms)

    assert rate_text(charge, currency="USD", unit_label="call", clock=MONTHLY) == sentence


@pytest.mark.parametrize(
    ("terms", "least", "sentence"),
    [
        ({"unit_cost_cents": Decimal(1000)}, 3, "$10.00 per seat each month, at least 3 seats"),
        ({"unit_cost_cents": Decimal(1000)}, 1, "$10.00 per seat each month"),
        (
            {"model": "graduated", "tiers": tiers(("5", "1000"), (None, "800"))},
            2,
            "$10.00 per seat for the first 5, then $8.00 per seat, each month, at least 2 seats",
        ),
    ],
)
def test_units_in_advance_say_how_often_and_how_many(terms, least, sentence):
    assert advance_text(Charge(**terms), currency="USD", unit_label="seat", clock=MONTHLY, least=least) == sentence


def test_two_tiers_fit_in_a_line_and_need_no_table():
    charge = Charge(model="graduated", tiers=TWO)

    assert tier_table(charge, currency="USD", unit_label="call") is None
    assert short_charge_text(charge, currency="USD", unit_label="call") == (
        "$0.05 per call for the first 1,000, then $0.04 per call"
    )


def test_a_table_of_slices_says_how_long_each_is():
    charge = Charge(model="graduated", tiers=THREE)
    table = tier_table(charge, currency="USD", unit_label="call")

    assert short_charge_text(charge, currency="USD", unit_label="call") == "$0.03 to $0.05 per call, by tier"
    assert table.heading == ("Calls", "Per call")
    assert table.rows == (("First 1,000", "$0.05"), ("Next 4,000", "$0.04"), ("More than 5,000", "$0.03"))
    assert table.rule == "Each call costs the price of the row that it falls into."


def test_a_table_of_volumes_says_that_one_row_holds_for_all():
    charge = Charge(model="volume", tiers=tiers(("1000", "5"), ("5000", "4", "900"), (None, "3")))
    table = tier_table(charge, currency="USD", unit_label="call")

    assert short_charge_text(charge, currency="USD", unit_label="call") == (
        "$0.03 to $0.05 per call, by the whole quantity"
    )
    assert table.heading == ("Calls", "Per call", "Flat fee")
    assert table.rows == (
        ("Up to 1,000", "$0.05", "$0.00"),
        ("Up to 5,000", "$0.04", "$9.00"),
        ("More than 5,000", "$0.03", "$0.00"),
    )
    assert table.rule == "The number of all calls decides, and each of them costs the price of its row."


def test_usage_is_counted_in_the_metered_unit():
    gigabyte = Charge(divide_by=Decimal(10**9))

    assert metered_unit(gigabyte, "GB") == "byte"
    assert metered_unit(gigabyte, "byte") == "byte"
    assert metered_unit(Charge(), "call") == "call"
    assert metered_unit(Charge(), "") == ""


@pytest.mark.parametrize(
    ("clock", "text"),
    [
        (Clock("DAILY", count=30), "each day, 30 times"),
        (Clock("DAILY", interval=2, until="20270331"), "every 2 days until 31 March 2027"),
        (Clock("WEEKLY"), "each week"),
        (Clock("MONTHLY", interval=3), "every 3 months"),
        (Clock("MONTHLY", count=1), "once"),
        (Clock("YEARLY", until="20281231T235959Z"), "each year until 31 December 2028"),
    ],
)
def test_a_clock_says_how_often_and_until_when(clock, text):
    assert each_text(clock) == text
