from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from credits.models import (
    CreditDefinition,
    CreditGrant,
    CreditTransaction,
    GrantSource,
    Scope,
    TransactionKind,
)
from plans.models import Subscription, SubscriptionItem, SubscriptionPeriod
from plans.periods import midnight_after
from plans.services.time_zone import billing_zone


def grant_with_subscription(*, at: datetime, subscription: Subscription) -> list[CreditGrant]:
    """Write the grants that begin with a new subscription: renewing ones for its stored periods, and single ones.

    The caller holds the lock of the customer.
    """
    definitions = list(CreditDefinition.objects.granted_with(subscription.plan, subscription.price))
    single = [
        CreditGrant(
            subscription=subscription,
            starts_at=subscription.started_at,
            expires_at=expiry_of(definition, subscription.started_at),
            **_common(definition, subscription.customer_id, at),
        )
        for definition in definitions
        if not definition.renew_on_billing
    ]
    renewing = grant_for_periods(
        at=at, periods=SubscriptionPeriod.objects.filter(subscription=subscription), definitions=definitions
    )
    return write_grants(single, at=at) + renewing


def grant_for_periods(
    *, at: datetime, periods: Iterable[SubscriptionPeriod], definitions: Sequence[CreditDefinition] | None = None
) -> list[CreditGrant]:
    """Write the renewing grants of these periods that are not there yet, one per definition and period.

    A grant lives as long as its period. Without `definitions`, those of each subscription's plan and price apply. The
    caller holds the locks of the periods' subscriptions, so that nobody else writes the same.
    """
    by_subscription: dict[int, list[SubscriptionPeriod]] = defaultdict(list)
    for period in periods:
        by_subscription[period.subscription_id].append(period)
    subscriptions = Subscription.objects.filter(pk__in=by_subscription).prefetch_related("items__component")
    applying = _definitions_by_plan(subscriptions, definitions)
    wanted = []
    for subscription in subscriptions:
        items = list(subscription.items.all())
        for definition in applying[subscription.plan_id]:
            if definition.price_id in (None, subscription.price_id):
                item = item_of(definition, items)
                wanted += [
                    (definition, period) for period in by_subscription[subscription.pk] if period.item_id == item.pk
                ]
    there = set(
        CreditGrant.objects.filter(period__in=[period.pk for _, period in wanted]).values_list(
            "definition_id", "period_id"
        )
    )
    grants = [
        _grant_of_period(definition, period, at)
        for definition, period in wanted
        if (definition.pk, period.pk) not in there
    ]
    return write_grants(grants, at=at)


def _definitions_by_plan(
    subscriptions: Iterable[Subscription], definitions: Sequence[CreditDefinition] | None
) -> dict[int, list[CreditDefinition]]:
    if definitions is None:
        plans = {subscription.plan_id for subscription in subscriptions}
        definitions = list(CreditDefinition.objects.live().exclude(scope=Scope.MERCHANT).filter(plan__in=plans))
    by_plan: dict[int, list[CreditDefinition]] = defaultdict(list)
    for definition in definitions:
        if definition.renew_on_billing and definition.plan_id is not None:
            by_plan[definition.plan_id].append(definition)
    return by_plan


def item_of(definition: CreditDefinition, items: Sequence[SubscriptionItem]) -> SubscriptionItem:
    """The item whose clock renews a definition: its linked component's, else the shortest, its metric's first."""
    for item in items:
        if item.component is not None and item.component.component_id == definition.price_component_id:
            return item
    return min(items, key=lambda item: (item.clock.approximate_days, item.metric_id != definition.metric_id, item.pk))


def _grant_of_period(definition: CreditDefinition, period: SubscriptionPeriod, at: datetime) -> CreditGrant:
    common = _common(definition, period.customer_id, at)
    if period.number > 0:
        common["initial_amount"] = definition.renewal_amount
    return CreditGrant(
        subscription_id=period.subscription_id,
        period=period,
        starts_at=period.start_at,
        expires_at=period.end_at,
        **common,
    )


def _common(definition: CreditDefinition, customer_id: int, at: datetime) -> dict:
    return {
        "customer_id": customer_id,
        "metric_id": definition.metric_id,
        "definition": definition,
        "source": GrantSource.SUBSCRIPTION,
        "initial_amount": definition.default_amount,
        "priority": definition.priority,
        "created_at": at,
    }


def expiry_of(definition: CreditDefinition, granted_at: datetime) -> datetime | None:
    """When a grant of this definition expires that does not follow a period: `expiry_days` after it was granted,
    widened to the next local midnight; None for never."""
    if definition.expiry_days is None:
        return None
    return midnight_after(granted_at + timedelta(days=definition.expiry_days), billing_zone())


def write_grants(grants: Sequence[CreditGrant], *, at: datetime) -> list[CreditGrant]:
    """Store new grants together with the ledger rows that give them their units."""
    for grant in grants:
        grant.ledger_remaining = grant.initial_amount
    written = CreditGrant.objects.bulk_create(grants, batch_size=1000)
    CreditTransaction.objects.bulk_create(
        (
            CreditTransaction(
                customer_id=grant.customer_id,
                grant=grant,
                kind=TransactionKind.GRANTED,
                amount=grant.initial_amount,
                occurred_at=at,
            )
            for grant in written
        ),
        batch_size=1000,
    )
    return written
