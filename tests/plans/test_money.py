from decimal import Decimal, Inexact
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plans.money import (
    EXACT,
    currency_exponent,
    exactly,
    is_currency,
    major_units,
    minor_units,
    plain_number,
    round_cents,
    share_of_quantity,
)

AMOUNTS = st.decimals(min_value=-(10**20), max_value=10**20, places=12)


@pytest.mark.parametrize(
    ("amount", "cents"),
    [
        ("0", 0),
        ("0.4999999999999999999999999999999", 0),
        ("0.5", 1),
        ("-0.5", -1),
        ("1.5", 2),
        ("2.5", 3),
        ("-2.5", -3),
        ("12.4", 12),
        ("-12.4", -12),
        # 40 digits: the default context would round this to 28 digits first, and then away from zero.
        ("123456789012345678901234567890123456789.5", 123456789012345678901234567890123456790),
        ("123456789012345678901234567890123456789.4999", 123456789012345678901234567890123456789),
    ],
)
def test_rounds_half_away_from_zero(amount, cents):
    assert round_cents(Decimal(amount)) == cents


@given(AMOUNTS)
def test_rounding_is_off_by_at_most_half_a_cent_and_symmetric(amount):
    cents = round_cents(amount)

    assert abs(cents - amount) <= Decimal("0.5")
    assert round_cents(-amount) == -cents


@given(AMOUNTS, AMOUNTS)
def test_rounding_keeps_the_order(one, other):
    assert (round_cents(one) <= round_cents(other)) or one > other


def test_exact_arithmetic_refuses_to_round_in_silence():
    @exactly
    def third():
        return Decimal(1) / Decimal(3)

    with pytest.raises(Inexact):
        third()


def test_exact_arithmetic_holds_a_price_times_a_quantity_of_the_widest_columns():
    @exactly
    def product():
        return Decimal("9" * 32 + ".999999") * Decimal("9" * 18 + ".999999999999")

    # (10^38 - 1) * (10^30 - 1) = 10^68 - 10^38 - 10^30 + 1, in units of 10^-18
    assert int(product().scaleb(18, EXACT)) == 10**68 - 10**38 - 10**30 + 1


@pytest.mark.parametrize(
    ("code", "decimals"),
    [("USD", 2), ("EUR", 2), ("JPY", 0), ("KRW", 0), ("UGX", 0), ("ISK", 0), ("KWD", 3), ("BHD", 3), ("HUF", 2)],
)
def test_knows_the_decimals_of_a_currency(code, decimals):
    assert currency_exponent(code) == decimals


@pytest.mark.parametrize(
    ("major", "code", "minor"),
    [("12.34", "USD", "1234"), ("12.345", "USD", "1234.5"), ("500", "JPY", "500"), ("1.234", "KWD", "1234")],
)
def test_converts_major_units_to_minor_ones_and_back(major, code, minor):
    assert minor_units(Decimal(major), code) == Decimal(minor)
    assert major_units(Decimal(minor), code) == Decimal(major)


def test_converts_whole_cents_to_major_units():
    assert major_units(15400, "USD") == Decimal("154.00")


@pytest.mark.parametrize("code", ["USD", "EUR", "JPY"])
def test_knows_a_currency(code):
    assert is_currency(code)


@pytest.mark.parametrize("code", ["", "usd", "US", "USDD", "BTC", "US$"])
def test_knows_what_is_no_currency(code):
    assert not is_currency(code)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("12500.000000", "12500"),
        ("100", "100"),
        ("0.10", "0.1"),
        ("0.000000", "0"),
        ("1E+3", "1000"),
        ("1E-6", "0.000001"),
        ("-2.50", "-2.5"),
    ],
)
def test_writes_a_number_without_exponent_and_trailing_zeros(value, text):
    assert plain_number(Decimal(value)) == text


@pytest.mark.parametrize(
    ("quantity", "share", "units"),
    [
        ("30", Fraction(10, 30), "10"),
        ("10", Fraction(1, 3), "3.333333"),
        ("20", Fraction(1, 3), "6.666667"),
        ("0.000001", Fraction(1, 2), "0.000001"),
        ("-0.000001", Fraction(1, 2), "-0.000001"),
        ("7.5", Fraction(1), "7.5"),
        ("7.5", Fraction(0), "0"),
        ("99999999999999999999999999999999.999999", Fraction(1), "99999999999999999999999999999999.999999"),
    ],
)
def test_a_share_of_a_quantity_is_rounded_once_to_six_decimals_half_away_from_zero(quantity, share, units):
    assert share_of_quantity(Decimal(quantity), share) == Decimal(units)
