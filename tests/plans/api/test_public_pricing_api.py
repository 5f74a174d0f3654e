"""/v1/public/pricing-tables: what the pricing table component reads with a publishable key."""

import re
from decimal import Decimal

import pytest
from django.test import Client
from django.utils import timezone

from config.keys import create_api_key
from credits.services.publish_plan import QuotaTerms, SwitchTerms, UsageTerms, publish_plan
from plans.models import Merchant
from tests.conftest import Answer
from tests.factories import (
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

PATH = "/v1/public/pricing-tables"
# How the contract's component finds the quota in a feature's text.
QUOTA = re.compile(r"\(\d+\s+(per\s+(month|year)|included)\)")


@pytest.fixture
def read_table(db):
    """Reads a pricing table as a page does, with the publishable key in a header."""
    at = timezone.now()
    key, text = create_api_key(name="Page", key_type="publishable", at=at)
    key.last_used_at = at
    key.save(update_fields=["last_used_at"])
    return lambda suffix="": Answer(Client().get(PATH + suffix, headers={"X-Lumen-Key": text}))


@pytest.fixture
def table(db):
    """The default table."""
    return PricingTableFactory(slug="default", heading="Plans", description="Without tax")


def put(plan, table, **look):
    PricingTablePlanFactory(plan=plan, pricing_table=table, **look)
    return plan


def publish_pro(now, name="Pro"):
    calls = UsageTerms(
        slug="api-calls",
        name="API Calls",
        unit_label="call",
        unit_cost_cents=Decimal("0.5"),
        quota=QuotaTerms(units=Decimal(10_000)),
    )
    return publish_plan(
        at=now,
        name=name,
        description="For teams",
        currency="USD",
        monthly_amount_cents=2_999,
        yearly_amount_cents=29_000,
        features=[SwitchTerms(slug="priority-support", name="Priority support")],
        usage_components=[calls],
    )


def cards(answer):
    assert answer.status == 200, answer
    return answer.body["pricingTable"]["plans"]


def texts(answer):
    return [feature["text"] for feature in cards(answer)[0]["features"]]


def plan_with_quota(table, *, renews=True, amount=10_000, **clock):
    plan = put(PlanFactory(), table)
    price = PriceFactory(plan=plan, fee=None)
    component = UsageComponentFactory(price=price, **clock)
    feature = FeatureFactory(display_name="API Calls", value="usage_based", metrics=[component.metric])
    PlanFeatureFactory(plan=plan, feature=feature)
    CreditDefinitionFactory(
        plan=plan,
        price=price,
        price_component_id=component.component_id,
        feature=feature,
        default_amount=Decimal(amount),
        renew_on_billing=renews,
    )
    return plan


def test_describes_a_plan_to_the_component(read_table, table, now):
    plan = put(publish_pro(now), table, is_popular=True, popular_text="Loved", button_outline=True)
    monthly, yearly = plan.prices.order_by("pk")
    fee, usage = monthly.components.order_by("position")

    answer = read_table()

    assert answer.status == 200
    assert answer.body == {
        "pricingTable": {
            "heading": "Plans",
            "description": "Without tax",
            "plans": [
                {
                    "title": "Pro",
                    "description": "For teams",
                    "price": Decimal("29.99"),
                    "priceMonthly": Decimal("29.99"),
                    "priceYearly": 290,
                    "interval": "month",
                    "minSeats": None,
                    "features": [{"text": "Priority support"}, {"text": "API Calls (10000 per month)"}],
                    "buttonText": "Get started",
                    "buttonOutline": True,
                    "isPopular": True,
                    "popularText": "Loved",
                    "currency": "usd",
                    "planId": plan.public_id,
                    "priceId": monthly.public_id,
                    "priceIdMonthly": monthly.public_id,
                    "priceIdYearly": yearly.public_id,
                    "isEnterprisePlan": False,
                    "enterpriseRedirectUrl": None,
                    "trial": {"available": False, "days": None, "trialPlanId": None},
                    "pricingData": {
                        "dsl_version": 1,
                        "components": [
                            {
                                "type": "fixed",
                                "component_id": fee.component_id,
                                "label": "Base fee",
                                "amount_cents": 2999,
                                "recurrence_rule": "RRULE:FREQ=MONTHLY;INTERVAL=1",
                            },
                            {
                                "type": "usage",
                                "component_id": usage.component_id,
                                "component_name": "usage_api-calls",
                                "label": "API Calls usage",
                                "unit_label": "call",
                                "metric_id": usage.metric.public_id,
                                "unit_cost_cents": Decimal("0.5"),
                                "recurrence_rule": "RRULE:FREQ=MONTHLY;INTERVAL=1",
                            },
                        ],
                    },
                    "pspPlanId": None,
                }
            ],
        }
    }
    assert b'"price":29.99,"priceMonthly":29.99,"priceYearly":290,' in answer.response.content


def test_a_page_of_any_origin_may_read_it(read_table, table):
    assert read_table().response["Access-Control-Allow-Origin"] == "*"
    assert read_table("/nowhere").response["Access-Control-Allow-Origin"] == "*"


def test_a_secret_key_does_not_open_it(api, table):
    assert api.get(PATH).body["code"] == "missing_api_key"
    answer = api.get(PATH, x_lumen_key=api.key)
    assert (answer.status, answer.body["error"]) == (401, "Invalid Lumen publishable key")


def test_a_publishable_key_does_not_manage_tables(api, table, now):
    _, text = create_api_key(name="Page", key_type="publishable", at=now)

    answer = api.get("/v1/pricing-tables", authorization=f"Bearer {text}")

    assert (answer.status, answer.body["code"]) == (401, "invalid_api_key")


def test_without_a_slug_the_default_table_comes_else_the_first_active_one(read_table, table):
    PricingTableFactory(heading="Off", is_active=False)
    PricingTableFactory(heading="First")
    PricingTableFactory(heading="Second")
    assert read_table().body["pricingTable"]["heading"] == "Plans"

    table.is_active = False
    table.save()

    assert read_table().body["pricingTable"]["heading"] == "First"


def test_a_slug_names_the_table(read_table, table):
    PricingTableFactory(slug="spring", heading="Spring")

    assert read_table("/spring").body == {"pricingTable": {"heading": "Spring", "description": None, "plans": []}}


@pytest.mark.parametrize("suffix", ["", "/off", "/nowhere"])
def test_a_table_that_is_off_or_unknown_is_not_found(read_table, suffix):
    PricingTableFactory(slug="off", is_active=False)

    answer = read_table(suffix)

    assert (answer.status, answer.body["code"]) == (404, "pricing_table_not_found")
    assert answer.body["error"] == "Pricing table not found"


def test_plans_stand_in_display_order_without_deleted_ones(read_table, table, now):
    for name, order in (("Last", 9), ("First", 0), ("Second", 1)):
        put(PriceFactory(plan__name=name).plan, table, display_order=order)
    put(PriceFactory(plan__deleted_at=now).plan, table)

    assert [card["title"] for card in cards(read_table())] == ["First", "Second", "Last"]


def test_a_plan_that_waits_for_its_price_is_not_shown_as_a_free_one(read_table, table, now):
    put(PlanFactory(), table)
    put(PriceFactory(deleted_at=now).plan, table)
    put(PriceFactory(is_override_price=True).plan, table)

    assert cards(read_table()) == []


def test_an_enterprise_plan_needs_no_price(read_table, table):
    url = "https://example.com/sales"
    put(PlanFactory(is_enterprise_plan=True, enterprise_redirect_url=url), table)

    (card,) = cards(read_table())

    assert (card["isEnterprisePlan"], card["enterpriseRedirectUrl"]) == (True, url)
    assert (card["price"], card["priceMonthly"], card["priceYearly"], card["interval"]) == (0, None, None, "month")
    assert (card["priceId"], card["currency"], card["buttonText"]) == (None, None, "Contact Sales")
    assert card["pricingData"] == {"dsl_version": 1, "components": []}


@pytest.mark.parametrize(
    ("on_table", "on_plan", "shown"), [("Buy", "Take", "Buy"), ("", "Take", "Take"), ("", "", "Get started")]
)
def test_the_button_says_what_the_table_says_else_what_the_plan_says(read_table, table, on_table, on_plan, shown):
    put(PriceFactory(plan__button_text=on_plan).plan, table, button_text=on_table)

    assert cards(read_table())[0]["buttonText"] == shown


@pytest.mark.parametrize(("is_popular", "text"), [(True, "Popular"), (False, None)])
def test_a_popular_plan_is_called_so(read_table, table, is_popular, text):
    put(PriceFactory().plan, table, is_popular=is_popular)

    assert cards(read_table())[0]["popularText"] == text


@pytest.mark.parametrize(
    ("clock", "interval", "monthly", "yearly"),
    [
        ({"frequency": "MONTHLY"}, "month", 29, None),
        ({"frequency": "YEARLY"}, "year", None, 29),
        ({"frequency": "MONTHLY", "interval": 12}, "year", None, 29),
        ({"frequency": "MONTHLY", "interval": 3}, "3 months", None, None),
        ({"frequency": "WEEKLY"}, "week", None, None),
    ],
)
def test_the_interval_is_that_of_the_fee(read_table, table, clock, interval, monthly, yearly):
    price = PriceFactory(fee=None)
    FixedComponentFactory(price=price, **clock)
    put(price.plan, table)

    (card,) = cards(read_table())

    assert (card["price"], card["interval"], card["priceId"]) == (29, interval, price.public_id)
    assert (card["priceMonthly"], card["priceYearly"]) == (monthly, yearly)
    assert card["priceIdMonthly"] == (price.public_id if monthly else None)
    assert card["priceIdYearly"] == (price.public_id if yearly else None)


def test_fees_of_several_clocks_are_added_up_over_the_longest(read_table, table):
    price = PriceFactory()
    FixedComponentFactory(price=price, position=1, frequency="YEARLY", amount_cents=10_001)
    put(price.plan, table)

    (card,) = cards(read_table())

    # 12 × 29.00 + 100.01
    assert (card["price"], card["interval"]) == (Decimal("448.01"), "year")


def test_a_plan_of_usage_alone_has_no_fee(read_table, table):
    price = PriceFactory(fee=None)
    UsageComponentFactory(price=price)
    put(price.plan, table)

    (card,) = cards(read_table())

    assert (card["price"], card["priceMonthly"], card["interval"]) == (0, 0, "month")


@pytest.mark.parametrize(("currency", "shown"), [("JPY", 2900), ("KWD", Decimal("2.9")), ("USD", 29)])
def test_amounts_have_the_decimals_of_their_currency(read_table, table, currency, shown):
    put(PriceFactory(currency=currency).plan, table)

    (card,) = cards(read_table())

    assert (card["price"], card["currency"]) == (shown, currency.lower())


def test_the_newest_price_in_the_default_currency_is_on_sale(read_table, table, now):
    plan = put(PlanFactory(), table)
    PriceFactory(plan=plan, currency="EUR")
    PriceFactory(plan=plan)
    newest = PriceFactory(plan=plan, created_at=now)
    PriceFactory(plan=plan, created_at=now, is_override_price=True)
    assert cards(read_table())[0]["priceId"] == newest.public_id

    Merchant.objects.update(default_currency="CHF")

    assert cards(read_table())[0]["currency"] == "eur"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, ["Reports"]),
        (False, []),
        (0, []),
        ("", []),
        (5, ["Reports (5 included)"]),
        (Decimal("2.5"), ["Reports (2.5 included)"]),
        ("usage_based", ["Reports"]),
        ("daily", ["Reports: daily"]),
    ],
)
def test_a_feature_says_what_the_plan_gives_of_it(read_table, table, value, shown):
    plan = put(PriceFactory().plan, table)
    PlanFeatureFactory(plan=plan, feature=FeatureFactory(display_name="Reports"), value=value)

    assert texts(read_table()) == shown


def test_a_deleted_feature_is_left_out(read_table, table, now):
    plan = put(PriceFactory().plan, table)
    PlanFeatureFactory(plan=plan, feature=FeatureFactory(deleted_at=now))

    assert texts(read_table()) == []


@pytest.mark.parametrize("value", [0, False])
def test_a_quota_counts_more_than_the_value_of_its_feature_as_in_checks(read_table, table, value):
    plan = plan_with_quota(table)
    plan.plan_features.update(value=value)

    assert texts(read_table()) == ["API Calls (10000 per month)"]


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        ({}, "API Calls (10000 per month)"),
        ({"frequency": "YEARLY", "amount": 1_200_000}, "API Calls (1200000 per year)"),
        ({"renews": False, "amount": 500}, "API Calls (500 included)"),
    ],
)
def test_a_quota_is_written_as_the_component_reads_it(read_table, table, terms, text):
    plan_with_quota(table, **terms)

    (shown,) = texts(read_table())

    assert shown == text
    assert QUOTA.search(shown)


def test_a_quota_of_quarters_says_so(read_table, table):
    plan_with_quota(table, interval=3)

    assert texts(read_table()) == ["API Calls (10000 per 3 months)"]


def test_a_quota_linked_to_a_feature_follows_the_shortest_clock_of_the_price(read_table, table):
    plan = put(PlanFactory(), table)
    feature = FeatureFactory(display_name="API Calls", value="usage_based", metrics=[MetricFactory()])
    PlanFeatureFactory(plan=plan, feature=feature)
    CreditDefinitionFactory(plan=plan, feature=feature, default_amount=Decimal(1000))
    FixedComponentFactory(price=PriceFactory(plan=plan), position=1, frequency="YEARLY")

    assert texts(read_table()) == ["API Calls (1000 per month)"]


def test_quotas_of_one_feature_are_added_up(read_table, table):
    plan = plan_with_quota(table)
    feature = plan.plan_features.get().feature
    for terms in ({}, {"renew_on_billing": False}, {"is_active": False}):
        CreditDefinitionFactory(plan=plan, feature=feature, default_amount=Decimal(500), **terms)

    assert texts(read_table()) == ["API Calls (10500 per month)"]


def test_a_limit_of_usage_begins_anew_with_each_period(read_table, table):
    plan = put(PriceFactory().plan, table)
    feature = FeatureFactory(display_name="Exports", value=20, metrics=[MetricFactory()])
    PlanFeatureFactory(plan=plan, feature=feature)

    assert texts(read_table()) == ["Exports (20 per month)"]


@pytest.mark.parametrize("count", [1, 6])
def test_needs_the_same_number_of_queries_for_any_number_of_plans(
    read_table, table, now, count, django_assert_num_queries
):
    for number in range(count):
        put(publish_pro(now, name=f"Pro {number}"), table)

    # The key, the table, the currency, the plans; their prices, components, metrics; their features, the metrics of
    # those; the quotas.
    with django_assert_num_queries(10):
        answer = read_table()

    assert len(cards(answer)) == count
