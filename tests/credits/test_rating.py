from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credits.rating import rate
from plans.money import round_cents
from plans.pricing import DIVIDE_ROUNDS, MODELS, PACKAGE_ROUNDS, TIERED, Charge, Tier


def rated(used, by_grant, unit_cost_cents=0, hidden=(), *, events=0, included=0, free=0, **terms):
    return rate(
        Charge(unit_cost_cents=Decimal(unit_cost_cents), **terms),
        used=Decimal(used),
        by_grant={grant: Decimal(units) for grant, units in by_grant.items()},
        hidden=set(hidden),
        included=Decimal(included),
        free=Decimal(free),
        events=events,
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


def tier(up_to, cost=0, flat=0):
    return Tier(None if up_to is None else Decimal(up_to), Decimal(cost), Decimal(flat))


class TestIncludedUnits:
    def test_included_units_come_before_credits_and_make_no_money(self):
        # 100 used, 30 included, 50 credited: 20 × 5 = 100.
        rating = rated(100, {1: 50}, 5, included=30, included_units=Decimal(30))

        assert (rating.line_units, rating.line_cents) == (70, 350)
        assert (credit_lines(rating), rating.net_cents) == ([(1, 50, -250)], 100)

    def test_those_of_a_feature_are_free_beside_those_of_the_component(self):
        # 100 used, 10 free by the feature and 30 by the component: 60 × 5.
        rating = rated(100, {}, 5, included=40, free=10, included_units=Decimal(30))

        assert (rating.line_units, rating.net_cents) == (60, 300)


class TestBounds:
    def test_a_minimum_holds_for_what_credits_leave(self):
        # 1,000 × 5 = 5,000; 900 credited leave 500; the minimum of 2,000 adds 1,500.
        rating = rated(1_000, {1: 900}, 5, minimum_cents=2_000)

        assert (rating.line_cents, credit_lines(rating)) == (5_000, [(1, 900, -4_500)])
        assert (rating.minimum_cents, rating.maximum_cents, rating.net_cents) == (1_500, 0, 2_000)

    def test_a_minimum_is_charged_without_any_usage(self):
        rating = rated(0, {}, 5, minimum_cents=2_000)

        assert (rating.line_cents, rating.minimum_cents, rating.net_cents) == (0, 2_000, 2_000)

    def test_a_maximum_takes_off_what_credits_leave_above_it(self):
        # 1,000 × 5 = 5,000; 100 credited leave 4,500; the maximum of 3,000 takes off 1,500.
        rating = rated(1_000, {1: 100}, 5, maximum_cents=3_000)

        assert credit_lines(rating) == [(1, 100, -500)]
        assert (rating.minimum_cents, rating.maximum_cents, rating.net_cents) == (0, -1_500, 3_000)

    def test_a_maximum_above_what_credits_leave_takes_off_nothing(self):
        # 5,000 is above the maximum of 3,000, but the credit of 500 units brings it to 2,500.
        rating = rated(1_000, {1: 500}, 5, maximum_cents=3_000)

        assert (rating.maximum_cents, rating.net_cents) == (0, 2_500)

    def test_half_a_cent_below_the_minimum_is_the_minimum(self):
        # 199.5 rounds to 200, and the minimum is 200: nothing is added twice.
        rating = rated("39.9", {}, 5, minimum_cents=200)

        assert (rating.line_cents, rating.minimum_cents, rating.net_cents) == (200, 0, 200)


class TestModels:
    TIERS = (tier(1_000, 5), tier(None, 2))

    def test_graduated_credits_take_the_last_and_cheapest_units_off(self):
        # 1,500: 1,000 × 5 + 500 × 2 = 6,000. 700 credited leave 800 × 5 = 4,000: worth 500 × 2 + 200 × 5.
        rating = rated(1_500, {1: 700}, model="graduated", tiers=self.TIERS)

        assert (rating.line_cents, credit_lines(rating), rating.net_cents) == (6_000, [(1, 700, -2_000)], 4_000)

    def test_volume_credits_take_an_equal_part_off_and_leave_the_tier(self):
        # 1,500 reach the tier of 2: 3,000. 700 of 1,500 credited take off 1,400, though 800 alone would cost 4,000.
        rating = rated(1_500, {1: 700}, model="volume", tiers=self.TIERS)

        assert (rating.line_cents, credit_lines(rating), rating.net_cents) == (3_000, [(1, 700, -1_400)], 1_600)

    def test_package_credits_take_off_packages_that_are_not_begun_any_more(self):
        # 250 are 3 packages of 100 at 900. 60 credited leave 190: 2 packages.
        rating = rated(250, {1: 60}, model="package", package_size=Decimal(100), package_cost_cents=Decimal(900))

        assert (rating.line_cents, credit_lines(rating)) == (2_700, [(1, 60, -900)])

    def test_a_credit_may_be_worth_nothing_within_a_package(self):
        rating = rated(250, {1: 40}, model="package", package_size=Decimal(100), package_cost_cents=Decimal(900))

        assert (credit_lines(rating), rating.net_cents) == ([(1, 40, 0)], 2_700)

    def test_divided_units_are_rounded_before_they_are_priced(self):
        # 2,500 MB are 3 GB at 10; 600 credited leave 1,900 MB: 2 GB.
        rating = rated(2_500, {1: 600}, 10, divide_by=Decimal(1_000), divide_round="up")

        assert (rating.line_cents, credit_lines(rating), rating.net_cents) == (30, [(1, 600, -10)], 20)

    def test_percentages_take_their_fee_per_event(self):
        # 2.9 % of 1,000.00 is 2,900 cents; 10 events at 30 are 300.
        rating = rated(
            1_000, {}, model="percentage", rate_percent=Decimal("2.9"), fixed_cost_cents=Decimal(30), events=10
        )

        assert rating.net_cents == 3_200

    def test_the_flat_cost_of_the_first_tier_may_be_due_at_zero(self):
        tiers = (tier(10, 0, flat=500), tier(None, 5))

        assert rated(0, {}, model="graduated", tiers=tiers, first_tier_flat_at_zero=True).line_cents == 500
        assert rated(0, {}, model="graduated", tiers=tiers).line_cents == 0


NUMBERS = st.decimals(min_value=0, max_value=10**4, places=6)
COSTS = st.decimals(min_value=0, max_value=100, places=12)


@st.composite
def charges(draw):
    """A charge of any model."""
    model = draw(st.sampled_from(MODELS))
    bounds = sorted(draw(st.lists(st.integers(1, 10**4), max_size=3, unique=True)))
    tiers = tuple(
        Tier(
            None if up_to is None else Decimal(up_to),
            unit_cost_cents=draw(COSTS),
            flat_cost_cents=draw(COSTS),
            rate_percent=draw(COSTS),
        )
        for up_to in [*bounds, None]
    )
    low = draw(st.none() | st.integers(0, 5_000))
    high = draw(st.none() | st.integers(0, 10_000))
    return Charge(
        model=model,
        unit_cost_cents=draw(COSTS),
        tiers=tiers if model in TIERED else (),
        first_tier_flat_at_zero=draw(st.booleans()),
        package_size=Decimal(draw(st.integers(1, 1_000))),
        package_cost_cents=draw(COSTS),
        package_round=draw(st.sampled_from(PACKAGE_ROUNDS)),
        rate_percent=draw(COSTS),
        fixed_cost_cents=draw(COSTS) if model == "percentage" else Decimal(0),
        divide_by=draw(st.none() | st.integers(1, 1_000).map(Decimal)),
        divide_round=draw(st.sampled_from(DIVIDE_ROUNDS)),
        included_units=Decimal(draw(st.integers(0, 20))),
        minimum_cents=low,
        maximum_cents=high if low is None or high is None else max(low, high),
    )


@st.composite
def ratings(draw):
    """A charge and what is rated by it: used, included, credited by several grants, some of them hidden."""
    charge = draw(charges())
    used = draw(NUMBERS)
    free = draw(st.integers(0, 50).map(Decimal))
    included = min(used, free + charge.included_metered_units)
    rest, by_grant = used - included, {}
    for grant in range(draw(st.integers(0, 5))):
        units = (draw(st.decimals(min_value=0, max_value=1, places=3)) * rest).quantize(
            Decimal("0.000001"), rounding="ROUND_DOWN"
        )
        if units:
            by_grant[grant] = units
            rest -= units
    hidden = draw(st.sets(st.sampled_from(sorted(by_grant)))) if by_grant else set()
    events = draw(st.integers(0, 20))
    return charge, {"used": used, "included": included, "free": free, "by_grant": by_grant, "events": events}, hidden


class TestProperties:
    @given(ratings())
    def test_the_total_is_the_same_whether_credits_are_shown_or_not(self, given_rating):
        charge, units, hidden = given_rating
        outcomes = [rate(charge, **units, hidden=unseen) for unseen in (set(), hidden, set(units["by_grant"]))]

        assert len({outcome.net_cents for outcome in outcomes}) == 1
        for outcome in outcomes:
            credits = sum(line.amount_cents for line in outcome.credits)
            assert outcome.line_cents + credits + outcome.minimum_cents + outcome.maximum_cents == outcome.net_cents

    @given(ratings())
    def test_every_used_unit_is_included_credited_or_charged(self, given_rating):
        charge, units, hidden = given_rating
        rating = rate(charge, **units, hidden=hidden)

        charged = rating.line_units - sum(line.units for line in rating.credits)
        assert rating.included + rating.credited + charged == max(units["used"], 0)
        assert charged >= 0

    @given(ratings(), st.decimals(min_value=0, max_value=1, places=3))
    def test_more_credits_never_raise_a_bill(self, given_rating, part):
        charge, units, hidden = given_rating
        rest = units["used"] - units["included"] - sum(units["by_grant"].values())
        more = (rest * part).quantize(Decimal("0.000001"), rounding="ROUND_DOWN")

        with_more = rate(charge, **units | {"by_grant": units["by_grant"] | {99: more}}, hidden=hidden)

        assert 0 <= with_more.net_cents <= rate(charge, **units, hidden=hidden).net_cents

    @given(ratings())
    def test_a_credit_is_never_negative_and_the_net_stays_within_its_bounds(self, given_rating):
        charge, units, hidden = given_rating
        rating = rate(charge, **units, hidden=hidden)

        assert rating.line_cents >= 0
        assert all(line.amount_cents <= 0 for line in rating.credits)
        assert charge.minimum_cents is None or rating.net_cents >= charge.minimum_cents
        assert charge.maximum_cents is None or rating.net_cents <= charge.maximum_cents
        assert round_cents(rating.unrounded_net) == rating.net_cents
