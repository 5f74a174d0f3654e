from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plans.money import round_cents, written_exactly
from plans.pricing import (
    DIVIDE_ROUNDS,
    GRADUATED,
    GRADUATED_PERCENTAGE,
    MODELS,
    PACKAGE,
    PACKAGE_ROUNDS,
    PERCENTAGE,
    VOLUME,
    Charge,
    Tier,
    bounded,
    net_of,
    price_of,
    priced_units,
    steps_of,
)


def tier(up_to, cost="0", flat="0", rate="0"):
    return Tier(
        up_to=None if up_to is None else Decimal(up_to),
        unit_cost_cents=Decimal(cost),
        flat_cost_cents=Decimal(flat),
        rate_percent=Decimal(rate),
    )


def price(charge, quantity, **words):
    return written_exactly(price_of(charge, Decimal(quantity), **words))


# How long drawing takes says nothing about what is tested.
MACHINES_MAY_BE_BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
FIVE = Charge(unit_cost_cents=Decimal(5))
# 5 cents up to 1,000, then 4 up to 10,000, then 2.5.
THREE_TIERS = (tier(1000, "5"), tier(10_000, "4"), tier(None, "2.5"))
BY_STEPS = Charge(model=GRADUATED, tiers=THREE_TIERS)
BY_VOLUME = Charge(model=VOLUME, tiers=THREE_TIERS)
# A flat 1,000 for the first 100, then a flat 500 and 3 each.
WITH_FLATS = (tier(100, "0", "1000"), tier(None, "3", "500"))


class TestPerUnit:
    @pytest.mark.parametrize(
        ("cost", "quantity", "cents"),
        [
            ("5", "0", "0"),
            ("5", "1", "5"),
            ("5", "2500", "12500"),
            ("5", "-3", "0"),
            ("0.1", "124", "12.4"),
            ("0.5", "0.000001", "0.0000005"),
            ("0.000000000001", "1", "0.000000000001"),
            # 10^18 units at 10^-9 cents are 10^9 cents.
            ("0.000000001", "1e18", "1000000000"),
            ("1000000000", "1e18", "1e27"),
        ],
    )
    def test_multiplies_and_does_not_round(self, cost, quantity, cents):
        assert price(Charge(unit_cost_cents=Decimal(cost)), quantity) == Decimal(cents)

    def test_is_exact_beyond_28_digits(self):
        assert price(Charge(unit_cost_cents=Decimal("0.000000000001")), "1" * 32 + ".000001") == Decimal(
            "1" * 20 + "." + "1" * 12 + "000001"
        )


class TestGraduated:
    @pytest.mark.parametrize(
        ("quantity", "cents"),
        [
            ("0", "0"),
            ("-5", "0"),
            ("1", "5"),
            ("999", "4995"),
            ("1000", "5000"),
            ("1001", "5004"),
            # Half a unit past the bound belongs to the next tier: 5,000 + 0.5 × 4.
            ("1000.5", "5002"),
            ("1000.000001", "5000.000004"),
            ("10000", "41000"),
            ("10001", "41002.5"),
            # 41,000 + (10^18 − 10,000) × 2.5
            ("1e18", "2500000000000016000"),
        ],
    )
    def test_each_unit_costs_what_its_own_tier_says(self, quantity, cents):
        assert price(BY_STEPS, quantity) == Decimal(cents)

    @pytest.mark.parametrize(
        ("quantity", "cents"), [("0", "0"), ("0.000001", "1000"), ("100", "1000"), ("100.5", "1501.5"), ("101", "1503")]
    )
    def test_a_flat_cost_falls_due_once_a_unit_reaches_its_tier(self, quantity, cents):
        assert price(Charge(model=GRADUATED, tiers=WITH_FLATS), quantity) == Decimal(cents)

    @pytest.mark.parametrize(("quantity", "cents"), [("0", "1000"), ("-3", "1000"), ("1", "1000"), ("101", "1503")])
    def test_the_first_flat_cost_is_due_at_zero_where_the_price_says_so(self, quantity, cents):
        charge = Charge(model=GRADUATED, tiers=WITH_FLATS, first_tier_flat_at_zero=True)

        assert price(charge, quantity) == Decimal(cents)

    def test_a_hundred_tiers_and_10_to_the_18_units_are_exact(self):
        # One unit at each of 99, 98, … 1 cents, and the rest at 10^-9 cents: 4,950 + (10^18 − 99) / 10^9.
        tiers = (*(tier(bound, str(100 - bound)) for bound in range(1, 100)), tier(None, "0.000000001"))

        assert price(Charge(model=GRADUATED, tiers=tiers), "1e18") == Decimal("1000004949.999999901")

    def test_the_steps_say_which_units_cost_what(self):
        first, second = steps_of(BY_STEPS, Decimal("1500.5"))

        assert (first.units, first.above, first.up_to, first.unit_cost_cents, first.cents) == (1000, 0, 1000, 5, 5000)
        assert (second.units, second.above, second.cents) == (Fraction("500.5"), 1000, 2002)


class TestVolume:
    @pytest.mark.parametrize(
        ("quantity", "cents"),
        [
            ("0", "0"),
            ("1", "5"),
            ("1000", "5000"),
            # The cliff: a thousand and one units cost less than a thousand.
            ("1001", "4004"),
            ("1000.5", "4002"),
            ("10000", "40000"),
            ("10001", "25002.5"),
            ("1e18", "2500000000000000000"),
        ],
    )
    def test_all_units_cost_what_the_tier_of_the_last_says(self, quantity, cents):
        assert price(BY_VOLUME, quantity) == Decimal(cents)

    @pytest.mark.parametrize(("quantity", "cents"), [("0", "0"), ("1", "1000"), ("100", "1000"), ("101", "803")])
    def test_the_flat_cost_is_that_of_the_one_tier(self, quantity, cents):
        assert price(Charge(model=VOLUME, tiers=WITH_FLATS), quantity) == Decimal(cents)

    def test_the_first_flat_cost_is_due_at_zero_where_the_price_says_so(self):
        assert price(Charge(model=VOLUME, tiers=WITH_FLATS, first_tier_flat_at_zero=True), "0") == 1000


class TestPackages:
    @pytest.mark.parametrize(
        ("quantity", "up", "down"),
        [
            ("0", "0", "0"),
            ("0.000001", "250", "0"),
            ("1", "250", "0"),
            ("999", "250", "0"),
            ("1000", "250", "250"),
            ("1000.000001", "500", "250"),
            ("1001", "500", "250"),
            ("2000", "500", "500"),
            ("1e18", "2.5e17", "2.5e17"),
        ],
    )
    def test_are_billed_as_begun_or_as_full(self, quantity, up, down):
        charge = Charge(model=PACKAGE, package_size=Decimal(1000), package_cost_cents=Decimal(250))

        assert price(charge, quantity) == Decimal(up)
        assert price(replace(charge, package_round="down"), quantity) == Decimal(down)

    def test_of_a_fraction_of_a_unit(self):
        charge = Charge(model=PACKAGE, package_size=Decimal("0.3"), package_cost_cents=Decimal("0.5"))

        # 1 / 0.3 = 3.33…, so four packages; 0.9 / 0.3 is exactly three.
        assert price(charge, "1") == 2
        assert price(charge, "0.9") == Decimal("1.5")


class TestPercentages:
    @pytest.mark.parametrize(
        ("minor_per_major", "amount", "cents"),
        [
            # 2.9 % of 100.00 dollars are 2.90 dollars, of 100 yen 2.9 yen, of 100.000 dinars 2.900 dinars.
            (100, "100", "290"),
            (1, "100", "2.9"),
            (1000, "100", "2900"),
            (100, "0", "0"),
            (100, "0.01", "0.029"),
            (100, "-10", "0"),
        ],
    )
    def test_are_taken_of_major_units_in_each_currency(self, minor_per_major, amount, cents):
        charge = Charge(model=PERCENTAGE, rate_percent=Decimal("2.9"), minor_per_major=minor_per_major)

        assert price(charge, amount) == Decimal(cents)

    def test_a_fee_per_event_is_added(self):
        charge = Charge(model=PERCENTAGE, rate_percent=Decimal("2.9"), fixed_cost_cents=Decimal(30))

        # 2.90 dollars and three times 0.30.
        assert price(charge, "100", events=3) == 380
        assert price(charge, "0", events=2) == 60
        assert charge.counts_events

    @pytest.mark.parametrize(
        ("minor_per_major", "amount", "cents"),
        [
            # 3 % up to 1,000, 2.5 % above.
            (100, "1000", "3000"),
            (100, "1000.01", "3000.025"),
            (100, "1500", "4250"),
            (1, "1500", "42.5"),
            (1000, "1500", "42500"),
        ],
    )
    def test_by_tiers_of_the_amount(self, minor_per_major, amount, cents):
        tiers = (tier(1000, rate="3"), tier(None, rate="2.5"))
        charge = Charge(model=GRADUATED_PERCENTAGE, tiers=tiers, minor_per_major=minor_per_major)

        assert price(charge, amount) == Decimal(cents)


class TestDividing:
    @pytest.mark.parametrize(
        ("divide_round", "metered", "cents"),
        [
            ("none", "1500", "15"),
            ("none", "1", "0.01"),
            ("up", "0", "0"),
            ("up", "1", "10"),
            ("up", "1000", "10"),
            ("up", "1000.000001", "20"),
            ("down", "999", "0"),
            ("down", "1999", "10"),
            ("half_up", "499", "0"),
            ("half_up", "500", "10"),
            ("half_up", "1499", "10"),
            ("half_up", "1500", "20"),
        ],
    )
    def test_converts_the_cumulative_quantity_first_of_all(self, divide_round, metered, cents):
        charge = Charge(unit_cost_cents=Decimal(10), divide_by=Decimal(1000), divide_round=divide_round)

        assert price(charge, metered) == Decimal(cents)

    def test_what_has_no_end_as_a_decimal_is_exact_as_a_fraction(self):
        assert price_of(Charge(unit_cost_cents=Decimal(1), divide_by=Decimal(3)), Decimal(1)) == Fraction(1, 3)

    def test_tiers_packages_and_included_units_count_priced_units(self):
        gigabyte = Decimal(10**9)
        # 25 GB of which 5 are included: 20 left. 10 × 8 + 10 × 6 = 140; two packages of 10 at 50.
        tiers = (tier(10, "8"), tier(None, "6"))
        by_steps = Charge(model=GRADUATED, tiers=tiers, divide_by=gigabyte, included_units=Decimal(5))
        by_package = Charge(
            model=PACKAGE,
            package_size=Decimal(10),
            package_cost_cents=Decimal(50),
            divide_by=gigabyte,
            included_units=Decimal(5),
        )

        assert price(by_steps, 25 * gigabyte) == 140
        assert price(by_package, 25 * gigabyte) == 100
        assert by_steps.included_metered_units == 5 * gigabyte

    def test_rounds_before_it_takes_off_what_is_included(self):
        # 1,001 bytes are 2 KB begun, of which 1 is included.
        charge = Charge(
            unit_cost_cents=Decimal(10), divide_by=Decimal(1000), divide_round="up", included_units=Decimal(1)
        )

        assert price(charge, "1001") == 10
        assert price(charge, "1000") == 0

    def test_what_the_feature_gives_is_taken_off_in_metered_units(self):
        charge = Charge(unit_cost_cents=Decimal(10), divide_by=Decimal(1000), divide_round="up")

        assert price(charge, "1500", free=Decimal(500)) == 10
        assert price(charge, "300", free=Decimal(500)) == 0


class TestIncludedUnits:
    @pytest.mark.parametrize(
        ("quantity", "cents"), [("0", "0"), ("99.5", "0"), ("100", "0"), ("100.5", "2.5"), ("350", "1250")]
    )
    def test_cost_nothing(self, quantity, cents):
        assert price(replace(FIVE, included_units=Decimal(100)), quantity) == Decimal(cents)

    def test_do_not_fill_tiers_or_packages(self):
        # 1,100 units of which 100 are included are a thousand: still the first tier, and one package.
        packages = Charge(model=PACKAGE, package_size=Decimal(1000), package_cost_cents=Decimal(250))

        assert price(replace(BY_VOLUME, included_units=Decimal(100)), "1100") == 5000
        assert price(replace(packages, included_units=Decimal(100)), "1100") == 250


class TestMinimumAndMaximum:
    @pytest.mark.parametrize(
        ("quantity", "cents"),
        [("0", 1000), ("199", 1000), ("200", 1000), ("201", 1005), ("1000", 5000), ("1001", 5000), ("1e18", 5000)],
    )
    def test_bound_the_price_of_a_period(self, quantity, cents):
        charge = replace(FIVE, minimum_cents=1000, maximum_cents=5000)

        assert bounded(charge, price_of(charge, Decimal(quantity))) == cents

    def test_a_maximum_of_zero_is_a_bound(self):
        assert bounded(replace(FIVE, maximum_cents=0), Fraction(7)) == 0


class TestCredits:
    def test_ruling_15_124_units_at_a_tenth_with_98_credited_net_to_3(self):
        charge = Charge(unit_cost_cents=Decimal("0.1"))
        gross = price_of(charge, Decimal(124))
        net = net_of(charge, used=Decimal(124), credited=Decimal(98))

        assert (written_exactly(gross), written_exactly(net)) == (Decimal("12.4"), Decimal("2.6"))
        assert (round_cents(gross), round_cents(net) - round_cents(gross), round_cents(net)) == (12, -9, 3)

    def test_ruling_16_a_credit_is_worth_the_difference_of_two_prices(self):
        # 1,500 units cost 7,000, the 900 left of them 4,500.
        assert net_of(BY_STEPS, used=Decimal(1500), credited=Decimal(600)) == 4500

    def test_ruling_16_a_volume_credit_stays_in_the_tier_of_gross_usage(self):
        # 1,001 units at 4; 1 credited takes off 4, though 1,000 units alone would cost 5,000.
        assert net_of(BY_VOLUME, used=Decimal(1001), credited=Decimal(1)) == 4000
        assert net_of(BY_VOLUME, used=Decimal(1001), credited=Decimal(1001)) == 0

    def test_ruling_16_a_volume_credit_takes_off_its_part_of_what_is_not_included(self):
        charge = replace(BY_VOLUME, included_units=Decimal(100))

        # 2,100 used, 100 included, 2,000 at 4 = 8,000; a quarter of them credited.
        assert net_of(charge, used=Decimal(2100), credited=Decimal(500), included=Decimal(100)) == 6000

    def test_ruling_22_credits_come_before_the_minimum(self):
        charge = replace(FIVE, minimum_cents=300)
        net = net_of(charge, used=Decimal(100), credited=Decimal(80))

        assert (net, bounded(charge, net)) == (100, 300)


class TestRounding:
    @pytest.mark.parametrize(
        ("cost", "quantity", "cents"),
        [("0.5", "1", 1), ("0.4", "1", 0), ("0.1", "5", 1), ("0.1", "4", 0), ("0.5", "3", 2), ("2.5", "3", 8)],
    )
    def test_ruling_25_multiplies_first_and_rounds_once_half_away_from_zero(self, cost, quantity, cents):
        assert round_cents(price_of(Charge(unit_cost_cents=Decimal(cost)), Decimal(quantity))) == cents

    def test_ruling_25_tiers_are_rounded_together_not_each(self):
        # 0.5 + 0.5 + 0.5 = 1.5, which is 2; each alone would make 3.
        tiers = (tier(1, "0.5"), tier(2, "0.5"), tier(None, "0.5"))

        assert round_cents(price_of(Charge(model=GRADUATED, tiers=tiers), Decimal(3))) == 2


COSTS = st.decimals(0, 1000, places=12, allow_nan=False, allow_infinity=False)
QUANTITIES = st.decimals(0, 10**6, places=6, allow_nan=False, allow_infinity=False)
BOUNDS = st.lists(st.decimals("0.000001", 10**6, places=6), unique=True, max_size=5).map(sorted)
CURRENCIES = st.sampled_from([1, 100, 1000])
ANY_MODEL = st.sampled_from(MODELS)


@st.composite
def tiers(draw, flat_costs=COSTS):
    return tuple(
        Tier(up_to=bound, unit_cost_cents=draw(COSTS), rate_percent=draw(COSTS), flat_cost_cents=draw(flat_costs))
        for bound in [*draw(BOUNDS), None]
    )


def charges(models=ANY_MODEL, flat_costs=COSTS, **fixed):
    terms = {
        "model": models,
        "unit_cost_cents": COSTS,
        "tiers": tiers(flat_costs),
        "first_tier_flat_at_zero": st.booleans(),
        "package_size": st.decimals("0.000001", 10**6, places=6),
        "package_cost_cents": COSTS,
        "package_round": st.sampled_from(PACKAGE_ROUNDS),
        "rate_percent": COSTS,
        "divide_by": st.none() | st.decimals("0.000001", 10**6, places=6),
        "divide_round": st.sampled_from(DIVIDE_ROUNDS),
        "included_units": st.just(Decimal(0)) | QUANTITIES,
        "minor_per_major": CURRENCIES,
    }
    for name, value in fixed.items():
        terms[name] = value if isinstance(value, st.SearchStrategy) else st.just(value)
    built = st.builds(Charge, **terms)
    return built.map(_with_whole_units_where_they_are_rounded)


def _with_whole_units_where_they_are_rounded(charge):
    """As the price language demands it."""
    if charge.divide_by is None or charge.divide_round == "none":
        return charge
    return replace(charge, included_units=charge.included_units // 1)


class TestProperties:
    @MACHINES_MAY_BE_BUSY
    @given(tiers(flat_costs=st.just(Decimal(0))), st.lists(QUANTITIES, min_size=1, max_size=6))
    def test_graduated_is_additive_over_slices(self, tiers, slices):
        charge = Charge(model=GRADUATED, tiers=tiers)
        total = Decimal(0)
        sum_of_slices = Fraction(0)
        for one in slices:
            sum_of_slices += price_of(charge, total + one) - price_of(charge, total)
            total += one

        # Each slice by the tiers it passes: cut at the bounds, the pieces cost their own tier's price.
        bounds = sorted({Decimal(0), total, *(tier.up_to for tier in tiers if tier.up_to and tier.up_to < total)})
        by_hand = sum(
            (Fraction(high) - Fraction(low))
            * Fraction(next(t for t in tiers if t.up_to is None or high <= t.up_to).unit_cost_cents)
            for low, high in pairwise(bounds)
        )
        assert sum_of_slices == price_of(charge, total) == by_hand

    @MACHINES_MAY_BE_BUSY
    @given(charges(), QUANTITIES)
    def test_no_price_is_negative_and_the_steps_add_up_to_it(self, charge, quantity):
        assert price_of(charge, quantity) == sum(step.cents for step in steps_of(charge, quantity)) >= 0

    @settings(parent=MACHINES_MAY_BE_BUSY, max_examples=400)
    @given(
        charges(fixed_cost_cents=COSTS),
        st.decimals(-1000, 10**32, places=6) | st.decimals(0, 100, places=9),
        st.just(Decimal(0)) | st.decimals(0, 10**6, places=6),
        st.integers(0, 10**6),
    )
    def test_integers_come_to_what_the_steps_add_up_to(self, charge, quantity, free, events):
        steps = steps_of(charge, quantity, free=free, events=events)

        assert price_of(charge, quantity, free=free, events=events) == sum(step.cents for step in steps)

    @MACHINES_MAY_BE_BUSY
    @given(charges(st.sampled_from([model for model in MODELS if model != VOLUME])), QUANTITIES, QUANTITIES)
    def test_more_units_never_cost_less_but_by_volume(self, charge, one, other):
        less, more = sorted((one, other))

        assert price_of(charge, less) <= price_of(charge, more)

    @MACHINES_MAY_BE_BUSY
    @given(charges(), QUANTITIES, st.fractions(0, 1), st.fractions(0, 1))
    def test_ruling_16_more_credits_never_raise_a_bill(self, charge, used, one, other):
        included = min(used, charge.included_metered_units)
        less, more = sorted(
            (Decimal(int(share * 10**6)) * (used - included)).scaleb(-6).quantize(Decimal("1e-6"), "ROUND_DOWN")
            for share in (one, other)
        )
        gross, fewer, further = (
            net_of(charge, used=used, credited=credited, included=included) for credited in (Decimal(0), less, more)
        )

        assert 0 <= further <= fewer <= gross

    @MACHINES_MAY_BE_BUSY
    @given(charges(), QUANTITIES)
    def test_credits_for_all_that_is_not_included_leave_what_zero_would_cost(self, charge, used):
        included = min(used, charge.included_metered_units)
        net = net_of(charge, used=used, credited=used - included, included=included)

        assert net <= price_of(charge, Decimal(0))

    @MACHINES_MAY_BE_BUSY
    @given(charges(divide_by=Decimal(1000)), QUANTITIES)
    def test_whole_thousands_are_divided_without_rounding(self, charge, thousands):
        metered = (thousands // 1) * 1000

        assert priced_units(charge, metered) == max(Fraction(thousands // 1) - Fraction(charge.included_units), 0)
