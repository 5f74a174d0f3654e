"""The plan form: one page makes a plan with all that it takes to sell it, or says what is wrong and where."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client

from credits.models import CreditDefinition
from plans.admin.plan_form import name_of, slug_of
from plans.admin.plans import refuse_second
from plans.models import Feature, Merchant, Metric, Plan, Price
from plans.refusals import InvalidInput
from tests.factories import START, FeatureFactory, MetricFactory, PlanFactory

pytestmark = pytest.mark.django_db

ADD = "/admin/plans/plan/add/"


@pytest.fixture
def operator(admin_user: User) -> Client:
    """A browser that is logged in."""
    client = Client()
    client.force_login(admin_user)
    return client


def usage(**changes: str) -> dict[str, str]:
    """API calls as they are typed: 5 cents each, 10,000 included each month."""
    return {
        "event_name": "api-calls",
        "unit_label": "call",
        "unit_cost_cents": "5",
        "included_units": "10000",
        "renews": "on",
        "shown_on_invoices": "on",
        "overage": "block",
    } | changes


def typed(*lines: dict[str, str], **changes: str) -> dict[str, str]:
    """What a browser sends for the Pro plan with these kinds of usage."""
    terms = {
        "name": "Pro",
        "description": "For teams",
        "currency": "USD",
        "monthly_fee": "29.00",
        "yearly_fee": "",
        "is_visible_in_pricing_table": "on",
        "button_text": "Start",
        "lines-TOTAL_FORMS": str(len(lines)),
        "lines-INITIAL_FORMS": "0",
    }
    for index, line in enumerate(lines):
        terms |= {f"lines-{index}-{name}": value for name, value in line.items()}
    return terms | changes


def rows() -> dict[str, int]:
    """The number of rows in every table."""
    with connection.cursor() as cursor:
        counts = {}
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT count(*) FROM "{table}"')
            counts[table] = cursor.fetchone()[0]
    return counts


def test_publishes_the_plan(operator):
    answer = operator.post(ADD, typed(usage(), yearly_fee="290"))

    plan = Plan.objects.get()
    monthly, yearly = Price.objects.filter(plan=plan).order_by("pk")
    fee, component = monthly.components.all()
    definition = CreditDefinition.objects.filter(price=monthly).get()
    assert (answer.status_code, answer.headers["Location"]) == (302, f"/admin/plans/plan/{plan.pk}/change/")
    assert (plan.name, plan.description, plan.button_text) == ("Pro", "For teams", "Start")
    assert plan.is_visible_in_pricing_table
    assert plan.table_plans.get().pricing_table.slug == "default"
    assert (fee.amount_cents, component.unit_cost_cents, component.unit_label) == (2900, 5, "call")
    assert yearly.components.first().amount_cents == 29_000
    assert (component.metric.event_name, component.metric.aggregation_type) == ("api-calls", "SUM")
    assert (plan.plan_features.get().feature.slug, plan.plan_features.get().overage) == ("api-calls", "block")
    assert (definition.default_amount, definition.renew_on_billing, definition.billing_visible) == (10_000, True, True)
    assert LogEntry.objects.get().object_id == str(plan.pk)
    page = operator.get(f"/admin/plans/plan/{plan.pk}/change/").content.decode()
    assert "$29.00 monthly. Api calls usage: 10,000 included, then $0.05 per call." in page
    assert "$290.00 yearly. Api calls usage: 10,000 included, then $0.05 per call." in page


def test_what_is_not_ticked_is_off(operator):
    line = usage(overage="allow")
    del line["renews"], line["shown_on_invoices"]
    terms = typed(line)
    del terms["is_visible_in_pricing_table"]

    operator.post(ADD, terms)

    definition = CreditDefinition.objects.get()
    plan = Plan.objects.get()
    assert (definition.renew_on_billing, definition.billing_visible) == (False, False)
    assert (plan.is_visible_in_pricing_table, plan.plan_features.get().overage) == (False, "allow")


def test_a_quota_without_price_is_a_hard_cap(operator):
    operator.post(ADD, typed(usage(unit_cost_cents="")))

    assert CreditDefinition.objects.get().price is None
    page = operator.get(f"/admin/plans/plan/{Plan.objects.get().pk}/change/").content.decode()
    assert "$29.00 monthly. Api calls: 10,000 included." in page


def test_usage_may_be_all_that_is_paid(operator):
    operator.post(ADD, typed(usage(unit_cost_cents="0.05", included_units=""), monthly_fee=""))

    assert [part.unit_cost_cents for part in Price.objects.get().components.all()] == [Decimal("0.05")]


def test_fees_are_in_the_major_unit_of_their_currency(operator):
    operator.post(ADD, typed(currency="jpy", monthly_fee="2900"))

    assert Price.objects.get().components.get().amount_cents == 2900
    assert Price.objects.get().currency == "JPY"


def test_lines_left_empty_or_removed_do_not_count(operator):
    operator.post(
        ADD,
        typed(
            usage(),
            {"overage": "block", "renews": "on", "shown_on_invoices": "on"},
            usage(event_name="mails", DELETE="on"),
        ),
    )

    assert [feature.slug for feature in Feature.objects.all()] == ["api-calls"]


def test_an_existing_feature_keeps_its_name(operator):
    metric = MetricFactory(event_name="api-calls")
    FeatureFactory(slug="api-calls", display_name="API calls", value="usage_based", metrics=[metric])

    operator.post(ADD, typed(usage()))

    assert Price.objects.get().components.get(kind="usage").label == "API calls usage"


def test_usage_is_called_as_it_was_named(operator):
    operator.post(ADD, typed(usage(event_name="api_calls", feature_name="API calls")))

    feature = Feature.objects.get()
    assert (feature.slug, feature.display_name) == ("api-calls", "API calls")
    assert feature.metrics.get().event_name == "api_calls"


def test_a_metric_that_counts_the_event_otherwise_stays_and_a_sum_is_made_beside_it(operator):
    MetricFactory(event_name="api-calls", aggregation_type="COUNT")

    operator.post(ADD, typed(usage()))

    assert Feature.objects.get().metrics.get().aggregation_type == "SUM"
    assert sorted(metric.aggregation_type for metric in Metric.objects.all()) == ["COUNT", "SUM"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "Pro\0"}, "name"),
        ({"description": "For\0teams"}, "description"),
        ({"currency": ""}, "currency"),
        ({"currency": "ABC"}, "currency"),
        ({"currency": "US"}, "currency"),
        ({"currency": "USDT"}, "currency"),
        ({"monthly_fee": "-1"}, "monthly_fee"),
        ({"monthly_fee": "29.001"}, "monthly_fee"),
        ({"monthly_fee": "29.00001"}, "monthly_fee"),
        ({"monthly_fee": "29,5x"}, "monthly_fee"),
        ({"monthly_fee": "29,50"}, "monthly_fee"),
        ({"monthly_fee": "99999999999"}, "monthly_fee"),
        ({"monthly_fee": "1e999999"}, "monthly_fee"),
        ({"monthly_fee": "1e-999999"}, "monthly_fee"),
        ({"monthly_fee": "NaN"}, "monthly_fee"),
        ({"monthly_fee": "-Infinity"}, "monthly_fee"),
        ({"yearly_fee": "-1"}, "yearly_fee"),
        ({"yearly_fee": "290.005"}, "yearly_fee"),
        ({"yearly_fee": "a lot"}, "yearly_fee"),
        ({"yearly_fee": "sNaN"}, "yearly_fee"),
        ({"currency": "JPY", "monthly_fee": "0.5"}, "monthly_fee"),
        ({"button_text": "x" * 61}, "button_text"),
    ],
)
def test_a_problem_shows_at_its_field_and_nothing_is_written(operator, changes, field):
    before = rows()

    answer = operator.post(ADD, typed(usage(), **changes))

    assert answer.status_code == 200
    assert list(answer.context["form"].errors) == [field]
    assert rows() == before


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"event_name": ""}, "event_name"),
        ({"event_name": "!!"}, "event_name"),
        ({"event_name": "äöü"}, "event_name"),
        ({"event_name": "api\0calls"}, "event_name"),
        ({"event_name": "x" * 256}, "event_name"),
        ({"feature_name": "x" * 181}, "feature_name"),
        ({"unit_label": "x" * 61}, "unit_label"),
        ({"unit_cost_cents": "-1"}, "unit_cost_cents"),
        ({"unit_cost_cents": "free"}, "unit_cost_cents"),
        ({"unit_cost_cents": "0.0000000000001"}, "unit_cost_cents"),
        ({"unit_cost_cents": "1000000001"}, "unit_cost_cents"),
        ({"unit_cost_cents": "NaN"}, "unit_cost_cents"),
        ({"included_units": "0"}, "included_units"),
        ({"included_units": "-5"}, "included_units"),
        ({"included_units": "10,000"}, "included_units"),
        ({"included_units": "0.0000001"}, "included_units"),
        ({"included_units": "1" + "0" * 18}, "included_units"),
        ({"included_units": "Infinity"}, "included_units"),
        ({"overage": "perhaps"}, "overage"),
    ],
)
def test_a_problem_of_usage_shows_at_its_field_and_nothing_is_written(operator, changes, field):
    before = rows()

    answer = operator.post(ADD, typed(usage(event_name="mails"), usage(**changes)))

    assert answer.status_code == 200
    assert [list(errors) for errors in answer.context["lines"].errors] == [[], [field]]
    assert rows() == before


def test_a_plan_without_any_price_is_asked_for_its_fee(operator):
    before = rows()

    answer = operator.post(ADD, typed(usage(unit_cost_cents=""), monthly_fee=""))

    assert answer.context["form"].errors == {"monthly_fee": ["Say what the plan costs; 0 makes it free."]}
    assert rows() == before


def test_the_same_usage_twice_is_named_at_the_second(operator):
    before = rows()

    answer = operator.post(ADD, typed(usage(), usage(event_name="API calls")))

    assert [list(errors) for errors in answer.context["lines"].errors] == [[], ["event_name"]]
    assert rows() == before


def test_usage_without_an_event_name_is_asked_for_it(operator):
    before = rows()

    answer = operator.post(ADD, typed({"unit_label": "call", "unit_cost_cents": "5", "overage": "block"}))

    assert answer.context["lines"].errors == [{"event_name": ["This field is required."]}]
    assert rows() == before


def test_a_feature_that_counts_something_else_is_named_at_the_event(operator):
    FeatureFactory(slug="api-calls", metrics=[MetricFactory(event_name="api-call")])
    before = rows()

    answer = operator.post(ADD, typed(usage()))

    assert answer.context["lines"].errors == [
        {
            "event_name": [
                "There is a feature api-calls already, and it counts api-call. "
                "Write api-call to count those, or choose another event name."
            ]
        },
    ]
    assert rows() == before


def test_a_feature_that_counts_nothing_is_named_at_the_event(operator):
    FeatureFactory(slug="api-calls", value=True)
    before = rows()

    answer = operator.post(ADD, typed(usage()))

    assert answer.context["lines"].errors == [
        {"event_name": ["There is a feature api-calls already, and it counts nothing. Choose another event name."]},
    ]
    assert rows() == before


def test_another_name_for_a_feature_that_has_one_is_refused(operator):
    metric = MetricFactory(event_name="api-calls")
    FeatureFactory(slug="api-calls", display_name="API calls", value="usage_based", metrics=[metric])

    answer = operator.post(ADD, typed(usage(feature_name="Requests")))

    assert [list(errors) for errors in answer.context["lines"].errors] == [["feature_name"]]
    assert not Plan.objects.exists()


def test_a_form_sent_twice_makes_one_plan(operator):
    operator.post(ADD, typed(usage()))
    before = rows()

    answer = operator.post(ADD, typed(usage(), name="pro"))

    (error,) = answer.context["form"].errors["name"]
    assert error.startswith("There is a plan pro already. If you have just sent this form, it is published")
    assert rows() == before


@pytest.mark.django_db(transaction=True)
def test_a_form_sent_while_its_first_copy_is_being_saved_waits_and_is_refused(operator):
    def send() -> int:
        try:
            return operator.post(ADD, typed(usage())).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as threads, transaction.atomic():
        refuse_second("Pro")
        PlanFactory(name="Pro")
        second = threads.submit(send)
        while not second.done() and not somebody_waits_for_us():
            pass

    assert second.result() == 200
    assert Plan.objects.count() == 1


def somebody_waits_for_us() -> bool:
    """Whether another connection waits for a lock of this one."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted"
            " AND pg_backend_pid() = ANY (pg_blocking_pids(pid)))"
        )
        return cursor.fetchone()[0]


def test_a_deleted_plan_leaves_its_name_to_another(operator):
    PlanFactory(name="Pro", deleted_at=START)

    assert operator.post(ADD, typed(usage())).status_code == 302


def test_what_was_ticked_or_not_and_added_rows_come_back(operator):
    first, second = usage(overage="allow"), usage(event_name="mails", unit_label="mail")
    del first["renews"], second["shown_on_invoices"]
    terms = typed(first, second, currency="ABC")
    del terms["is_visible_in_pricing_table"]

    answer = operator.post(ADD, terms)

    form, lines = answer.context["form"], answer.context["lines"]
    assert 'name="is_visible_in_pricing_table" checked' not in answer.content.decode()
    assert not form["is_visible_in_pricing_table"].value()
    assert [(bool(line["renews"].value()), bool(line["shown_on_invoices"].value())) for line in lines] == [
        (False, True),
        (True, False),
    ]
    assert [line["event_name"].value() for line in lines] == ["api-calls", "mails"]
    assert lines[0]["overage"].value() == "allow"


def test_all_problems_show_at_once_and_nothing_typed_is_lost(operator):
    terms = typed(
        usage(unit_cost_cents="five", unit_label="call up", included_units="10 000"),
        currency="ABC",
        button_text="Go",
        yearly_fee="NaN",
    )

    answer = operator.post(ADD, terms)

    page = answer.content.decode()
    assert list(answer.context["form"].errors) == ["currency", "yearly_fee"]
    assert list(answer.context["lines"].errors[0]) == ["unit_cost_cents", "included_units"]
    for text in ("five", "call up", "ABC", "29.00", "NaN", "Go", "10 000"):
        assert f'value="{text}"' in page
    assert "For teams" in page
    # A number input would come back empty where a browser cannot read what was typed.
    assert 'type="number"' not in page


@pytest.mark.parametrize(("path", "field"), [("currency", "currency"), ("elsewhere", "__all__")])
def test_what_the_service_refuses_is_said_and_nothing_is_written(operator, monkeypatch, path, field):
    def refuse(**_: Any) -> None:
        Plan.objects.create(name="Half", created_at=START)
        raise InvalidInput.at(path, "cannot be sold.")

    monkeypatch.setattr("plans.admin.plans.publish_plan", refuse)

    answer = operator.post(ADD, typed(usage()))

    assert list(answer.context["form"].errors) == [field]
    assert "annot be sold." in answer.content.decode()
    assert not Plan.objects.exists()


def test_proposes_the_merchants_currency(operator):
    Merchant.objects.update(default_currency="EUR")

    assert 'value="EUR"' in operator.get(ADD).content.decode()


def test_only_the_looks_of_a_plan_can_be_edited(operator):
    operator.post(ADD, typed(usage()))
    plan = Plan.objects.get()
    page = f"/admin/plans/plan/{plan.pk}/change/"

    counts = {
        f"{prefix}-{count}_FORMS": "1"
        for prefix in ("prices", "plan_features", "credit_definitions", "table_plans")
        for count in ("TOTAL", "INITIAL")
    }

    # Prices, features and quotas are shown without inputs; what is sent for them is ignored.
    answer = operator.post(
        page, counts | {"name": "Pro", "button_text": "Buy", "version_number": "7", "prices-0-currency": "EUR"}
    )

    plan.refresh_from_db()
    assert answer.status_code == 302
    assert (plan.button_text, plan.version_number, plan.prices.get().currency) == ("Buy", 1, "USD")


def test_needs_a_login_and_the_permission(client, django_user_model):
    assert client.get(ADD).status_code == 302
    client.force_login(django_user_model.objects.create_user("looker", is_staff=True))

    assert client.get(ADD).status_code == 403
    assert client.post(ADD, typed(usage())).status_code == 403
    assert not Plan.objects.exists()


@pytest.mark.parametrize(
    ("event_name", "slug", "name"),
    [
        ("api-calls", "api-calls", "Api calls"),
        ("API.Call", "api-call", "API Call"),
        ("x" * 60, "x" * 50, "X" + "x" * 59),
    ],
)
def test_names_the_feature_after_its_event(event_name, slug, name):
    assert (slug_of(event_name), name_of(event_name)) == (slug, name)
