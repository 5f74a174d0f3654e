from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import Q, QuerySet

from credits.models import CreditDefinition, CreditGrant, CreditTransaction, GrantSource, TransactionKind
from credits.services.definition_rules import check_money_amount
from credits.services.positions import MONEY, Pair, lock_balances, read_positions
from credits.services.write_grants import expiry_of, write_grants
from plans.models import Customer, SubscriptionItem, SubscriptionPeriod
from plans.money import plain_number
from plans.periods import midnight_after, midnight_before
from plans.refusals import InvalidInput, NotFound, Refusal
from plans.services.time_zone import billing_zone

EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC)
# Units of a grant have 18 digits before the point, together with what is added later.
MOST_UNITS = Decimal(10) ** 18
# Of grants that an invoice makes, once each.
RESERVED_REFERENCES = ("refund:", "top_up:")
# Goodwill given today reduces this period's bill; bought units count from the purchase.
_FROM_PERIOD_START = (GrantSource.MANUAL, GrantSource.PROMOTION)
ACTIVE, DEPLETED, EXPIRED, REVOKED = STATUSES = ("ACTIVE", "DEPLETED", "EXPIRED", "REVOKED")


class GrantNotFound(NotFound):
    code = "credit_grant_not_found"


class GrantConflict(Refusal):
    """The reference code was used for another grant."""

    code = "reference_code_conflict"
    status = 409


class GrantEnded(Refusal):
    """The grant has expired or was revoked; what was done with it stays."""

    code = "credit_grant_ended"
    status = 409


class AdjustExceedsRemaining(Refusal):
    """More would be taken from a grant than is left of it."""

    code = "adjust_exceeds_remaining"
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
    """Give a customer units or money of a definition; without `amount` its default amount.

    Start and expiry are widened to local midnights. The same `reference_code` again returns the first grant, or
    raises GrantConflict when definition or amount differ. Raises InvalidInput when it would expire before it starts,
    for money that is not whole minor units, and for units that the customer's price bills a fee per event on.
    """
    Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    units = definition.default_amount if amount is None else amount
    _check_amount(definition, units)
    if reference_code:
        if reference_code.startswith(RESERVED_REFERENCES):
            raise InvalidInput.at(
                "referenceCode", f"must not begin with {' or '.join(RESERVED_REFERENCES)}, which invoices use."
            )
        first = CreditGrant.objects.filter(customer=customer, reference_code=reference_code).first()
        if first is not None:
            if (first.definition_id, first.initial_amount) != (definition.pk, units):
                raise GrantConflict("This referenceCode belongs to another grant of this customer.")
            return first
    refuse_event_fees(customer, definition)
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
        currency=definition.currency,
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


def _check_amount(definition: CreditDefinition, amount: Decimal) -> None:
    if amount <= 0:
        raise InvalidInput.at("initialAmount", "must be more than 0.")
    if definition.metric_id is None:
        check_money_amount("initialAmount", amount)


def refuse_event_fees(customer: Customer, definition: CreditDefinition, *, path: str = "creditDefinitionId") -> None:
    """Refuse units for a customer who pays a fee per event for them: they cannot pay it, and nobody could say which
    events they pay for. Raises InvalidInput at `path`."""
    if definition.metric_id is None:
        return
    items = SubscriptionItem.objects.filter(customer=customer, metric=definition.metric_id, ended_at=None)
    if items.filter(component__fixed_cost_cents__gt=0).exists():
        raise InvalidInput.at(
            path, "counts units that this customer pays a fee per event for (fixed_cost_cents); use monetary credits."
        )


def _default_start(customer: Customer, definition: CreditDefinition, source: str, at: datetime) -> datetime:
    period = None
    if source in _FROM_PERIOD_START:
        current = SubscriptionPeriod.objects.filter(customer=customer, start_at__lte=at, end_at__gt=at)
        period = current.filter(_of_definition(definition)).order_by("-start_at").first()
    return midnight_before(at, billing_zone()) if period is None else period.start_at


def _of_definition(definition: CreditDefinition) -> Q:
    """The periods whose bill a grant of this definition reduces."""
    if definition.metric_id is not None:
        return Q(metric=definition.metric_id)
    if definition.price_id is not None:
        return Q(subscription__price=definition.price_id)
    return Q() if definition.plan_id is None else Q(subscription__plan=definition.plan_id)


@transaction.atomic
def revoke_grant(*, at: datetime, grant: CreditGrant, notes: str = "") -> LiveGrant:
    """End a grant now: what is left live goes, what was burned stays burned. Revoking it again changes nothing."""
    grant = _lock(grant)
    if grant.revoked_at is None:
        live = live_grant(at=at, grant=grant).remaining
        if live > 0:
            _record(grant, TransactionKind.REVOKED, -live, at, notes)
        grant.ledger_remaining -= live
        grant.revoked_at = max(at, grant.starts_at)
        grant.notes = notes or grant.notes
        grant.save(update_fields=["ledger_remaining", "revoked_at", "notes", "updated_at"])
    return LiveGrant(grant=grant, remaining=Decimal(0), status=REVOKED)


@transaction.atomic
def adjust_grant(*, at: datetime, grant: CreditGrant, amount: Decimal, notes: str = "") -> LiveGrant:
    """Add to a grant that has not ended, or take away (a negative `amount`) from what is left of it live.

    Raises GrantEnded, AdjustExceedsRemaining, and InvalidInput for 0 or money that is not whole minor units.
    """
    if amount == 0:
        raise InvalidInput.at("amount", "must not be 0.")
    if grant.metric_id is None:
        check_money_amount("amount", amount)
    grant = _lock(grant)
    live = live_grant(at=at, grant=grant)
    if live.status in (EXPIRED, REVOKED):
        raise GrantEnded(f"This grant has {'expired' if live.status == EXPIRED else 'been revoked'}; grant anew.")
    if live.remaining + amount < 0:
        raise AdjustExceedsRemaining(
            f"Only {plain_number(live.remaining)} of this grant are left; no more can be taken away.",
            details={"remaining": live.remaining},
        )
    if grant.initial_amount + grant.adjusted_amount + amount >= MOST_UNITS:
        raise InvalidInput.at("amount", f"must leave the grant below {MOST_UNITS}.")
    _record(grant, TransactionKind.ADJUSTED, amount, at, notes)
    grant.adjusted_amount += amount
    grant.ledger_remaining += amount
    grant.save(update_fields=["adjusted_amount", "ledger_remaining", "updated_at"])
    # Read anew: usage beyond the grant may take up at once what was added.
    return live_grant(at=at, grant=grant)


def _lock(grant: CreditGrant) -> CreditGrant:
    """Take the lock of the grant's balance, then of its row, and read it anew."""
    lock_balances([_pair(grant)])
    return CreditGrant.objects.select_for_update(no_key=True).get(pk=grant.pk)


def _pair(grant: CreditGrant) -> Pair:
    return (grant.customer_id, MONEY if grant.metric_id is None else grant.metric_id)


def _record(grant: CreditGrant, kind: TransactionKind, amount: Decimal, at: datetime, notes: str) -> None:
    CreditTransaction.objects.create(
        customer_id=grant.customer_id, grant=grant, kind=kind, amount=amount, occurred_at=at, notes=notes
    )


def grants_in_state(
    *, at: datetime, customer: Customer, status: str | None = None, application_type: str | None = None
) -> QuerySet[CreditGrant]:
    """Find a customer's grants, with `status` only those in that state right now."""
    grants = CreditGrant.objects.filter(customer=customer).select_related(
        "definition__feature", "definition__price", "customer"
    )
    if application_type is not None:
        grants = grants.filter(definition__application_type=application_type)
    if status == REVOKED:
        return grants.filter(revoked_at__isnull=False)
    ended = Q(expires_at__isnull=False, expires_at__lte=at)
    if status == EXPIRED:
        return grants.filter(ended, revoked_at=None)
    if status in (ACTIVE, DEPLETED):
        current = live_grants(grants.exclude(ended).filter(revoked_at=None), at=at)
        return grants.filter(pk__in=[live.grant.pk for live in current if live.status == status])
    return grants


def live_grants(grants: Iterable[CreditGrant], *, at: datetime) -> list[LiveGrant]:
    """Give grants their live numbers, in the same order. Money is spent only when an invoice is finalized, so what the
    ledger has left of it is what is left."""
    grants = list(grants)
    positions = read_positions({_pair(grant) for grant in grants if grant.metric_id is not None}, at=at)
    return [
        _live(
            grant,
            grant.ledger_remaining
            if grant.metric_id is None
            else positions[_pair(grant)].burn.remaining.get(grant.pk, grant.ledger_remaining),
            at,
        )
        for grant in grants
    ]


def live_grant(*, at: datetime, grant: CreditGrant) -> LiveGrant:
    """Give one grant its live numbers."""
    (live,) = live_grants([grant], at=at)
    return live


def _live(grant: CreditGrant, remaining: Decimal, at: datetime) -> LiveGrant:
    if grant.revoked_at is not None:
        return LiveGrant(grant=grant, remaining=Decimal(0), status=REVOKED)
    if grant.expires_at is not None and grant.expires_at <= at:
        return LiveGrant(grant=grant, remaining=Decimal(0), status=EXPIRED)
    return LiveGrant(grant=grant, remaining=remaining, status=ACTIVE if remaining > 0 else DEPLETED)
