"""A plan that is paid per seat, and an organization that has it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from billing.services.seats import add_seat, remove_seat
from billing.services.subscribe import subscribe
from plans.models import AddedUnits, Customer, Plan, Price, PriceComponent, SeatChange, Subscription
from tests.factories import CustomerFactory, FixedComponentFactory, PlanFactory, PriceFactory, SeatFactory


@dataclass(frozen=True)
class SeatPlan:
    """A plan with its price and the component of its seats."""

    plan: Plan
    price: Price
    component: PriceComponent


def make_seat_plan(*, currency: str = "USD", **component: Any) -> SeatPlan:
    """Make a plan of 10.00 a seat and month; `component` are other terms of the seats' component."""
    plan = PlanFactory()
    price = PriceFactory(plan=plan, fee=None, currency=currency)
    terms = {"kind": "per_unit", "label": "Seats", "unit_label": "seat", "amount_cents": 1_000} | component
    return SeatPlan(plan, price, FixedComponentFactory(price=price, component_id="comp_seats", **terms))


def make_organization(name: str = "acme", *, seats: int = 0, since: datetime) -> Customer:
    """Make the primary customer of an organization whose first members have had their seats since an instant."""
    primary = CustomerFactory(customer_organization_id=name, org_role="primary", external_customer_id=f"{name}-owner")
    for number in range(seats):
        SeatFactory(
            organization_id=name, started_at=since, member__external_customer_id=f"{name}-{number}",
            member__created_at=since,
        )  # fmt: skip
    return primary


def subscribed(sold: SeatPlan, *, at: datetime, seats: int = 0, name: str = "acme", **terms: Any) -> Subscription:
    """Subscribe an organization with so many seats to a plan."""
    return subscribe(at=at, customer=make_organization(name, seats=seats, since=at), plan=sold.plan, **terms)


def give_seat(subscription: Subscription, member: str, at: datetime, **more: Any) -> SeatChange:
    """Give somebody a seat in the organization of a subscription."""
    return add_seat(at=at, organization=subscription.customer, member_id=member, **more)


def take_seat(subscription: Subscription, member: str, at: datetime, **more: Any) -> SeatChange:
    """Take somebody's seat away."""
    return remove_seat(at=at, organization=subscription.customer, member_id=member, **more)


def added(subscription: Subscription) -> list[tuple[int, int, datetime]]:
    """What was added within a subscription's periods: after how many units, up to how many, and from when on."""
    rows = AddedUnits.objects.filter(period__subscription=subscription).order_by("period__start_at", "from_quantity")
    return list(rows.values_list("from_quantity", "to_quantity", "needed_at"))
