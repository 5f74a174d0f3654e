"""The pricing page in a real browser: what the operator published is read, chosen and bought, also by keyboard."""

import re
from decimal import Decimal

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from credits.services.publish_plan import QuotaTerms, UsageTerms, publish_plan
from plans.models import Plan, Price
from tests.browser.conftest import HEIGHT, PHONE, barriers, overflow
from tests.browser.plan_form import fill_pro_plan, publish

TARGET = 44
FOCUSED = """() => {
    const look = getComputedStyle(document.activeElement);
    const box = document.activeElement.getBoundingClientRect();
    return {
        text: document.activeElement.textContent.replace(/\\s+/g, " ").trim(),
        outlined: look.outlineStyle !== "none" && parseFloat(look.outlineWidth) >= 2,
        seen: box.top >= 0 && box.left >= 0 && box.bottom <= innerHeight && box.right <= innerWidth,
    };
}"""


@pytest.fixture
def pro(site) -> Plan:
    """A plan on the default pricing table: $29 a month or $290 a year, 10,000 calls included, then 5 cents each."""
    return publish_plan(
        at=timezone.now(),
        name="Pro",
        description="For teams that build on it.",
        currency="USD",
        monthly_amount_cents=2_900,
        yearly_amount_cents=29_000,
        usage_components=[
            UsageTerms(
                slug="api-calls",
                name="API calls",
                event_name="api-calls",
                unit_label="call",
                unit_cost_cents=Decimal(5),
                quota=QuotaTerms(units=Decimal(10_000)),
            )
        ],
        is_visible_in_pricing_table=True,
        on_pricing_table=True,
        button_text="Subscribe",
    )


def card_of(page, name):
    """Find the card of a plan."""
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name, exact=True))


def test_shows_what_the_operator_published(open_as_operator, open_page):
    form = open_as_operator("/admin/plans/plan/add/")
    fill_pro_plan(form)
    publish(form)
    expect(form.get_by_text("The plan Pro is published.")).to_be_visible()

    page = open_page("/pricing")

    card = card_of(page, "Pro")
    for words in ("$29", "10,000", "$0.05 per call"):
        expect(card.get_by_text(words).first).to_be_visible()
    expect(card.get_by_role("link", name="Subscribe")).to_be_visible()


def test_switches_to_yearly_prices_and_back(pro, open_page):
    page = open_page("/pricing")
    switch = page.get_by_role("navigation", name="Billing interval")
    expect(switch.get_by_role("link", name="Monthly")).to_have_attribute("aria-current", "page")

    switch.get_by_role("link", name="Yearly").click()

    expect(switch.get_by_role("link", name="Yearly")).to_have_attribute("aria-current", "page")
    expect(card_of(page, "Pro").get_by_text("$290", exact=False).first).to_be_visible()
    yearly = Price.objects.filter(plan=pro).order_by("pk").last()
    link = card_of(page, "Pro").get_by_role("link", name="Subscribe")
    expect(link).to_have_attribute("href", re.compile(f"price={yearly.public_id}$"))

    switch.get_by_role("link", name="Monthly").click()
    expect(card_of(page, "Pro").get_by_text(re.compile(r"^\$29(\.00)?$"))).to_be_visible()


def test_the_keyboard_goes_from_top_to_bottom_and_subscribes(pro, open_page):
    page = open_page("/pricing")
    stops = []
    for _ in range(4):
        page.keyboard.press("Tab")
        stops.append(page.evaluate(FOCUSED))

    assert [stop["text"] for stop in stops] == ["Skip to the content", "Monthly", "Yearly", "Subscribe: Pro"]
    assert [stop for stop in stops if not (stop["outlined"] and stop["seen"])] == []
    page.keyboard.press("Enter")
    monthly = Price.objects.filter(plan=pro).order_by("pk").first()
    page.wait_for_url(f"**/checkout?price={monthly.public_id}")
    expect(page.get_by_role("heading", name="Subscribe to Pro")).to_be_visible()


def test_the_first_stop_of_the_keyboard_skips_to_the_content(pro, open_page):
    page = open_page("/pricing")

    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    expect(page.get_by_role("main")).to_be_focused()


def test_fits_on_a_phone_and_is_easily_hit(pro, open_page):
    page = open_page("/pricing", width=PHONE)
    for interval in ("Monthly", "Yearly"):
        page.get_by_role("link", name=interval).click()
        expect(page.get_by_role("link", name=interval)).to_have_attribute("aria-current", "page")

        assert overflow(page) <= 0
        targets = page.get_by_role("main").get_by_role("link").all()
        assert len(targets) == 3
        assert [link.inner_text() for link in targets if link.bounding_box()["height"] < TARGET] == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_shuts_nobody_out(pro, open_page, dark):
    page = open_page("/pricing?interval=year", dark=dark)
    assert barriers(page) == []

    page.set_viewport_size({"width": PHONE, "height": HEIGHT})

    assert barriers(page) == []


def test_is_dark_where_the_reader_wants_it_dark(pro, open_page):
    shades = {}
    for dark in (False, True):
        page = open_page("/pricing", dark=dark)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        shades[dark] = max(int(part) for part in re.findall(r"\d+", colour)[:3])

    assert shades[False] > 200 and shades[True] < 60


def test_an_address_without_a_table_leads_to_the_plans(pro, open_page, complaints):
    page = open_page("/pricing/nothing")
    complaints.expect("status of 404")
    assert barriers(page) == []

    page.get_by_role("link", name="See plans and prices").click()

    expect(card_of(page, "Pro")).to_be_visible()
