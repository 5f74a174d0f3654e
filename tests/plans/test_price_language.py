from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plans.models import Metric
from plans.periods import Clock
from plans.price_language import ComponentTerms, read_flat_fields, read_pricing_data
from plans.pricing import GRADUATED, GRADUATED_PERCENTAGE, PACKAGE, PER_UNIT, PERCENTAGE, VOLUME, Tier
from plans.refusals import InvalidInput
from plans.serializers.prices import component_words
from plans.services.prices import component_of
from tests.plans.price_samples import (
    BARE_USAGE,
    BY_PACKAGE,
    BY_PERCENT,
    BY_RATES,
    BY_TIERS,
    BY_VOLUME,
    FIXED,
    MONTHLY,
    SEATS,
    TIERS,
    USAGE,
    data,
    path_refused,
    read_one,
    tier,
)

# How long drawing takes says nothing about what is tested.
MACHINES_MAY_BE_BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class TestReading:
    def test_reads_a_fee_and_a_unit_price(self):
        fee = FIXED | {"component_id": "base", "component_name": "base_fee", "label": "Base fee"}
        usage = USAGE | {"unit_label": "call", "model": "per_unit", "unit_cost_cents": "0.000000000001"}

        assert read_pricing_data(data(fee, usage)) == [
            ComponentTerms(
                kind="fixed",
                clock=MONTHLY,
                component_id="base",
                component_name="base_fee",
                label="Base fee",
                amount_cents=2900,
            ),
            ComponentTerms(
                kind="usage",
                clock=MONTHLY,
                unit_label="call",
                metric_id="met_1",
                unit_cost_cents=Decimal("0.000000000001"),
            ),
        ]

    def test_reads_seats(self):
        seats = SEATS | {"metric_id": "met_9", "bill_immediately": False, "minimum_quantity": 3, "unit_label": "seat"}

        assert read_one(seats) == ComponentTerms(
            kind="per_unit",
            clock=MONTHLY,
            unit_label="seat",
            metric_id="met_9",
            amount_cents=1500,
            minimum_quantity=3,
            bill_immediately=False,
        )
        assert read_one(SEATS) == ComponentTerms(kind="per_unit", clock=MONTHLY, amount_cents=1500)

    @pytest.mark.parametrize("key", ["minimum_quantity", "min_seats", "minSeats"])
    def test_reads_the_minimum_of_seats_under_each_of_its_names(self, key):
        assert read_one(SEATS | {key: "5"}).minimum_quantity == 5
        assert read_one(SEATS | {key: 5, "minimum_quantity": 5}).minimum_quantity == 5

    @pytest.mark.parametrize("kind", [BARE_USAGE, {"type": "per_unit", "recurrence_rule": "FREQ=MONTHLY"}])
    @pytest.mark.parametrize("model", [GRADUATED, VOLUME])
    def test_reads_tiers_of_usage_and_of_units(self, kind, model):
        terms = read_one(kind | {"model": model, "tiers": TIERS, "first_tier_flat_at_zero": True})

        assert (terms.model, terms.first_tier_flat_at_zero) == (model, True)
        assert terms.tiers == (
            Tier(up_to=Decimal(1000), unit_cost_cents=Decimal(5)),
            Tier(up_to=None, unit_cost_cents=Decimal(4)),
        )

    def test_reads_tiers_of_a_flat_cost_alone(self):
        tiers = [{"up_to": "0.5", "flat_cost_cents": "1000.5"}, {"flat_cost_cents": 2000}]

        assert read_one(BY_TIERS | {"tiers": tiers}).tiers == (
            Tier(up_to=Decimal("0.5"), flat_cost_cents=Decimal("1000.5")),
            Tier(up_to=None, flat_cost_cents=Decimal(2000)),
        )

    def test_reads_rates_by_tiers(self):
        assert read_one(BY_RATES).tiers == (
            Tier(up_to=Decimal(1000), rate_percent=Decimal(3)),
            Tier(up_to=None, rate_percent=Decimal("2.5")),
        )

    def test_reads_packages(self):
        terms = read_one(BY_PACKAGE | {"package_round": "down"})

        assert (terms.package_size, terms.package_cost_cents, terms.package_round) == (1000, 250, "down")
        assert read_one(BY_PACKAGE).package_round == "up"

    def test_reads_percentages(self):
        terms = read_one(BY_PERCENT | {"fixed_cost_cents": "30"})

        assert (terms.rate_percent, terms.fixed_cost_cents) == (Decimal("2.9"), 30)
        assert read_one(BY_PERCENT).fixed_cost_cents == 0

    @pytest.mark.parametrize("component", [USAGE, BY_TIERS, BY_VOLUME, BY_RATES, BY_PACKAGE, BY_PERCENT, SEATS])
    def test_reads_the_options_of_every_model(self, component):
        terms = read_one(
            component
            | {
                "divide_by": "1000000000",
                "divide_round": "half_up",
                "included_units": "10",
                "minimum_cents": "100",
                "maximum_cents": 100,
            }
        )

        assert (terms.divide_by, terms.divide_round, terms.included_units) == (10**9, "half_up", 10)
        assert (terms.minimum_cents, terms.maximum_cents) == (100, 100)

    def test_null_is_the_same_as_leaving_a_key_out(self):
        optional = [
            "model", "tiers", "package_size", "included_units", "divide_by", "minimum_cents", "component_id", "label",
            "first_tier_flat_at_zero", "fixed_cost_cents",
        ]  # fmt: skip

        assert read_one(USAGE | dict.fromkeys(optional)) == read_one(USAGE)

    @pytest.mark.parametrize("amount", [0, 10**12, Decimal("2900"), Decimal("2900.00"), Decimal("2.9E+3")])
    @pytest.mark.parametrize("component", [FIXED, SEATS])
    def test_takes_whole_amounts(self, component, amount):
        terms = read_one(component | {"amount_cents": amount})

        assert terms.amount_cents == amount
        assert isinstance(terms.amount_cents, int)

    @pytest.mark.parametrize("cost", [0, 5, 10**9, Decimal("0.1"), "0.1", "1e-12", "5.0000000000000000000000000000"])
    def test_takes_unit_costs_with_up_to_twelve_decimals(self, cost):
        assert read_one(USAGE | {"unit_cost_cents": cost}).unit_cost_cents == Decimal(cost)

    @pytest.mark.parametrize("bound", ["0.000001", 1, "1e17", "999999999999999999.999999", Decimal("2.50")])
    def test_takes_bounds_with_18_digits_before_and_6_after_the_point(self, bound):
        tiers = [tier(bound), tier(None)]

        assert read_one(BY_TIERS | {"tiers": tiers}).tiers[0].up_to == Decimal(bound)

    def test_takes_a_hundred_tiers(self):
        tiers = [*(tier(bound) for bound in range(1, 100)), tier(None)]

        assert len(read_one(BY_TIERS | {"tiers": tiers}).tiers) == 100

    def test_takes_monthly_in_yearly_days_in_all_and_two_metrics(self):
        yearly = USAGE | {"metric_id": "met_2", "recurrence_rule": "FREQ=YEARLY"}
        first_days = FIXED | {"recurrence_rule": "FREQ=DAILY;COUNT=3"}

        assert len(read_pricing_data(data(FIXED, USAGE, yearly, first_days))) == 4

    def test_a_fee_of_one_month_is_a_fee_that_comes_once(self):
        once = read_one(FIXED | {"recurrence_rule": "RRULE:FREQ=MONTHLY;COUNT=1"})

        assert once.clock == Clock("MONTHLY", count=1)


class TestOtherShapes:
    @pytest.mark.parametrize(
        ("shape", "clock", "amount_cents"),
        [
            (
                {"type": "recurring", "interval": "month", "intervalCount": 1, "amountCents": 2999},
                MONTHLY,
                2999,
            ),
            (
                {"type": "recurring", "interval": "week", "intervalCount": Decimal("2.0"), "amountCents": 5},
                Clock("WEEKLY", 2),
                5,
            ),
            ({"type": "flat_rate", "amount": 2900, "interval": "year"}, Clock("YEARLY"), 2900),
            ({"type": "flat_rate", "amount": 0}, MONTHLY, 0),
            ({"unitAmountCents": 2900, "billingInterval": "year", "pricingModel": "flat"}, Clock("YEARLY"), 2900),
            ({"unitAmountCents": 2900}, MONTHLY, 2900),
        ],
    )
    def test_a_fee_becomes_a_fixed_component(self, shape, clock, amount_cents):
        assert read_pricing_data(shape) == [ComponentTerms("fixed", clock, amount_cents=amount_cents)]

    def test_tiers_without_a_metric_become_units_in_advance(self):
        tiers = [{"upTo": 100, "unitAmount": 1000}, {"upTo": None, "unitAmount": 800}]

        assert read_pricing_data({"type": "tiered", "tiers": tiers}) == [
            ComponentTerms(
                "per_unit",
                MONTHLY,
                model=GRADUATED,
                tiers=(
                    Tier(up_to=Decimal(100), unit_cost_cents=Decimal(1000)),
                    Tier(up_to=None, unit_cost_cents=Decimal(800)),
                ),
            )
        ]

    def test_tiers_with_a_metric_become_usage(self):
        (terms,) = read_pricing_data({"type": "tiered", "metricId": "met_1", "tiers": [{"unitAmount": "0.5"}]})

        assert (terms.kind, terms.metric_id, terms.model) == ("usage", "met_1", GRADUATED)
        assert terms.tiers == (Tier(up_to=None, unit_cost_cents=Decimal("0.5")),)

    def test_seats_and_usage_by_flat_fields(self):
        seats, usage = {"pricingModel": "per_seat"}, {"pricingModel": "usage", "metricId": "met_1"}

        assert read_flat_fields(seats | {"unitAmountCents": 1500}) == ComponentTerms(
            "per_unit", MONTHLY, amount_cents=1500
        )
        assert read_flat_fields(usage | {"unitAmountCents": 5}) == ComponentTerms(
            "usage", MONTHLY, metric_id="met_1", unit_cost_cents=Decimal(5)
        )

    @pytest.mark.parametrize(
        ("shape", "field"),
        [
            ({"type": "one_time", "amount": 5}, "type"),
            ({"type": ["recurring"]}, "type"),
            ({"type": "recurring"}, "amountCents"),
            ({"type": "recurring", "amount": 5}, "amount"),
            ({"type": "recurring", "amountCents": -1}, "amountCents"),
            ({"type": "recurring", "amountCents": Decimal("0.5")}, "amountCents"),
            ({"type": "recurring", "amountCents": 5, "interval": "day"}, "interval"),
            ({"type": "recurring", "amountCents": 5, "interval": ["month"]}, "interval"),
            ({"type": "recurring", "amountCents": 5, "intervalCount": 0}, "intervalCount"),
            ({"type": "recurring", "amountCents": 5, "intervalCount": 61}, "intervalCount"),
            ({"type": "recurring", "amountCents": 5, "interval": "year", "intervalCount": 6}, "intervalCount"),
            ({"type": "recurring", "amountCents": 5, "intervalCount": "1;COUNT=3"}, "intervalCount"),
            ({"type": "flat_rate", "amount": "2900"}, "amount"),
            ({"type": "tiered"}, "tiers"),
            ({"type": "tiered", "tiers": []}, "tiers"),
            ({"type": "tiered", "tiers": [{"upTo": 5, "unitAmount": 1}]}, "tiers[0].upTo"),
            ({"type": "tiered", "tiers": [{"upTo": None}]}, "tiers[0].unitAmount"),
            ({"type": "tiered", "tiers": [{"up_to": None, "unitAmount": 1}]}, "tiers[0].up_to"),
            ({"type": "tiered", "tiers": [{"upTo": None, "unitAmount": -1}]}, "tiers[0].unitAmount"),
            ({"type": "tiered", "tiers": [{"unitAmount": 1}], "metricId": 5}, "metricId"),
            ({"unitAmountCents": 5, "pricingModel": "tiered"}, "pricingModel"),
            ({"unitAmountCents": 5, "pricingModel": "package"}, "pricingModel"),
            ({"unitAmountCents": 5, "pricingModel": ["flat"]}, "pricingModel"),
            ({"unitAmountCents": 5, "pricingModel": "usage"}, "metricId"),
            ({"unitAmountCents": 5, "metricId": "met_1"}, "metricId"),
            ({"unitAmountCents": 5, "billingInterval": "week"}, "billingInterval"),
            ({"unitAmountCents": 5, "billingInterval": ["month"]}, "billingInterval"),
            ({"billingInterval": "month"}, "unitAmountCents"),
            ({"unitAmountCents": "5"}, "unitAmountCents"),
            ({"unitAmountCents": 5, "surprise": 1}, "surprise"),
        ],
    )
    def test_refuses_by_the_path_of_the_field(self, shape, field):
        assert path_refused(shape) == f"pricingData.{field}"

    @pytest.mark.parametrize("field", ["unitAmountCents", "billingInterval", "pricingModel"])
    def test_flat_fields_of_a_body_are_refused_by_their_own_names(self, field):
        with pytest.raises(InvalidInput) as refused:
            read_flat_fields({"unitAmountCents": 5} | {field: True})

        assert refused.value.details[0]["path"] == field


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            [*FIXED, *USAGE, *BY_TIERS, *BY_PACKAGE, *TIERS[0], "dsl_version", "components", "interval", "amountCents"]
        )
        | st.text(),
        inner,
        max_size=6,
    ),
    max_leaves=12,
)
VALID = [FIXED, SEATS, USAGE, BY_TIERS, BY_VOLUME, BY_RATES, BY_PACKAGE, BY_PERCENT]
OPTIONS = [
    "tiers",
    "divide_by",
    "divide_round",
    "included_units",
    "minimum_cents",
    "maximum_cents",
    "model",
    "minSeats",
]


class TestAnythingElse:
    @MACHINES_MAY_BE_BUSY
    @given(ANY_JSON)
    def test_is_refused_by_name_and_never_breaks(self, value):
        for attempt in (value, data(value), data(FIXED, value), {"type": "tiered", "tiers": value}):
            try:
                read_pricing_data(attempt)
            except InvalidInput as refused:
                assert refused.details[0]["path"].startswith("pricingData")

    @MACHINES_MAY_BE_BUSY
    @given(st.sampled_from(VALID), st.sampled_from([*USAGE, *BY_PACKAGE, *OPTIONS]), ANY_JSON)
    def test_in_a_term_of_a_component_is_refused_at_that_term_or_one_it_concerns(self, component, key, value):
        attempt = data(component | {key: value})
        before = deepcopy(attempt)
        try:
            read_pricing_data(attempt)
        except InvalidInput as refused:
            assert refused.details[0]["path"].startswith("pricingData.components[0].")

        assert attempt == before


def _numbers(largest: int, decimals: int, least: Any = 0) -> Any:
    return st.decimals(least, largest, allow_nan=False, allow_infinity=False, places=decimals)


COSTS, UNITS = _numbers(10**9, 12), _numbers(10**11, 6)
SOME_UNITS = _numbers(10**6, 6, "0.000001")


@st.composite
def components(draw):
    """A component as a caller may write it."""
    kind = draw(st.sampled_from(["fixed", "per_unit", "usage"]))
    rule = draw(st.sampled_from(["FREQ=MONTHLY", "RRULE:FREQ=YEARLY;INTERVAL=2;COUNT=3", "FREQ=DAILY;UNTIL=20261231"]))
    words = {"type": kind, "component_id": draw(st.text(min_size=1, max_size=80)), "recurrence_rule": rule}
    words |= draw(st.fixed_dictionaries({}, optional={"label": st.text(max_size=200), "component_name": st.just("x")}))
    if kind == "fixed":
        return words | {"amount_cents": draw(st.integers(0, 10**12))}
    if kind == "usage":
        words["metric_id"] = "met_1"
    models = [PER_UNIT, GRADUATED, VOLUME, PACKAGE, *([PERCENTAGE, GRADUATED_PERCENTAGE] if kind == "usage" else [])]
    words["model"] = draw(st.sampled_from(models))
    words |= draw(_model_terms(kind, words["model"]))
    if kind == "per_unit":
        words |= draw(
            st.fixed_dictionaries({}, optional={"minSeats": st.integers(0, 10**6), "bill_immediately": st.booleans()})
        )
    low, high = sorted(draw(st.tuples(st.integers(0, 10**12), st.integers(0, 10**12))))
    return words | draw(
        st.fixed_dictionaries(
            {},
            optional={
                "divide_by": st.just("1000"),
                "included_units": UNITS,
                "minimum_cents": st.just(low),
                "maximum_cents": st.just(high),
                "unit_label": st.text(max_size=60),
            },
        )
    )


def _model_terms(kind, model):
    if model == PER_UNIT:
        return st.fixed_dictionaries(
            {"unit_cost_cents": COSTS} if kind == "usage" else {"amount_cents": st.integers(0, 10**12)}
        )
    if model == PACKAGE:
        return st.fixed_dictionaries(
            {"package_size": SOME_UNITS, "package_cost_cents": COSTS},
            optional={"package_round": st.sampled_from(["up", "down"])},
        )
    if model == PERCENTAGE:
        return st.fixed_dictionaries({"rate_percent": _numbers(100, 12)}, optional={"fixed_cost_cents": COSTS})
    price = "rate_percent" if model == GRADUATED_PERCENTAGE else "unit_cost_cents"
    tiers = st.lists(SOME_UNITS, unique=True, max_size=5).flatmap(
        lambda bounds: st.tuples(
            *(
                st.fixed_dictionaries(
                    {"up_to": st.just(bound), price: _numbers(10**6, 12)}, optional={"flat_cost_cents": COSTS}
                )
                for bound in [*sorted(bounds), None]
            )
        ).map(list)
    )
    return st.fixed_dictionaries({"tiers": tiers}, optional={"first_tier_flat_at_zero": st.booleans()})


@MACHINES_MAY_BE_BUSY
@given(components())
def test_what_is_written_reads_as_the_same_terms(words):
    terms = read_one(words)
    component = component_of(terms, position=0)
    component.metric = Metric(public_id=terms.metric_id) if terms.metric_id else None

    assert read_one(component_words(component)) == terms
