from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from credits.preview import PreviewedComponent, Quantity, preview
from credits.rating import rate
from plans.money import round_cents, written_exactly
from plans.pricing import GRADUATED, MODELS, PERCENTAGE, VOLUME, Charge, Tier, bounded, price_of
from plans.refusals import InvalidInput

# How long drawing takes says nothing about what is tested.
MACHINES_MAY_BE_BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ZERO = Decimal(0)
FEE = PreviewedComponent("fee", "fixed", "Base fee", Charge(unit_cost_cents=Decimal(2900)))
SEATS = PreviewedComponent("seats", "per_unit", "Seats", Charge(unit_cost_cents=Decimal(1500)), minimum_quantity=3)


def usage(**charge):
    return PreviewedComponent("calls", "usage", "API calls", Charge(**charge))


FIVE = usage(unit_cost_cents=Decimal(5))


def lines_of(component, quantity=None, credit=None, events=None):
    """The lines as (type, quantity, unrounded cents as a decimal, amount)."""
    lines = preview(
        [component],
        quantities={} if quantity is None else {component.component_id: Quantity(Decimal(quantity), events)},
        credits={} if credit is None else {component.component_id: Decimal(credit)},
    )
    return [(line.type, line.quantity, written_exactly(line.unrounded), line.amount_cents) for line in lines]


class TestLines:
    def test_one_line_per_component_in_the_order_of_the_price(self):
        lines = preview([FEE, SEATS, FIVE], quantities={"calls": Quantity(Decimal(12))}, credits={})

        assert [(line.component_id, line.type, line.description, line.amount_cents) for line in lines] == [
            ("fee", "fixed", "Base fee", 2900),
            ("seats", "per_unit", "Seats", 4500),
            ("calls", "usage", "API calls", 60),
        ]

    def test_what_is_not_named_is_nothing_and_one_fee_and_the_least_of_seats(self):
        assert lines_of(FEE) == [("fixed", 1, 2900, 2900)]
        assert lines_of(SEATS) == [("per_unit", 3, 4500, 4500)]
        assert lines_of(FIVE) == [("usage", 0, 0, 0)]

    def test_the_least_of_seats_is_billed_in_any_case(self):
        assert lines_of(SEATS, 1) == [("per_unit", 3, 4500, 4500)]
        assert lines_of(SEATS, 4) == [("per_unit", 4, 6000, 6000)]

    def test_a_price_by_tiers_has_one_line_too(self):
        tiers = (Tier(Decimal(1000), Decimal(5)), Tier(None, Decimal("2.5")))

        assert lines_of(usage(model=GRADUATED, tiers=tiers), 1001) == [("usage", 1001, Decimal("5002.5"), 5003)]

    @pytest.mark.parametrize(("quantity", "cents"), [(0, 1000), (200, 1000), (201, 1005), (1001, 5000)])
    def test_minimum_and_maximum_are_in_the_line(self, quantity, cents):
        component = usage(unit_cost_cents=Decimal(5), minimum_cents=1000, maximum_cents=5000)

        assert lines_of(component, quantity) == [("usage", quantity, cents, cents)]

    def test_says_the_amount_before_the_rounding_and_after_it(self):
        assert lines_of(usage(unit_cost_cents=Decimal("0.1")), "124.5") == [
            ("usage", Decimal("124.5"), Decimal("12.45"), 12)
        ]

    def test_percentages_take_an_amount_and_its_events(self):
        component = usage(model=PERCENTAGE, rate_percent=Decimal("2.9"), fixed_cost_cents=Decimal(30))

        assert lines_of(component, 100, events=3) == [("usage", 100, 380, 380)]
        assert lines_of(component, 100) == [("usage", 100, 290, 290)]

    @pytest.mark.parametrize(("minor_per_major", "unrounded", "cents"), [(1, "2.871", 3), (1000, "2871", 2871)])
    def test_percentages_in_yen_and_in_dinars(self, minor_per_major, unrounded, cents):
        component = usage(model=PERCENTAGE, rate_percent=Decimal("2.9"), minor_per_major=minor_per_major)

        assert lines_of(component, 99) == [("usage", 99, Decimal(unrounded), cents)]


class TestCredits:
    def test_ruling_15_124_at_a_tenth_with_98_credited_are_12_less_9(self):
        assert lines_of(usage(unit_cost_cents=Decimal("0.1")), 124, 98) == [
            ("usage", 124, Decimal("12.4"), 12),
            ("credit", 98, Decimal("-9.8"), -9),
        ]

    def test_12500_calls_with_a_quota_of_10000_leave_12500_cents(self):
        assert lines_of(FIVE, 12_500, 10_000) == [
            ("usage", 12_500, 62_500, 62_500),
            ("credit", 10_000, -50_000, -50_000),
        ]

    def test_ruling_16_by_volume_they_stay_in_the_tier_of_gross_usage(self):
        component = usage(model=VOLUME, tiers=(Tier(Decimal(1000), Decimal(5)), Tier(None, Decimal(4))))

        assert lines_of(component, 1001, 1) == [("usage", 1001, 4004, 4004), ("credit", 1, -4, -4)]

    def test_above_what_is_left_to_pay_for_they_are_cut_off(self):
        # 30 of 100 are included, so 70 are left to pay for.
        component = usage(unit_cost_cents=Decimal(5), included_units=Decimal(30))

        assert lines_of(component, 100, 500) == [("usage", 100, 350, 350), ("credit", 70, -350, -350)]
        assert lines_of(component, 20, 500) == [("usage", 20, 0, 0), ("credit", 0, 0, 0)]

    def test_of_a_divided_price_they_are_metered_units(self):
        # 2,500 bytes are 3 KB begun; 600 credited leave 1,900, which are 2.
        component = usage(unit_cost_cents=Decimal(10), divide_by=Decimal(1000), divide_round="up")

        assert lines_of(component, 2500, 600) == [("usage", 2500, 30, 30), ("credit", 600, -10, -10)]

    def test_ruling_22_minimum_and_maximum_bound_what_credits_leave(self):
        component = usage(unit_cost_cents=Decimal(5), minimum_cents=1000, maximum_cents=5000)

        # 1,500 less 1,000 is 500, so 500 are added; 10,000 less 1,000 is 9,000, so 4,000 are taken off.
        assert lines_of(component, 300, 200) == [("usage", 300, 2000, 2000), ("credit", 200, -1000, -1000)]
        assert lines_of(component, 2000, 200) == [("usage", 2000, 6000, 6000), ("credit", 200, -1000, -1000)]

    def test_of_zero_units_have_a_line_of_zero(self):
        assert lines_of(FIVE, 10, 0) == [("usage", 10, 50, 50), ("credit", 0, 0, 0)]


class TestRefusing:
    @pytest.mark.parametrize(
        ("quantities", "credits", "path"),
        [
            ({"x": Quantity(Decimal(1))}, {}, "quantities.x"),
            ({}, {"x": Decimal(1)}, "credits.x"),
            ({}, {"fee": Decimal(1)}, "credits.fee"),
            ({}, {"seats": Decimal(1)}, "credits.seats"),
            ({}, {"payments": Decimal(1)}, "credits.payments"),
            ({"calls": Quantity(Decimal(1), events=1)}, {}, "quantities.calls"),
            ({"fee": Quantity(Decimal(1), events=0)}, {}, "quantities.fee"),
        ],
    )
    def test_by_the_path_of_the_component(self, quantities, credits, path):
        charge = Charge(model=PERCENTAGE, rate_percent=Decimal(1), fixed_cost_cents=Decimal(30))
        payments = PreviewedComponent("payments", "usage", "Payments", charge)

        with pytest.raises(InvalidInput) as refused:
            preview([FEE, SEATS, FIVE, payments], quantities=quantities, credits=credits)

        assert refused.value.details[0]["path"] == path


class TestAbsurdNumbers:
    def test_10_to_the_18_units_at_10_to_the_minus_9_cents_are_10_to_the_9_cents(self):
        assert lines_of(usage(unit_cost_cents=Decimal("1e-9")), "1e18", "1") == [
            ("usage", Decimal("1e18"), 10**9, 10**9),
            ("credit", 1, Decimal("-1e-9"), 0),
        ]

    def test_a_hundred_tiers_with_18_digits_and_10_to_the_31_units(self):
        tiers = (
            *(Tier(Decimal(bound * 10**16), Decimal(10**9)) for bound in range(1, 100)),
            Tier(None, Decimal(1)),
        )
        # 99 × 10^16 at 10^9, and the rest of 10^31 at 1.
        cents = 99 * 10**25 + 10**31 - 99 * 10**16

        assert lines_of(usage(model=GRADUATED, tiers=tiers), "1e31") == [("usage", Decimal("1e31"), cents, cents)]

    def test_a_price_without_an_end_as_a_decimal_is_written_with_twelve(self):
        component = usage(unit_cost_cents=Decimal(1), divide_by=Decimal(3))

        assert lines_of(component, "1e31")[0][2:] == (
            Decimal("3333333333333333333333333333333.333333333333"),
            3333333333333333333333333333333,
        )


COSTS = st.decimals(0, 1000, places=12, allow_nan=False, allow_infinity=False)
QUANTITIES = st.decimals(0, 10**6, places=6, allow_nan=False, allow_infinity=False)
CHARGES = st.builds(
    Charge,
    model=st.sampled_from(MODELS),
    unit_cost_cents=COSTS,
    tiers=st.tuples(
        st.builds(Tier, st.just(Decimal("500.5")), COSTS, COSTS, COSTS), st.builds(Tier, st.none(), COSTS, COSTS, COSTS)
    ),
    package_size=st.decimals("0.000001", 1000, places=6),
    package_cost_cents=COSTS,
    rate_percent=COSTS,
    divide_by=st.none() | st.just(Decimal(1000)),
    divide_round=st.sampled_from(["none", "up", "down", "half_up"]),
    included_units=st.just(ZERO) | QUANTITIES,
    minimum_cents=st.none() | st.integers(0, 10**6),
    maximum_cents=st.none() | st.integers(10**6, 10**9),
)


class TestProperties:
    @MACHINES_MAY_BE_BUSY
    @given(CHARGES, QUANTITIES)
    def test_without_credits_the_line_is_the_bounded_price(self, charge, quantity):
        ((_, _, unrounded, cents),) = lines_of(PreviewedComponent("calls", "usage", "Calls", charge), quantity)
        exact = bounded(charge, price_of(charge, quantity))

        assert (unrounded, cents) == (written_exactly(exact), round_cents(exact))

    @MACHINES_MAY_BE_BUSY
    @given(CHARGES, QUANTITIES, QUANTITIES)
    def test_lines_add_up_to_what_an_invoice_would_charge(self, charge, quantity, credit):
        component = PreviewedComponent("calls", "usage", "Calls", charge)
        charged, credited = preview([component], quantities={"calls": Quantity(quantity)}, credits={"calls": credit})
        included = min(quantity, charge.included_metered_units)
        billed = rate(
            charge,
            used=quantity,
            by_grant={7: min(credit, quantity - included)},
            hidden=frozenset(),
            included=included,
        )

        assert charged.amount_cents + credited.amount_cents == billed.net_cents
        assert charged.unrounded + credited.unrounded == billed.unrounded_net
        assert credited.amount_cents <= 0

    @MACHINES_MAY_BE_BUSY
    @given(CHARGES, QUANTITIES, QUANTITIES, QUANTITIES)
    def test_more_credits_never_raise_the_sum(self, charge, quantity, one, other):
        component = PreviewedComponent("calls", "usage", "Calls", charge)
        more, less = (
            sum(line[3] for line in lines_of(component, quantity, credit))
            for credit in sorted((one, other), reverse=True)
        )

        assert more <= less <= lines_of(component, quantity)[0][3]
