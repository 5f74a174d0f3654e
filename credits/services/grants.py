from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from django.db import transaction

from credits.models import CreditDefinition, CreditGrant, CreditTransaction, GrantSource, TransactionKind
from credits.positions import Position
from credits.services.positions import lock_balances, read_positions
from credits.services.renew import expiry_of, write_grants
from plans.models import Customer, SubscriptionPeriod
from plans.periods import midnight_after, midnight_before
from plans.refusals import InvalidInput, NotFound, Refusal
from plans.services.time_zone import billing_zone

EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC)
# Goodwill given today reduces this period's bill; bought units count from the purchase.
_FROM_PERIOD_START = (GrantSource.MANUAL, GrantSource.PROMOTION)


class GrantNotFound(NotFound):
    code = "credit_grant_not_found"


class GrantConflict(Refusal):
    """The reference code was used for another grant."""

    code = "reference_code_conflict"
    status = 409


@dataclass(frozen=True)
class LiveGrant:
    """A grant with what is left of it right now and its state in the contract's words."""

    grant: CreditGrant
    remaining: Decimal
    status: str


def find_grant(identifier: str) -> CreditGrant:
    """Return the grant with this id. Raises GrantNotFound."""
    grant = CreditGrant.objects.filter(public_id=identifier).first()
    if grant is None:
        raise GrantNotFound("Credit grant not found")
    return grant


@transaction.atomic
def grant_credits(
    *,
    at: datetime,
    customer: Customer,
    definition: CreditDefinition,
    source: str = GrantSource.MANUAL,
    amount: Decimal | None = None,
    starts_at: datetime | None = None,
    expires_at: datetime | None = None,
    priority: int | None = None,
    reference_code: str | None = None,
    notes: str = "",
) -> CreditGrant:
    """Give a customer units of a definition; without `amount` its default amount.

    Start and expiry are widened to local midnights. The same `reference_code` again returns the first grant, or
    raises GrantConflict when definition or amount differ. Raises InvalidInput when it would expire before it starts.
    """
    Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    units = definition.default_amount if amount is None else amount
    if reference_code:
        first = CreditGrant.objects.filter(customer=customer, reference_code=reference_code).first()
        if first is not None:
            if (first.definition_id, first.initial_amount) != (definition.pk, units):
                raise GrantConflict("This referenceCode belongs to another grant of this customer.")
            return first
    for path, moment in (("startDate", starts_at), ("expiryDate", expires_at)):
        if moment is not None and not EARLIEST <= moment < LATEST:
            raise InvalidInput.at(path, f"must lie between {EARLIEST.year} and {LATEST.year}.")
    zone = billing_zone()
    begin = starts_at or _default_start(customer, definition, source, at)
    if starts_at is not None:
        begin = midnight_before(starts_at, zone)
    end = midnight_after(expires_at, zone) if expires_at is not None else expiry_of(definition, at)
    if end is not None and end <= begin:
        raise InvalidInput.at("expiryDate", "must lie after startDate.")
    grant = CreditGrant(
        customer=customer,
        metric_id=definition.metric_id,
        definition=definition,
        source=source,
        initial_amount=units,
        priority=definition.priority if priority is None else priority,
        starts_at=begin,
        expires_at=end,
        reference_code=reference_code or None,
        notes=notes,
        created_at=at,
    )
    return write_grants([grant], at=at)[0]


def _default_start(customer: Customer, definition: CreditDefinition, source: str, at: datetime) -> datetime:
    if source in _FROM_PERIOD_START:
        period = (
            SubscriptionPeriod.objects.filter(customer=customer, start_at__lte=at, end_at__gt=at)
            .order_by("-start_at")
            .filter(metric_id=definition.metric_id)
            .first()
        )
        if period is not None:
            return period.start_at
    return midnight_before(at, billing_zone())


@transaction.atomic
def revoke_grant(*, at: datetime, grant: CreditGrant, notes: str = "") -> LiveGrant:
    """End a grant now: what is left live goes, what was burned stays burned. Revoking it again changes nothing."""
    pair = (grant.customer_id, grant.metric_id)
    lock_balances([pair])
    grant = CreditGrant.objects.select_for_update(no_key=True).get(pk=grant.pk)
    if grant.revoked_at is None:
        live = read_positions([pair], at=at)[pair].burn.remaining.get(grant.pk, Decimal(0))
        if live > 0:
            CreditTransaction.objects.create(
                customer_id=grant.customer_id,
                grant=grant,
                kind=TransactionKind.REVOKED,
                amount=-live,
                occurred_at=at,
                notes=notes,
            )
        grant.ledger_remaining -= live
        grant.revoked_at = max(at, grant.starts_at)
        grant.notes = notes or grant.notes
        grant.save(update_fields=["ledger_remaining", "revoked_at", "notes", "updated_at"])
    return LiveGrant(grant=grant, remaining=Decimal(0), status="REVOKED")


def live_grants(*, at: datetime, customer: Customer) -> list[LiveGrant]:
    """Return a customer's grants with their live numbers, newest first."""
    grants = list(
        CreditGrant.objects.filter(customer=customer)
        .select_related("definition__feature", "definition__price", "customer")
        .order_by("-starts_at", "-pk")
    )
    positions = read_positions({(customer.pk, grant.metric_id) for grant in grants}, at=at)
    return [_live(grant, positions[customer.pk, grant.metric_id], at) for grant in grants]


def live_grant(*, at: datetime, grant: CreditGrant) -> LiveGrant:
    """Return one grant with its live numbers."""
    pair = (grant.customer_id, grant.metric_id)
    return _live(grant, read_positions([pair], at=at)[pair], at)


def _live(grant: CreditGrant, position: Position, at: datetime) -> LiveGrant:
    remaining = position.burn.remaining.get(grant.pk, grant.ledger_remaining)
    if grant.revoked_at is not None:
        return LiveGrant(grant=grant, remaining=Decimal(0), status="REVOKED")
    if grant.expires_at is not None and grant.expires_at <= at:
        return LiveGrant(grant=grant, remaining=Decimal(0), status="EXPIRED")
    return LiveGrant(grant=grant, remaining=remaining, status="ACTIVE" if remaining > 0 else "DEPLETED")
