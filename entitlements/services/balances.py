"""What consume and reserve share: to find a feature that units can be taken of, and to hold its balance still."""

import json
from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from credits.services.positions import Pair, lock_balances
from entitlements.exact_count import Counting
from entitlements.services.check import UsableFeature, find_feature_for_use
from plans.models.metrics import ADDITIVE
from plans.prepared import run_prepared
from plans.refusals import Refusal

# A door reads the clock before it waits for the lock, so the instants of two calls can come in another order than the
# calls themselves. Whoever gives units out again ends reservations that have expired by his instant, so that no commit
# of an earlier instant comes after him, and decides at an instant at which every reservation made before him is held.
_STAND = """
WITH expired AS (
    UPDATE credits_reservation SET released_at = expires_at
    WHERE customer_id = %(customer)s::bigint AND metric_id = %(metric)s::bigint
        AND committed_at IS NULL AND released_at IS NULL AND expires_at <= %(at)s::timestamptz
)
SELECT metric.aggregation_type, version.event_name, version.property_filter, version.value_property,
    (
        SELECT max(reserved_at) FROM credits_reservation
        WHERE customer_id = %(customer)s::bigint AND metric_id = metric.id
            AND committed_at IS NULL AND released_at IS NULL AND expires_at > %(at)s::timestamptz
    ),
    ARRAY(
        SELECT idempotency_key FROM metering_usageevent
        WHERE COALESCE(member_id, customer_id) = %(addressee)s::bigint AND idempotency_key = ANY(%(keys)s::text[])
    )
FROM plans_metric metric JOIN plans_metricversion version ON version.id = metric.current_id
WHERE metric.id = %(metric)s::bigint
"""
_MOST_REMEMBERED = 10_000


class NotConsumable(Refusal):
    """The feature is not measured in units that can be taken one after the other."""

    code = "feature_not_consumable"


class Use(NamedTuple):
    """Whose feature is to be used: a customer by our id, or (`external`) by its own, and the feature's slug."""

    customer: str
    external: bool
    slug: str


class LockedFeature(NamedTuple):
    """A feature whose balance is locked. `pair` is the customer that has the units, and the metric; `addressee` is the
    key of who was addressed."""

    usable: UsableFeature
    pair: Pair

    @property
    def addressee(self) -> int:
        return self.usable.member or self.usable.payer


class Standing(NamedTuple):
    """What else decides about a locked balance: how its metric counts, the instant to decide at, and which of the
    callers' idempotency keys stand for an event already."""

    counting: Counting
    at: datetime
    recorded_keys: set[str]


# Which balance a use was about last time: what to lock before the feature is read, which tells whether it still is.
_last_pairs: dict[Use, Pair] = {}


def lock_feature(use: Use, *, at: datetime) -> LockedFeature:
    """Take the lock of a feature's balance until the transaction ends, and find the feature as it is sold by then.

    Raises CustomerNotFound, FeatureNotFound, and NotConsumable unless the feature has exactly one metric.
    """
    locked = _last_pairs.get(use)
    if locked is not None:
        lock_balances([locked])
    while True:
        usable = find_feature_for_use(customer=use.customer, slug=use.slug, external=use.external, at=at)
        pair = (usable.payer, _metric_key(usable))
        # Under the lock, since whoever held it may have changed what was sold, or to whom.
        if locked == pair:
            return LockedFeature(usable, pair)
        lock_balances([pair])
        locked = pair
        _remember(use, pair)


def _remember(use: Use, pair: Pair) -> None:
    if len(_last_pairs) >= _MOST_REMEMBERED:
        _last_pairs.clear()
    _last_pairs[use] = pair


def _metric_key(usable: UsableFeature) -> int:
    metrics = usable.feature.metrics
    if len(metrics) != 1:
        raise NotConsumable(
            f"Feature {usable.feature.slug} has {len(metrics) or 'no'} metrics. "
            "Units can be taken of a feature with exactly one metric."
        )
    return metrics[0][0]


def read_standing(pair: Pair, *, at: datetime, addressee: int | None = None, keys: Collection[str] = ()) -> Standing:
    """End the reservations of a locked balance that have expired at `at`, and read how it stands.

    The instant to decide at is `at`, or that of the latest reservation that is held; `keys` are looked for among the
    events of `addressee`. Raises NotConsumable for a metric that neither sums nor counts.
    """
    customer, metric = pair
    ((aggregation, event_name, property_filter, value_property, latest, recorded),) = run_prepared(
        _STAND, {"customer": customer, "metric": metric, "at": at, "addressee": addressee, "keys": list(keys)}
    )
    if aggregation not in ADDITIVE:
        raise NotConsumable(
            f"The feature's metric is a {aggregation}, of which no units can be taken one after the other. "
            "Units can be taken of a metric that is a SUM or a COUNT."
        )
    # Django has jsonb columns come as text.
    counting = Counting(aggregation, event_name, json.loads(property_filter, parse_float=Decimal), value_property)
    return Standing(counting, at if latest is None else max(at, latest), set(recorded))
