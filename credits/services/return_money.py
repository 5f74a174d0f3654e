"""Money that goes back to the grant which had paid it, or is taken back from the grant which kept it."""

from datetime import datetime
from decimal import Decimal

from django.db.models import F

from credits.models import CreditGrant, CreditTransaction, TransactionKind
from credits.services.spend_money import Purse, book_purses


def return_money(*, grant: CreditGrant, cents: int, at: datetime, notes: str) -> CreditTransaction:
    """Give a monetary grant back what it had paid, and return the movement. What returns to a grant that was revoked is
    revoked at once; one that ended with its subscription may pay for the invoice that takes the place of the old one.
    The caller holds the lock of the customer's money."""
    returned = _move(grant, TransactionKind.RETURNED, cents, at, notes)
    if grant.revoked_at is not None and not _ended_with_subscription(grant):
        _move(grant, TransactionKind.REVOKED, -cents, at, notes)
    return returned


def take_back_unspent(*, grant: CreditGrant, at: datetime, notes: str) -> int:
    """Revoke what a monetary grant has left, and return how much that was. The caller holds the lock of the customer's
    money."""
    rest = int(CreditGrant.objects.values_list("ledger_remaining", flat=True).get(pk=grant.pk))
    if rest:
        _move(grant, TransactionKind.REVOKED, -rest, at, notes)
    CreditGrant.objects.filter(pk=grant.pk, revoked_at=None).update(revoked_at=at, updated_at=at)
    return rest


def keep_money(*, customer: int, cents: int, currency: str, reference_code: str, at: datetime) -> CreditGrant:
    """Grant a customer money that invoices gave back; it pays for anything from now on. The caller holds the lock of
    the customer's money."""
    purse = Purse(customer, [])
    kept = purse.keep(cents, currency=currency, starts_at=at, reference_code=reference_code, at=at)
    book_purses([purse])
    return kept.grant


def _ended_with_subscription(grant: CreditGrant) -> bool:
    return grant.subscription is not None and grant.subscription.ended_at == grant.revoked_at


def _move(grant: CreditGrant, kind: TransactionKind, cents: int, at: datetime, notes: str) -> CreditTransaction:
    CreditGrant.objects.filter(pk=grant.pk).update(ledger_remaining=F("ledger_remaining") + cents, updated_at=at)
    return CreditTransaction.objects.create(
        customer_id=grant.customer_id, grant=grant, kind=kind, amount=Decimal(cents), occurred_at=at, notes=notes
    )
