"""What a definition that is made or changed later does to subscriptions that run already."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from django.db.models import F, Q, QuerySet

from credits.models import (
    CreditDefinition,
    CreditGrant,
    CreditTransaction,
    Scope,
    SubscriptionCredit,
    TransactionKind,
)
from credits.services.refill import end_of_refill, write_refills
from credits.services.renew import begin_credits, copy_credits, grant_for_periods, period_expiry
from credits.services.without_quota import limit_without_quota
from credits.services.write_grants import expiry_of
from plans.models import Subscription, SubscriptionPeriod
from plans.models.subscriptions import SubscriptionQuerySet
from plans.refusals import InvalidInput


def sell_to_running(definition: CreditDefinition, *, at: datetime) -> None:
    """Copy a definition to the running subscriptions that it belongs to and that do not have it, and grant from their
    next renewal on: the next period, or the next turn of its calendar. One that has not begun gets all of it.

    The caller holds the lock of the plan, so that nobody subscribes meanwhile.
    """
    if definition.scope == Scope.MERCHANT:
        return
    having = SubscriptionCredit.objects.filter(definition=definition)
    subscriptions = _subscriptions_of(definition).exclude(pk__in=having.values("subscription"))
    if not definition.renews:
        subscriptions = subscriptions.filter(started_at__gt=at)
    locked = subscriptions.select_related("price").select_for_update(no_key=True, of=("self",)).order_by("pk")
    credits = copy_credits([definition], locked, at=at)
    begin_credits([credit for credit in credits if credit.subscription.started_at > at], at=at)
    refilled = [credit for credit in credits if credit.refill_rrule and credit.subscription.started_at <= at]
    for credit in refilled:
        credit.refilled_until = at
    write_refills(refilled, at=at)
    ahead = SubscriptionPeriod.objects.filter(
        subscription__in=[credit.subscription_id for credit in credits], start_at__gt=at
    ).select_related("item")
    grant_for_periods(at=at, periods=ahead)


def _subscriptions_of(definition: CreditDefinition) -> SubscriptionQuerySet:
    subscriptions = Subscription.objects.live().filter(plan=definition.plan)
    return subscriptions if definition.price_id is None else subscriptions.filter(price_id=definition.price_id)


def apply_to_running(definition: CreditDefinition, *, at: datetime) -> None:
    """Let a changed definition reach what was sold: the copies of running subscriptions, and their grants that have not
    begun. One that is switched off or deleted stops there, and what the plan says of the feature without it holds from
    the next period on.

    The caller holds the lock of the plan. Raises InvalidInput when a copy renews in another way: the grants that are
    written ahead would overlap or leave a gap.
    """
    copies = SubscriptionCredit.objects.filter(definition=definition, subscription__in=Subscription.objects.live())
    credits = list(_locked(copies))
    if definition.is_active and definition.deleted_at is None:
        before = {credit.subscription_id: (credit.default_amount, credit.renewal_amount) for credit in credits}
        for credit in credits:
            _change_terms(credit, definition, at)
        SubscriptionCredit.objects.bulk_update(credits, [*definition.terms(), "refilled_until"], batch_size=500)
        # A calendar that had ended may go on now.
        write_refills([credit for credit in credits if credit.refilled_until == at], at=at)
        sell_to_running(definition, at=at)
        _move_grants({credit.subscription_id: credit for credit in _locked(copies)}, before, definition, at)
    else:
        subscriptions = {credit.subscription_id for credit in credits}
        _stop_grants(subscriptions, definition, at)
        copies.filter(pk__in=[credit.pk for credit in credits]).delete()
        limit_without_quota(subscriptions, definition)


def _locked(copies: QuerySet[SubscriptionCredit]) -> QuerySet[SubscriptionCredit]:
    joined = copies.select_related("definition", "subscription")
    return joined.select_for_update(no_key=True, of=("self", "subscription")).order_by("pk")


def _change_terms(credit: SubscriptionCredit, definition: CreditDefinition, at: datetime) -> None:
    ways = [(terms.renew_on_billing, bool(terms.refill_rrule), terms.per_seat) for terms in (credit, definition)]
    if ways[0] != ways[1]:
        raise InvalidInput.at(
            "applyToExisting",
            "cannot be used when a definition renews in another way (renewOnBilling, refillRrule, perSeat) than what "
            "was sold; without it the change reaches new subscriptions.",
        )
    if definition.refill_rrule != credit.refill_rrule and credit.refilled_until is None:
        credit.refilled_until = at
    for name, value in definition.terms().items():
        setattr(credit, name, value)


def _ahead(subscriptions: Collection[int], definition: CreditDefinition, at: datetime) -> QuerySet[CreditGrant]:
    """Grants that were sold and have not begun, locked; what an operator has revoked is left out."""
    sold = CreditGrant.objects.filter(
        definition=definition, subscription__in=subscriptions, rolled_from=None, starts_at__gt=at
    )
    # What a change has stopped holds nothing since then. Refills that go on are written anew.
    stopped = Q(initial_amount=-F("adjusted_amount")) & (Q(refill_number=None) | Q(refill_number=0))
    kept = sold.filter(Q(revoked_at=None) | stopped).select_related("period", "subscription")
    return kept.select_for_update(no_key=True, of=("self",)).order_by("pk")


def _stop_grants(subscriptions: Collection[int], definition: CreditDefinition, at: datetime) -> None:
    stopped = list(_ahead(subscriptions, definition, at))
    movements = [_move(grant, -grant.ledger_remaining, at) for grant in stopped]
    for grant in stopped:
        grant.revoked_at = grant.starts_at
    _write(stopped, movements)


def _move_grants(
    credits: Mapping[int, SubscriptionCredit],
    before: Mapping[int, tuple[Decimal, Decimal]],
    definition: CreditDefinition,
    at: datetime,
) -> None:
    """Move grants by as much as their terms did, so that what an operator added to one stays. One that a change had
    stopped gets all of what its terms say."""
    moved = list(_ahead(credits.keys(), definition, at))
    movements = []
    for grant in moved:
        assert grant.subscription_id is not None
        credit = credits[grant.subscription_id]
        is_first = not grant.refill_number if grant.period is None else grant.period.number == 0
        wanted = credit.default_amount if is_first else credit.renewal_amount
        if grant.revoked_at is not None:
            difference = wanted
        elif grant.subscription_id in before:
            difference = wanted - before[grant.subscription_id][0 if is_first else 1]
        else:
            # Just sold, and written by these terms.
            difference = Decimal(0)
        if grant.seats is not None:
            difference *= grant.seats
        movements.append(_move(grant, max(difference, -grant.ledger_remaining), at))
        grant.revoked_at = None
        grant.priority = credit.priority
        grant.expires_at = _expiry(grant, credit)
        if grant.period is not None:
            grant.rolls_over = credit.rolls_over
            grant.rollover_cap, grant.rollover_days = credit.rollover_cap, credit.rollover_days
    _write(moved, movements)


def _expiry(grant: CreditGrant, credit: SubscriptionCredit) -> datetime | None:
    if grant.period is not None:
        return period_expiry(credit, grant.period)
    return end_of_refill(credit, grant.starts_at) if credit.refill_rrule else expiry_of(credit, grant.starts_at)


def _move(grant: CreditGrant, difference: Decimal, at: datetime) -> CreditTransaction | None:
    """Change what a grant that has not begun holds; return the row for the ledger, if there is a difference."""
    grant.adjusted_amount += difference
    grant.ledger_remaining += difference
    grant.updated_at = at
    if not difference:
        return None
    return CreditTransaction(
        customer_id=grant.customer_id,
        grant=grant,
        kind=TransactionKind.ADJUSTED,
        amount=difference,
        occurred_at=at,
        notes="The definition was changed.",
    )


def _write(grants: Sequence[CreditGrant], movements: Iterable[CreditTransaction | None]) -> None:
    CreditGrant.objects.bulk_update(grants, _MOVED, batch_size=500)
    CreditTransaction.objects.bulk_create([one for one in movements if one is not None], batch_size=1000)


_MOVED = [
    "adjusted_amount",
    "ledger_remaining",
    "revoked_at",
    "priority",
    "expires_at",
    "rolls_over",
    "rollover_cap",
    "rollover_days",
    "updated_at",
]
