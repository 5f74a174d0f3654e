"""`/v1/pricing-tables`, and what the pricing table component reads from `/v1/public/pricing-tables`."""

from collections import defaultdict
from typing import Any

from django.db.models import Prefetch
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from credits.models import ApplicationType, CreditDefinition, Scope
from plans.listing import read_page
from plans.models import Merchant, Metric, Plan, PlanFeature, Price, PricingTable
from plans.periods import Clock
from plans.serializers.pricing_tables import (
    ChangedPricingTable,
    IncludedUnits,
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
    Offer,
    add_plan_to_table,
    create_pricing_table,
    delete_pricing_table,
    find_pricing_table,
    find_shown_table,
    offer_of,
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
    """Describe a table to customers, with the plans that can be had.

    Deleted plans are left out, and those that wait for their price: they would look free. A plan that is sold by
    talking needs no price.
    """
    default_currency = Merchant.objects.values_list("default_currency", flat=True).get()
    rows = (
        table.table_plans.filter(plan__deleted_at__isnull=True)
        .select_related("plan")
        .prefetch_related(
            Prefetch(
                "plan__prices",
                Price.objects.live()
                .filter(is_override_price=False)
                .order_by("created_at", "pk")
                .prefetch_related("components__metric"),
            ),
            Prefetch(
                "plan__plan_features",
                PlanFeature.objects.filter(feature__deleted_at__isnull=True)
                .order_by("pk")
                .select_related("feature")
                .prefetch_related(Prefetch("feature__metrics", Metric.objects.live().order_by("pk"))),
            ),
            Prefetch(
                "plan__credit_definitions",
                CreditDefinition.objects.live()
                .filter(application_type=ApplicationType.USAGE)
                .exclude(scope=Scope.MERCHANT),
            ),
        )
        .order_by("display_order", "pk")
    )
    cards = []
    for placed in rows:
        offer = offer_of(list(placed.plan.prices.all()), default_currency=default_currency)
        if offer is not None or placed.plan.is_enterprise_plan:
            cards.append(card_words(placed, offer=offer, included=_included_units(placed.plan, offer)))
    return {"heading": table.heading or None, "description": table.description or None, "plans": cards}


def _included_units(plan: Plan, offer: Offer | None) -> dict[int, list[IncludedUnits]]:
    """The quotas that a subscription at the shown price begins with, by the key of their metric."""
    price = offer.shown if offer is not None else None
    included: dict[int, list[IncludedUnits]] = defaultdict(list)
    for definition in plan.credit_definitions.all():
        if definition.price_id is None or (price is not None and definition.price_id == price.pk):
            clock = _renewal_clock(definition, price) if definition.renew_on_billing else None
            included[definition.metric_id].append(IncludedUnits(units=definition.default_amount, clock=clock))
    return included


def _renewal_clock(definition: CreditDefinition, price: Price | None) -> Clock | None:
    """The clock of the linked component, else the shortest of the price; None without a price."""
    components = list(price.components.all()) if price is not None else []
    for component in components:
        if component.component_id == definition.price_component_id:
            return component.clock
    return min((component.clock for component in components), key=lambda clock: clock.approximate_days, default=None)
