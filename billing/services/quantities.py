from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from plans.models import ComponentKind, Seat, SubscriptionPeriod
from plans.models.customers import OrgRole


def billed_quantities(periods: Iterable[SubscriptionPeriod]) -> dict[int, int]:
    """Tell how many units each period of a per-unit component bills in advance, by the period's key.

    An organization's are its seats at the period's start, anybody else's the quantity of the item; never fewer than
    the component's minimum. Item, component and customer must be loaded.
    """
    in_units = [
        period
        for period in periods
        if period.item.component is not None and period.item.component.kind == ComponentKind.PER_UNIT
    ]
    seats = _seats_of({organization for period in in_units if (organization := _organization(period))})
    quantities = {}
    for period in in_units:
        assert period.item.component is not None
        held = seats.get(_organization(period) or "")
        quantity = period.item.quantity if held is None else sum(_covers(seat, period.start_at) for seat in held)
        quantities[period.pk] = max(quantity, period.item.component.minimum_quantity)
    return quantities


def _organization(period: SubscriptionPeriod) -> str | None:
    """The organization whose seats a period's customer pays for."""
    customer = period.customer
    return customer.customer_organization_id if customer.org_role == OrgRole.PRIMARY else None


def _seats_of(organizations: set[str]) -> dict[str, list[Seat]]:
    seats: dict[str, list[Seat]] = defaultdict(list)
    for seat in Seat.objects.filter(organization_id__in=organizations):
        seats[seat.organization_id].append(seat)
    return seats


def _covers(seat: Seat, at: datetime) -> bool:
    return (seat.started_at is None or seat.started_at <= at) and (seat.ended_at is None or at < seat.ended_at)
