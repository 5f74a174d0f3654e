from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import transaction

from plans.ids import new_public_id
from plans.models import Metric, Plan, Price, PriceComponent
from plans.money import is_currency, plain_number
from plans.price_language import ComponentTerms
from plans.pricing import GRADUATED_PERCENTAGE, Tier
from plans.refusals import InvalidInput, NotFound

_ID_PREFIX = {"fixed": "comp_fixed_", "per_unit": "price_comp_unit_", "usage": "comp_usage_"}
# Terms that a component keeps under the names of the language.
_SAME_TERMS = (
    "kind", "component_name", "label", "unit_label", "amount_cents", "model", "unit_cost_cents",
    "first_tier_flat_at_zero", "package_size", "package_cost_cents", "package_round", "rate_percent",
    "fixed_cost_cents", "divide_by", "divide_round", "included_units", "minimum_cents", "maximum_cents",
    "minimum_quantity", "bill_immediately",
)  # fmt: skip


class PriceNotFound(NotFound):
    code = "price_not_found"


def find_price(identifier: str) -> Price:
    """Return the live price with this id. Raises PriceNotFound."""
    price = Price.objects.live().filter(public_id=identifier).first()
    if price is None:
        raise PriceNotFound("Price not found or access denied")
    return price


@transaction.atomic
def create_price(
    *,
    at: datetime,
    plan: Plan,
    currency: str,
    components: Sequence[ComponentTerms],
    is_override_price: bool = False,
    cloned_from: Price | None = None,
) -> Price:
    """Create a price of a plan version. A component without id gets one.

    Raises InvalidInput for an unknown currency or a metric that does not exist.
    """
    currency = currency.upper()
    if not is_currency(currency):
        raise InvalidInput.at("currency", "must be an ISO 4217 code such as USD.")
    rows = components_of(components)
    price = Price.objects.create(
        plan=plan,
        currency=currency,
        is_override_price=is_override_price,
        cloned_from=cloned_from,
        created_at=at,
    )
    for row in rows:
        row.price = price
        row.component_id = row.component_id or new_public_id(_ID_PREFIX[row.kind])
    PriceComponent.objects.bulk_create(rows)
    return price


@transaction.atomic
def clone_price(
    *,
    at: datetime,
    source: Price,
    plan: Plan | None = None,
    currency: str | None = None,
    components: Sequence[ComponentTerms] | None = None,
    is_override_price: bool | None = None,
) -> Price:
    """Create a price like another one; what is None is as there. Components that are taken over keep their ids.

    Amounts are taken over as the numbers that they are, also into another currency. Raises InvalidInput as
    create_price does.
    """
    price = create_price(
        at=at,
        plan=plan if plan is not None else source.plan,
        currency=currency or source.currency,
        components=components or (),
        is_override_price=source.is_override_price if is_override_price is None else is_override_price,
        cloned_from=source,
    )
    if components is None:
        rows = list(PriceComponent.objects.filter(price=source))
        for row in rows:
            row.pk, row.price = None, price
            row._state.adding = True
        PriceComponent.objects.bulk_create(rows)
    return price


def components_of(components: Sequence[ComponentTerms]) -> list[PriceComponent]:
    """Make the components that terms describe, with their metrics, without a price and not saved.

    Raises InvalidInput for a metric that does not exist.
    """
    metrics = _metrics_of(components)
    rows = [component_of(terms, position=position) for position, terms in enumerate(components)]
    for row, terms in zip(rows, components, strict=True):
        row.metric = metrics[terms.metric_id] if terms.metric_id else None
    return rows


def component_of(terms: ComponentTerms, *, position: int) -> PriceComponent:
    """Make the component that terms describe, without its price and metric and not saved."""
    same: dict[str, Any] = {name: getattr(terms, name) for name in _SAME_TERMS}
    return PriceComponent(
        position=position,
        component_id=terms.component_id or "",
        tiers=[_tier_words(tier, terms.model) for tier in terms.tiers],
        frequency=terms.clock.frequency,
        interval=terms.clock.interval,
        recurrence_count=terms.clock.count,
        recurrence_until=terms.clock.until or "",
        **same,
    )


def _metrics_of(components: Sequence[ComponentTerms]) -> dict[str, Metric]:
    wanted = [terms.metric_id for terms in components if terms.metric_id]
    metrics = {metric.public_id: metric for metric in Metric.objects.live().filter(public_id__in=wanted)}
    for terms in components:
        if terms.metric_id and terms.metric_id not in metrics:
            raise InvalidInput.at(terms.metric_path or "metric_id", "is not the id of a metric.")
    return metrics


def _tier_words(tier: Tier, model: str) -> dict[str, str | None]:
    rate = "rate_percent" if model == GRADUATED_PERCENTAGE else "unit_cost_cents"
    return {
        "up_to": None if tier.up_to is None else plain_number(tier.up_to),
        rate: plain_number(getattr(tier, rate)),
        "flat_cost_cents": plain_number(tier.flat_cost_cents),
    }
