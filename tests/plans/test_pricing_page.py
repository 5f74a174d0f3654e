"""The pricing page, as a browser without scripts reads it."""

import re
from datetime import timedelta
from decimal import Decimal
from html import unescape

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import path

from credits.services.publish_plan import QuotaTerms, SwitchTerms, UsageTerms, publish_plan
from plans.models import Merchant
from plans.page_words import counted_text, units_text
from plans.services.pricing_tables import ensure_default_table
from plans.words import money_text
from tests.factories import (
    START,
    CreditDefinitionFactory,
    FeatureFactory,
    FixedComponentFactory,
    MetricFactory,
    PlanFactory,
    PlanFeatureFactory,
    PriceFactory,
    PricingTableFactory,
    PricingTablePlanFactory,
    UsageComponentFactory,
)


@pytest.fixture
def table(db):
    """The default table."""
    return ensure_default_table()


@pytest.fixture
def read(client):
    """Reads a page as its text, tags left out."""

    def reading(address="/pricing"):
        response = client.get(address)
        assert response.status_code == 200
        return words(response)

    return reading


def words(response):
    text = re.sub(r"<(script|style|title)\b.*?</\1>", "", response.content.decode(), flags=re.DOTALL)
    return unescape(" ".join(re.sub(r"<[^>]+>", " ", text).split()))


def addresses(response):
    return [unescape(address) for address in re.findall(r'<a [^>]*href="([^"]*)"', response.content.decode())]


def put(plan, table, **look):
    PricingTablePlanFactory(plan=plan, pricing_table=table, **look)
    return plan


def publish(table, *, quota=10_000, unit_cost_cents="5", renews=True, name="Pro", **terms):
    calls = UsageTerms(
        slug="api-calls",
        name="API calls",
        unit_label="call",
        unit_cost_cents=None if unit_cost_cents is None else Decimal(unit_cost_cents),
        quota=None if quota is None else QuotaTerms(units=Decimal(quota), renews=renews),
    )
    return put(publish_plan(at=START, name=name, currency="USD", usage_components=[calls], **terms), table)


def price_of(plan, frequency):
    return plan.prices.get(components__kind="fixed", components__frequency=frequency)


def test_a_card_says_price_quota_and_what_each_unit_beyond_it_costs(read, table):
    support = SwitchTerms(slug="support", name="Priority support")
    publish(table, monthly_amount_cents=2900, description="For teams", features=[support])

    text = read()

    assert (
        "Pro For teams $29 per month 10,000 API calls included each month then $0.05 per call Priority support" in text
    )


def test_the_price_of_a_unit_is_shown_with_all_its_decimals(read, table):
    publish(table, unit_cost_cents="0.05", monthly_amount_cents=0)

    assert "then $0.0005 per call" in read()


def test_a_plan_without_fee_and_priced_usage_is_free(read, table):
    publish(table, unit_cost_cents=None, quota=1000, name="Starter", monthly_amount_cents=0)

    assert "Starter Free 1,000 API calls included each month Get started" in read()


def test_usage_at_no_cost_leaves_a_plan_free(read, table):
    publish(table, unit_cost_cents="0", monthly_amount_cents=0, name="Starter")

    text = read()

    assert "Starter Free 10,000 API calls included each month" in text
    assert "then" not in text


def test_a_plan_of_priced_usage_alone_is_pay_as_you_go(read, table):
    publish(table, quota=None)

    text = read()

    assert "Pay as you go No fee. What you use is billed each month. API calls $0.05 per call" in text


def test_a_quota_that_comes_once_says_so(read, table):
    publish(table, quota=500, renews=False, monthly_amount_cents=2900)

    assert "500 API calls included once then $0.05 per call" in read()


def test_a_first_quota_that_differs_from_the_later_ones_promises_neither_for_all_months(read, table):
    plan = publish(table, monthly_amount_cents=2900)
    plan.credit_definitions.update(refill_amount=4000)

    assert "10,000 API calls included at first, 4,000 each month after that then $0.05 per call" in read()


def test_quotas_of_different_clocks_are_both_told(read, table):
    plan = publish(table, monthly_amount_cents=2900)
    feature = plan.plan_features.get().feature
    CreditDefinitionFactory(plan=plan, feature=feature, default_amount=Decimal(500), renew_on_billing=False)

    assert "10,000 API calls included each month, and 500 API calls included once" in read()


def test_usage_that_is_priced_without_a_feature_is_told_too(read, table):
    price = PriceFactory()
    UsageComponentFactory(price=price, label="Exports usage", unit_label="export", unit_cost_cents=Decimal(20))
    put(price.plan, table)

    assert "Exports $0.20 per export" in read()


def test_values_of_features_are_told(read, table):
    plan = put(PriceFactory().plan, table)
    for name, value in (("Seats", 5), ("Reports", "daily"), ("Nothing", 0), ("Off", False), ("Audit log", True)):
        PlanFeatureFactory(plan=plan, feature=FeatureFactory(display_name=name), value=value)
    counted = FeatureFactory(display_name="Exports", value=20, metrics=[MetricFactory()])
    PlanFeatureFactory(plan=plan, feature=counted)

    text = read()

    assert "20 Exports included each month Seats: 5 Reports: daily Audit log" in text
    assert "Nothing" not in text
    assert "Off" not in text


def test_a_yearly_fee_with_monthly_usage_says_what_is_paid_when(read, table):
    publish(table, monthly_amount_cents=2900, yearly_amount_cents=29_000)

    text = read("/pricing?interval=year")

    assert "$290 per year" in text
    assert "You pay $290.00 each year, in advance; usage beyond what is included is billed each month." in text
    assert "10,000 API calls included each month then $0.05 per call" in text


def test_fees_of_two_clocks_are_told_apart(read, table):
    price = PriceFactory()
    FixedComponentFactory(price=price, position=1, frequency="YEARLY", amount_cents=10_001)
    put(price.plan, table)

    text = read()

    # 12 × 29.00 + 100.01
    assert "$448.01 per year" in text
    assert "You pay $29.00 each month and $100.01 each year, in advance." in text


def test_the_switch_leads_to_yearly_prices_and_their_subscription(client, table):
    plan = publish(table, monthly_amount_cents=2900, yearly_amount_cents=29_000)

    monthly, yearly = client.get("/pricing"), client.get("/pricing?interval=year")

    assert "?interval=year" in addresses(monthly)
    assert f"/checkout?price={price_of(plan, 'MONTHLY').public_id}" in addresses(monthly)
    assert f"/checkout?price={price_of(plan, 'YEARLY').public_id}" in addresses(yearly)
    assert '<a href="?interval=month" aria-current="page">Monthly</a>' in monthly.content.decode()
    assert '<a href="?interval=year" aria-current="page">Yearly</a>' in yearly.content.decode()


def test_without_a_plan_that_has_both_prices_there_is_no_switch(client, table):
    publish(table, monthly_amount_cents=2900)

    assert "interval=year" not in client.get("/pricing").content.decode()


def test_an_unknown_interval_is_a_month(read, table):
    publish(table, monthly_amount_cents=2900, yearly_amount_cents=29_000)

    assert "$29 per month" in read("/pricing?interval=decade")


@pytest.mark.parametrize(
    ("frequency", "address", "note"),
    [
        ("MONTHLY", "/pricing?interval=year", "Not offered by the year: this price is per month."),
        ("YEARLY", "/pricing", "Not offered by the month: this price is per year."),
    ],
)
def test_a_plan_without_a_price_for_the_interval_shows_the_one_it_has_and_says_so(
    read, table, frequency, address, note
):
    price = PriceFactory(fee=None)
    FixedComponentFactory(price=price, frequency=frequency)
    put(price.plan, table)

    assert note in read(address)


@pytest.mark.parametrize(
    ("yearly_cents", "saving"),
    [
        (29_000, "Save 16%"),  # 58.00 of 348.00 are 16.67 %
        (34_452, "Save 1%"),  # 3.48 of 348.00
        (34_453, None),  # 3.47 of 348.00
        (34_800, None),
        (40_000, None),
    ],
)
def test_a_saving_is_rounded_down_and_never_claimed_where_there_is_none(read, table, yearly_cents, saving):
    put(
        publish_plan(at=START, name="Pro", currency="USD", monthly_amount_cents=2900, yearly_amount_cents=yearly_cents),
        table,
    )

    assert re.findall(r"Save \d+%", read("/pricing?interval=year")) == ([saving] if saving else [])
    assert "Save" not in read("/pricing")


def test_with_priced_usage_the_saving_is_one_on_the_fee(read, table):
    publish(table, monthly_amount_cents=2900, yearly_amount_cents=29_000)

    assert "Save 16% on the fee" in read("/pricing?interval=year")


def test_a_yearly_price_with_dearer_usage_claims_no_saving(read, table):
    plan = publish(table, monthly_amount_cents=2900, yearly_amount_cents=29_000)
    price_of(plan, "YEARLY").components.filter(kind="usage").update(unit_cost_cents=Decimal(6))

    assert "Save" not in read("/pricing?interval=year")


def test_a_yearly_price_with_a_smaller_quota_claims_no_saving(read, table):
    plan = publish(table, monthly_amount_cents=2900, yearly_amount_cents=29_000)
    plan.credit_definitions.filter(price=price_of(plan, "YEARLY")).update(default_amount=9000)

    text = read("/pricing?interval=year")

    assert "9,000 API calls" in text
    assert "Save" not in text


def test_each_interval_shows_the_quota_of_its_own_price(read, table):
    plan = publish(table, monthly_amount_cents=2900, yearly_amount_cents=29_000)
    plan.credit_definitions.filter(price=price_of(plan, "YEARLY")).update(default_amount=15_000)

    assert "10,000 API calls" in read("/pricing")
    assert "15,000 API calls" in read("/pricing?interval=year")


def test_the_session_of_a_known_customer_is_handed_on_unchanged(client, table):
    plan = publish(table, monthly_amount_cents=2900, yearly_amount_cents=29_000)
    token = "a&b=c d/é+1"

    response = client.get("/pricing", {"session": token})

    quoted = "a%26b%3Dc+d%2F%C3%A9%2B1"
    assert f"/checkout?price={price_of(plan, 'MONTHLY').public_id}&session={quoted}" in addresses(response)
    assert f"?interval=year&session={quoted}" in addresses(response)
    assert "no-store" in response["Cache-Control"]


@pytest.mark.parametrize("address", ["https://example.com/sales", "http://example.com", "mailto:sales@example.com"])
def test_an_enterprise_plan_links_to_its_contact_address(client, table, address):
    put(PlanFactory(is_enterprise_plan=True, enterprise_redirect_url=address), table)

    response = client.get("/pricing")

    assert address in addresses(response)
    assert "On request" in words(response)
    assert "Contact Sales" in words(response)
    assert "/checkout" not in response.content.decode()


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "java\nscript:alert(1)",
        "data:text/html,x",
        "//example.com",
        "https:",
        "http://[",
        "",
        None,
    ],
)
def test_an_address_that_is_no_page_and_no_mail_is_not_linked(client, table, address):
    put(PlanFactory(is_enterprise_plan=True, enterprise_redirect_url=address), table)
    Merchant.objects.update(display_name="Northwind")

    response = client.get("/pricing")

    assert [link for link in addresses(response) if link != "#main"] == []
    assert "Contact Northwind for this plan." in words(response)


def test_an_enterprise_plan_is_not_bought_at_the_checkout_even_with_a_price(client, table):
    put(PriceFactory(plan__is_enterprise_plan=True, plan__enterprise_redirect_url="https://example.com").plan, table)

    response = client.get("/pricing")

    assert "$29 per month" in words(response)
    assert "/checkout" not in response.content.decode()


def test_a_popular_plan_wears_a_badge(read, table):
    put(PriceFactory(plan__name="Pro").plan, table, is_popular=True)
    put(PriceFactory(plan__name="Team").plan, table, is_popular=True, popular_text="Best value")
    put(PriceFactory(plan__name="Other").plan, table, popular_text="Best value")

    text = read()

    assert "Pro Popular $29" in text
    assert "Team Best value $29" in text
    assert "Other $29" in text


def test_the_button_names_its_plan_to_a_screen_reader(client, table):
    put(PriceFactory(plan__name="Pro").plan, table, button_text="Subscribe")

    assert 'Subscribe<span class="visually-hidden">: Pro</span></a>' in client.get("/pricing").content.decode()


def test_the_words_of_the_table_and_the_seller_stand_on_the_page(client, table):
    Merchant.objects.update(display_name="Northwind", support_email="help@example.com")
    PricingTableFactory(slug="spring", heading="Spring", subheading="Until May", description="Without tax")

    response = client.get("/pricing/spring")

    assert "Northwind Spring Until May Without tax" in words(response)
    assert "<title>Spring · Northwind</title>" in response.content.decode()
    assert "mailto:help@example.com" in addresses(response)


@pytest.mark.parametrize("address", ["/pricing/nowhere", "/pricing/off", "/pricing/%00", "/pricing/a%20b", "/nowhere"])
def test_a_wrong_address_is_not_found_and_leads_to_the_plans(client, table, address):
    PricingTableFactory(slug="off", is_active=False)

    response = client.get(address)

    assert response.status_code == 404
    assert "Not found There is no" in words(response)
    assert "/pricing" in addresses(response)
    assert "Content-Security-Policy" in response


def test_without_plans_a_visitor_is_told_so(read, table):
    text = read()

    assert "There are no plans to choose from yet. Please come back later." in text
    assert "Create a plan" not in text


def test_without_any_table_the_page_is_there_all_the_same(read, db):
    assert "There are no plans to choose from yet." in read()


def test_without_plans_an_operator_is_led_to_the_plan_form(client, table):
    client.force_login(get_user_model().objects.create_user("operator", is_staff=True))

    response = client.get("/pricing")

    assert "Create a plan" in words(response)
    assert "/admin/plans/plan/add/" in addresses(response)


def test_a_plan_that_waits_for_its_price_or_is_deleted_is_not_shown(read, table):
    put(PlanFactory(name="Waiting"), table)
    put(PriceFactory(plan__name="Gone", plan__deleted_at=START + timedelta(days=1)).plan, table)

    text = read()

    assert "Waiting" not in text
    assert "Gone" not in text


def test_hostile_texts_stay_texts(client, table):
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    plan = put(
        PriceFactory(plan__name=evil, plan__description=evil).plan,
        table,
        is_popular=True,
        popular_text="<b>x</b>",
        button_text="<i>x</i>",
    )
    PlanFeatureFactory(plan=plan, feature=FeatureFactory(display_name=evil), value=evil)
    UsageComponentFactory(price=plan.prices.get(), label="<u>x</u>", unit_label="<s>x</s>")
    type(table).objects.update(heading=evil, subheading=evil, description=evil)
    Merchant.objects.update(display_name="<b>Northwind</b>")

    page = client.get("/pricing", {"session": '"><script>alert(2)</script>'}).content.decode()

    assert not re.search(r"<(script|img|b|i|u|s)\b", page)
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 5


def test_nothing_is_inline_and_the_browser_is_told_to_run_nothing_inline(client, table):
    publish(table, monthly_amount_cents=2900)

    response = client.get("/pricing")

    page = response.content.decode()
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\sstyle=|\son\w+=|javascript:", page)
    policy = response["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "base-uri 'none'"} <= set(policy)
    assert {"form-action 'self'", "frame-ancestors 'none'"} <= set(policy)
    assert "unsafe" not in response["Content-Security-Policy"]
    assert response["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize("address", ["/admin/login/", "/v1/plans"])
def test_the_admin_and_the_api_have_no_such_policy(client, db, address):
    assert "Content-Security-Policy" not in client.get(address)


def test_a_fault_of_ours_has_a_page_in_the_same_look_that_needs_no_database(settings):
    settings.ROOT_URLCONF = "tests.plans.test_pricing_page"

    response = Client(raise_request_exception=False).get("/broken")

    assert response.status_code == 500
    assert "Something went wrong The fault is ours" in words(response)


def test_it_is_only_read(client, table):
    assert client.post("/pricing").status_code == 405
    assert client.head("/pricing").status_code == 200


@pytest.mark.parametrize("count", [1, 6])
def test_needs_the_same_number_of_queries_for_any_number_of_plans(client, table, count, django_assert_num_queries):
    for number in range(count):
        publish(table, monthly_amount_cents=2900, yearly_amount_cents=29_000, name=f"Pro {number}")

    # The table, the currency, the plans; their prices, components, metrics; their features, the metrics of those; the
    # quotas; the seller.
    with django_assert_num_queries(10):
        text = words(client.get("/pricing"))

    assert text.count("10,000 API calls included each month") == count


@pytest.mark.parametrize(
    ("cents", "currency", "text"),
    [
        (2900, "USD", "$29.00"),
        (-50_000, "USD", "−$500.00"),
        (Decimal("0.05"), "USD", "$0.0005"),
        (Decimal("5.000000000000"), "USD", "$0.05"),
        (Decimal("123456789012.123456789012"), "USD", "$1,234,567,890.12123456789012"),
        (1200, "JPY", "¥1,200"),
        (Decimal("0.5"), "JPY", "¥0.5"),
        (1234, "KWD", "KWD\u00a01.234"),
        # Its minor unit is a hundredth for those who are paid in it, though none is shown in shops.
        (1050, "RSD", "RSD\u00a010.50"),
    ],
)
def test_amounts_have_all_their_decimals(cents, currency, text):
    assert money_text(cents, currency) == text


@pytest.mark.parametrize(
    ("quantity", "name", "unit", "text"),
    [
        ("12500", "API calls", "call", "12,500 API calls"),
        ("1", "API calls", "call", "1 API call"),
        ("2", "API call", "call", "2 API calls"),
        ("120.5", "Storage", "GB", "Storage: 120.5 GB"),
        ("3", "Search", "query", "Search: 3 queries"),
        ("3", "Recalls", "call", "Recalls: 3 calls"),
        ("3", "Exports", "", "3 Exports"),
        ("3", "Storage", "", "Storage: 3"),
    ],
)
def test_quantities_are_named(quantity, name, unit, text):
    assert counted_text(Decimal(quantity), name, unit) == text


@pytest.mark.parametrize(
    ("unit", "text"),
    [("call", "2 calls"), ("batch", "2 batches"), ("day", "2 days"), ("kWh", "2 kWh"), ("min", "2 mins"), ("", "2")],
)
def test_units_have_plurals_where_they_are_words(unit, text):
    assert units_text(Decimal(2), unit) == text


def _fail(request):
    raise RuntimeError("broken on purpose")


handler500 = "config.errors.handler500"
urlpatterns = [path("broken", _fail)]
