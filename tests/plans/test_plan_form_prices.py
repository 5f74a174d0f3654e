"""The plan form's further terms: seats, tiers and packages, and a problem of them at its field."""

from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.test import Client

from plans.models import Plan, Price
from tests.plans.test_plan_admin import ADD, rows, typed, usage

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(admin_user: User) -> Client:
    """A browser that is logged in."""
    client = Client()
    client.force_login(admin_user)
    return client


def tiered(*tiers, **changes):
    """Usage by tiers of (up to, cents per unit, flat fee in cents), as they are typed."""
    fields = {"unit_cost_cents": "", "model": "graduated"}
    for row, tier in enumerate(tiers, start=1):
        for name, text in zip(("up_to", "unit_cost_cents", "flat_cents"), tier, strict=True):
            fields[f"tier_{row}_{name}"] = text
    return usage(**fields | changes)


TWO = (("1000", "5", ""), ("", "4", "500"))


@pytest.mark.parametrize("model", ["graduated", "volume"])
def test_publishes_tiers(operator, model):
    operator.post(ADD, typed(tiered(*TWO, model=model)))

    component = Price.objects.get().components.get(kind="usage")
    assert (component.model, component.unit_cost_cents) == (model, None)
    assert component.tiers == [
        {"up_to": "1000", "unit_cost_cents": "5", "flat_cost_cents": "0"},
        {"up_to": None, "unit_cost_cents": "4", "flat_cost_cents": "500"},
    ]
    assert Plan.objects.get().credit_definitions.get().price_component_id == component.component_id


def test_publishes_packages(operator):
    operator.post(ADD, typed(usage(unit_cost_cents="", model="package", package_size="100", package_cost_cents="500")))

    component = Price.objects.get().components.get(kind="usage")
    assert (component.model, component.package_size, component.package_cost_cents) == ("package", 100, 500)


def test_the_page_of_the_plan_says_tiers_packages_and_seats_in_words(operator):
    package = usage(event_name="mails", unit_label="mail", unit_cost_cents="", model="package", package_size="100",
                    package_cost_cents="500", included_units="")  # fmt: skip
    operator.post(ADD, typed(tiered(*TWO), package, monthly_seat_fee="10", minimum_seats="3", seat_label="user"))

    page = operator.get(f"/admin/plans/plan/{Plan.objects.get().pk}/change/").content.decode()

    assert (
        "$29.00 monthly + $10.00 per user each month, at least 3 users. Api calls usage: 10,000 included, then $0.05 "
        "per call for the first 1,000, then $5.00 plus $0.04 per call. Mails usage: $5.00 for every 100 mails begun."
        in page
    )
    assert "Users: $10.00 per user each month, at least 3 users" in page
    assert "Mails usage: $5.00 for every 100 mails begun, billed each month" in page


def test_seats_stand_in_each_price(operator):
    operator.post(ADD, typed(yearly_fee="290", monthly_seat_fee="10.50", yearly_seat_fee="105", minimum_seats="3"))

    monthly, yearly = (price.components.get(kind="per_unit") for price in Price.objects.order_by("pk"))
    assert (monthly.amount_cents, monthly.frequency, monthly.minimum_quantity) == (1050, "MONTHLY", 3)
    assert (yearly.amount_cents, yearly.frequency, yearly.unit_label) == (10_500, "YEARLY", "seat")
    assert monthly.label == "Seats"


def test_units_may_come_with_each_seat(operator):
    operator.post(ADD, typed(usage(per_seat="on"), monthly_seat_fee="10"))

    plan = Plan.objects.get()
    quota = plan.credit_definitions.get()
    assert (quota.default_amount, quota.per_seat, quota.renew_on_billing) == (10_000, True, True)
    page = operator.get(f"/admin/plans/plan/{plan.pk}/change/").content.decode()
    assert "10,000 per seat included, then $0.05 per call" in page
    definition = operator.get(f"/admin/credits/creditdefinition/{quota.pk}/change/").content.decode()
    assert "each period, for each seat" in definition


@pytest.mark.parametrize(
    ("line", "field"),
    [(usage(per_seat="on", renews=""), "per_seat"), (usage(per_seat="on", included_units=""), "included_units")],
)
def test_units_of_seats_that_would_not_be_counted_are_refused(operator, line, field):
    before = rows()

    answer = operator.post(ADD, typed(line, monthly_seat_fee="10"))

    assert [list(errors) for errors in answer.context["lines"].errors] == [[field]]
    assert rows() == before


def test_units_per_seat_need_a_price_per_seat(operator):
    before = rows()

    answer = operator.post(ADD, typed(usage(per_seat="on")))

    assert answer.context["form"].errors == {
        "monthly_seat_fee": ["Say what a seat costs: Api calls come with each seat."]
    }
    assert rows() == before


def test_seats_may_be_all_that_is_paid(operator):
    operator.post(ADD, typed(monthly_fee="", monthly_seat_fee="10"))

    assert [part.kind for part in Price.objects.get().components.all()] == ["per_unit"]


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (tiered(*TWO, unit_cost_cents="5"), "unit_cost_cents"),
        (tiered(("1000", "5", ""), ("2000", "4", "")), "tier_2_up_to"),
        (tiered(("", "5", ""), ("", "4", "")), "tier_1_up_to"),
        (tiered(("1000", "5", ""), ("1000", "4", ""), ("", "3", "")), "tier_2_up_to"),
        (tiered(("0", "5", ""), ("", "4", "")), "tier_1_up_to"),
        (tiered(("much", "5", ""), ("", "4", "")), "tier_1_up_to"),
        (tiered(("1000", "", ""), ("", "4", "")), "tier_1_unit_cost_cents"),
        (tiered(("1000", "-5", ""), ("", "4", "")), "tier_1_unit_cost_cents"),
        (tiered(("1000", "5", "x"), ("", "4", "")), "tier_1_flat_cents"),
        (tiered(("", "5", "")), "tier_1_up_to"),
        (tiered(), "tier_1_up_to"),
        (tiered(*TWO, model="surprise"), "model"),
        (tiered(*TWO, model=""), "model"),
        (usage(unit_cost_cents="", model="package", package_size="100"), "package_cost_cents"),
        (usage(unit_cost_cents="", model="package", package_cost_cents="500"), "package_size"),
        (usage(unit_cost_cents="", model="package", package_size="0", package_cost_cents="500"), "package_size"),
        (usage(package_size="100"), "model"),
    ],
)
def test_a_problem_of_a_price_shows_at_its_field_and_nothing_is_written(operator, line, field):
    before = rows()

    answer = operator.post(ADD, typed(line))

    assert answer.status_code == 200
    assert [list(errors) for errors in answer.context["lines"].errors] == [[field]]
    assert rows() == before


def test_a_row_between_two_tiers_may_be_left_empty(operator):
    operator.post(ADD, typed(tiered(("1000", "5", ""), ("", "", ""), ("", "4", ""))))

    assert len(Price.objects.get().components.get(kind="usage").tiers) == 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"monthly_seat_fee": "10", "yearly_fee": "290"}, "yearly_seat_fee"),
        ({"monthly_seat_fee": "10", "yearly_seat_fee": "100"}, "yearly_fee"),
        ({"yearly_seat_fee": "100", "yearly_fee": "290"}, "monthly_seat_fee"),
        ({"minimum_seats": "3"}, "monthly_seat_fee"),
        ({"seat_label": "user"}, "monthly_seat_fee"),
        ({"monthly_seat_fee": "10.001"}, "monthly_seat_fee"),
        ({"monthly_seat_fee": "-1"}, "monthly_seat_fee"),
        ({"monthly_seat_fee": "10", "minimum_seats": "0"}, "minimum_seats"),
        ({"monthly_seat_fee": "10", "minimum_seats": "many"}, "minimum_seats"),
        ({"monthly_seat_fee": "10", "minimum_seats": "1000001"}, "minimum_seats"),
        ({"monthly_seat_fee": "10", "seat_label": "x" * 61}, "seat_label"),
    ],
)
def test_a_problem_of_seats_shows_at_its_field_and_nothing_is_written(operator, changes, field):
    before = rows()

    answer = operator.post(ADD, typed(usage(), **changes))

    assert answer.status_code == 200
    assert list(answer.context["form"].errors) == [field]
    assert rows() == before


def test_further_terms_are_folded_until_something_stands_there(operator):
    empty = operator.get(ADD).content.decode()
    filled = operator.post(ADD, typed(tiered(*TWO), name="", monthly_seat_fee="10")).content.decode()

    assert empty.count('<details class="terms-further">') == 3  # seats, the usage that is shown, and the one to add
    assert filled.count('<details class="terms-further" open>') == 2
    assert 'value="1000"' in filled


def test_prices_of_tiers_may_have_decimals(operator):
    operator.post(ADD, typed(tiered(("1000", "0.05", ""), ("", "0.000000000001", ""))))

    tiers = Price.objects.get().components.get(kind="usage").charge("USD").tiers
    assert [tier.unit_cost_cents for tier in tiers] == [Decimal("0.05"), Decimal("0.000000000001")]


def share(**changes):
    """Usage of which a percentage is taken, as it is typed: 2.9 % and 30 cents an event."""
    return (
        usage(unit_cost_cents="", included_units="", model="percentage", rate_percent="2.9", fixed_cost_cents="30")
        | changes
    )


def test_publishes_a_percentage_with_a_fee_per_event(operator):
    operator.post(ADD, typed(share()))

    component = Price.objects.get().components.get(kind="usage")
    assert (component.model, component.rate_percent, component.fixed_cost_cents) == ("percentage", Decimal("2.9"), 30)
    page = operator.get(f"/admin/plans/plan/{Plan.objects.get().pk}/change/").content.decode()
    assert "2.9% + $0.30 per call" in page


@pytest.mark.parametrize("line", [usage(), tiered(*TWO)])
def test_any_price_may_have_a_minimum_a_maximum_and_a_conversion(operator, line):
    terms = {"minimum_cents": "1000", "maximum_cents": "50000", "divide_by": "1000", "divide_round": "up"}

    operator.post(ADD, typed(line | terms))

    component = Price.objects.get().components.get(kind="usage")
    assert (component.minimum_cents, component.maximum_cents) == (1_000, 50_000)
    assert (component.divide_by, component.divide_round) == (1_000, "up")
    assert component.model == (line.get("model") or "per_unit")
    assert component.unit_cost_cents == (None if "model" in line else 5)


def test_packages_may_be_paid_once_they_are_full(operator):
    package = {"model": "package", "package_size": "100", "package_cost_cents": "500", "package_round": "down"}

    operator.post(ADD, typed(usage(unit_cost_cents="") | package))

    assert Price.objects.get().components.get(kind="usage").package_round == "down"


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (share(rate_percent=""), "rate_percent"),
        (share(rate_percent="much"), "rate_percent"),
        (share(rate_percent="1000001"), "rate_percent"),
        (share(fixed_cost_cents="-1"), "fixed_cost_cents"),
        (share(included_units="10"), "included_units"),
        (share(model=""), "model"),
        (usage(unit_cost_cents="", minimum_cents="1000"), "unit_cost_cents"),
        (usage(minimum_cents="10.5"), "minimum_cents"),
        (usage(minimum_cents="1000", maximum_cents="999"), "maximum_cents"),
        (usage(divide_by="0"), "divide_by"),
        (usage(divide_round="up"), "divide_round"),
        (usage(package_round="down"), "model"),
    ],
)
def test_a_problem_of_rarer_terms_shows_at_its_field_and_nothing_is_written(operator, line, field):
    before = rows()

    answer = operator.post(ADD, typed(line))

    assert answer.status_code == 200
    assert [list(errors) for errors in answer.context["lines"].errors] == [[field]]
    assert rows() == before
