from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from credits.models import ApplicationType, CreditDefinition
from plans.ids import new_public_id
from plans.models import ComponentKind, Plan, Price
from plans.price_language import ComponentTerms
from plans.services.prices import clone_price


@transaction.atomic
def clone_price_with_credits(
    *,
    at: datetime,
    source: Price,
    plan: Plan | None = None,
    currency: str | None = None,
    components: Sequence[ComponentTerms] | None = None,
    is_override_price: bool | None = None,
) -> Price:
    """Create a price like another one, with the quotas of that one where it is for the same plan version.

    Quotas of components that the new price does not have, or charges by the event, stay behind, and so does money in
    another currency. Raises what `plans.services.prices.clone_price` does.
    """
    price = clone_price(
        at=at,
        source=source,
        plan=plan,
        currency=currency,
        components=components,
        is_override_price=is_override_price,
    )
    if price.plan_id == source.plan_id:
        _copy_definitions(source, price, at)
    return price


def _copy_definitions(source: Price, price: Price, at: datetime) -> None:
    usage = price.components.filter(kind=ComponentKind.USAGE)
    metrics = dict(usage.filter(fixed_cost_cents=0).values_list("component_id", "metric_id"))
    with_fees = set(usage.filter(fixed_cost_cents__gt=0).values_list("metric_id", flat=True))
    copies = []
    for definition in CreditDefinition.objects.filter(price=source, deleted_at__isnull=True).order_by("pk"):
        linked = definition.price_component_id
        if definition.metric_id in with_fees or (linked and metrics.get(linked) != definition.metric_id):
            continue
        if definition.application_type == ApplicationType.MONETARY and definition.currency != price.currency:
            continue
        definition.pk, definition.public_id = None, new_public_id("cred_def_")
        definition.price, definition.created_at = price, at
        definition._state.adding = True
        copies.append(definition)
    CreditDefinition.objects.bulk_create(copies)
