from collections import defaultdict

from django.db.models import Prefetch, prefetch_related_objects

from credits.models import ApplicationType, CreditDefinition, Scope
from credits.services.definition_rules import clock_that_renews
from credits.services.refill import refill_clock
from plans.cards import Card, OfferedPlan, Quota, card_of, offered_plan
from plans.models import ComponentKind, Merchant, Metric, Plan, PlanFeature, Price, PricingTable
from plans.periods import Clock
from plans.services.pricing_tables import offer_of


def read_offered_plans(table: PricingTable) -> list[OfferedPlan]:
    """Read the plans of a table that can be had, in its order.

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
            *_plan_lookups("plan__"),
        )
        .order_by("display_order", "pk")
    )
    offered = []
    for placed in rows:
        offer = offer_of(list(placed.plan.prices.all()), default_currency=default_currency)
        if offer is not None or placed.plan.is_enterprise_plan:
            prices = (None,) if offer is None else (offer.shown, offer.monthly, offer.yearly)
            quotas = {price.pk if price is not None else None: _quotas_with(placed.plan, price) for price in prices}
            offered.append(offered_plan(placed, offer=offer, quotas=quotas))
    return offered


def read_card(price: Price) -> Card:
    """Read what a plan gives at one price, whether it stands on a table or not. Its components are to be fetched."""
    prefetch_related_objects([price.plan], *_plan_lookups())
    return card_of(price.plan, price, _quotas_with(price.plan, price))


def _plan_lookups(way: str = "") -> list[Prefetch]:
    """How a plan's features and quotas are fetched for its cards; `way` leads to the plan."""
    features = (
        PlanFeature.objects.filter(feature__deleted_at__isnull=True)
        .order_by("pk")
        .select_related("feature")
        .prefetch_related(Prefetch("feature__metrics", Metric.objects.live().order_by("pk")))
    )
    quotas = CreditDefinition.objects.live().filter(application_type=ApplicationType.USAGE)
    return [
        Prefetch(f"{way}plan_features", features),
        Prefetch(f"{way}credit_definitions", quotas.exclude(scope=Scope.MERCHANT)),
    ]


def _quotas_with(plan: Plan, price: Price | None) -> dict[int, list[Quota]]:
    """The quotas that a subscription at a price begins with, by the key of their metric."""
    quotas: dict[int, list[Quota]] = defaultdict(list)
    for definition in plan.credit_definitions.all():
        comes_along = definition.price_id is None or (price is not None and definition.price_id == price.pk)
        if comes_along and definition.metric_id is not None:
            quotas[definition.metric_id].append(
                Quota(
                    units=definition.default_amount,
                    later_units=definition.renewal_amount,
                    renews=definition.renews,
                    clock=_renewal_clock(definition, price) if definition.renews else None,
                    per=_unit_in_advance(price) if definition.per_seat else "",
                )
            )
    return quotas


def _unit_in_advance(price: Price | None) -> str:
    """What a unit that is paid in advance is called."""
    components = list(price.components.all()) if price is not None else []
    labels = (part.unit_label for part in components if part.kind == ComponentKind.PER_UNIT)
    return next(labels, "") or "seat"


def _renewal_clock(definition: CreditDefinition, price: Price | None) -> Clock | None:
    """Its own calendar, else the clock that renews it at a price, if there is one."""
    if definition.refill_rrule:
        return refill_clock(definition.refill_rrule)
    components = list(price.components.all()) if price is not None else []
    return clock_that_renews(definition, components)
