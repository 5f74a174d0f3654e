from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from billing.services.subscribe import subscribe
from credits.models import CreditGrant
from metering.services.attribute_events import register_customer
from plans.models import Customer, Plan, Subscription
from plans.refusals import Refusal
from plans.services.customers import DuplicateCustomer, update_customer
from plans.services.enrollment import choose_plan, free_price
from plans.services.subscriptions import AlreadySubscribed


class AlreadyEnrolled(Refusal):
    """The customer has a live subscription; the answer names it."""

    code = "already_enrolled"
    status = 409


@dataclass(frozen=True, slots=True)
class Enrollment:
    """What signing up came to: the subscription, its plan version, and how many grants of credits came with it."""

    subscription: Subscription
    plan: Plan
    grants: int


@transaction.atomic
def enroll(
    *,
    at: datetime,
    user_id: str,
    email: str,
    name: str,
    plan_id: str | None = None,
    profile: Mapping[str, Any] | None = None,
) -> Enrollment:
    """Subscribe somebody who signs up to a free plan; who is not a customer yet becomes one, with `profile` as further
    fields. `user_id` is his external id.

    The plan is the named one, else by a rule, else the first free one that is shown. Raises AlreadyEnrolled, what
    choose_plan refuses, NoFreePrice, and DuplicateCustomer where another user has the e-mail address.
    """
    plan = choose_plan(email=email, plan_id=plan_id)
    price = free_price(plan)
    customer = _find_or_make(at=at, user_id=user_id, email=email, name=name, profile=dict(profile or {}))
    try:
        subscription = subscribe(at=at, customer=customer, plan=plan, price=price)
    except AlreadySubscribed:
        raise _already_enrolled(customer) from None
    grants = CreditGrant.objects.filter(subscription=subscription).count()
    return Enrollment(subscription, plan, grants)


def _find_or_make(*, at: datetime, user_id: str, email: str, name: str, profile: dict[str, Any]) -> Customer:
    """The customer with this external id; one whom only the e-mail address is known of gets it, else one is made."""
    known = _known(user_id)
    if known is not None:
        return known
    by_email = _without_user(email)
    try:
        if by_email is not None:
            return update_customer(at=at, customer=by_email, external_customer_id=user_id)
        return register_customer(at=at, name=name, email=email, external_customer_id=user_id, **profile)
    except DuplicateCustomer:
        # The same sign-up arrived twice at once, and the other one was faster.
        known = _known(user_id)
        if known is None:
            raise
        return known


def _known(user_id: str) -> Customer | None:
    return Customer.objects.addressed_by(user_id, external=True).first()


def _without_user(email: str) -> Customer | None:
    same = list(Customer.objects.live().filter(email__iexact=email)[:2])
    return same[0] if len(same) == 1 and same[0].external_customer_id is None else None


def _already_enrolled(customer: Customer) -> AlreadyEnrolled:
    subscription = Subscription.objects.live().filter(customer=customer).latest("pk")
    return AlreadyEnrolled(
        "Subscription already exists for this customer",
        extra={"subscription": {"id": subscription.public_id, "status": subscription.status}},
    )
