"""Tiers, packages and seats in a real browser: typed by the operator, read on the pricing page."""

from decimal import Decimal

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from credits.services.publish_plan import QuotaTerms, SeatTerms, UsageTerms, publish_plan
from plans.models import PriceComponent
from tests.browser.conftest import PHONE, barriers, overflow
from tests.browser.plan_form import field, publish
from tests.browser.test_pricing import card_of


def tier(up_to, cost):
    return {"up_to": up_to, "unit_cost_cents": cost}


@pytest.fixture
def models(site):
    """Three plans: by three tiers beside a fee, by packages, and by the seat."""

    def publish_on_table(name, **terms):
        publish_plan(at=timezone.now(), name=name, currency="USD", on_pricing_table=True, **terms)

    calls = {"slug": "api-calls", "name": "API calls", "unit_label": "call"}
    tiers = [tier("1000", "5"), tier("5000", "4"), tier(None, "3")]
    graduated = UsageTerms(
        **calls, pricing={"model": "graduated", "tiers": tiers}, quota=QuotaTerms(units=Decimal(10_000))
    )
    package = UsageTerms(
        slug="mails", name="Mails", unit_label="mail",
        pricing={"model": "package", "package_size": Decimal(100), "package_cost_cents": Decimal(500)},
    )  # fmt: skip
    publish_on_table("Tiers", monthly_amount_cents=2_900, usage_components=[graduated])
    publish_on_table("Packages", usage_components=[package])
    publish_on_table("Seats", seats=SeatTerms(monthly_amount_cents=1_000, minimum_quantity=3))


def test_the_pricing_page_says_what_tiers_packages_and_seats_cost(models, open_page):
    page = open_page("/pricing")

    tiers, packages, seats = (card_of(page, name) for name in ("Tiers", "Packages", "Seats"))
    expect(tiers.get_by_text("then $0.03 to $0.05 per call, by tier")).to_be_visible()
    expect(packages.get_by_text("$5.00 for every 100 mails begun")).to_be_visible()
    expect(packages.get_by_text("Pay as you go")).to_be_visible()
    expect(seats.get_by_text("$10.00 per seat each month, at least 3 seats")).to_be_visible()
    table = tiers.get_by_role("table")
    expect(table).not_to_be_visible()

    tiers.get_by_text("See each price").click()

    expect(table.get_by_role("row", name="First 1,000 $0.05")).to_be_visible()
    expect(table.get_by_role("row", name="More than 5,000 $0.03")).to_be_visible()
    assert barriers(page) == []


def test_the_tiers_fit_on_a_phone_and_can_be_opened_without_scripts(models, open_page):
    page = open_page("/pricing", width=PHONE, java_script_enabled=False)

    card_of(page, "Tiers").locator("summary").click()

    expect(page.get_by_role("table")).to_be_visible()
    assert overflow(page) <= 0
    assert card_of(page, "Tiers").locator("summary").bounding_box()["height"] >= 44


def test_an_operator_types_tiers_and_seats(open_as_operator):
    page = open_as_operator("/admin/plans/plan/add/")
    field(page, "Name").fill("Pro")
    field(page, "Currency").fill("USD")
    field(page, "Base fee per month").fill("29.00")
    expect(field(page, "Per seat and month")).not_to_be_visible()
    page.get_by_text("Price per seat").click()
    field(page, "Per seat and month").fill("10.00")
    field(page, "Event name").fill("api-calls")
    field(page, "Unit label").fill("call")
    page.get_by_text("Tiers, packages").first.click()
    expect(field(page, "Tier 1 up to")).not_to_be_visible()

    field(page, "Priced by").select_option("Tiers: each unit at the price of its own tier")
    field(page, "Tier 1 up to").fill("1000")
    field(page, "Tier 1: cents per unit").fill("5")
    expect(page.get_by_text("0.05 USD per call")).to_be_visible()
    expect(field(page, "Tier 3 up to")).not_to_be_visible()
    field(page, "Tier 2: cents per unit").fill("4")
    expect(field(page, "Tier 3 up to")).to_be_visible()
    expect(field(page, "Units in a package")).not_to_be_visible()
    assert barriers(page, within="form:has([name=monthly_fee])") == []
    publish(page)

    expect(page.get_by_text("The plan Pro is published.")).to_be_visible()
    expect(page.get_by_text("$0.05 per call for the first 1,000, then $0.04 per call").first).to_be_visible()
    assert [part.kind for part in PriceComponent.objects.order_by("position")] == ["fixed", "per_unit", "usage"]


def test_a_wrong_tier_is_named_where_it_stands_and_its_rows_stay_open(open_as_operator):
    page = open_as_operator("/admin/plans/plan/add/", width=PHONE)
    field(page, "Name").fill("Pro")
    field(page, "Currency").fill("USD")
    field(page, "Base fee per month").fill("29.00")
    field(page, "Event name").fill("api-calls")
    page.get_by_text("Tiers, packages").first.click()
    field(page, "Priced by").select_option("Tiers: all units at the price of the tier that they reach")
    field(page, "Tier 1 up to").fill("1000")
    field(page, "Tier 1: cents per unit").fill("5")
    field(page, "Tier 2 up to").fill("2000")
    field(page, "Tier 2: cents per unit").fill("4")

    publish(page)

    expect(page.get_by_text("Leave this empty in the last tier, so that each unit has a price.")).to_be_visible()
    expect(field(page, "Tier 2 up to")).to_be_focused()
    assert overflow(page) <= 0
