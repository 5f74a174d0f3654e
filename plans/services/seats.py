from collections.abc import Sequence
from datetime import datetime

from django.db.models import Max, Q, QuerySet

from plans.models import Customer, Seat
from plans.models.customers import OrgRole
from plans.refusals import InvalidInput, NotFound, Refusal


class OrganizationHasPrimary(Refusal):
    """Another customer is the primary one of this organization: its members' usage has one payer."""

    code = "organization_has_primary"
    status = 409


class OrganizationNotFound(NotFound):
    """No customer is, or could become, the primary one of this organization."""

    code = "organization_not_found"


class MemberOfAnother(Refusal):
    """The customer has a seat in another organization, or pays for one itself."""

    code = "member_of_another_organization"
    status = 409


class SeatNotFound(Refusal):
    """The customer has no seat in this organization."""

    code = "seat_not_found"


def find_organization(*, organization_id: str | None, owner_id: str | None) -> Customer:
    """Return the customer that pays for the seats of an organization: by the organization's id, or by an id of its own.
    `owner_id` is asked where `organization_id` names nobody. Raises OrganizationNotFound, and InvalidInput without any
    of the two."""
    asked = [identifier for identifier in (organization_id, owner_id) if identifier]
    if not asked:
        raise InvalidInput.at("organization_id", "is required, or user_id.")
    for identifier in asked:
        customer = _primary_of(identifier) or find_by_either_id(identifier)
        if customer is not None and customer.org_role != OrgRole.MEMBER:
            return customer
    raise OrganizationNotFound(f"Organization not found: {asked[0]}")


def _primary_of(organization_id: str) -> Customer | None:
    is_primary = {"customer_organization_id": organization_id, "org_role": OrgRole.PRIMARY}
    return Customer.objects.live().filter(**is_primary).first()


def find_by_either_id(identifier: str) -> Customer | None:
    """Find the live customer with this external id, else with this id of ours."""
    live = Customer.objects.live()
    return live.filter(external_customer_id=identifier).first() or live.filter(public_id=identifier).first()


def primary_of(customer: Customer, *, at: datetime) -> Customer:
    """The customer that pays for what a customer uses at an instant: its organization's primary one, else itself."""
    organization_id = organization_of(customer, at=at)
    return (_primary_of(organization_id) if organization_id is not None else None) or customer


def seat_of(member: Customer) -> Seat | None:
    """The seat that a customer has and that nobody has ended."""
    return Seat.objects.filter(member=member, ended_at=None).first()


def refuse_other_seat(member: Customer, organization: Customer) -> None:
    """Raise MemberOfAnother for somebody who cannot get a seat in an organization."""
    if member.pk == organization.pk or member.org_role == OrgRole.PRIMARY:
        raise MemberOfAnother("created_user_id: this customer pays for an organization itself, so it has no seat.")
    if member.org_role == OrgRole.MEMBER and member.customer_organization_id != organization.customer_organization_id:
        raise MemberOfAnother("created_user_id: this customer has a seat in another organization. Remove it there.")


def check_role(*, organization_id: str | None, role: str | None) -> None:
    """Raise InvalidInput for a role without an organization."""
    if role and not organization_id:
        raise InvalidInput.at("customerOrganizationId", f"is required for a customer with orgRole {role}.")


def open_first_seat(customer: Customer) -> None:
    """Give a new member its seat. It has no start: the customer was never anything else, whenever it used something."""
    if customer.org_role == OrgRole.MEMBER:
        assert customer.customer_organization_id is not None
        Seat.objects.create(member=customer, organization_id=customer.customer_organization_id)


def move_member(*, customer: Customer, at: datetime) -> None:
    """Make a customer's seat follow its organization and role as they are now: from `at` on it sits there or nowhere.

    What it used until then counts where it sat. The caller holds the lock of the customer. A call that read its clock
    before another one moved the customer follows at that move's instant.
    """
    organization_id = customer.customer_organization_id if customer.org_role == OrgRole.MEMBER else None
    at = max([at, *_moves_of(customer)])
    open_seat = Seat.objects.filter(member=customer, ended_at__isnull=True).first()
    if open_seat is not None:
        if open_seat.organization_id == organization_id:
            return
        _end(open_seat, at)
    if organization_id is not None:
        Seat.objects.create(member=customer, organization_id=organization_id, started_at=at)


def _moves_of(customer: Customer) -> list[datetime]:
    """The instants at which its seats began and ended."""
    bounds = Seat.objects.filter(member=customer).aggregate(started_at=Max("started_at"), ended_at=Max("ended_at"))
    return [at for at in bounds.values() if at is not None]


def _end(seat: Seat, at: datetime) -> None:
    if seat.started_at == at:
        # Nobody sat there for any time.
        seat.delete()
        return
    seat.ended_at = at
    seat.save(update_fields=["ended_at"])


def organization_of(customer: Customer, *, at: datetime) -> str | None:
    """Return the id of the organization that a customer belongs to at an instant: as its primary customer, or by a
    seat; None when it belongs to none."""
    if customer.org_role == OrgRole.PRIMARY:
        return customer.customer_organization_id
    seat = _seats(at).filter(member=customer).first()
    return None if seat is None else seat.organization_id


def customers_of(organization_id: str, *, at: datetime) -> QuerySet[Customer]:
    """The customers of an organization at an instant: the primary one and the members with a seat."""
    seated = _seats(at).filter(organization_id=organization_id).values("member")
    is_primary = Q(customer_organization_id=organization_id, org_role=OrgRole.PRIMARY)
    return Customer.objects.live().filter(is_primary | Q(pk__in=seated))


def payers_of(customers: Sequence[Customer], *, organization_id: str | None) -> dict[int, int]:
    """Find the key of the customer whose features and units each one of an organization uses, by the keys: the
    primary one of all, or each itself where there is none."""
    primary = None
    if organization_id is not None:
        is_primary = {"customer_organization_id": organization_id, "org_role": OrgRole.PRIMARY}
        primary = Customer.objects.live().filter(**is_primary).values_list("pk", flat=True).first()
    return {customer.pk: primary or customer.pk for customer in customers}


def _seats(at: datetime) -> QuerySet[Seat]:
    started = Q(started_at__isnull=True) | Q(started_at__lte=at)
    return Seat.objects.filter(started, Q(ended_at__isnull=True) | Q(ended_at__gt=at))
