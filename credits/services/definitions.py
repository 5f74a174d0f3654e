from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection, transaction

from credits.models import ApplicationType, CreditDefinition, CreditGrant, Scope, SubscriptionCredit, TopUpPack
from credits.services.definition_rules import check_terms, link_definition
from credits.services.running_credits import apply_to_running, sell_to_running
from plans.models import Feature, Plan, Price
from plans.refusals import InvalidInput, NotFound

# What a definition is, by the names of the wire: it stays once somebody was given something by it.
_LINKS = {
    "scope": "scope",
    "application_type": "applicationType",
    "plan": "planId",
    "price": "priceId",
    "price_component_id": "priceComponentId",
    "feature": "featureSlug",
}
# What was said of it on invoices stays from the start.
_FIXED = {
    "application_type": "applicationType",
    "plan": "planId",
    "currency": "currency",
    "billing_visible": "billingVisible",
}


class CreditDefinitionNotFound(NotFound):
    code = "credit_definition_not_found"


def find_definition(identifier: str, *, with_deleted: bool = False) -> CreditDefinition:
    """Return the credit definition with this id, deleted ones left out unless they are wanted. Raises
    CreditDefinitionNotFound."""
    definition = CreditDefinition.objects.filter(public_id=identifier).first()
    if definition is None or (definition.deleted_at is not None and not with_deleted):
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
    currency: str = "",
    billing_visible: bool | None = None,
    **details: Any,
) -> CreditDefinition:
    """Create a quota, or an allowance of money. Subscriptions that run already get it from their next renewal on.

    Usage credits count units of the metric behind the linked component, else behind the feature; monetary ones minor
    units of `currency`, and are always `billing_visible`. `details` are the other fields of the model. Raises
    InvalidInput when links are missing or do not belong together, or terms do not.
    """
    is_money = application_type == ApplicationType.MONETARY
    definition = CreditDefinition(
        name=name,
        scope=scope,
        application_type=application_type,
        plan=plan,
        price=price,
        price_component_id=price_component_id or None,
        feature=feature,
        currency=currency if is_money else "",
        default_amount=default_amount,
        billing_visible=is_money if billing_visible is None else billing_visible,
        created_at=at,
        **details,
    )
    link_definition(definition)
    check_terms(definition)
    _lock_plan(definition)
    definition.save(force_insert=True)
    if definition.is_active:
        sell_to_running(definition, at=at)
    return definition


@transaction.atomic
def update_definition(
    *, at: datetime, definition: CreditDefinition, changes: Mapping[str, Any], apply_to_existing: bool = False
) -> CreditDefinition:
    """Change a definition for those who subscribe from now on; with `apply_to_existing` also what running subscriptions
    were sold: their renewals, and the grants that have not begun.

    `changes` are fields of the model. Raises InvalidInput for what create_definition refuses, and for a change of what
    the definition is, such as its links, once something was granted by it.
    """
    _lock_plan(definition)
    definition = CreditDefinition.objects.select_for_update(no_key=True, of=("self",)).get(pk=definition.pk)
    has_other_links = _changes_links(definition, changes)
    for name, value in changes.items():
        setattr(definition, name, value)
    if has_other_links:
        link_definition(definition)
    check_terms(definition)
    definition.save()
    if apply_to_existing and definition.scope != Scope.MERCHANT:
        apply_to_running(definition, at=at)
    return definition


@transaction.atomic
def delete_definition(
    *, at: datetime, definition: CreditDefinition, apply_to_existing: bool = False
) -> CreditDefinition:
    """Take a definition off: who subscribes from now on does not get it. What was sold keeps renewing, but for
    `apply_to_existing`: then the grants that have not begun are ended as well."""
    _lock_plan(definition)
    definition = CreditDefinition.objects.select_for_update(no_key=True, of=("self",)).get(pk=definition.pk)
    definition.deleted_at = definition.deleted_at or at
    definition.save()
    if apply_to_existing and definition.scope != Scope.MERCHANT:
        apply_to_running(definition, at=at)
    return definition


def _lock_plan(definition: CreditDefinition) -> None:
    """Wait for whoever holds the definitions of the plan, so that each subscription has them before or after."""
    if definition.plan_id is not None:
        Plan.objects.select_for_update(no_key=True).get(pk=definition.plan_id)


def hold_definitions(plan: Plan) -> None:
    """Keep a plan's definitions as they are until the transaction ends; many callers may hold them at once."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM plans_plan WHERE id = %s FOR SHARE", [plan.pk])


def _changes_links(definition: CreditDefinition, changes: Mapping[str, Any]) -> bool:
    """Tell whether a definition shall belong elsewhere. What its units or its money are holds for every grant that was
    made by it, so then that is refused."""
    changed = {name for name, value in changes.items() if getattr(definition, name) != value}
    for name in sorted(_FIXED.keys() & changed):
        raise InvalidInput.at(_FIXED[name], "cannot be changed; create another definition.")
    links = sorted(_LINKS.keys() & changed)
    if links and _was_used(definition):
        raise InvalidInput.at(
            _LINKS[links[0]], "cannot be changed once credits were granted; create another definition."
        )
    return bool(links)


def _was_used(definition: CreditDefinition) -> bool:
    return any(
        model.objects.filter(definition=definition).exists() for model in (CreditGrant, SubscriptionCredit, TopUpPack)
    )
