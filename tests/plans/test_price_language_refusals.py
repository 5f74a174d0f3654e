from decimal import Decimal

import pytest

from plans.pricing import GRADUATED, GRADUATED_PERCENTAGE, PERCENTAGE, VOLUME
from tests.plans.price_samples import (
    BARE_USAGE,
    BY_PACKAGE,
    BY_PERCENT,
    BY_RATES,
    BY_TIERS,
    BY_VOLUME,
    FIXED,
    RATES,
    SEATS,
    TIERS,
    USAGE,
    data,
    field_refused,
    path_refused,
    read_one,
    tier,
)


class TestRefusing:
    @pytest.mark.parametrize("value", [None, [], "x", 5, True])
    def test_what_is_no_object(self, value):
        assert path_refused(value) == "pricingData"
        assert path_refused(value, path="price") == "price"

    @pytest.mark.parametrize("version", [None, 0, 2, "1", True, Decimal("1.5"), [1]])
    def test_other_versions(self, version):
        assert path_refused(data(FIXED, dsl_version=version)) == "pricingData.dsl_version"
        assert path_refused({}) == "pricingData.dsl_version"

    def test_unknown_keys_of_a_price(self):
        assert path_refused(data(FIXED, currency="USD")) == "pricingData.currency"
        assert path_refused(data(FIXED, type="recurring")) == "pricingData.type"
        assert path_refused({"surprise": 1}) == "pricingData.surprise"

    @pytest.mark.parametrize("components", [None, {}, "x", [], [FIXED] * 51])
    def test_no_components_or_too_many(self, components):
        assert path_refused({"dsl_version": 1, "components": components}) == "pricingData.components"

    @pytest.mark.parametrize("component", [None, [], "fixed", 5])
    def test_a_component_that_is_no_object(self, component):
        assert path_refused(data(FIXED, component)) == "pricingData.components[1]"

    @pytest.mark.parametrize("kind", [None, "", "seats", "FIXED", 5, ["fixed"], {"type": "fixed"}])
    def test_an_unknown_type(self, kind):
        assert field_refused(FIXED | {"type": kind}) == "type"

    @pytest.mark.parametrize(
        ("component", "field"),
        [
            (FIXED | {"unit_cost_cents": 5}, "unit_cost_cents"),
            (FIXED | {"metric_id": "met_1"}, "metric_id"),
            (FIXED | {"model": "per_unit"}, "model"),
            (FIXED | {"minimum_cents": 5}, "minimum_cents"),
            (USAGE | {"amount_cents": 5}, "amount_cents"),
            (USAGE | {"bill_immediately": True}, "bill_immediately"),
            (USAGE | {"min_seats": 5}, "min_seats"),
            (SEATS | {"unit_cost_cents": 5}, "unit_cost_cents"),
            (SEATS | {"rate_percent": 5}, "rate_percent"),
            (USAGE | {"currency": "USD"}, "currency"),
            (USAGE | {"": 5}, ""),
        ],
    )
    def test_keys_that_the_type_does_not_have(self, component, field):
        assert field_refused(component) == field

    @pytest.mark.parametrize(
        ("component", "field"),
        [
            (USAGE | {"tiers": TIERS}, "tiers"),
            (USAGE | {"package_size": 10}, "package_size"),
            (USAGE | {"rate_percent": 1}, "rate_percent"),
            (USAGE | {"fixed_cost_cents": 0}, "fixed_cost_cents"),
            (USAGE | {"first_tier_flat_at_zero": False}, "first_tier_flat_at_zero"),
            (BY_TIERS | {"unit_cost_cents": 5}, "unit_cost_cents"),
            (BY_TIERS | {"package_size": 10}, "package_size"),
            (BY_TIERS | {"fixed_cost_cents": 30}, "fixed_cost_cents"),
            (BY_TIERS | {"rate_percent": 1}, "rate_percent"),
            (BY_VOLUME | {"package_cost_cents": 5}, "package_cost_cents"),
            (BY_RATES | {"rate_percent": 1}, "rate_percent"),
            (BY_RATES | {"fixed_cost_cents": 30}, "fixed_cost_cents"),
            (BY_PACKAGE | {"tiers": TIERS}, "tiers"),
            (BY_PACKAGE | {"unit_cost_cents": 5}, "unit_cost_cents"),
            (BY_PACKAGE | {"fixed_cost_cents": 30}, "fixed_cost_cents"),
            (BY_PERCENT | {"unit_cost_cents": 5}, "unit_cost_cents"),
            (BY_PERCENT | {"tiers": RATES}, "tiers"),
            (SEATS | {"model": "graduated", "tiers": TIERS}, "amount_cents"),
            (SEATS | {"tiers": TIERS}, "tiers"),
            (BY_TIERS | {"tiers": RATES}, "tiers[0].rate_percent"),
            (BY_RATES | {"tiers": TIERS}, "tiers[0].unit_cost_cents"),
        ],
    )
    def test_models_that_are_mixed(self, component, field):
        assert field_refused(component) == field

    @pytest.mark.parametrize("model", ["", "tiered", "GRADUATED", 5, ["per_unit"], True])
    def test_other_models(self, model):
        assert field_refused(USAGE | {"model": model}) == "model"

    @pytest.mark.parametrize("model", [PERCENTAGE, GRADUATED_PERCENTAGE])
    def test_percentages_of_units_in_advance(self, model):
        seats = {"type": "per_unit", "recurrence_rule": "FREQ=MONTHLY", "model": model, "tiers": RATES}

        assert field_refused(seats) == "model"

    @pytest.mark.parametrize(
        ("component", "missing"),
        [
            (FIXED, "amount_cents"),
            (FIXED, "recurrence_rule"),
            (SEATS, "amount_cents"),
            (USAGE, "unit_cost_cents"),
            (USAGE, "metric_id"),
            (BY_TIERS, "tiers"),
            (BY_VOLUME, "tiers"),
            (BY_RATES, "tiers"),
            (BY_PACKAGE, "package_size"),
            (BY_PACKAGE, "package_cost_cents"),
            (BY_PERCENT, "rate_percent"),
        ],
    )
    def test_terms_that_are_missing(self, component, missing):
        rest = {key: value for key, value in component.items() if key != missing}

        assert field_refused(rest) == missing
        assert field_refused(rest | {missing: None}) == missing

    @pytest.mark.parametrize(
        ("tiers", "field"),
        [
            ({}, "tiers"),
            ("1000", "tiers"),
            ([], "tiers"),
            ([*(tier(bound) for bound in range(1, 101)), tier(None)], "tiers"),
            ([None], "tiers[0]"),
            ([tier(10), "5"], "tiers[1]"),
            ([tier(10), {"up_to": None, "unit_cost_cents": 1, "price": 1}], "tiers[1].price"),
            ([{"up_to": None}], "tiers[0].unit_cost_cents"),
            ([{"up_to": 5, "unit_cost_cents": None}, tier(None)], "tiers[0].unit_cost_cents"),
            # No open end.
            ([tier(10)], "tiers[0].up_to"),
            ([tier(10), tier(20)], "tiers[1].up_to"),
            # The open end is not the last.
            ([tier(None), tier(None)], "tiers[0].up_to"),
            ([tier(None), tier(10)], "tiers[0].up_to"),
            # Out of order.
            ([tier(10), tier(5), tier(None)], "tiers[1].up_to"),
            ([tier(10), tier("10.0"), tier(None)], "tiers[1].up_to"),
            ([tier(0), tier(None)], "tiers[0].up_to"),
            ([tier(-1), tier(None)], "tiers[0].up_to"),
            ([tier("x"), tier(None)], "tiers[0].up_to"),
            ([tier(True), tier(None)], "tiers[0].up_to"),
            ([tier(10**18), tier(None)], "tiers[0].up_to"),
            ([tier("0.0000001"), tier(None)], "tiers[0].up_to"),
            ([tier(10), tier(None, unit_cost_cents=-1)], "tiers[1].unit_cost_cents"),
            ([tier(None, unit_cost_cents="0.0000000000001")], "tiers[0].unit_cost_cents"),
            ([tier(None, unit_cost_cents=10**9 + 1)], "tiers[0].unit_cost_cents"),
            ([tier(None, flat_cost_cents=-1)], "tiers[0].flat_cost_cents"),
            ([tier(None, flat_cost_cents="1e13")], "tiers[0].flat_cost_cents"),
        ],
    )
    @pytest.mark.parametrize("model", [GRADUATED, VOLUME])
    def test_impossible_tiers(self, model, tiers, field):
        assert field_refused(BARE_USAGE | {"model": model, "tiers": tiers}) == field

    @pytest.mark.parametrize("rate", [-1, "x", "0.0000000000001", 10**6 + 1, True])
    def test_impossible_rates(self, rate):
        assert field_refused(BY_PERCENT | {"rate_percent": rate}) == "rate_percent"
        assert field_refused(BY_RATES | {"tiers": [{"rate_percent": rate}]}) == "tiers[0].rate_percent"

    @pytest.mark.parametrize(
        ("component", "field", "values"),
        [
            (BY_PACKAGE, "package_size", [0, -1, "0", "x", 10**18, "0.0000001", True]),
            (BY_PACKAGE, "package_cost_cents", [-1, "x", 10**12 + 1, "0.0000000000001", False]),
            (BY_PACKAGE, "package_round", ["UP", "half_up", 1, True, ["up"]]),
            (BY_PERCENT, "fixed_cost_cents", [-1, "x", 10**9 + 1]),
            (BY_TIERS, "first_tier_flat_at_zero", ["true", 1, 0]),
            (USAGE, "divide_by", [0, -1, "x", 10**18, "0.0000001", "1e-7"]),
            (USAGE | {"divide_by": 10}, "divide_round", ["nearest", "UP", 1, ["up"]]),
            (USAGE, "included_units", [-1, "x", 10**18, "0.0000001", True]),
            (USAGE, "minimum_cents", [-1, "x", "0.5", Decimal("0.5"), 10**12 + 1, True]),
            (USAGE, "maximum_cents", [-1, "x", Decimal("0.5"), 10**12 + 1, []]),
            (SEATS, "minimum_quantity", [-1, "x", "1.5", 10**6 + 1, True]),
            (SEATS, "minSeats", [-1, "x"]),
            (SEATS, "bill_immediately", ["false", 0, 1]),
            (SEATS, "metric_id", [5, "m" * 81]),
        ],
    )
    def test_terms_out_of_bounds(self, component, field, values):
        for value in values:
            assert field_refused(component | {field: value}) == field

    def test_two_names_of_the_minimum_of_seats_that_disagree(self):
        assert field_refused(SEATS | {"minimum_quantity": 3, "minSeats": 5}) == "minSeats"

    def test_a_minimum_above_the_maximum(self):
        assert field_refused(USAGE | {"minimum_cents": 101, "maximum_cents": 100}) == "maximum_cents"

    def test_rounding_without_a_division(self):
        assert field_refused(USAGE | {"divide_round": "up"}) == "divide_round"
        assert read_one(USAGE | {"divide_round": "none"}).divide_by is None

    def test_included_units_that_have_no_exact_number_of_metered_ones(self):
        # 0.000001 × 1.5 has seven decimals, 10^12 × 10^6 has 19 digits.
        assert field_refused(USAGE | {"included_units": "0.000001", "divide_by": "1.5"}) == "included_units"
        assert field_refused(USAGE | {"included_units": 10**12, "divide_by": 10**6}) == "included_units"
        rounded = {"included_units": "1.5", "divide_by": 1000, "divide_round": "up"}
        assert field_refused(USAGE | rounded) == "included_units"
        assert read_one(USAGE | {"included_units": "0.000002", "divide_by": "1.5"}).divide_by == Decimal("1.5")

    @pytest.mark.parametrize(
        "amount",
        [None, -1, 10**12 + 1, "2900", True, False, Decimal("0.5"), [], {}, Decimal("NaN"), Decimal("1E+400"), 5.0],
    )
    @pytest.mark.parametrize("component", [FIXED, SEATS])
    def test_amounts_that_are_no_whole_minor_units(self, component, amount):
        assert field_refused(component | {"amount_cents": amount}) == "amount_cents"

    @pytest.mark.parametrize(
        "cost",
        [
            None, "", "x", "5 cents", True, -1, "-0.1", 10**9 + 1, "1000000000.000000000001", "0.0000000000001", "NaN",
            "sNaN", "Infinity", "-Infinity", "1e999999999", [], {}, 0.1, Decimal("1E-13"), Decimal("1E+999999"),
            # Twelve decimals once rounded to 28 digits, forty as written.
            "0.1234567890120000000000000000000000000001",
            "1.0000000000000000000000000000000000000001",
            # Nothing but zeros for the default context.
            "1e-999999999",
        ],
    )  # fmt: skip
    def test_unit_costs_out_of_bounds(self, cost):
        assert field_refused(USAGE | {"unit_cost_cents": cost}) == "unit_cost_cents"

    @pytest.mark.parametrize("cost", ["1_000", " 5 ", "5\n", "٣", "５"])
    def test_unit_costs_that_only_python_reads_as_numbers(self, cost):
        assert field_refused(USAGE | {"unit_cost_cents": cost}) == "unit_cost_cents"

    @pytest.mark.parametrize("metric", [None, "", 5, ["met_1"], "m" * 81])
    def test_a_missing_metric(self, metric):
        assert field_refused(USAGE | {"metric_id": metric}) == "metric_id"

    @pytest.mark.parametrize(
        ("key", "longest"), [("component_id", 80), ("component_name", 120), ("label", 200), ("unit_label", 60)]
    )
    def test_texts_that_are_too_long_or_no_texts(self, key, longest):
        assert read_one(USAGE | {key: "x" * longest})
        assert field_refused(USAGE | {key: "x" * (longest + 1)}) == key
        assert field_refused(USAGE | {key: 5}) == key

    @pytest.mark.parametrize("rule", [None, "FREQ=DAILY", "FREQ=MONTHLY;TZID=Europe/Berlin", 5])
    def test_rules_of_no_clock(self, rule):
        assert field_refused(USAGE | {"recurrence_rule": rule}) == "recurrence_rule"

    def test_the_same_component_id_twice(self):
        one, other = FIXED | {"component_id": "a"}, USAGE | {"component_id": "a"}

        assert path_refused(data(one, other)) == "pricingData.components[1].component_id"

    @pytest.mark.parametrize("again", [USAGE, BY_TIERS, SEATS | {"metric_id": "met_1"}])
    def test_the_same_metric_twice(self, again):
        assert path_refused(data(USAGE, FIXED, again)) == "pricingData.components[2].metric_id"

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("FREQ=WEEKLY", "FREQ=MONTHLY"),
            ("FREQ=MONTHLY;INTERVAL=5", "FREQ=YEARLY"),
            ("FREQ=YEARLY", "FREQ=WEEKLY"),
            ("FREQ=DAILY;INTERVAL=7;COUNT=2", "FREQ=WEEKLY"),
            ("FREQ=MONTHLY", "FREQ=DAILY;INTERVAL=30;COUNT=2"),
        ],
    )
    def test_clocks_that_do_not_nest(self, one, other):
        fee, usage = FIXED | {"recurrence_rule": one}, USAGE | {"recurrence_rule": other}

        assert path_refused(data(fee, usage)) == "pricingData.components[1].recurrence_rule"

    def test_the_fault_of_a_later_component_has_its_own_path(self):
        broken = BY_TIERS | {"tiers": [tier(None), tier(None)]}

        assert path_refused(data(FIXED, broken)) == "pricingData.components[1].tiers[0].up_to"
