from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from billing.models import Invoice
from billing.services.close_periods import close_subscriptions
from billing.services.late_usage import lock_usage
from billing.services.seats import take_effect
from credits.services.spend_money import lock_money
from plans.models import ComponentKind, Customer, Subscription, SubscriptionItem
from plans.models.subscriptions import ENTITLED_STATUSES
from plans.refusals import InvalidInput, Refusal
from plans.services.subscriptions import SubscriptionEnded, SubscriptionNotActive
from plans.services.units import open_unit_periods, raise_units, seats_in_use, seats_of

MOST_UNITS = 1_000_000


class QuantityBelowSeats(Refusal):
    """Fewer units are asked for than the organization has seats in use."""

    code = "quantity_below_seats_in_use"
    status = 409


class QuantityFollowsSeats(Refusal):
    """The organization has seats, and pays for as many as there are."""

    code = "quantity_follows_seats"
    status = 409


@dataclass(frozen=True, slots=True)
class QuantityChange:
    """What a change of a quantity came to: the item, and the invoice of what was added; None if nothing was billed at
    once."""

    item: SubscriptionItem
    invoice: Invoice | None


@transaction.atomic
def change_quantity(*, at: datetime, subscription: Subscription, component_id: str, quantity: int) -> QuantityChange:
    """Set how many units of a per-unit component a subscription has.

    More than what is paid for in the running period are billed for its days that are left, at once where the component
    says so, else with the next invoice. Fewer count from the next period on; what is paid stays until then, and may be
    had again without a charge. Raises InvalidInput, SubscriptionEnded, SubscriptionNotActive, QuantityBelowSeats and
    QuantityFollowsSeats.
    """
    held = _hold(subscription)
    item = _find_item(held, component_id)
    _check(held, item, quantity, at)
    if held.customer.parked_at is None:
        while close_subscriptions([held], at=at):
            pass
    SubscriptionItem.objects.filter(pk=item.pk).update(quantity=quantity)
    item.quantity = quantity
    periods = [period for period in open_unit_periods(held.pk, since=at) if period.item_id == item.pk]
    added = raise_units(periods, quantity=quantity, at=at)
    return QuantityChange(item, take_effect(held, added, at=at))


def _hold(subscription: Subscription) -> Subscription:
    """Lock a live subscription, its customer and its balances, in the order of everybody who bills."""
    live = Subscription.objects.live().select_related("price").select_for_update(no_key=True, of=("self",))
    held = live.filter(pk=subscription.pk).first()
    if held is None:
        raise SubscriptionEnded
    held.customer = Customer.objects.select_for_update(no_key=True).get(pk=held.customer_id)
    lock_usage({held.pk})
    lock_money([held.customer_id])
    return held


def _find_item(subscription: Subscription, component_id: str) -> SubscriptionItem:
    items = subscription.items.filter(component__kind=ComponentKind.PER_UNIT, component__component_id=component_id)
    item = items.select_related("component").first()
    if item is None:
        raise InvalidInput.at("componentId", "is not a per_unit component of this subscription.")
    return item


def _check(subscription: Subscription, item: SubscriptionItem, quantity: int, at: datetime) -> None:
    assert item.component is not None
    if subscription.status not in ENTITLED_STATUSES:
        raise SubscriptionNotActive(f"The subscription is {subscription.status}. Resume it, then change quantities.")
    seats = seats_of(subscription.customer)
    if seats:
        in_use = seats_in_use(seats, at)
        if quantity < in_use:
            raise QuantityBelowSeats(f"quantity: {in_use} seats are in use. Remove seats first.")
        raise QuantityFollowsSeats("quantity: follows the seats of the organization. Use POST /v1/seats/add.")
    if quantity < item.component.minimum_quantity:
        raise InvalidInput.at("quantity", f"must be at least {item.component.minimum_quantity}, the minimum sold.")
    if quantity > MOST_UNITS:
        raise InvalidInput.at("quantity", f"must be at most {MOST_UNITS}.")
