from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credits.rating import rate


def rated(used, by_grant, unit_cost_cents, hidden=()):
    return rate(
        used=Decimal(used),
        by_grant={grant: Decimal(units) for grant, units in by_grant.items()},
        hidden=set(hidden),
        unit_cost_cents=Decimal(unit_cost_cents),
    )


def credit_lines(rating):
    return [(line.grant, line.units, line.amount_cents) for line in rating.credits]


class TestWorkedNumbers:
    def test_12_500_calls_with_10_000_credited_cost_12_500_cents(self):
        rating = rated(12_500, {1: 10_000}, 5)

        assert (rating.line_units, rating.line_cents) == (12_500, 62_500)
        assert credit_lines(rating) == [(1, 10_000, -50_000)]
        assert (rating.net_cents, rating.credited) == (12_500, 10_000)

    def test_8_000_calls_within_the_quota_cost_nothing(self):
        rating = rated(8_000, {1: 8_000}, 5)

        assert rating.line_cents == 40_000
        assert credit_lines(rating) == [(1, 8_000, -40_000)]
        assert rating.net_cents == 0

    def test_a_hidden_credit_leaves_one_net_line(self):
        rating = rated(12_500, {1: 10_000}, 5, hidden={1})

        assert (rating.line_units, rating.line_cents, rating.credits) == (2_500, 12_500, ())
        assert (rating.net_cents, rating.used, rating.credited) == (12_500, 12_500, 10_000)

    def test_credit_lines_are_differences_of_rounded_nets(self):
        # 12.4 → 12; 26 × 0.1 = 2.6 → 3; the credit is the difference, −9 and not round(−9.8) = −10.
        rating = rated(124, {1: 98}, "0.1")

        assert (rating.line_cents, credit_lines(rating), rating.net_cents) == (12, [(1, 98, -9)], 3)

    def test_several_credits_are_successive_differences_in_burn_order(self):
        # 12.4 → 12; 74 × 0.1 = 7.4 → 7; 26 × 0.1 = 2.6 → 3
        rating = rated(124, {9: 50, 4: 48}, "0.1")

        assert credit_lines(rating) == [(9, 50, -5), (4, 48, -4)]
        assert rating.net_cents == 3

    def test_a_hidden_credit_between_shown_ones_stays_out_of_the_lines(self):
        # Nets 12.4 → 12, 7.4 → 7, 4.4 → 4, 2.6 → 3. The hidden step from 7 to 4 comes off the usage line: 12 − 3 = 9.
        rating = rated(124, {1: 50, 2: 30, 3: 18}, "0.1", hidden={2})

        assert (rating.line_units, rating.line_cents) == (94, 9)
        assert credit_lines(rating) == [(1, 50, -5), (3, 18, -1)]
        assert rating.net_cents == 3

    @pytest.mark.parametrize(("used", "cents"), [(4, 0), (5, 1), (14, 1), (15, 2), (25, 3)])
    def test_rounds_half_a_cent_up(self, used, cents):
        assert rated(used, {}, "0.1").net_cents == cents

    def test_no_usage_costs_nothing(self):
        rating = rated(0, {}, 5)

        assert (rating.line_cents, rating.net_cents, rating.credits) == (0, 0, ())


@st.composite
def ratings(draw):
    used = draw(st.decimals(min_value=0, max_value=10**6, places=6))
    rest, by_grant = used, {}
    for grant in range(draw(st.integers(0, 5))):
        units = draw(st.decimals(min_value=0, max_value=1, places=3)) * rest
        units = units.quantize(Decimal("0.000001"), rounding="ROUND_DOWN")
        by_grant[grant] = units
        rest -= units
    hidden = draw(st.sets(st.sampled_from(sorted(by_grant)))) if by_grant else set()
    cost = draw(st.decimals(min_value=0, max_value=100, places=12))
    return used, by_grant, hidden, cost


class TestProperties:
    @given(ratings())
    def test_the_total_is_the_same_whether_credits_are_shown_or_not(self, given_rating):
        used, by_grant, hidden, cost = given_rating
        outcomes = [
            rate(used=used, by_grant=by_grant, hidden=unseen, unit_cost_cents=cost)
            for unseen in (set(), hidden, set(by_grant))
        ]

        assert len({outcome.net_cents for outcome in outcomes}) == 1
        for outcome in outcomes:
            lines = outcome.line_cents + sum(line.amount_cents for line in outcome.credits)
            units = outcome.line_units - sum(line.units for line in outcome.credits)
            assert lines == outcome.net_cents
            assert units == used - outcome.credited

    @given(ratings())
    def test_a_credit_never_raises_a_bill_and_never_turns_it_negative(self, given_rating):
        used, by_grant, hidden, cost = given_rating
        rating = rate(used=used, by_grant=by_grant, hidden=hidden, unit_cost_cents=cost)
        gross = rate(used=used, by_grant={}, hidden=set(), unit_cost_cents=cost)

        assert 0 <= rating.net_cents <= gross.net_cents
        assert rating.line_cents >= 0
        assert all(line.amount_cents <= 0 for line in rating.credits)
