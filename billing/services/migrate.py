"""Subscribers of a plan version move to another one: each by a change that waits for the end of what is paid for."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from billing.services.change import refuse_change
from billing.services.simulate import Compared, PriceToTry, simulate
from plans.models import (
    Plan,
    Price,
    ScheduledChange,
    ScheduledChangeKind,
    Subscription,
)
from plans.refusals import InvalidInput, Refusal
from plans.services.scheduled_changes import paid_through, schedule, waiting_changes

CHUNK = 200


@dataclass(frozen=True, slots=True)
class Move:
    """A subscriber that moves: to which price, and when. `refusal` says why one stays where it is."""

    subscription: Subscription
    price: Price
    effective_at: datetime | None = None
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class MovePreview:
    """Who would move, and what subscribers paid last month and would have paid at their new price, in minor units, by
    the keys of customers."""

    moves: Sequence[Move]
    compared: Mapping[int, Compared]


def migrate_subscribers(*, plan: Plan, to_plan: Plan, price_map: Mapping[Price, Price], at: datetime) -> list[Move]:
    """Schedule for each live subscription of a plan version the change to the price that its own is mapped to.

    Subscriptions that are paused or unpaid, and those for which a cancel or another change waits, stay and are returned
    with the reason. Doing it again schedules nothing anew. Raises InvalidInput for a map that leaves a price out, or
    leads to another plan or currency.
    """
    check_price_map(plan, to_plan, price_map)
    moves = []
    for chunk in _chunks(plan):
        with transaction.atomic():
            held = Subscription.objects.live().filter(pk__in=chunk).select_for_update(no_key=True, of=("self",))
            for subscription in held.select_related("price", "customer").order_by("pk"):
                moves.append(_schedule(subscription, price_map[subscription.price], at))
    return moves


def preview_migration(*, plan: Plan, to_plan: Plan, price_map: Mapping[Price, Price], at: datetime) -> MovePreview:
    """Tell what migrate_subscribers would do, and who would have paid what in the last month. Nothing is written."""
    check_price_map(plan, to_plan, price_map)
    live = Subscription.objects.live().filter(plan=plan).select_related("price", "customer").order_by("pk")
    moves = [_try(subscription, price_map[subscription.price], at) for subscription in live.iterator(CHUNK)]
    compared: dict[int, Compared] = {}
    for old, new in price_map.items():
        tried = PriceToTry(list(new.components.all()), new.currency)
        found = simulate(plans=[plan], price=tried, months=1, at=at, only_currency=True, sold_at=old)
        for customer, one in found.by_customer.items():
            compared.setdefault(customer, Compared()).add(one)
    return MovePreview(moves, compared)


def check_price_map(plan: Plan, to_plan: Plan, price_map: Mapping[Price, Price]) -> None:
    """Raise InvalidInput for a map that cannot be followed."""
    for old, new in price_map.items():
        path = f"priceMap.{old.public_id}"
        if old.plan_id != plan.pk:
            raise InvalidInput.at(path, "is no price of the plan that subscribers leave.")
        if new.plan_id != to_plan.pk:
            raise InvalidInput.at(
                path, f"must be a price of the plan {to_plan.name}, version {to_plan.version_number}."
            )
        if new.currency != old.currency:
            raise InvalidInput.at(path, f"must be a price in {old.currency}; a subscription keeps its currency.")
    missing = Counter(
        Subscription.objects.live()
        .filter(plan=plan)
        .exclude(price__in=list(price_map))
        .values_list("price__public_id", flat=True)
    )
    if missing:
        price, count = missing.most_common(1)[0]
        raise InvalidInput.at("priceMap", f"must say where the {count} subscribers at price {price} go.")


def _chunks(plan: Plan) -> Iterator[list[int]]:
    keys = list(Subscription.objects.live().filter(plan=plan).order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(keys), CHUNK):
        yield keys[start : start + CHUNK]


def _schedule(subscription: Subscription, price: Price, at: datetime) -> Move:
    move = _try(subscription, price, at)
    if not move.refusal and _waiting(subscription) is None:
        schedule(subscription=subscription, kind=ScheduledChangeKind.CHANGE, price=price, at=at)
    return move


def _try(subscription: Subscription, price: Price, at: datetime) -> Move:
    try:
        refuse_change(subscription, price)
    except Refusal as refusal:
        return Move(subscription, price, refusal=refusal.message)
    waiting = _waiting(subscription)
    if waiting is None:
        return Move(subscription, price, effective_at=paid_through(subscription, at=at))
    if waiting.price_id == price.pk:
        return Move(subscription, price, effective_at=waiting.effective_at)
    what = "It ends" if waiting.kind == ScheduledChangeKind.CANCEL else "It changes to another price"
    return Move(subscription, price, refusal=f"{what} on {waiting.effective_at:%Y-%m-%d} already.")


def _waiting(subscription: Subscription) -> ScheduledChange | None:
    return waiting_changes().filter(subscription=subscription).first()
