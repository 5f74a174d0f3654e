"""The operator's pages in a real browser: what is typed, pressed and read there."""

import re
from urllib.parse import urlsplit

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from config.first_start import make_sample_set
from plans.models import Plan, PlanFeature, Price
from plans.services.pricing_tables import ensure_default_table
from tests.browser.conftest import PHONE, barriers, overflow
from tests.browser.plan_form import SAY_NO, field, fill_api_calls, fill_pro_plan, publish

ADD_PLAN = "/admin/plans/plan/add/"


def test_logs_in_and_publishes_a_plan(site, open_page):
    page = open_page("/admin/")
    field(page, "Username").fill("operator")
    field(page, "Password").fill(site.access.admin_password)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name="Plans").click()
    page.get_by_role("link", name=re.compile("Add|Create")).first.click()

    fill_pro_plan(page)
    publish(page)

    expect(page.get_by_text("The plan Pro is published.")).to_be_visible()
    expect(page.get_by_text("10,000 included, then $0.05 per call").first).to_be_visible()
    for fee in ("$29.00 monthly", "$290.00 yearly"):
        expect(page.get_by_text(fee).first).to_be_visible()
    plan = Plan.objects.get()
    assert page.url == f"{site.url}/admin/plans/plan/{plan.pk}/change/"
    fees = [price.components.get(kind="fixed").amount_cents for price in Price.objects.order_by("pk")]
    assert (plan.name, fees, PlanFeature.objects.get().overage) == ("Pro", [2_900, 29_000], "block")


def test_refuses_a_wrong_password(open_page):
    page = open_page("/admin/")
    field(page, "Username").fill("operator")
    field(page, "Password").fill("guessed")

    page.get_by_role("button", name="Log in").click()

    expect(page.get_by_text("Please enter the correct username and password")).to_be_visible()


def test_an_error_stands_at_its_field_and_everything_typed_stays(open_as_operator):
    page = open_as_operator(ADD_PLAN)
    fill_pro_plan(page)
    field(page, "Show on invoices").uncheck()
    field(page, "Base fee per month").fill("29.001")

    publish(page)

    expect(page.get_by_text("Nothing was saved yet.")).to_be_visible()
    expect(page.get_by_text("USD has 2 decimals.")).to_be_visible()
    expect(field(page, "Base fee per month")).to_be_focused()
    kept = {
        "Name": "Pro",
        "Description": "For teams that build on it.",
        "Currency": "USD",
        "Base fee per month": "29.001",
        "Base fee per year": "290.00",
        "Event name": "api-calls",
        "Unit label": "call",
        "Price per unit in cents": "5",
        "Included units": "10000",
        "Button text": "Subscribe",
    }
    for label, text in kept.items():
        expect(field(page, label)).to_have_value(text)
    expect(field(page, "Renew each period")).to_be_checked()
    expect(field(page, "Show on invoices")).not_to_be_checked()
    expect(field(page, "Beyond the quota").locator("option:checked")).to_have_text(SAY_NO)
    assert not Plan.objects.exists()

    field(page, "Base fee per month").fill("29.00")
    publish(page)
    expect(page.get_by_text("The plan Pro is published.")).to_be_visible()


def test_a_second_click_while_the_first_is_under_way_does_nothing(open_as_operator):
    page = open_as_operator(ADD_PLAN)
    fill_pro_plan(page)
    under_way = []
    page.route(f"**{ADD_PLAN}", lambda route: under_way.append(route))
    button = page.get_by_role("button", name="Create a plan")
    button.scroll_into_view_if_needed()
    box = button.bounding_box()
    with page.expect_request(lambda request: request.method == "POST"):
        page.mouse.click(box["x"] + 5, box["y"] + 5)

    page.mouse.click(box["x"] + 5, box["y"] + 5)

    assert len(under_way) == 1
    under_way[0].continue_()
    expect(page.get_by_text("The plan Pro is published.")).to_be_visible()
    assert Plan.objects.count() == 1


def test_adds_a_second_kind_of_usage(open_as_operator):
    page = open_as_operator(ADD_PLAN)
    fill_pro_plan(page)

    page.get_by_role("button", name="Add usage").click()

    expect(field(page, "Event name").last).to_be_focused()
    page.keyboard.type("mails")
    field(page, "Price per unit in cents").last.fill("0.5")
    publish(page)
    expect(page.get_by_text("The plan Pro is published.")).to_be_visible()
    assert set(PlanFeature.objects.values_list("feature__slug", flat=True)) == {"api-calls", "mails"}


def test_shows_a_new_api_key_once(open_as_operator):
    page = open_as_operator("/admin/config/apikey/add/")
    field(page, "Name").fill("Backend")
    field(page, "Environment").select_option("Test")

    page.get_by_role("button", name="Create").click()

    shown = page.get_by_text(re.compile("^sk_test_"))
    expect(shown).to_be_visible()
    key = shown.inner_text()
    assert page.request.get("/v1/plans", headers={"Authorization": f"Bearer {key}"}).status == 200
    page.get_by_role("link", name="Done").click()
    page.get_by_role("link", name="Backend").click()
    expect(field(page, "Name")).to_have_value("Backend")
    assert key not in page.content()


def test_every_page_of_the_sidebar_opens(open_as_operator):
    make_sample_set(table=ensure_default_table(), at=timezone.now())
    page = open_as_operator("/admin/")
    links = page.locator("nav a[href^='/admin/'], #nav-sidebar a[href^='/admin/']")
    addresses = sorted({link.get_attribute("href") for link in links.all()})

    assert len(addresses) > 20
    for address in addresses:
        answer = page.goto(address)
        # What there is one of opens at once, below the address of its list.
        assert (answer.status, urlsplit(page.url).path.startswith(address)) == (200, True)
        expect(page.get_by_role("heading").first).to_be_visible()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_plan_form_shuts_nobody_out(open_as_operator, dark):
    page = open_as_operator(ADD_PLAN, dark=dark)
    field(page, "Base fee per month").fill("much")
    fill_api_calls(page)
    publish(page)
    expect(page.get_by_text("Nothing was saved yet.")).to_be_visible()

    assert barriers(page, within="form:has([name=monthly_fee])") == []


def test_fits_on_a_phone(open_as_operator):
    make_sample_set(table=ensure_default_table(), at=timezone.now())
    page = open_as_operator("/admin/", width=PHONE)
    too_wide = {}
    for path in ("/admin/", ADD_PLAN, "/admin/plans/plan/", "/admin/billing/invoice/", "/admin/config/apikey/add/"):
        page.goto(path)
        if overflow(page) > 0:
            too_wide[path] = overflow(page)

    assert too_wide == {}
