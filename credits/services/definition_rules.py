"""What a credit definition may say: which links belong together, and which terms."""

from collections.abc import Sequence
from decimal import Decimal

from django.db.models import Q

from credits.models import ApplicationType, CreditDefinition, Scope
from credits.services.refill import refill_clock
from plans.models import ComponentKind, Feature, Metric, Plan, PlanFeature, Price, PriceComponent
from plans.models.metrics import BURNABLE
from plans.money import is_currency
from plans.periods import Clock, shortest
from plans.price_language import LARGEST_AMOUNT_CENTS
from plans.refusals import InvalidInput


def link_definition(definition: CreditDefinition) -> None:
    """Check what a definition hangs on, and complete it: its plan, and for usage credits the metric behind the linked
    component, else behind the feature. Raises InvalidInput at the field that does not fit."""
    if definition.price is not None and definition.plan is None:
        definition.plan = definition.price.plan
    _check_scope(definition)
    if definition.application_type == ApplicationType.MONETARY:
        _check_money_links(definition)
    else:
        _find_metric(definition)


def check_terms(definition: CreditDefinition) -> None:
    """Check how much a definition grants, and when again. Raises InvalidInput at the field that does not fit."""
    if definition.application_type == ApplicationType.MONETARY:
        if definition.rolls_over:
            raise InvalidInput.at("rollover", "is for usage credits; give money without renewOnBilling to keep it.")
        amounts = {"defaultAmount": definition.default_amount, "refillAmount": definition.refill_amount}
        for path, amount in amounts.items():
            if amount is not None:
                check_money_amount(path, amount)
    _check_renewal(definition)
    _check_seats(definition)


def _check_seats(definition: CreditDefinition) -> None:
    """Credits per seat count the units that are billed in advance, so each price that they come with must have some."""
    if not definition.per_seat:
        return
    if not definition.renew_on_billing:
        raise InvalidInput.at("perSeat", "needs renewOnBilling: the seats are counted when a period begins.")
    if definition.scope == Scope.MERCHANT:
        raise InvalidInput.at("perSeat", "cannot be used with scope merchant, which comes with no subscription.")
    prices = Price.objects.live().filter(plan=definition.plan)
    if definition.price is not None:
        prices = prices.filter(pk=definition.price.pk)
    if prices.exclude(components__kind=ComponentKind.PER_UNIT).exists():
        raise InvalidInput.at("perSeat", "needs a per_unit component in the price, whose units are the seats.")


def _check_scope(definition: CreditDefinition) -> None:
    scope, plan, price = definition.scope, definition.plan, definition.price
    if scope == Scope.PLAN and plan is None:
        raise InvalidInput.at("planId", "is required with scope plan.")
    if scope in (Scope.PRICE, Scope.COMPONENT) and price is None:
        raise InvalidInput.at("priceId", f"is required with scope {scope}.")
    if scope == Scope.COMPONENT and not definition.price_component_id:
        raise InvalidInput.at("priceComponentId", "is required with scope component.")
    if price is not None and plan is not None and price.plan_id != plan.pk:
        raise InvalidInput.at("priceId", "is a price of another plan.")


def _check_money_links(definition: CreditDefinition) -> None:
    if not definition.currency:
        raise InvalidInput.at("currency", "is required for monetary credits.")
    if not is_currency(definition.currency):
        raise InvalidInput.at("currency", "must be an ISO 4217 code such as USD.")
    if definition.price is not None and definition.price.currency != definition.currency:
        raise InvalidInput.at("currency", f"must be {definition.price.currency}, that of the price.")
    if not definition.billing_visible:
        raise InvalidInput.at("billingVisible", "must be true for monetary credits: they are lines of the invoice.")
    if definition.feature is not None:
        raise InvalidInput.at("featureSlug", "is for usage credits; money pays for lines, not for units of a feature.")
    if definition.scope == Scope.MERCHANT and definition.plan is not None:
        raise InvalidInput.at("planId", "cannot be used with scope merchant: such money pays for whatever is billed.")
    if definition.price_component_id:
        if definition.scope != Scope.COMPONENT:
            raise InvalidInput.at("priceComponentId", f"is for scope component, not {definition.scope}.")
        _linked_component(definition.plan, definition.price, definition.price_component_id)


def check_money_amount(path: str, amount: Decimal) -> None:
    """Raise InvalidInput at `path` for an amount of money that is not whole minor units, or absurd."""
    if amount % 1:
        raise InvalidInput.at(path, "must be a whole number of minor units, such as cents.")
    if abs(amount) > LARGEST_AMOUNT_CENTS:
        raise InvalidInput.at(path, f"must be at most {LARGEST_AMOUNT_CENTS}.")


def _find_metric(definition: CreditDefinition) -> None:
    plan, component_id = definition.plan, definition.price_component_id
    if not component_id and definition.feature is None:
        raise InvalidInput.at(
            "priceComponentId", "is required, or featureId or featureSlug: usage credits count the units of a metric."
        )
    component = _linked_component(plan, definition.price, component_id) if component_id else None
    if component is not None and component.kind != ComponentKind.USAGE:
        raise InvalidInput.at("priceComponentId", "is not a usage component; usage credits pay for metered units.")
    if component is not None and definition.feature is not None:
        _check_counts(definition.feature, component)
    path = "featureSlug" if component is None else "priceComponentId"
    metric = component.metric if component is not None else _metric_of(definition.feature)
    assert metric is not None
    if metric.aggregation_type not in BURNABLE:
        raise InvalidInput.at(
            path,
            f"counts by {metric.aggregation_type}, which credits cannot pay for: it is no amount that is used up. Use "
            f"a metric of {', '.join(BURNABLE)}.",
        )
    if plan is not None and component is None and not _is_metered_by(plan, metric):
        raise InvalidInput.at("featureSlug", "names a feature that this plan neither gives nor prices.")
    _refuse_event_fees(definition, component, metric, path)
    definition.metric = metric


def _linked_component(plan: Plan | None, price: Price | None, component_id: str) -> PriceComponent:
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
    return component


def _check_counts(feature: Feature, component: PriceComponent) -> None:
    if not feature.metrics.filter(pk=component.metric_id).exists():
        raise InvalidInput.at(
            "featureId",
            f"is of the feature {feature.slug}, which does not count the metric of {component.component_id}. Leave "
            "out featureId and featureSlug: the component says what is counted.",
        )


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
        or PriceComponent.objects.filter(price__plan=plan, metric=metric, kind=ComponentKind.USAGE).exists()
    )


def _refuse_event_fees(
    definition: CreditDefinition, component: PriceComponent | None, metric: Metric, path: str
) -> None:
    """Credits pay for units. Where each event costs a fee besides, nobody could say which events they pay for."""
    if component is not None:
        charging = PriceComponent.objects.filter(pk=component.pk)
    else:
        sold = Q(price=definition.price) if definition.price is not None else Q(price__plan=definition.plan)
        charging = PriceComponent.objects.filter(sold, metric=metric, kind=ComponentKind.USAGE)
    if charging.filter(fixed_cost_cents__gt=0, price__deleted_at__isnull=True).exists():
        raise InvalidInput.at(
            path, "is priced with a fee per event (fixed_cost_cents), which units cannot pay for. Use monetary credits."
        )


def check_fees_of(price: Price) -> None:
    """Refuse a new price that takes a fee per event for units which a quota of its whole plan counts, or that has no
    units in advance where the plan gives credits per seat. Raises InvalidInput."""
    _check_units_of(price)
    charging = price.components.filter(kind=ComponentKind.USAGE, fixed_cost_cents__gt=0)
    quotas = CreditDefinition.objects.live().exclude(scope=Scope.MERCHANT).filter(plan=price.plan_id, price=None)
    quota = quotas.filter(metric__in=charging.values("metric")).first()
    if quota is not None:
        raise InvalidInput.at(
            "pricingData",
            f"takes a fee per event (fixed_cost_cents) for units that the plan's credits {quota.name} count, which "
            "cannot pay for it. Leave the fee out, or delete the credit definition.",
        )


def _check_units_of(price: Price) -> None:
    per_seat = CreditDefinition.objects.live().filter(plan=price.plan_id, price=None, per_seat=True).first()
    if per_seat is not None and not price.components.filter(kind=ComponentKind.PER_UNIT).exists():
        raise InvalidInput.at(
            "pricingData",
            f"needs a per_unit component: the plan's credits {per_seat.name} are given per seat. Add one, or delete "
            "the credit definition.",
        )


def _check_renewal(definition: CreditDefinition) -> None:
    days = definition.expiry_days
    if definition.refill_rrule:
        if definition.renew_on_billing:
            raise InvalidInput.at("refillRrule", "cannot be used with renewOnBilling: credits renew in one way.")
        refill_clock(definition.refill_rrule)
    if definition.rolls_over and not definition.renew_on_billing:
        raise InvalidInput.at("rollover", "needs renewOnBilling: what rolls over is the rest of a renewed grant.")
    if definition.rolls_over and days is not None:
        raise InvalidInput.at("expiryDays", "cannot be used with rollover: rollover.expiresAfterDays says it there.")
    if definition.renew_on_billing and days is not None:
        longest = _longest_renewal(definition)
        if longest is not None and days > longest:
            raise InvalidInput.at(
                "expiryDays",
                f"must not be longer than the period ({longest} days at most), since a renewed grant ends with "
                "it. Use rollover to keep what is left.",
            )


def _longest_renewal(definition: CreditDefinition) -> int | None:
    """The most days that a period has whose clock renews a definition; None where no price says it yet."""
    components = PriceComponent.objects.filter(price__deleted_at__isnull=True)
    if definition.price is not None:
        components = components.filter(price=definition.price)
    else:
        components = components.filter(price__plan=definition.plan)
    clock = clock_that_renews(definition, list(components))
    return None if clock is None else _most_days(clock)


def clock_that_renews(definition: CreditDefinition, components: Sequence[PriceComponent]) -> Clock | None:
    """The clock of the linked component, else of the one that counts the definition's metric, else the shortest; None
    without components."""
    linked = [one for one in components if one.component_id == definition.price_component_id]
    counting = [one for one in components if one.metric_id is not None and one.metric_id == definition.metric_id]
    chosen = linked or counting or components
    return shortest(one.clock for one in chosen) if chosen else None


def _most_days(clock: Clock) -> int:
    if clock.months is None:
        return clock.approximate_days
    years, months = divmod(clock.months, 12)
    return 366 * years + 31 * months
