"""`/v1/pricing-tables`, and what the pricing table component reads from `/v1/public/pricing-tables`."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from credits.services.offered_plans import read_offered_plans
from plans.listing import read_page
from plans.models import PricingTable
from plans.serializers.pricing_tables import (
    ChangedPricingTable,
    NewPricingTable,
    PlanOnTable,
    card_words,
    placed_plan_words,
    pricing_table_words,
)
from plans.serializers.reading import read
from plans.services.merchant import find_merchant_id
from plans.services.plans import find_plan
from plans.services.pricing_tables import (
    add_plan_to_table,
    create_pricing_table,
    delete_pricing_table,
    find_pricing_table,
    find_shown_table,
    update_pricing_table,
)


class PricingTablesView(APIView):
    """`/v1/pricing-tables`."""

    scope = "pricing-tables"

    def get(self, request: Request) -> Response:
        """List the pricing tables, the newest first."""
        page = read_page(PricingTable.objects.all(), request.query_params)
        merchant_id = find_merchant_id()
        words = [pricing_table_words(table, merchant_id=merchant_id) for table in page.rows]
        return Response({"pricingTables": words} | page.words)

    def post(self, request: Request) -> Response:
        """Create a pricing table with its plans."""
        table = create_pricing_table(**read(NewPricingTable, request.data))
        return Response(_words_with_plans(table) | {"message": "Pricing table created successfully"})


class PricingTableView(APIView):
    """`/v1/pricing-tables/{id}`."""

    scope = "pricing-tables"

    def get(self, request: Request, identifier: str) -> Response:
        """Show one pricing table with its plans."""
        return Response(_words_with_plans(find_pricing_table(identifier)))

    def post(self, request: Request, identifier: str) -> Response:
        """Change what the body names. The plans that it names are the table's plans from then on."""
        table = update_pricing_table(identifier=identifier, **read(ChangedPricingTable, request.data))
        return Response(_words_with_plans(table) | {"message": "Pricing table updated successfully"})

    def delete(self, request: Request, identifier: str) -> Response:
        """Delete a pricing table; its plans stay."""
        delete_pricing_table(identifier=identifier)
        return Response({"success": True, "message": "Pricing table deleted successfully"})


class PricingTablePlansView(APIView):
    """`/v1/pricing-tables/{id}/plans`."""

    scope = "pricing-tables"

    def post(self, request: Request, identifier: str) -> Response:
        """Put a plan on a pricing table."""
        look = dict(read(PlanOnTable, request.data))
        placed = add_plan_to_table(identifier=identifier, plan=find_plan(look.pop("plan_id")), **look)
        return Response({"pricingTablePlan": placed_plan_words(placed)})


class PublicPricingTableView(APIView):
    """`/v1/public/pricing-tables` and `/v1/public/pricing-tables/{slug}`."""

    scope = "public"

    def get(self, request: Request, slug: str = "") -> Response:
        """Show an active pricing table to customers; without slug the default one, else the first."""
        return Response({"pricingTable": public_table_words(find_shown_table(slug))})


def _words_with_plans(table: PricingTable) -> dict[str, Any]:
    placed = table.table_plans.select_related("plan", "pricing_table").order_by("display_order", "pk")
    return {
        "pricingTable": pricing_table_words(table, merchant_id=find_merchant_id()),
        "planAssociations": [placed_plan_words(row) for row in placed],
    }


def public_table_words(table: PricingTable) -> dict[str, Any]:
    """Describe a table to customers, with the plans that can be had."""
    cards = [card_words(offered) for offered in read_offered_plans(table)]
    return {"heading": table.heading or None, "description": table.description or None, "plans": cards}
