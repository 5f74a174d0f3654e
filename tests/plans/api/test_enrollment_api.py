"""Enrollment: rules, signing up for a free plan, and the hooks of sign-up services."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from credits.models import CreditGrant
from plans.models import Customer, EnrollmentRule, Subscription
from tests.factories import (
    CreditDefinitionFactory,
    CustomerFactory,
    FixedComponentFactory,
    PlanFactory,
    PriceFactory,
    PricingTableFactory,
    PricingTablePlanFactory,
    UsageComponentFactory,
)

NOON = datetime(2025, 3, 10, 12, tzinfo=UTC)
ANN = {"userId": "u1", "customerEmail": "ann@acme.io", "customerName": "Ann"}

pytestmark = pytest.mark.django_db


def make_free_plan(**plan):
    price = PriceFactory(plan=PlanFactory(**plan), fee=None)
    FixedComponentFactory(price=price, amount_cents=0)
    UsageComponentFactory(price=price, unit_cost_cents=Decimal(0))
    return price.plan


@pytest.fixture
def table():
    return PricingTableFactory(slug="default")


def show(table, plan, order=0):
    PricingTablePlanFactory(pricing_table=table, plan=plan, display_order=order)
    return plan


def rule(api, plan, matcher_type="domain", value="acme.io"):
    body = {"planId": plan.public_id, "matcherType": matcher_type, "matcherValue": value}
    return api.post("/v1/enrollment/rules", body)


def enroll(api, **body):
    return api.post("/v1/enrollment/enroll", ANN | body)


class TestRules:
    def test_a_rule_is_made_listed_and_deleted(self, api):
        plan = make_free_plan()

        made = rule(api, plan, value=" Acme.IO ")

        stored = EnrollmentRule.objects.get()
        words = {
            "id": stored.public_id,
            "planId": plan.public_id,
            "matcherType": "domain",
            "matcherValue": "acme.io",
            "isActive": True,
            "createdAt": "2025-03-10T12:00:00.000Z",
        }
        assert (made.status, made.body) == (200, {"rule": words})
        assert stored.public_id.startswith("plan_enroll_rule_")
        assert api.get("/v1/enrollment/rules", {"planId": plan.public_id}).body == {"rules": [words]}
        assert api.delete(f"/v1/enrollment/rules/{stored.public_id}").status == 200
        assert api.get("/v1/enrollment/rules", {"planId": plan.public_id}).body == {"rules": []}
        assert api.delete(f"/v1/enrollment/rules/{stored.public_id}").status == 404

    def test_the_list_needs_a_plan(self, api):
        answer = api.get("/v1/enrollment/rules")

        assert (answer.status, answer.body["details"][0]["path"]) == (400, "planId")

    @pytest.mark.parametrize(
        ("matcher_type", "value"),
        [
            ("domain", "acme"), ("domain", "a b.io"), ("domain", "-x.io"), ("domain", "ann@acme.io"), ("domain", ""),
            ("email", "acme.io"), ("email", "ann@"), ("email", ""), ("email", None),
        ],
    )  # fmt: skip
    def test_refuses_what_is_no_address_and_no_domain(self, api, matcher_type, value):
        answer = rule(api, make_free_plan(), matcher_type, value)

        assert (answer.status, answer.body["details"][0]["path"]) == (400, "matcherValue")
        assert not EnrollmentRule.objects.exists()

    def test_refuses_another_matcher(self, api):
        answer = rule(api, make_free_plan(), "country", "DE")

        assert (answer.status, answer.body["details"][0]["path"]) == (400, "matcherType")

    def test_refuses_a_plan_that_costs_something(self, api):
        answer = rule(api, PriceFactory().plan)

        assert (answer.status, answer.body["code"]) == (400, "no_free_price")

    def test_refuses_an_unknown_plan(self, api):
        answer = api.post("/v1/enrollment/rules", {"planId": "x", "matcherType": "domain", "matcherValue": "a.io"})

        assert answer.status == 404

    def test_refuses_a_second_rule_for_the_same(self, api):
        rule(api, make_free_plan())

        answer = rule(api, make_free_plan(), value="ACME.io")

        assert (answer.status, answer.body["code"]) == (409, "duplicate_enrollment_rule")
        assert EnrollmentRule.objects.count() == 1

    def test_deleting_a_plan_ends_its_rules(self, api):
        plan = make_free_plan()
        rule(api, plan)

        api.delete(f"/v1/plans/{plan.public_id}")

        assert EnrollmentRule.objects.get().deleted_at == NOON


class TestWhichPlan:
    def test_the_named_plan_goes_before_everything(self, api, table):
        named = make_free_plan()
        rule(api, make_free_plan(), "email", "ann@acme.io")
        show(table, make_free_plan())

        assert enroll(api, planId=named.public_id).body["plan"]["id"] == named.public_id

    def test_a_rule_for_the_address_goes_before_one_for_the_domain(self, api, table):
        by_address, by_domain = make_free_plan(), make_free_plan()
        rule(api, by_domain, "domain", "acme.io")
        rule(api, by_address, "email", "Ann@Acme.io")

        assert enroll(api).body["plan"]["id"] == by_address.public_id
        assert enroll(api, userId="u2", customerEmail="bob@ACME.IO").body["plan"]["id"] == by_domain.public_id

    def test_a_rule_for_the_domain_goes_before_the_pricing_table(self, api, table):
        by_domain, shown = make_free_plan(), show(table, make_free_plan())
        rule(api, by_domain)

        assert enroll(api).body["plan"]["id"] == by_domain.public_id
        assert enroll(api, userId="u2", customerEmail="x@sub.acme.io").body["plan"]["id"] == shown.public_id

    def test_without_a_rule_the_first_free_plan_of_a_shown_table_is_taken(self, api, table):
        hidden = PricingTableFactory(is_active=False)
        show(hidden, make_free_plan())
        show(table, PriceFactory().plan, order=0)
        show(table, make_free_plan(is_enterprise_plan=True), order=1)
        free = show(table, make_free_plan(), order=2)
        show(table, make_free_plan(), order=3)

        assert enroll(api).body["plan"]["id"] == free.public_id

    def test_a_rule_means_the_latest_free_version_of_its_plan(self, api):
        first = make_free_plan()
        rule(api, first)
        second = make_free_plan(stable_plan_id=first.stable_plan_id, version_number=2)
        PriceFactory(plan=PlanFactory(stable_plan_id=first.stable_plan_id, version_number=3))

        assert enroll(api).body["plan"]["id"] == second.public_id

    def test_refuses_a_plan_that_costs_something(self, api):
        answer = enroll(api, planId=PriceFactory().plan.public_id)

        assert (answer.status, answer.body["error"]) == (
            400, "Selected plan has no pure free price; cannot auto-enroll",
        )  # fmt: skip
        assert not Customer.objects.exists()

    @pytest.mark.parametrize("cost", [{"unit_cost_cents": Decimal("0.001")}, {"minimum_cents": 1}])
    def test_a_plan_is_free_only_if_no_use_of_it_can_cost_anything(self, api, cost):
        plan = make_free_plan()
        plan.prices.get().components.filter(kind="usage").update(**cost)

        assert enroll(api, planId=plan.public_id).body["code"] == "no_free_price"

    def test_refuses_an_unknown_plan(self, api):
        answer = enroll(api, planId="plan_int_x")

        assert (answer.status, answer.body["error"]) == (404, "Plan not found or access denied")

    def test_says_that_there_is_no_pricing_table(self, api):
        PricingTableFactory(is_active=False)

        answer = enroll(api)

        assert (answer.status, answer.body["error"]) == (404, "No active pricing tables found for this merchant")

    def test_says_that_no_table_has_a_free_plan(self, api, table):
        show(table, PriceFactory().plan)

        answer = enroll(api)

        assert (answer.status, answer.body["code"]) == (404, "no_free_plan")


class TestEnroll:
    def test_makes_a_customer_and_its_subscription(self, api, table):
        plan = show(table, make_free_plan())

        answer = enroll(api, billingCity="Bonn", billingCountry="de", taxId="DE1")

        customer, subscription = Customer.objects.get(), Subscription.objects.get()
        assert answer.status == 200
        assert answer.body["message"] == "Enrollment subscription created successfully"
        assert (answer.body["invoice"], answer.body["plan"]["id"]) == (None, plan.public_id)
        assert answer.body["credit_grants_created"] == 0
        words = answer.body["subscription"]
        assert (words["id"], words["customerId"], words["planId"], words["status"]) == (
            subscription.public_id, customer.public_id, plan.public_id, "active",
        )  # fmt: skip
        assert len(words["subscriptionDetails"]) == 2
        assert words["subscriptionFeatures"] == []
        assert (customer.external_customer_id, customer.name, customer.email) == ("u1", "Ann", "ann@acme.io")
        assert (customer.billing_city, customer.billing_country, customer.tax_id) == ("Bonn", "DE", "DE1")

    def test_counts_the_grants_that_come_with_it(self, api, table):
        plan = show(table, make_free_plan())
        CreditDefinitionFactory(plan=plan, feature__metrics=[plan.prices.get().components.get(kind="usage").metric])

        answer = enroll(api)

        # That of this period, and that of the next one.
        assert answer.body["credit_grants_created"] == CreditGrant.objects.count() == 2

    def test_a_known_customer_is_not_made_again(self, api, table):
        show(table, make_free_plan())
        customer = CustomerFactory(external_customer_id="u1", email="old@x.io")

        assert enroll(api).body["subscription"]["customerId"] == customer.public_id
        customer.refresh_from_db()
        assert customer.email == "old@x.io"

    def test_a_customer_known_by_its_address_alone_gets_the_user_id(self, api, table):
        show(table, make_free_plan())
        customer = CustomerFactory(external_customer_id=None, email="Ann@acme.io")

        assert enroll(api).body["subscription"]["customerId"] == customer.public_id
        customer.refresh_from_db()
        assert customer.external_customer_id == "u1"

    def test_an_address_of_another_user_is_refused(self, api, table):
        show(table, make_free_plan())
        CustomerFactory(external_customer_id="u2", email="ann@acme.io")

        answer = enroll(api)

        assert (answer.status, answer.body["code"]) == (409, "duplicate_customer")
        assert not Subscription.objects.exists()

    def test_a_second_sign_up_is_answered_with_the_subscription_that_there_is(self, api, table):
        show(table, make_free_plan())
        first = enroll(api).body["subscription"]

        answer = enroll(api)

        assert answer.status == 409
        assert answer.body["error"] == "Subscription already exists for this customer"
        assert answer.body["subscription"] == {"id": first["id"], "status": "active"}
        assert Subscription.objects.count() == Customer.objects.count() == 1

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("userId", None), ("userId", ""), ("userId", 7), ("customerEmail", "ann"), ("customerEmail", ""),
            ("customerEmail", None), ("customerName", ""), ("customerName", None), ("billingCountry", "XX"),
            ("planId", 7),
        ],
    )  # fmt: skip
    def test_refuses_what_cannot_be_read(self, api, table, field, value):
        show(table, make_free_plan())

        answer = enroll(api, **{field: value})

        assert (answer.status, answer.body["details"][0]["path"]) == (400, field)
        assert not Customer.objects.exists()

    def test_create_free_subscription_does_the_same(self, api, table):
        plan = show(table, make_free_plan())

        answer = api.post("/v1/subscriptions/create-free-subscription", ANN)

        assert (answer.status, answer.body["success"]) == (200, True)
        assert answer.body["subscription"]["planId"] == plan.public_id
        assert api.post("/v1/subscriptions/create-free-subscription", ANN).status == 409


class TestHooks:
    SUPABASE = {
        "type": "INSERT",
        "table": "users",
        "record": {
            "id": "u1", "email": "ann@acme.io", "raw_user_meta_data": {"first_name": "Ann", "last_name": "Lee"},
        },
    }  # fmt: skip
    CLERK = {
        "type": "user.created",
        "data": {
            "id": "u1",
            "email_addresses": [
                {"id": "idn_1", "email_address": "old@acme.io"},
                {"id": "idn_2", "email_address": "ann@acme.io"},
            ],
            "primary_email_address_id": "idn_2",
            "first_name": "Ann",
            "last_name": "Lee",
            "username": "annlee",
        },
    }

    @pytest.fixture(autouse=True)
    def plan(self, table):
        return show(table, make_free_plan())

    @pytest.mark.parametrize(("service", "body"), [("supabase", SUPABASE), ("clerk", CLERK)])
    def test_a_new_user_is_enrolled(self, api, plan, service, body):
        answer = api.post(f"/v1/webhooks/{service}", body)

        assert (answer.status, answer.body["received"]) == (200, True)
        assert answer.body["message"] == "Enrollment subscription created successfully"
        assert answer.body["plan"]["id"] == plan.public_id
        customer = Customer.objects.get()
        assert (customer.external_customer_id, customer.name, customer.email) == ("u1", "Ann Lee", "ann@acme.io")

    @pytest.mark.parametrize(("service", "body"), [("supabase", SUPABASE), ("clerk", CLERK)])
    def test_the_same_again_is_received_and_makes_nothing(self, api, service, body):
        first = api.post(f"/v1/webhooks/{service}", body)

        again = api.post(f"/v1/webhooks/{service}", body)

        assert (again.status, again.body) == (
            200,
            {
                "received": True,
                "message": "Subscription already exists for this customer",
                "subscription": {"id": first.body["subscription"]["id"], "status": "active"},
            },
        )

    @pytest.mark.parametrize(
        ("service", "body"),
        [
            ("supabase", SUPABASE | {"type": "UPDATE"}),
            ("supabase", SUPABASE | {"table": "posts"}),
            ("clerk", CLERK | {"type": "user.deleted"}),
            ("clerk", {}),
        ],
    )
    def test_other_news_is_received_only(self, api, service, body):
        answer = api.post(f"/v1/webhooks/{service}", body)

        assert (answer.status, answer.body) == (200, {"received": True})
        assert not Customer.objects.exists()

    def test_without_a_name_the_user_name_or_the_address_stands_for_it(self, api):
        nameless = self.CLERK["data"] | {"first_name": None, "last_name": ""}
        api.post("/v1/webhooks/clerk", {"type": "user.created", "data": nameless})
        api.post(
            "/v1/webhooks/supabase",
            {"type": "INSERT", "table": "users", "record": {"id": "u2", "email": "bob@x.io", "raw_user_meta_data": {}}},
        )

        assert list(Customer.objects.order_by("pk").values_list("name", flat=True)) == ["annlee", "bob@x.io"]

    @pytest.mark.parametrize(
        ("service", "body"),
        [
            ("supabase", SUPABASE | {"record": None}),
            ("supabase", SUPABASE | {"record": {"email": "a@x.io"}}),
            ("supabase", SUPABASE | {"record": {"id": "u1", "email": None}}),
            ("clerk", CLERK | {"data": []}),
            ("clerk", CLERK | {"data": {"id": "u1", "email_addresses": []}}),
            ("clerk", CLERK | {"data": {"id": "u1", "email_addresses": {"id": 1}}}),
        ],
    )
    def test_refuses_a_user_without_id_or_address(self, api, service, body):
        assert api.post(f"/v1/webhooks/{service}", body).status == 400
        assert not Customer.objects.exists()

    @pytest.mark.parametrize("service", ["supabase", "clerk"])
    def test_a_hook_needs_the_secret_key(self, client, service):
        answer = client.post(f"/v1/webhooks/{service}", "{}", content_type="application/json")

        assert answer.status_code == 401
