"""/v1/pricing-tables: create, get, list, update, delete, and putting a plan on a table."""

import pytest

from plans.models import Merchant, PricingTable, PricingTablePlan
from tests.factories import PlanFactory, PricingTableFactory, PricingTablePlanFactory

NOON = "2025-03-10T12:00:00.000Z"


def rows(table):
    return [(placed.plan, placed.display_order) for placed in table.table_plans.order_by("display_order", "pk")]


def test_creates_a_table_with_its_plans(api):
    free, pro, scale = PlanFactory(), PlanFactory(), PlanFactory()

    answer = api.post(
        "/v1/pricing-tables",
        {
            "name": "Spring offer!",
            "description": "All prices without tax",
            "heading": "Plans",
            "subheading": "Pick one",
            "planIds": [free.public_id, pro.public_id],
            "planConfigs": [
                {
                    "planId": pro.public_id,
                    "displayOrder": 7,
                    "isPopular": True,
                    "popularText": "Loved",
                    "buttonText": "Buy",
                    "buttonOutline": True,
                },
                {"planId": scale.stable_plan_id},
            ],
        },
    )

    table = PricingTable.objects.get()
    words = {
        "id": table.public_id,
        "merchantId": Merchant.objects.get().public_id,
        "name": "Spring offer!",
        "slug": "spring-offer",
        "description": "All prices without tax",
        "heading": "Plans",
        "subheading": "Pick one",
        "isActive": True,
        "createdAt": NOON,
        "updatedAt": NOON,
    }
    plain = {"isPopular": False, "popularText": None, "buttonText": None, "buttonOutline": False}
    loved = {"isPopular": True, "popularText": "Loved", "buttonText": "Buy", "buttonOutline": True}
    associations = [
        {
            "id": PricingTablePlan.objects.get(plan=plan).public_id,
            "pricingTableId": table.public_id,
            "planId": plan.public_id,
            "displayOrder": order,
        }
        | look
        for plan, order, look in ((free, 0, plain), (scale, 2, plain), (pro, 7, loved))
    ]
    assert answer.status == 200
    assert answer.body == {
        "pricingTable": words,
        "planAssociations": associations,
        "message": "Pricing table created successfully",
    }
    assert api.get(f"/v1/pricing-tables/{table.public_id}").body == {
        "pricingTable": words,
        "planAssociations": associations,
    }
    assert api.get("/v1/pricing-tables").body == {"pricingTables": [words]}


@pytest.mark.parametrize("body", [{"planIds": ["plan_int_x"]}, {"planConfigs": [{"planId": "plan_int_x"}]}])
def test_refuses_a_plan_that_is_not_there_and_writes_nothing(api, body):
    plan = PlanFactory()
    configs = [{"planId": plan.public_id}, *body.get("planConfigs", [])]

    answer = api.post("/v1/pricing-tables", {"name": "Plans"} | body | {"planConfigs": configs})

    assert (answer.status, answer.body["error"]) == (400, "Invalid plan IDs")
    assert answer.body["code"] == "invalid_plan_ids"
    assert answer.body["details"][0]["path"] in ("planIds[0]", "planConfigs[1].planId")
    assert not PricingTable.objects.exists()


def test_a_deleted_plan_cannot_be_put_on_a_table(api, now):
    plan = PlanFactory(deleted_at=now)

    answer = api.post("/v1/pricing-tables", {"name": "Plans", "planIds": [plan.public_id]})

    assert (answer.status, answer.body["error"]) == (400, "Invalid plan IDs")
    assert not PricingTable.objects.exists()


@pytest.mark.parametrize("body", [{"slug": "plans"}, {"name": "Plans"}])
def test_refuses_a_slug_in_use_and_writes_nothing(api, body):
    PricingTableFactory(slug="plans")

    answer = api.post("/v1/pricing-tables", {"name": "Others", "planIds": [PlanFactory().public_id]} | body)

    assert (answer.status, answer.body["error"]) == (409, "A pricing table with this slug already exists")
    assert PricingTable.objects.count() == 1
    assert not PricingTablePlan.objects.exists()


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"name": None}, "name"),
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"name": "価格"}, "slug"),
        ({"slug": "Not a slug"}, "slug"),
        ({"slug": "x" * 81}, "slug"),
        ({"isActive": "true"}, "isActive"),
        ({"heading": "x" * 201}, "heading"),
        ({"planIds": "plan_int_x"}, "planIds"),
        ({"planIds": [5]}, "planIds[0]"),
        ({"planConfigs": [{}]}, "planConfigs[0].planId"),
        ({"planConfigs": [{"planId": "x", "displayOrder": -1}]}, "planConfigs[0].displayOrder"),
        ({"planConfigs": [{"planId": "x", "displayOrder": 32768}]}, "planConfigs[0].displayOrder"),
        ({"planConfigs": [{"planId": "x", "isPopular": 1}]}, "planConfigs[0].isPopular"),
        ({"planConfigs": [{"planId": "x"}, {"planId": "x"}]}, "planConfigs[1].planId"),
    ],
)
def test_refuses_a_field_of_the_wrong_kind(api, body, path):
    answer = api.post("/v1/pricing-tables", {"name": "Plans"} | body)

    assert (answer.status, answer.body["details"][0]["path"]) == (400, path)
    assert not PricingTable.objects.exists()


def test_refuses_a_plan_that_is_named_by_both_of_its_ids(api):
    plan = PlanFactory()

    answer = api.post("/v1/pricing-tables", {"name": "Plans", "planIds": [plan.public_id, plan.stable_plan_id]})

    assert (answer.status, answer.body["details"][0]["path"]) == (400, "planIds[1]")
    assert not PricingTable.objects.exists()


def test_changes_only_what_is_sent(api):
    table = PricingTableFactory(name="Plans", slug="plans", heading="Old", description="Stays", subheading="Goes")
    placed = PricingTablePlanFactory(pricing_table=table)

    answer = api.post(
        f"/v1/pricing-tables/{table.public_id}",
        {"name": "Offers", "slug": "", "heading": "New", "subheading": None, "isActive": False},
    )

    words = answer.body["pricingTable"]
    assert answer.status == 200
    assert answer.body["message"] == "Pricing table updated successfully"
    assert (words["name"], words["slug"], words["isActive"]) == ("Offers", "plans", False)
    assert (words["heading"], words["description"], words["subheading"]) == ("New", "Stays", None)
    assert [association["id"] for association in answer.body["planAssociations"]] == [placed.public_id]


def test_the_plans_that_are_sent_are_the_plans_of_the_table(api):
    table = PricingTableFactory()
    goes = PricingTablePlanFactory(pricing_table=table)
    stays = PricingTablePlanFactory(pricing_table=table, display_order=5, button_text="Buy", is_popular=True)
    comes = PlanFactory()

    answer = api.post(
        f"/v1/pricing-tables/{table.public_id}",
        {
            "planIds": [comes.public_id, stays.plan.public_id],
            "planConfigs": [{"planId": stays.plan.public_id, "isPopular": False}],
        },
    )

    associations = answer.body["planAssociations"]
    assert rows(table) == [(comes, 0), (stays.plan, 1)]
    assert not PricingTablePlan.objects.filter(pk=goes.pk).exists()
    assert (associations[1]["id"], associations[1]["buttonText"]) == (stays.public_id, "Buy")
    assert associations[1]["isPopular"] is False


def test_an_empty_list_takes_all_plans_off_the_table(api):
    table = PricingTablePlanFactory().pricing_table

    assert api.post(f"/v1/pricing-tables/{table.public_id}", {"planIds": []}).body["planAssociations"] == []


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"slug": "taken"}, 409, "A pricing table with this slug already exists"),
        ({"planIds": ["plan_int_x"]}, 400, "Invalid plan IDs"),
    ],
)
def test_an_update_that_is_refused_changes_nothing(api, body, status, error):
    PricingTableFactory(slug="taken")
    placed = PricingTablePlanFactory(pricing_table__name="Plans")
    table = placed.pricing_table

    answer = api.post(f"/v1/pricing-tables/{table.public_id}", {"name": "Offers", "planIds": []} | body)

    assert (answer.status, answer.body["error"]) == (status, error)
    table.refresh_from_db()
    assert table.name == "Plans"
    assert rows(table) == [(placed.plan, 0)]


def test_deletes_a_table_and_leaves_its_plans(api):
    placed = PricingTablePlanFactory()
    path = f"/v1/pricing-tables/{placed.pricing_table.public_id}"

    answer = api.delete(path)

    assert (answer.status, answer.body) == (
        200,
        {"success": True, "message": "Pricing table deleted successfully"},
    )
    assert not PricingTable.objects.exists()
    placed.plan.refresh_from_db()
    assert api.delete(path).status == 404


def test_puts_a_plan_behind_the_others(api):
    table = PricingTablePlanFactory(display_order=4).pricing_table
    plan = PlanFactory()

    answer = api.post(
        f"/v1/pricing-tables/{table.public_id}/plans",
        {"planId": plan.public_id, "isPopular": True, "popularText": "New", "buttonText": None},
    )

    assert answer.status == 200
    assert answer.body == {
        "pricingTablePlan": {
            "id": PricingTablePlan.objects.get(plan=plan).public_id,
            "pricingTableId": table.public_id,
            "planId": plan.public_id,
            "displayOrder": 5,
            "isPopular": True,
            "popularText": "New",
            "buttonText": None,
            "buttonOutline": False,
        }
    }


def test_puts_a_plan_on_a_table_only_once(api):
    placed = PricingTablePlanFactory()

    answer = api.post(f"/v1/pricing-tables/{placed.pricing_table.public_id}/plans", {"planId": placed.plan.public_id})

    assert (answer.status, answer.body["error"]) == (409, "This plan is already in the pricing table")
    assert PricingTablePlan.objects.count() == 1


def test_does_not_put_an_unknown_plan_on_a_table(api):
    table = PricingTableFactory()

    answer = api.post(f"/v1/pricing-tables/{table.public_id}/plans", {"planId": "plan_int_x"})

    assert (answer.status, answer.body["error"]) == (404, "Plan not found or access denied")
    assert not PricingTablePlan.objects.exists()


@pytest.mark.parametrize(("method", "suffix"), [("get", ""), ("post", ""), ("delete", ""), ("post", "/plans")])
def test_an_unknown_table_is_not_found(api, method, suffix):
    body = {"planId": PlanFactory().public_id} if suffix else {}

    answer = getattr(api, method)(f"/v1/pricing-tables/price_table_x{suffix}", body)

    assert (answer.status, answer.body["error"]) == (404, "Pricing table not found or access denied")
    assert answer.body["code"] == "pricing_table_not_found"


def test_lists_the_newest_first_with_a_constant_number_of_queries(api, django_assert_num_queries):
    tables = [PricingTableFactory() for _ in range(3)]

    # The key, the tables, the merchant.
    with django_assert_num_queries(3):
        body = api.get("/v1/pricing-tables", {"limit": 2}).body

    assert [table["id"] for table in body["pricingTables"]] == [tables[2].public_id, tables[1].public_id]
    assert body["hasMore"] is True
