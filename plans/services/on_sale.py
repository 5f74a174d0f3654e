from django.db.models import Q, QuerySet

from plans.models import Price
from plans.refusals import NotFound
from plans.services.pricing_tables import interval_of


class PriceNotOnSale(NotFound):
    """Nobody can subscribe at this price by himself: it is unknown, deleted, replaced by a newer one, agreed with
    somebody, or its plan stands on no active pricing table."""

    code = "price_not_on_sale"


def find_price_on_sale(identifier: str) -> Price:
    """Return a price at which any visitor may subscribe, with its plan and components. Raises PriceNotOnSale.

    Of a plan's prices for the same currency and interval the newest is on sale, as on the pricing table.
    """
    price = _live().filter(public_id=identifier, is_override_price=False, plan__is_enterprise_plan=False).first()
    if price is None or not price.plan.table_plans.filter(pricing_table__is_active=True).exists():
        raise PriceNotOnSale("This plan is not offered at this price any more. Choose one on the pricing page.")
    newer = _live().filter(
        Q(created_at__gt=price.created_at) | Q(created_at=price.created_at, pk__gt=price.pk),
        plan=price.plan,
        currency=price.currency,
        is_override_price=False,
    )
    if any(interval_of(other) == interval_of(price) for other in newer):
        raise PriceNotOnSale("This plan has a new price. See the pricing page.")
    return price


def find_price_to_agree(identifier: str) -> Price:
    """Return any live price of a live plan: the seller's own backend chose it for a customer. Raises PriceNotOnSale."""
    price = _live().filter(public_id=identifier).first()
    if price is None:
        raise PriceNotOnSale("This plan is no longer offered at this price.")
    return price


def _live() -> QuerySet[Price]:
    return (
        Price.objects.live()
        .filter(plan__deleted_at__isnull=True)
        .select_related("plan")
        .prefetch_related("components__metric")
    )
