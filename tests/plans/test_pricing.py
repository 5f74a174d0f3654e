from copy import deepcopy
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plans.periods import Clock
from plans.price_language import ComponentTerms, price_of, read_pricing_data
from plans.refusals import InvalidInput

FIXED = {"type": "fixed", "amount_cents": 2900, "recurrence_rule": "RRULE:FREQ=MONTHLY;INTERVAL=1"}
USAGE = {"type": "usage", "metric_id": "met_1", "unit_cost_cents": 5, "recurrence_rule": "FREQ=MONTHLY"}


def data(*components, **changes):
    return {"dsl_version": 1, "components": list(components)} | changes


def path_refused(value, **words):
    with pytest.raises(InvalidInput) as refused:
        read_pricing_data(value, **words)
    (detail,) = refused.value.details
    assert detail["message"]
    return detail["path"]


class TestReading:
    def test_reads_a_fee_and_a_unit_price(self):
        fee = FIXED | {"component_id": "base", "component_name": "base_fee", "label": "Base fee"}
        usage = USAGE | {"unit_label": "call", "model": "per_unit", "unit_cost_cents": "0.000000000001"}

        assert read_pricing_data(data(fee, usage)) == [
            ComponentTerms(
                kind="fixed",
                clock=Clock("MONTHLY"),
                component_id="base",
                component_name="base_fee",
                label="Base fee",
                amount_cents=2900,
            ),
            ComponentTerms(
                kind="usage",
                clock=Clock("MONTHLY"),
                unit_label="call",
                metric_id="met_1",
                unit_cost_cents=Decimal("0.000000000001"),
            ),
        ]

    @pytest.mark.parametrize("amount", [0, 10**12, Decimal("2900"), Decimal("2900.00"), Decimal("2.9E+3")])
    def test_takes_whole_amounts(self, amount):
        (terms,) = read_pricing_data(data(FIXED | {"amount_cents": amount}))

        assert terms.amount_cents == amount
        assert isinstance(terms.amount_cents, int)

    @pytest.mark.parametrize("cost", [0, 5, 10**9, Decimal("0.1"), "0.1", "1e-12", "5.0000000000000000000000000000"])
    def test_takes_unit_costs_with_up_to_twelve_decimals(self, cost):
        (terms,) = read_pricing_data(data(USAGE | {"unit_cost_cents": cost}))

        assert terms.unit_cost_cents == Decimal(cost)

    def test_takes_monthly_in_yearly_and_two_metrics(self):
        yearly = USAGE | {"metric_id": "met_2", "recurrence_rule": "FREQ=YEARLY"}

        assert len(read_pricing_data(data(FIXED, USAGE, yearly))) == 3


class TestRefusing:
    @pytest.mark.parametrize("value", [None, [], "x", 5, True])
    def test_what_is_no_object(self, value):
        assert path_refused(value) == "pricingData"
        assert path_refused(value, path="price") == "price"

    @pytest.mark.parametrize("version", [None, 0, 2, "1", True, Decimal("1.5"), [1]])
    def test_other_versions(self, version):
        assert path_refused(data(FIXED, dsl_version=version)) == "pricingData.dsl_version"

    def test_unknown_keys_of_a_price(self):
        assert path_refused(data(FIXED, currency="USD")) == "pricingData.currency"

    @pytest.mark.parametrize("components", [None, {}, "x", [], [FIXED] * 51])
    def test_no_components_or_too_many(self, components):
        assert path_refused({"dsl_version": 1, "components": components}) == "pricingData.components"

    @pytest.mark.parametrize("component", [None, [], "fixed", 5])
    def test_a_component_that_is_no_object(self, component):
        assert path_refused(data(FIXED, component)) == "pricingData.components[1]"

    @pytest.mark.parametrize("kind", [None, "", "seats", "FIXED", 5, ["fixed"], {"type": "fixed"}])
    def test_an_unknown_type(self, kind):
        assert path_refused(data(FIXED | {"type": kind})) == "pricingData.components[0].type"

    @pytest.mark.parametrize(
        ("component", "field"),
        [
            (FIXED | {"unit_cost_cents": 5}, "unit_cost_cents"),
            (FIXED | {"metric_id": "met_1"}, "metric_id"),
            (USAGE | {"amount_cents": 5}, "amount_cents"),
            (USAGE | {"tiers": []}, "tiers"),
            (USAGE | {"included_units": 5}, "included_units"),
            (USAGE | {"": 5}, ""),
        ],
    )
    def test_keys_that_the_type_does_not_have(self, component, field):
        assert path_refused(data(component)) == f"pricingData.components[0].{field}"

    @pytest.mark.parametrize(
        "amount",
        [None, -1, 10**12 + 1, "2900", True, False, Decimal("0.5"), [], {}, Decimal("NaN"), Decimal("1E+400"), 5.0],
    )
    def test_amounts_that_are_no_whole_minor_units(self, amount):
        assert path_refused(data(FIXED | {"amount_cents": amount})) == "pricingData.components[0].amount_cents"

    def test_a_missing_amount(self):
        fee = {key: value for key, value in FIXED.items() if key != "amount_cents"}

        assert path_refused(data(fee)) == "pricingData.components[0].amount_cents"

    @pytest.mark.parametrize(
        "cost",
        [
            None, "", "x", "5 cents", True, -1, "-0.1", 10**9 + 1, "1000000000.000000000001", "0.0000000000001", "NaN",
            "sNaN", "Infinity", "-Infinity", "1e999999999", [], {}, 0.1, Decimal("1E-13"),
            # Twelve decimals once rounded to 28 digits, forty as written.
            "0.1234567890120000000000000000000000000001",
            "1.0000000000000000000000000000000000000001",
            # Nothing but zeros for the default context.
            "1e-999999999",
        ],
    )  # fmt: skip
    def test_unit_costs_out_of_bounds(self, cost):
        assert path_refused(data(USAGE | {"unit_cost_cents": cost})) == "pricingData.components[0].unit_cost_cents"

    @pytest.mark.parametrize("cost", ["1_000", " 5 ", "5\n", "٣", "５"])
    def test_unit_costs_that_only_python_reads_as_numbers(self, cost):
        assert path_refused(data(USAGE | {"unit_cost_cents": cost})) == "pricingData.components[0].unit_cost_cents"

    @pytest.mark.parametrize("metric", [None, "", 5, ["met_1"], "m" * 81])
    def test_a_missing_metric(self, metric):
        assert path_refused(data(USAGE | {"metric_id": metric})) == "pricingData.components[0].metric_id"

    @pytest.mark.parametrize("model", [None, "", "graduated", 5, ["per_unit"]])
    def test_other_models(self, model):
        assert path_refused(data(USAGE | {"model": model})) == "pricingData.components[0].model"

    @pytest.mark.parametrize(
        ("key", "longest"), [("component_id", 80), ("component_name", 120), ("label", 200), ("unit_label", 60)]
    )
    def test_texts_that_are_too_long_or_no_texts(self, key, longest):
        assert read_pricing_data(data(USAGE | {key: "x" * longest}))
        assert path_refused(data(USAGE | {key: "x" * (longest + 1)})) == f"pricingData.components[0].{key}"
        assert path_refused(data(USAGE | {key: 5})) == f"pricingData.components[0].{key}"

    @pytest.mark.parametrize("rule", [None, "FREQ=DAILY", 5])
    def test_rules_of_no_clock(self, rule):
        component = FIXED | {"recurrence_rule": rule}

        assert path_refused(data(USAGE, component)) == "pricingData.components[1].recurrence_rule"

    def test_the_same_component_id_twice(self):
        one, other = FIXED | {"component_id": "a"}, USAGE | {"component_id": "a"}

        assert path_refused(data(one, other)) == "pricingData.components[1].component_id"

    def test_the_same_metric_twice(self):
        assert path_refused(data(USAGE, FIXED, USAGE)) == "pricingData.components[2].metric_id"

    @pytest.mark.parametrize(
        ("one", "other"),
        [("FREQ=WEEKLY", "FREQ=MONTHLY"), ("FREQ=MONTHLY;INTERVAL=5", "FREQ=YEARLY"), ("FREQ=YEARLY", "FREQ=WEEKLY")],
    )
    def test_clocks_that_do_not_nest(self, one, other):
        fee, usage = FIXED | {"recurrence_rule": one}, USAGE | {"recurrence_rule": other}

        assert path_refused(data(fee, usage)) == "pricingData.components[1].recurrence_rule"

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*FIXED, *USAGE, "dsl_version", "components", "label"]) | st.text(), inner, max_size=6
            ),
            max_leaves=12,
        )
    )
    def test_anything_else_is_refused_by_name_and_never_breaks(self, value):
        for attempt in (value, data(value), data(FIXED, value)):
            try:
                read_pricing_data(attempt)
            except InvalidInput as refused:
                assert refused.details[0]["path"].startswith("pricingData")

    @given(st.sampled_from([*FIXED, *USAGE]), st.none() | st.integers() | st.text() | st.lists(st.none()))
    def test_reading_does_not_change_what_it_reads(self, key, value):
        attempt = data(FIXED, USAGE | {key: value})
        before = deepcopy(attempt)
        try:
            read_pricing_data(attempt)
        except InvalidInput:
            pass

        assert attempt == before


class TestPriceOfAQuantity:
    @pytest.mark.parametrize(
        ("cost", "quantity", "price"),
        [
            ("5", "2500", "12500"),
            ("0.1", "124", "12.4"),
            ("5", "0", "0"),
            ("5", "-3", "0"),
            ("0.5", "0.000001", "0.0000005"),
        ],
    )
    def test_multiplies_and_does_not_round(self, cost, quantity, price):
        assert price_of(Decimal(cost), Decimal(quantity)) == Decimal(price)

    def test_is_exact_beyond_28_digits(self):
        assert price_of(Decimal("0.000000000001"), Decimal("1" * 32 + ".000001")) == Decimal(
            "1" * 20 + "." + "1" * 12 + "000001"
        )
