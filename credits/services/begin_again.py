"""The grants that do not follow periods, when a version of a subscription follows another, or one is resumed."""

from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Max, Sum

from credits.models import CreditGrant, CreditTransaction, SubscriptionCredit, TransactionKind
from credits.services.refill import end_of_refill, refill_clock, write_refills
from credits.services.write_grants import expiry_of, grant_of, write_grants
from plans.models import Subscription


def begin_again(*, subscription: Subscription, at: datetime) -> list[CreditGrant]:
    """Write what a version that follows another is granted once, and what its calendars grant.

    What is granted once is granted to one of the versions only. A calendar starts with the version, with its first
    amount less what calendars of the versions before paid for within one turn: changing back and forth gives no more.
    The caller holds the locks of the balances.
    """
    credits = list(
        SubscriptionCredit.objects.filter(subscription=subscription, renew_on_billing=False)
        .select_related("definition", "subscription")
        .order_by("pk")
    )
    single = [_granted_once(credit, at) for credit in credits if not credit.refill_rrule and not _was_granted(credit)]
    calendars = [credit for credit in credits if credit.refill_rrule]
    first = [_first_refill(credit, at) for credit in calendars]
    grants = write_grants([*single, *(grant for grant in first if grant is not None)], at=at)
    for credit in calendars:
        credit.refilled_until = at
    return grants + write_refills(calendars, at=at)


def refill_again(*, subscription: Subscription, fresh: bool, at: datetime) -> list[CreditGrant]:
    """Let the calendars of a subscription turn again that stopped with a pause: from their next turn on, and with
    `fresh` at once, too. The caller holds the locks of the balances."""
    calendars = list(
        SubscriptionCredit.objects.filter(subscription=subscription, renew_on_billing=False)
        .exclude(refill_rrule="")
        .select_related("definition", "subscription")
        .order_by("pk")
    )
    grants = write_grants([_next_refill(credit, at) for credit in calendars], at=at) if fresh else []
    for credit in calendars:
        credit.refilled_until = at
    return grants + write_refills(calendars, at=at)


def _next_refill(credit: SubscriptionCredit, at: datetime) -> CreditGrant:
    refills = CreditGrant.objects.filter(definition=credit.definition_id, subscription=credit.subscription_id)
    last = refills.aggregate(number=Max("refill_number"))["number"]
    return grant_of(
        credit,
        credit.subscription.customer_id,
        initial_amount=credit.renewal_amount,
        refill_number=0 if last is None else last + 1,
        starts_at=at,
        expires_at=end_of_refill(credit, at),
        created_at=at,
    )


def _versions(credit: SubscriptionCredit) -> dict[str, str]:
    return {"subscription__stable_subscription_id": credit.subscription.stable_subscription_id}


def _was_granted(credit: SubscriptionCredit) -> bool:
    return CreditGrant.objects.filter(
        definition=credit.definition_id, period=None, rolled_from=None, **_versions(credit)
    ).exists()


def _granted_once(credit: SubscriptionCredit, at: datetime) -> CreditGrant:
    return grant_of(
        credit,
        credit.subscription.customer_id,
        starts_at=at,
        expires_at=expiry_of(credit, at),
        created_at=at,
    )


def _first_refill(credit: SubscriptionCredit, at: datetime) -> CreditGrant | None:
    left = credit.default_amount - _paid_by_calendars(credit, at)
    if left <= 0:
        return None
    return grant_of(
        credit,
        credit.subscription.customer_id,
        initial_amount=left,
        refill_number=0,
        starts_at=at,
        expires_at=end_of_refill(credit, at),
        created_at=at,
    )


def _paid_by_calendars(credit: SubscriptionCredit, at: datetime) -> Decimal:
    """What refills of the versions before that began within one turn of the calendar have paid for."""
    turn = timedelta(days=refill_clock(credit.refill_rrule).approximate_days)
    moved = CreditTransaction.objects.filter(
        grant__in=CreditGrant.objects.filter(
            refill_number__isnull=False,
            metric=credit.definition.metric_id,
            currency=credit.definition.currency,
            starts_at__gt=at - turn,
            **_versions(credit),
        ),
        kind__in=(TransactionKind.BURNED, TransactionKind.RETURNED),
    )
    return -(moved.aggregate(units=Sum("amount"))["units"] or Decimal(0))
