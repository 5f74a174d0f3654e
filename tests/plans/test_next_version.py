"""The action "New version": the plan form, filled with what a version sells, publishes the next one."""

from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission, User
from django.forms import model_to_dict
from django.test import Client

from billing.services.subscribe import subscribe
from credits.services.definitions import create_definition
from credits.services.publish_plan import QuotaTerms, SeatTerms, SwitchTerms, UsageTerms, publish_plan
from plans.models import Plan, PricingTable
from tests.factories import START, CustomerFactory, FeatureFactory, FixedComponentFactory, PriceFactory
from tests.plans.test_plan_admin import rows
from tests.pro_plan import make_pro_plan

pytestmark = pytest.mark.django_db

QUOTA = QuotaTerms(units=Decimal(10_000), shown_on_invoices=True)
PLAIN = {"unit_cost_cents": Decimal(5), "quota": QUOTA}
TIERS = [
    {"up_to": "1000", "unit_cost_cents": "5", "flat_cost_cents": "0"},
    {"up_to": "2000", "unit_cost_cents": "0", "flat_cost_cents": "500"},
    {"up_to": None, "unit_cost_cents": "0.25", "flat_cost_cents": "0"},
]


@pytest.fixture
def operator(admin_user):
    client = Client()
    client.force_login(admin_user)
    return client


def calls(**terms):
    return UsageTerms(slug="api-calls", name="API calls", event_name="api_calls", unit_label="call", **terms)


def make_plan(*usage, **terms):
    return publish_plan(at=START, name="Pro", currency="USD", usage_components=usage, **terms)


def page_of(plan):
    return f"/admin/plans/plan/{plan.pk}/new-version/"


def shown(answer):
    """What a browser would send if nothing were typed into the form that it was answered."""
    form, lines = answer.context["form"], answer.context["lines"]
    fields = [field for part in (form, lines.management_form, *lines) for field in part]
    sent = {field.html_name: "" if field.value() is None else str(field.value()) for field in fields}
    return {name: "on" if value == "True" else value for name, value in sent.items() if value not in ("False", "")}


def publish(operator, plan, **changes):
    """Open the form, type the changes, send it, and return the newest version."""
    answer = operator.post(page_of(plan), shown(operator.get(page_of(plan))) | changes)
    assert answer.status_code == 302, (answer.context["form"].errors, answer.context["lines"].errors)
    return Plan.objects.get(stable_plan_id=plan.stable_plan_id, version_number=plan.version_number + 1)


def sold(plan):
    """All that a version sells, without the keys of its rows."""
    components = [
        [model_to_dict(part, exclude=["id", "price"]) for part in price.components.order_by("position")]
        for price in plan.prices.order_by("pk")
    ]
    definitions = [
        model_to_dict(definition, exclude=["id", "price", "plan", "feature", "created_at"])
        | {"price": definition.price and [part.component_id for part in definition.price.components.all()]}
        for definition in plan.credit_definitions.filter(deleted_at=None).order_by("name", "pk")
    ]
    features = plan.plan_features.order_by("feature_id").values_list("feature", "value", "overage")
    return components, definitions, list(features)


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_plan(calls(**PLAIN), monthly_amount_cents=2_900, yearly_amount_cents=29_050),
        lambda: make_plan(calls(pricing={"model": "graduated", "tiers": TIERS}, overage="allow")),
        lambda: make_plan(calls(pricing={"model": "volume", "tiers": TIERS}), monthly_amount_cents=0),
        lambda: make_plan(
            calls(pricing={"model": "package", "package_size": "100", "package_cost_cents": "0.5",
                           "package_round": "down"})
        ),
        lambda: make_plan(calls(pricing={"model": "percentage", "rate_percent": "2.9", "fixed_cost_cents": "30"})),
        lambda: make_plan(
            calls(pricing={"unit_cost_cents": "10", "divide_by": "1000", "divide_round": "half_up",
                           "minimum_cents": 1_000, "maximum_cents": 5_000})
        ),
        lambda: make_plan(
            calls(quota=QuotaTerms(units=Decimal("0.5"), renews=False)),
            monthly_amount_cents=2_900,
            yearly_amount_cents=29_000,
        ),
        lambda: make_plan(calls(quota=QUOTA), yearly_amount_cents=29_000),
        lambda: make_plan(calls(), monthly_amount_cents=0),
        lambda: make_plan(
            calls(quota=QuotaTerms(units=Decimal(1_000), per_seat=True)), seats=SeatTerms(monthly_amount_cents=1_000)
        ),
        lambda: make_plan(
            features=[SwitchTerms(slug="sso", name="SSO")],
            seats=SeatTerms(monthly_amount_cents=1_000, yearly_amount_cents=9_999, minimum_quantity=3,
                            unit_label="user"),
        ),
    ],
)  # fmt: skip
def test_a_form_that_is_sent_as_it_is_shown_sells_the_same(operator, make):
    plan = make()

    version = publish(operator, plan)

    assert sold(version) == sold(plan)
    assert (version.name, version.version_number) == (plan.name, 2)


def test_what_is_changed_counts_for_the_next_version_alone(operator):
    plan = make_plan(calls(**PLAIN), monthly_amount_cents=2_900, on_pricing_table=True)
    customer = CustomerFactory()
    subscription = subscribe(at=START, customer=customer, plan=plan)
    before = sold(plan)

    version = publish(
        operator, plan, monthly_fee="39", commit_message="Dearer",
        **{"lines-0-unit_cost_cents": "4", "lines-0-included_units": "20000", "lines-0-overage": "allow"},
    )  # fmt: skip

    fee, usage = version.prices.get().components.order_by("position")
    quota = version.credit_definitions.get()
    assert (fee.amount_cents, usage.unit_cost_cents, quota.default_amount) == (3_900, 4, 20_000)
    assert version.plan_features.get().overage == "allow"
    assert version.commit_message == "Dearer"
    assert sold(plan) == before
    subscription.refresh_from_db()
    assert subscription.plan == plan
    assert [placed.plan for placed in PricingTable.objects.get().table_plans.all()] == [version]


def test_the_page_of_the_plan_leads_to_it_and_says_afterwards_what_was_published(operator):
    plan = make_plan(calls(**PLAIN), monthly_amount_cents=2_900)
    assert page_of(plan) in operator.get(f"/admin/plans/plan/{plan.pk}/change/").content.decode()

    answer = operator.post(page_of(plan), shown(operator.get(page_of(plan))), follow=True)

    assert "The version 2 of Pro is published." in answer.content.decode()


def test_usage_that_is_left_out_is_neither_sold_nor_given(operator):
    plan = make_plan(calls(**PLAIN), monthly_amount_cents=2_900, features=[SwitchTerms(slug="sso", name="SSO")])

    version = publish(operator, plan, **{"lines-0-DELETE": "on"})

    assert [part.kind for part in version.prices.get().components.all()] == ["fixed"]
    assert [given.feature.slug for given in version.plan_features.all()] == ["sso"]
    assert not version.credit_definitions.exists()


def test_credits_that_the_form_does_not_show_are_taken_along_and_named(operator):
    plan = make_plan(calls(unit_cost_cents=Decimal(5)), monthly_amount_cents=2_900)
    price = plan.prices.get()
    usage = price.components.get(kind="usage")
    common = {"at": START, "scope": "plan", "plan": plan, "price": price, "default_amount": Decimal(1_000)}
    create_definition(
        name="Rolling calls", application_type="usage", price_component_id=usage.component_id, renew_on_billing=True,
        rolls_over=True, **common,
    )  # fmt: skip
    create_definition(name="Welcome", application_type="monetary", currency="USD", **common)
    page = operator.get(page_of(plan))
    assert "It takes along as they are: Rolling calls, Welcome." in page.content.decode()

    version = publish(operator, plan, monthly_fee="39")

    taken = version.credit_definitions.order_by("pk")
    assert [(one.name, one.rolls_over, one.price) for one in taken] == [
        ("Rolling calls", True, version.prices.get()), ("Welcome", False, version.prices.get()),
    ]  # fmt: skip


def test_a_quota_keeps_its_name(operator):
    pro = make_pro_plan()

    version = publish(operator, pro.plan, **{"lines-0-included_units": "500"})

    assert list(version.credit_definitions.values_list("name", "default_amount")) == [("Included calls", 500)]


def test_an_error_stands_at_its_field_nothing_is_lost_and_nothing_is_written(operator):
    plan = make_plan(calls(**PLAIN), monthly_amount_cents=2_900)
    typed = shown(operator.get(page_of(plan))) | {"monthly_fee": "29.001", "lines-0-included_units": "1234"}
    before = rows()

    answer = operator.post(page_of(plan), typed)

    assert answer.context["form"].errors == {"monthly_fee": ["USD has 2 decimals."]}
    assert shown(answer) == typed
    assert rows() == before


def test_the_name_of_another_plan_is_refused(operator):
    plan = make_plan(calls(), monthly_amount_cents=2_900)
    publish_plan(at=START, name="Scale", currency="USD", monthly_amount_cents=0)

    answer = operator.post(page_of(plan), shown(operator.get(page_of(plan))) | {"name": "scale"})

    assert list(answer.context["form"].errors) == ["name"]


def test_a_form_that_is_sent_twice_publishes_once(operator):
    plan = make_plan(calls(**PLAIN), monthly_amount_cents=2_900)
    typed = shown(operator.get(page_of(plan)))
    operator.post(page_of(plan), typed)

    answer = operator.post(page_of(plan), typed)

    assert "Version 2 was published since you opened this form." in str(answer.context["form"].errors)
    assert Plan.objects.count() == 2


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"included_units": "5"}, "“API calls usage” (included_units)"),
        ({"recurrence_rule": "FREQ=YEARLY"}, "“API calls usage” (how often it is billed)"),
        (
            {"model": "graduated_percentage", "unit_cost_cents": None,
             "tiers": [{"up_to": None, "rate_percent": "2"}]},
            "“API calls usage” (its tiers)",
        ),
        (
            {"model": "graduated", "unit_cost_cents": None, "tiers": TIERS, "first_tier_flat_at_zero": True},
            "“API calls usage” (first_tier_flat_at_zero)",
        ),
    ],
)  # fmt: skip
def test_terms_that_the_form_cannot_show_are_named_and_nothing_is_lost(operator, terms, words):
    plan = make_plan(calls(pricing={"unit_cost_cents": "5"} | terms), monthly_amount_cents=2_900)
    before = rows()

    answer = operator.get(page_of(plan), follow=True)

    assert words in answer.content.decode()
    assert "PUT /v1/plans/{id}" in answer.content.decode()
    assert rows() == before | {"django_session": before["django_session"]}


def test_a_second_price_of_an_interval_is_named_and_nothing_is_lost(operator):
    plan = make_plan(calls(), monthly_amount_cents=2_900)
    FixedComponentFactory(price=PriceFactory(plan=plan, fee=None))

    assert "two prices that are paid as often" in operator.get(page_of(plan), follow=True).content.decode()


def test_a_limited_feature_is_named_and_nothing_is_lost(operator):
    plan = make_plan(calls(), monthly_amount_cents=2_900)
    plan.plan_features.update(value=100)

    assert "what the plan gives of “API calls”" in operator.get(page_of(plan), follow=True).content.decode()


def test_features_that_count_nothing_are_kept_with_their_values(operator):
    plan = make_plan(calls(), monthly_amount_cents=2_900)
    support = FeatureFactory(slug="support", value=True)
    plan.plan_features.create(feature=support, value="by telephone")

    version = publish(operator, plan)

    assert version.plan_features.get(feature=support).value == "by telephone"


def test_whoever_may_not_add_plans_makes_no_version():
    plan = make_plan(calls(), monthly_amount_cents=2_900)
    clerk = User.objects.create_user("clerk", password="x", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_plan"))
    client = Client()
    client.force_login(clerk)

    assert client.get(page_of(plan)).status_code == 403
    assert page_of(plan) not in client.get(f"/admin/plans/plan/{plan.pk}/change/").content.decode()


def test_the_version_of_what_is_not_there_leads_to_the_list(operator):
    answer = operator.get("/admin/plans/plan/0/new-version/")

    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/plans/plan/")
