from datetime import datetime
from decimal import Decimal

from django.db.models import Max, Q, QuerySet

from credits.models import CreditGrant, CreditTransaction, GrantSource, SubscriptionCredit, TransactionKind
from plans.models import Subscription


def withdraw_grants(*, subscription: Subscription, at: datetime) -> None:
    """Delete the grants of a subscription's plan that begin at an instant or later, with their ledger rows.

    Where that instant lies behind, one may have rows that were written after it had begun, such as an operator's
    correction. These stay for ever, so it is revoked from its start on; that of a period, which is no more, belongs to
    no subscription either. The caller holds the locks of the subscription's balances.
    """
    ahead = list(_of_plan(subscription).filter(starts_at__gte=at).annotate(moved_at=Max("transactions__occurred_at")))
    begun = [grant for grant in ahead if grant.moved_at > grant.starts_at]
    CreditTransaction.objects.bulk_create(_revoked(grant, grant.moved_at) for grant in begun if grant.ledger_remaining)
    for grant in begun:
        grant.ledger_remaining, grant.revoked_at = Decimal(0), grant.starts_at
        if grant.period_id is not None:
            grant.period, grant.subscription = None, None
            grant.notes = f"{grant.notes} Withdrawn: {subscription.public_id} ended before it began.".lstrip()
    CreditGrant.objects.bulk_update(begun, ["ledger_remaining", "revoked_at", "period", "subscription", "notes"])
    deleted = [grant.pk for grant in ahead if grant not in begun]
    CreditTransaction.objects.filter(grant__in=deleted).delete()
    CreditGrant.objects.filter(pk__in=deleted).delete()
    SubscriptionCredit.objects.filter(subscription=subscription, refilled_until__gte=at).update(refilled_until=None)


def end_plan_grants(*, subscription: Subscription, at: datetime) -> None:
    """Let what a subscription was granted by its plan end at an instant; what is left of it expires with the settlement
    of the usage before. The caller holds the locks of the subscription's balances."""
    current = _of_plan(subscription).filter(Q(expires_at=None) | Q(expires_at__gt=at), revoked_at=None)
    current.filter(starts_at__lt=at).update(revoked_at=at, updated_at=at)


def revoke_plan_grants(*, subscription: Subscription, at: datetime) -> None:
    """End what a subscription's plan grants again and again, when all usage before is settled: what is left goes at
    once, and late usage does not get it back. What was granted once, and what had rolled over, stays. The caller holds
    the locks of the subscription's balances."""
    grants = list(
        _of_plan(subscription)
        .filter(Q(period__isnull=False) | Q(refill_number__isnull=False), rolled_from=None, revoked_at=None)
        .filter(Q(expires_at=None) | Q(expires_at__gt=at))
        .select_for_update(no_key=True)
        .order_by("pk")
    )
    CreditTransaction.objects.bulk_create(_revoked(grant, at) for grant in grants if grant.ledger_remaining > 0)
    for grant in grants:
        grant.ledger_remaining, grant.revoked_at = Decimal(0), max(at, grant.starts_at)
    CreditGrant.objects.bulk_update(grants, ["ledger_remaining", "revoked_at"])


def _revoked(grant: CreditGrant, at: datetime) -> CreditTransaction:
    return CreditTransaction(
        customer_id=grant.customer_id,
        grant=grant,
        kind=TransactionKind.REVOKED,
        amount=-grant.ledger_remaining,
        occurred_at=at,
    )


def _of_plan(subscription: Subscription) -> QuerySet[CreditGrant]:
    return CreditGrant.objects.filter(subscription=subscription, source=GrantSource.SUBSCRIPTION)
