"""A customer's monetary credits at hand while invoices are made, and the ledger rows of what those took."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from credits.burn import BurnableGrant
from credits.models import (
    ApplicationType,
    CreditDefinition,
    CreditGrant,
    CreditTransaction,
    GrantSource,
    Scope,
    TransactionKind,
)
from credits.money_credits import Bill, Coverage, MoneyGrant, burn_money
from credits.services.positions import MONEY, lock_balances

KEPT_FROM_INVOICES = "Credit from earlier invoices"
# What is kept of an invoice below zero needs a definition, one per currency; this id makes it one.
_KEPT_ID = "cred_def_FromEarlierInvoices{currency}"


@dataclass
class Purse:
    """The monetary grants of one customer, and what invoices take from them or put into them.

    Nothing is stored before `book_purses`, so an invoice can be tried out. `ledger_remaining` of the grants is lowered
    as they are spent, and each invoice finds what the ones before it have left.
    """

    customer_id: int
    grants: list[CreditGrant]
    transactions: list[CreditTransaction] = field(default_factory=list)

    def pay(self, bill: Bill, *, currency: str, at: datetime) -> tuple[list[CreditTransaction], dict[int, int]]:
        """Take what the grants pay of a bill: return the movements in burn order, and what is paid of each line."""
        burn = burn_money(
            bill, (_money_grant(key, grant) for key, grant in enumerate(self.grants) if grant.currency == currency)
        )
        burned = [
            self._move(self.grants[key], TransactionKind.BURNED, Decimal(-cents), at)
            for key, cents in burn.by_grant.items()
        ]
        return burned, dict(burn.by_line)

    def keep(
        self, cents: int, *, currency: str, starts_at: datetime, reference_code: str, at: datetime
    ) -> CreditTransaction:
        """Put in what an invoice came to below zero: a grant that pays for anything from `starts_at` on."""
        grant = CreditGrant(
            customer_id=self.customer_id,
            currency=currency,
            definition=_kept_definition(currency, at),
            source=GrantSource.REFUND,
            initial_amount=Decimal(cents),
            ledger_remaining=Decimal(0),
            starts_at=starts_at,
            reference_code=reference_code,
            created_at=at,
        )
        self.grants.append(grant)
        return self._move(grant, TransactionKind.GRANTED, Decimal(cents), at)

    def expired(self, by: datetime) -> list[CreditGrant]:
        """The grants with something left that have ended by an instant."""
        return [
            grant
            for grant in self.grants
            if grant.ledger_remaining > 0 and (ends_at := grant.ends_at) is not None and ends_at <= by
        ]

    def expire(self, grants: Iterable[CreditGrant], *, at: datetime) -> None:
        """Take out what these have left: no bill to come can ask them."""
        for grant in grants:
            self._move(grant, TransactionKind.EXPIRED, -grant.ledger_remaining, at)

    def _move(self, grant: CreditGrant, kind: TransactionKind, amount: Decimal, at: datetime) -> CreditTransaction:
        grant.ledger_remaining += amount
        movement = CreditTransaction(
            customer_id=self.customer_id, grant=grant, kind=kind, amount=amount, occurred_at=at
        )
        self.transactions.append(movement)
        return movement


def lock_money(customers: Collection[int]) -> None:
    """Take the lock of each customer's monetary credits until the transaction ends.

    Whatever moves them takes it before it reads them; whoever needs locks of metrics too takes those first.
    """
    lock_balances([(customer, MONEY) for customer in customers])


def open_purses(customers: Collection[int]) -> dict[int, Purse]:
    """Read the monetary grants of customers that have something left, in the order in which they were made. Those that
    ended with their subscription still pay for what was used before."""
    grants: dict[int, list[CreditGrant]] = defaultdict(list)
    spendable = CreditGrant.objects.filter(customer__in=customers, metric=None, ledger_remaining__gt=0)
    for grant in spendable.select_related("definition").order_by("pk"):
        grants[grant.customer_id].append(grant)
    return {customer: Purse(customer, grants[customer]) for customer in customers}


def book_purses(purses: Iterable[Purse]) -> None:
    """Store what was taken and put in. The caller has held the locks of the customers' money since before the purses
    were opened."""
    purses = list(purses)
    new = [grant for purse in purses for grant in purse.grants if grant.pk is None]
    kept = {grant.currency: grant.definition for grant in new}
    stored = {currency: _stored(definition) for currency, definition in kept.items()}
    for grant in new:
        grant.definition = stored[grant.currency]
    CreditGrant.objects.bulk_create(new, batch_size=500)
    movements = [movement for purse in purses for movement in purse.transactions]
    CreditTransaction.objects.bulk_create(movements, batch_size=1000)
    made = {grant.pk for grant in new}
    moved = {movement.grant.pk: movement.grant for movement in movements if movement.grant.pk not in made}
    CreditGrant.objects.bulk_update(list(moved.values()), ["ledger_remaining"], batch_size=500)


def _money_grant(key: int, grant: CreditGrant) -> MoneyGrant:
    burnable = BurnableGrant(
        key=key,
        remaining=grant.ledger_remaining,
        starts_at=grant.starts_at,
        ends_at=grant.ends_at,
        priority=grant.priority,
    )
    return MoneyGrant(burnable=burnable, coverage=coverage_of(grant))


def coverage_of(grant: CreditGrant) -> Coverage:
    """What a monetary grant pays for: what its definition hangs on, and of that only the subscription that came with
    it, if one did."""
    definition = grant.definition
    if definition.scope == Scope.MERCHANT:
        return Coverage()
    return Coverage(
        subscription=grant.subscription_id,
        plan=definition.plan_id,
        price=definition.price_id if definition.scope != Scope.PLAN else None,
        component_id=definition.price_component_id if definition.scope == Scope.COMPONENT else None,
    )


def _kept_definition(currency: str, at: datetime) -> CreditDefinition:
    return CreditDefinition(
        public_id=_KEPT_ID.format(currency=currency),
        name=KEPT_FROM_INVOICES,
        scope=Scope.MERCHANT,
        application_type=ApplicationType.MONETARY,
        currency=currency,
        # Each grant has an amount of its own.
        default_amount=Decimal(1),
        billing_visible=True,
        created_at=at,
    )


def _stored(definition: CreditDefinition) -> CreditDefinition:
    stored, _ = CreditDefinition.objects.get_or_create(
        public_id=definition.public_id,
        defaults={
            "name": definition.name,
            "scope": definition.scope,
            "application_type": definition.application_type,
            "currency": definition.currency,
            "default_amount": definition.default_amount,
            "billing_visible": definition.billing_visible,
            "created_at": definition.created_at,
        },
    )
    return stored
