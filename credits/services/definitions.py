from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection, transaction

from credits.models import ApplicationType, CreditDefinition, Scope
from credits.services.renew import grant_for_periods
from plans.models import (
    ComponentKind,
    Feature,
    Metric,
    Plan,
    PlanFeature,
    Price,
    PriceComponent,
    Subscription,
    SubscriptionPeriod,
)
from plans.models.metrics import BURNABLE
from plans.refusals import InvalidInput, NotFound


class CreditDefinitionNotFound(NotFound):
    code = "credit_definition_not_found"


def find_definition(identifier: str) -> CreditDefinition:
    """Return the credit definition with this id, deleted ones left out. Raises CreditDefinitionNotFound."""
    definition = CreditDefinition.objects.filter(public_id=identifier, deleted_at__isnull=True).first()
    if definition is None:
        raise CreditDefinitionNotFound("Credit definition not found")
    return definition


@transaction.atomic
def create_definition(
    *,
    at: datetime,
    name: str,
    scope: str,
    application_type: str,
    default_amount: Decimal,
    plan: Plan | None = None,
    price: Price | None = None,
    price_component_id: str | None = None,
    feature: Feature | None = None,
    renew_on_billing: bool = False,
    expiry_days: int | None = None,
    **details: Any,
) -> CreditDefinition:
    """Create a quota. Subscriptions that run already get it from their next renewal on.

    Its units are those of the metric behind the linked component, else behind the feature. Raises InvalidInput when
    the links are missing or do not belong together.
    """
    if application_type != ApplicationType.USAGE:
        raise InvalidInput.at("applicationType", "must be usage; monetary credits cannot be defined.")
    if renew_on_billing and expiry_days is not None:
        raise InvalidInput.at("expiryDays", "cannot be used with renewOnBilling: a renewed grant ends with its period.")
    if price is not None and plan is None:
        plan = price.plan
    _check_links(scope=scope, plan=plan, price=price, price_component_id=price_component_id, feature=feature)
    component = _linked_component(plan, price, price_component_id)
    metric = component.metric if component is not None else _metric_of(feature)
    assert metric is not None
    if metric.aggregation_type not in BURNABLE:
        raise InvalidInput.at(
            "priceComponentId" if component is not None else "featureSlug",
            f"counts by {metric.aggregation_type}, which credits cannot pay for: it is no amount that is used up. Use "
            f"a metric of {', '.join(BURNABLE)}.",
        )
    if plan is not None and component is None and not _is_metered_by(plan, metric):
        raise InvalidInput.at("featureSlug", "names a feature that this plan neither gives nor prices.")
    if plan is not None:
        # Waits for whoever holds the definitions, so that the new one finds every subscription.
        Plan.objects.select_for_update(no_key=True).get(pk=plan.pk)
    definition = CreditDefinition.objects.create(
        name=name,
        scope=scope,
        application_type=application_type,
        plan=plan,
        price=price,
        price_component_id=price_component_id,
        feature=feature,
        metric=metric,
        default_amount=default_amount,
        renew_on_billing=renew_on_billing,
        expiry_days=expiry_days,
        created_at=at,
        **details,
    )
    if renew_on_billing and scope != Scope.MERCHANT:
        _grant_to_running_subscriptions(definition, at)
    return definition


def _check_links(
    *,
    scope: str,
    plan: Plan | None,
    price: Price | None,
    price_component_id: str | None,
    feature: Feature | None,
) -> None:
    if scope == Scope.PLAN and plan is None:
        raise InvalidInput.at("planId", "is required with scope plan.")
    if scope in (Scope.PRICE, Scope.COMPONENT) and price is None:
        raise InvalidInput.at("priceId", f"is required with scope {scope}.")
    if scope == Scope.COMPONENT and not price_component_id:
        raise InvalidInput.at("priceComponentId", "is required with scope component.")
    if price is not None and plan is not None and price.plan_id != plan.pk:
        raise InvalidInput.at("priceId", "is a price of another plan.")
    if not price_component_id and feature is None:
        raise InvalidInput.at(
            "priceComponentId", "is required, or featureId or featureSlug: usage credits count the units of a metric."
        )


def _linked_component(plan: Plan | None, price: Price | None, component_id: str | None) -> PriceComponent | None:
    if not component_id:
        return None
    components = PriceComponent.objects.select_related("metric").filter(component_id=component_id)
    if price is not None:
        components = components.filter(price=price)
    elif plan is not None:
        components = components.filter(price__plan=plan, price__deleted_at__isnull=True)
    component = components.order_by("-price__created_at").first()
    if len(set(components.values_list("metric_id", flat=True))) > 1:
        raise InvalidInput.at("priceId", "is required: prices with this component count different metrics.")
    if component is None:
        where = "of this price" if price is not None else "of this plan's prices" if plan is not None else "of a price"
        raise InvalidInput.at("priceComponentId", f"is not a component {where}.")
    if component.kind != ComponentKind.USAGE:
        raise InvalidInput.at("priceComponentId", "is not a usage component; usage credits pay for metered units.")
    return component


def _metric_of(feature: Feature | None) -> Metric:
    assert feature is not None
    metrics = list(feature.metrics.filter(deleted_at__isnull=True)[:2])
    if len(metrics) != 1:
        raise InvalidInput.at(
            "featureSlug", f"names a feature with {'no metric' if not metrics else 'several metrics'}; it needs one."
        )
    return metrics[0]


def _is_metered_by(plan: Plan, metric: Metric) -> bool:
    """Tell whether subscriptions of a plan count a metric; otherwise its units would belong to no period."""
    return (
        PlanFeature.objects.filter(plan=plan, feature__metrics=metric).exists()
        or PriceComponent.objects.filter(price__plan=plan, metric=metric).exists()
    )


def hold_definitions(plan: Plan) -> None:
    """Keep a plan's definitions as they are until the transaction ends; many callers may hold them at once."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM plans_plan WHERE id = %s FOR SHARE", [plan.pk])


def _grant_to_running_subscriptions(definition: CreditDefinition, at: datetime) -> None:
    """Grant for the periods that are stored already but have not begun."""
    subscriptions = Subscription.objects.live().filter(plan=definition.plan)
    if definition.price_id is not None:
        subscriptions = subscriptions.filter(price_id=definition.price_id)
    locked = subscriptions.select_for_update(no_key=True).order_by("pk").values_list("pk", flat=True)
    grant_for_periods(
        at=at,
        periods=SubscriptionPeriod.objects.filter(subscription__in=list(locked), start_at__gt=at),
        definitions=[definition],
    )
