from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import JSONField, QuerySet, Value

from plans.models import Feature, FeatureSource, Overage, Subscription, SubscriptionFeature
from plans.models.features import USAGE_BASED, feature_type_of
from plans.refusals import InvalidInput, NotFound, Refusal
from plans.services.features import check_feature_value, check_limit
from plans.services.unpriced_items import meter_feature

LONGEST_REASON = 500
_YEARS = range(1970, 9999)


class OverrideNotFound(NotFound):
    code = "override_not_found"


class SubscriptionEnded(Refusal):
    """The subscription is over; nothing can be changed about it."""

    code = "subscription_ended"
    status = 409


class QuotaIsTheAllowance(Refusal):
    """The plan gives the feature by a quota: its grants are the allowance, and a number would change nothing."""

    code = "quota_is_the_allowance"
    status = 409


@transaction.atomic
def override_feature(
    *,
    at: datetime,
    subscription: Subscription,
    feature: Feature,
    reason: str,
    value: Any = None,
    overage: str | None = None,
    effective_from: datetime | None = None,
    effective_until: datetime | None = None,
    metrics_with_quota: Collection[int] = (),
) -> None:
    """Give a subscription a feature otherwise than its plan does, in `[effective_from, effective_until)`, where None is
    without a bound; an override that is there is replaced. A feature that the plan does not have is given so, too.

    Without `value` the plan's is kept, also when that changes; without `overage`, the plan's (`block` if it has none).
    The kind of the value stays; the limit of a metered feature may become a number or `usage_based` (no limit).

    It governs answers, never invoices: a number is the limit that checks, `consume` and `reserve` know in a period,
    while the units that a period includes before any is charged stay what was sold. So 5,000 over a sold 1,000 lets
    the customer go on, and units 1,001 to 5,000 are charged where the metric has a price. `metrics_with_quota` are
    the keys of metrics for which the plan has credit definitions: their grants are the allowance whatever a number
    says, so a number is refused there, and units are given by a grant. `overage` works there as everywhere.

    Raises SubscriptionEnded, QuotaIsTheAllowance, and InvalidInput with the path of the field.
    """
    _check_reason(reason)
    _check_window(effective_from, effective_until, at)
    if value is None and overage is None:
        raise InvalidInput.at("value", "is required, or overage.")
    subscription = _lock(subscription)
    sold = _copies(subscription, feature).filter(source=FeatureSource.PLAN).first()
    if value is None and sold is None:
        raise InvalidInput.at("value", "is required: the plan does not have this feature.")
    if value is not None:
        _check_value(value, feature, sold, metrics_with_quota)
    SubscriptionFeature.objects.update_or_create(
        subscription=subscription,
        feature=feature,
        source=FeatureSource.OVERRIDE,
        defaults={
            "customer_id": subscription.customer_id,
            "value": _stored(value),
            "overage": overage or _overage_of(sold),
            "reason": reason,
            "effective_from": effective_from,
            "effective_until": effective_until,
        },
    )
    meter_feature(feature=feature, subscription=subscription, at=at)


def carry_overrides(
    *, before: Subscription, following: Subscription, metrics_with_quota: Collection[int], at: datetime
) -> None:
    """Let what a customer was promised go on when a version of the subscription follows another one: its overrides,
    with their reasons and times, as far as they still say something.

    A value stays, also of a feature that the next plan does not have, unless its kind is another one there, or it is a
    number and the next plan gives the feature by a quota (`metrics_with_quota`): then its grants are the allowance. An
    overage stays where it was not just that of the plan before. The caller holds the lock of the subscription, and has
    copied the features of the next plan; the next version's periods are not stored yet.
    """
    overrides = _of_version(before, FeatureSource.OVERRIDE).filter(feature__deleted_at=None)
    sold_before = {copy.feature_id: copy for copy in _of_version(before, FeatureSource.PLAN)}
    sold = {copy.feature_id: copy for copy in _of_version(following, FeatureSource.PLAN)}
    for override in overrides.exclude(effective_until__lte=at).order_by("pk"):
        goes_on = _in_next_version(
            override, sold_before.get(override.feature_id), sold.get(override.feature_id), metrics_with_quota
        )
        if goes_on is not None:
            goes_on.subscription = following
            goes_on.save(force_insert=True)
            meter_feature(feature=override.feature, subscription=following, at=at)


def _of_version(subscription: Subscription, source: FeatureSource) -> QuerySet[SubscriptionFeature]:
    return SubscriptionFeature.objects.filter(subscription=subscription, source=source).select_related("feature")


def _in_next_version(
    override: SubscriptionFeature,
    sold_before: SubscriptionFeature | None,
    sold: SubscriptionFeature | None,
    metrics_with_quota: Collection[int],
) -> SubscriptionFeature | None:
    """The override of the next version, not stored yet; None where nothing is left of it."""
    value = override.value if _has_meaning(override, sold, metrics_with_quota) else None
    is_promised = override.overage != _overage_of(sold_before)
    overage = override.overage if is_promised else _overage_of(sold)
    if value is None and (sold is None or overage == sold.overage):
        return None
    return SubscriptionFeature(
        customer_id=override.customer_id,
        feature=override.feature,
        source=FeatureSource.OVERRIDE,
        value=_stored(value),
        overage=overage,
        reason=override.reason,
        effective_from=override.effective_from,
        effective_until=override.effective_until,
    )


def _has_meaning(
    override: SubscriptionFeature, sold: SubscriptionFeature | None, metrics_with_quota: Collection[int]
) -> bool:
    try:
        _check_value(override.value, override.feature, sold, metrics_with_quota)
    except Refusal:
        return False
    return True


def _stored(value: Any) -> Any:
    """A value as its column holds it: none is JSON's null, since the column is never NULL."""
    return Value(None, JSONField()) if value is None else value


def _overage_of(sold: SubscriptionFeature | None) -> str:
    """What holds where an override does not say it: the plan's, `block` if it does not have the feature."""
    return Overage.BLOCK if sold is None else sold.overage


@transaction.atomic
def remove_override(*, subscription: Subscription, feature: Feature) -> None:
    """Take an override back: from now on the feature is what was sold, or nothing where the plan does not have it.

    Its metrics stay metered: what was used stays known. Raises OverrideNotFound and SubscriptionEnded.
    """
    subscription = _lock(subscription)
    removed, _ = _copies(subscription, feature).filter(source=FeatureSource.OVERRIDE).delete()
    if not removed:
        raise OverrideNotFound("This subscription has no override of this feature.")


def _lock(subscription: Subscription) -> Subscription:
    locked = Subscription.objects.select_for_update(no_key=True).get(pk=subscription.pk)
    if locked.ended_at is not None:
        raise SubscriptionEnded("This subscription has ended; its features do not change any more.")
    return locked


def _copies(subscription: Subscription, feature: Feature) -> Any:
    return SubscriptionFeature.objects.filter(subscription=subscription, feature=feature)


def _check_reason(reason: str) -> None:
    if not reason.strip() or len(reason) > LONGEST_REASON:
        raise InvalidInput.at("reason", f"must say why, in 1 to {LONGEST_REASON} characters.")


def _check_window(effective_from: datetime | None, effective_until: datetime | None, at: datetime) -> None:
    for path, moment in (("effectiveFrom", effective_from), ("effectiveUntil", effective_until)):
        if moment is not None and moment.year not in _YEARS:
            raise InvalidInput.at(path, f"must lie between the years {_YEARS[0]} and {_YEARS[-1]}.")
    if effective_until is not None and effective_until <= at:
        raise InvalidInput.at("effectiveUntil", "must lie in the future.")
    if effective_from is not None and effective_until is not None and effective_until <= effective_from:
        raise InvalidInput.at("effectiveUntil", "must be later than effectiveFrom.")


def _check_value(
    value: Any, feature: Feature, sold: SubscriptionFeature | None, metrics_with_quota: Collection[int]
) -> None:
    check_feature_value(value, path="value")
    metrics = set(feature.metrics.filter(deleted_at__isnull=True).values_list("pk", flat=True))
    usual = feature.value if sold is None else sold.value
    if metrics and _limits_usage(usual):
        if not _limits_usage(value):
            raise InvalidInput.at("value", f"must be a number, or {USAGE_BASED} for no limit.")
        check_limit(value, path="value")
        if value != USAGE_BASED and not metrics.isdisjoint(metrics_with_quota):
            raise QuotaIsTheAllowance(
                "value: the plan's quota is the allowance of this feature, and a number would not change it. "
                "Give units by POST /v1/credits/grants.",
                details=[{"path": "value", "message": "cannot change what a quota gives."}],
            )
    elif feature_type_of(value) != feature_type_of(usual):
        raise InvalidInput.at("value", f"must be a {feature_type_of(usual)}, as the feature is.")


def _limits_usage(value: Any) -> bool:
    """Tell whether a value speaks of how much may be used: a number, or the word for no number."""
    return value == USAGE_BASED or (isinstance(value, int | float | Decimal) and not isinstance(value, bool))
