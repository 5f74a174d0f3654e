"""Giving and taking seats: who sits where, what that costs within the period, and what credits it brings."""

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction

from billing.models import Invoice, InvoiceKind, InvoiceStatus
from billing.services.close_periods import close_subscriptions, draft_of, open_drafts
from billing.services.finalize import finalize_invoices
from billing.services.late_usage import lock_usage
from credits.services.per_seat import follow_units_ahead, grant_for_added_units
from credits.services.spend_money import lock_money
from metering.services.attribute_events import attribute_events
from plans.models import (
    AddedUnits,
    ComponentKind,
    Customer,
    PeriodKind,
    SeatChange,
    SeatChangeKind,
    Subscription,
    SubscriptionItem,
    SubscriptionPeriod,
)
from plans.models.customers import OrgRole
from plans.models.subscriptions import ENTITLED_STATUSES
from plans.refusals import InvalidInput, NotFound, Refusal
from plans.services.customers import CustomerNotFound, DuplicateCustomer, create_customer, update_customer
from plans.services.seats import SeatNotFound, find_by_either_id, refuse_other_seat, seat_of
from plans.services.subscriptions import SubscriptionNotActive
from plans.services.units import add_missing_seats, open_unit_periods

logger = logging.getLogger(__name__)

MOST_AHEAD = timedelta(minutes=5)
_INSTANT = timedelta(microseconds=1)


class NoActiveSubscription(NotFound):
    """The organization has subscribed to nothing, so there is nothing to have a seat in."""

    code = "no_active_subscription"


class SeatChangeConflict(Refusal):
    """The idempotency key was used for another change of seats in this organization."""

    code = "idempotency_conflict"
    status = 409


@dataclass(frozen=True, slots=True)
class Held:
    """An organization whose seats change: its customer, who gets or loses a seat (None: not a customer yet), and its
    live subscriptions, those with units in advance first. All are locked."""

    organization: Customer
    member: Customer | None
    subscriptions: Sequence[Subscription]

    @property
    def subscription(self) -> Subscription | None:
        """The subscription that the seats belong to."""
        return self.subscriptions[0] if self.subscriptions else None


@transaction.atomic
def add_seat(
    *,
    at: datetime,
    organization: Customer,
    member_id: str,
    name: str = "",
    email: str = "",
    metadata: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
    seated_at: datetime | None = None,
) -> SeatChange:
    """Give somebody a seat in an organization from `seated_at` (default: now) on, and bill what it costs until the end
    of the period, at once where the component says so. `member_id` is an external id, or one of ours; who is not a
    customer yet becomes one. A customer without an organization becomes the primary one of its own.

    The same key again, or somebody who has the seat already, changes nothing. Raises InvalidInput for an instant that
    has not come, NoActiveSubscription, SubscriptionNotActive, MemberOfAnother, SeatChangeConflict, DuplicateCustomer.
    """
    seated_at = _instant(seated_at, at)
    held = _hold(organization, member_id)
    made = _made_before(held, idempotency_key, SeatChangeKind.ADD, member_id)
    if made is not None:
        return made
    _refuse_inactive(held)
    _bill_boundaries(held, at=at)
    primary = _with_organization(held.organization, at=at)
    member = held.member or _new_member(member_id, name=name, email=email, at=at)
    refuse_other_seat(member, primary)
    if seat_of(member) is None:
        member = update_customer(
            at=seated_at,
            customer=member,
            customer_organization_id=primary.customer_organization_id,
            org_role=OrgRole.MEMBER,
        )
        if held.member is None:
            _take_waiting_events(member)
        for subscription in held.subscriptions:
            if subscription.status in ENTITLED_STATUSES:
                _add_what_is_missing(subscription, since=seated_at, at=at)
    return _note(held, primary, member, SeatChangeKind.ADD, seated_at, metadata, idempotency_key, at)


@transaction.atomic
def remove_seat(
    *,
    at: datetime,
    organization: Customer,
    member_id: str,
    metadata: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
    unseated_at: datetime | None = None,
) -> SeatChange:
    """Take somebody's seat in an organization away from `unseated_at` (default: now) on. It stays paid until the end of
    the period, and somebody else may have it until then.

    The same key again changes nothing. Raises InvalidInput for an instant that has not come, SeatNotFound and
    SeatChangeConflict.
    """
    unseated_at = _instant(unseated_at, at)
    held = _hold(organization, member_id)
    made = _made_before(held, idempotency_key, SeatChangeKind.REMOVE, member_id)
    if made is not None:
        return made
    seat = seat_of(held.member) if held.member is not None else None
    organization_id = held.organization.customer_organization_id
    if held.member is None or seat is None or seat.organization_id != organization_id:
        raise SeatNotFound("User not found in active seats or already removed")
    _bill_boundaries(held, at=at)
    update_customer(at=unseated_at, customer=held.member, customer_organization_id=None, org_role=None)
    for subscription in held.subscriptions:
        follow_units_ahead(subscription, at=at)
    return _note(
        held, held.organization, held.member, SeatChangeKind.REMOVE, unseated_at, metadata, idempotency_key, at
    )


def _instant(given: datetime | None, at: datetime) -> datetime:
    if given is None:
        return at
    if given > at + MOST_AHEAD:
        raise InvalidInput.at("timestamp", "must not lie in the future.")
    return min(given, at)


def _hold(organization: Customer, member_id: str) -> Held:
    """Lock what a change of seats moves, in the order of everybody who bills: subscriptions, customers, balances."""
    live = Subscription.objects.live().filter(customer=organization).select_related("price", "plan")
    subscriptions = list(live.select_for_update(no_key=True, of=("self",)).order_by("pk"))
    member = find_by_either_id(member_id)
    keys = {organization.pk} | ({member.pk} if member is not None else set())
    rows = Customer.objects.live().filter(pk__in=keys).select_for_update(no_key=True).order_by("pk")
    locked = {customer.pk: customer for customer in rows}
    if organization.pk not in locked:
        raise CustomerNotFound("Customer not found or access denied")
    lock_usage({subscription.pk for subscription in subscriptions})
    lock_money([organization.pk])
    with_units = set(
        SubscriptionItem.objects.filter(
            subscription__in=subscriptions, component__kind=ComponentKind.PER_UNIT
        ).values_list("subscription", flat=True)
    )
    return Held(
        organization=locked[organization.pk],
        member=None if member is None else locked.get(member.pk),
        subscriptions=sorted(subscriptions, key=lambda one: (one.pk not in with_units, one.pk)),
    )


def _made_before(held: Held, key: str | None, kind: SeatChangeKind, member_id: str) -> SeatChange | None:
    """The change that this call made when it came first. Raises SeatChangeConflict."""
    if not key:
        return None
    changes = SeatChange.objects.filter(
        organization_id=held.organization.customer_organization_id or held.organization.public_id, idempotency_key=key
    )
    made = changes.select_related("member", "subscription").first()
    if made is not None and (made.kind != kind or held.member is None or made.member_id != held.member.pk):
        raise SeatChangeConflict("idempotency_key: was used for another change of seats. Send a new one.")
    return made


def _refuse_inactive(held: Held) -> None:
    if held.subscription is None:
        raise NoActiveSubscription("No active subscription")
    if not any(subscription.status in ENTITLED_STATUSES for subscription in held.subscriptions):
        raise SubscriptionNotActive(f"The subscription is {held.subscription.status}. Resume it, then add seats.")


def _bill_boundaries(held: Held, *, at: datetime) -> None:
    """Close what is due, so that what a period bills is settled before its seats change. Those of a parked customer
    wait for the operator."""
    if held.organization.parked_at is None:
        while close_subscriptions(held.subscriptions, at=at):
            pass


def _with_organization(customer: Customer, *, at: datetime) -> Customer:
    """The customer as the primary one of an organization; without one it begins its own."""
    if customer.org_role == OrgRole.PRIMARY:
        return customer
    organization_id = customer.customer_organization_id or customer.public_id
    return update_customer(at=at, customer=customer, customer_organization_id=organization_id, org_role=OrgRole.PRIMARY)


def _new_member(member_id: str, *, name: str, email: str, at: datetime) -> Customer:
    try:
        return create_customer(
            at=at, name=name or email or member_id, email=email, external_customer_id=member_id, without_email=True
        )
    except DuplicateCustomer:
        raise DuplicateCustomer(
            "created_user_info.email: another customer has this e-mail. Send that customer's id as created_user_id, or "
            "no e-mail."
        ) from None


def _take_waiting_events(member: Customer) -> None:
    """Give a new member the events that arrived for its external id before."""
    try:
        attribute_events(customer=member)
    except IntegrityError:
        # One of them is sent again in this very instant. The sweep sorts it out.
        logger.warning("the events that waited for a new member are left to the next sweep")


def _add_what_is_missing(subscription: Subscription, *, since: datetime, at: datetime) -> None:
    added = add_missing_seats(open_unit_periods(subscription.pk, since=since), at=at)
    take_effect(subscription, added, at=at)


def take_effect(subscription: Subscription, added: Sequence[AddedUnits], *, at: datetime) -> Invoice | None:
    """Let units that were added to a held subscription bring their credits, and bill them at once where their component
    says so: return the invoice, if there is anything on it. A parked customer's wait."""
    grant_for_added_units(added, at=at)
    follow_units_ahead(subscription, at=at)
    is_parked = Customer.objects.filter(pk=subscription.customer_id, parked_at__isnull=False).exists()
    if is_parked or not any(_is_billed_at_once(one) for one in added):
        return None
    return bill_added_units(subscription=subscription, at=at)


def _is_billed_at_once(added: AddedUnits) -> bool:
    component = added.period.item.component
    return added.billed_at is None and component is not None and component.bill_immediately


def bill_added_units(*, subscription: Subscription, at: datetime) -> Invoice | None:
    """Bill what was added to a subscription's periods and stands on no invoice yet, and return the invoice; None where
    it comes to nothing. The caller holds the locks of the subscription and its customer."""
    of_subscription = AddedUnits.objects.filter(period__subscription=subscription, period__kind=PeriodKind.REGULAR)
    waiting = of_subscription.filter(billed_at=None)
    needed = list(waiting.order_by("needed_at").values_list("needed_at", flat=True))
    if not needed:
        return None
    draft = draft_of(subscription, [], at, kind=InvoiceKind.SEATS, closes_at=_free_instant(subscription, at))
    periods = SubscriptionPeriod.objects.filter(added_units__in=waiting)
    draft.period_start_at = needed[0]
    draft.period_end_at = max(periods.values_list("end_at", flat=True))
    (stored,) = open_drafts([(draft, [])], at=at)
    finalize_invoices([stored], at=at)
    return None if stored.status == InvoiceStatus.SKIPPED else stored


def _free_instant(subscription: Subscription, at: datetime) -> datetime:
    """An instant at which the subscription has no such invoice: two of them cannot close at the same one."""
    invoices = Invoice.objects.filter(subscription=subscription, kind=InvoiceKind.SEATS, closes_at__gte=at)
    last = invoices.order_by("-closes_at").values_list("closes_at", flat=True).first()
    return at if last is None else last + _INSTANT


def _note(
    held: Held,
    primary: Customer,
    member: Customer,
    kind: SeatChangeKind,
    effective_at: datetime,
    metadata: Mapping[str, Any] | None,
    idempotency_key: str | None,
    at: datetime,
) -> SeatChange:
    assert primary.customer_organization_id is not None
    return SeatChange.objects.create(
        organization_id=primary.customer_organization_id,
        kind=kind,
        member=member,
        subscription=held.subscription,
        effective_at=effective_at,
        idempotency_key=idempotency_key or f"seat_{secrets.token_hex(16)}",
        metadata=metadata or {},
        created_at=at,
    )
