"""Credits that are given per seat: one pool of the organization, which grows with the units that it pays for.

Ruling: what is added within a period has a grant of its own, shared by the local days that are left and rounded up to
whole units; like every quota it counts from the start of the period on. Grants that have not begun follow the units
that will be paid for then.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from django.db.models import Min, Q

from credits.models import CreditGrant, CreditTransaction, SubscriptionCredit, TransactionKind
from credits.services.renew import (
    amount_of_period,
    grant_for_periods,
    grant_of_period,
    item_of,
    items_of_subscriptions,
)
from credits.services.write_grants import write_grants
from plans.models import AddedUnits, ComponentKind, PeriodKind, Subscription, SubscriptionItem, SubscriptionPeriod
from plans.services.parts import share_from
from plans.services.units import PaidUnits, is_of_units

_INSTANT = timedelta(microseconds=1)


def grant_for_added_units(added: Iterable[AddedUnits], *, at: datetime) -> list[CreditGrant]:
    """Write what units that were added bring with them for the periods that have begun and are not settled. The caller
    holds the locks of their subscriptions; their periods must be loaded."""
    added = list(added)
    credits = _per_seat({one.period.subscription_id for one in added})
    if not credits:
        return []
    items = items_of_subscriptions({credit.subscription_id for credit in credits})
    grants = []
    for one in added:
        of_subscription = items.get(one.period.subscription_id, [])
        if one.period.item_id != _counting_item(of_subscription):
            continue
        for credit in credits:
            if credit.subscription_id == one.period.subscription_id:
                grants += _grants_of(credit, one, item_of(credit, of_subscription), at)
    return write_grants(grants, at=at)


def _per_seat(subscriptions: Iterable[int]) -> list[SubscriptionCredit]:
    credits = SubscriptionCredit.objects.filter(subscription__in=subscriptions, per_seat=True)
    return list(credits.select_related("definition").order_by("pk"))


def _counting_item(items: Sequence[SubscriptionItem]) -> int | None:
    """The item whose units count: that of the first per-unit component."""
    places = [
        (item.component.position, item.pk)
        for item in items
        if item.component is not None and is_of_units(item) and item.ended_at is None
    ]
    return min(places)[1] if places else None


def _grants_of(
    credit: SubscriptionCredit, added: AddedUnits, item: SubscriptionItem, at: datetime
) -> list[CreditGrant]:
    begun = SubscriptionPeriod.objects.filter(
        item=item, start_at__lte=at, start_at__lt=added.period.end_at, end_at__gt=added.needed_at, settled_at=None
    ).exclude(kind=PeriodKind.PAUSE)
    grants = []
    for period in begun.order_by("start_at"):
        share = share_from(period, added.needed_at)
        amount = math.ceil(Fraction(amount_of_period(credit, period)) * added.units * share)
        if amount > 0:
            note = f"{added.units} added within the period."
            grants.append(
                grant_of_period(
                    credit, period, at, amount=Decimal(amount), seats=added.units, added_units=added, notes=note
                )
            )
    return grants


def follow_units_ahead(subscription: Subscription, *, at: datetime) -> None:
    """Let the grants of a subscription that have not begun hold what the units then are worth. The caller holds the
    locks of the subscription and of its balances."""
    _follow_from({subscription.pk: at + _INSTANT}, at)


def follow_closed_units(periods: Collection[int], *, at: datetime) -> None:
    """Let the grants of the periods that begin with units which were just billed, or later, hold what these are worth:
    the grants were written a period ahead, and members came and went since. The caller holds the locks of the
    subscriptions."""
    billed = SubscriptionPeriod.objects.filter(
        pk__in=periods, kind=PeriodKind.REGULAR, item__component__kind=ComponentKind.PER_UNIT
    )
    _follow_from(dict(billed.values_list("subscription").annotate(Min("start_at"))), at)


def _follow_from(since: Mapping[int, datetime], at: datetime) -> None:
    """Let the per-seat grants of subscriptions, by their keys, that begin at an instant or later follow their units."""
    credits = {(credit.subscription_id, credit.definition_id): credit for credit in _per_seat(set(since))}
    if not credits:
        return
    counted = {subscription: since[subscription] for subscription, _ in credits}
    of_these = Q()
    for subscription, start_at in counted.items():
        of_these |= Q(subscription=subscription, start_at__gte=start_at)
    periods = SubscriptionPeriod.objects.filter(of_these, settled_at=None).exclude(kind=PeriodKind.PAUSE)
    paid = PaidUnits(counted, since=min(counted.values()))
    followed = CreditGrant.objects.filter(
        period__in=periods, seats__isnull=False, added_units=None, revoked_at=None
    ).select_related("period")
    grants = [
        grant
        for grant in followed.select_for_update(no_key=True, of=("self",)).order_by("pk")
        if (grant.subscription_id, grant.definition_id) in credits
    ]
    rows = []
    for grant in grants:
        assert grant.subscription_id is not None
        credit = credits[grant.subscription_id, grant.definition_id]
        row = _follow(grant, credit, paid.at(grant.subscription_id, grant.starts_at), at)
        rows += [] if row is None else [row]
    CreditGrant.objects.bulk_update(grants, ["seats", "adjusted_amount", "ledger_remaining", "updated_at"])
    CreditTransaction.objects.bulk_create(rows)
    grant_for_periods(at=at, periods=periods.select_related("item"))


def _follow(grant: CreditGrant, credit: SubscriptionCredit, units: int, at: datetime) -> CreditTransaction | None:
    assert grant.period is not None
    assert grant.seats is not None
    difference = max(amount_of_period(credit, grant.period) * (units - grant.seats), -grant.ledger_remaining)
    grant.seats = units
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
        # It is what the grant begins with, however late that is found out.
        occurred_at=min(at, grant.starts_at - _INSTANT),
        notes=f"{units} are paid for.",
    )
