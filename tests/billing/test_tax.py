"""The arithmetic of tax, worked by hand."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.tax import Taxable, percent_text, tax_of, tax_text, taxes_of

NINETEEN = Decimal("0.19")


def taxes(*amounts, rate="0.19", included=False):
    return taxes_of([Taxable(cents, Decimal(rate)) for cents in amounts], included=included)


@pytest.mark.parametrize(
    ("cents", "rate", "expected"),
    [
        (2_900, "0.19", 551),
        (10_000, "0.0875", 875),
        (2_999, "0.0875", 262),  # 262.4125
        (1_000, "0.08875", 89),  # 88.75, the sales tax of New York City
        (50, "0.19", 10),  # 9.5
        (-50, "0.19", -10),  # −9.5: half away from zero on both sides
        (2_900, "0", 0),
        (2_900, "1", 2_900),
        # Rounded to the currency's own minor unit: yen have no decimals, dinars of Kuwait have three.
        (990, "0.10", 99),
        (995, "0.10", 100),  # 99.5 yen
        (12_345, "0.05", 617),  # 12.345 dinars: 617.25 fils
    ],
)
def test_is_added_on_top_and_rounded_once(cents, rate, expected):
    assert tax_of(Taxable(cents, Decimal(rate)), included=False) == expected


@pytest.mark.parametrize(
    ("cents", "rate", "expected"),
    [
        (11_900, "0.19", 1_900),
        (2_900, "0.19", 463),  # 463.03
        (-11_900, "0.19", -1_900),
        (110, "0.10", 10),
        (1_100, "0.10", 100),  # yen
        (12_345, "0.05", 588),  # 587.857 fils
    ],
)
def test_is_taken_out_of_gross_amounts(cents, rate, expected):
    assert tax_of(Taxable(cents, Decimal(rate)), included=True) == expected


def test_lines_are_rounded_one_by_one():
    assert taxes(3, 3, 3, rate="0.19") == [1, 1, 1]  # 0.57 each; 9 at once would be 1.71, so 2
    assert taxes(2, 2, 2, rate="0.19") == [0, 0, 0]  # 0.38 each; 6 at once would be 1.14, so 1


def test_what_is_given_back_has_negative_tax():
    assert taxes(10_000, -1_450) == [1_900, -276]  # 275.5


def test_a_change_and_back_on_one_day_leaves_no_tax():
    assert taxes(1_450, -1_450) == [0, 0]


def test_amounts_that_come_to_nothing_have_no_tax_left_from_rounding():
    # One by one: 0.57, 0.57 and −1.14, so 1 + 1 − 1 = 1 on a bill of 0.
    assert taxes(3, 3, -6) == [0, 0, 0]


def test_together_they_are_never_negative():
    # One by one: 0.38 three times, so 0, and −0.95, so −1.
    assert taxes(2, 2, 2, -5) == [0, 0, 0, 0]


def test_what_is_given_back_at_another_rate_gives_back_no_more_than_there_is():
    """A customer who is exempt by now is credited what he paid 19 % on."""
    amounts = [Taxable(2_900, Decimal(0)), Taxable(-1_450, NINETEEN)]
    assert taxes_of(amounts, included=False) == [0, 0]
    lower = [Taxable(2_900, Decimal("0.07")), Taxable(-1_000, NINETEEN)]
    assert taxes_of(lower, included=False) == [203, -190]


def test_as_little_as_is_lacking_is_cut_from_the_most_that_is_given_back():
    # 7.00 against −1.90 and −9.50: 4.40 are lacking.
    amounts = [Taxable(10_000, Decimal("0.07")), Taxable(-1_000, NINETEEN), Taxable(-5_000, NINETEEN)]
    assert taxes_of(amounts, included=False) == [700, -190, -510]


def test_amounts_that_come_to_nothing_at_their_rate_have_no_tax_beside_those_of_another_rate():
    # 0.38 three times and −1.14.
    amounts = [Taxable(cents, NINETEEN) for cents in (2, 2, 2, -6)]
    assert taxes_of([*amounts, Taxable(100, Decimal("0.07"))], included=False) == [0, 0, 0, 0, 7]


def test_is_written_as_people_write_it():
    assert (percent_text(Decimal("0.190000")), tax_text(Decimal("0.0875"))) == ("19%", "Tax (8.75%)")
    assert tax_text(Decimal("1")) == "Tax (100%)"


CENTS = st.integers(min_value=-(10**12), max_value=10**12)
RATES = st.decimals(min_value=0, max_value=1, places=6)


@given(st.lists(CENTS, min_size=1, max_size=12), RATES, st.booleans())
def test_a_bill_of_zero_or_more_has_subtotal_and_tax_of_zero_or_more(amounts, rate, included):
    charged = amounts if sum(amounts) >= 0 else [-cents for cents in amounts]
    tax_cents = sum(taxes_of([Taxable(cents, rate) for cents in charged], included=included))

    net_cents = sum(charged) - tax_cents if included else sum(charged)

    assert tax_cents >= 0
    assert net_cents + tax_cents >= 0
    if included:
        assert net_cents + tax_cents == sum(charged)


@given(CENTS, RATES, st.booleans())
def test_no_line_is_half_a_unit_off(cents, rate, included):
    exact = cents * (Fraction(rate) / (1 + Fraction(rate)) if included else Fraction(rate))
    assert abs(tax_of(Taxable(cents, rate), included=included) - exact) <= Fraction(1, 2)
