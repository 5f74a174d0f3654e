"""What limits a feature of a running subscription once its quota was taken away from it.

Ruling: the number that was sold with the feature, if it is one. Without a number, a metric that the price charges is
pay as you go. Where nothing is charged either, the limit is 0 and other grants count: to take a quota away never opens
what was capped.
"""

from collections.abc import Collection
from decimal import Decimal

from credits.models import CreditDefinition, SubscriptionCredit
from plans.models import FeatureSource, SubscriptionFeature, SubscriptionItem


def limit_without_quota(subscriptions: Collection[int], definition: CreditDefinition) -> None:
    """Let subscriptions that have lost a definition fall back on what they were sold beside it. A quota that goes on,
    of this definition's current period or of another definition, takes the place of that while it lasts."""
    metric = definition.metric_id
    if metric is None:
        return
    having = SubscriptionCredit.objects.filter(definition__metric=metric, subscription__in=subscriptions)
    without = set(subscriptions) - set(having.values_list("subscription_id", flat=True))
    copies = SubscriptionFeature.objects.filter(
        subscription__in=without, source=FeatureSource.PLAN, feature__metrics=metric
    )
    included: dict[int, Decimal] = {}
    for copy in copies:
        number = _number(copy.value)
        if number is not None:
            included[copy.subscription_id] = included.get(copy.subscription_id, Decimal(0)) + number
        elif copy.value is not False and not _is_charged_or_capped(copy):
            SubscriptionFeature.objects.filter(pk=copy.pk).update(value=0)
    if definition.renews:
        _include(included, metric)


def _number(value: object) -> Decimal | None:
    return Decimal(str(value)) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _is_charged_or_capped(copy: SubscriptionFeature) -> bool:
    """Tell whether the subscription's price charges a metric of the feature, or another quota counts one."""
    metrics = copy.feature.metrics.all()
    charged = SubscriptionItem.objects.filter(
        subscription=copy.subscription_id, metric__in=metrics, component__isnull=False, ended_at=None
    )
    capped = SubscriptionCredit.objects.filter(subscription=copy.subscription_id, definition__metric__in=metrics)
    return charged.exists() or capped.exists()


def _include(included: dict[int, Decimal], metric: int) -> None:
    """Include a feature's numbers in each period again, which a renewing quota had taken the place of; in periods that
    have one it still does."""
    items = list(SubscriptionItem.objects.filter(subscription__in=included, metric=metric))
    for item in items:
        item.feature_units = included[item.subscription_id]
    SubscriptionItem.objects.bulk_update(items, ["feature_units"], batch_size=500)
