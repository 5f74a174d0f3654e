from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q

from credits.models import ApplicationType, CreditDefinition
from plans.ids import new_public_id
from plans.models import ComponentKind, Plan, PlanFeature, Price, PriceComponent, PricingTablePlan
from plans.refusals import InvalidInput
from plans.services.plans import (
    FeatureConfig,
    create_version,
    edit_looks,
    find_latest_version,
    find_plan,
    lock_versions,
)
from plans.services.prices import clone_price


@transaction.atomic
def update_plan(
    *,
    at: datetime,
    identifier: str,
    is_stable_id: bool = False,
    features: Sequence[FeatureConfig] | None = None,
    price_ids: Sequence[str] | None = None,
    commit_message: str = "",
    **looks: Any,
) -> Plan:
    """Change how a plan version looks; with `features` or `price_ids` make a new version instead, and return it.

    Of a stable id the latest version is meant. Raises PlanNotFound, InvalidInput for a price that is none of this
    plan, and what the services of the parts refuse.
    """
    plan = find_latest_version(identifier) if is_stable_id else find_plan(identifier)
    lock_versions(plan)
    if is_stable_id:
        # Another version may have been made while this waited.
        plan = find_latest_version(identifier)
    if features is None and price_ids is None:
        edit_looks(plan=plan, **looks | ({"commit_message": commit_message} if commit_message else {}))
        return plan
    prices = None if price_ids is None else _find_prices(plan, price_ids)
    return publish_version(at=at, base=plan, features=features, prices=prices, commit_message=commit_message, **looks)


@transaction.atomic
def publish_version(
    *,
    at: datetime,
    base: Plan,
    features: Sequence[FeatureConfig] | None = None,
    prices: Sequence[Price] | None = None,
    commit_message: str = "",
    **looks: Any,
) -> Plan:
    """Make the next version of a plan out of `base`, with all that it takes to sell it.

    It has the features of `base` unless others are given, a copy of each of `prices`, else of all on sale at `base`,
    and a copy of each quota and allowance that one of its prices or features still has a use for. Prices that were
    agreed with a single customer are not copied unless they are named. Subscriptions keep the version they have;
    pricing tables show the new one as soon as it can be bought.
    """
    lock_versions(base)
    plan = create_version(at=at, base=base, features=features, commit_message=commit_message, **looks)
    on_sale = Price.objects.live().filter(plan=base, is_override_price=False).order_by("created_at", "pk")
    sources = on_sale if prices is None else prices
    clones = {source.pk: clone_price(at=at, source=source, plan=plan) for source in sources}
    copy_definitions(at, base, plan, clones)
    if clones or plan.is_enterprise_plan:
        show_on_tables(plan)
    return plan


def _find_prices(plan: Plan, identifiers: Sequence[str]) -> list[Price]:
    own = Price.objects.live().filter(plan__stable_plan_id=plan.stable_plan_id, public_id__in=identifiers)
    found = {price.public_id: price for price in own}
    unknown = [index for index, identifier in enumerate(identifiers) if identifier not in found]
    if unknown:
        raise InvalidInput(
            "One or more price IDs are invalid or do not belong to this plan",
            details=[
                {"path": f"priceIds[{index}]", "message": "is not the id of a price of this plan."} for index in unknown
            ],
        )
    return [found[identifier] for identifier in dict.fromkeys(identifiers)]


def copy_definitions(
    at: datetime, base: Plan, plan: Plan, clones: Mapping[int, Price], *, without: Collection[int] = ()
) -> None:
    """Copy what comes with the prices of `base` and with the plan itself, linked to the prices that follow them
    (`clones`, by the keys of the earlier ones) and to their components; `without` has the keys of definitions that are
    not copied."""
    counted = set(PlanFeature.objects.filter(plan=plan).values_list("feature__metrics", flat=True))
    usage = PriceComponent.objects.filter(price__plan=plan, kind=ComponentKind.USAGE)
    priced = set(usage.values_list("component_id", "metric_id"))
    components = set(PriceComponent.objects.filter(price__plan=plan).values_list("component_id", flat=True))
    counted |= {metric for _, metric in priced}
    copies = []
    definitions = CreditDefinition.objects.filter(deleted_at=None).exclude(pk__in=without)
    for definition in definitions.filter(Q(price__in=clones) | Q(plan=base, price=None)).order_by("pk"):
        linked = definition.price_component_id
        is_money = definition.application_type == ApplicationType.MONETARY
        has_use = (linked, definition.metric_id) in priced if linked else definition.metric_id in counted
        # Without its component or feature a quota would be one of units that nobody counts.
        if (linked and linked not in components) or not (is_money or has_use):
            continue
        definition.pk, definition.public_id = None, new_public_id("cred_def_")
        definition.plan, definition.created_at = plan, at
        definition.price = clones[definition.price_id] if definition.price_id is not None else None
        definition._state.adding = True
        copies.append(definition)
    CreditDefinition.objects.bulk_create(copies)


def show_on_tables(plan: Plan) -> None:
    """Put a new version in the place of the latest one that a pricing table shows; its look there stays."""
    shown = PricingTablePlan.objects.filter(plan__stable_plan_id=plan.stable_plan_id)
    latest = shown.order_by("pricing_table_id", "-plan__version_number").distinct("pricing_table_id")
    PricingTablePlan.objects.filter(pk__in=[placed.pk for placed in latest]).update(plan=plan)
