from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from plans.ids import new_public_id
from plans.models import Metric, Plan, Price, PriceComponent
from plans.money import is_currency
from plans.price_language import ComponentTerms
from plans.refusals import InvalidInput, NotFound

_ID_PREFIX = {"fixed": "comp_fixed_", "usage": "comp_usage_"}


class PriceNotFound(NotFound):
    code = "price_not_found"


def find_price(identifier: str) -> Price:
    """Return the live price with this id. Raises PriceNotFound."""
    price = Price.objects.live().filter(public_id=identifier).first()
    if price is None:
        raise PriceNotFound("Price not found or access denied")
    return price


@transaction.atomic
def create_price(*, at: datetime, plan: Plan, currency: str, components: Sequence[ComponentTerms]) -> Price:
    """Create a price of a plan version. A component without id gets one.

    Raises InvalidInput for an unknown currency or a metric that does not exist.
    """
    currency = currency.upper()
    if not is_currency(currency):
        raise InvalidInput.at("currency", "must be an ISO 4217 code such as USD.")
    wanted = [terms.metric_id for terms in components if terms.metric_id]
    metrics = {metric.public_id: metric for metric in Metric.objects.live().filter(public_id__in=wanted)}
    for index, terms in enumerate(components):
        if terms.metric_id and terms.metric_id not in metrics:
            raise InvalidInput.at(f"pricingData.components[{index}].metric_id", "is not the id of a metric.")
    price = Price.objects.create(plan=plan, currency=currency, created_at=at)
    PriceComponent.objects.bulk_create(
        PriceComponent(
            price=price,
            position=position,
            component_id=terms.component_id or new_public_id(_ID_PREFIX[terms.kind]),
            kind=terms.kind,
            component_name=terms.component_name,
            label=terms.label,
            unit_label=terms.unit_label,
            metric=metrics[terms.metric_id] if terms.metric_id else None,
            amount_cents=terms.amount_cents,
            unit_cost_cents=terms.unit_cost_cents,
            frequency=terms.clock.frequency,
            interval=terms.clock.interval,
        )
        for position, terms in enumerate(components)
    )
    return price
