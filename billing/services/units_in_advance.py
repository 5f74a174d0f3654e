from collections import defaultdict
from collections.abc import Mapping, Sequence

from billing.services.billed_periods import BilledItem, Stretch
from plans.models import ComponentKind, PriceComponent, SubscriptionPeriod
from plans.services.units import units_over_time


class UnitsInAdvance:
    """The units that subscriptions were billed in advance, such as seats, in stretches of time."""

    def __init__(self, items: Mapping[int, Sequence[BilledItem]], stretches: Mapping[int, Stretch]) -> None:
        fees = {item.pk for subscription in stretches for item in items[subscription] if item.metric_id is None}
        periods = list(
            SubscriptionPeriod.objects.filter(
                closed_at__isnull=False, item__in=fees, item__component__kind=ComponentKind.PER_UNIT
            )
            .select_related("item__component", "customer")
            .order_by("start_at")
        )
        paid = units_over_time(periods)
        self._components: dict[int, dict[int, PriceComponent]] = defaultdict(dict)
        self._billed: dict[int, list[tuple[Stretch, int]]] = defaultdict(list)
        for period in periods:
            assert period.item.component is not None
            self._components[period.subscription_id][period.item_id] = period.item.component
            stretch = stretches[period.subscription_id]
            ends = [start_at for start_at, _ in paid[period.pk][1:]] + [period.end_at]
            for (start_at, units), end_at in zip(paid[period.pk], ends, strict=True):
                within = Stretch(max(start_at, stretch.start_at), min(end_at, stretch.end_at), 0)
                if within.start_at < within.end_at:
                    self._billed[period.item_id].append((within, units))

    def billed_for(
        self, part: PriceComponent, subscription: int, *, alone: bool
    ) -> Sequence[tuple[Stretch, int]] | None:
        """Tell the parts of a subscription's stretch with the units that were billed in them for the same as `part`
        would bill: by a component with its id, or else its metric, or else, if it is `alone` in its price, by the only
        one there is. None where nothing was."""
        sold = self._components.get(subscription, {})
        same_id = [key for key, one in sold.items() if one.component_id == part.component_id]
        same_metric = [
            key for key, one in sold.items() if one.metric_id is not None and one.metric_id == part.metric_id
        ]
        only_one = list(sold) if alone and len(sold) == 1 else []
        found = same_id or same_metric or only_one
        return self._billed[found[0]] if found else None
