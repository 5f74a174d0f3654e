"""Prices by the seat, by tiers, packages and percentages, with bounds and conversions, as the plan form asks them."""

from decimal import Decimal
from typing import Any, ClassVar

from django import forms

from plans.admin.terms import TermsForm, sentence
from plans.price_language import (
    DSL_VERSION,
    LARGEST_AMOUNT_CENTS,
    LARGEST_MINIMUM_QUANTITY,
    LARGEST_UNIT_COST_CENTS,
    UNIT_COST_DECIMALS,
    read_pricing_data,
)
from plans.pricing import GRADUATED, PACKAGE, PER_UNIT, PERCENTAGE, VOLUME
from plans.refusals import InvalidInput

MOST_TIERS = 6
_TIERED = f"{GRADUATED} {VOLUME}"
# Where the price language says that something is wrong, and the field that it stands in.
_FIELD_OF_KEY = {"up_to": "up_to", "unit_cost_cents": "unit_cost_cents", "flat_cost_cents": "flat_cents"}
_TERMS_OF = {
    PER_UNIT: ["unit_cost_cents"],
    PACKAGE: ["package_size", "package_cost_cents", "package_round"],
    PERCENTAGE: ["rate_percent", "fixed_cost_cents"],
}
# What any model may have beside its own terms.
_COMMON_TERMS = ["divide_by", "divide_round", "minimum_cents", "maximum_cents"]


class PlainDecimalField(forms.DecimalField):
    """A number that is typed as text: a number input would drop what it cannot read when the form comes back."""

    widget = forms.TextInput

    def __init__(self, **kwargs: Any) -> None:
        words = "Write a number with digits and a point only, such as {}.".format(kwargs.pop("example"))
        super().__init__(error_messages={"invalid": words}, **kwargs)
        self.widget.attrs |= {"inputmode": "decimal", "autocomplete": "off"}


def fee_field(**kwargs: Any) -> PlainDecimalField:
    """Make a field for an amount in whole units of the currency, such as 29.00."""
    return PlainDecimalField(
        required=False, min_value=0, max_value=Decimal(LARGEST_AMOUNT_CENTS), max_digits=17, decimal_places=4, **kwargs
    )


def unit_cost_field(**kwargs: Any) -> PlainDecimalField:
    """Make a field for what a unit costs, in cents that may have decimals."""
    return PlainDecimalField(
        required=False,
        min_value=0,
        max_value=LARGEST_UNIT_COST_CENTS,
        max_digits=10 + UNIT_COST_DECIMALS,
        decimal_places=UNIT_COST_DECIMALS,
        **kwargs,
    )


def whole_cents_field(**kwargs: Any) -> forms.IntegerField:
    """Make a field for an amount in whole cents."""
    return forms.IntegerField(
        required=False,
        min_value=0,
        max_value=LARGEST_AMOUNT_CENTS,
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"}),
        **kwargs,
    )


def units_field(**kwargs: Any) -> PlainDecimalField:
    """Make a field for a quantity."""
    return PlainDecimalField(required=False, max_digits=24, decimal_places=6, **kwargs)


class SeatsForm(TermsForm):
    """What a seat costs, if a plan is paid by the seat."""

    monthly_seat_fee = fee_field(
        example="10.00",
        label="Per seat and month",
        help_text="In whole units, 10.00 for $10.00. Paid in advance, beside the base fee.",
    )
    yearly_seat_fee = fee_field(example="100.00", label="Per seat and year", help_text="For the price per year.")
    minimum_seats = forms.IntegerField(
        label="Seats at least",
        required=False,
        min_value=1,
        max_value=LARGEST_MINIMUM_QUANTITY,
        help_text="As many are paid, also with fewer members. Empty: 1.",
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"}),
    )
    seat_label = forms.CharField(
        required=False, max_length=60, help_text="What one is called, such as user. Empty: seat."
    )

    further_title = "Price per seat"
    further: ClassVar[list[tuple[str, list[str]]]] = [
        ("", ["monthly_seat_fee", "yearly_seat_fee", "minimum_seats", "seat_label"])
    ]

    def check_seats(self, cleaned: dict[str, Any]) -> None:
        """Name what is missing of a price per seat: it has to be said for each interval that the plan is sold for."""
        seats = {name: cleaned.get(f"{name}_seat_fee") for name in ("monthly", "yearly")}
        fees = {name: cleaned.get(f"{name}_fee") for name in seats}
        if self.errors:
            return
        if seats == {"monthly": None, "yearly": None}:
            if cleaned.get("minimum_seats") or cleaned.get("seat_label"):
                self.add_error("monthly_seat_fee", "Say what a seat costs, or leave the other fields of seats empty.")
            return
        for name, length in (("monthly", "month"), ("yearly", "year")):
            if seats[name] is None and fees[name] is not None:
                self.add_error(f"{name}_seat_fee", f"Say what a seat costs per {length} too; 0 is free.")
            if seats[name] is not None and fees[name] is None and any(fee is not None for fee in fees.values()):
                self.add_error(f"{name}_fee", f"Say the base fee per {length} too; 0 where only seats are paid.")


class UsagePriceForm(TermsForm):
    """How usage is priced, where a unit does not simply cost `unit_cost_cents`."""

    model = forms.ChoiceField(
        label="Priced by",
        required=False,
        choices=[
            ("", "The price per unit above"),
            (GRADUATED, "Tiers: each unit at the price of its own tier"),
            (VOLUME, "Tiers: all units at the price of the tier that they reach"),
            (PACKAGE, "Packages"),
            (PERCENTAGE, "A percentage of the amount"),
        ],
        help_text="Prices what is used beyond the included units; where a tier holds for all units, those count for it "
        "too. Of a percentage the units are an amount of money, such as 250.00.",
    )
    package_size = units_field(example="100", label="Units in a package")
    package_cost_cents = unit_cost_field(example="500", label="Price of a package in cents")
    package_round = forms.ChoiceField(
        label="A package that is begun",
        required=False,
        choices=[("", "is paid in full"), ("down", "is paid once it is full")],
    )
    rate_percent = PlainDecimalField(
        example="2.9",
        label="Percent of the amount",
        required=False,
        min_value=0,
        max_digits=19,
        decimal_places=UNIT_COST_DECIMALS,
        help_text="2.9 of an amount of 100.00 is 2.90.",
    )
    fixed_cost_cents = unit_cost_field(
        example="30", label="And per event in cents", help_text="Beside the percentage. Empty: none."
    )
    minimum_cents = whole_cents_field(
        label="At least, in cents", help_text="Due each month, also without any usage. Empty: none."
    )
    maximum_cents = whole_cents_field(label="At most, in cents", help_text="No month costs more. Empty: no limit.")
    divide_by = units_field(
        example="1000000000",
        label="Sent units in a priced one",
        help_text="1000000000 for bytes that are priced by the GB. A quota counts what is sent. Empty: 1.",
    )
    divide_round = forms.ChoiceField(
        label="Parts of a priced unit",
        required=False,
        choices=[
            ("", "count as parts"),
            ("up", "count as one"),
            ("down", "do not count"),
            ("half_up", "count from half on"),
        ],
    )

    further_in = "Charged"
    further_title = "Tiers, packages, percentages, minimum and more"
    further: ClassVar[list[tuple[str, list[str]]]] = [
        ("", ["model"]),
        (PACKAGE, _TERMS_OF[PACKAGE]),
        (PERCENTAGE, _TERMS_OF[PERCENTAGE]),
        *(
            (_TIERED, [f"tier_{row}_up_to", f"tier_{row}_unit_cost_cents", f"tier_{row}_flat_cents"])
            for row in range(1, MOST_TIERS + 1)
        ),
        ("", ["minimum_cents", "maximum_cents"]),
        ("", ["divide_by", "divide_round"]),
    ]

    def rows_of_fields(self) -> dict[str, forms.Field]:
        """The fields of the tiers."""
        return {name: field for row in range(1, MOST_TIERS + 1) for name, field in _tier_fields(row).items()}

    def check_model(self, cleaned: dict[str, Any]) -> None:
        """Put the terms of the price into `pricing`, in the price language; None for nothing but a price per unit."""
        cleaned["pricing"] = None
        model = cleaned.get("model") or PER_UNIT
        common = {name: cleaned[name] for name in _COMMON_TERMS if cleaned.get(name) not in (None, "")}
        if model == PER_UNIT:
            self._refuse_lost_terms()
            if not common:
                return
        elif cleaned.get("unit_cost_cents") is not None:
            self.add_error("unit_cost_cents", "Leave this empty: the price stands below.")
        rows = self._filled_rows(cleaned) if model in _TIERED.split() else []
        own = self._tiers(rows, cleaned) if model in _TIERED.split() else self._own_terms(model, cleaned)
        pricing = {"model": model, **own, **common}
        if not self.errors:
            self._ask_the_language(pricing, rows)
            cleaned["pricing"] = pricing

    def _refuse_lost_terms(self) -> None:
        """Refuse tiers, packages and percentages that nothing would be done with."""
        names = [name for models, row in self.further for name in row if models]
        typed = [name for name in names if self.cleaned_data.get(name) not in (None, "")]
        if typed and not self.errors:
            self.add_error("model", "Choose what the fields below belong to, or empty them.")

    def _own_terms(self, model: str, cleaned: dict[str, Any]) -> dict[str, Any]:
        """The terms of a model without tiers; what it cannot be without is asked for."""
        needed = {
            PER_UNIT: {"unit_cost_cents": "Say what a unit costs; 0 is free."},
            PACKAGE: {
                "package_size": "Write a number, such as 100.",
                "package_cost_cents": "Write a number, such as 500 for $5.00.",
            },
            PERCENTAGE: {"rate_percent": "Write a number, such as 2.9."},
        }[model]
        for name, words in needed.items():
            if cleaned.get(name) is None and name not in self.errors:
                self.add_error(name, words)
        return {name: cleaned.get(name) for name in _TERMS_OF[model] if cleaned.get(name) not in (None, "")}

    def _filled_rows(self, cleaned: dict[str, Any]) -> list[int]:
        def is_filled(row: int) -> bool:
            names = [f"tier_{row}_{name}" for name in _FIELD_OF_KEY.values()]
            return any(cleaned.get(name) is not None or name in self.errors for name in names)

        return [row for row in range(1, MOST_TIERS + 1) if is_filled(row)]

    def _tiers(self, rows: list[int], cleaned: dict[str, Any]) -> dict[str, Any]:
        if len(rows) < 2:
            self.add_error("tier_1_up_to", "Write at least two tiers; the last one has no end.")
        tiers = []
        for row in rows:
            tier = {key: cleaned.get(f"tier_{row}_{name}") for key, name in _FIELD_OF_KEY.items()}
            is_last, names = row == rows[-1], self.errors.keys()
            if is_last and tier["up_to"] is not None:
                self.add_error(
                    f"tier_{row}_up_to",
                    "Leave this empty in the last tier, so that each unit has a price.",
                )
            if not is_last and tier["up_to"] is None and f"tier_{row}_up_to" not in names:
                self.add_error(f"tier_{row}_up_to", "Say how far this tier reaches: only the last one has no end.")
            if tier["unit_cost_cents"] is None and tier["flat_cost_cents"] is None:
                self._ask_for_cost(row)
            tiers.append({key: value for key, value in tier.items() if value is not None or key == "up_to"})
        return {"tiers": tiers}

    def _ask_for_cost(self, row: int) -> None:
        name = f"tier_{row}_unit_cost_cents"
        if name not in self.errors:
            self.add_error(name, "Say what a unit costs in this tier; 0 is free.")

    def _ask_the_language(self, pricing: dict[str, Any], rows: list[int]) -> None:
        """Let the rules that hold for every price judge this one, and show what they say at its field."""
        component = {"type": "usage", "metric_id": "met_", "recurrence_rule": "FREQ=MONTHLY", **pricing}
        try:
            read_pricing_data({"dsl_version": DSL_VERSION, "components": [component]}, path="price")
        except InvalidInput as refusal:
            for problem in refusal.details:
                path = problem["path"].removeprefix("price.components[0].")
                self.add_error(_field_of(path, rows), sentence(problem["message"]))


def _tier_fields(row: int) -> dict[str, forms.Field]:
    """How far a tier reaches, and what it costs; the first one says how that is meant."""
    is_first = row == 1
    return {
        f"tier_{row}_up_to": units_field(
            example="1000", label=f"Tier {row} up to", help_text="Units. Empty in the last tier." if is_first else ""
        ),
        f"tier_{row}_unit_cost_cents": unit_cost_field(example="5 or 0.05", label=f"Tier {row}: cents per unit"),
        f"tier_{row}_flat_cents": unit_cost_field(
            example="500",
            label=f"Tier {row}: flat fee in cents",
            help_text="Once, as soon as a unit reaches the tier." if is_first else "",
        ),
    }


def _field_of(path: str, rows: list[int]) -> str | None:
    """The field for a path such as tiers[1].up_to, package_size or maximum_cents."""
    if path in UsagePriceForm.base_fields or path == "unit_cost_cents":
        return path
    place, _, key = path.partition("].")
    if not place.startswith("tiers[") or key not in _FIELD_OF_KEY:
        return None
    return f"tier_{rows[int(place.removeprefix('tiers['))]}_{_FIELD_OF_KEY[key]}"
