from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import BooleanField, Case, Q, When

from plans.models import (
    ComponentKind,
    Customer,
    PeriodKind,
    PlanFeature,
    Price,
    PriceComponent,
    Subscription,
    SubscriptionFeature,
    SubscriptionItem,
    SubscriptionPeriod,
)
from plans.periods import shortest
from plans.refusals import InvalidInput, NotFound, Refusal
from plans.services.item_periods import store_periods

MOST_DAYS_BACKDATED = 3 * 366
MOST_DAYS_AHEAD = 5 * 366
ALREADY_METERED = "Another subscription of this customer meters the same metric; its usage would be counted twice."


class SubscriptionNotFound(NotFound):
    code = "subscription_not_found"


class SubscriptionEnded(NotFound):
    """The subscription has ended, or was never there."""

    code = "subscription_not_found"

    def __init__(self) -> None:
        super().__init__("Subscription not found or already ended")


class SubscriptionNotActive(Refusal):
    """What is asked for needs a subscription that runs, and this one is paused or unpaid."""

    code = "subscription_not_active"
    status = 409


class PriceHasNoComponents(InvalidInput):
    """The price charges nothing and has no clock, so a subscription to it would have no periods."""

    code = "price_has_no_components"


class AlreadySubscribed(Refusal):
    """The customer has a live subscription and did not ask for several."""

    code = "already_subscribed"
    status = 409


class MetricAlreadyPriced(Refusal):
    """A live subscription of the customer meters the same metric: its usage would be counted twice."""

    code = "metric_already_priced"
    status = 409


def find_subscription(identifier: str) -> Subscription:
    """Return a subscription by its id, or the latest version of a stable id. Raises SubscriptionNotFound."""
    kept = Subscription.objects.filter(deleted_at__isnull=True)
    subscription = (
        kept.filter(public_id=identifier).first()
        or kept.filter(stable_subscription_id=identifier).order_by("-version_number").first()
    )
    if subscription is None:
        raise SubscriptionNotFound("Subscription not found or access denied")
    return subscription


def find_running(identifier: str) -> Subscription:
    """Return a subscription that has not ended, by its id or its stable id. Raises SubscriptionEnded."""
    live = Subscription.objects.live().select_related("price", "plan", "customer")
    subscription = live.filter(Q(public_id=identifier) | Q(stable_subscription_id=identifier)).first()
    if subscription is None:
        raise SubscriptionEnded
    return subscription


@transaction.atomic
def open_subscription(
    *,
    at: datetime,
    customer: Customer,
    price: Price,
    started_at: datetime,
    trial_ends_at: datetime | None = None,
    beside_others: bool = False,
    metadata: dict[str, Any] | None = None,
    metrics_with_quota: Collection[int] = (),
) -> Subscription:
    """Write a subscription with its items, its copied features, and its periods up to the one after `at`.

    With `trial_ends_at` its clocks start there, and a trial comes before them.

    A numeric feature value includes its units in each period, but for `metrics_with_quota`, the keys of those for
    which the plan has credit definitions: there the grants are the allowance. Locks the customer.

    Raises InvalidInput for a start too far away, PriceHasNoComponents, AlreadySubscribed, MetricAlreadyPriced.
    """
    check_components(price)
    if not at - timedelta(days=MOST_DAYS_BACKDATED) <= started_at <= at + timedelta(days=MOST_DAYS_AHEAD):
        raise InvalidInput.at("startTimestamp", "must lie within the past three years and the coming five.")
    Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    if not beside_others and Subscription.objects.live().filter(customer=customer).exists():
        raise AlreadySubscribed(
            "Customer already has an active subscription. Use dangerouslyAllowMultipleSubscriptions to override."
        )
    with meter_once():
        subscription = Subscription.objects.create(
            customer=customer,
            plan_id=price.plan_id,
            price=price,
            started_at=started_at,
            trial_ends_at=trial_ends_at,
            beside_others=beside_others,
            metadata=metadata or {},
            created_at=at,
        )
        items = write_items(
            subscription, metrics_with_quota, clock_started_at=trial_ends_at or started_at, started_at=started_at
        )
    copy_features(subscription)
    store_periods(items=items, through=max(at, started_at))
    return subscription


@contextmanager
def meter_once() -> Iterator[None]:
    """Say by name that another live subscription meters the same metric, when the database refuses new items for it.
    Raises MetricAlreadyPriced."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        if "customer_metric_is_metered_once" in str(error):
            raise MetricAlreadyPriced(ALREADY_METERED) from None
        raise


def metrics_of_price(price: Price) -> set[int]:
    """The metrics that a subscription at a price meters: those of its components, and those of its plan's features."""
    metered = {_metered_by(component) for component in price.components.all()} | set(_metered_features(price.plan_id))
    return {metric for metric in metered if metric is not None}


def check_components(price: Price) -> None:
    """Raise PriceHasNoComponents for a price that nobody can subscribe to."""
    if not price.components.exists():
        raise PriceHasNoComponents.at(
            "priceId", "is a price without any component, so it has no period. Create another price for the plan."
        )


def write_items(
    subscription: Subscription,
    metrics_with_quota: Collection[int],
    *,
    clock_started_at: datetime,
    started_at: datetime,
) -> list[SubscriptionItem]:
    """Write an item per component, and one per metric that the plan gives without a price for it.

    Their clocks count from `clock_started_at`; their periods begin at `started_at`.
    """
    metered = _metered_features(subscription.plan_id)
    included = {metric: 0 if metric in metrics_with_quota else units for metric, units in metered.items()}
    components = list(subscription.price.components.select_related("price"))
    common = {
        "subscription": subscription,
        "customer_id": subscription.customer_id,
        "clock_started_at": clock_started_at,
        "started_at": started_at,
    }
    items = [
        SubscriptionItem(
            component=component,
            metric_id=_metered_by(component),
            frequency=component.frequency,
            interval=component.interval,
            included_units=_included_units(component),
            feature_units=included.get(_metered_by(component) or 0, 0),
            quantity=max(component.minimum_quantity, 1),
            **common,
        )
        for component in components
    ]
    priced = {_metered_by(component) for component in components}
    clock = shortest(component.clock for component in components)
    items += [
        SubscriptionItem(
            metric_id=metric_id,
            frequency=clock.frequency,
            interval=clock.interval,
            feature_units=units,
            **common,
        )
        for metric_id, units in sorted(included.items())
        if metric_id not in priced
    ]
    return SubscriptionItem.objects.bulk_create(items)


def _metered_by(component: PriceComponent) -> int | None:
    """The metric whose usage a component charges; units in advance are not metered, whatever metric counts them."""
    return component.metric_id if component.kind == ComponentKind.USAGE else None


def _included_units(component: PriceComponent) -> Decimal:
    """What a usage component includes in each period, in metered units."""
    if component.kind != ComponentKind.USAGE:
        return Decimal(0)
    return component.charge(component.price.currency).included_metered_units


def _metered_features(plan_id: int) -> dict[int, Decimal]:
    """The metrics of a plan's features, each with the units that a numeric feature value includes in a period."""
    sold = PlanFeature.objects.filter(plan_id=plan_id, feature__metrics__deleted_at__isnull=True).exclude(
        feature__metrics=None
    )
    units: dict[int, Decimal] = {}
    for metric_id, value in sold.values_list("feature__metrics", "value"):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        units[metric_id] = units.get(metric_id, Decimal(0)) + (Decimal(str(value)) if is_number else 0)
    return units


def copy_features(subscription: Subscription) -> None:
    """Write down the features that a subscription is sold with: the copy that entitlements are read from."""
    SubscriptionFeature.objects.bulk_create(
        SubscriptionFeature(
            subscription=subscription,
            customer_id=subscription.customer_id,
            feature_id=sold.feature_id,
            value=sold.value,
            overage=sold.overage,
        )
        for sold in PlanFeature.objects.filter(plan_id=subscription.plan_id)
    )


def current_periods(subscriptions: Sequence[Subscription], at: datetime) -> dict[int, SubscriptionPeriod]:
    """Find each subscription's current period at `at`, of its shortest clock, of one without an end where there is one;
    before its start the first one, after its end the last one."""
    periods = SubscriptionPeriod.objects.filter(subscription__in=subscriptions).exclude(kind=PeriodKind.PAUSE)
    periods = periods.alias(clock_has_end=_CLOCK_HAS_END)
    first = ("subscription_id", "clock_has_end")
    current = periods.filter(start_at__lte=at, end_at__gt=at).order_by(*first, "end_at", "-start_at")
    found = {period.subscription_id: period for period in current.distinct("subscription_id")}
    ahead = periods.filter(start_at__gt=at).order_by(*first, "start_at", "end_at")
    behind = periods.filter(end_at__lte=at).exclude(subscription__in=found).order_by(*first, "-end_at", "-start_at")
    others = {period.subscription_id: period for period in behind.distinct("subscription_id")}
    return {period.subscription_id: period for period in ahead.distinct("subscription_id")} | others | found


# Of a metric that nothing prices there is no component; its clock goes on.
_CLOCK_HAS_END = Case(
    When(item__component__recurrence_count__isnull=False, then=True),
    When(item__component__recurrence_until__gt="", then=True),
    default=False,
    output_field=BooleanField(),
)
